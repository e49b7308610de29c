-- The command side: the current state of orders and returns, and the audit of how they came to it.

-- Documents are compressed with lz4 wherever they are long enough to be compressed at all: Postgres' default, pglz, took
-- a sixth of the server's time under load.

-- One row per order. What can never change after the order is placed (customer, addresses, items, amounts)
-- is frozen in `document`; what transitions add (transaction id, tracking number, times) is merged into
-- `progress`. `document || progress || {state, version}` is the order as clients and events see it, so an
-- event's full state costs no join.
create table command.orders (
    id            uuid        not null constraint orders_pkey primary key,
    order_number  text        not null constraint orders_order_number_key unique
                              constraint orders_order_number_length check (char_length(order_number) between 1 and 32),
    customer_id   text        not null constraint orders_customer_id_length check (char_length(customer_id) between 1 and 64),
    state         text        not null constraint orders_state_known check (state in
                              ('PENDING_PAYMENT', 'PAID', 'PROCESSING_IN_WAREHOUSE', 'SHIPPED', 'DELIVERED', 'CANCELLED')),
    version       integer     not null constraint orders_version_positive check (version >= 1),
    currency      text        not null constraint orders_currency_iso4217 check (char_length(currency) = 3),
    total_minor   bigint      not null constraint orders_total_not_negative check (total_minor >= 0),
    document      jsonb       compression lz4 not null,
    progress      jsonb       not null default '{}',
    delivered_at  timestamptz,
    created_at    timestamptz not null,
    updated_at    timestamptz not null,
    -- The return window is counted from delivery, so a delivered order without its time must not exist.
    constraint orders_delivered_has_time check (state <> 'DELIVERED' or delivered_at is not null)
) with (fillfactor = 80);
-- No further index: every command finds its order by id, and an update that touches no index is cheap (HOT).

-- The items of an order, as rows, because returns refer to them one by one.
-- `paid_minor` is what the customer paid for the whole line: quantity × price less the line's share of the
-- order's discount. It is fixed when the order is placed and never computed again.
create table command.order_items (
    id                uuid    not null constraint order_items_pkey primary key,
    order_id          uuid    not null constraint order_items_order_fkey references command.orders (id),
    line_no           integer not null constraint order_items_line_no_range check (line_no between 1 and 500),
    sku               text    not null,
    title             text    not null,
    quantity          integer not null constraint order_items_quantity_range check (quantity between 1 and 100000),
    unit_price_minor  bigint  not null constraint order_items_price_not_negative check (unit_price_minor >= 0),
    paid_minor        bigint  not null constraint order_items_paid_not_negative check (paid_minor >= 0),
    constraint order_items_line_key unique (order_id, line_no)
);

-- One row per return request; the same shape as `orders`.
create table command.returns (
    id                   uuid        not null constraint returns_pkey primary key,
    order_id             uuid        not null constraint returns_order_fkey references command.orders (id),
    state                text        not null constraint returns_state_known check (state in
                                     ('REQUESTED', 'APPROVED', 'REJECTED', 'IN_TRANSIT', 'RECEIVED', 'COMPLETED')),
    version              integer     not null constraint returns_version_positive check (version >= 1),
    refund_amount_minor  bigint      not null constraint returns_refund_not_negative check (refund_amount_minor >= 0),
    document             jsonb       compression lz4 not null,
    progress             jsonb       not null default '{}',
    created_at           timestamptz not null,
    updated_at           timestamptz not null
) with (fillfactor = 80);
create index returns_order on command.returns (order_id);

-- The items of a return. `amount_minor` is their exact refund, fixed when the return is requested.
create table command.return_items (
    id             uuid    not null constraint return_items_pkey primary key,
    return_id      uuid    not null constraint return_items_return_fkey references command.returns (id),
    order_item_id  uuid    not null constraint return_items_order_item_fkey references command.order_items (id),
    quantity       integer not null constraint return_items_quantity_range check (quantity between 1 and 100000),
    amount_minor   bigint  not null constraint return_items_amount_not_negative check (amount_minor >= 0),
    constraint return_items_item_key unique (return_id, order_item_id)
);
create index return_items_order_item on command.return_items (order_item_id);

-- The audit: one immutable row per state change, the creation included (from_state null).
-- (entity_type, entity_id, version) is the key: versions run 1..n without a gap, and the current state of
-- an entity is the to_state of its last row.
create table command.state_transitions (
    entity_type  text        not null constraint state_transitions_entity_known check (entity_type in ('order', 'return', 'invoice', 'refund')),
    entity_id    uuid        not null,
    version      integer     not null constraint state_transitions_version_positive check (version >= 1),
    from_state   text,
    to_state     text        not null,
    actor        text        not null,
    actor_type   text        not null constraint state_transitions_actor_type_known check (actor_type in ('USER', 'SYSTEM')),
    trigger      text        not null constraint state_transitions_trigger_known check (trigger in ('API_CALL', 'BACKGROUND_JOB', 'SCHEDULER', 'OPS')),
    reason       text,
    metadata     jsonb       not null default '{}',
    ip_address   inet,
    request_id   text,
    trace_id     text,
    created_at   timestamptz not null,
    constraint state_transitions_pkey primary key (entity_type, entity_id, version),
    constraint state_transitions_creation_is_first check ((from_state is null) = (version = 1))
);

-- Grants keep the processes honest; the trigger keeps the owner of the table honest too.
create function command.refuse_change() returns trigger language plpgsql as $$
begin
    raise exception '% on % is refused: the audit is append-only', tg_op, tg_table_name
        using errcode = 'insufficient_privilege';
end $$;
create trigger state_transitions_append_only
    before update or delete on command.state_transitions
    for each row execute function command.refuse_change();
create trigger state_transitions_no_truncate
    before truncate on command.state_transitions
    for each statement execute function command.refuse_change();

-- Answers already given, by (caller, route, key). Stored in the same commit as the change they answer for,
-- so a repeat either finds the answer or finds nothing done. Swept after IDEMPOTENCY_RETENTION_HOURS.
create table command.idempotency_keys (
    caller        text        not null,
    route         text        not null,
    key           text        not null constraint idempotency_keys_key_length check (char_length(key) between 1 and 255),
    request_hash  bytea       not null,
    entity_type   text        not null,
    entity_id     uuid        not null,
    status        smallint    not null,
    response      jsonb       not null,
    created_at    timestamptz not null,
    constraint idempotency_keys_pkey primary key (caller, route, key)
);
create index idempotency_keys_created_at on command.idempotency_keys (created_at);

grant select, insert, update on command.orders, command.returns to articurated_command;
grant select, insert on command.order_items, command.return_items to articurated_command;
grant select, insert on command.state_transitions to articurated_command, articurated_workers;
grant select, insert, delete on command.idempotency_keys to articurated_command;
