-- Orders $2 to $3 as lists see them, one every 25 seconds, the newest first: copies of order $1 of 50,000 customers, nine of ten
-- delivered and invoiced, every tenth with a return, its refund and its credit note. The id of an order is its number.
with placed as (
    select n, lpad(to_hex(n), 32, '0')::uuid as id, 'AC-20260101-' || lpad(n::text, 8, '0') as number, 'CUST-' || n % 50000 as customer,
           'c' || n % 50000 || '@example.com' as email, date_trunc('day', now()) - n * interval '25 seconds' as at,
           case when n % 10 < 9 then 'DELIVERED'
                else (array['PENDING_PAYMENT', 'PAID', 'PROCESSING_IN_WAREHOUSE', 'SHIPPED', 'CANCELLED'])[1 + n / 10 % 5] end as state
    from generate_series($2::bigint, $3::bigint) as n
), orders as (
    insert into read.orders (id, version, order_number, customer_id, state, created_at, updated_at, document, email,
                             payment_transaction_id, tracking_number)
    select id, 5, number, customer, state, at, at + n % 7 * interval '1 day',
           ($1::jsonb || jsonb_build_object('id', id, 'order_number', number, 'customer_id', customer, 'state', state, 'version', 5)
            || case when state = 'DELIVERED' then jsonb_build_object('delivered_at', to_json(at + interval '4 days')) else '{}' end)::json,
           email, 'UPI-' || n, 'BD' || n || 'IN'
    from placed
), words as (
    insert into read.search (id, kind, created_at, words)
    select id, 'order', at, array_to_tsvector(array[lower(number), lower(customer), email, 'name' || n % 3000, 'rao', 'city' || n % 400,
                                                    '=SKU-' || n % 5000, 'sku-' || n % 5000, 'sku', 'blue', 'pottery', 'vase'])
    from placed
), invoices as (
    insert into read.invoices (order_id, version, path, sha256, document, id, number, order_number, customer_id, created_at)
    select id, 1, 'invoice_' || number || '.pdf', 'x',
           jsonb_build_object('order_id', id, 'order_number', number, 'customer_id', customer, 'invoice_number', 'AC/26-27/' || n)::json,
           id, 'AC/26-27/' || n, number, customer, at + interval '1 day'
    from placed where n % 10 < 9
), returns as (
    insert into read.returns (id, version, order_id, order_number, customer_id, state, created_at, updated_at, document, email,
                              tracking_number)
    select id, 5, id, number, customer, 'COMPLETED', at + interval '9 days', at + interval '12 days',
           jsonb_build_object('id', id, 'order_id', id, 'order_number', number, 'state', 'COMPLETED', 'version', 5,
                              'customer_id', customer, 'currency', 'INR', 'refund_amount_minor', 100000,
                              'created_at', to_json(at + interval '9 days'), 'updated_at', to_json(at + interval '12 days'),
                              'items', jsonb_build_array(jsonb_build_object(
                                  'id', id, 'order_item_id', item ->> 'id', 'sku', item ->> 'sku', 'title', item ->> 'title',
                                  'quantity', 1, 'amount_minor', 100000)))::json, email,
           'BR' || n || 'IN'
    from placed cross join (select $1::jsonb -> 'items' -> 0 as item) as first where n % 10 = 1
), refunds as (
    insert into read.refunds (id, version, order_id, return_id, customer_id, kind, state, amount_minor, currency, created_at, updated_at,
                              made_on, processed_on, document, order_number, email, payment_transaction_id)
    select id, 2, id, id, customer, 'RETURN', 'PROCESSED', 100000, 'INR', at + interval '12 days', at + interval '12 days',
           at::date, at::date, jsonb_build_object('id', id, 'order_id', id, 'status', 'PROCESSED')::json, number, email, 'UPI-' || n
    from placed where n % 10 = 1
)
insert into read.credit_notes (source_id, version, path, sha256, document, id, number, order_id, order_number, customer_id, created_at)
select id, 1, 'credit_note_' || n || '.pdf', 'x',
       jsonb_build_object('order_id', id, 'order_number', number, 'credit_note_number', 'CN/26-27/' || n)::json,
       id, 'CN/26-27/' || n, id, number, customer, at + interval '12 days'
from placed where n % 10 = 1
