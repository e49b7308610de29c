//! What must hold at the end of a run.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use access::ConsistencyKey;
use anyhow::{Context, Result};
use contracts::{
    CONSISTENCY_TOKEN_HEADER, GatewayRefund, OrderDocument, OrderState, Queue, RefundStatus, ReturnDocument,
    ReturnState,
};
use futures_util::StreamExt;
use futures_util::stream;
use reqwest::Method;
use serde::de::DeserializeOwned;
use sqlx::PgPool;
use uuid::Uuid;

use super::book::Known;
use super::hooks::Hooks;
use super::stage::Stage;
use super::tally::Tally;
use super::{broker, operator};
use crate::waiting::eventually;
use crate::{Api, books};

/// Another worker takes over a dead worker's job after 30 s, and may then have to retry it.
const DRAINED_WITHIN: Duration = Duration::from_secs(180);
/// How long a browser may take to notice that its worker died.
const GONE_WITHIN: Duration = Duration::from_secs(10);
/// The lease of a killed rebuild, and the duration of a rebuild.
const REBUILT_WITHIN: Duration = Duration::from_secs(90);
/// Concurrent reads.
const READERS: usize = 8;

/// Waits until every queue has drained, while an operator retries and replays.
pub(super) async fn drain(stage: &Stage, tally: &Tally) -> Result<()> {
    // A connection that the network forgot in the storm is silent, and a worker waits for a mail server for up to 13 minutes (RFC 5321).
    stage.proxies.mail.cut_all();
    let routes: Vec<&str> = Queue::routes().map(|(event, _)| event.as_str()).collect();
    let mut last = String::new();
    let drained = eventually("everything has drained", DRAINED_WITHIN, async || {
        tally.did_often("dead jobs retried", operator::retry_dead(stage).await?);
        tally.did_often("parked rows replayed", operator::replay_parked(stage).await?);
        let open: (i64, i64, i64, i64) = sqlx::query_as(
            "select (select count(*) from messaging.pending_events) + (select count(*) from messaging.outbox_exceptions),
                    (select count(*) from messaging.outbox join unnest($1::text[]) as route (event_type) using (event_type))
                    - (select count(*) from messaging.inbox where queue <> 'projections'),
                    (select count(*) from messaging.inbox where status <> 'done'),
                    (select count(*) from messaging.outbox as event
                     join messaging.last_marks as last on consumer = 'projections' and last.shard = event.shard
                     where position > mark)",
        )
        .bind(&routes)
        .fetch_one(&stage.pool)
        .await?;
        last = format!("{} unpublished, {} undelivered, {} unfinished, {} unprojected", open.0, open.1, open.2, open.3);
        if open != (0, 0, 0, 0) {
            for job in books::open_jobs(&stage.pool, &Queue::ALL, &["done"]).await? {
                last = format!("{last}; {job}");
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
            return Ok(None);
        }
        let hooks = Hooks::open(&stage.pool).await?;
        last = format!("{hooks} webhooks are open");
        Ok((hooks == 0 && broker::messages(stage).await? == 0).then_some(()))
    })
    .await;
    if drained.is_err() {
        for row in undelivered(&stage.pool).await? {
            last = format!("{last}\n      undelivered: {row}");
        }
    }
    drained.with_context(|| last)
}

/// The events that are not in the inbox of a queue that wants them, with what the database knows of their way.
async fn undelivered(pool: &PgPool) -> Result<Vec<String>> {
    let routes = Queue::routes().map(|(event, queue)| (event.to_string(), queue.to_string()));
    let (events, queues): (Vec<_>, Vec<_>) = routes.unzip();
    let undelivered = "
        select json_build_object(
            'queue', queue, 'event_id', event_id, 'type', event_type, 'aggregate', aggregate_id, 'version', aggregate_version,
            'position', position, 'shard', event.shard, 'occurred_at', occurred_at, 'committed_by', event.xmin::text,
            'neighbours', (select json_agg(json_build_array(position, event_type, near.xmin::text, occurred_at) order by position)
                           from messaging.outbox as near where position between event.position - 5 and event.position + 5),
            'batches', (select json_agg(json_build_array(relay, shards, epochs, sent_at, xmin::text) order by sent_at)
                        from messaging.relay_batches where event.position = any(positions)),
            'batches_around', (select json_agg(json_build_array(relay, positions, shards, epochs, sent_at, xmin::text) order by sent_at)
                               from messaging.relay_batches
                               where exists (select from unnest(positions) as near where near between event.position - 20 and event.position + 20)),
            'marks', (select json_agg(json_build_array(id, consumer, epoch, mark, since, xmin::text) order by id)
                      from messaging.marks where marks.shard = event.shard and consumer <> 'projections'
                        and mark between event.position - 2000 and event.position + 2000),
            'jobs', (select json_agg(json_build_array(inbox.queue, status, attempts)) from messaging.inbox where inbox.event_id = event.event_id),
            'actions', (select json_agg(json_build_array(acted_at, action)) from messaging.operator_actions
                        where target::text like '%' || event.event_id || '%'))::text
        from messaging.outbox as event join unnest($1::text[], $2::text[]) as route (event_type, queue) using (event_type)
        where not exists (select from messaging.inbox where inbox.event_id = event.event_id and inbox.queue = route.queue)
        order by position limit 20";
    Ok(sqlx::query_scalar(undelivered).bind(events).bind(queues).fetch_all(pool).await?)
}

/// No process, and no child of one, has outlived the run, and no process has panicked.
pub(super) async fn check_processes(stage: &Stage, tally: &Tally) {
    let needle = stage.temporary().display().to_string();
    let orphans = || {
        let folders = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let lines = folders.filter_map(|process| std::fs::read(process.path().join("cmdline")).ok());
        lines.filter(|line| String::from_utf8_lossy(line).contains(&needle)).count()
    };
    if eventually("no process is left", GONE_WITHIN, async || Ok((orphans() == 0).then_some(()))).await.is_err() {
        tally.violated(format!("{} processes with {needle} on their command line are left", orphans()));
    }
    for log in std::fs::read_dir(&stage.folder).into_iter().flatten().flatten() {
        let text = std::fs::read(log.path()).unwrap_or_default();
        for line in String::from_utf8_lossy(&text).lines().filter(|line| line.contains("panicked")) {
            tally.violated(format!("{}: {line}", log.path().display()));
        }
    }
}

/// Compares write side, read side, ledger, mail server and files with each other and with the customers' memory.
pub(super) async fn check(stage: &Stage, known: &Known, tally: &Tally) -> Result<Vec<GatewayRefund>> {
    operator::audit(stage).await?.into_iter().for_each(|found| tally.violated(found));
    check_states(&stage.pool, known, tally).await?;
    let ledger = ledger(stage)?;
    check_refunds(known, &ledger, tally);
    check_reads(stage, known, tally).await?;
    check_mails(stage, tally).await?;
    check_rebuild(stage, tally).await?;
    Ok(ledger)
}

/// The rebuilt read models equal, row by row, those that the projector wrote during the storm.
async fn check_rebuild(stage: &Stage, tally: &Tally) -> Result<()> {
    let read = match stage.read_database_url() {
        None => stage.pool.clone(),
        Some(url) => PgPool::connect(&url).await?,
    };
    let before = books::read_models(&read).await?;
    // A rebuild that was killed in the storm holds its lease for a while.
    let rebuilt = eventually("the read models are rebuilt", REBUILT_WITHIN, async || {
        Ok(operator::rebuild(stage, REBUILT_WITHIN).await.ok())
    });
    rebuilt.await?;
    let after = books::read_models(&read).await?;
    for (table, rows) in &before {
        let rebuilt: BTreeSet<_> = after[table].iter().collect();
        let differing = rows.iter().filter(|row| !rebuilt.contains(row)).count();
        if differing > 0 || after[table].len() != rows.len() {
            let counts = (rows.len(), after[table].len());
            tally.violated(format!("read.{table} rebuilt differs in {differing} rows, with {counts:?} rows"));
        }
    }
    Ok(())
}

/// The write side has every acknowledged order and return in its last acknowledged state, and no others.
async fn check_states(pool: &PgPool, known: &Known, tally: &Tally) -> Result<()> {
    type States = BTreeMap<Uuid, (String, i32)>;
    async fn stored(pool: &PgPool, query: &'static str) -> Result<States> {
        let rows: Vec<(Uuid, String, i32)> = sqlx::query_as(query).fetch_all(pool).await?;
        Ok(rows.into_iter().map(|(id, state, version)| (id, (state, version))).collect())
    }
    let compare = |what: &str, stored: States, told: States| {
        let ids: BTreeSet<_> = stored.keys().chain(told.keys()).collect();
        for id in ids {
            let (stored, told) = (stored.get(id), told.get(id));
            if stored != told {
                tally.violated(format!("{what} {id}: stored is {stored:?}, acknowledged was {told:?}"));
            }
        }
    };
    let told = known.orders.iter().map(|(id, order)| (*id, (order.state.to_string(), order.version))).collect();
    compare("order", stored(pool, "select id, state, version from command.orders").await?, told);
    let told =
        known.returns.iter().map(|(id, returned)| (*id, (returned.state.to_string(), returned.version))).collect();
    compare("return", stored(pool, "select id, state, version from command.returns").await?, told);
    Ok(())
}

fn ledger(stage: &Stage) -> Result<Vec<GatewayRefund>> {
    let text = std::fs::read_to_string(stage.ledger()).context("the gateway's ledger")?;
    // A refund that was settled later has two lines.
    let mut entries: BTreeMap<String, GatewayRefund> = BTreeMap::new();
    for line in text.lines() {
        let entry: GatewayRefund = serde_json::from_str(line).with_context(|| format!("the ledger has {line:?}"))?;
        entries.insert(entry.idempotency_key.clone(), entry);
    }
    Ok(entries.into_values().collect())
}

/// The gateway has paid each completed return once, with the right amount, and nothing else.
fn check_refunds(known: &Known, ledger: &[GatewayRefund], tally: &Tally) {
    let mut paid: BTreeMap<Uuid, Vec<i64>> = BTreeMap::new();
    for refund in ledger {
        paid.entry(refund.about().unwrap_or_default()).or_default().push(refund.amount);
    }
    let due = known.returns.values().filter(|returned| returned.state == ReturnState::Completed);
    for returned in due {
        let paid = paid.remove(&returned.id).unwrap_or_default();
        if paid != [returned.refund_amount_minor] {
            let due = returned.refund_amount_minor;
            tally.violated(format!("return {}: {due} are due, the gateway has paid {paid:?}", returned.id));
        }
    }
    // What is left is for orders that were paid and then cancelled.
    let mut paid: Vec<i64> = paid.into_values().flatten().collect();
    let mut due: Vec<i64> = known.orders.values().map(due_on_cancellation).filter(|due| *due > 0).collect();
    paid.sort_unstable();
    due.sort_unstable();
    if paid != due {
        tally.violated(format!("cancelled orders are due {due:?}, the gateway has paid {paid:?}"));
    }
}

/// What a cancelled order gets back: what was paid.
fn due_on_cancellation(order: &OrderDocument) -> i64 {
    if order.state == OrderState::Cancelled && order.paid_at.is_some() { order.total_minor } else { 0 }
}

/// The mail server has every e-mail that is recorded as sent, and none more often than operators asked for.
async fn check_mails(stage: &Stage, tally: &Tally) -> Result<()> {
    let mut accepted: BTreeMap<String, i64> = BTreeMap::new();
    for mail in stage.mail.mails()? {
        *accepted.entry(mail.message_id).or_default() += 1;
    }
    tally.did_often("e-mails accepted", accepted.len() as u64);
    let recorded: Vec<(String, String, i64)> = sqlx::query_as(
        "select message_id, status,
                (select count(*) from messaging.operator_actions
                 where action = 'RETRY' and target -> 'event_ids' ? emails.event_id::text)
         from work.emails",
    )
    .fetch_all(&stage.pool)
    .await?;
    for (message_id, status, retries) in recorded {
        let copies = accepted.remove(&message_id).unwrap_or_default();
        if copies < i64::from(status == "SENT") || copies > 1 + retries {
            tally.violated(format!(
                "the e-mail {message_id} is {status}, {retries} times retried, and {copies} times there"
            ));
        }
    }
    for message_id in accepted.keys() {
        tally.violated(format!("the mail server has the e-mail {message_id}, which no record mentions"));
    }
    Ok(())
}

/// Readers see what was acknowledged, with its effects.
async fn check_reads(stage: &Stage, known: &Known, tally: &Tally) -> Result<()> {
    let api = Api::new(&format!("http://127.0.0.1:{}/api/v1", stage.ports.query))?;
    let (api, invoices) = (&api, &stage.invoices());
    let key = &ConsistencyKey::load(&stage.pool).await?;
    let orders = stream::iter(known.orders.values()).for_each_concurrent(READERS, |told| async move {
        match read::<OrderDocument>(api, key, "order", told.id, told.version).await {
            Ok(mut seen) => {
                let shipped = matches!(told.state, OrderState::Shipped | OrderState::Delivered);
                let invoice = seen.invoice.take();
                let printed = invoice.as_ref().is_some_and(|invoice| is_printed(invoices, &invoice.path));
                if (shipped, shipped) != (invoice.is_some(), printed) {
                    tally.violated(format!("order {} is {} and has the invoice {invoice:?}", told.id, told.state));
                }
                let refunds = std::mem::take(&mut seen.refunds);
                let mut own = refunds.iter().filter(|refund| refund.return_id.is_none());
                let paid: Vec<_> = own.by_ref().map(|refund| (refund.status, refund.amount_minor)).collect();
                let due = Some(due_on_cancellation(told)).filter(|due| *due > 0);
                if paid != Vec::from_iter(due.map(|due| (RefundStatus::Processed, due))) {
                    tally.violated(format!("order {} is {} and has the refunds {paid:?}", told.id, told.state));
                }
                let seen = seen.as_answered();
                if seen != *told {
                    tally.violated(format!("order {}: readers see {seen:?}, acknowledged was {told:?}", told.id));
                }
            }
            Err(error) => tally.violated(format!("order {}: {error:#}", told.id)),
        }
    });
    orders.await;
    let returns = stream::iter(known.returns.values()).for_each_concurrent(READERS, |told| async move {
        match read::<ReturnDocument>(api, key, "return", told.id, told.version).await {
            Ok(mut seen) => {
                let refund = seen.refund.take().map(|refund| (refund.status, refund.amount_minor));
                let due = (told.state == ReturnState::Completed)
                    .then_some((RefundStatus::Processed, told.refund_amount_minor));
                let note = seen.credit_note.take();
                let printed = note.as_ref().is_some_and(|note| is_printed(invoices, &note.path));
                if (due.is_some(), due.is_some()) != (note.is_some(), printed) {
                    tally.violated(format!("return {} is {} and has the credit note {note:?}", told.id, told.state));
                }
                if refund != due {
                    tally.violated(format!("return {} is {} and has the refund {refund:?}", told.id, told.state));
                }
                let seen = seen.as_answered();
                if seen != *told {
                    tally.violated(format!("return {}: readers see {seen:?}, acknowledged was {told:?}", told.id));
                }
            }
            Err(error) => tally.violated(format!("return {}: {error:#}", told.id)),
        }
    });
    returns.await;
    Ok(())
}

fn is_printed(folder: &Path, name: &str) -> bool {
    std::fs::read(folder.join(name)).is_ok_and(|file| file.starts_with(b"%PDF"))
}

async fn read<D: DeserializeOwned>(api: &Api, key: &ConsistencyKey, kind: &str, id: Uuid, version: i32) -> Result<D> {
    let token = key.token(kind, id, version);
    let call = api.call(Method::GET, &format!("/{kind}s/{id}")).header(CONSISTENCY_TOKEN_HEADER, &token);
    let answer = call.send().await?;
    anyhow::ensure!(answer.status == 200, "reading it was answered {} {}", answer.status, answer.text());
    Ok(serde_json::from_slice(&answer.body)?)
}
