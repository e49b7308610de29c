-- The command side: the current state of orders and returns, and the audit that says how they got there.
--
-- Long documents are compressed with lz4. Postgres' default, pglz, took a sixth of the server's time under load.

-- One row per order. What never changes after the order is placed (customer, addresses, items, amounts) is frozen in
-- `document`, written once and stored nowhere else on this side. What transitions add (transaction id, tracking number,
-- times) is merged into `progress`. Both, with state and version, are the order as clients and events see it:
-- `command.whole` below.
--   link, link_version  the hash of the order's last row in the audit, and its version. Unless it is that of the order's version, the hash
--                       is looked up
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
    document      json        compression lz4 not null,
    progress      jsonb       not null,
    delivered_at  timestamptz,
    created_at    timestamptz not null,
    updated_at    timestamptz not null,
    link          bytea,
    link_version  integer,
    -- The return window starts at delivery, so a delivered order must have its time.
    constraint orders_delivered_has_time check (state <> 'DELIVERED' or delivered_at is not null)
) with (fillfactor = 80);
-- There is no further index. Every command finds its order by id, and an update that touches no index is cheap (HOT).
grant select, insert, update on command.orders to articurated_command;

-- The items of an order, as rows, because returns refer to them one by one: a request that names an item of another order is told so.
--   paid_minor      what the customer paid for the goods of the whole line, tax included: quantity × price less the
--                   line's share of the order's discount
--   shipping_minor  the line's share of the shipping, tax included
-- Both are fixed when the order is placed and never computed again. Over all lines they add up to the order's total.
-- The taxes inside them stand in the order's document.
create table command.order_items (
    id                uuid    not null constraint order_items_pkey primary key,
    order_id          uuid    not null constraint order_items_order_fkey references command.orders (id),
    line_no           integer not null constraint order_items_line_no_range check (line_no between 1 and 500),
    sku               text    not null,
    title             text    not null,
    quantity          integer not null constraint order_items_quantity_range check (quantity between 1 and 100000),
    unit_price_minor  bigint  not null constraint order_items_price_not_negative check (unit_price_minor >= 0),
    paid_minor        bigint  not null constraint order_items_paid_not_negative check (paid_minor >= 0),
    shipping_minor    bigint  not null constraint order_items_shipping_not_negative check (shipping_minor >= 0),
    constraint order_items_line_key unique (order_id, line_no)
);
grant select, insert on command.order_items to articurated_command;

-- One row per return request; the same shape as `orders`. `progress` also has the amount of the refund, which is an estimate
-- until the return is completed.
--   items  as they were requested, with their estimates. Once something else is known of them, because the warehouse has not
--          accepted all units or the refund is another amount than estimated, the items stand in `progress`
create table command.returns (
    id                   uuid        not null constraint returns_pkey primary key,
    order_id             uuid        not null constraint returns_order_fkey references command.orders (id),
    state                text        not null constraint returns_state_known check (state in
                                     ('REQUESTED', 'APPROVED', 'REJECTED', 'IN_TRANSIT', 'RECEIVED', 'COMPLETED')),
    version              integer     not null constraint returns_version_positive check (version >= 1),
    document             json        compression lz4 not null,
    items                json        compression lz4 not null,
    progress             jsonb       not null,
    created_at           timestamptz not null,
    updated_at           timestamptz not null,
    link                 bytea,
    link_version         integer
) with (fillfactor = 80);
create index returns_order on command.returns (order_id);
-- No index finds the returns in REQUESTED, which a schedule reads once a day. Its predicate would contain `state`, so no
-- step of a return could be a heap-only update any more. Measured on a million returns of 1.3 kB: with such an index
-- 20,000 steps ran at 11,300 to 16,600/s, none of them heap-only; without it at 25,100/s, all but seven heap-only. A scan
-- of the whole million takes 0.3 to 0.6 s.
grant select, insert, update on command.returns to articurated_command;

