-- The rows that `GET /api/v1/orders/{id}` reads, one order at a time.
\set order random(1, :orders)
select orders.version, orders.document::text as document,
       invoices.version as child_version, invoices.document::text as child
from read.orders left join read.invoices on invoices.order_id = orders.id
where orders.id = lpad(to_hex(:order::bigint), 32, '0')::uuid;
