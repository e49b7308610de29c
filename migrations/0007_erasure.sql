-- Erasure: a customer's personal data goes, and books, numbers and amounts stay (Digital Personal Data Protection Act 2023,
-- section 12). `ops customer erase` calls these functions, order by order; what they must not interrupt it looks for itself.
--
-- An erasure is a change like any other: each order, return, refund, invoice and credit note gets its next version, an audit row and
-- an event, and from that event the read models learn what is left. So an event with the old data that comes late loses against it, as
-- every older version does. What the log says of earlier versions is composed from rows that are erased here, or is rewritten by
-- `messaging.erase_events`.

-- One row per erased order.
--   pseudonym            the customer's id from then on
--   documents_until      until then the law keeps what invoice and credit notes print; null: the order has none
--   documents_erased_at  when that was erased too
--   log_erased_at        when the log was rewritten for the last time: null while a run is under way, or was interrupted
create table command.erasures (
    order_id             uuid        not null constraint erasures_pkey primary key
                                     constraint erasures_order_fkey references command.orders (id),
    pseudonym            text        not null,
    erased_at            timestamptz not null,
    documents_until      date,
    documents_erased_at  timestamptz,
    log_erased_at        timestamptz
);
create index erasures_due on command.erasures (documents_until) where documents_until is not null and documents_erased_at is null;
create index erasures_unfinished on command.erasures (order_id) where log_erased_at is null;
grant select on command.erasures to articurated_operator;
grant update (documents_erased_at, log_erased_at) on command.erasures to articurated_operator;

-- Of an invoice or a credit note: the events about its erasure. Each has raised its version.
alter table work.invoices
    add column erasures integer not null default 0 constraint invoices_erasures_range check (erasures between 0 and 2),
    add column erased_at timestamptz;
alter table work.credit_notes
    add column erasures integer not null default 0 constraint credit_notes_erasures_range check (erasures between 0 and 2),
    add column erased_at timestamptz;
comment on column work.invoices.erased_at is 'when what it prints was erased; its PDFs are removed after that';
comment on column work.credit_notes.erased_at is 'when what it prints was erased; its PDF is removed after that';

-- A document, or a part of one, without what is personal in it. Amounts, items and numbers stay.
create function command.without_person(document jsonb) returns jsonb
    language sql immutable parallel safe set search_path = pg_catalog
    return (document - array['customer_email', 'payment_method', 'shipping_address', 'billing_address', 'reason', 'approval_notes',
                             'rejection_reason', 'items', 'failure', 'metadata', 'tags'])
        || case when jsonb_typeof(document -> 'items') = 'array' then jsonb_build_object('items', (
               select coalesce(jsonb_agg(item - array['reason', 'rejection_reason'] order by n), '[]')
               from jsonb_array_elements(document -> 'items') with ordinality as line (item, n))) else '{}' end;

-- The audit may be erased, and not be changed in any other way: the personal fields and the salt go, and their digest comes.
create or replace function command.refuse_change() returns trigger language plpgsql as $$
begin
    if tg_op = 'UPDATE' and tg_table_name = 'state_transitions' then
        if old.salt is not null and new.salt is null and octet_length(new.personal_digest) = 32
           and new.actor in (old.actor, 'erased') and new.reason is null and new.metadata = '{}' and new.ip_address is null
           and to_jsonb(new) - array['actor', 'reason', 'metadata', 'ip_address', 'salt', 'personal_digest']
             = to_jsonb(old) - array['actor', 'reason', 'metadata', 'ip_address', 'salt', 'personal_digest'] then
            return new;
        end if;
    end if;
    raise exception '% on % is refused: the audit is append-only', tg_op, tg_table_name
        using errcode = 'insufficient_privilege';
end $$;

-- Locks an order and everything that belongs to it, and lists it. `state` is null for a document that is not stored yet.
create function command.lock_for_erasure(of_order uuid) returns table (kind text, id uuid, version integer, state text)
    language plpgsql security definer set search_path = pg_catalog as $$