-- One row per refund: money of an order that is given back. Inserted under the order's lock, so that the refunds of an order
-- that are not FAILED never exceed what was paid. The key at the payment gateway is the return's id, or the refund's own where there
-- is no return; the row is committed before the first call, so every attempt uses the same key and the same amount. The workers
-- write what came of it, and nothing else.
--   document           what never changes: whose refund, of which payment, how much, why
--   in_doubt_since     since when the gateway may have paid it, or not
--   delayed_at         when the customer was told that it takes longer
--   waiting_event_id   the event whose job waits for the gateway, which has taken the refund and not paid it yet
--   transaction_id     the gateway's name of the refund
--   gateway_reference  under which the customer's bank finds the payment (ARN or RRN)
--   failure            what the gateway said when it refused the refund
create table command.refunds (
    id                 uuid        not null constraint refunds_pkey primary key,
    order_id           uuid        not null constraint refunds_order_fkey references command.orders (id),
    return_id          uuid        constraint refunds_return_key unique
                                   constraint refunds_return_fkey references command.returns (id),
    kind               text        not null constraint refunds_kind_known check (kind in ('RETURN', 'CANCELLATION', 'GOODWILL')),
    status             text        not null constraint refunds_status_known check (status in
                                   ('PENDING', 'IN_DOUBT', 'PROCESSED', 'FAILED')),
    version            integer     not null constraint refunds_version_positive check (version >= 1),
    amount_minor       bigint      not null constraint refunds_amount_positive check (amount_minor > 0),
    currency           text        not null constraint refunds_currency_iso4217 check (char_length(currency) = 3),
    document           jsonb       not null,
    in_doubt_since     timestamptz,
    delayed_at         timestamptz,
    waiting_event_id   uuid,
    transaction_id     text,
    gateway_reference  text,
    failure            text,
    created_at         timestamptz not null,
    updated_at         timestamptz not null,
    processed_at       timestamptz,
    constraint refunds_return_has_one check ((kind = 'RETURN') = (return_id is not null)),
    constraint refunds_processed_is_whole check
        ((status = 'PROCESSED') = (transaction_id is not null) and (status = 'PROCESSED') = (processed_at is not null)),
    constraint refunds_failed_has_reason check ((status = 'FAILED') = (failure is not null))
) with (fillfactor = 80);
create index refunds_order on command.refunds (order_id);
-- `ops doctor` counts them.
create index refunds_failed on command.refunds (updated_at) where status = 'FAILED';
-- The gateway may call back about a retry by the event that it was asked for.
create index refunds_waiting on command.refunds (waiting_event_id) where waiting_event_id is not null;
-- Customers ask with what their bank shows them.
create index refunds_transaction on command.refunds (transaction_id) where transaction_id is not null;
create index refunds_gateway_reference on command.refunds (gateway_reference) where gateway_reference is not null;
grant select, insert, update on command.refunds to articurated_command;
grant select, update (status, version, in_doubt_since, delayed_at, waiting_event_id, transaction_id, gateway_reference, failure, updated_at, processed_at)
    on command.refunds to articurated_workers;

-- The audit: one immutable row per state change, including the creation (from_state null). The key is
-- (entity_type, entity_id, version). Versions run 1..n without a gap, and the current state of an entity is the to_state
-- of its last row.
--   actor, reason, metadata, ip_address   may name a person. Erasure removes them; nothing else changes a row
--   position  in the order of insertion, for the seals of `command.audit_seals`. There are gaps
--   salt, personal_digest, hash           the chain: see `command.append_transitions` below. `personal_digest` stands only in rows whose
--             personal fields are erased
create table command.state_transitions (
    entity_type  text        not null constraint state_transitions_entity_known check (entity_type in
                             ('order', 'return', 'invoice', 'credit_note', 'refund')),
    entity_id    uuid        not null,
    version      integer     not null constraint state_transitions_version_positive check (version >= 1),
    from_state   text,
    to_state     text        not null,
    actor        text        not null,
    actor_type   text        not null constraint state_transitions_actor_type_known check (actor_type in ('USER', 'SYSTEM')),
    trigger      text        not null constraint state_transitions_trigger_known check (trigger in
                             ('API_CALL', 'BACKGROUND_JOB', 'SCHEDULER', 'OPS')),
    reason       text,
    metadata     jsonb       not null default '{}',
    ip_address   inet,
    request_id   text,
    trace_id     text,
    created_at   timestamptz not null,
    position     bigint      not null generated always as identity,
    salt         bytea,
    personal_digest bytea,
    hash         bytea       not null,
    constraint state_transitions_pkey primary key (entity_type, entity_id, version),
    constraint state_transitions_creation_is_first check ((from_state is null) = (version = 1)),
    -- The salt goes with what it hides.
    constraint state_transitions_salt_or_digest check ((salt is null) <> (personal_digest is null)),
    constraint state_transitions_position_positive check (position > 0)
);
-- Rows lie in the order of their positions, so the smallest kind of index finds a range.
create index state_transitions_position on command.state_transitions using brin (position) with (pages_per_range = 16, autosummarize = on);
-- Only `command.append_linked` inserts, with the rights of its owner.
grant select on command.state_transitions to articurated_command, articurated_workers;

-- The grants stop the processes from changing the audit; this trigger stops the owner of the table too.
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

