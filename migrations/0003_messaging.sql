-- Everything between a commit on the command side and its effects: the outbox, the inbox, their partitions, and what
-- processes and operators do by themselves.
--
-- Outbox and inbox are partitioned by range of event_id. Event ids are UUIDv7, which begin with their time in
-- milliseconds, so a range of days is a range of ids. Ids are therefore unique over the whole table, and retention drops
-- a partition instead of deleting rows. There is no default partition: a row without a partition is a visible
-- error, not a table that grows unnoticed.


-- The outbox ----------------------------------------------------------------------------------------------------------

-- One row per event, written in the transaction that makes the change.
--   position           order of insertion; a hint for scans and never a cursor, because identity values commit out of order
--   aggregate_version  the order that counts within an aggregate
--   shard              hash of the aggregate, 0..15; one relay at a time holds the lease of a shard
--   headers            traceparent, request id, actor: what a consumer needs to continue the trace
-- The rest is the relay's bookkeeping:
--   published_at       null while pending
--   attempts, last_error, next_attempt_at   a row that failed is tried again after its back-off
--   parked_at, parked_reason                a row that cannot be sent; it blocks the later events of its aggregate
--   relay_epoch        epoch of the lease under which the row was published
create table messaging.outbox (
    event_id           uuid        not null,
    position           bigint      not null generated always as identity,
    aggregate_type     text        not null,
    aggregate_id       uuid        not null,
    aggregate_version  integer     not null,
    shard              smallint    not null constraint outbox_shard_range check (shard between 0 and 15),
    event_type         text        not null,
    payload            jsonb       compression lz4 not null,
    headers            jsonb       not null default '{}',
    occurred_at        timestamptz not null,
    published_at       timestamptz,
    attempts           integer     not null default 0,
    last_error         text,
    next_attempt_at    timestamptz,
    parked_at          timestamptz,
    parked_reason      text        constraint outbox_parked_reason_known check (parked_reason in
                                   ('UNROUTABLE', 'TOO_LARGE', 'ATTEMPTS_SPENT', 'UNDECODABLE', 'SKIPPED')),
    relay_epoch        bigint,
    constraint outbox_pkey primary key (event_id),
    constraint outbox_parked_has_reason check ((parked_at is null) = (parked_reason is null))
) partition by range (event_id);

-- The pending rows in the order in which the relay takes them. A row leaves this index when it is published.
create index outbox_pending on messaging.outbox (position) where published_at is null and parked_at is null;
-- The few rows that failed at least once. The relay finds here which aggregates are blocked.
create index outbox_troubled on messaging.outbox (aggregate_id, aggregate_version) where published_at is null and attempts > 0;

-- The shard of an aggregate. This is the only definition.
create function messaging.shard_of(aggregate_id uuid) returns smallint
    language sql immutable strict parallel safe
    return (uuid_hash(aggregate_id) & 15)::smallint;

-- Appends events of aggregates of one type to the outbox, and returns how many. It is the only insert into the table, and
-- a batch is one call. The n-th elements of the arrays are the n-th event, and events get their `position` in that order.
--
-- It is plpgsql because that keeps the plan of the insert; Postgres would plan a SQL function again at every call. The
-- arrays are unnested in the select list because `from unnest(…)` would copy every payload once more.
create function messaging.append_events(
    aggregate_type text, event_ids uuid[], aggregate_ids uuid[], aggregate_versions integer[], event_types text[],
    payloads jsonb[], event_headers jsonb[], times timestamptz[]
) returns bigint
    language plpgsql security invoker as $$
declare
    appended bigint;
begin
    insert into messaging.outbox
        (event_id, aggregate_type, aggregate_id, aggregate_version, shard, event_type, payload, headers, occurred_at)
    select event_id, aggregate_type, aggregate_id, aggregate_version, messaging.shard_of(aggregate_id), event_type,
           payload, headers, occurred_at
    from (select unnest(event_ids) as event_id, unnest(aggregate_ids) as aggregate_id,
                 unnest(aggregate_versions) as aggregate_version, unnest(event_types) as event_type,
                 unnest(payloads) as payload, unnest(event_headers) as headers, unnest(times) as occurred_at) as event;
    get diagnostics appended = row_count;
    return appended;
end $$;
revoke all on function messaging.append_events from public;
grant execute on function messaging.append_events to articurated_command, articurated_workers;

