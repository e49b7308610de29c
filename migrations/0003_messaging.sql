-- Everything between a commit on the command side and its effects: the outbox, the inbox, their partitions, and what
-- processes and operators do by themselves.


-- The log -------------------------------------------------------------------------------------------------------------

-- The outbox: one row per event, written in the transaction that makes the change. It is a log: a row is written once and
-- never updated, so someone's open snapshot keeps no dead versions of it.
--
-- The row holds only what nothing else holds. The same transaction writes the audit row of the change, and the aggregate's
-- frozen document is written once, at its creation; both stay. `messaging.events` below puts the three together, and that is
-- what every reader sees. An event with its document would be three times as large, and a command would take half as long
-- again (docs/decisions/0023-an-event-is-composed.md).
--   position           order of insertion, drawn by the inserting statement. Not the order of the commits: see below
--   aggregate_version  the order that counts within an aggregate; with type and id it is the key of the audit row
--   shard              hash of the aggregate, 0..15; at any time one process reads a shard for a consumer
--   schema_version     the shape of the event
--   traceparent        with which a consumer continues the trace (W3C Trace Context)
--   payload            of an order or a return, what its transitions have added to the frozen document so far; of all others
--                      the whole document
create table messaging.outbox (
    event_id           uuid        not null,
    position           bigint      not null generated always as identity (cache 1),
    aggregate_type     text        not null,
    aggregate_id       uuid        not null,
    aggregate_version  integer     not null,
    shard              smallint    not null constraint outbox_shard_range check (shard between 0 and 15),
    schema_version     smallint    not null default 1,
    event_type         text        not null,
    occurred_at        timestamptz not null,
    traceparent        text,
    payload            jsonb       compression lz4 not null,
    constraint outbox_pkey primary key (event_id)
) partition by range (event_id);
-- The log in its order.
create index outbox_position on messaging.outbox (position);

-- Readers of the log (the relays, the projectors) follow it by position. Positions commit out of order, so a reader
-- remembers the gaps below its head and looks at them again. A gap ends when no transaction can fill it any more: a writer
-- of the outbox locks the table before it draws a position and holds the lock until its transaction ends. So once every
-- transaction that held the lock at some moment has ended, each position drawn before that moment is committed or never
-- will be. This holds only because the sequence has no cache, the inserting statement draws the position, and all inserts
-- go through the parent table (docs/decisions/0008-the-mark-waits-for-writers.md).

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
    payloads jsonb[], traceparents text[], times timestamptz[]
) returns bigint
    language plpgsql security invoker as $$
declare
    appended bigint;
begin
    insert into messaging.outbox
        (event_id, aggregate_type, aggregate_id, aggregate_version, shard, event_type, payload, traceparent, occurred_at)
    select event_id, aggregate_type, aggregate_id, aggregate_version, messaging.shard_of(aggregate_id), event_type,
           payload, traceparent, occurred_at
    from (select unnest(event_ids) as event_id, unnest(aggregate_ids) as aggregate_id,
                 unnest(aggregate_versions) as aggregate_version, unnest(event_types) as event_type,
                 unnest(payloads) as payload, unnest(traceparents) as traceparent, unnest(times) as occurred_at) as event;
    get diagnostics appended = row_count;
    return appended;
end $$;
revoke all on function messaging.append_events from public;
grant execute on function messaging.append_events to articurated_command, articurated_workers;

-- The history of an entity up to a version, for those who may read events and not the audit.
create function messaging.history(type text, id uuid, until integer) returns json
    language sql stable security definer set search_path = pg_catalog
    return (select json_agg(command.transition(step) order by step.version)
            from command.state_transitions as step
            where step.entity_type = type and step.entity_id = id and step.version <= until);
revoke all on function messaging.history from public;

-- The payload of an event: {"snapshot": the whole document after the change, "transition": the audit row}; of snapshot.taken
-- and the erasures also {"history": all audit rows until then}.
--
-- The result is text, because a cast to json would read it once more.
create function messaging.payload_of(event_type text, payload jsonb, document json, audit command.state_transitions) returns text
    language sql stable
    return '{"snapshot":' || coalesce(command.whole(document, payload, (audit).to_state, (audit).version), payload::text)
        || ',"transition":' || case when (audit).version is null then 'null' else command.transition(audit)::text end
        || case when event_type = 'snapshot.taken' or right(event_type, 7) = '.erased'
               then ',"history":' || coalesce(messaging.history((audit).entity_type, (audit).entity_id, (audit).version)::text, 'null')
               else '' end
        || '}';

-- What a consumer needs to continue the trace and the request that caused the event.
create function messaging.headers_of(traceparent text, schema_version smallint, audit command.state_transitions) returns json
    language sql stable
    return json_strip_nulls(json_build_object(
        'traceparent', traceparent, 'request_id', (audit).request_id, 'actor', (audit).actor, 'schema_version', nullif(schema_version, 1)));

-- The events as their readers see them: the row of the outbox, with the audit row and the frozen document. Without an audit
-- row, which no command leaves out, there is only what the outbox has.
--   payload, headers  as above. Composing them is most of the cost of reading an event; a column that a query does not use
--                     costs nothing. Readers that do not look into the payload take `payload_text`
--   added, audit, document  of what they are composed, for readers that choose first and compose then
--   stored_bytes      what of the event is stored, for readers that limit their batches
-- Each `limit` makes Postgres look up what belongs to an event by its key. Where it expects many events, it would otherwise
-- read all of these tables for each batch, however few the events are.
-- The view reads with the rights of its owner: who may read events needs no right on the schema `command`.
create view messaging.events as
select event_id, position, event.aggregate_type, aggregate_id, aggregate_version, shard, schema_version, event_type, occurred_at,
       traceparent, payload as added, audit, coalesce(placed.document, requested.document) as document,
       messaging.headers_of(traceparent, schema_version, audit) as headers,
       messaging.payload_of(event_type, payload, coalesce(placed.document, requested.document), audit) as payload_text,
       messaging.payload_of(event_type, payload, coalesce(placed.document, requested.document), audit)::json as payload,
       pg_column_size(payload) + coalesce(pg_column_size(placed.document), pg_column_size(requested.document), 0) as stored_bytes
