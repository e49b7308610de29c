-- What became of the events after position $1, so that the console has something to show: a job for each, done but for one in 10,000
-- that is dead and one in 20,000 that was discarded; the batches they went out in; a parked event in 40,000, which has no job; an e-mail
-- about each first step; three disabled endpoints of webhooks for every twentieth event, one delivery in 500 refused; an operator's act per 2,000
-- events; and for shipped orders the invoice, and for every tenth a return with its refund. The id of an order is its number.
with event as materialized (
    select event_id, position, shard, aggregate_id, aggregate_version, event_type, occurred_at as at,
           aggregate_version = 4 and position % 10007 = 3 as is_parked,
           ('x' || right(replace(aggregate_id::text, '-', ''), 12))::bit(48)::bigint as n
    from messaging.outbox where position > $1
), job as materialized (
    select *, case when status <> 'done' then (array['the mail server refused the sender: 550 5.7.1 relaying denied', 'connection timed out after 30 s',
               'the invoice store is full: No space left on device', 'Chromium ended: exit status 133', 'no template has this name',
               'the payment gateway answered with 503'])[1 + position / 10000 % 6] end as last_error
    from (select *, case event_type when 'order.created' then 'notifications' else 'invoices' end as queue,
                 case when position % 10000 = 17 then 'dead' when position % 20000 = 5 then 'discarded' else 'done' end as status
          from event where not is_parked) as one
), jobs as (
    insert into messaging.inbox (queue, event_id, aggregate_id, aggregate_version, received_at, run_at, status, attempts, claim_id,
                                 started_at, finished_at, last_error)
    select queue, event_id, aggregate_id, aggregate_version, at + interval '2 ms', at + interval '2 ms', status,
           case status when 'done' then 1 else 12 end, event_id, at + interval '4 ms', at + (20 + position % 400) * interval '1 ms',
           last_error
    from job
), letters as (
    insert into messaging.dead_letters (queue, event_id, died_at, last_error)
    select queue, event_id, at + interval '2 hours', last_error from job where status = 'dead'
), batches as (
    insert into messaging.relay_batches (batch_id, relay, epochs, shards, positions, last_position, sent_at, confirmed_at)
    select (array_agg(event_id order by position))[1], 'relay-1', '{1}', array_agg(distinct shard), array_agg(position order by position), max(position),
           min(at) + interval '1 ms', min(at) + interval '2 ms'
    from event where not is_parked group by position / 50
), parked as (
    insert into messaging.outbox_exceptions (event_id, position, shard, aggregate_id, aggregate_version, status, attempts, last_error,
                                             parked_at, parked_reason)
    select event_id, position, shard, aggregate_id, aggregate_version, 'PARKED', 10, 'no queue is bound for it', at, 'UNROUTABLE'
    from event where is_parked
), emails as (
    insert into work.emails (event_id, kind, message_id, status, recorded_at, sent_at)
    select event_id, 'order_created', event_id::text || '@example.com', 'SENT', at, at + interval '30 ms'
    from job where queue = 'notifications' and aggregate_version = 1
), endpoints as materialized (
    insert into messaging.webhook_endpoints (id, url, secret, created_at, updated_at, disabled_at, disabled_reason)
    select lpad(n::text, 32, '0')::uuid, 'https://example.com/hooks/' || n, 'whsec_bm9uZQ==', now(), now(), now(), 'not to be reached from here'
    from generate_series(1, 3) as n
    on conflict do nothing
), deliveries as (
    insert into messaging.webhook_deliveries (event_id, endpoint_id, event_type, aggregate_id, aggregate_version, status, attempts, tries,
                                              due_at, last_error, created_at, settled_at)
    select event_id, lpad(endpoint::text, 32, '0')::uuid, event_type, aggregate_id, aggregate_version,
           case when position % 10000 = 0 then 'FAILED' else 'DELIVERED' end, 1, 1, null,
           case when position % 10000 = 0 then 'answered with 500' end, at, at + interval '80 ms'
    from event cross join generate_series(1, 3) as endpoint where position % 20 = 0
), actions as (
    insert into messaging.operator_actions (acted_at, actor, source, action, target, reason, rows_changed)
    select at + interval '1 hour', 'asha', 'CONSOLE', 'RETRY', jsonb_build_object('event_ids', jsonb_build_array(event_id), 'queues', '["invoices"]'::jsonb),
           'The invoice store was full; it has room again.', 1
    from event where position % 2000 = 0 order by position
), shipped as materialized (
    select * from event where aggregate_version = 4
), invoices as (
    insert into work.invoices (id, order_id, invoice_number, issued_at, path, size_bytes, sha256, stored_at, order_document)
    select aggregate_id, aggregate_id, 'AC/26-27/' || n, at, 'invoice_' || n || '.pdf', 51200, 'x', at + interval '2 s', '{}'
    from shipped
), returns as (
    insert into command.returns (id, order_id, state, version, document, items, progress, created_at, updated_at)
    select aggregate_id, aggregate_id, 'COMPLETED', 5, '{}', '[]', '{}', at, at from shipped where n % 10 = 1
)
insert into command.refunds (id, order_id, return_id, kind, status, version, amount_minor, currency, document, transaction_id,
                             gateway_reference, created_at, updated_at, processed_at)
select aggregate_id, aggregate_id, aggregate_id, 'RETURN', 'PROCESSED', 2, 100000, 'INR', '{}', 'RF-' || n, 'ARN' || n, at, at,
       at + interval '3 s'
from shipped where n % 10 = 1
