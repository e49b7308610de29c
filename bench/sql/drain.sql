-- Marks up to $1 jobs of the queue as done and returns their payloads: the least that a worker must do.
with picked as materialized (
    select event_id from messaging.inbox
    where queue = 'notifications' and status in ('ready', 'in_doubt') and run_at <= clock_timestamp()
    order by run_at
    limit $1
    for update skip locked
)
update messaging.inbox as job
set status = 'done', attempts = attempts + 1, finished_at = clock_timestamp()
from picked
where job.queue = 'notifications' and job.event_id = picked.event_id
returning payload
