-- The limit of a rebuild: documents and history from the outbox, in one statement each. It writes no facts for reports,
-- checks no event, and has the database to itself.
truncate read_next.orders, read_next.history;
insert into read_next.history
select aggregate_type, aggregate_id, aggregate_version, (payload -> 'transition')::text::json from messaging.outbox;
insert into read_next.orders
select distinct on (aggregate_id) aggregate_id, aggregate_version, payload #>> '{snapshot,order_number}',
       payload #>> '{snapshot,customer_id}', payload #>> '{snapshot,state}',
       (payload #>> '{snapshot,created_at}')::timestamptz, (payload -> 'snapshot')::text::json
from messaging.outbox order by aggregate_id, aggregate_version desc;
