-- Partitions as wide as the retention allows, instead of one a day (docs/decisions/0015-wider-partitions.md).
--
-- Whatever is pending may have any age, so every statement looks into every partition. With a day each, the relay's took four
-- to five times as long after 90 days as with a dozen.

-- The day of an event's id, in UTC.
create function messaging.day_of(event_id uuid) returns date
    language sql immutable strict parallel safe
    return (to_timestamp(('x' || translate(left(event_id::text, 13), '-', ''))::bit(48)::bigint / 1000.0) at time zone 'UTC')::date;

-- The partitions of outbox and inbox, each with its days: from `from_day` to the day before `until_day`.
create view messaging.partitions as
select parent.relname::text as parent, child.relname::text as name,
       messaging.day_of(bounds[1]::uuid) as from_day, messaging.day_of(bounds[2]::uuid) as until_day
from pg_catalog.pg_inherits
join pg_catalog.pg_class as parent on parent.oid = inhparent
join pg_catalog.pg_class as child on child.oid = inhrelid
cross join regexp_match(pg_catalog.pg_get_expr(child.relpartbound, child.oid), 'FROM \(''(.*)''\) TO \(''(.*)''\)') as bounds
where inhparent in ('messaging.outbox'::regclass, 'messaging.inbox'::regclass);
grant select on messaging.partitions to articurated_relay, articurated_operator;

-- Makes the partitions of both tables that are missing from `days_behind` days ago to `days_ahead` days ahead, each of
-- `width_days`, or of less where the next one begins before that.
-- A partition is made as a table of its own and then attached: that takes a lock which lets reads and
-- writes of the parent go on, where `create table … partition of` would stop them.
-- Runs as its owner so that the relay can call it without owning the tables.
drop function messaging.ensure_partitions(integer, integer);
create function messaging.ensure_partitions(days_behind integer, days_ahead integer, width_days integer) returns integer
    language plpgsql security definer set search_path = pg_catalog as $$
declare
    today date := (now() at time zone 'UTC')::date;
    wanted text;
    child text;
    begins date;
    ends date;
    made integer := 0;
begin
    if width_days < 1 then
        raise exception 'a partition must be at least one day wide' using errcode = 'invalid_parameter_value';
    end if;
    perform pg_advisory_xact_lock(hashtext('messaging.ensure_partitions'));
    foreach wanted in array array['outbox', 'inbox'] loop
        begins := today - days_behind;
        while begins <= today + days_ahead loop
            select until_day into ends from messaging.partitions where parent = wanted and from_day <= begins and until_day > begins;
            if not found then
                select least(begins + width_days, min(from_day)) into ends
                from messaging.partitions where parent = wanted and from_day > begins;
                child := wanted || to_char(begins, '_YYYYMMDD');
                execute format('create table messaging.%I (like messaging.%I including defaults including constraints including compression)', child, wanted);
                execute format(
                    'alter table messaging.%I attach partition messaging.%I for values from (%L) to (%L)',
                    wanted, child,
                    messaging.lowest_event_id(begins::timestamp at time zone 'UTC'),
                    messaging.lowest_event_id(ends::timestamp at time zone 'UTC'));
                made := made + 1;
            end if;
            begins := ends;
        end loop;
    end loop;
    return made;
end $$;
revoke all on function messaging.ensure_partitions from public;
grant execute on function messaging.ensure_partitions to articurated_relay;

-- Drops one partition all of whose days are older than the retention, and returns its name; null when there is none.
--
-- It goes only when it is settled: every outbox row published or skipped, every job done. What an operator has yet
-- to deal with keeps it, whatever its age. The inbox of a day is the memory of what was consumed, so it goes only
-- after the outbox of that day: what could be delivered again is never forgotten first.
--
-- One table per call, because dropping a partition locks its parent for a moment; `lock_timeout` makes the call give
-- up instead of queueing everybody behind itself.
create or replace function messaging.drop_expired_partition(retention_days integer) returns text
    language plpgsql security definer set search_path = pg_catalog set lock_timeout = '2s' as $$
declare
    child record;
    unsettled boolean;
begin
    if retention_days < 1 then
        raise exception 'the retention must be at least one day' using errcode = 'invalid_parameter_value';
    end if;
    perform pg_advisory_xact_lock(hashtext('messaging.ensure_partitions'));
    for child in
        select * from messaging.partitions
        where until_day <= (now() at time zone 'UTC')::date - retention_days
        order by parent desc, from_day
    loop
        if child.parent = 'outbox' then
            execute format(
                'select exists (select from messaging.%I where published_at is null and parked_reason is distinct from ''SKIPPED'')
                     or exists (select from messaging.inbox where status <> ''done'' and event_id >= %L and event_id < %L)',
                child.name,
                messaging.lowest_event_id(child.from_day::timestamp at time zone 'UTC'),
                messaging.lowest_event_id(child.until_day::timestamp at time zone 'UTC'))
            into unsettled;
        else
            unsettled := exists (select from messaging.partitions as outbox
                                 where outbox.parent = 'outbox' and outbox.from_day < child.until_day and outbox.until_day > child.from_day);
        end if;
        continue when unsettled;
        -- What never had an event leaves nothing to be told again.
        if child.parent = 'outbox' then
            execute format(
                'update messaging.retention set dropped_through = greatest(dropped_through, %L) where exists (select from messaging.%I)',
                child.until_day - 1, child.name);
        end if;
        execute format('drop table messaging.%I', child.name);
        return child.name;
    end loop;
    return null;
end $$;

-- Days that nothing has happened in yet give way to wider partitions; those with events go with the retention.
lock table messaging.outbox, messaging.inbox in access exclusive mode;
do $$
declare
    day record;
    used boolean;
begin
    for day in select outbox.name as outbox, inbox.name as inbox
               from messaging.partitions as outbox join messaging.partitions as inbox using (from_day, until_day)
               where outbox.parent = 'outbox' and inbox.parent = 'inbox' loop
        execute format('select exists (select from messaging.%I) or exists (select from messaging.%I)', day.outbox, day.inbox) into used;
        continue when used;
        execute format('drop table messaging.%I, messaging.%I', day.outbox, day.inbox);
    end loop;
end $$;
select messaging.ensure_partitions(1, 14, 11);