begin
    perform from command.orders where orders.id = of_order for update;
    perform from command.returns where order_id = of_order order by returns.id for update;
    perform from command.refunds where order_id = of_order order by refunds.id for update;
    perform from work.invoices where order_id = of_order for update;
    return query
        select 'order', orders.id, orders.version, orders.state from command.orders where orders.id = of_order
        union all select 'return', returns.id, returns.version, returns.state from command.returns where order_id = of_order
        union all select 'refund', refunds.id, refunds.version, refunds.status from command.refunds where order_id = of_order
        union all select 'invoice', invoices.id, edition + erasures,
                         case when stored_at is not null then case edition when 1 then 'GENERATED' else 'REGISTERED' end end
                  from work.invoices where order_id = of_order
        union all select 'credit_note', notes.id, 1 + erasures, case when stored_at is not null then 'GENERATED' end
                  from work.credit_notes as notes
                  where source_id in (select returns.id from command.returns where order_id = of_order
                                      union all select refunds.id from command.refunds where order_id = of_order);
end $$;

-- Erases an order and what belongs to it. The caller has locked it. The audit rows to erase come with the digests of their
-- personal fields, and the audit rows of the erasure itself with their events' ids, both computed by the caller.
--   made     the audit rows of the erasure itself. They and the others must be of this order: the function has more rights than its caller
--   actors   who the rows say acted, from now on: a customer is 'erased'
--   tax      whether what invoice and credit notes print goes too
create function command.erase_order(
    of_order uuid, new_customer text, actors text[], tax boolean, at timestamptz, until date,
    kinds text[], ids uuid[], versions integer[], digests bytea[], made command.new_transition[], event_ids uuid[]
) returns void
    language plpgsql security definer set search_path = pg_catalog as $$
declare
    of_kind text;