grant insert on messaging.outbox to articurated_command;
grant select, insert on messaging.outbox to articurated_workers;
grant select, update on messaging.outbox to articurated_relay, articurated_operator;
grant select on messaging.outbox to articurated_query;

-- Which relay may publish a shard. Time is the database's clock, never a relay's.
--   epoch   grows at every change of owner; every mark checks it, so a relay that slept past its lease marks nothing
--   sweeps  grows when an operator changed rows that the relay has already passed; the relay then scans the shard from
--           the beginning
create table messaging.shard_leases (
    shard       smallint    not null constraint shard_leases_pkey primary key,
    owner       text,
    epoch       bigint      not null default 0,
    sweeps      bigint      not null default 0,
    expires_at  timestamptz not null default '-infinity'
) with (fillfactor = 50);
insert into messaging.shard_leases (shard) select generate_series(0, 15);
grant select, update on messaging.shard_leases to articurated_relay, articurated_operator;

-- The relays that are alive. Each computes from it how many shards are its fair share.
create table messaging.relay_instances (
    name        text        not null constraint relay_instances_pkey primary key,
    expires_at  timestamptz not null
);
grant select, insert, update, delete on messaging.relay_instances to articurated_relay;


-- The inbox -----------------------------------------------------------------------------------------------------------

-- The consumer queues. A pause is stored here, so it survives a restart of every process.
create table messaging.queues (
    name           text not null constraint queues_pkey primary key,
    paused_at      timestamptz,
    paused_by      text,
    paused_reason  text
);
insert into messaging.queues (name) values ('invoices'), ('credit_notes'), ('refunds'), ('notifications'), ('projections');
grant select on messaging.queues to articurated_workers, articurated_query;
grant select, update on messaging.queues to articurated_operator;

-- One row per (consumer queue, event). It is the job itself, and the memory that makes every effect happen once.
--   status        ready → running → done; back to ready after a failure; dead after the last one;
--                 in_doubt when an effect may have happened and must be looked up before the next attempt
--   run_at        not before this time (back-off)
--   lease_owner, leased_until, fence   who runs it; the fence grows at every claim, and completion checks it
create table messaging.inbox (
    queue              text        not null,
    event_id           uuid        not null,
    event_type         text        not null,
    aggregate_type     text        not null,
    aggregate_id       uuid        not null,
    aggregate_version  integer     not null,
    payload            jsonb       compression lz4 not null,
    headers            jsonb       not null default '{}',
    occurred_at        timestamptz not null,
    received_at        timestamptz not null default clock_timestamp(),
    status             text        not null default 'ready' constraint inbox_status_known check (status in
                                   ('ready', 'running', 'done', 'dead', 'in_doubt')),
    attempts           integer     not null default 0,
    run_at             timestamptz not null default clock_timestamp(),
    lease_owner        text,
    leased_until       timestamptz,
    fence              bigint      not null default 0,
    started_at         timestamptz,
    finished_at        timestamptz,
    last_error         text,
    result             jsonb,
    constraint inbox_pkey primary key (queue, event_id),
    constraint inbox_running_has_lease check ((status = 'running') = (leased_until is not null)),
    constraint inbox_finished_has_time check ((status in ('done', 'dead')) = (finished_at is not null))
) partition by range (event_id);

create index inbox_ready on messaging.inbox (queue, run_at) where status in ('ready', 'in_doubt');
create index inbox_running on messaging.inbox (leased_until) where status = 'running';
create index inbox_dead on messaging.inbox (queue, finished_at) where status = 'dead';

grant select, insert, update on messaging.inbox to articurated_relay, articurated_workers, articurated_query;
grant select, update on messaging.inbox to articurated_operator;


-- Partitions and retention --------------------------------------------------------------------------------------------

-- A partition is an eighth of the retention wide, so there are about a dozen for any retention
-- (docs/decisions/0015-wider-partitions.md). Pending rows may have any age, so every statement looks into every
-- partition: with one partition a day, the relay's statement took four to five times as long after 90 days.

-- The lowest id that a UUIDv7 of the given time can have.
create function messaging.lowest_event_id(at timestamptz) returns uuid
    language sql immutable strict parallel safe
    return (lpad(to_hex((extract(epoch from at) * 1000)::bigint), 12, '0') || '00000000000000000000')::uuid;

