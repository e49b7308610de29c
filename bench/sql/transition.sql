-- The textbook transition. Each client takes its own orders through their four steps, one order after the other, as the
-- connections of the load generator do. After the last order it starts again at the first.
\set order 1 + (:base / 4 + :client_id + (:i / 4) * :clients) % :orders
\set i :i + 1
\set event random(0, 4611686018427387904)
begin;
select id, state, version, document, progress from command.orders where id = lpad(to_hex(:order::bigint), 32, '0')::uuid for update \gset
\set step 1 + (:version - 1) % 4
update command.orders
set state = (array['PAID', 'PROCESSING_IN_WAREHOUSE', 'SHIPPED', 'DELIVERED'])[:step::int], version = :version::int + 1,
    progress = :progress::jsonb || jsonb_build_object((array['paid_at', 'processing_at', 'shipped_at', 'delivered_at'])[:step::int], now(), 'updated_at', now()),
    updated_at = now(), delivered_at = case when :step::int = 4 then now() end
where id = :id::uuid;
insert into command.state_transitions
    (entity_type, entity_id, version, from_state, to_state, actor, actor_type, trigger, reason, metadata, ip_address, request_id, trace_id, created_at, salt, hash)
values ('order', :id::uuid, :version::int + 1, :state, (array['PAID', 'PROCESSING_IN_WAREHOUSE', 'SHIPPED', 'DELIVERED'])[:step::int],
    'warehouse.jaipur', 'USER', 'API_CALL', null, '{"tracking_number": "BD69351142IN"}', '127.0.0.1',
    '019aa6d2-5c1b-7c31-9d3f-2f4e6a7b8c9d', '4bf92f3577b34da6a3ce929d0e0e4736', now(), '', '');
insert into messaging.outbox
    (event_id, aggregate_type, aggregate_id, aggregate_version, shard, event_type, payload, traceparent, occurred_at)
values (public.id_now(:event::bigint), 'order', :id::uuid, :version::int + 1, messaging.shard_of(:id::uuid),
    (array['order.paid', 'order.processing', 'order.shipped', 'order.delivered'])[:step::int],
    jsonb_build_object(
        'snapshot', :document::jsonb || :progress::jsonb || jsonb_build_object(
            'state', (array['PAID', 'PROCESSING_IN_WAREHOUSE', 'SHIPPED', 'DELIVERED'])[:step::int], 'version', :version::int + 1),
        'transition', jsonb_build_object(
            'entity_type', 'order', 'entity_id', :id::text, 'version', :version::int + 1, 'from_state', :state::text,
            'to_state', (array['PAID', 'PROCESSING_IN_WAREHOUSE', 'SHIPPED', 'DELIVERED'])[:step::int],
            'actor', 'warehouse.jaipur', 'actor_type', 'USER', 'trigger', 'API_CALL', 'reason', null,
            'metadata', '{"tracking_number": "BD69351142IN"}'::jsonb, 'ip_address', '127.0.0.1',
            'request_id', '019aa6d2-5c1b-7c31-9d3f-2f4e6a7b8c9d', 'trace_id', '4bf92f3577b34da6a3ce929d0e0e4736',
            'created_at', now())),
    '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00',
    now());
commit;