begin
    if exists (
        select from unnest(kinds, ids) as erased (kind, id)
        where not exists (select from command.lock_for_erasure(of_order) as part where part.kind = erased.kind and part.id = erased.id)
    ) or exists (
        select from unnest(made) as step
        where not exists (
            select from command.lock_for_erasure(of_order) as part
            where part.kind = step.entity_type and part.id = step.entity_id and part.version = step.version - 1
              and part.state = step.from_state and step.from_state = step.to_state and step.trigger = 'OPS')
    ) then
        raise exception 'the rows do not belong to the order %, or it has changed', of_order using errcode = 'serialization_failure';
    end if;
    update command.state_transitions as step
    set actor = erased.actor, reason = null, metadata = '{}', ip_address = null, salt = null, personal_digest = digest
    from unnest(kinds, ids, versions, digests, actors) as erased (kind, id, version, digest, actor)
    where step.entity_type = kind and step.entity_id = erased.id and step.version = erased.version and step.salt is not null;

    update command.orders
    set customer_id = new_customer, version = version + 1, updated_at = at,
        document = (command.without_person(document::jsonb) || jsonb_build_object('customer_id', new_customer))::json,
        progress = command.without_person(progress) - case when tax then array['e_invoice'] else '{}' end
            || jsonb_build_object('erased_at', to_char(at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
                                  'updated_at', to_char(at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'))
    where id = of_order;
    update command.returns
    set version = version + 1, updated_at = at,
        document = (command.without_person(document::jsonb) || jsonb_build_object('customer_id', new_customer))::json,
        items = (command.without_person(jsonb_build_object('items', items)) -> 'items')::json,
        progress = command.without_person(progress)
            || jsonb_build_object('updated_at', to_char(at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'))
    where order_id = of_order;
    update command.refunds
    set version = version + 1, updated_at = at,
        document = command.without_person(document) || jsonb_build_object('customer_id', new_customer)
    where order_id = of_order;
    update work.invoices
    set erasures = erasures + 1, erased_at = case when tax then at end,
        order_document = work.printed(order_document, new_customer, tax),
        document = work.without_recipient(document, new_customer, tax)
    where order_id = of_order;
    update work.credit_notes
    set erasures = erasures + 1, erased_at = case when tax then at end, document = work.without_recipient(document, new_customer, tax)
    where id = any(ids);

    delete from command.idempotency_keys where entity_id = any(ids);

    perform command.append_transitions(made);
    for of_kind in select distinct entity_type from unnest(made) loop
        perform messaging.append_events(
            of_kind, array_agg(event_id), array_agg(entity_id), array_agg(version), array_agg(of_kind || '.erased'),
            array_agg(case of_kind
                when 'order' then (select progress from command.orders where id = entity_id)
                when 'return' then (select progress from command.returns where id = entity_id)
                when 'refund' then (select command.refund_document(refund) from command.refunds as refund where id = entity_id)
                when 'invoice' then (select document from work.invoices where id = entity_id)
                else (select document from work.credit_notes where id = entity_id) end),
            array_agg(null::text), array_agg(at))
        from unnest(made) with ordinality
        join unnest(event_ids) with ordinality as numbered (event_id, ordinality) using (ordinality)
        where entity_type = of_kind;
    end loop;

    insert into command.erasures as known (order_id, pseudonym, erased_at, documents_until)
    values (of_order, new_customer, at, until)
    on conflict (order_id) do update set log_erased_at = null;
end $$;

-- The order as its invoice prints it: without what is not printed, and in the end without the parties.
create function work.printed(document jsonb, new_customer text, tax boolean) returns jsonb
    language sql immutable parallel safe set search_path = pg_catalog
    return document - array['customer_email', 'payment_method'] - case when tax then array['shipping_address', 'billing_address', 'e_invoice'] else '{}' end
        || jsonb_build_object('customer_id', new_customer);

-- The document of an invoice or a credit note: the same. The recipient's GSTIN stays: the books tell supplies to registered
-- recipients from others by it.
create function work.without_recipient(document jsonb, new_customer text, tax boolean) returns jsonb
    language sql immutable parallel safe set search_path = pg_catalog
    return document - array['customer_email'] - case when tax then array['e_invoice'] else '{}' end
        || jsonb_build_object('customer_id', new_customer)
        || case when tax and document ? 'tax'
               then jsonb_build_object('tax', (document -> 'tax') - array['recipient_name']) else '{}' end
        || case when tax then jsonb_build_object('erased', true) else '{}' end;

-- Rewrites what the log keeps of these aggregates itself, partition by partition: all other documents are composed. It updates the
-- partitions and not their parent, because a writer of the parent holds back the readers of the log.
create function messaging.erase_events(ids uuid[], new_customer text, tax boolean) returns bigint
    language plpgsql security definer set search_path = pg_catalog as $$
declare
    partition_name text;
    changed bigint;
    total bigint := 0;
begin
    for partition_name in select name from messaging.partitions where parent = 'outbox' and not detaching order by from_at loop
        execute format($statement$
            update messaging.%I
            set payload = case
                when aggregate_type in ('invoice', 'credit_note') then work.without_recipient(payload, $2, $3)
                when aggregate_type = 'refund' then command.without_person(payload) || jsonb_build_object('customer_id', $2)
                else command.without_person(payload) - case when $3 then array['e_invoice'] else '{}' end end
            where aggregate_id = any($1)
        $statement$, partition_name) using ids, new_customer, tax;
        get diagnostics changed = row_count;
        total := total + changed;
    end loop;
    -- What a mail server said may name an address.
    for partition_name in select name from messaging.partitions where parent = 'inbox' and not detaching loop
        execute format('update messaging.%I set last_error = null where aggregate_id = any($1) and last_error is not null', partition_name)
            using ids;
    end loop;
    delete from work.email_corrections where aggregate_id = any(ids);
    return total;
end $$;

-- A rebuild that was killed leaves what it had written in `read_next`, where no projector brings the erasure. Whether a rebuild runs.
create function read.clear_abandoned_rebuild() returns boolean
    language plpgsql security definer set search_path = pg_catalog as $$
begin
    perform from read.rebuild where until > clock_timestamp() for update;
    if found then
        return true;
    end if;
    perform read.prepare_rebuild();
    return false;
end $$;

revoke all on function command.lock_for_erasure, command.erase_order, messaging.erase_events, read.clear_abandoned_rebuild from public;
grant execute on function command.lock_for_erasure, command.erase_order, messaging.erase_events, read.clear_abandoned_rebuild
    to articurated_operator;