-- The chain of the audit: the hash of a row is SHA-256 of the hash of its predecessor, which is the row of the same entity with the
-- version before, and of the row's own digest, which the service computes that makes the change. So no row can be changed, removed or
-- put in without changing all later hashes of the entity; and those are sealed outside of the database (`ops seal`). What the
-- digest covers stands in crates/contracts/src/audit.rs; `ops audit --chain` computes everything once more.
-- The seals of the audit: each says which hashes the rows of a range of positions have. The same statements, and the hashes, are in the
-- store of files that SEAL_STORE_URL names (operations/src/seal.rs).
create table command.audit_seals (
    number          bigint      not null constraint audit_seals_pkey primary key,
    after_position  bigint      not null,
    until_position  bigint      not null constraint audit_seals_grow check (until_position > after_position),
    statement       text        not null,
    signature       text        not null,
    sealed_at       timestamptz not null
);
create trigger audit_seals_append_only
    before update or delete on command.audit_seals
    for each row execute function command.refuse_change();
create trigger audit_seals_no_truncate
    before truncate on command.audit_seals
    for each statement execute function command.refuse_change();
grant insert on command.audit_seals to articurated_operator;

-- After a failover to a server that lacks the last commits, or a restore, positions up to the last seal would be given out again, and
-- no seal would ever cover them. They are passed over.
create function command.pass_sealed_positions() returns void
    language sql security definer set search_path = pg_catalog as $$
    select setval('command.state_transitions_position_seq', greatest(sealed.until, last_value))
    from command.state_transitions_position_seq, (select max(until_position) as until from command.audit_seals) as sealed
    where sealed.until > last_value
$$;
revoke all on function command.pass_sealed_positions from public;
grant execute on function command.pass_sealed_positions to articurated_operator;
grant select on sequence command.state_transitions_position_seq to articurated_operator;

-- A row of the audit before it has its place in the chain.
create type command.new_transition as (
    entity_type  text,
    entity_id    uuid,
    version      integer,
    from_state   text,
    to_state     text,
    actor        text,
    actor_type   text,
    trigger      text,
    reason       text,
    metadata     jsonb,
    ip_address   inet,
    request_id   text,
    trace_id     text,
    created_at   timestamptz,
    salt         bytea,
    digest       bytea
);

-- Appends rows to the audit whose hashes are known, and returns how many. A batch is one call, and this is the only insert into the table.
--
-- It is plpgsql because that keeps the plan of the insert; Postgres would plan a SQL function again at every call.
create function command.append_linked(transitions command.new_transition[], hashes bytea[]) returns bigint
    language plpgsql security definer set search_path = pg_catalog as $$
declare
    appended bigint;
begin
    insert into command.state_transitions
        (entity_type, entity_id, version, from_state, to_state, actor, actor_type, trigger, reason, metadata, ip_address, request_id,
         trace_id, created_at, salt, hash)
    select entity_type, entity_id, version, from_state, to_state, actor, actor_type, trigger, reason, metadata, ip_address, request_id,
           trace_id, created_at, salt, hash
    from unnest(transitions, hashes) as new
        (entity_type, entity_id, version, from_state, to_state, actor, actor_type, trigger, reason, metadata, ip_address, request_id,
         trace_id, created_at, salt, digest, hash);
    get diagnostics appended = row_count;
    return appended;
end $$;
revoke all on function command.append_linked from public;
grant execute on function command.append_linked to articurated_command;

-- The same of rows whose predecessors are looked up. An entity is in a batch once: its predecessor must be there already. The statement
-- sees what was committed while the caller's waited for a lock: the predecessor.
create function command.append_transitions(transitions command.new_transition[]) returns bigint
    language plpgsql security definer set search_path = pg_catalog as $$
begin
    return command.append_linked(transitions, array(
        select sha256(case when version = 1 then digest else
                   (select before.hash from command.state_transitions as before
                    where before.entity_type = new.entity_type and before.entity_id = new.entity_id and before.version = new.version - 1)
                   || digest end)
        from unnest(transitions) with ordinality as new
            (entity_type, entity_id, version, from_state, to_state, actor, actor_type, trigger, reason, metadata, ip_address, request_id,
             trace_id, created_at, salt, digest, n)
        order by n));
end $$;
revoke all on function command.append_transitions from public;
grant execute on function command.append_transitions to articurated_command, articurated_workers;

-- The hash of a row of the audit. In PL/pgSQL, whose statements see what was committed while the caller's waited for a lock.
create function command.hash_of(of_type text, of_id uuid, of_version integer) returns bytea
    language plpgsql volatile as $$
begin
    return (select hash from command.state_transitions
            where entity_type = of_type and entity_id = of_id and version = of_version);
