//! Each rule of the audit catches its own violation, and no other rule does.

use std::path::PathBuf;
use std::time::SystemTime;

use anyhow::{Context, Result};
use contracts::{OrderState, ReturnState};
use operations::audit::{Scope, Sources, Status, Verdict, audit};
use serde_json::json;
use standalone::Part;
use tests::waiting::SOON;
use tests::{Database, System, books, shop};

use super::{execute, ops, ops_with};

/// Violations: the number of the rule, a description, the statements.
const VIOLATIONS: [(u8, &str, &str); 30] = [
    (1, "a transition without an event", "delete from messaging.outbox where event_type = 'order.processing'"),
    (1, "a transition with two events",
     "insert into messaging.outbox (event_id, aggregate_type, aggregate_id, aggregate_version, shard, event_type, payload, occurred_at)
      select messaging.lowest_event_id(now()), aggregate_type, aggregate_id, aggregate_version, shard, event_type, payload, occurred_at
      from messaging.outbox where event_type = 'order.processing' limit 1;
      insert into messaging.outbox_exceptions (event_id, position, shard, aggregate_id, aggregate_version, status)
      select event_id, position, shard, aggregate_id, aggregate_version, 'SKIPPED'
      from messaging.outbox where event_id = messaging.lowest_event_id(now())"),
    (2, "a state that no transition leads to", "update command.orders set version = version + 1"),
    (2, "a transition from another state",
     "alter table command.state_transitions disable trigger user;
      update command.state_transitions set from_state = 'EATEN' where entity_type = 'order' and version = 3"),
    (3, "an exception that fits no event",
     "insert into messaging.outbox_exceptions (event_id, position, shard, aggregate_id, aggregate_version, status)
      select event_id, position + 1, shard, aggregate_id, aggregate_version, 'SKIPPED' from messaging.outbox where event_type = 'order.processing'"),
    (3, "a skipped event that was delivered after that",
     "insert into messaging.outbox_exceptions (event_id, position, shard, aggregate_id, aggregate_version, status, created_at)
      select event_id, position, shard, aggregate_id, aggregate_version, 'SKIPPED', now() - interval '1 hour'
      from messaging.outbox where event_type = 'order.created'"),
    (3, "a mark ahead of the log",
     "insert into messaging.marks (consumer, shard, epoch, mark) select 'arrived', 0, 0, last_value + 1 from messaging.outbox_position_seq"),
    (3, "positions that will be given out again", "select setval('messaging.outbox_position_seq', 1)"),
    (4, "an event that was not delivered", "delete from messaging.inbox where queue = 'refunds'"),
    (4, "a job without an event",
     "insert into messaging.inbox (queue, event_id, aggregate_id, aggregate_version, run_at, status, finished_at)
      select 'projections', messaging.lowest_event_id(now()), aggregate_id, 99, now(), 'done', now()
      from messaging.outbox where event_type = 'order.processing' limit 1"),
    (4, "an event in a queue without a subscription",
     "insert into messaging.inbox (queue, event_id, aggregate_id, aggregate_version, run_at, status, finished_at)
      select 'invoices', event_id, aggregate_id, aggregate_version, now(), 'done', now()
      from messaging.outbox where event_type = 'order.processing' limit 1"),
    (4, "an e-mail that was not made", "delete from work.emails where kind = 'order_confirmation'"),
    (4, "an e-mail about nothing", "insert into work.emails (event_id, kind, message_id, status, sent_at) select messaging.lowest_event_id(now()), kind, message_id, status, sent_at from work.emails limit 1"),
    (5, "a refund that the gateway knows by another name", "update command.refunds set transaction_id = 'txn_0'"),
    (5, "a refund of another amount", "update command.refunds set amount_minor = amount_minor + 1"),
    (5, "an order of another amount", "update command.orders set total_minor = total_minor + 1"),
    (6, "another document", r#"update read.orders set document = jsonb_set(document::jsonb, '{currency}', '"EUR"')::json"#),
    (6, "a document under another state", "update read.orders set state = 'PAID'"),
    (6, "a hole in a history", "delete from read.history where version = 2"),
    (6, "a return that is not shown", "delete from read.returns"),
    (7, "a number that is on no invoice", "update work.document_series set last_number = last_number + 1"),
    (7, "another PDF", "update work.invoices set sha256 = repeat('0', 64)"),
    (8, "a job in an unknown status",
     "alter table messaging.inbox drop constraint inbox_status_known;
      insert into messaging.inbox (queue, event_id, aggregate_id, aggregate_version, run_at, status)
      select 'projections', event_id, aggregate_id, aggregate_version, now(), 'lost' from messaging.outbox where event_type = 'order.processing'"),
    (8, "a dead job that is no dead letter",
     "insert into messaging.inbox (queue, event_id, aggregate_id, aggregate_version, run_at, status, finished_at)
      select 'projections', event_id, aggregate_id, aggregate_version, now(), 'dead', now() from messaging.outbox where event_type = 'order.processing'"),
    (8, "jobs of an ordered queue that are done and not settled", "update messaging.queues set ordered = true where name = 'refunds'"),
    (10, "a job that waits for a version that never came",
     "update messaging.queues set ordered = true where name = 'projections';
      insert into messaging.inbox (queue, event_id, aggregate_id, aggregate_version, run_at, status)
      select 'projections', event_id, aggregate_id, aggregate_version, null, 'blocked' from messaging.outbox where event_type = 'order.processing'"),
    (10, "events that were not published", "delete from messaging.relay_batches; delete from messaging.marks where consumer = 'relay'"),
    (10, "an event that is held",
     "insert into messaging.outbox_exceptions (event_id, position, shard, aggregate_id, aggregate_version, status)
      select event_id, position, shard, aggregate_id, aggregate_version, 'HELD' from messaging.outbox where event_type = 'order.processing'"),
    (11, "another actor",
     "alter table command.state_transitions disable trigger user;
      update command.state_transitions set actor = 'mallory' where entity_type = 'order' and version = 2"),
    (11, "another hash",
     "alter table command.state_transitions disable trigger user;
      update command.state_transitions set hash = sha256(hash) where entity_type = 'return' and to_state = 'REJECTED'"),
];

/// A stopped system without open jobs.
struct Settled {
    database: Database,
    invoices: tempfile::TempDir,
    ledger: PathBuf,
}

impl Settled {
    async fn new() -> Result<Self> {
        let invoices = tempfile::tempdir()?;
        let ledger = invoices.path().join("ledger.jsonl");
        let system = System::start(|options| {
            options.parts = Part::ALL.to_vec();
            options.workers.store.invoice_store_url = invoices.path().join("pdf").display().to_string();
            options.gateway.ledger_file = Some(ledger.clone());
        })
        .await?;
        shop::return_in(&system.api, ReturnState::Completed).await?;
        shop::return_in(&system.api, ReturnState::Rejected).await?;
        shop::order_in(&system.api, OrderState::Cancelled).await?;
        books::settled(&system.database.pool).await?;
        Ok(Self { database: system.stop().await?, invoices, ledger })
    }

    /// The gateway with its ledger, and the store of the PDFs.
    async fn gateway(&self) -> Result<(standalone::Running, Sources)> {
        let mut options = standalone::Options::new(self.database.url.clone());
        options.parts = vec![Part::Gateway];
        options.gateway.ledger_file = Some(self.ledger.clone());
        let running = standalone::start(options).await?;
        let sources = Sources {
            gateway_url: Some(running.gateway_url.clone()),
            invoice_store: Some(self.invoices.path().join("pdf").display().to_string()),
            ..Sources::default()
        };
        Ok((running, sources))
    }
}

/// The violated rules, as operators see them.
async fn violated(database: &Database, scope: &Scope) -> Result<Vec<u8>> {
    let pool = database.pool_as(operations::ROLE).await?;
    let report = audit(&pool, scope).await?;
    pool.close().await;
    let rules = report.rules.iter().filter(|rule| rule.status != Status::Holds);
    for rule in rules.clone() {
        let all_quoted = rule.examples.len() as u64 == rule.violations.min(20);
        assert!(rule.status == Status::NotChecked || all_quoted, "{rule:?}");
    }
    let violated: Vec<_> = rules.filter(|rule| rule.status == Status::Violated).map(|rule| rule.rule).collect();
    assert_eq!(report.verdict == Verdict::Violated, !violated.is_empty(), "{report:?}");
    Ok(violated)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_violation_is_caught_by_its_own_rule_only() -> Result<()> {
    let settled = Settled::new().await?;
    let (gateway, sources) = settled.gateway().await?;
    let scope = Scope { sources, drained: true, broker: false };
    assert_eq!(violated(&settled.database.copy().await?, &scope).await?, Vec::<u8>::new(), "a healthy system passes");
    for (rule, what, statements) in VIOLATIONS {
        let database = settled.database.copy().await?;
        execute(&database.pool, statements).await.context(what)?;
        assert_eq!(violated(&database, &scope).await?, [rule], "{what}");
    }

    let database = settled.database.copy().await?;
    let expired = "insert into messaging.claims
                       select messaging.lowest_event_id(now()), 'projections', 'ghost', array[event_id]
                       from messaging.outbox where event_type = 'order.processing' limit 1;
                   insert into messaging.workers
                       select queue, owner, now() - interval '1 minute', claim_id from messaging.claims where owner = 'ghost';
                   insert into messaging.inbox (queue, event_id, aggregate_id, aggregate_version, run_at, status, claim_id, started_at)
                       select queue, event_id, aggregate_id, aggregate_version, now(), 'running', claim_id, now()
                       from messaging.claims join messaging.outbox on event_id = event_ids[1] where owner = 'ghost'";
    execute(&database.pool, expired).await?;
    let busy = Scope { drained: false, ..scope.clone() };
    assert_eq!(violated(&database, &busy).await?, [9], "a job whose worker is gone");
    assert_eq!(violated(&database, &scope).await?, [9, 10]);

    let database = settled.database.copy().await?;
    let half = settled.invoices.path().join("pdf/invoice_X.pdf#1");
    std::fs::File::create(&half)?.set_modified(SystemTime::UNIX_EPOCH)?;
    assert_eq!(violated(&database, &scope).await?, [9], "half a PDF");
    std::fs::remove_file(half)?;
    let foreign = settled.invoices.path().join("pdf/invoice_X.pdf");
    std::fs::write(&foreign, "%PDF")?;
    assert_eq!(violated(&database, &scope).await?, [7], "a PDF that belongs to no document");
    std::fs::File::open(&foreign)?.set_modified(SystemTime::UNIX_EPOCH)?;
    assert_eq!(violated(&database, &scope).await?, Vec::<u8>::new(), "a PDF of an earlier database");
    std::fs::remove_file(foreign)?;
    let pdf = std::fs::read_dir(settled.invoices.path().join("pdf"))?.next().context("a PDF")??.path();
    std::fs::remove_file(pdf)?;
    assert_eq!(violated(&database, &scope).await?, [7], "a missing PDF");
    gateway.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payment_without_a_return_is_found() -> Result<()> {
    let database = Database::new().await?;
    let system = System::start_on(database, |options| options.parts.push(Part::Gateway)).await?;
    let refund = json!({ "return_id": uuid::Uuid::from_u128(7), "amount": 500, "currency": "INR" });
    let report = async || Ok::<_, anyhow::Error>(system.api.get("/ops/audit").await?.expect(200).json());
    assert_eq!(report().await?["verdict"], "holds");
    system.gateway.post("/refund", &refund).await?.expect(200);
    let report = report().await?;
    assert_eq!((&report["verdict"], &report["rules"][4]["status"]), (&json!("violated"), &json!("violated")));
    system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_exit_code_of_an_audit_says_how_it_ended() -> Result<()> {
    let system = System::start(|options| options.parts = standalone::Part::ALL[..2].to_vec()).await?;
    shop::order_in(&system.api, OrderState::Paid).await?;
    books::delivered(&system.database.pool, SOON).await?;
    let database = system.stop().await?;

    let holds = ops(&database, &["audit", "--json"]).await?.exited(0).json();
    assert_eq!(holds["verdict"], "holds");
    assert_eq!(holds["rules"].as_array().map(Vec::len), Some(11));
    assert_eq!(holds["rules"][4]["status"], "not_checked", "without the gateway's address the rule is not checked");

    let violated = ops(&database, &["audit", "--drained"]).await?.exited(1);
    assert!(violated.out.contains("is still ready in the queue notifications"), "{}", violated.out);

    let nowhere = ["audit", "--gateway-url", "http://127.0.0.1:1", "--json"];
    let incomplete = ops(&database, &nowhere).await?.exited(2).json();
    assert_eq!(
        (&incomplete["verdict"], &incomplete["rules"][4]["status"]),
        (&json!("incomplete"), &json!("not_checked"))
    );

    let no_store = ["audit", "--invoice-store", "/there/is/no/folder"];
    ops(&database, &no_store).await?.exited(2);
    let elsewhere = ["audit", "--query-database-url", "postgres://127.0.0.1:1/x"];
    ops(&database, &elsewhere).await?.exited(2);
    let no_database = ops_with(&[("DATABASE_URL", "postgres://127.0.0.1:1/x")], &["audit"]).await?.exited(2);
    assert!(no_database.err.starts_with("error: the database (DATABASE_URL) cannot be used"), "{}", no_database.err);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn read_models_in_another_database_are_compared_as_well() -> Result<()> {
    let settled = Settled::new().await?;
    let read = settled.database.copy().await?;
    let database = settled.database.copy().await?;
    execute(&database.pool, "truncate read.orders, read.returns, read.invoices, read.refunds, read.history").await?;
    let elsewhere = Sources { query_database_url: Some(read.url.clone().into()), ..Sources::default() };
    let scope = Scope { sources: elsewhere, drained: true, broker: false };
    assert_eq!(
        violated(&database, &Scope { drained: true, ..Scope::default() }).await?,
        [6],
        "the first database has no read models"
    );
    assert_eq!(violated(&database, &scope).await?, Vec::<u8>::new());
    // What the first database has lost is found although the second one may be ahead of a running system.
    let busy = Scope { drained: false, ..scope.clone() };
    assert_eq!(violated(&database, &busy).await?, Vec::<u8>::new());
    execute(
        &read.pool,
        "insert into read.history
         select aggregate_type, aggregate_id, 99, entry from read.history where aggregate_type = 'order' limit 1",
    )
    .await?;
    assert_eq!(violated(&database, &busy).await?, [6]);
    execute(&read.pool, "delete from read.history where version = 99").await?;
    execute(&read.pool, "delete from read.refunds").await?;
    assert_eq!(violated(&database, &scope).await?, [6]);
    Ok(())
}
