-- Read models: documents as the query service sends them, made by the projector from events alone.
-- `document` is json, not jsonb: it is never looked into, only sent, byte for byte.
-- Every write is guarded by the version, so events may arrive twice and in any order.
--
-- No constraint but the primary keys: the rules are the command side's. A read model that refuses what has
-- already happened would only stand still.

create table read.orders (
    id            uuid        not null constraint orders_pkey primary key,
    version       integer     not null,
    order_number  text        not null,
    customer_id   text        not null,
    state         text        not null,
    created_at    timestamptz not null,
    document      json        compression lz4 not null
);
-- Each filter of the list has an index that ends in the order of the list: a page is read, never sorted.
create index orders_newest on read.orders (created_at desc, id desc);
create index orders_by_state on read.orders (state, created_at desc, id desc);
create index orders_by_customer on read.orders (customer_id, created_at desc, id desc);
create index orders_by_number on read.orders (order_number, created_at desc, id desc);

create table read.returns (
    id            uuid        not null constraint returns_pkey primary key,
    version       integer     not null,
    order_id      uuid        not null,
    order_number  text        not null,
    customer_id   text        not null,
    state         text        not null,
    created_at    timestamptz not null,
    document      json        compression lz4 not null
);
create index returns_newest on read.returns (created_at desc, id desc);
create index returns_by_state on read.returns (state, created_at desc, id desc);
create index returns_by_customer on read.returns (customer_id, created_at desc, id desc);
create index returns_by_order on read.returns (order_id, created_at desc, id desc);
create index returns_by_number on read.returns (order_number, created_at desc, id desc);

-- Invoices and refunds, shown inside the order and the return they belong to. They have rows of their own
-- because their events are numbered on their own and may arrive before those of the order or the return.
--   path    file name inside the invoice store
--   sha256  of the PDF, which makes its ETag
create table read.invoices (
    order_id  uuid    not null constraint invoices_pkey primary key,
    version   integer not null,
    path      text    not null,
    sha256    text    not null,
    document  json    compression lz4 not null
);
create table read.refunds (
    return_id  uuid    not null constraint refunds_pkey primary key,
    version    integer not null,
    document   json    compression lz4 not null
);

-- The history of every aggregate, one row per audit row.
create table read.history (
    aggregate_type  text    not null,
    aggregate_id    uuid    not null,
    version         integer not null,
    entry           json    compression lz4 not null,
    constraint history_pkey primary key (aggregate_type, aggregate_id, version)
);

grant select, insert, update on all tables in schema read to articurated_query;
