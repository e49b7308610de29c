-- The documents and the history of the outbox, in one statement each: what no rebuild can be faster than, and yet without
-- what reports are made of, without a check of any event, and with nobody else at work.
truncate read_next.orders, read_next.history;
insert into read_next.history
select aggregate_type, aggregate_id, aggregate_version, (payload -> 'transition')::text::json from messaging.outbox;
insert into read_next.orders
select distinct on (aggregate_id) aggregate_id, aggregate_version, payload #>> '{snapshot,order_number}',
       payload #>> '{snapshot,customer_id}', payload #>> '{snapshot,state}',
       (payload #>> '{snapshot,created_at}')::timestamptz, (payload -> 'snapshot')::text::json
from messaging.outbox order by aggregate_id, aggregate_version desc;
