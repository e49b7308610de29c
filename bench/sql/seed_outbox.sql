-- Events $2 to $3 of a backlog, as commands write them. 1,024 orders at a time take four steps each, so that a thousand
-- other events lie between two steps of an order. The orders are copies of order $1; the id of an order is its number.
-- Every event has a type that goes to one queue: all those of an order to the notifications, or all to the invoices. So the
-- relay has a message for each, and the order of the messages can be checked.
with event as (
    select (lpad(to_hex((extract(epoch from now()) * 1000)::bigint), 12, '0') || '70008' || lpad(to_hex(n), 15, '0'))::uuid as event_id,
           id, version, (array['order.created', 'order.shipped'])[("order" % 2 + 1)::int] as event_type,
           jsonb_build_object(
               'snapshot', $1 || jsonb_build_object('id', id, 'order_number', number, 'state', states[version + 1], 'version', version,
                   'updated_at', now()) || times,
               'transition', jsonb_build_object(
                   'entity_type', 'order', 'entity_id', id, 'version', version,
                   'from_state', states[version], 'to_state', states[version + 1],
                   'actor', 'warehouse.jaipur', 'actor_type', 'USER', 'trigger', 'API_CALL', 'reason', null,
                   'metadata', '{"tracking_number": "BD69351142IN"}'::jsonb, 'ip_address', '127.0.0.1',
                   'request_id', '019aa6d2-5c1b-7c31-9d3f-2f4e6a7b8c9d', 'trace_id', '4bf92f3577b34da6a3ce929d0e0e4736',
                   'created_at', now())) as payload
    from generate_series($2::bigint, $3::bigint) as n
    cross join lateral (
        select (n - 1) / 4096 * 1024 + (n - 1) % 1024 + 1 as "order", ((n - 1) % 4096 / 1024 + 1)::int as version,
               array[null, 'PENDING_PAYMENT', 'PAID', 'PROCESSING_IN_WAREHOUSE', 'SHIPPED'] as states
    ) as turn
    cross join lateral (
        select coalesce(jsonb_object_agg(name, now()), '{}') as times
        from unnest(array['paid_at', 'processing_at', 'shipped_at']) with ordinality as step (name, place) where place < version
    ) as past
    cross join lateral (
        select lpad(to_hex("order"), 32, '0')::uuid as id, 'AC-20260101-' || lpad("order"::text, 8, '0') as number
    ) as made
    order by n
)
select messaging.append_events('order', array_agg(event_id), array_agg(id), array_agg(version), array_agg(event_type), array_agg(payload),
           array_agg('{"actor": "warehouse.jaipur", "request_id": "019aa6d2-5c1b-7c31-9d3f-2f4e6a7b8c9d", "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"}'::jsonb),
           array_agg(now()))
from event
