//! The doctor finds and names each cause.

use anyhow::{Context, Result};
use chrono::TimeDelta;
use messaging::{RetentionConfig, TransportConfig};
use operations::doctor::{Surroundings, diagnose};
use runtime::Clock;
use serde_json::{Value, json};
use tests::waiting::{SOON, eventually_equal};
use tests::{Database, System};

use super::{execute, ops, ops_with, untold_order};

/// A live relay without shards.
const GHOST: &str = "insert into messaging.readers values ('relay', 'ghost', clock_timestamp() + interval '1 hour');";
/// The ghost holds every shard.
const HOLDS: &str = "update messaging.shard_leases set owner = 'ghost' where consumer = 'relay';";
/// The events are an hour old; the appended SQL names the consumer that has passed them.
const OLD: &str = "update messaging.outbox set occurred_at = occurred_at - interval '1 hour';
    insert into messaging.marks (consumer, shard, epoch, mark) select consumer, shard, 0, 100 from messaging.last_marks where consumer =";
/// An exception for the first event; the appended SQL gives its status.
const EXCEPTION: &str = "insert into messaging.outbox_exceptions (event_id, position, shard, aggregate_id, aggregate_version, attempts, status, parked_at, parked_reason)
    select event_id, position, shard, aggregate_id, aggregate_version, 1,";
/// A schedule that was due an hour ago, and a run of it; the appended SQL gives the run's status.
const SCHEDULE: &str = "insert into messaging.schedules (name, cron, timezone, next_due_at) values ('tea', '0 * * * *', 'UTC', now() - interval '1 hour');";
const RUN: &str = "insert into messaging.schedule_runs (name, due_at, attempt, owner, started_at, error, status, retry_at, finished_at)
    select name, next_due_at, 1, 'the cook', next_due_at, 'no tea is left',";
/// A job of the inbox that is an hour old; the appended SQL gives its status.
const JOB: &str = "insert into messaging.inbox (queue, event_id, aggregate_id, aggregate_version, run_at, status, claim_id, finished_at)
    select 'refunds', event_id, aggregate_id, 1, now() - interval '1 hour',";
/// The dead letters of the dead jobs.
const LETTERS: &str = "; insert into messaging.dead_letters (queue, event_id, last_error) select queue, event_id, last_error from messaging.inbox";
/// The claim of the running jobs, and their worker, which is silent.
const SILENT: &str =
    "; insert into messaging.claims select claim_id, queue, 'ghost', array[event_id] from messaging.inbox;
    insert into messaging.workers select queue, owner, now() - interval '1 minute', claim_id from messaging.claims";
/// What a relay has recorded of a message; `REASON` stands for its reason.
const LOSS: &str = "insert into messaging.broker_losses (relay, queue, reason, event_ids)
    select 'ghost', 'notifications', 'REASON', array[event_id] from messaging.outbox limit 1";
/// Ten thousand events that are held.
const HELD: &str =
    "insert into messaging.outbox_exceptions (event_id, position, shard, aggregate_id, aggregate_version, status)
    select gen_random_uuid(), n, 7, gen_random_uuid(), 2, 'HELD' from generate_series(1, 10000) as n";

