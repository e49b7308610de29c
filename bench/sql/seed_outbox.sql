-- Events $2 to $3 of a backlog, as commands write them, with their audit rows and orders. The first occurred $4 seconds ago,
-- and each of the others $5 seconds after the one before it.
-- 1,024 orders at a time take four steps each, so that a thousand other events lie between two steps of an order. The orders are
-- copies of order $1; the id of an order is its number. Every event has a type that goes to one queue: all those of an order to
-- the notifications, or all to the invoices. So the relay has a message for each, and the order of the messages can be checked.
-- Orders and audit rows of an earlier backlog stay: the audit cannot be emptied.
with event as materialized (
    select (lpad(to_hex((extract(epoch from at) * 1000)::bigint), 12, '0') || '70008' || lpad(to_hex(n), 15, '0'))::uuid as event_id,
           n, id, version, (array['order.created', 'order.shipped'])[("order" % 2 + 1)::int] as event_type, at,
           number, states[version] as from_state, states[version + 1] as to_state,
           jsonb_build_object('updated_at', at) || times as progress
    from generate_series($2::bigint, $3::bigint) as n
    cross join lateral (select now() + ((n - $2) * $5::double precision - $4::double precision) * interval '1 second' as at) as occurred
    cross join lateral (
        select (n - 1) / 4096 * 1024 + (n - 1) % 1024 + 1 as "order", ((n - 1) % 4096 / 1024 + 1)::int as version,
               array[null, 'PENDING_PAYMENT', 'PAID', 'PROCESSING_IN_WAREHOUSE', 'SHIPPED'] as states
    ) as turn
    cross join lateral (
        select coalesce(jsonb_object_agg(name, at), '{}') as times
        from unnest(array['paid_at', 'processing_at', 'shipped_at']) with ordinality as step (name, place) where place < version
    ) as past
    cross join lateral (
        select lpad(to_hex("order"), 32, '0')::uuid as id, 'AC-20260101-' || lpad("order"::text, 8, '0') as number
    ) as made
), placed as (
    insert into command.orders
        (id, order_number, customer_id, state, version, currency, total_minor, document, progress, created_at, updated_at)
    select id, number, $1 ->> 'customer_id', 'PENDING_PAYMENT', 1, $1 ->> 'currency', ($1 ->> 'total_minor')::bigint,
           ($1 - '{state,version,updated_at}'::text[] || jsonb_build_object('id', id, 'order_number', number))::json, progress, at, at
    from event where version = 1
    on conflict do nothing
), audited as materialized (
    -- Version by version: each row follows on its predecessor.
    select sum(appended.rows)::bigint as rows
    from generate_series(1, 4) as step (version)
    cross join lateral (
        select command.append_transitions(array_agg(row(
                   'order', id, event.version, from_state, to_state, 'warehouse.jaipur', 'USER', 'API_CALL', null,
                   '{"tracking_number": "BD69351142IN"}', '127.0.0.1', '019aa6d2-5c1b-7c31-9d3f-2f4e6a7b8c9d',
                   '4bf92f3577b34da6a3ce929d0e0e4736', at, '', '')::command.new_transition)) as rows
        from event
        where event.version = step.version
          and not exists (select from command.state_transitions as known
                          where (known.entity_type, known.entity_id, known.version) = ('order', event.id, event.version))
    ) as appended
)
select messaging.append_events(
           'order', array_agg(event_id order by n), array_agg(id order by n), array_agg(version order by n),
           array_agg(event_type order by n), array_agg(progress order by n),
           array_agg('00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00'::text), array_agg(at order by n)), min(rows)
from event cross join audited
