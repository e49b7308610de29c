-- The limit of a rebuild: documents and history from the outbox, in one statement each. It writes no facts for reports,
-- checks no event, and has the database to itself.
truncate read_next.orders, read_next.history;
insert into read_next.history
select aggregate_type, aggregate_id, aggregate_version, payload -> 'transition' from messaging.events;
insert into read_next.orders (id, version, order_number, customer_id, state, created_at, updated_at, document, email,
                              payment_transaction_id, tracking_number)
select aggregate_id, aggregate_version, document ->> 'order_number', document ->> 'customer_id', document ->> 'state',
       (document ->> 'created_at')::timestamptz, (document ->> 'updated_at')::timestamptz, document, document ->> 'customer_email',
       document ->> 'payment_transaction_id', document ->> 'tracking_number'
from (
    select event.aggregate_id, event.aggregate_version, payload -> 'snapshot' as document
    from (select distinct on (aggregate_id) event_id from messaging.outbox order by aggregate_id, aggregate_version desc) as newest
    join messaging.events as event using (event_id)
    offset 0
) as shown;
