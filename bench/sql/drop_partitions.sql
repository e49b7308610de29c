-- Drops the empty partitions of a new database, so that narrower ones can be made.
do $$
declare
    partition record;
begin
    for partition in select name from messaging.partitions loop
        execute format('drop table messaging.%I', partition.name);
    end loop;
end $$;
