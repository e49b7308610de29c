-- Run once by the image's superuser, in the new database, when its volume is empty.
--
-- Five users can log in: `migrate`, the owner, and one for each process, a member of that process's role. So no
-- process can become another one, whatever it is made to ask for. The roles are made here because a login needs
-- its membership; the first migration, which makes them too, leaves alone what it finds.

\getenv password POSTGRES_PASSWORD

-- createrole, because the migration asks for it before it looks whether the roles are there.
create role migrate login createrole password :'password';
alter database articurated owner to migrate;

create role articurated_command nologin;
create role articurated_relay nologin;
create role articurated_workers nologin;
create role articurated_query nologin;
create role articurated_operator nologin;

create role command login password :'password' in role articurated_command;
-- The relay serves the operators, who see everything.
create role relay login password :'password' in role articurated_relay, articurated_operator;
create role workers login password :'password' in role articurated_workers;
create role query login password :'password' in role articurated_query;
