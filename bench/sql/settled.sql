-- What is on its way: events that relays or projectors have not passed, open jobs, and dead ones.
select coalesce((select max(position) from messaging.outbox), 0)
           - (select min(mark) from messaging.last_marks where consumer in ('relay', 'projections')) as behind,
       (select coalesce(sum(ready + running + in_doubt), 0)::bigint from messaging.queue_backlog) as open,
       (select coalesce(sum(dead), 0)::bigint from messaging.queue_backlog) as dead
