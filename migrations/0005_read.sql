-- The read models: what the query service sends, made by the projector from events alone. A rebuild makes all of them
-- again from the same events, beside the live ones.
--
-- Every write is guarded by the version, so events may arrive twice and in any order. The only constraints are the
-- primary keys. The rules are the command side's: a read model that refused what has already happened would only block
-- its queue.


-- Documents -----------------------------------------------------------------------------------------------------------

-- `document` is json, not jsonb: the database never looks into it, and it is sent byte for byte.

create table read.orders (
    id            uuid        not null constraint orders_pkey primary key,
    version       integer     not null,
    order_number  text        not null,
    customer_id   text        not null,
    state         text        not null,
    created_at    timestamptz not null,
    updated_at    timestamptz not null,
    document      json        compression lz4 not null,
    email         text,
    payment_transaction_id  text,
    tracking_number         text
);
-- Each filter of the list has an index that ends in the order of the list, so a page is read and never sorted. The list by
-- `updated_at` has indexes for all orders and for those in a state; with another filter it sorts what the filter leaves.
create index orders_newest on read.orders (created_at desc, id desc);
create index orders_updated on read.orders (updated_at desc, id desc);
create index orders_by_state on read.orders (state, created_at desc, id desc);
create index orders_by_state_updated on read.orders (state, updated_at desc, id desc);
create index orders_by_customer on read.orders (customer_id, created_at desc, id desc);
create index orders_by_number on read.orders (order_number, created_at desc, id desc);
create index orders_by_email on read.orders (email, created_at desc, id desc) where email is not null;
create index orders_by_payment on read.orders (payment_transaction_id, created_at desc, id desc)
    where payment_transaction_id is not null;
create index orders_by_tracking on read.orders (tracking_number, created_at desc, id desc) where tracking_number is not null;

create table read.returns (
    id            uuid        not null constraint returns_pkey primary key,
    version       integer     not null,
    order_id      uuid        not null,
    order_number  text        not null,
    customer_id   text        not null,
    state         text        not null,
    created_at    timestamptz not null,
    updated_at    timestamptz not null,
    document      json        compression lz4 not null,
    email         text,
    tracking_number  text
);
create index returns_newest on read.returns (created_at desc, id desc);
create index returns_updated on read.returns (updated_at desc, id desc);
create index returns_by_state on read.returns (state, created_at desc, id desc);
create index returns_by_state_updated on read.returns (state, updated_at desc, id desc);
create index returns_by_email on read.returns (email, created_at desc, id desc) where email is not null;
create index returns_by_tracking on read.returns (tracking_number, created_at desc, id desc) where tracking_number is not null;
create index returns_by_customer on read.returns (customer_id, created_at desc, id desc);
create index returns_by_order on read.returns (order_id, created_at desc, id desc);
create index returns_by_number on read.returns (order_number, created_at desc, id desc);

-- The words by which an order or a return is found, of its names, addresses and items. They are apart from the documents, because
-- a document changes with every step and its words hardly ever do: the row is written only when they change.
--   kind   order or return
--   words  in lower case; SKUs once more, as they are, after `=`
create table read.search (
    id          uuid        not null constraint search_pkey primary key,
    kind        text        not null,
    created_at  timestamptz not null,
    words       tsvector    not null
);
create index search_newest on read.search (kind, created_at desc, id desc);
-- Without `fastupdate` no batch of the projector has to sort in what earlier ones have left.
create index search_words on read.search using gin (words) with (fastupdate = off);

-- Invoices are shown inside their order, credit notes inside their return. They have rows of their own because
-- their events are numbered separately and may arrive before those of the order or the return.
--   path        file name in the document store
--   sha256      of the PDF; its ETag
--   created_at  when it was issued
create table read.invoices (
    order_id      uuid        not null constraint invoices_pkey primary key,
    version       integer     not null,
    path          text        not null,
    sha256        text        not null,
    document      json        compression lz4 not null,
    id            uuid        not null,
    number        text        not null,
    order_number  text        not null,
    customer_id   text        not null,
    created_at    timestamptz not null
);
create index invoices_by_id on read.invoices (id);
create index invoices_newest on read.invoices (created_at desc, id desc);
create index invoices_by_number on read.invoices (number, created_at desc, id desc);
create index invoices_by_order_number on read.invoices (order_number, created_at desc, id desc);
create index invoices_by_customer on read.invoices (customer_id, created_at desc, id desc);