end $$;

-- The hash of the row that follows on version `before`, of which the entity's own row may know the hash. Postgres inlines it.
create function command.linked(link bytea, link_version integer, of_type text, of_id uuid, before integer, digest bytea) returns bytea
    language sql volatile
    return sha256(case when link_version = before then link else command.hash_of(of_type, of_id, before) end || digest);


-- An order or a return as clients and events see it: the frozen document, what has been added since, state and version. The
-- parts are joined as text, because Postgres would take longer to merge them as jsonb. The command service does the same for
-- its answers (command/src/document.rs); a test compares the two.
--
-- The result is text, because a cast to json reads it once more. The closing brace of the document is cut off as a byte:
-- `left` counts the characters first, and takes longer than all the rest. No part of the expression is volatile, so Postgres
-- inlines it.
create function command.amended(document json, progress jsonb, state text, version integer) returns text
    language sql stable parallel safe
    return ((document::jsonb - array(select jsonb_object_keys(progress))) || progress
            || jsonb_build_object('state', state, 'version', version))::text;

create function command.whole(document json, progress jsonb, state text, version integer) returns text
    language sql stable parallel safe
    return case
        when progress ?| array['customer_email', 'shipping_address', 'billing_address'] then
            command.amended(document, progress, state, version)
        when jsonb_typeof(progress) = 'object' then
        convert_from(substr(convert_to(document::text, 'UTF8'), 1, octet_length(document::text) - 1), 'UTF8')
        || coalesce(',' || nullif(left(substr(progress::text, 2), -1), ''), '')
        || ',"state":"' || state || '","version":' || version::text || '}' end;

-- The frozen document of a return: with the items as requested, unless `progress` has them.
create function command.with_items(document json, items json, progress jsonb) returns json
    language sql stable parallel safe
    return case when progress ? 'items' then document else
        (convert_from(substr(convert_to(document::text, 'UTF8'), 1, octet_length(document::text) - 1), 'UTF8')
        || ',"items":' || items::text || '}')::json end;

-- A refund as events carry it and clients see it.
create function command.refund_document(refund command.refunds) returns jsonb
    language sql stable parallel safe
    return (refund).document || jsonb_strip_nulls(jsonb_build_object(
        'status', (refund).status, 'version', (refund).version, 'transaction_id', (refund).transaction_id,
        'gateway_reference', (refund).gateway_reference, 'failure', (refund).failure,
        'updated_at', to_char((refund).updated_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
        'processed_at', to_char((refund).processed_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')));

-- A row of the audit as events carry it and clients see it.
create function command.transition(step command.state_transitions) returns json
    language sql stable parallel safe
    return json_build_object(
        'entity_type', (step).entity_type, 'entity_id', (step).entity_id, 'version', (step).version, 'from_state', (step).from_state,
        'to_state', (step).to_state, 'actor', (step).actor, 'actor_type', (step).actor_type, 'trigger', (step).trigger,
        'reason', (step).reason, 'metadata', (step).metadata, 'ip_address', host((step).ip_address),
        'request_id', (step).request_id, 'trace_id', (step).trace_id,
        'created_at', to_char((step).created_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'));

-- Answers already given, by (caller, route, key). An answer is stored in the same commit as the change it answers for, so
-- a repeated request either finds the answer or finds that nothing was done. Rows are deleted after
-- IDEMPOTENCY_RETENTION_HOURS.
--   state, version, progress  of the order or return at that time. Its frozen document completes the answer
create table command.idempotency_keys (
    caller        text        not null,
    route         text        not null,
    key           text        not null constraint idempotency_keys_key_length check (char_length(key) between 1 and 255),
    request_hash  bytea       not null,
    entity_type   text        not null,
    entity_id     uuid        not null,
    status        smallint    not null,
    state         text        not null,
    version       integer     not null,
    progress      jsonb       not null,
    created_at    timestamptz not null,
    constraint idempotency_keys_pkey primary key (caller, route, key)
);
create index idempotency_keys_created_at on command.idempotency_keys (created_at);
grant select, insert, delete on command.idempotency_keys to articurated_command;

-- How far the deletion of old keys has come: every key that was created before the bound is deleted. Rows are inserted and
-- never updated; the last one counts.
--
-- Without it, each deletion would walk over the index entries of all keys that were deleted since the oldest open snapshot.
create table command.idempotency_key_bounds (
    id     bigint      not null generated always as identity constraint idempotency_key_bounds_pkey primary key,
    bound  timestamptz not null
);
grant select, insert, delete on command.idempotency_key_bounds to articurated_command;

grant select on all tables in schema command to articurated_operator;
