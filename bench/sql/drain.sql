-- Marks up to $1 jobs of the queue as done and returns their payloads: the least that a worker must do. It starts at $2, where
-- the batch before it ended: the index keeps the jobs that are done, and must not be read again and again.
with picked as materialized (
    select event_id, run_at from messaging.inbox
    where queue = 'notifications' and status in ('ready', 'in_doubt') and run_at >= $2 and run_at <= clock_timestamp()
    order by run_at
    limit $1
    for update skip locked
), done as (
    update messaging.inbox as job
    set status = 'done', attempts = attempts + 1, finished_at = clock_timestamp()
    from picked
    where job.queue = 'notifications' and job.event_id = picked.event_id
)
select run_at, payload from picked join messaging.events using (event_id)