-- `source_id` is the return, or the refund without one.
create table read.credit_notes (
    source_id     uuid        not null constraint credit_notes_pkey primary key,
    version       integer     not null,
    path          text        not null,
    sha256        text        not null,
    document      json        compression lz4 not null,
    id            uuid        not null,
    number        text        not null,
    order_id      uuid        not null,
    order_number  text        not null,
    customer_id   text        not null,
    created_at    timestamptz not null
);
create index credit_notes_by_id on read.credit_notes (id);
create index credit_notes_newest on read.credit_notes (created_at desc, id desc);
create index credit_notes_by_number on read.credit_notes (number, created_at desc, id desc);
create index credit_notes_by_order on read.credit_notes (order_id, created_at desc, id desc);
create index credit_notes_by_order_number on read.credit_notes (order_number, created_at desc, id desc);
create index credit_notes_by_customer on read.credit_notes (customer_id, created_at desc, id desc);

-- A refund is shown by itself, and inside its order or return. `made_on` and `processed_on` are days of Asia/Kolkata.
create table read.refunds (
    id            uuid        not null constraint refunds_pkey primary key,
    version       integer     not null,
    order_id      uuid        not null,
    return_id     uuid,
    customer_id   text        not null,
    kind          text        not null,
    state         text        not null,
    amount_minor  bigint      not null,
    currency      text        not null,
    created_at    timestamptz not null,
    updated_at    timestamptz not null,
    made_on       date        not null,
    processed_on  date,
    document      json        compression lz4 not null,
    order_number  text        not null,
    email         text,
    payment_transaction_id  text
);
create index refunds_newest on read.refunds (created_at desc, id desc);
create index refunds_updated on read.refunds (updated_at desc, id desc);
create index refunds_by_state on read.refunds (state, created_at desc, id desc);
create index refunds_by_state_updated on read.refunds (state, updated_at desc, id desc);
create index refunds_by_customer on read.refunds (customer_id, created_at desc, id desc);
create index refunds_by_order on read.refunds (order_id, created_at desc, id desc);
create index refunds_by_number on read.refunds (order_number, created_at desc, id desc);
create index refunds_by_email on read.refunds (email, created_at desc, id desc) where email is not null;
create index refunds_by_payment on read.refunds (payment_transaction_id, created_at desc, id desc)
    where payment_transaction_id is not null;
create index refunds_by_return on read.refunds (return_id) where return_id is not null;
create index refunds_made on read.refunds (made_on);
create index refunds_processed on read.refunds (processed_on) where processed_on is not null;

-- The history of every aggregate, one row per audit row.
create table read.history (
    aggregate_type  text    not null,
    aggregate_id    uuid    not null,
    version         integer not null,
    entry           json    compression lz4 not null,
    constraint history_pkey primary key (aggregate_type, aggregate_id, version)
);


-- Figures -------------------------------------------------------------------------------------------------------------

-- What reports add up: of every order, return, refund, invoice and credit note the few columns that count.
--
-- No totals are stored. A report is a sum over rows, and each row is the newest version of what it describes. So an event
-- that comes twice, late or out of order cannot be counted twice. The rows are narrow, with days (of Asia/Kolkata) and
-- seconds in place of times, because a report may read a year of them.
--
-- They are written after the documents, for exactly the documents that changed.

-- A sum as the reports show it: as much as a bigint takes. An order costs at most 10^12 paise, so only
-- nine million of the dearest reach it. The report then shows the largest number instead of failing for ever.
create function read.figure(sum numeric) returns bigint
    language sql immutable parallel safe
    return greatest(least(sum, 9223372036854775807), -9223372036854775807)::bigint;

-- One row per order.
--   sold_on    the day of payment
--   …_seconds  how long the order was in each state that it has left
create table read.order_facts (
    order_id            uuid    not null constraint order_facts_pkey primary key,
    currency            text    not null,
    state               text    not null,
    units               bigint  not null,
    subtotal_minor      bigint  not null,
    discount_minor      bigint  not null,
    shipping_minor      bigint  not null,
    tax_minor           bigint  not null,
    total_minor         bigint  not null,
    placed_on           date    not null,
    sold_on             date,
    cancelled_on        date,
    pending_seconds     integer,
    paid_seconds        integer,
    processing_seconds  integer,
    shipped_seconds     integer
) with (fillfactor = 80);
create index order_facts_placed on read.order_facts (placed_on);
create index order_facts_sold on read.order_facts (sold_on) where sold_on is not null;
create index order_facts_cancelled on read.order_facts (cancelled_on) where cancelled_on is not null;

-- The lines of the orders that were ever paid; they never change.
create table read.sold_lines (
    order_id  uuid    not null,
    line_no   integer not null,
    sold_on   date    not null,
    currency  text    not null,
    sku       text    not null,
    title     text    not null,
    quantity  integer not null,
    constraint sold_lines_pkey primary key (order_id, line_no)
);
create index sold_lines_sold on read.sold_lines (sold_on);