from messaging.outbox as event
left join lateral (
    select step as audit from command.state_transitions as step
    where entity_type = event.aggregate_type and entity_id = aggregate_id and version = aggregate_version
    limit 1
) as audited on true
left join lateral (
    select orders.document from command.orders where event.aggregate_type = 'order' and id = aggregate_id limit 1
) as placed on true
left join lateral (
    select command.with_items(returns.document, items, event.payload) as document
    from command.returns where event.aggregate_type = 'return' and id = aggregate_id limit 1
) as requested on true;
grant select on messaging.events to articurated_relay, articurated_workers, articurated_query;
grant execute on function messaging.history to articurated_relay, articurated_workers, articurated_query, articurated_operator;

grant insert on messaging.outbox to articurated_command;
grant select, insert on messaging.outbox to articurated_workers;
grant select on messaging.outbox to articurated_relay, articurated_query;
grant select on sequence messaging.outbox_position_seq
    to articurated_relay, articurated_query, articurated_workers, articurated_operator;

-- Which server this is: after a failover to a replica that lacks the last commits, positions and times are given out
-- again, and what a process has remembered of the old server is worthless. A promotion starts a new timeline. Its number
-- alone does not tell two replicas apart that are promoted one after the other, or a server restored from an old copy of
-- its disk. The time at which the server started does: data goes back only with another start, or with a promotion. After the
-- crash of one backend all others are ended and the log is replayed, under the same start: what the sequences had given out to
-- transactions that did not commit may come again. Such a replay resets the statistics.
--
-- Volatile, as the position in the log is: a stable function that calls a volatile one is not inlined, and starting it takes
-- a tenth of a millisecond in every statement of the relay and the workers.
create function messaging.timeline() returns text
    language sql volatile parallel restricted
    return left(pg_walfile_name(pg_current_wal_insert_lsn()), 8) || '@' || extract(epoch from pg_postmaster_start_time())::text
           || '@' || coalesce(extract(epoch from pg_stat_get_bgwriter_stat_reset_time())::text, '');


-- Who reads the log ---------------------------------------------------------------------------------------------------

-- Which process reads a shard for a consumer of the log. A row changes only when its shard changes hands: a process that sends a
-- batch or stores a mark reads it, and under an open snapshot each old version of it would stay. How long the lease lasts
-- is in `readers`.
--   consumer  relay, projections or webhooks
--   owner     a name in `readers`. The shard is free without one, and once that reader's lease has expired
--   epoch     grows at every change of owner; everything that a reader records checks it, so a process that slept past its
--             lease records nothing
create table messaging.shard_leases (
    consumer    text        not null constraint shard_leases_consumer_known check (consumer in ('relay', 'projections', 'webhooks')),
    shard       smallint    not null,
    owner       text,
    epoch       bigint      not null default 0,
    constraint shard_leases_pkey primary key (consumer, shard)
) with (fillfactor = 50);
insert into messaging.shard_leases (consumer, shard)
select consumer, shard from unnest(array['relay', 'projections', 'webhooks']) as consumer, generate_series(0, 15) as shard;
grant select, update on messaging.shard_leases to articurated_relay, articurated_query, articurated_workers;
-- An operator who skips an event locks the lease of its shard.
grant select, update on messaging.shard_leases to articurated_operator;

-- The processes that read, and until when each is known to be alive, by the database's clock, never a process's. Each computes
-- from it how many shards are its fair share.
create table messaging.readers (
    consumer    text        not null,
    name        text        not null,
    expires_at  timestamptz not null,
    constraint readers_pkey primary key (consumer, name)
) with (fillfactor = 50);
grant select, insert, update, delete on messaging.readers to articurated_relay, articurated_query, articurated_workers;

-- How far each consumer has read each shard, as a row every second while the mark moves. Rows are inserted and never
-- updated: the last one counts, and it is read from the end of the key, however many old ones a snapshot keeps.
--   mark   every event of the shard up to this position is out, or has a row in `outbox_exceptions`. For `arrived`: it is in
--          the inbox of its queues, or has a row there or in `awaited_arrivals`
--   since  no position above the mark was drawn, and none of them was sent, before this time
create table messaging.marks (
    consumer  text        not null constraint marks_consumer_known check (consumer in ('relay', 'arrived', 'projections', 'webhooks')),
    shard     smallint    not null,
    id        bigint      not null generated always as identity,
    epoch     bigint      not null,
    mark      bigint      not null,
    since     timestamptz,
    at        timestamptz not null default clock_timestamp(),
    constraint marks_pkey primary key (consumer, shard, id)
);
grant select, insert on messaging.marks to articurated_relay, articurated_query, articurated_workers;
grant delete on messaging.marks to articurated_relay;

-- The bookkeeping of the relays: one row per batch that went out.
--   positions      the events in it
--   last_position  the highest of them; an event's batch is found from it
--   sent_at        before the broker got it; with the queue in Postgres, sending and arriving are one commit
--   confirmed_at   when the broker had confirmed all of it
create table messaging.relay_batches (
    batch_id       uuid        not null,
    relay          text        not null,
    epochs         bigint[]    not null,
    shards         smallint[]  not null,
    positions      bigint[]    not null,
    last_position  bigint      not null,
    sent_at        timestamptz not null,
    confirmed_at   timestamptz not null default clock_timestamp(),
    constraint relay_batches_pkey primary key (batch_id)
) partition by range (batch_id);
create index relay_batches_last_position on messaging.relay_batches (last_position);
grant select, insert on messaging.relay_batches to articurated_relay;

