-- What is done by the clock: which schedules there are, who leads each, and every run.

-- One row per schedule, made when a process that has it first starts. Its settings are those of the last one that started:
-- an instance with another expression leads no more.
--   next_due_at   null when the schedule is switched off; while a run is open, the time at which that run was due
--   last_due_at   the newest due time that is settled, done or failed
--   lease_owner, leased_until, fence   who leads. Time is the database's clock; the fence grows at every change of leader
--                 and whenever a leader has slept past its lease. Beginning and ending a run checks all three, so that one
--                 who was replaced without noticing records nothing.
-- Half of each page is free, for the lease is renewed all the time and no index has to know of it.
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
--   missed     due times before this one that nobody was there for, and that will not be run any more
--   attempt    attempts begun
--   status     running → done; waiting after a failed attempt, until retry_at; failed after the last one.
--              running without a leader: whoever led died, and the next leader tries it again
--   error      what the last failed attempt said
--   result     what the run says it has done
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
-- The relay sweeps old runs.
grant delete on messaging.schedule_runs to articurated_relay;
grant select on messaging.schedules, messaging.schedule_runs to articurated_operator;

-- No index finds the returns in REQUESTED. It would have `state` in its predicate, so that no step of a return could be a
-- heap-only update any more: measured on a million returns of 1.3 kB, 20,000 steps went at 11,300 to 16,600/s with such an
-- index, none of them heap-only, and at 25,100/s without, all but seven of them. Reading through all of the million, once
-- a day, takes 0.3 to 0.6 s.