-- The day of an event id, in UTC.
create function messaging.day_of(event_id uuid) returns date
    language sql immutable strict parallel safe
    return (to_timestamp(('x' || translate(left(event_id::text, 13), '-', ''))::bit(48)::bigint / 1000.0) at time zone 'UTC')::date;

-- The partitions of outbox and inbox and the days they hold: from `from_day` to the day before `until_day`.
create view messaging.partitions as
select parent.relname::text as parent, child.relname::text as name,
       messaging.day_of(bounds[1]::uuid) as from_day, messaging.day_of(bounds[2]::uuid) as until_day
from pg_catalog.pg_inherits
join pg_catalog.pg_class as parent on parent.oid = inhparent
join pg_catalog.pg_class as child on child.oid = inhrelid
cross join regexp_match(pg_catalog.pg_get_expr(child.relpartbound, child.oid), 'FROM \(''(.*)''\) TO \(''(.*)''\)') as bounds
where inhparent in ('messaging.outbox'::regclass, 'messaging.inbox'::regclass);
grant select on messaging.partitions to articurated_relay;

-- Creates the missing partitions of both tables, from `days_behind` days ago to `days_ahead` days ahead, and returns how
-- many. Each is `width_days` wide, or less where the next partition begins earlier.
--
-- A partition is created as a separate table and then attached. Attaching takes a lock that lets reads and writes of the
-- parent continue; `create table … partition of` would block them.
--
-- Runs with the rights of its owner, so that the relay can call it without owning the tables.
create function messaging.ensure_partitions(days_behind integer, days_ahead integer, width_days integer) returns integer
    language plpgsql security definer set search_path = pg_catalog as $$
declare
    today date := (now() at time zone 'UTC')::date;
    table_name text;
    child text;
    begins date;
    ends date;
    made integer := 0;
begin
    if width_days < 1 then
        raise exception 'a partition must be at least one day wide' using errcode = 'invalid_parameter_value';
    end if;
    perform pg_advisory_xact_lock(hashtext('messaging.ensure_partitions'));
    foreach table_name in array array['outbox', 'inbox'] loop
        begins := today - days_behind;
        while begins <= today + days_ahead loop
            select until_day into ends from messaging.partitions
            where parent = table_name and from_day <= begins and until_day > begins;
            if not found then
                select least(begins + width_days, min(from_day)) into ends
                from messaging.partitions where parent = table_name and from_day > begins;
                child := table_name || to_char(begins, '_YYYYMMDD');
                execute format('create table messaging.%I (like messaging.%I including defaults including constraints including compression)',
                               child, table_name);
                execute format('alter table messaging.%I attach partition messaging.%I for values from (%L) to (%L)',
                               table_name, child,
                               messaging.lowest_event_id(begins::timestamp at time zone 'UTC'),
                               messaging.lowest_event_id(ends::timestamp at time zone 'UTC'));
                made := made + 1;
            end if;
            begins := ends;
        end loop;
    end loop;
    return made;
end $$;
revoke all on function messaging.ensure_partitions from public;
grant execute on function messaging.ensure_partitions to articurated_relay;

-- The last day of outbox partitions that retention has dropped; one row. A rebuild learns from snapshots what happened
-- until then.
create table messaging.retention (
    one              boolean not null default true constraint retention_pkey primary key constraint retention_single check (one),
    dropped_through  date
);
insert into messaging.retention default values;
grant select on messaging.retention to articurated_query;

-- Drops one partition whose days are all older than the retention, and returns its name; null when there is none.
--
-- A partition is dropped only when it is settled: every outbox row published or skipped, every job done. A row that an
-- operator still has to deal with keeps its partition, at any age. The inbox is the memory of what was consumed, so an
-- inbox partition is dropped only after the outbox partitions of its days: otherwise an event could be delivered again
-- after its memory is gone.
--
-- It drops one table per call, because dropping a partition locks its parent for a moment. With `lock_timeout` the call
-- gives up; without it, every other statement would queue behind the waiting lock.
create function messaging.drop_expired_partition(retention_days integer) returns text
    language plpgsql security definer set search_path = pg_catalog set lock_timeout = '2s' as $$
declare
    child record;
    unsettled boolean;