-- The few events that did not go out with the others.
--   WAITING  it goes out at next_attempt_at: after a back-off, or because an operator replays it
--   PARKED   it cannot go out; an operator must replay or skip it
--   HELD     it waits for an earlier event of its aggregate that is one of these three
--   SKIPPED  it never goes out; an operator decided so
create table messaging.outbox_exceptions (
    event_id           uuid        not null constraint outbox_exceptions_pkey primary key,
    position           bigint      not null,
    shard              smallint    not null,
    aggregate_id       uuid        not null,
    aggregate_version  integer     not null,
    status             text        not null constraint outbox_exceptions_status_known check (status in
                                   ('WAITING', 'PARKED', 'HELD', 'SKIPPED')),
    attempts           integer     not null default 0,
    last_error         text,
    next_attempt_at    timestamptz,
    parked_at          timestamptz,
    parked_reason      text        constraint outbox_exceptions_parked_reason_known check (parked_reason in
                                   ('UNROUTABLE', 'TOO_LARGE', 'ATTEMPTS_SPENT', 'UNDECODABLE')),
    created_at         timestamptz not null default clock_timestamp(),
    constraint outbox_exceptions_waiting_has_time check ((status = 'WAITING') = (next_attempt_at is not null)),
    constraint outbox_exceptions_parked_has_reason check ((status = 'PARKED') = (parked_reason is not null)
                                                          and (parked_at is null) = (parked_reason is null))
);
create index outbox_exceptions_due on messaging.outbox_exceptions (shard, next_attempt_at) where status = 'WAITING';
create index outbox_exceptions_open on messaging.outbox_exceptions (aggregate_id, aggregate_version) where status <> 'SKIPPED';
create index outbox_exceptions_held on messaging.outbox_exceptions (shard) where status = 'HELD';
grant select, insert, update, delete on messaging.outbox_exceptions to articurated_relay, articurated_operator;
grant select on messaging.outbox_exceptions to articurated_query;

-- Events that went out to RabbitMQ after `arrived` had passed them: they were exceptions then. A row is deleted when the
-- event has arrived, so that the broker can lose no event unseen, and retention drops none on its way.
create table messaging.awaited_arrivals (
    event_id  uuid        not null constraint awaited_arrivals_pkey primary key,
    shard     smallint    not null,
    sent_at   timestamptz not null default clock_timestamp()
);
grant select, insert, update, delete on messaging.awaited_arrivals to articurated_relay;

-- What RabbitMQ confirmed and did not deliver, and the relays brought to its queue all the same. Kept for 90 days.
--   reason     not_arrived: sent again. All others are RabbitMQ's words for why it moved a message to the dead-letter queue,
--              from which a relay put it into the inbox: delivery_limit, rejected, expired, maxlen
create table messaging.broker_losses (
    id         bigint      not null generated always as identity constraint broker_losses_pkey primary key,
    seen_at    timestamptz not null default clock_timestamp(),
    relay      text        not null,
    queue      text        not null,
    reason     text        not null,
    event_ids  uuid[]      not null
);
create index broker_losses_seen_at on messaging.broker_losses (seen_at);
grant select, insert, delete on messaging.broker_losses to articurated_relay;


-- The inbox -----------------------------------------------------------------------------------------------------------

-- The consumer queues. A pause is stored here, so it survives a restart of every process.
--   ordered  version n of an aggregate starts only when all earlier versions are done or discarded in this queue. Such a
--            queue takes every event of its aggregates, but `snapshot.taken`, or a missing version blocks the later ones. It is
--            set before the queue gets its first event, and a worker reads it when it starts
create table messaging.queues (
    name           text    not null constraint queues_pkey primary key,
    ordered        boolean not null default false,
    paused_at      timestamptz,
    paused_by      text,
    paused_reason  text
);
insert into messaging.queues (name) values ('invoices'), ('credit_notes'), ('refunds'), ('notifications'), ('projections');
grant select on messaging.queues to articurated_workers, articurated_query;
grant select, update on messaging.queues to articurated_operator;

-- The queues whose dependency is down: the mail server, the payment gateway, Chromium, the invoice store. A row stops all
-- workers of the queue, but for one job at a time that probes the dependency. It goes when a probe succeeds.
--   failures       failed probes, the first failure included
--   next_probe_at  when the next job may run; while a probe runs, when another worker may probe in its place
create table messaging.outages (
    queue          text        not null constraint outages_pkey primary key
                               constraint outages_queue_fkey references messaging.queues (name),
    since          timestamptz not null default clock_timestamp(),
    reason         text        not null,
    failures       integer     not null constraint outages_failures_positive check (failures > 0),
    next_probe_at  timestamptz not null
);
grant select, insert, update, delete on messaging.outages to articurated_workers;

-- One row per (consumer queue, event). It is the job itself, and the memory that makes every effect happen once. The row is
-- narrow: the event stays in the log.
--   status    ready → running → done; back to ready after a failure; dead after the last one;
--             in_doubt when an effect may have happened and must be looked up before the next attempt;
--             discarded when an operator closed a dead job;
--             blocked in an ordered queue, while an earlier version of the aggregate is neither done nor discarded
--   run_at    not before this time (back-off). A blocked job has none, so no claim comes across it
--   claim_id  the claim under which it runs or ran last; completion checks it
--   attempts  attempts started; one that was interrupted, or that an outage ended, does not count
--   deaths    worker processes that died while they had started it. Which of its jobs killed a process is unknown, so from the
--             first death on the job runs alone in its process, and each further death is its own
--   started_at  when it was started; null while a job with deaths waits until it is alone
-- The primary key begins with the event. Of a partition without statistics Postgres expects that it has two rows of a queue, and
-- would read all jobs of the queue for each list of jobs that ends.
-- No index contains `status`, so starting and finishing a job is a heap-only update. Half of each page stays free for it.
create table messaging.inbox (
    queue              text        not null,
    event_id           uuid        not null,
    aggregate_id       uuid        not null,
    aggregate_version  integer     not null,
    received_at        timestamptz not null default clock_timestamp(),
    run_at             timestamptz,
    status             text        not null default 'ready' constraint inbox_status_known check (status in
                                   ('ready', 'running', 'done', 'dead', 'in_doubt', 'discarded', 'blocked')),
    attempts           integer     not null default 0,
    deaths             smallint    not null default 0,
    claim_id           uuid,
    started_at         timestamptz,
    finished_at        timestamptz,
    last_error         text,
    result             jsonb,
    constraint inbox_pkey primary key (event_id, queue),
    constraint inbox_blocked_is_not_due check ((status = 'blocked') = (run_at is null)),
    constraint inbox_running_has_claim check (status <> 'running' or claim_id is not null),
    constraint inbox_finished_has_time check ((status in ('done', 'dead', 'discarded')) = (finished_at is not null))
) partition by range (event_id);
create index inbox_run_at on messaging.inbox (queue, run_at) where run_at is not null;
create index inbox_blocked on messaging.inbox (queue, aggregate_id, aggregate_version) where run_at is null;

