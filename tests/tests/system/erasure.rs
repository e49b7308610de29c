//! A customer's personal data: exported whole, and erased everywhere, so that nothing brings it back.

use access::Role;
use anyhow::{Context, Result};
use chrono::TimeDelta;
use contracts::{CustomerId, OrderDocument, OrderState, ReturnState};
use messaging::log::{self, Payload};
use operations::audit::{Scope, Sources, Verdict, audit};
use operations::write::erase::{Erased, erase, erase_documents};
use operations::write::export::export;
use operations::write::keys::{NewKey, create};
use operations::write::{Operator, Source};
use query::{OnLoss, Projector};
use reqwest::Method;
use runtime::{Clock, Ids};
use serde_json::{Value, json};
use sqlx::PgPool;
use standalone::Part;
use tests::waiting::SOON;
use tests::{System, books, eventually, shop};
use uuid::Uuid;

/// Nothing else contains it.
const CANARY: &str = "quetzalcoatlus";

fn customer() -> CustomerId {
    CustomerId::parse(&format!("{CANARY}-7")).expect("an id")
}

fn operator() -> Operator {
    Operator::new("anita", Source::Cli, "the customer asked for it", None).expect("an operator")
}

/// An order with the canary in every field that is about a person, for a registered buyer.
fn order() -> Value {
    let mut order = shop::order_of_person(CANARY);
    order["customer_id"] = json!(customer().as_str());
    order["payment_method"] = json!(format!("UPI {CANARY}@bank"));
    order["billing_address"]["state"] = json!("MH");
    order["billing_address"]["gstin"] = json!("27AAPFU0939F1ZV");
    order
}

/// A system, and what the customer has there: a returned order, one with goodwill and a rejected return, and a cancelled one.
async fn with_customer() -> Result<(System, Vec<OrderDocument>)> {
    let system = System::start(|options| {
        options.parts = Part::ALL.to_vec();
        options.command.supplier_gstin = command::Gstin::parse("29AAHCM7727Q1ZI").ok();
    })
    .await?;
    let api = &system.api;
    let returned = shop::bring(api, shop::place(api, &order()).await?, OrderState::Delivered).await?;
    let mut request = shop::return_of(&returned, 0, 1);
    request["reason"] = json!(format!("{CANARY} did not like it"));
    let asked = api.call(Method::POST, "/returns").header("Idempotency-Key", CANARY).json(&request).send().await?;
    let asked = asked.expect(201).json();
    shop::bring_return(api, serde_json::from_value(asked)?, ReturnState::Completed).await?;

    let kept = shop::bring(api, shop::place(api, &order()).await?, OrderState::Delivered).await?;
    let goodwill = json!({ "amount_minor": 100, "reason": format!("{CANARY} complained") });
    api.post(&format!("/orders/{}/refunds", kept.id), &goodwill).await?.expect(201);
    let rejected = shop::request_return(api, &kept, 0, 1).await?;
    let no = json!({ "rejection_category": "OTHER", "rejection_reason": format!("{CANARY} wore it") });
    let refused = api.post(&format!("/returns/{}/reject", rejected.id), &no).await?;
    assert!(refused.status == 200, "{}", refused.text());
    let cancelled = shop::bring(api, shop::place(api, &order()).await?, OrderState::Paid).await?;
    api.post(&format!("/orders/{}/cancel", cancelled.id), &json!({ "reason": CANARY })).await?.expect(200);
    let key = NewKey::new(CANARY, Role::Customer, Some(customer()), vec!["203.0.113.7/32".parse()?], None)?;
    create(&system.database.pool_as(operations::ROLE).await?, key, operator()).await?;
    // What others have stays.
    shop::return_in(api, ReturnState::Completed).await?;
    books::settled(&system.database.pool).await?;
    Ok((system, vec![returned, kept, cancelled]))
}

