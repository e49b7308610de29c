-- contract: needs programs that know migration 9000

set local lock_timeout = '2s';

-- No program knows migration 9000, so this is refused while any program is connected, and afterwards none is admitted.
select messaging.require_programs(9000);
alter table command.orders drop column gift_note;
