-- Making the read models again from the events, beside the live ones.

-- The read models that a rebuild makes: as `read`, and empty but for the time of a rebuild.
create schema read_next;
grant usage on schema read_next to articurated_query, articurated_operator;

-- The rebuild under way, if there is one; one row.
--   run     which
--   until   as long as it lives; by this database's clock. Until then every projector writes to `read_next` as well.
create table read.rebuild (
    one    boolean     not null default true constraint rebuild_pkey primary key constraint rebuild_single check (one),
    run    uuid,
    until  timestamptz not null default '-infinity'
);
insert into read.rebuild default values;
grant select, update on read.rebuild to articurated_query;
grant select on read.rebuild to articurated_operator;

-- The tables that are rebuilt: all but what is no fold of the events.
create function read.models() returns setof text
    language sql stable set search_path = pg_catalog
begin atomic
    select relname::text from pg_class
    where relnamespace = (select oid from pg_namespace where nspname = 'read') and relkind = 'r'
      and relname not in ('rebuild', 'daily_reports')
    order by relname;
end;

-- Makes `read_next` anew: the tables of `read` with their constraints, indexes and storage, and without a row. A migration
-- that changes a read model calls it again, and has no second copy to change.
create function read.prepare_rebuild() returns void
    language plpgsql security definer set search_path = pg_catalog as $$
declare
    model text;
    options text[];
    definition text;
begin
    for model in select relname from pg_class where relnamespace = 'read_next'::regnamespace and relkind = 'r' loop
        execute format('drop table read_next.%I', model);
    end loop;
    for model in select read.models() loop
        execute format('create table read_next.%I (like read.%I including defaults including constraints including storage including compression)',
                       model, model);
        select reloptions into options from pg_class where oid = format('read.%I', model)::regclass;
        if options is not null then
            execute format('alter table read_next.%I set (%s)', model, array_to_string(options, ', '));
        end if;
        for definition in
            select format('alter table read_next.%I add constraint %I %s', model, conname, pg_get_constraintdef(oid))
            from pg_constraint where conrelid = format('read.%I', model)::regclass and contype in ('p', 'u')
        loop
            execute definition;
        end loop;
        for definition in
            select replace(pg_get_indexdef(indexrelid), ' ON read.', ' ON read_next.')
            from pg_index where indrelid = format('read.%I', model)::regclass
              and not exists (select from pg_constraint where conindid = indexrelid)
        loop
            execute definition;
        end loop;
        execute format('grant select, insert, update on read_next.%I to articurated_query', model);
        execute format('grant select on read_next.%I to articurated_operator', model);
    end loop;
end $$;

-- Statistics for the rebuilt read models: the first report must not wait for autovacuum to plan well.
create function read.analyze_rebuilt() returns void
    language plpgsql security definer set search_path = pg_catalog as $$
declare
    model text;
begin
    for model in select read.models() loop
        execute format('analyze read_next.%I', model);
    end loop;
end $$;

-- Puts the rebuilt read models in the place of the live ones. The caller's transaction holds the row of the rebuild, so no
-- projector is in the middle of a batch; `lock_timeout` makes it give up instead of queueing every reader behind itself.
create function read.swap_rebuilt() returns void
    language plpgsql security definer set search_path = pg_catalog set lock_timeout = '2s' as $$
declare
    model text;
begin
    for model in select read.models() loop
        execute format('lock table read.%I in access exclusive mode', model);
    end loop;
    for model in select read.models() loop
        execute format('drop table read.%I', model);
    end loop;
    for model in select relname from pg_class where relnamespace = 'read_next'::regnamespace and relkind = 'r' loop
        execute format('alter table read_next.%I set schema read', model);
    end loop;
    perform read.prepare_rebuild();
end $$;
revoke all on function read.models, read.prepare_rebuild, read.analyze_rebuilt, read.swap_rebuilt from public;
grant execute on function read.models, read.prepare_rebuild, read.analyze_rebuilt, read.swap_rebuilt to articurated_query;

select read.prepare_rebuild();

-- Which days of the outbox retention has dropped; one row. What happened in them, a rebuild learns from snapshots.
create table messaging.retention (
    one              boolean not null default true constraint retention_pkey primary key constraint retention_single check (one),
    dropped_through  date
);
insert into messaging.retention default values;