/// The tables of our schemas in which the canary is, in any column.
async fn seen_in(pool: &PgPool) -> Result<Vec<String>> {
    let tables: Vec<String> = sqlx::query_scalar(
        "select format('%I.%I', nspname, relname) from pg_class join pg_namespace on pg_namespace.oid = relnamespace
         where nspname in ('access', 'command', 'messaging', 'work', 'read', 'read_next') and relkind in ('r', 'p') and not relispartition
         order by 1",
    )
    .fetch_all(pool)
    .await?;
    let mut seen = Vec::new();
    for table in tables {
        let query = format!("select count(*) from {table} as t where t::text ilike '%{CANARY}%'");
        if books::count(pool, sqlx::AssertSqlSafe(query)).await? > 0 {
            seen.push(table);
        }
    }
    Ok(seen)
}

async fn erase_in(system: &System, clock: &Clock) -> Result<Erased> {
    let pool = system.database.pool_as(operations::ROLE).await?;
    Ok(erase(&pool, &customer(), 8, clock, operator()).await?)
}

/// Requires that an audit finds nothing, the PDFs and the chain included.
async fn audited(system: &System) -> Result<()> {
    let sources = Sources { invoice_store: Some(system.invoices().display().to_string()), ..Sources::default() };
    let pool = system.database.pool_as(operations::ROLE).await?;
    let report = audit(&pool, &Scope { sources, drained: true, broker: false }).await?;
    assert_eq!(report.verdict, Verdict::Holds, "{report:#?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_and_addresses_go_and_books_stay() -> Result<()> {
    let (system, orders) = Box::pin(with_customer()).await?;
    let (api, pool) = (&system.api, &system.database.pool);
    let as_operator = system.database.pool_as(operations::ROLE).await?;

    let exported = export(&as_operator, &customer(), Clock::system().now(), operator()).await?;
    let counts = [exported.orders.len(), exported.returns.len(), exported.refunds.len(), exported.invoices.len()];
    assert_eq!(counts, [3, 2, 3, 2], "{exported:#?}");
    assert!(exported.credit_notes.len() == 2 && exported.history.len() > 20 && !exported.emails.is_empty());

    let sums = "select sum(total_minor)::int8 + (select sum(amount_minor)::int8 from command.refunds)
                       + (select sum(total_minor)::int8 from read.issued_documents) from command.orders";
    let before = books::count(pool, sums).await?;
    assert!(seen_in(pool).await?.len() > 10);
    let parts = format!("select count(*) from read.export_parts where convert_from(content, 'UTF8') like '%{CANARY}%'");
    let in_exports = async || books::count(pool, sqlx::AssertSqlSafe(parts.clone())).await;
    for kind in ["returns_by_reason", "orders"] {
        api.post("/exports", &json!({ "kind": kind })).await?.expect(202);
    }
    eventually("the exports are made", SOON, async || Ok((in_exports().await? == 2).then_some(()))).await?;
    let erased = erase_in(&system, &Clock::system()).await?;
    assert_eq!((erased.orders, erased.keys_revoked), (3, 1));
    let networks = "select count(*) from access.api_keys where networks <> '{}'";
    assert_eq!(books::count(pool, networks).await?, 0);
    books::settled(pool).await?;
    assert_eq!(in_exports().await?, 0, "files that name the customer are deleted");
    // What the invoice prints stays for eight years, and with it the recipient's name in the report for the tax office.
    let kept = [
        "command.state_transitions",
        "messaging.outbox",
        "read.credit_notes",
        "read.invoices",
        "read.issued_documents",
        "work.credit_notes",
        "work.invoices",
    ];
    let seen = seen_in(pool).await?;
    assert!(seen.iter().all(|table| kept[1..].contains(&table.as_str())), "{seen:?}");
    assert_eq!(books::count(pool, sums).await?, before);
    audited(&system).await?;

    for order in &orders {
        let shown = api.get(&format!("/orders/{}", order.id)).await?.expect(200).json();
        assert!(shown["erased_at"].is_string() && shown["shipping_address"].is_null(), "{shown}");
        assert_eq!(
            (&shown["customer_id"], &shown["total_minor"]),
            (&json!(erased.pseudonym), &json!(order.total_minor))
        );
        let history = api.get(&format!("/orders/{}/history", order.id)).await?.expect(200).text();
        assert!(!history.contains(CANARY) && history.contains("the customer asked for it"), "{history}");
    }
    let refused = api.post("/returns", &shop::return_of(&orders[1], 1, 1)).await?.expect(409).json();
    assert_eq!(refused["error"]["code"], "ORDER_ERASED");
    api.get(&format!("/orders/{}/invoice", orders[0].id)).await?.expect(200);

    // Nothing is due yet; after eight years everything is.
    let store = storage::open(&system.invoices().display().to_string()).await?;
    assert_eq!(erase_documents(&as_operator, &store, &Clock::system(), operator()).await?, 0);
    let clock = Clock::system();
    clock.advance(TimeDelta::days(8 * 366));
    assert_eq!(erase_documents(&as_operator, &store, &clock, operator()).await?, 2);
    assert_eq!(erase_documents(&as_operator, &store, &clock, operator()).await?, 0);
    books::settled(pool).await?;
    assert_eq!(seen_in(pool).await?, Vec::<String>::new());
    assert_eq!(books::count(pool, sums).await?, before);
    let left = std::fs::read_dir(system.invoices())?.count();
    assert_eq!(left, 2, "invoice and credit note of the other customer");
    let again = erase(&as_operator, &CustomerId::parse(&erased.pseudonym)?, 8, &clock, operator()).await;
    assert!(again.is_err_and(|error| error.to_string().contains("a customer who was erased")));
    let gone = api.get(&format!("/orders/{}/invoice", orders[0].id)).await?.expect(410).json();
    assert_eq!(gone["error"]["code"], "DOCUMENT_ERASED");
    audited(&system).await?;
    system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_was_read_before_brings_it_back() -> Result<()> {
    let (system, _) = Box::pin(with_customer()).await?;
    let pool = &system.database.pool;
    // A projector and a rebuild have read the events, and write them only when all is erased.
    let ids: Vec<Uuid> =
        sqlx::query_scalar("select event_id from messaging.outbox order by position").fetch_all(pool).await?;
    let as_query = system.database.pool_as("articurated_query").await?;
    let read_before = log::events(&as_query, &ids, Payload::Whole, i64::MAX).await?;
    let clock = Clock::system();
    clock.advance(TimeDelta::days(9 * 366));
    let as_operator = system.database.pool_as(operations::ROLE).await?;
    erase(&as_operator, &customer(), 0, &clock, operator()).await?;
    let store = storage::open(&system.invoices().display().to_string()).await?;
    erase_documents(&as_operator, &store, &clock, operator()).await?;
    books::settled(pool).await?;
    assert_eq!(seen_in(pool).await?, Vec::<String>::new());

    sqlx::query("update read.rebuild set run = gen_random_uuid(), until = now() + interval '1 hour'")
        .execute(pool)
        .await?;
    let projector = Projector::new(as_query.clone(), None, Clock::system());
    let late: Vec<Uuid> = sqlx::query_scalar("select event_id from messaging.outbox where event_type like '%.erased'")
        .fetch_all(pool)
        .await?;
    for turn in 0..2 {
        // In the rebuilt models once the old events come first, and once the erasures.
        if turn == 1 {
            projector.apply_events(&late).await?;
        }
        projector.apply(&read_before).await?;
        projector.apply_events(&late).await?;
        assert_eq!(seen_in(pool).await?, Vec::<String>::new(), "turn {turn}");
        sqlx::query("select read.prepare_rebuild()").execute(pool).await?;
    }
    sqlx::query("update read.rebuild set until = '-infinity'").execute(pool).await?;

    let before = books::read_models(pool).await?;
    query::rebuild(as_query, None, Ids::system().next(), OnLoss::Fail).await?;
    for (table, rows) in books::read_models(pool).await? {
        let known = &before[&table];
        let other: Vec<_> = rows.iter().filter(|row| !known.contains(row)).collect();
        let lost: Vec<_> = known.iter().filter(|row| !rows.contains(row)).collect();
        assert_eq!((other, lost), (Vec::new(), Vec::new()), "{table}");
    }
    assert_eq!(seen_in(pool).await?, Vec::<String>::new());
    system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_erased_while_something_is_to_be_done() -> Result<()> {
    let system = System::start(|options| options.parts = Part::ALL.to_vec()).await?;
    let (api, pool) = (&system.api, &system.database.pool);
    let refusal = async || -> Result<String> {
        let refused = erase_in(&system, &Clock::system()).await.err().context("it was erased")?;
        assert_eq!(books::count(pool, "select count(*) from command.erasures").await?, 0);
        Ok(refused.to_string())
    };
    assert_eq!(refusal().await?, format!("no order and no key belongs to the customer {:?}", customer().as_str()));

    let paid = shop::bring(api, shop::place(api, &order()).await?, OrderState::Paid).await?;
    let done = shop::bring(api, shop::place(api, &order()).await?, OrderState::Delivered).await?;
    books::settled(pool).await?;
    assert!(refusal().await?.contains(&format!("the order {} is PAID", paid.id)));

    // A worker has the job of the refund in hand, or waits for it.
    sqlx::query("update messaging.queues set paused_at = now(), paused_by = 'anita', paused_reason = 'a test' where name = 'refunds'")
        .execute(pool)
        .await?;
    api.post(&format!("/orders/{}/cancel", paid.id), &json!({})).await?.expect(200);
    let why = refusal().await?;
    assert!(why.contains("is PENDING"), "{why}");
    sqlx::query("update messaging.queues set paused_at = null, paused_by = null, paused_reason = null")
        .execute(pool)
        .await?;
    books::settled(pool).await?;

    let claimed = "update messaging.inbox set status = 'ready', finished_at = null, run_at = now() + interval '1 hour'
                   where aggregate_id = $1 and queue = 'notifications'";
    sqlx::query(claimed).bind(done.id).execute(pool).await?;
    let why = refusal().await?;
    assert!(why.contains("in the queue notifications is ready"), "{why}");
    sqlx::query("update messaging.inbox set status = 'done', finished_at = now() where status = 'ready'")
        .execute(pool)
        .await?;

    sqlx::query("update read.rebuild set until = now() + interval '1 hour'").execute(pool).await?;
    assert!(refusal().await?.contains("are being rebuilt"));
    sqlx::query("update read.rebuild set until = '-infinity'").execute(pool).await?;
    erase_in(&system, &Clock::system()).await?;
    books::settled(pool).await?;
    system.abandon().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_audit_row_can_be_erased_and_changed_in_no_other_way() -> Result<()> {
    let system = System::commands_only().await?;
    shop::order_in(&system.api, OrderState::PendingPayment).await?;
    let erased = "actor = 'erased', reason = null, metadata = '{}', ip_address = null, salt = null, personal_digest = sha256('')";
    for (change, is_refused) in [
        ("actor = 'mallory', reason = null, metadata = '{}', ip_address = null, salt = null, personal_digest = sha256('')".to_owned(), true),
        (format!("{erased}, to_state = 'PAID'"), true),
        (format!("{erased}, hash = sha256('')"), true),
        (erased.replace("sha256('')", "'x'"), true),
        (erased.replace("salt = null", "salt = salt"), true),
        (erased.to_owned(), false),
        (erased.to_owned(), true),
    ] {
        let changed = sqlx::query(sqlx::AssertSqlSafe(format!("update command.state_transitions set {change}")));
        assert_eq!(changed.execute(&system.database.pool).await.is_err(), is_refused, "{change}");
    }
    system.abandon().await
}