grant select, insert, update on messaging.inbox to articurated_workers, articurated_query;
grant select, insert on messaging.inbox to articurated_relay;
grant select, insert, update on messaging.inbox to articurated_operator;

-- What is done or discarded in the ordered queues: one row per queue and aggregate. It outlives the jobs, which retention drops.
--   settled  the versions, normally one range from 1. A version that an operator skipped while earlier ones are open makes
--            a second range
-- The row is also the lock of its aggregate's order. The worker that blocks a job and the one that completes its predecessor
-- both update it, each before it looks at the other's job. So neither misses what the other did.
create table messaging.ordered_aggregates (
    queue         text            not null,
    aggregate_id  uuid            not null,
    settled       int4multirange  not null,
    constraint ordered_aggregates_pkey primary key (queue, aggregate_id)
) with (fillfactor = 50);
grant select, insert, update on messaging.ordered_aggregates to articurated_workers, articurated_operator;

-- The dead jobs of all queues: a row while the job is dead. `status` has no index, so this is how dead jobs are found.
--   last_error   that of the job, so that those with one error are found without looking each job up
create table messaging.dead_letters (
    queue       text        not null,
    event_id    uuid        not null,
    died_at     timestamptz not null default clock_timestamp(),
    last_error  text,
    constraint dead_letters_pkey primary key (queue, event_id)
);
grant select, insert on messaging.dead_letters to articurated_workers, articurated_query;
grant select, delete on messaging.dead_letters to articurated_operator;
grant select on messaging.dead_letters to articurated_relay;

-- The workers that are alive: one row per process and queue. All jobs of a process share its lease.
--   oldest_claim   none of its running jobs was claimed earlier
create table messaging.workers (
    queue         text        not null,
    owner         text        not null,
    expires_at    timestamptz not null,
    oldest_claim  uuid        not null,
    constraint workers_pkey primary key (queue, owner)
) with (fillfactor = 50);
grant select, insert, update, delete on messaging.workers to articurated_workers;

-- One row per claim: which worker took which jobs. When a worker dies, its running jobs are found here.
create table messaging.claims (
    claim_id   uuid        not null,
    queue      text        not null,
    owner      text        not null,
    event_ids  uuid[]      not null,
    constraint claims_pkey primary key (claim_id)
) partition by range (claim_id);
grant select, insert on messaging.claims to articurated_workers;

-- Where the claims of a queue start: no job that could start has an earlier `run_at`. Rows are inserted every few seconds
-- while the bound moves, and never updated; the last one counts.
--
-- Without it, each claim would walk over the entries of all jobs that have finished since the oldest open snapshot.
create table messaging.queue_bounds (
    queue  text        not null,
    id     bigint      not null generated always as identity,
    bound  timestamptz not null,
    constraint queue_bounds_pkey primary key (queue, id)
);
grant select, insert, delete on messaging.queue_bounds to articurated_workers;
grant select on messaging.queue_bounds to articurated_relay, articurated_query;

-- The time at which a job that becomes due now is due. A clock that was set back, or that of another server after a
-- failover, must not put it before the bound, where no claim looks.
--
-- In PL/pgSQL, which keeps its plan for the session. A function in SQL that cannot be inlined is planned in every statement.
create function messaging.due_now(queue_name text) returns timestamptz
    language plpgsql volatile as $$
begin
    return greatest(clock_timestamp(),
                    (select bound from messaging.queue_bounds where queue = queue_name order by id desc limit 1));
end $$;


-- Webhooks ------------------------------------------------------------------------------------------------------------

-- Where events are sent to, by the Standard Webhooks specification. Operators write the rows, and workers send.
--   event_types      empty: all
--   secret           `whsec_` and base64; signs what is sent. Operators never read it again
--   previous_secret  signs too, until `previous_until`
--   disabled_at      by an operator, or after three days without a success; until then nothing is recorded for it nor sent
--   failing_since    no delivery has succeeded since
create table messaging.webhook_endpoints (
    id               uuid        not null constraint webhook_endpoints_pkey primary key,
    url              text        not null constraint webhook_endpoints_url_length check (char_length(url) between 1 and 2048),
    description      text,
    event_types      text[]      not null default '{}',
    secret           text        not null,
    previous_secret  text,
    previous_until   timestamptz,
    created_at       timestamptz not null,
    updated_at       timestamptz not null,
    disabled_at      timestamptz,
    disabled_reason  text,
    failing_since    timestamptz,
    deleted_at       timestamptz,
    constraint webhook_endpoints_disabled_has_reason check ((disabled_at is null) = (disabled_reason is null)),
    constraint webhook_endpoints_previous_ends check ((previous_secret is null) = (previous_until is null))
) with (fillfactor = 50);
grant select on messaging.webhook_endpoints to articurated_workers;
grant update (disabled_at, disabled_reason, failing_since, updated_at) on messaging.webhook_endpoints to articurated_workers;
grant insert, update on messaging.webhook_endpoints to articurated_operator;

-- Gives an endpoint another secret; the earlier one signs too until `earlier_until`. Operators may not read the secret that it
-- moves. Returns whether there is such an endpoint.
create function messaging.rotate_webhook_secret(endpoint uuid, new_secret text, earlier_until timestamptz) returns boolean
    language sql security definer set search_path = pg_catalog