begin
    if retention_days < 1 then
        raise exception 'the retention must be at least one day' using errcode = 'invalid_parameter_value';
    end if;
    perform pg_advisory_xact_lock(hashtext('messaging.ensure_partitions'));
    for child in
        select * from messaging.partitions
        where until_day <= (now() at time zone 'UTC')::date - retention_days
        order by parent desc, from_day
    loop
        if child.parent = 'outbox' then
            execute format(
                'select exists (select from messaging.%I where published_at is null and parked_reason is distinct from ''SKIPPED'')
                     or exists (select from messaging.inbox where status <> ''done'' and event_id >= %L and event_id < %L)',
                child.name,
                messaging.lowest_event_id(child.from_day::timestamp at time zone 'UTC'),
                messaging.lowest_event_id(child.until_day::timestamp at time zone 'UTC'))
            into unsettled;
        else
            unsettled := exists (select from messaging.partitions as outbox
                                 where outbox.parent = 'outbox' and outbox.from_day < child.until_day and outbox.until_day > child.from_day);
        end if;
        continue when unsettled;
        -- A partition that never held an event leaves nothing to republish.
        if child.parent = 'outbox' then
            execute format(
                'update messaging.retention set dropped_through = greatest(dropped_through, %L) where exists (select from messaging.%I)',
                child.until_day - 1, child.name);
        end if;
        execute format('drop table messaging.%I', child.name);
        return child.name;
    end loop;
    return null;
end $$;
revoke all on function messaging.drop_expired_partition from public;
grant execute on function messaging.drop_expired_partition to articurated_relay;

-- When each owner of aggregates last republished the state and history of all of them, as `snapshot.taken` events.
--   source      command (orders and returns) or workers (invoices, credit notes, refunds)
--   started_at  no event of the run is older than this
create table messaging.snapshot_runs (
    source       text        not null constraint snapshot_runs_pkey primary key
                             constraint snapshot_runs_source_known check (source in ('command', 'workers')),
    started_at   timestamptz not null,
    finished_at  timestamptz not null,
    aggregates   bigint      not null
);
grant select, insert, update on messaging.snapshot_runs to articurated_command, articurated_workers;
grant select on messaging.snapshot_runs to articurated_query;


-- Schedules -----------------------------------------------------------------------------------------------------------

-- One row per schedule, created when a process that has it starts for the first time. The last process to start sets its
-- expression; an instance with a different one no longer leads.
--   next_due_at   null when the schedule is switched off; during a run, the time at which that run was due
--   last_due_at   the newest due time that is settled, done or failed
--   lease_owner, leased_until, fence   who leads. Time is the database's clock. The fence grows at every change of leader
--                 and when a leader slept past its lease. Starting and finishing a run checks all three, so an instance
--                 that was replaced without noticing records nothing.
-- Half of each page stays free: the lease is renewed all the time, and those updates should touch no index.
create table messaging.schedules (
    name          text        not null constraint schedules_pkey primary key
                              constraint schedules_name_length check (char_length(name) between 1 and 64),
    cron          text        not null,
    timezone      text        not null,
    next_due_at   timestamptz,
    last_due_at   timestamptz,
    lease_owner   text,
    leased_until  timestamptz not null default '-infinity',
    fence         bigint      not null default 0,
    constraint schedules_due_times_grow check (next_due_at > last_due_at)
) with (fillfactor = 50);

-- One row per due time that was run. The times are those of the process that ran it.
--   missed     earlier due times that passed while no process was running; they are not run any more
--   attempt    attempts started
--   status     running → done; waiting after a failed attempt, until retry_at; failed after the last one.
--              running without a leader: the leader died, and the next leader tries again
--   error      what the last failed attempt reported
--   result     what the run reports
create table messaging.schedule_runs (
    name         text        not null constraint schedule_runs_schedule_fkey references messaging.schedules (name),
    due_at       timestamptz not null,
    missed       integer     not null default 0 constraint schedule_runs_missed_not_negative check (missed >= 0),
    attempt      integer     not null constraint schedule_runs_attempt_not_negative check (attempt >= 0),
    owner        text        not null,
    started_at   timestamptz not null,
    finished_at  timestamptz,
    status       text        not null constraint schedule_runs_status_known check (status in ('running', 'waiting', 'done', 'failed')),
    retry_at     timestamptz,
    error        text,
    result       jsonb,
    constraint schedule_runs_pkey primary key (name, due_at),
    constraint schedule_runs_waiting_has_time check ((status = 'waiting') = (retry_at is not null)),
    constraint schedule_runs_settled_has_time check ((status in ('done', 'failed')) = (finished_at is not null))
);

