-- The limit of a rebuild: documents and history from the outbox, in one statement each. It writes no facts for reports,
-- checks no event, and has the database to itself.
truncate read_next.orders, read_next.history;
insert into read_next.history
select aggregate_type, aggregate_id, aggregate_version, payload -> 'transition' from messaging.events;
insert into read_next.orders
select aggregate_id, aggregate_version, document ->> 'order_number', document ->> 'customer_id', document ->> 'state',
       (document ->> 'created_at')::timestamptz, document
from (
    select event.aggregate_id, event.aggregate_version, payload -> 'snapshot' as document
    from (select distinct on (aggregate_id) event_id from messaging.outbox order by aggregate_id, aggregate_version desc) as newest
    join messaging.events as event using (event_id)
    offset 0
) as shown;
