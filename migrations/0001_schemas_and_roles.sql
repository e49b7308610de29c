-- Four schemas, one for each side of the system, and one role for each process.
--
--   command    what the command service owns: the truth about orders and returns
--   messaging  the outbox, the inbox, and what moves rows from one to the other
--   work       what the workers make of events: invoices, refunds, e-mails
--   read       denormalised documents for the query service
--
-- The roles make the CQRS split real: the query service cannot read `command`, not even by mistake.
-- They cannot log in. A process that connects as a more powerful user drops to its role with the
-- start-up parameter `role`; a cautious operator makes each login user a member of one role only.

create schema command;
create schema messaging;
create schema work;
create schema read;

-- Roles belong to the whole cluster, so another database of it may have made them, even in this instant.
do $$
declare
    name text;
begin
    foreach name in array array['articurated_command', 'articurated_relay', 'articurated_workers', 'articurated_query']
    loop
        begin
            execute format('create role %I nologin', name);
        exception
            when duplicate_object or unique_violation then null;
        end;
    end loop;
end $$;

grant usage on schema command to articurated_command, articurated_workers;
grant usage on schema messaging to articurated_command, articurated_relay, articurated_workers, articurated_query;
grant usage on schema work to articurated_workers, articurated_relay;
grant usage on schema read to articurated_query;
