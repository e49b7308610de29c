-- What reports add up: of every order, return, refund, invoice and credit note the few columns that count, as rows.
--
-- No totals are stored. A report is a sum over rows that are each the newest version of what they tell of, so an event
-- that comes twice, late or out of order cannot be counted twice. The rows are narrow, and hold days (of Asia/Kolkata) and
-- seconds instead of times, for a year of them is read at once.
--
-- Written after the documents, for exactly those that have changed.

-- One row per order.
--   sold_on     the day of payment
--   …_seconds   how long it was in each state that it has left
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

-- The lines of returns; they never change. `reason` is the line's own or, where it has none, the return's.
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

alter table read.refunds add status text, add amount_minor bigint, add currency text, add processed_on date;
update read.refunds
set status = document ->> 'status', amount_minor = (document ->> 'amount_minor')::bigint, currency = document ->> 'currency',
    processed_on = ((document ->> 'processed_at')::timestamptz at time zone 'Asia/Kolkata')::date;
alter table read.refunds
    alter status set not null, alter amount_minor set not null, alter currency set not null;
create index refunds_processed on read.refunds (processed_on) where processed_on is not null;

-- Invoices and credit notes as a tax return tells of them.
--   kind                  invoice or credit_note
--   supplier_gstin        and what follows it: null where the shop is not registered
--   corrects, corrected_issued_on   of a credit note: the invoice
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
    corrects             text,
    corrected_issued_on  date
);
create index issued_documents_issued on read.issued_documents (issued_on);
create index issued_documents_number on read.issued_documents (number);

-- What they tax, by HSN code and rate, the shipping among it. `gst_rate`, in per cent, is null where nothing is taxed.
-- Day, kind and recipient are those of the document: the lines of a year are added up without looking for it.
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

-- The report of a day, as it was made in the night after it: one row per figure and currency. No fold of the events, as it
-- also says how things stood when it was made; what it says of the day itself is what the other reports go on saying.
--   place  the order in which the figures are read
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

grant select, insert, update on all tables in schema read to articurated_query;
grant select on all tables in schema read to articurated_operator;