-- One row per return.
create table read.return_facts (
    return_id           uuid   not null constraint return_facts_pkey primary key,
    order_id            uuid   not null,
    currency            text   not null,
    state               text   not null,
    amount_minor        bigint not null,
    requested_on        date   not null,
    completed_on        date,
    requested_seconds   integer,
    approved_seconds    integer,
    in_transit_seconds  integer,
    received_seconds    integer
) with (fillfactor = 80);
create index return_facts_requested on read.return_facts (requested_on);
create index return_facts_completed on read.return_facts (completed_on) where completed_on is not null;
create index return_facts_order on read.return_facts (order_id);

-- The lines of returns, with the units that came back or are to come back. `reason` is the line's own or, where it has none, the return's.
create table read.return_lines (
    return_id     uuid    not null,
    line_no       integer not null,
    sku           text    not null,
    title         text    not null,
    reason        text,
    quantity      integer not null,
    amount_minor  bigint  not null,
    constraint return_lines_pkey primary key (return_id, line_no)
);

-- Invoices and credit notes, with what a tax return needs.
--   kind            invoice or credit_note
--   supplier_gstin, supply, place_of_supply, recipient_name, recipient_gstin   null where the shop is not registered
--   sez, without_payment   to a special economic zone; zero-rated under a letter of undertaking
--   corrects, corrected_issued_on   of a credit note: number and day of the invoice
create table read.issued_documents (
    id                   uuid   not null constraint issued_documents_pkey primary key,
    kind                 text   not null,
    number               text   not null,
    issued_on            date   not null,
    order_id             uuid   not null,
    order_number         text   not null,
    currency             text   not null,
    total_minor          bigint not null,
    supplier_gstin       text,
    supply               text,
    place_of_supply      text,
    recipient_name       text,
    recipient_gstin      text,
    sez                  boolean not null,
    without_payment      boolean not null,
    corrects             text,
    corrected_issued_on  date
);
create index issued_documents_issued on read.issued_documents (issued_on);
create index issued_documents_number on read.issued_documents (number);

-- What those documents tax, by HSN code and rate; shipping is one of the lines. `gst_rate` is in per cent, and null where
-- nothing is taxed. Kind, day, currency, place of supply and recipient repeat those of the document, so that a report adds
-- up the lines of a year without a join.
create table read.issued_lines (
    document_id           uuid    not null,
    line_no               integer not null,
    kind                  text    not null,
    issued_on             date    not null,
    currency              text    not null,
    place_of_supply       text,
    recipient_registered  boolean not null,
    hsn                   text,
    gst_rate              float8,
    quantity              bigint  not null,
    total_minor           bigint  not null,
    taxable_minor         bigint  not null,
    cgst_minor            bigint  not null,
    sgst_minor            bigint  not null,
    igst_minor            bigint  not null,
    round_off_minor       bigint  not null,
    constraint issued_lines_pkey primary key (document_id, line_no)
);
create index issued_lines_issued on read.issued_lines (issued_on);

-- The report of a day, made in the night after it: one row per figure and currency. It cannot be rebuilt from
-- events, because it also records open amounts at the time it was made.
--   place  the order in which the figures are shown
create table read.daily_reports (
    day           date        not null,
    place         integer     not null,
    figure        text        not null,
    currency      text        not null,
    count         bigint      not null,
    amount_minor  bigint      not null,
    made_at       timestamptz not null,
    constraint daily_reports_pkey primary key (day, place, currency)
);

-- Files that a client has asked for: figures and lists that are longer than an answer may be. They have no names, addresses or
-- e-mail addresses; those with customers' ids or words are deleted by an erasure.
--   from_day, to_day      null: without a limit
--   owner, owned_until    who is making it, and until when of the database's clock it need not say that it still does
--   attempts              how often it was started
--   retry_at              of a file whose attempt has failed, on the database's clock
--   error                 why there is none, for people
create table read.exports (
    id            uuid        not null constraint exports_pkey primary key,
    kind          text        not null,
    format        text        not null,
    from_day      date,
    to_day        date,
    requested_by  text        not null,
    status        text        not null default 'PENDING'
        constraint exports_status check (status in ('PENDING', 'RUNNING', 'READY', 'FAILED', 'EXPIRED')),
    owner         uuid,
    owned_until   timestamptz not null default '-infinity',
    attempts      integer     not null default 0,
    retry_at      timestamptz not null default '-infinity',
    rows          bigint      not null default 0,
    bytes         bigint      not null default 0,
    error         text,
    created_at    timestamptz not null,
    finished_at   timestamptz,
    expires_at    timestamptz
);
create index exports_newest on read.exports (created_at desc, id desc);
create index exports_open on read.exports (created_at) where status in ('PENDING', 'RUNNING');
create index exports_expiring on read.exports (expires_at) where expires_at is not null;

