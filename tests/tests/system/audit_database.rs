//! What the database itself refuses to every role.

use anyhow::{Context, Result};
use contracts::OrderState;
use sqlx::{AssertSqlSafe, PgConnection};
use tests::{System, books, shop};

const INSUFFICIENT_PRIVILEGE: &str = "42501";
const CHECK_VIOLATION: &str = "23514";
const ROLES: [&str; 4] = ["articurated_command", "articurated_relay", "articurated_workers", "articurated_query"];

/// A system with rows in every table that commands write to.
async fn busy_shop() -> Result<System> {
    let system = System::commands_only().await?;
    let order = shop::order_in(&system.api, OrderState::Delivered).await?;
    shop::request_return(&system.api, &order, 0, 1).await?;
    let paid = shop::order_in(&system.api, OrderState::Paid).await?;
    shop::step(&system.api, paid.id, "cancel").await?.expect(200);
    Ok(system)
}

/// The SQLSTATE and the constraint with which Postgres refuses a statement.
async fn refusal(connection: &mut PgConnection, statement: &str) -> Result<(String, Option<String>)> {
    let refused = sqlx::query(AssertSqlSafe(statement.to_owned())).execute(connection).await;
    let error = refused.err().with_context(|| format!("Postgres accepted: {statement}"))?;
    let error = error.into_database_error().with_context(|| format!("not refused by the database: {statement}"))?;
    let code = error.code().context("a SQLSTATE")?.into_owned();
    Ok((code, error.constraint().map(str::to_owned)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn not_even_the_owner_changes_the_audit() -> Result<()> {
    let system = busy_shop().await?;
    for role in [None].into_iter().chain(ROLES.map(Some)) {
        let mut connection = system.database.connect(role).await?;
        for statement in [
            "update command.state_transitions set actor = 'mallory'",
            "update command.state_transitions set reason = reason",
            "delete from command.state_transitions",
            "truncate command.state_transitions",
            "truncate command.state_transitions cascade",
        ] {
            let (code, _) = refusal(&mut connection, statement).await?;
            assert_eq!(code, INSUFFICIENT_PRIVILEGE, "{role:?}: {statement}");
        }
    }
    let kept = "select count(*) from command.state_transitions where actor = 'anonymous'";
    assert_eq!(books::count(&system.database.pool, kept).await?, 10);
    system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_process_sees_no_more_than_its_own() -> Result<()> {
    let system = busy_shop().await?;
    let tables = async |schema: &str| -> Result<Vec<String>> {
        let tables: Vec<String> =
            sqlx::query_scalar("select format('%I.%I', schemaname, tablename) from pg_tables where schemaname = $1")
                .bind(schema)
                .fetch_all(&system.database.pool)
                .await?;
        anyhow::ensure!(!tables.is_empty(), "no tables in {schema}");
        Ok(tables)
    };
    let mut forbidden = Vec::new();
    for (role, schemas) in [
        ("articurated_query", &["command", "work"][..]),
        ("articurated_command", &["read", "work"]),
        ("articurated_relay", &["command", "work", "read"]),
        ("articurated_workers", &["read"]),
    ] {
        for schema in schemas {
            for table in tables(schema).await? {
                forbidden.push((role, format!("select from {table}")));
            }
        }
    }
    for statement in
        ["update command.orders set state = state", "delete from command.orders", "select from command.orders"]
    {
        forbidden.push(("articurated_workers", statement.to_owned()));
    }
    forbidden.push(("articurated_command", "select from messaging.inbox".to_owned()));
    for role in ROLES {
        forbidden.push((role, "update messaging.outbox set payload = '{}'".to_owned()));
        forbidden.push((role, "delete from messaging.outbox".to_owned()));
        forbidden.push((role, "create table command.mine (n int)".to_owned()));
    }
    for (role, statement) in forbidden {
        let (code, _) = refusal(&mut system.database.connect(Some(role)).await?, &statement).await?;
        assert_eq!(code, INSUFFICIENT_PRIVILEGE, "{role}: {statement}");
    }
    system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_cannot_be_true_is_refused_by_its_constraint() -> Result<()> {
    let system = busy_shop().await?;
    let mut owner = system.database.connect(None).await?;
    for (statement, constraint) in [
        ("update command.orders set state = 'EATEN'", "orders_state_known"),
        ("update command.orders set delivered_at = null", "orders_delivered_has_time"),
        ("update command.orders set version = 0", "orders_version_positive"),
        ("update command.orders set total_minor = -1", "orders_total_not_negative"),
        ("update command.orders set currency = 'rupee'", "orders_currency_iso4217"),
        ("update command.orders set order_number = ''", "orders_order_number_length"),
        ("update command.orders set customer_id = repeat('x', 65)", "orders_customer_id_length"),
        ("update command.order_items set quantity = 0", "order_items_quantity_range"),
        ("update command.order_items set paid_minor = -1", "order_items_paid_not_negative"),
        ("update command.returns set state = 'DELIVERED'", "returns_state_known"),
        ("update command.refunds set amount_minor = 0", "refunds_amount_positive"),
        ("update command.refunds set kind = 'RETURN'", "refunds_return_has_one"),
        ("update command.refunds set status = 'FAILED', version = 9", "refunds_failed_has_reason"),
        ("update messaging.outbox set shard = 16", "outbox_shard_range"),
        (
            "insert into messaging.outbox_exceptions (event_id, position, shard, aggregate_id, aggregate_version, status)
             select event_id, position, shard, aggregate_id, 1, 'EATEN' from messaging.outbox limit 1",
            "outbox_exceptions_status_known",
        ),
        (
            "insert into messaging.outbox_exceptions (event_id, position, shard, aggregate_id, aggregate_version, status)
             select event_id, position, shard, aggregate_id, 1, 'WAITING' from messaging.outbox limit 1",
            "outbox_exceptions_waiting_has_time",
        ),
        (
            "insert into messaging.outbox_exceptions (event_id, position, shard, aggregate_id, aggregate_version, status, parked_at)
             select event_id, position, shard, aggregate_id, 1, 'PARKED', now() from messaging.outbox limit 1",
            "outbox_exceptions_parked_has_reason",
        ),
        (
            "insert into messaging.outbox_exceptions (event_id, position, shard, aggregate_id, aggregate_version, status, parked_at, parked_reason)
             select event_id, position, shard, aggregate_id, 1, 'PARKED', now(), 'TIRED' from messaging.outbox limit 1",
            "outbox_exceptions_parked_reason_known",
        ),
        (
            "insert into command.state_transitions (entity_type, entity_id, version, to_state, actor, actor_type, trigger, created_at, salt, hash)
             select entity_type, entity_id, 99, to_state, actor, actor_type, trigger, created_at, salt, hash
             from command.state_transitions limit 1",
            "state_transitions_creation_is_first",
        ),
        (
            "insert into command.state_transitions
                 (entity_type, entity_id, version, from_state, to_state, actor, actor_type, trigger, created_at, salt, hash)
             select entity_type, entity_id, 99, to_state, to_state, actor, 'ROBOT', trigger, created_at, salt, hash
             from command.state_transitions limit 1",
            "state_transitions_actor_type_known",
        ),
        (
            "update command.refunds set status = 'PROCESSED'",
            "refunds_processed_is_whole",
        ),
        (
            "insert into work.invoices (id, order_id, invoice_number, issued_at, order_document)
             values (gen_random_uuid(), gen_random_uuid(), 'AC/26-27/0000001/XYZ', now(), '{}')",
            "invoices_number_rule46",
        ),
        (
            "insert into messaging.inbox (queue, event_id, aggregate_id, aggregate_version, run_at, status)
             select 'refunds', event_id, aggregate_id, 1, now(), 'running' from messaging.outbox limit 1",
            "inbox_running_has_claim",
        ),
    ] {
        let (code, broken) = refusal(&mut owner, statement).await?;
        assert_eq!((code.as_str(), broken.as_deref()), (CHECK_VIOLATION, Some(constraint)), "{statement}");
    }
    let no_home = "insert into messaging.outbox (event_id, aggregate_type, aggregate_id, aggregate_version, shard, event_type, payload, occurred_at)
                   values ('01890a5d-ac96-774b-bcce-b302099a8057', 'order', gen_random_uuid(), 1, 0, 'order.paid', '{}', now())";
    assert_eq!(refusal(&mut owner, no_home).await?.0, CHECK_VIOLATION, "an event of 2023 has no partition to go to");
    system.finish().await
}
