-- Orders $2 to $3: copies of order $1, each with its first audit row. The id of an order is its number.
with copied as (
    insert into command.orders
        (id, order_number, customer_id, state, version, currency, total_minor, document, progress, created_at, updated_at, link,
         link_version)
    select id, number, $1 ->> 'customer_id', 'PENDING_PAYMENT', 1, $1 ->> 'currency', ($1 ->> 'total_minor')::bigint,
           ($1 - '{state,version,updated_at}'::text[] || jsonb_build_object('id', id, 'order_number', number))::json, jsonb_build_object('updated_at', now()), now(), now(),
           sha256(''), 1
    from generate_series($2::bigint, $3::bigint) as n
    cross join lateral (select lpad(to_hex(n), 32, '0')::uuid as id, 'AC-20260101-' || lpad(n::text, 8, '0') as number) as made
    returning id
)
select command.append_transitions(array_agg(row(
           'order', id, 1, null, 'PENDING_PAYMENT', 'anonymous', 'USER', 'API_CALL', null, '{}', '127.0.0.1',
           '019aa6d2-5c1b-7c31-9d3f-2f4e6a7b8c9d', '4bf92f3577b34da6a3ce929d0e0e4736', now(), '', '')::command.new_transition))
from copied