-- Their contents, in parts that are sent one after the other. They are here and not in the document store, which the query service
-- only reads.
create table read.export_parts (
    export_id  uuid     not null,
    part_no    integer  not null,
    content    bytea    compression lz4 not null,
    constraint export_parts_pkey primary key (export_id, part_no)
);

grant select, insert, update on all tables in schema read to articurated_query;
grant delete on read.exports, read.export_parts to articurated_query;


-- Rebuild -------------------------------------------------------------------------------------------------------------

-- The rebuild that is running, if any; one row.
--   run    its id
--   until  it is alive until this time of the database's clock. Until then every projector also writes to `read_next`.
create table read.rebuild (
    one    boolean     not null default true constraint rebuild_pkey primary key constraint rebuild_single check (one),
    run    uuid,
    until  timestamptz not null default '-infinity'
);
insert into read.rebuild default values;
grant select, update on read.rebuild to articurated_query;

grant select on all tables in schema read to articurated_operator;

-- The tables that a rebuild makes: all except those that do not come from events.
create function read.models() returns setof text
    language sql stable set search_path = pg_catalog
begin atomic
    select relname::text from pg_class
    where relnamespace = (select oid from pg_namespace where nspname = 'read') and relkind = 'r'
      and relname not in ('rebuild', 'daily_reports', 'exports', 'export_parts')
    order by relname;
end;

-- Creates `read_next` again: the tables of `read` with their constraints, indexes and storage, empty. `read_next` stays
-- empty except during a rebuild. A migration that changes a read model calls this function and needs no second copy of
-- its change.
create function read.prepare_rebuild() returns void
    language plpgsql security definer set search_path = pg_catalog as $$
declare
    model text;
    options text[];
    definition text;
begin
    for model in select relname from pg_class where relnamespace = 'read_next'::regnamespace and relkind = 'r' loop
        execute format('drop table read_next.%I', model);
    end loop;
    for model in select read.models() loop
        execute format('create table read_next.%I (like read.%I including defaults including constraints including storage including compression)',
                       model, model);
        select reloptions into options from pg_class where oid = format('read.%I', model)::regclass;
        if options is not null then
            execute format('alter table read_next.%I set (%s)', model, array_to_string(options, ', '));
        end if;
        for definition in
            select format('alter table read_next.%I add constraint %I %s', model, conname, pg_get_constraintdef(oid))
            from pg_constraint where conrelid = format('read.%I', model)::regclass and contype in ('p', 'u')
        loop
            execute definition;
        end loop;
        for definition in
            select replace(pg_get_indexdef(indexrelid), ' ON read.', ' ON read_next.')
            from pg_index where indrelid = format('read.%I', model)::regclass
              and not exists (select from pg_constraint where conindid = indexrelid)
        loop
            execute definition;
        end loop;
        execute format('grant select, insert, update on read_next.%I to articurated_query', model);
        execute format('grant select on read_next.%I to articurated_operator', model);
    end loop;
end $$;

-- Gathers statistics of the rebuilt read models, so that the first report does not have to wait for autovacuum to get a
-- good plan.
create function read.analyze_rebuilt() returns void
    language plpgsql security definer set search_path = pg_catalog as $$
declare
    model text;
begin
    for model in select read.models() loop
        execute format('analyze read_next.%I', model);
    end loop;
end $$;

-- Replaces the live read models with the rebuilt ones. The caller's transaction holds the lock on the row of
-- `read.rebuild`, so no projector is in the middle of a batch. With `lock_timeout` the swap gives up; without it, every
-- reader would queue behind the waiting lock.
create function read.swap_rebuilt() returns void
    language plpgsql security definer set search_path = pg_catalog set lock_timeout = '2s' as $$
declare
    model text;
begin
    for model in select read.models() loop
        execute format('lock table read.%I in access exclusive mode', model);
    end loop;
    for model in select read.models() loop
        execute format('drop table read.%I', model);
    end loop;
    for model in select relname from pg_class where relnamespace = 'read_next'::regnamespace and relkind = 'r' loop
        execute format('alter table read_next.%I set schema read', model);
    end loop;
    perform read.prepare_rebuild();
end $$;

revoke all on function read.models, read.prepare_rebuild, read.analyze_rebuilt, read.swap_rebuilt from public;
grant execute on function read.models, read.prepare_rebuild, read.analyze_rebuilt, read.swap_rebuilt to articurated_query;

select read.prepare_rebuild();
