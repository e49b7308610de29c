-- Credit notes: one for every completed return, with a number of its own series, referring to the order's invoice.

insert into messaging.queues (name) values ('credit_notes');

alter table command.state_transitions
    drop constraint state_transitions_entity_known,
    add constraint state_transitions_entity_known
        check (entity_type in ('order', 'return', 'invoice', 'credit_note', 'refund'));

-- The order as it was invoiced: a credit note names the same parties. Null in rows from before there were credit notes.
alter table work.invoices add order_document jsonb;

-- As `invoices`: the row exists with its number before the PDF does.
create table work.credit_notes (
    id                  uuid        not null constraint credit_notes_pkey primary key,
    return_id           uuid        not null constraint credit_notes_return_key unique,
    credit_note_number  text        not null constraint credit_notes_number_key unique
                                    constraint credit_notes_number_rule53 check (credit_note_number ~ '^[A-Za-z0-9/-]{1,16}$'),
    issued_at           timestamptz not null,
    path                text,
    size_bytes          bigint,
    sha256              text,
    stored_at           timestamptz,
    constraint credit_notes_stored_is_whole check ((stored_at is null) = (path is null) and (stored_at is null) = (sha256 is null) and (stored_at is null) = (size_bytes is null))
);
grant select, insert, update on work.credit_notes to articurated_workers;
grant select on work.credit_notes to articurated_relay;
grant select on work.credit_notes to articurated_operator;

-- Shown inside the return that they belong to, as refunds are.
create table read.credit_notes (
    return_id  uuid    not null constraint credit_notes_pkey primary key,
    version    integer not null,
    path       text    not null,
    sha256     text    not null,
    document   json    compression lz4 not null
);
grant select, insert, update on read.credit_notes to articurated_query;
grant select on read.credit_notes to articurated_operator;