begin atomic
    update messaging.webhook_endpoints
    set previous_secret = secret, previous_until = earlier_until, secret = new_secret, updated_at = clock_timestamp()
    where id = endpoint and deleted_at is null
    returning true;
end;
revoke all on function messaging.rotate_webhook_secret from public;
grant execute on function messaging.rotate_webhook_secret to articurated_operator;

-- One row per event and endpoint that wants it. Within an aggregate they are delivered by version: a later one waits until the
-- earlier ones are settled.
--   aggregate_id, aggregate_version  of the event; for a test event its own id and 1
--   attempts  all of them; `tries`: those since an operator asked for it again, which decide when the next one comes
--   due_at    null: it is settled, or waits for an earlier one. While it is under way: when it is tried again if its worker is gone
--   claim_id  under which it is under way; what another claim records is refused
--   body      of a test event, which is not in the outbox
create table messaging.webhook_deliveries (
    event_id           uuid        not null,
    endpoint_id        uuid        not null,
    event_type         text        not null,
    aggregate_id       uuid        not null,
    aggregate_version  integer     not null,
    status             text        not null default 'PENDING' constraint webhook_deliveries_status_known check (status in
                                   ('PENDING', 'DELIVERED', 'FAILED', 'DISCARDED')),
    attempts           integer     not null default 0,
    tries              integer     not null default 0,
    due_at             timestamptz default clock_timestamp(),
    claim_id           uuid,
    last_error         text,
    body               text,
    created_at         timestamptz not null default clock_timestamp(),
    settled_at         timestamptz,
    constraint webhook_deliveries_pkey primary key (event_id, endpoint_id),
    constraint webhook_deliveries_settled_has_time check ((status = 'PENDING') = (settled_at is null)),
    constraint webhook_deliveries_settled_is_not_due check (status = 'PENDING' or due_at is null)
) partition by range (event_id);
create index webhook_deliveries_due on messaging.webhook_deliveries (endpoint_id, due_at) where due_at is not null;
create index webhook_deliveries_open on messaging.webhook_deliveries (endpoint_id, aggregate_id, aggregate_version)
    where status = 'PENDING';
create index webhook_deliveries_failed on messaging.webhook_deliveries (endpoint_id, event_id) where status = 'FAILED';
create index webhook_deliveries_latest on messaging.webhook_deliveries (endpoint_id, event_id);
grant select, insert, update on messaging.webhook_deliveries to articurated_workers, articurated_operator;

-- Each attempt at a delivery. Neither what was sent nor what was answered is kept: both may be personal.
create table messaging.webhook_attempts (
    event_id     uuid        not null,
    endpoint_id  uuid        not null,
    attempt      integer     not null,
    at           timestamptz not null,
    duration_ms  integer     not null,
    status_code  smallint,
    error        text,
    constraint webhook_attempts_pkey primary key (event_id, endpoint_id, attempt)
) partition by range (event_id);
grant select, insert on messaging.webhook_attempts to articurated_workers;



-- Partitions and retention --------------------------------------------------------------------------------------------

-- Six tables are partitioned by range of their key, which is a UUIDv7 and begins with its time in milliseconds. So a
-- range of time is a range of ids, ids are unique over the whole table, and retention drops a partition instead of deleting
-- rows. There is no default partition: a row without a partition is a visible error, not a table that grows unnoticed.
--
-- A partition is an eighth of the retention wide, so there are about a dozen for any retention
-- (docs/decisions/0015-wider-partitions.md).

-- The lowest id that a UUIDv7 of the given time can have.
create function messaging.lowest_event_id(at timestamptz) returns uuid
    language sql immutable strict parallel safe
    return (lpad(to_hex((extract(epoch from at) * 1000)::bigint), 12, '0') || '00000000000000000000')::uuid;

-- The time of an id.
create function messaging.time_of(event_id uuid) returns timestamptz
    language sql immutable strict parallel safe
    return to_timestamp(('x' || translate(left(event_id::text, 13), '-', ''))::bit(48)::bigint / 1000.0);

-- A new id by the clock of the database, for rows that Postgres makes itself.
create function messaging.new_id() returns uuid
    language sql volatile
    return (lpad(to_hex((extract(epoch from clock_timestamp()) * 1000)::bigint), 12, '0')
            || '7' || substr(replace(gen_random_uuid()::text, '-', ''), 14))::uuid;

-- The partitions, and the time that each holds: from `from_at` to just before `until_at`.
create view messaging.partitions as
select parent.relname::text as parent, child.relname::text as name, inhdetachpending as detaching,
       messaging.time_of(bounds[1]::uuid) as from_at, messaging.time_of(bounds[2]::uuid) as until_at
from pg_catalog.pg_inherits
join pg_catalog.pg_class as parent on parent.oid = inhparent
join pg_catalog.pg_class as child on child.oid = inhrelid
cross join regexp_match(pg_catalog.pg_get_expr(child.relpartbound, child.oid), 'FROM \(''(.*)''\) TO \(''(.*)''\)') as bounds
where inhparent in ('messaging.outbox'::regclass, 'messaging.inbox'::regclass, 'messaging.claims'::regclass,
                    'messaging.relay_batches'::regclass, 'messaging.webhook_deliveries'::regclass,
                    'messaging.webhook_attempts'::regclass);
grant select on messaging.partitions to articurated_relay;

-- Creates the missing partitions of all six tables, from `behind` ago to `ahead` from now, and returns how many. Each is
-- `width` wide, or less where the next partition begins earlier.
--
-- A partition is created as a separate table and then attached. Attaching takes a lock that lets reads and writes of the
-- parent continue; `create table … partition of` would block them.
create function messaging.ensure_partitions(behind interval, ahead interval, width interval) returns integer
    language plpgsql security definer set search_path = pg_catalog as $$
declare
    seconds bigint := extract(epoch from width);
    until timestamptz := now() + ahead;
    table_name text;
    key text;
    child text;
    begins timestamptz;
    ends timestamptz;
    made integer := 0;