fn surroundings(clock: Clock) -> Surroundings {
    Surroundings { transport: TransportConfig::default(), retention: RetentionConfig::default(), clock }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_cause_is_named() -> Result<()> {
    let (untold, _) = untold_order().await?;
    let year = contracts::financial_year(Clock::system().now().date_naive());
    let of = |status: &str| format!("{JOB} {status} from messaging.outbox limit 1");
    for (code, statements) in [
        ("NO_RELAY", String::new()),
        ("LEASE_EXPIRED", GHOST.to_owned()),
        ("LISTENER_DEAD", format!("{GHOST} {HOLDS}")),
        ("OUTBOX_OVERDUE", format!("{OLD} 'projections'")),
        ("PROJECTIONS_BEHIND", format!("{OLD} 'relay'")),
        ("AGGREGATE_BLOCKED", format!("{EXCEPTION} 'PARKED', now(), 'TOO_LARGE' from messaging.outbox where aggregate_version = 1")),
        ("EXCEPTIONS_FULL", HELD.to_owned()),
        ("QUEUE_PAUSED", "update messaging.queues set paused_at = now(), paused_by = 'anita', paused_reason = 'tea' where name = 'refunds'".to_owned()),
        ("JOBS_OVERDUE", of("'ready', null, null")),
        ("DEPENDENCY_DOWN", "insert into messaging.outages (queue, reason, failures, next_probe_at) values ('refunds', 'no tea', 1, now())".to_owned()),
        ("EVENTS_UNKNOWN", of("'ready', null, null") + "; update messaging.inbox set last_error = 'this release does not know tea: upgrade the workers, then retry'"),
        ("EVENTS_UNKNOWN", format!("{EXCEPTION} 'HELD', null, null from messaging.outbox where aggregate_version = 1; update messaging.outbox_exceptions set status = 'WAITING', next_attempt_at = now() + interval '1 minute', last_error = 'this release does not know tea: upgrade the relays, then replay'")),
        ("JOBS_DEAD", of("'dead', null, now()") + LETTERS),
        ("DOCUMENTS_TO_ERASE", "insert into command.erasures select id, 'erased-1', now(), '2026-01-01' from command.orders limit 1".to_owned()),
        ("AUDIT_NOT_SEALED", "insert into command.audit_seals values (1, 0, 1, '{}', '', now() - interval '1 month');
             alter table command.state_transitions disable trigger user;
             update command.state_transitions set created_at = now() - interval '9 days'".to_owned()),
        ("JOBS_IN_DOUBT", of("'in_doubt', null, null")),
        ("JOBS_SILENT", of("'running', messaging.lowest_event_id(now()), null") + SILENT),
        ("BROKER_POLICY", LOSS.replace("REASON", "delivery_limit")),
        ("MESSAGES_REJECTED", LOSS.replace("REASON", "rejected")),
        ("EVENTS_SENT_AGAIN", LOSS.replace("REASON", "not_arrived")),
        ("MIGRATIONS_NEWER", "insert into _sqlx_migrations select 9999, description, installed_on, true, checksum, 0 from _sqlx_migrations limit 1".to_owned()),
        ("MIGRATIONS_MISSING", "delete from _sqlx_migrations where version = 5".to_owned()),
        ("MIGRATIONS_UNKNOWN", "drop table _sqlx_migrations".to_owned()),
        ("PARTITION_MISSING", "do $$ begin execute (select format('drop table messaging.%I', name) from messaging.partitions where parent = 'outbox' and until_at > now() + interval '1 day' order by from_at limit 1); end $$".to_owned()),
        ("SCHEDULE_OVERDUE", SCHEDULE.to_owned()),
        ("SCHEDULE_OVERDUE", format!("{SCHEDULE} {RUN} 'running', null, null from messaging.schedules; update messaging.schedule_runs set error = null")),
        ("SCHEDULE_FAILING", format!("{SCHEDULE} {RUN} 'waiting', now() + interval '1 minute', null from messaging.schedules")),
        ("SCHEDULE_FAILED", format!("{SCHEDULE} {RUN} 'failed', null, now() from messaging.schedules; update messaging.schedules set next_due_at = now() + interval '1 hour'")),
        ("SERIES_ENDING", format!("insert into work.document_series values ('AC/{year}', 9000000), ('AC/00-01', 9999999)")),
        ("SERIES_ENDED", format!("insert into work.document_series values ('ABC/{year}', 999999), ('AC/{year}', 8999999)")),
        ("PARTITION_EXPIRED", "select messaging.ensure_partitions(interval '100 days', interval '0', interval '7 days')".to_owned()),
    ] {
        let database = untold.copy().await?;
        // Makes these rows recent, even on a slow machine.
        execute(&database.pool, "update messaging.outbox set occurred_at = clock_timestamp()").await?;
        execute(&database.pool, &statements).await.context(code)?;
        let pool = database.pool_as(operations::ROLE).await?;
        let diagnosis = diagnose(&pool, &surroundings(Clock::system())).await?;
        pool.close().await;
        let found = diagnosis.findings.iter().find(|finding| finding.code == code);
        assert!(found.is_some_and(|finding| !finding.remedy.is_empty()), "{code}: {diagnosis:#?}");
        assert!(!diagnosis.healthy);
        // The doctor finds only this cause, and the missing relay, which all cases share.
        let expected = |finding: &str| finding == code || ["NO_RELAY", "LISTENER_DEAD", "JOBS_OVERDUE"].contains(&finding);
        assert!(diagnosis.findings.iter().all(|finding| expected(finding.code)), "{code}: {diagnosis:#?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_clock_is_named() -> Result<()> {
    let database = Database::new().await?;
    for (ahead, wrong) in [(0, false), (4, false), (6, true), (-6, true)] {
        let clock = Clock::system();
        clock.advance(TimeDelta::seconds(ahead));
        let diagnosis = diagnose(&database.pool, &surroundings(clock)).await?;
        let found = diagnosis.findings.iter().any(|finding| finding.code == "CLOCK_SKEW");
        assert_eq!(found, wrong, "{ahead} s: {diagnosis:#?}");
    }
    Ok(())
}

fn codes(diagnosis: &Value) -> Vec<Value> {
    diagnosis["findings"].as_array().into_iter().flatten().map(|finding| finding["code"].clone()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_healthy_system_is_found_healthy_and_a_stopped_one_is_not() -> Result<()> {
    let system = System::start(|_| ()).await?;
    eventually_equal("the system is healthy", SOON, json!(true), async || {
        Ok(system.api.get("/ops/doctor").await?.expect(200).json()["healthy"].clone())
    })
    .await?;
    let well = ops(&system.database, &["doctor"]).await?.exited(0).out;
    assert_eq!(well.trim(), "no problems found");
    let database = system.stop().await?;
    let ill = ops(&database, &["doctor", "--json"]).await?.exited(1).json();
    assert_eq!(codes(&ill), ["NO_RELAY"]);

    let nowhere = [("DATABASE_URL", "postgres://127.0.0.1:1/x"), ("RABBITMQ_URL", "amqp://127.0.0.1:1")];
    let ill = ops_with(&nowhere, &["doctor", "--json"]).await?.exited(1).json();
    assert_eq!(codes(&ill), ["DATABASE_UNREACHABLE", "BROKER_UNREACHABLE"]);
    Ok(())
}
