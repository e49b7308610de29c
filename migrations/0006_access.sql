-- Who may call: the keys of callers, and the key of consistency tokens. Which role may call which route is not here, but in `crates/access/src/table.rs`.

-- One row per key that was ever made. A key is shown once, when it is made. The row has its SHA-256, which says nothing about it:
-- a key has 256 random bits.
--   name         the actor in the audit. Its idempotency keys and rate limits are kept under it, so a rotated key keeps it
--   customer_id  of the role `customer` only: the key sees and changes what this customer has
--   prefix       the part of the key by which it is found; no secret
--   networks     CIDR blocks that the key may be used from; empty: everywhere
--   revoked_at   from then on it is refused. In the future: a rotated key, which still works for a while
--   last_used_at to the minute
create table access.api_keys (
    id           uuid        not null constraint api_keys_pkey primary key,
    name         text        not null constraint api_keys_name_fits check (char_length(name) between 1 and 64),
    role         text        not null constraint api_keys_role_known check
                             (role in ('customer', 'staff', 'manager', 'reporting', 'operator', 'admin')),
    customer_id  text        constraint api_keys_customer_fits check (char_length(customer_id) between 1 and 64),
    prefix       text        not null constraint api_keys_prefix_key unique,
    hash         bytea       not null constraint api_keys_hash_is_sha256 check (octet_length(hash) = 32),
    networks     text[]      not null default '{}',
    created_at   timestamptz not null default clock_timestamp(),
    created_by   text        not null,
    expires_at   timestamptz,
    revoked_at   timestamptz,
    revoked_by   text,
    last_used_at timestamptz,
    constraint api_keys_customer_has_id check ((role = 'customer') = (customer_id is not null)),
    constraint api_keys_revocation_is_whole check ((revoked_at is null) = (revoked_by is null))
);

-- One name has one key that was not revoked.
create unique index api_keys_one_by_name on access.api_keys (name) where revoked_at is null;

-- The services look keys up, and note that they are used. Only operators make, rotate and revoke them.
grant select on access.api_keys to articurated_command, articurated_query, articurated_operator;
grant update (last_used_at) on access.api_keys to articurated_command, articurated_query;
grant insert, update on access.api_keys to articurated_operator;

-- Who is signed in to the console. The browser has the secret, here is its SHA-256.
--   key_id       of those who came in with a key: the session ends with it
--   issuer, subject, name, role   of those who came in through the identity provider, as it told them. The name is what is shown;
--                issuer and subject are who it is
create table access.sessions (
    hash         bytea       not null constraint sessions_pkey primary key constraint sessions_hash_is_sha256 check (octet_length(hash) = 32),
    key_id       uuid        constraint sessions_key_fkey references access.api_keys,
    issuer       text,
    subject      text        constraint sessions_subject_fits check (char_length(subject) between 1 and 64),
    name         text        constraint sessions_name_fits check (char_length(name) between 1 and 60),
    role         text        constraint sessions_role_known check (role in ('staff', 'manager', 'reporting', 'operator', 'admin')),
    created_at   timestamptz not null default clock_timestamp(),
    last_seen_at timestamptz not null default clock_timestamp(),
    expires_at   timestamptz not null,
    constraint sessions_of_key_or_person check
        (case when key_id is null then issuer is not null and subject is not null and role is not null
              else issuer is null and subject is null and name is null and role is null end)
);
grant select, insert, update, delete on access.sessions to articurated_operator;

-- Sign-ins at the identity provider that are under way. Each ends once: its row goes when the browser comes back, or when its time is over.
--   hash         SHA-256 of the secret in the browser's cookie, of which state, nonce and code verifier are made
--   back         the page of the console where the person wanted to go
--   session_hash the session that the browser had before; it ends when the sign-in succeeds
create table access.sign_ins (
    hash         bytea       not null constraint sign_ins_pkey primary key constraint sign_ins_hash_is_sha256 check (octet_length(hash) = 32),
    back         text        not null constraint sign_ins_back_fits check (char_length(back) <= 2000),
    session_hash bytea,
    expires_at   timestamptz not null
);
create index sign_ins_expires_at on access.sign_ins (expires_at);
grant select, insert, delete on access.sign_ins to articurated_operator;

-- The key that consistency tokens are signed with. It is made here, once for each database, and leaves it only in the memory of the
-- services that make tokens and read them.
create table access.consistency_key (
    one  boolean not null default true constraint consistency_key_pkey primary key constraint consistency_key_single check (one),
    key  bytea   not null constraint consistency_key_length check (octet_length(key) = 32)
);
insert into access.consistency_key (key)
select sha256(convert_to(gen_random_uuid()::text || gen_random_uuid()::text || gen_random_uuid()::text, 'UTF8'));
grant select on access.consistency_key to articurated_command, articurated_query, articurated_workers;
