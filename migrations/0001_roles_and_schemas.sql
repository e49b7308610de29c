-- One role for each process, and one schema for each side of the system.
--
-- The first six files build the whole database, in the order in which data flows:
--
--   command    the truth about orders and returns, and the audit       0002, written by the command service
--   messaging  the outbox, the inbox, and what moves events between    0003, written by everyone, kept by the relay
--   work       what the workers make of events: invoices, refunds      0004, written by the workers
--   read       documents and figures for the query service             0005, written by the projector
--   read_next  a second copy of `read`, filled during a rebuild        0005, written by the projector
--   access     the keys of callers                                     0006, written by operators

-- The roles make the CQRS split real: the query service cannot read `command`, not even by mistake.
--
-- They cannot log in. A process that connects as a more powerful user drops to its role with the start-up parameter
-- `role`. A cautious operator makes each login user a member of one role only.
--
-- Roles belong to the whole cluster. Another database of the same cluster may already have created them, or may be
-- creating them right now, so both errors are ignored.
do $$
declare
    name text;
begin
    foreach name in array array['articurated_command', 'articurated_relay', 'articurated_workers', 'articurated_query',
                                'articurated_operator', 'articurated_maintenance']
    loop
        begin
            execute format('create role %I nologin', name);
        exception
            when duplicate_object or unique_violation then null;
        end;
    end loop;
end $$;

-- `doctor` reports which sessions hold back vacuum and which ones listen. Postgres shows that only to members of this
-- role. Some managed databases do not let us grant it; `doctor` then says what it could not see.
do $$
begin
    grant pg_read_all_stats to articurated_operator;
exception
    when insufficient_privilege then null;
end $$;

-- `doctor` also compares the applied migrations with the known ones. The table belongs to sqlx, and it does not exist
-- when another tool applies these files.
do $$
begin
    grant select on _sqlx_migrations to articurated_operator;
exception
    when undefined_table then null;
end $$;

create schema command;
create schema messaging;
create schema work;
create schema read;
create schema read_next;
create schema access;

-- The right to enter a schema. What a role may do with the tables stands below the tables. Operators read everything.
grant usage on schema command to articurated_command, articurated_workers;
grant usage on schema messaging to articurated_command, articurated_relay, articurated_workers, articurated_query;
grant usage on schema work to articurated_workers;
grant usage on schema read, read_next to articurated_query;
grant usage on schema access to articurated_command, articurated_query, articurated_workers;
grant usage on schema command, messaging, work, read, read_next, access to articurated_operator;


-- Which programs may use this database. During an upgrade programs of two releases do. A program knows the migrations of its
-- release and says so on each connection that it opens. It is refused when the schema is older than that, or when a later
-- migration has removed something that the program may still use (docs/migrations.md).
--   needs  a program must know the migrations up to this one
create table messaging.oldest_program (
    one    boolean not null default true constraint oldest_program_pkey primary key constraint oldest_program_single check (one),
    needs  bigint  not null
);
insert into messaging.oldest_program (needs) values (0);

-- A program runs this first on every connection. `knows` is its newest migration. The lock says, until the connection ends,
-- that such a program is connected. It has two keys: the first is 1 and stands for programs, the second is `knows`.
create function messaging.admit(knows bigint) returns void
    language plpgsql security definer set search_path = pg_catalog as $$
declare
    newest bigint;
    needed bigint;
begin
    perform pg_advisory_lock_shared(1, knows::integer);
    -- The table belongs to sqlx, and does not exist when another tool applies these files.
    if to_regclass('public._sqlx_migrations') is not null then
        execute 'select max(version) from public._sqlx_migrations where success' into newest;
    end if;
    if newest < knows then
        raise exception 'the database has the migrations up to %, and this program needs those up to %: run `standalone migrate` of this release first',
            newest, knows using errcode = 'object_not_in_prerequisite_state';
    end if;
    select needs into needed from messaging.oldest_program;
    if knows < needed then
        raise exception 'the database needs programs that know migration %, and this one knows those up to %: start a later release',
            needed, knows using errcode = 'object_not_in_prerequisite_state';
    end if;
end $$;

-- A migration that removes or changes something calls this first: programs that do not know migration `number` may use what
-- goes. While one is connected it fails, and the whole migration with it. From its commit on it keeps them out. The lock of the
-- table makes programs that connect meanwhile wait for that commit: a program that did not wait is seen here.
create function messaging.require_programs(number bigint) returns void
    language plpgsql as $$
declare
    older text;
begin
    lock table messaging.oldest_program in access exclusive mode;
    select string_agg(distinct format('%s (knows migration %s)', coalesce(nullif(application_name, ''), 'unnamed'), objid), ', ')
    into older
    from pg_locks join pg_stat_activity using (pid)
    where locktype = 'advisory' and objsubid = 2 and classid = 1 and objid::bigint < number and datname = current_database()
      and database = datid;
    if older is not null then
        raise exception 'older programs are connected: %; replace them, then migrate again', older using errcode = 'object_in_use';
    end if;
    update messaging.oldest_program set needs = greatest(needs, number);
end $$;
revoke all on function messaging.require_programs from public;