begin
    if seconds < 1 then
        raise exception 'a partition must be at least one second wide' using errcode = 'invalid_parameter_value';
    end if;
    perform pg_advisory_xact_lock(hashtext('messaging.ensure_partitions'));
    foreach table_name in array array['outbox', 'inbox', 'claims', 'relay_batches', 'webhook_deliveries', 'webhook_attempts'] loop
        -- From midnight in UTC, or for narrow partitions from a multiple of their width.
        begins := to_timestamp(floor(extract(epoch from now() - behind) / least(seconds, 86400)) * least(seconds, 86400));
        while begins <= until loop
            select until_at into ends from messaging.partitions
            where parent = table_name and from_at <= begins and until_at > begins;
            if not found then
                select least(begins + seconds * interval '1 second', min(from_at)) into ends
                from messaging.partitions where parent = table_name and from_at > begins;
                child := table_name || to_char(begins at time zone 'UTC', '_YYYYMMDD"t"HH24MISS');
                execute format('create table messaging.%I (like messaging.%I including defaults including constraints including compression including storage)',
                               child, table_name);
                if table_name in ('inbox', 'webhook_deliveries') then
                    execute format('alter table messaging.%I set (fillfactor = 50)', child);
                end if;
                execute format('alter table messaging.%I attach partition messaging.%I for values from (%L) to (%L)',
                               table_name, child, messaging.lowest_event_id(begins), messaging.lowest_event_id(ends));
                made := made + 1;
            end if;
            begins := ends;
        end loop;
    end loop;
    return made;
end $$;
revoke all on function messaging.ensure_partitions from public;
grant execute on function messaging.ensure_partitions to articurated_relay;

-- Why a partition of the outbox cannot be dropped yet; null when everything in it is settled. It reads marks, bounds and
-- the few open rows, so it takes no longer for a larger partition. `from_id` and `until_id` are the bounds of the partition,
-- which may be detached already.
create function messaging.unsettled(partition_name text, from_id uuid, until_id uuid) returns text
    language plpgsql stable security invoker as $$
declare
    highest bigint;
    reader record;
begin
    execute format('select max(position) from messaging.%I', partition_name) into highest;
    select consumer, shard into reader from messaging.last_marks where mark < highest limit 1;
    if found then
        return format('%s has not passed it in shard %s', reader.consumer, reader.shard);
    end if;
    if exists (select from messaging.outbox_exceptions where status <> 'SKIPPED' and event_id >= from_id and event_id < until_id) then
        return 'an event in it is not out';
    end if;
    if exists (select from messaging.awaited_arrivals where event_id >= from_id and event_id < until_id) then
        return 'an event in it has not arrived';
    end if;
    if exists (select from messaging.open_jobs where event_id >= from_id and event_id < until_id) then
        return 'a job of an event in it is not done';
    end if;
    if exists (select from messaging.webhook_deliveries as delivery join messaging.webhook_endpoints as endpoint on endpoint.id = endpoint_id
               where status = 'PENDING' and deleted_at is null and disabled_at is null and event_id >= from_id and event_id < until_id) then
        return 'a webhook of an event in it is not delivered';
    end if;
    return null;
end $$;

-- The end of the outbox partitions that retention has dropped; one row. A rebuild learns from snapshots what happened
-- until then.
create table messaging.retention (
    one            boolean not null default true constraint retention_pkey primary key constraint retention_single check (one),
    dropped_until  timestamptz
);
insert into messaging.retention default values;
grant select on messaging.retention to articurated_query;

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
-- An operator moves a due time up, to now.
grant update (next_due_at) on messaging.schedules to articurated_operator;
-- The relay deletes old runs.
grant delete on messaging.schedule_runs to articurated_relay;


-- How things stand ----------------------------------------------------------------------------------------------------

-- What relays, doctor, `ops` and gauges read. Each question is bounded: it starts at a mark or a bound, whose rows are read
-- from the end of an index, and no figure counts further than 10,000.

-- The last mark of each consumer and shard. Webhooks count only while there are endpoints.
create view messaging.last_marks as
select consumer, shard::smallint as shard, coalesce(mark, 0) as mark, since, at
from unnest(array['relay', 'arrived', 'projections']
            || case when exists (select from messaging.webhook_endpoints where deleted_at is null) then array['webhooks'] else '{}' end)
         as consumer
cross join generate_series(0, 15) as shard
left join lateral (
    select mark, since, at from messaging.marks
    where marks.consumer = consumer.consumer and marks.shard = shard.shard
    order by id desc limit 1
) as last on true;

-- How many positions the slowest relay is behind. No more events wait; some of the positions may have none.
create function messaging.relay_lag() returns bigint
    language sql stable security definer set search_path = pg_catalog
    return (select case when is_called then last_value else 0 end from messaging.outbox_position_seq)
        - (select min(mark) from messaging.last_marks where consumer = 'relay');
revoke all on function messaging.relay_lag from public;
grant execute on function messaging.relay_lag to articurated_command;

-- The events that are not out: no batch has them, and they have no row among the exceptions.
create view messaging.pending_events as
with lowest as materialized (
    select min(mark) as mark, case when bool_and(since is not null) then min(since) else to_timestamp(0) end as since
    from messaging.last_marks where consumer = 'relay'
), sent as materialized (
    select position
    from lowest
    join messaging.relay_batches on batch_id >= messaging.lowest_event_id(lowest.since) and last_position > lowest.mark
    cross join unnest(positions) as position
    where position > lowest.mark
)
select event.*
from messaging.outbox as event
join messaging.last_marks as last on last.consumer = 'relay' and last.shard = event.shard
where event.position > (select mark from lowest) and event.position > last.mark
  and not exists (select from sent where sent.position = event.position)
  and not exists (select from messaging.outbox_exceptions as exception where exception.event_id = event.event_id);

-- The shards that a living reader holds.
create view messaging.held_shards as
select consumer, shard, owner, epoch, reader.expires_at
from messaging.shard_leases join messaging.readers as reader using (consumer)
where reader.name = owner and reader.expires_at > clock_timestamp();

