-- The outbox and the inbox: everything between a commit on the command side and its effects.
--
-- Both are partitioned by range of event_id. Event ids are UUIDv7, which begin with their time in
-- milliseconds, so a day is a range of ids: the id is unique over the whole table, and retention drops a
-- partition instead of deleting rows. There is no DEFAULT partition: a row without a home is an error
-- that somebody sees, not a table that silently grows.

-- The lowest id a UUIDv7 of the given time can have.
create function messaging.lowest_event_id(at timestamptz) returns uuid
    language sql immutable strict parallel safe
    return (lpad(to_hex((extract(epoch from at) * 1000)::bigint), 12, '0') || '00000000000000000000')::uuid;

-- One row per event, written by the statement that makes the change.
--   position         order of insertion; a hint for scanning, never a cursor: identity values commit out of order
--   aggregate_version  the order that counts within an aggregate
--   shard            hash of the aggregate, 0..15; a shard is leased by one relay at a time
--   headers          traceparent, request id, actor: what a consumer needs to go on with the same trace
-- The rest is the relay's bookkeeping:
--   published_at     null while pending
--   attempts, last_error, next_attempt_at   a row that failed is tried again after its back-off
--   parked_at, parked_reason                a row that cannot go out; its aggregate waits behind it
--   relay_epoch      fencing epoch of the lease under which the row was published
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

-- What is left to do, in the order in which the relay takes it. Rows leave this index when they go out.
create index outbox_pending on messaging.outbox (position) where published_at is null and parked_at is null;
-- The few rows that failed at least once: the aggregates that wait behind them are found here.
create index outbox_troubled on messaging.outbox (aggregate_id, aggregate_version) where published_at is null and attempts > 0;

-- The shard of an aggregate. One definition, used by everybody who writes to the outbox.
create function messaging.shard_of(aggregate_id uuid) returns smallint
    language sql immutable strict parallel safe
    return (uuid_hash(aggregate_id) & 15)::smallint;

-- Who may publish a shard. Time is the database's clock, never a relay's. The epoch grows at every change
-- of owner; every mark checks it, so a relay that slept past its lease cannot mark anything.
create table messaging.shard_leases (
    shard       smallint    not null constraint shard_leases_pkey primary key,
    owner       text,
    epoch       bigint      not null default 0,
    expires_at  timestamptz not null default '-infinity'
) with (fillfactor = 50);
insert into messaging.shard_leases (shard) select generate_series(0, 15);

-- The relays that are alive, so that each can work out its fair share of the shards.
create table messaging.relay_instances (
    name        text        not null constraint relay_instances_pkey primary key,
    expires_at  timestamptz not null
);

-- The consumer queues. Pausing a queue is a row here, so it survives restarts of everything.
create table messaging.queues (
    name           text not null constraint queues_pkey primary key,
    paused_at      timestamptz,
    paused_by      text,
    paused_reason  text
);
insert into messaging.queues (name) values ('invoices'), ('refunds'), ('notifications'), ('projections');

-- One row per (consumer queue, event): the memory that makes every effect happen once, and the job itself.
--   status        ready → running → done; back to ready after a failure; dead after the last one;
--                 in_doubt when an effect may have happened and must be looked up before it is tried again
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
    status             text        not null default 'ready' constraint inbox_status_known check (status in ('ready', 'running', 'done', 'dead', 'in_doubt')),
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

-- Makes the daily partitions of both tables from `days_behind` days ago to `days_ahead` days ahead.
-- A partition is made as a table of its own and then attached: that takes a lock which lets reads and
-- writes of the parent go on, where `create table … partition of` would stop them.
-- Runs as its owner so that the relay can call it without owning the tables.
create function messaging.ensure_partitions(days_behind integer, days_ahead integer) returns integer
    language plpgsql security definer set search_path = pg_catalog as $$
declare
    parent text;
    day date;
    child text;
    made integer := 0;
begin
    perform pg_advisory_xact_lock(hashtext('messaging.ensure_partitions'));
    foreach parent in array array['outbox', 'inbox'] loop
        for i in -days_behind .. days_ahead loop
            day := (now() at time zone 'UTC')::date + i;
            child := parent || to_char(day, '_YYYYMMDD');
            continue when to_regclass('messaging.' || child) is not null;
            execute format('create table messaging.%I (like messaging.%I including defaults including constraints including compression)', child, parent);
            execute format(
                'alter table messaging.%I attach partition messaging.%I for values from (%L) to (%L)',
                parent, child,
                messaging.lowest_event_id(day::timestamp at time zone 'UTC'),
                messaging.lowest_event_id((day + 1)::timestamp at time zone 'UTC'));
            made := made + 1;
        end loop;
    end loop;
    return made;
end $$;
revoke all on function messaging.ensure_partitions from public;
grant execute on function messaging.ensure_partitions to articurated_relay;

select messaging.ensure_partitions(1, 14);

grant insert on messaging.outbox to articurated_command;
grant select, insert on messaging.outbox to articurated_workers;
grant select, update on messaging.outbox, messaging.shard_leases to articurated_relay;
grant select, insert, update, delete on messaging.relay_instances to articurated_relay;
grant select on messaging.outbox to articurated_query;
grant select, insert, update on messaging.inbox to articurated_relay, articurated_workers, articurated_query;
grant select on messaging.queues to articurated_workers, articurated_query;
grant select, update on messaging.queues to articurated_relay;
