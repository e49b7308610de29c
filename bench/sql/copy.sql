-- Puts the events from position $3 to $4 into the inbox of every subscribed queue; $1 and $2 list the subscriptions.
insert into messaging.inbox (queue, event_id, aggregate_id, aggregate_version, run_at)
select queue, event_id, aggregate_id, aggregate_version, clock_timestamp()
from messaging.outbox
join unnest($1::text[], $2::text[]) as route (event_type, queue) using (event_type)
where position between $3 and $4