-- When each owner of aggregates has last told the state and the history of all of them anew, as `snapshot.taken` events.
--   source      command (orders and returns) or workers (invoices, credit notes, refunds)
--   started_at  the events are of this time or later
create table messaging.snapshot_runs (
    source       text        not null constraint snapshot_runs_pkey primary key
                             constraint snapshot_runs_source_known check (source in ('command', 'workers')),
    started_at   timestamptz not null,
    finished_at  timestamptz not null,
    aggregates   bigint      not null
);
grant select, insert, update on messaging.snapshot_runs to articurated_command, articurated_workers;
grant select on messaging.retention, messaging.snapshot_runs to articurated_query, articurated_operator;

create or replace function messaging.drop_expired_partition(retention_days integer) returns text
    language plpgsql security definer set search_path = pg_catalog set lock_timeout = '2s' as $$
declare
    oldest_kept text := to_char((now() at time zone 'UTC')::date - retention_days, 'YYYYMMDD');
    child record;
    unsettled boolean;
begin
    if retention_days < 1 then
        raise exception 'the retention must be at least one day' using errcode = 'invalid_parameter_value';
    end if;
    perform pg_advisory_xact_lock(hashtext('messaging.ensure_partitions'));
    for child in
        select c.relname as name, right(c.relname, 8) as day, parent.relname as parent
        from pg_inherits
        join pg_class c on c.oid = inhrelid
        join pg_class parent on parent.oid = inhparent
        where inhparent in ('messaging.outbox'::regclass, 'messaging.inbox'::regclass) and right(c.relname, 8) < oldest_kept
        order by parent.relname desc, c.relname
    loop
        if child.parent = 'outbox' then
            execute format(
                'select exists (select from messaging.%I where published_at is null and parked_reason is distinct from ''SKIPPED'')
                     or exists (select from messaging.inbox where status <> ''done'' and event_id >= %L and event_id < %L)',
                child.name,
                messaging.lowest_event_id(to_date(child.day, 'YYYYMMDD')::timestamp at time zone 'UTC'),
                messaging.lowest_event_id((to_date(child.day, 'YYYYMMDD') + 1)::timestamp at time zone 'UTC'))
            into unsettled;
        else
            unsettled := to_regclass('messaging.outbox_' || child.day) is not null;
        end if;
        continue when unsettled;
        -- A day without an event leaves nothing to be told again.
        if child.parent = 'outbox' then
            execute format(
                'update messaging.retention set dropped_through = greatest(dropped_through, %L) where exists (select from messaging.%I)',
                to_date(child.day, 'YYYYMMDD'), child.name);
        end if;
        execute format('drop table messaging.%I', child.name);
        return child.name;
    end loop;
    return null;
end $$;

-- The document that the last event of each has carried, for those who are to be told of it again.
alter table work.invoices add document jsonb;
alter table work.credit_notes add document jsonb;
alter table work.refunds add document jsonb;
update work.invoices set document = payload -> 'snapshot'
from messaging.outbox where aggregate_type = 'invoice' and aggregate_id = invoices.id;
update work.credit_notes set document = payload -> 'snapshot'
from messaging.outbox where aggregate_type = 'credit_note' and aggregate_id = credit_notes.id;
update work.refunds set document = payload -> 'snapshot'
from messaging.outbox where aggregate_type = 'refund' and aggregate_id = refunds.id and aggregate_version = refunds.version;
-- What retention has dropped before this, the read models still have, unless they are in another database.
update work.invoices as issued set document = shown.document::jsonb
from read.invoices as shown where shown.order_id = issued.order_id and issued.document is null and issued.stored_at is not null;
update work.credit_notes as issued set document = shown.document::jsonb
from read.credit_notes as shown where shown.return_id = issued.return_id and issued.document is null and issued.stored_at is not null;
update work.refunds as refund set document = shown.document::jsonb
from read.refunds as shown where shown.return_id = refund.return_id and refund.document is null and shown.version = refund.version;

update messaging.retention set dropped_through = oldest.day - 1
from (select min(to_date(right(relname, 8), 'YYYYMMDD')) as day
      from pg_inherits join pg_class on pg_class.oid = inhrelid where inhparent = 'messaging.outbox'::regclass) as oldest
where exists (select from command.state_transitions where created_at < oldest.day::timestamp at time zone 'UTC');
