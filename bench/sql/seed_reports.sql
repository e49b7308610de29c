-- The facts that reports add up, for orders $2 to $3 over a year. Every fifth order is cancelled, every tenth has a
-- return. $1 is not used.
with placed as (
    select n, lpad(to_hex(n), 32, '0')::uuid as id, current_date - (n % 365)::int as day, $1::jsonb as unused
    from generate_series($2::bigint, $3::bigint) as n
), facts as (
    insert into read.order_facts
    select id, 'INR', case when n % 5 = 0 then 'CANCELLED' else 'DELIVERED' end, 3, 500000, 1000, 10000, 60000, 509000, day,
           day, case when n % 5 = 0 then day end, (n % 977)::int, (n % 9773)::int, (n % 97731)::int,
           case when n % 5 > 0 then (n % 99991)::int end
    from placed
), lines as (
    insert into read.sold_lines
    select id, line, day, 'INR', 'SKU-' || (n * line) % 1024, 'Blue pottery bowl no. ' || (n * line) % 1024, line
    from placed, generate_series(1, 2) as line
), returned as (
    insert into read.return_facts
    select id, id, 'INR', 'COMPLETED', 100000, day, day, (n % 977)::int, (n % 9773)::int, (n % 97731)::int, (n % 991)::int
    from placed where n % 10 = 1
), returned_lines as (
    insert into read.return_lines
    select id, 1, 'SKU-' || n % 1024, 'Blue pottery bowl no. ' || n % 1024, (array['Too small', 'Broken', 'Late'])[n % 3 + 1], 1, 100000
    from placed where n % 10 = 1
), refunds as (
    insert into read.refunds (id, version, order_id, return_id, customer_id, kind, state, amount_minor, currency, created_at, updated_at, made_on,
                              processed_on, document, order_number)
    select id, 2, id, id, 'CUST', 'RETURN', 'PROCESSED', 100000, 'INR', day, day, day, day, '{}', 'AC-' || n from placed where n % 10 = 1
), documents as (
    insert into read.issued_documents
    select id, 'invoice', 'AC/26-27/' || lpad(n::text, 6, '0'), day, id, 'AC-' || n, 'INR', 509000, '29AAHCM7727Q1ZI',
           'INTER_STATE', (array['27 Maharashtra', '30 Goa', '33 Tamil Nadu'])[n % 3 + 1], 'Meera', null, false, false, null, null
    from placed
)
insert into read.issued_lines
select id, line, 'invoice', day, 'INR', (array['27 Maharashtra', '30 Goa', '33 Tamil Nadu'])[n % 3 + 1], false,
       (6910 + line)::text, 12, line, 254500, 227232, 0, 0, 27268, 0
from placed, generate_series(1, 2) as line
