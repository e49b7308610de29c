-- An id that starts with its time, as a UUIDv7 does. A textbook application would make it outside the database.
-- A single expression, so that Postgres inlines it.
create function public.id_now(random bigint) returns uuid language sql volatile
    return (lpad(to_hex((extract(epoch from clock_timestamp()) * 1000)::bigint), 12, '0') || lpad(to_hex(random), 20, '0'))::uuid;
