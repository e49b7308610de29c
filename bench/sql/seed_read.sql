-- Orders $2 to $3 of the read model: copies of order $1. The id of an order is its number.
insert into read.orders (id, version, order_number, customer_id, state, created_at, updated_at, document)
select id, 1, number, $1 ->> 'customer_id', 'PENDING_PAYMENT', now(), now(),
       ($1 || jsonb_build_object('id', id, 'order_number', number))::json
from generate_series($2::bigint, $3::bigint) as n
cross join lateral (select lpad(to_hex(n), 32, '0')::uuid as id, 'AC-20260101-' || lpad(n::text, 8, '0') as number) as made
