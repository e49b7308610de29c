-- expand: what a next release may add. `make upgrade` applies it under load, while programs run that do not know it.

set local lock_timeout = '2s';

-- A column that may be empty costs no rewrite of the table, and older programs need not write it.
alter table command.orders add column gift_note text;

-- The programs of the release before have no worker for this queue, and do not name it.
insert into messaging.queues (name) values ('synthetic');
