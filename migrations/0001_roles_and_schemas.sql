-- One role for each process, and one schema for each side of the system.
--
-- The five files build the whole database, in the order in which data flows:
--
--   command    the truth about orders and returns, and the audit       0002, written by the command service
--   messaging  the outbox, the inbox, and what moves events between    0003, written by everyone, kept by the relay
--   work       what the workers make of events: invoices, refunds      0004, written by the workers
--   read       documents and figures for the query service             0005, written by the projector
--   read_next  a second copy of `read`, filled during a rebuild        0005, written by the projector

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

-- The right to enter a schema. What a role may do with the tables stands below the tables. Operators read everything.
grant usage on schema command to articurated_command, articurated_workers;
grant usage on schema messaging to articurated_command, articurated_relay, articurated_workers, articurated_query;
grant usage on schema work to articurated_workers;
grant usage on schema read, read_next to articurated_query;
grant usage on schema command, messaging, work, read, read_next to articurated_operator;