-- What waits in the outbox: one row.
create view messaging.outbox_backlog as
select (select count(*) from (select from messaging.pending_events limit 10000) as pending)
           + (select count(*) from (select from messaging.outbox_exceptions where status in ('WAITING', 'HELD') limit 10000) as open)
           as pending,
       (select count(*) from (select from messaging.outbox_exceptions where status = 'PARKED' limit 10000) as parked) as parked,
       least((select occurred_at from messaging.pending_events order by position limit 1),
             (select min(messaging.time_of(event_id)) from messaging.outbox_exceptions where status in ('WAITING', 'HELD')))
           as oldest_pending;

-- The jobs that are not done: those that wait, those that run, those that are blocked in an ordered queue, and with them the dead. Queue
-- and status are those of the small tables, so a condition on them does not look each job up first.
--   lease_owner, leased_until  the worker that runs it, and its lease
-- `limit` makes Postgres look a job up by its key, instead of reading all of them. `offset 0` keeps it from looking for those of a
-- range of events first, which are all jobs of a partition. Of a range with two ends Postgres expects that it is short.
create view messaging.waiting_jobs as
select name as queue, job.event_id, job.aggregate_id, job.aggregate_version, job.received_at, job.run_at, job.status, job.attempts,
       job.deaths, job.claim_id, job.started_at, job.finished_at, job.last_error, job.result,
       null::text as lease_owner, null::timestamptz as leased_until
from messaging.queues
cross join lateral (
    select * from messaging.inbox
    where inbox.queue = name and status in ('ready', 'in_doubt')
      and run_at >= coalesce((select bound from messaging.queue_bounds
                              where queue_bounds.queue = name order by id desc limit 1), '-infinity')
    offset 0
) as job;

create view messaging.running_jobs as
select workers.queue, job.event_id, job.aggregate_id, job.aggregate_version, job.received_at, job.run_at, 'running' as status, job.attempts,
       job.deaths, job.claim_id, job.started_at, job.finished_at, job.last_error, job.result,
       workers.owner as lease_owner, workers.expires_at as leased_until
from messaging.workers
cross join lateral (
    select * from messaging.claims
    where claims.queue = workers.queue and claims.owner = workers.owner
      and claim_id between oldest_claim and 'ffffffff-ffff-ffff-ffff-ffffffffffff'
    offset 0
) as claims
cross join unnest(event_ids) as claimed (event_id)
cross join lateral (
    select * from messaging.inbox
    where inbox.event_id = claimed.event_id and inbox.queue = claims.queue and inbox.claim_id = claims.claim_id and status = 'running'
    limit 1
) as job;

create view messaging.blocked_jobs as
select name as queue, job.event_id, job.aggregate_id, job.aggregate_version, job.received_at, job.run_at, 'blocked' as status, job.attempts,
       job.deaths, job.claim_id, job.started_at, job.finished_at, job.last_error, job.result,
       null::text as lease_owner, null::timestamptz as leased_until
from messaging.queues
cross join lateral (
    select * from messaging.inbox where inbox.queue = name and status = 'blocked' and run_at is null offset 0
) as job
where ordered;

create view messaging.dead_jobs as
select dead_letters.queue, dead_letters.event_id, job.aggregate_id, job.aggregate_version, job.received_at, job.run_at, 'dead' as status, job.attempts,
       job.deaths, job.claim_id, job.started_at, job.finished_at, job.last_error, job.result,
       null::text as lease_owner, null::timestamptz as leased_until
from messaging.dead_letters
cross join lateral (
    select * from messaging.inbox
    where inbox.event_id = dead_letters.event_id and inbox.queue = dead_letters.queue and status = 'dead'
    limit 1
) as job;

create view messaging.open_jobs as
select * from messaging.waiting_jobs
union all
select * from messaging.running_jobs
union all
select * from messaging.blocked_jobs
union all
select * from messaging.dead_jobs;

-- What waits in each queue: one row per queue. Done jobs are history and not counted.
create view messaging.queue_backlog as
select queues.name, ready, running, in_doubt, dead, blocked, oldest_ready, paused_at, paused_by, paused_reason,
       outages.since as outage_since, outages.reason as outage_reason, next_probe_at, oldest_due, oldest_open
from messaging.queues
left join messaging.outages on outages.queue = queues.name
cross join lateral (
    select count(*) filter (where status = 'ready') as ready, count(*) filter (where status = 'in_doubt') as in_doubt,
           min(received_at) filter (where status = 'ready') as oldest_ready,
           min(run_at) filter (where run_at <= clock_timestamp()) as oldest_due, min(received_at) as oldest_open
    from (select status, received_at, run_at from messaging.waiting_jobs where queue = queues.name limit 10000) as open
) as waiting
cross join lateral (
    select count(*) as running
    from (select from messaging.running_jobs where queue = queues.name limit 10000) as open
) as in_work
cross join lateral (
    select count(*) as dead from (select from messaging.dead_letters where dead_letters.queue = name limit 10000) as open
) as died
cross join lateral (
    select count(*) as blocked
    from (select from messaging.blocked_jobs where queue = queues.name limit 10000) as open
) as in_line;

grant select on messaging.last_marks, messaging.held_shards, messaging.pending_events, messaging.outbox_backlog, messaging.waiting_jobs,
                messaging.running_jobs, messaging.blocked_jobs, messaging.dead_jobs, messaging.open_jobs, messaging.queue_backlog
    to articurated_relay;
grant select on messaging.last_marks to articurated_query;


-- Operators -----------------------------------------------------------------------------------------------------------

