-- What the workers make of events: invoices, credit notes, e-mails. What they make of refunds stands in `command.refunds`.
--
-- A row is written in the transaction that completes its job. Where an effect outside the database must not happen twice,
-- the row is committed before the effect is attempted.
--
-- `document` is the document as the last event of the row carried it. When events are republished for a rebuild, it is
-- sent again.

-- Consecutive numbers of invoices and credit notes, one series per kind and financial year (1 April to 31 March,
-- Asia/Kolkata). The transaction that inserts the row also takes the number, so no number is lost: a rollback returns it,
-- and a retry finds the row with its number.
create table work.document_series (
    series       text    not null,
    last_number  integer not null default 0,
    constraint document_series_pkey primary key (series)
);

-- One invoice per order. The row with its number exists before the PDF does; `stored_at` says that the PDF is there.
--   order_document      the order as it was invoiced: a credit note must name the same parties
--   edition             path, size_bytes, sha256 and document are those of this edition; its document lists the earlier ones
--   registered_version  the version of the order whose registration that edition shows
--   registrations       the versions of the order whose registration was printed or is being printed. Each has a file of its own,
--                       and the row is committed before the file is stored. Only the last becomes an edition
--   awaits_registration whether it must be registered at the portal, and is not yet
create table work.invoices (
    id                  uuid        not null constraint invoices_pkey primary key,
    order_id            uuid        not null constraint invoices_order_key unique,
    invoice_number      text        not null constraint invoices_number_key unique
                                    constraint invoices_number_rule46 check (invoice_number ~ '^[A-Za-z0-9/-]{1,16}$'),
    issued_at           timestamptz not null,
    path                text,
    size_bytes          bigint,
    sha256              text,
    stored_at           timestamptz,
    edition             integer     not null default 1,
    registered_version  integer,
    registrations       integer[]   not null default '{}',
    order_document      jsonb       not null,
    document            jsonb,
    awaits_registration boolean     not null default false,
    constraint invoices_registered_has_editions check
        ((edition > 1) = (registered_version is not null) and edition <= 1 + cardinality(registrations)),
    constraint invoices_stored_is_whole check
        ((stored_at is null) = (path is null) and (stored_at is null) = (sha256 is null) and (stored_at is null) = (size_bytes is null))
);
create index invoices_unregistered on work.invoices (issued_at) where awaits_registration;

-- One credit note per completed return, and per refund without a return after the invoice: `source_id` is one or the other. It refers
-- to the invoice of the order. Otherwise the same as `invoices`.
create table work.credit_notes (
    id                  uuid        not null constraint credit_notes_pkey primary key,
    source_id           uuid        not null constraint credit_notes_source_key unique,
    credit_note_number  text        not null constraint credit_notes_number_key unique
                                    constraint credit_notes_number_rule53 check (credit_note_number ~ '^[A-Za-z0-9/-]{1,16}$'),
    issued_at           timestamptz not null,
    path                text,
    size_bytes          bigint,
    sha256              text,
    stored_at           timestamptz,
    document            jsonb,
    constraint credit_notes_stored_is_whole check
        ((stored_at is null) = (path is null) and (stored_at is null) = (sha256 is null) and (stored_at is null) = (size_bytes is null))
);

-- One row per e-mail. The recipient's address is not kept here: the event has it.
--
-- A mail server cannot be asked whether it accepted a message. So the row is committed before the message is handed over,
-- and a worker that finds SENDING knows that the message may be out and does not send it a second time
-- (docs/decisions/0012-mail-at-most-once.md).
--
--   LOGGED    no mail server is configured: the message was logged, and nothing was sent
--   SENDING   committed; the message is being handed over, or the worker died while doing so
--   SENT      the server accepted the message
--   REFUSED   the server refused the message, so nothing is out; it may be tried again
--   IN_DOUBT  it is unknown whether the message is out; the job is dead, and only an operator sends it again
--
--   recorded_at  when SENDING was last committed; null for a message that was only logged
create table work.emails (
    event_id     uuid        not null,
    kind         text        not null,
    message_id   text        not null,
    status       text        not null constraint emails_status_known check (status in
                             ('LOGGED', 'SENDING', 'SENT', 'REFUSED', 'IN_DOUBT')),
    recorded_at  timestamptz,
    sent_at      timestamptz,
    constraint emails_pkey primary key (event_id, kind),
    constraint emails_sent_has_time check ((status in ('LOGGED', 'SENT')) = (sent_at is not null)),
    constraint emails_recorded_has_time check ((status = 'LOGGED') = (recorded_at is null))
);

-- Addresses that an operator has corrected: the e-mail about an event goes there, and not to the address in the event.
create table work.email_corrections (
    event_id      uuid        not null constraint email_corrections_pkey primary key,
    aggregate_id  uuid        not null,
    recipient     text        not null constraint email_corrections_length check (char_length(recipient) between 3 and 254),
    corrected_at  timestamptz not null
);
grant select, insert, update on work.email_corrections to articurated_operator;
grant usage on schema work to articurated_operator;

-- What a person is to be told by ALERT_WEBHOOK_URL, and has not been told yet. A row is written in the commit of what it is
-- about, and deleted when the webhook has taken it.
--   due_at  when it is sent, or sent again
create table work.alerts (
    id         uuid        not null constraint alerts_pkey primary key,
    raised_at  timestamptz not null,
    due_at     timestamptz not null,
    attempts   integer     not null default 0,
    body       jsonb       not null
);
create index alerts_due on work.alerts (due_at);
grant delete on work.alerts to articurated_workers;

grant select, insert, update on all tables in schema work to articurated_workers;
grant select on all tables in schema work to articurated_operator;
-- The number and the date of an order's invoice, once its PDF is stored, and whether it is sent only when it is registered. The command service compares the portal's registration with
-- them, and sees nothing else of this schema.
create function work.invoice_number(of_order uuid) returns table (number text, issued_at timestamptz, awaits_registration boolean)
    language sql stable security definer set search_path = pg_catalog as $$
    select invoice_number, invoices.issued_at, invoices.awaits_registration from work.invoices where order_id = of_order and stored_at is not null
$$;
revoke all on function work.invoice_number from public;
grant usage on schema work to articurated_command;
grant execute on function work.invoice_number to articurated_command;

-- An order and what belongs to it, as far as it has events: for the event feed, which may not see these tables.
create function messaging.entities_of(of_order uuid) returns setof uuid
    language sql stable security definer set search_path = pg_catalog
begin atomic
    select of_order
    union all select id from command.returns where order_id = of_order
    union all select id from command.refunds where order_id = of_order
    union all select id from work.invoices where order_id = of_order
    union all select id from work.credit_notes
              where source_id in (select id from command.returns where order_id = of_order
                                  union all select id from command.refunds where order_id = of_order);
end;
revoke all on function messaging.entities_of from public;
grant execute on function messaging.entities_of to articurated_query;