grant select, insert, update on messaging.schedules, messaging.schedule_runs
    to articurated_command, articurated_relay, articurated_query;
-- The relay deletes old runs.
grant delete on messaging.schedule_runs to articurated_relay;


-- What the relay and its operators both read --------------------------------------------------------------------------

-- The events that a relay may send now.
--
-- A troubled event was tried before and is neither published nor skipped. The later events of its aggregate wait until it
-- is published, so the order holds across batches. Whether there is any troubled event is asked once and first: usually
-- there is none, and asking for each event would read every partition.
create view messaging.due_events as
select event.*
from messaging.outbox as event
where event.published_at is null and event.parked_at is null
  and (event.next_attempt_at is null or event.next_attempt_at <= clock_timestamp())
  and ((select not exists (
            select from messaging.outbox as troubled
            where troubled.published_at is null and troubled.attempts > 0 and troubled.parked_reason is distinct from 'SKIPPED'))
       or not exists (
            select from messaging.outbox as earlier
            where earlier.aggregate_id = event.aggregate_id and earlier.aggregate_version < event.aggregate_version
              and earlier.published_at is null and earlier.attempts > 0 and earlier.parked_reason is distinct from 'SKIPPED'));

-- What waits in the outbox: one row. Each part reads a partial index of unpublished events.
create view messaging.outbox_backlog as
select (select count(*) from messaging.outbox where published_at is null and parked_at is null) as pending,
       (select count(*) from messaging.outbox
        where published_at is null and attempts > 0 and parked_at is not null and parked_reason <> 'SKIPPED') as parked,
       (select occurred_at from messaging.outbox where published_at is null and parked_at is null
        order by position limit 1) as oldest_pending;

-- What waits in each queue: one row per queue. Done jobs are history and not counted.
create view messaging.queue_backlog as
with open as (
    select queue,
           count(*) filter (where status = 'ready') as ready, count(*) filter (where status = 'running') as running,
           count(*) filter (where status = 'in_doubt') as in_doubt, count(*) filter (where status = 'dead') as dead,
           min(received_at) filter (where status = 'ready') as oldest_ready
    from messaging.inbox
    where status in ('ready', 'in_doubt') or status = 'running' or status = 'dead'
    group by queue
)
select queues.name, coalesce(ready, 0) as ready, coalesce(running, 0) as running, coalesce(in_doubt, 0) as in_doubt,
       coalesce(dead, 0) as dead, oldest_ready, paused_at, paused_by, paused_reason
from messaging.queues left join open on open.queue = queues.name;

grant select on messaging.due_events, messaging.outbox_backlog, messaging.queue_backlog to articurated_relay;


-- Operators -----------------------------------------------------------------------------------------------------------

-- One row per action of an operator, written in the transaction of the action. Append-only, like the audit.
--   source  where the action came from
--   target  what was asked for: ids, or a filter and what it selected
create table messaging.operator_actions (
    id            bigint      not null generated always as identity constraint operator_actions_pkey primary key,
    acted_at      timestamptz not null default clock_timestamp(),
    actor         text        not null constraint operator_actions_actor_length check (char_length(actor) between 1 and 128),
    source        text        not null constraint operator_actions_source_known check (source in ('CLI', 'REST', 'CONSOLE')),
    action        text        not null constraint operator_actions_action_known check (action in
                              ('REPLAY', 'SKIP', 'RELEASE', 'RETRY', 'PAUSE', 'RESUME')),
    target        jsonb       not null,
    reason        text        not null constraint operator_actions_reason_length check (char_length(reason) between 1 and 1000),
    rows_changed  bigint      not null constraint operator_actions_rows_not_negative check (rows_changed >= 0),
    request_id    text
);
create index operator_actions_acted_at on messaging.operator_actions (acted_at desc);
create trigger operator_actions_append_only
    before update or delete on messaging.operator_actions
    for each row execute function command.refuse_change();
create trigger operator_actions_no_truncate
    before truncate on messaging.operator_actions
    for each statement execute function command.refuse_change();
grant insert on messaging.operator_actions to articurated_operator;

grant select on all tables in schema messaging to articurated_operator;


-- The first partitions, as wide as the default retention of 90 days makes them. The relay creates all later ones. They
-- come last because no process may reach a partition except through its parent: the grant above must not include them.
select messaging.ensure_partitions(1, 14, 11);
