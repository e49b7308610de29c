-- The textbook placement of an order with two items. The application sends the document ready-made.
\set random random(0, 4611686018427387904)
begin;
select public.id_now(:random::bigint) as id \gset
insert into command.orders
    (id, order_number, customer_id, state, version, currency, total_minor, document, progress, created_at, updated_at)
values (:id::uuid, 'AC-' || to_hex(:random::bigint), 'CUST-2201', 'PENDING_PAYMENT', 1, 'INR', 1844700,
    (:document::jsonb || jsonb_build_object('id', :id::text, 'order_number', 'AC-' || to_hex(:random::bigint)))::json, '{}', now(), now());
insert into command.order_items (id, order_id, line_no, sku, title, quantity, unit_price_minor, paid_minor, shipping_minor)
values (public.id_now(:random::bigint + 1), :id::uuid, 1, 'JBP-VASE-30', 'Jaipur blue pottery vase, 30 cm, cobalt and turquoise', 2, 645000, 1190751, 29774);
insert into command.order_items (id, order_id, line_no, sku, title, quantity, unit_price_minor, paid_minor, shipping_minor)
values (public.id_now(:random::bigint + 2), :id::uuid, 2, 'JBP-BOWL-18', 'जयपुर ब्लू पॉटरी कटोरा, 18 से.मी., हस्तनिर्मित', 3, 219900, 608949, 15226);
insert into command.state_transitions
    (entity_type, entity_id, version, from_state, to_state, actor, actor_type, trigger, reason, metadata, ip_address, request_id, trace_id, created_at, salt, hash)
values ('order', :id::uuid, 1, null, 'PENDING_PAYMENT', 'anonymous', 'USER', 'API_CALL', null, '{}', '127.0.0.1',
    '019aa6d2-5c1b-7c31-9d3f-2f4e6a7b8c9d', '4bf92f3577b34da6a3ce929d0e0e4736', now(), '', '');
insert into messaging.outbox
    (event_id, aggregate_type, aggregate_id, aggregate_version, shard, event_type, payload, traceparent, occurred_at)
values (public.id_now(:random::bigint + 3), 'order', :id::uuid, 1, messaging.shard_of(:id::uuid), 'order.created',
    jsonb_build_object(
        'snapshot', :document::jsonb || jsonb_build_object('id', :id::text, 'order_number', 'AC-' || to_hex(:random::bigint)),
        'transition', jsonb_build_object(
            'entity_type', 'order', 'entity_id', :id::text, 'version', 1, 'from_state', null, 'to_state', 'PENDING_PAYMENT',
            'actor', 'anonymous', 'actor_type', 'USER', 'trigger', 'API_CALL', 'reason', null, 'metadata', '{}'::jsonb,
            'ip_address', '127.0.0.1', 'request_id', '019aa6d2-5c1b-7c31-9d3f-2f4e6a7b8c9d',
            'trace_id', '4bf92f3577b34da6a3ce929d0e0e4736', 'created_at', now())),
    '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00',
    now());
commit;
