-- What operators need: a role that sees everything, a record of what they did, and retention.

do $$
begin
    create role articurated_operator nologin;
exception
    when duplicate_object or unique_violation then null;
end $$;

-- Who holds back vacuum, and who listens, stands in pg_stat_activity, where one sees only one's own statements
-- without this. Where the migration may not grant it (some managed databases), `doctor` says what it could not see.
do $$
begin
    grant pg_read_all_stats to articurated_operator;
exception
    when insufficient_privilege then null;
end $$;

-- Which migrations were applied. The table is made by whoever applies them, and not by every such tool.
do $$
begin
    grant select on _sqlx_migrations to articurated_operator;
exception
    when undefined_table then null;
end $$;

grant usage on schema command, messaging, work, read to articurated_operator;
grant select on all tables in schema command, messaging, work, read to articurated_operator;
-- Grows when an operator has changed rows that the relay has left behind: it looks at the shard from the beginning again.
alter table messaging.shard_leases add column sweeps bigint not null default 0;

grant update on messaging.outbox, messaging.inbox, messaging.queues, messaging.shard_leases to articurated_operator;

-- One row per act of an operator, in the transaction of the act. Append-only, like the audit of orders and returns.
--   door    how it came: the command line, the API, or the console
--   target  what was asked for: ids, or the filter and how it was meant
create table messaging.operator_acts (
    id            bigint      not null generated always as identity constraint operator_acts_pkey primary key,
    acted_at      timestamptz not null default clock_timestamp(),
    actor         text        not null constraint operator_acts_actor_length check (char_length(actor) between 1 and 128),
    door          text        not null constraint operator_acts_door_known check (door in ('CLI', 'REST', 'CONSOLE')),
    act           text        not null constraint operator_acts_act_known check (act in
                              ('REPLAY', 'SKIP', 'RELEASE', 'RETRY', 'PAUSE', 'RESUME')),
    target        jsonb       not null,
    reason        text        not null constraint operator_acts_reason_length check (char_length(reason) between 1 and 1000),
    rows_changed  bigint      not null constraint operator_acts_rows_not_negative check (rows_changed >= 0),
    request_id    text
);
create index operator_acts_acted_at on messaging.operator_acts (acted_at desc);
create trigger operator_acts_append_only
    before update or delete on messaging.operator_acts
    for each row execute function command.refuse_change();
create trigger operator_acts_no_truncate
    before truncate on messaging.operator_acts
    for each statement execute function command.refuse_change();
grant select, insert on messaging.operator_acts to articurated_operator;

-- Drops one daily partition that is older than the retention, and returns its name; null when there is none.
--
-- A day goes only when it is settled: every outbox row published or skipped, every job done. What an operator has yet
-- to deal with keeps its day, whatever its age. The inbox of a day is the memory of what was consumed, so it goes only
-- after the outbox of that day: what could be delivered again is never forgotten first.
--
-- One table per call, because dropping a partition locks its parent for a moment; `lock_timeout` makes the call give
-- up instead of queueing everybody behind itself.
create function messaging.drop_expired_partition(retention_days integer) returns text
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
        execute format('drop table messaging.%I', child.name);
        return child.name;
    end loop;
    return null;
end $$;
revoke all on function messaging.drop_expired_partition from public;
grant execute on function messaging.drop_expired_partition to articurated_relay;
