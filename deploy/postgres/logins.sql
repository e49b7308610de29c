-- The image's superuser runs this once, in the new database, if the volume is empty.
--
-- Six users can log in: `migrate`, who owns the database, and one for each process that uses it. Each has its own password
-- and is a member of the roles of its process only, so no process can act as another. This file creates the roles because the
-- logins need their membership. The migrations create them too, and keep existing ones.

\getenv migrate_password DATABASE_PASSWORD_MIGRATE
\getenv command_password DATABASE_PASSWORD_COMMAND
\getenv relay_password DATABASE_PASSWORD_RELAY
\getenv workers_password DATABASE_PASSWORD_WORKERS
\getenv query_password DATABASE_PASSWORD_QUERY
\getenv operations_password DATABASE_PASSWORD_OPERATIONS

-- createrole, because the migrations need it even if the roles exist.
create role migrate login createrole password :'migrate_password';
alter database articurated owner to migrate;

create role articurated_command nologin;
create role articurated_relay nologin;
create role articurated_workers nologin;
create role articurated_query nologin;
create role articurated_operator nologin;
create role articurated_maintenance nologin;

-- The migrations give the partitioned tables to this role, so their owner must be a member of it.
grant articurated_maintenance to migrate with admin option;
create role command login password :'command_password' in role articurated_command;
-- The relay makes and drops partitions, over a connection of its own.
create role relay login password :'relay_password' in role articurated_relay, articurated_maintenance;
create role workers login password :'workers_password' in role articurated_workers;
create role query login password :'query_password' in role articurated_query;
-- Operators read everything, and change only the bookkeeping of outbox, inbox and queues.
create role operations login password :'operations_password' in role articurated_operator;
