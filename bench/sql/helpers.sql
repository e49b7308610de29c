-- What the textbook application would do outside the database: an id that begins with its time, as a UUIDv7 does.
-- A single expression, so it is inlined.
create function public.id_now(random bigint) returns uuid language sql volatile
    return (lpad(to_hex((extract(epoch from clock_timestamp()) * 1000)::bigint), 12, '0') || lpad(to_hex(random), 20, '0'))::uuid;
