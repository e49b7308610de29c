-- What the workers make of events. Each row is written in the transaction that completes its job, or,
-- where something outside must not be done twice, committed before it is attempted.

-- Consecutive invoice numbers, one series per financial year (1 April to 31 March, Asia/Kolkata).
-- The number is taken by the transaction that inserts the invoice row, so a number is never lost: a
-- rollback gives it back, and a retry finds the row with its number.
create table work.document_series (
    series       text    not null,
    last_number  integer not null default 0,
    constraint document_series_pkey primary key (series)
);

-- One invoice per order. The row exists with its number before the PDF does; `stored_at` says the PDF is there.
create table work.invoices (
    id              uuid        not null constraint invoices_pkey primary key,
    order_id        uuid        not null constraint invoices_order_key unique,
    invoice_number  text        not null constraint invoices_number_key unique
                                constraint invoices_number_rule46 check (invoice_number ~ '^[A-Za-z0-9/-]{1,16}$'),
    issued_at       timestamptz not null,
    path            text,
    size_bytes      bigint,
    sha256          text,
    stored_at       timestamptz,
    constraint invoices_stored_is_whole check ((stored_at is null) = (path is null) and (stored_at is null) = (sha256 is null) and (stored_at is null) = (size_bytes is null))
);

-- One refund per return. The return's id is the idempotency key at the gateway; the row is committed
-- before the first call, so whatever crashes, every later attempt uses the same key and the same amount.
create table work.refunds (
    id              uuid        not null constraint refunds_pkey primary key,
    return_id       uuid        not null constraint refunds_return_key unique,
    order_id        uuid        not null,
    amount_minor    bigint      not null constraint refunds_amount_not_negative check (amount_minor >= 0),
    currency        text        not null,
    status          text        not null constraint refunds_status_known check (status in ('PENDING', 'PROCESSED', 'FAILED')),
    version         integer     not null,
    transaction_id  text,
    created_at      timestamptz not null,
    processed_at    timestamptz,
    constraint refunds_processed_is_whole check ((status = 'PROCESSED') = (transaction_id is not null) and (status = 'PROCESSED') = (processed_at is not null))
);

-- One row per e-mail sent. The recipient's address is not kept here: the event has it.
create table work.emails (
    event_id    uuid        not null,
    kind        text        not null,
    message_id  text        not null,
    sent_at     timestamptz not null,
    constraint emails_pkey primary key (event_id, kind)
);

grant select, insert, update on all tables in schema work to articurated_workers;
grant select on all tables in schema work to articurated_relay;
