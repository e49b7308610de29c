-- Copies the rows from position $3 to $4 into the inbox of every subscribed queue; $1 and $2 list the subscriptions.
insert into messaging.inbox
    (queue, event_id, event_type, aggregate_type, aggregate_id, aggregate_version, payload, headers, occurred_at)
select queue, event_id, event_type, aggregate_type, aggregate_id, aggregate_version, payload, headers, occurred_at
from messaging.outbox
join unnest($1::text[], $2::text[]) as route (event_type, queue) using (event_type)
where published_at is null and parked_at is null and position between $3 and $4