-- One row per action of an operator, written in the transaction of the action. Append-only, like the audit.
--   source  where the action came from
--   target  what was asked for: ids, or a filter and what it selected
create table messaging.operator_actions (
    id            bigint      not null generated always as identity constraint operator_actions_pkey primary key,
    acted_at      timestamptz not null default clock_timestamp(),
    actor         text        not null constraint operator_actions_actor_length check (char_length(actor) between 1 and 128),
    source        text        not null constraint operator_actions_source_known check (source in ('CLI', 'REST', 'CONSOLE', 'MCP')),
    action        text        not null constraint operator_actions_action_known check (action in
                              ('REPLAY', 'SKIP', 'RELEASE', 'RETRY', 'DISCARD', 'PAUSE', 'RESUME', 'RUN_SCHEDULE', 'CREATE_KEY', 'ROTATE_KEY', 'REVOKE_KEY',
                               'EXPORT_CUSTOMER', 'ERASE_CUSTOMER', 'ERASE_DOCUMENTS', 'CREATE_WEBHOOK', 'CHANGE_WEBHOOK', 'DELETE_WEBHOOK',
                               'ROTATE_WEBHOOK', 'TEST_WEBHOOK', 'REDELIVER_WEBHOOK', 'RECOVER_WEBHOOK', 'REVEAL', 'INVESTIGATE',
                               'CLOSE_INVESTIGATION', 'START_BULK', 'CANCEL_BULK')),
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

-- How long jobs took, minute by minute, for the plots of the console: written once a minute by a process `ops`, and kept for eight days.
--   minute            jobs that were due in it
--   jobs, done, dead  how many of them, how many were done two minutes later, and how many dead
--   *_p50, *_p99      milliseconds: from the commit to the queue (arrive), from being due to the start (wait), and to the end (run)
create table messaging.hop_figures (
    minute      timestamptz not null,
    queue       text        not null,
    jobs        integer     not null,
    done        integer     not null,
    dead        integer     not null,
    arrive_p50  real,
    arrive_p99  real,
    wait_p50    real,
    wait_p99    real,
    run_p50     real,
    run_p99     real,
    constraint hop_figures_pkey primary key (minute, queue)
);
grant insert, delete on messaging.hop_figures to articurated_operator;

-- Events that a person looks into, so that others see who it is. It keeps nothing from happening to them.
create table messaging.investigations (
    event_id  uuid        not null constraint investigations_pkey primary key,
    actor     text        not null constraint investigations_actor_length check (char_length(actor) between 1 and 128),
    reason    text        not null constraint investigations_reason_length check (char_length(reason) between 1 and 1000),
    began_at  timestamptz not null default clock_timestamp()
);
grant insert, update, delete on messaging.investigations to articurated_operator;

-- Acts on all that a filter matches, in batches. A batch, its record and its progress are one transaction: what stops in between is
-- continued by any process, and nothing is done twice.
--   selection      what it acts on: a filter of dead jobs, or a selection of events
--   matched        how many there were at the start; counting ends at a limit, and then `is_counted` is false
--   per_second     most rows in a second
--   place          where the next batch begins; null before the first
--   waits_for      why the last batch was not done
--   request_id     of the request that started it; its records have it, too
create table messaging.bulk_acts (
    id             uuid        not null constraint bulk_acts_pkey primary key,
    act            text        not null constraint bulk_acts_act_known check (act in ('REPLAY', 'RETRY', 'DISCARD')),
    selection      jsonb       not null,
    matched        bigint      not null constraint bulk_acts_matched_not_negative check (matched >= 0),
    is_counted     boolean     not null,
    per_second     integer     constraint bulk_acts_rate_positive check (per_second > 0),
    status         text        not null default 'RUNNING' constraint bulk_acts_status_known check
                               (status in ('RUNNING', 'DONE', 'CANCELLED', 'FAILED')),
    place          jsonb,
    acted          bigint      not null default 0 constraint bulk_acts_acted_not_negative check (acted >= 0),
    waits_for      text,
    next_batch_at  timestamptz not null default clock_timestamp(),
    actor          text        not null constraint bulk_acts_actor_length check (char_length(actor) between 1 and 128),
    source         text        not null constraint bulk_acts_source_known check (source in ('CLI', 'REST', 'CONSOLE', 'MCP')),
    reason         text        not null constraint bulk_acts_reason_length check (char_length(reason) between 1 and 1000),
    request_id     text,
    created_at     timestamptz not null default clock_timestamp(),
    finished_at    timestamptz,
    constraint bulk_acts_finished check ((status = 'RUNNING') = (finished_at is null))
);
create index bulk_acts_running on messaging.bulk_acts (next_batch_at) where status = 'RUNNING';
create index bulk_acts_newest on messaging.bulk_acts (created_at desc);
grant insert, update on messaging.bulk_acts to articurated_operator;

grant select on all tables in schema messaging to articurated_operator;
-- But not the secrets of webhooks.
revoke select on messaging.webhook_endpoints from articurated_operator;
grant select (id, url, description, event_types, previous_until, created_at, updated_at, disabled_at, disabled_reason, failing_since,
              deleted_at) on messaging.webhook_endpoints to articurated_operator;


-- Partitions are made, detached and dropped by a role of its own, which owns the partitioned tables: Postgres lets only the
-- owner do that, and the role needs no other right. Only the relay's connection for maintenance takes it.
do $$
begin
    execute format('grant articurated_maintenance to %I', current_user);
end $$;
grant create, usage on schema messaging to articurated_maintenance;
alter table messaging.outbox owner to articurated_maintenance;
alter table messaging.inbox owner to articurated_maintenance;
alter table messaging.claims owner to articurated_maintenance;
alter table messaging.relay_batches owner to articurated_maintenance;
alter table messaging.webhook_deliveries owner to articurated_maintenance;
alter table messaging.webhook_attempts owner to articurated_maintenance;
alter function messaging.ensure_partitions owner to articurated_maintenance;
grant select on all tables in schema messaging to articurated_maintenance;
grant update on messaging.retention to articurated_maintenance;
grant delete on messaging.outbox_exceptions to articurated_maintenance;

-- The first partitions, as wide as the default retention of 90 days makes them. The relay creates all later ones. They
-- come last because no process may reach a partition except through its parent: the grant above must not include them.
select messaging.ensure_partitions(interval '1 day', interval '14 days', interval '11 days');
