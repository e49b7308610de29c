//! The server of the database dies, and its streaming replica takes its place.
//!
//! A synchronous replica has every commit that was acknowledged. An asynchronous one may lack the last ones: then positions
//! and versions are given out a second time, and what is outside of the database knows more than the database.

mod site;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use contracts::{OrderDocument, OrderState, Queue, ReturnDocument, ReturnState};
use messaging::leases::Consumer;
use messaging::{TransportConfig, intake};
use operations::audit::{Rule, Verdict};
use query::{OnLoss, RebuildError};
use reqwest::Client;
use runtime::{Ids, Tasks};
use serde_json::json;
use standalone::Part;
use storage::InvoiceStore;
use tests::faults::proxy::{Direction, Mode};
use tests::services::Broker;
use tests::waiting::{SOON, eventually_equal};
use tests::{Api, books, eventually, shop};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use site::{Servers, Site, said, violated};

/// The versions of the orders that were acknowledged.
type Told = Arc<Mutex<BTreeMap<Uuid, i32>>>;

/// Places orders and takes them as far as they get. An answer that does not come is no answer.
async fn customer(api: Api, told: Told, stop: CancellationToken) {
    while !stop.is_cancelled() {
        let placed = api.post("/orders", &shop::order()).await.ok().filter(|answer| answer.status == 201);
        let mut last = placed.map(|answer| answer.order());
        for step in ["pay", "processing", "ship", "deliver"] {
            let Some(order) = last else { break };
            told.lock().unwrap_or_else(PoisonError::into_inner).insert(order.id, order.version);
            let stepped = shop::step(&api, order.id, step).await.ok().filter(|answer| answer.status == 200);
            last = stepped.map(|answer| answer.order());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_synchronous_replica_nothing_is_lost() -> Result<()> {
    let mut servers = Servers::start("synchronous").await?;
    servers.primary.upstream().commit_on_replica().await?;
    let site = Site::open(&servers, &Part::ALL[..5], TransportConfig::default()).await?;
    shop::return_in(&site.api, ReturnState::Completed).await?;
    let (told, stop) = (Told::default(), CancellationToken::new());
    let customers: Vec<_> =
        (0..3).map(|_| tokio::spawn(customer(site.api.clone(), told.clone(), stop.clone()))).collect();
    eventually_equal("customers order", SOON, true, async || {
        Ok(books::count(&servers.pool, "select count(*) from command.orders where state = 'DELIVERED'").await? >= 4)
    })
    .await?;
    servers.primary.upstream().caught_up(SOON).await?;

    servers.primary.kill();
    let there = servers.promote().await?;
    site.goes_on(&servers, there).await?;
    stop.cancel();
    for customer in customers {
        customer.await?;
    }
    books::settled(&servers.pool).await?;
    books::passed(&servers.pool, Consumer::Projections, SOON).await?;

    let told = told.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let stored: Vec<(Uuid, i32)> =
        sqlx::query_as("select id, version from command.orders").fetch_all(&servers.pool).await?;
    let stored: BTreeMap<_, _> = stored.into_iter().collect();
    let lost: Vec<_> = told.iter().filter(|(id, version)| stored.get(id).is_none_or(|kept| kept < version)).collect();
    assert!(lost.is_empty(), "acknowledged and not there: {lost:?}");
    let report = site.audit(&servers, true).await?;
    assert_eq!(report.verdict, Verdict::Holds, "{:#?}", report.rules);
    site.close().await
}

/// What survives, and what does not.
struct Story {
    /// Paid; that it was shipped is lost.
    paid: OrderDocument,
    /// Placed, paid and shipped; all of it is lost.
    gone: OrderDocument,
    /// Its refund was under way; that it was paid is lost.
    half_refunded: ReturnDocument,
    /// Received; that it was completed and refunded is lost.
    received: ReturnDocument,
}

/// Waits until an order's invoice is stored.
async fn invoiced(servers: &Servers, order: Uuid) -> Result<()> {
    eventually("the invoice is stored", SOON, async || {
        let stored = "select count(*) from work.invoices where order_id = $1 and stored_at is not null";
        let stored: i64 = sqlx::query_scalar(stored).bind(order).fetch_one(&servers.pool).await?;
        Ok((stored == 1).then_some(()))
    })
    .await
}

/// Waits until the job of a return's refund has this status.
async fn refund_job(servers: &Servers, returned: &ReturnDocument, status: &str) -> Result<()> {
    let job = "select coalesce((select job.status from messaging.inbox as job join command.refunds on refunds.id = aggregate_id
                                where queue = 'refunds' and return_id = $1), '')";
    eventually_equal("the job of the refund", SOON, status.to_owned(), async || {
        Ok(sqlx::query_scalar(job).bind(returned.id).fetch_one(&servers.pool).await?)
    })
    .await
}

/// Everything that happens until the replica is promoted, which it does not hear the end of.
async fn lose_the_end(servers: &Servers, site: &Site) -> Result<Story> {
    let api = &site.api;
    let paid = shop::order_in(api, OrderState::Paid).await?;
    let half_refunded = shop::return_in(api, ReturnState::Received).await?;
    let received = shop::return_in(api, ReturnState::Received).await?;
    books::delivered(&servers.pool, SOON).await?;
    for queue in Queue::JOBS {
        books::drained(&servers.pool, queue, SOON).await?;
    }
    books::delivered(&servers.pool, SOON).await?;
    site.shown(servers, SOON).await?;

    site.gateway_link.set(Mode::Blackhole(Direction::ToClient));
    shop::return_step(api, half_refunded.id, "complete").await?.expect(200);
    eventually_equal("the gateway has paid", SOON, 1, async || Ok(site.paid().await?.len())).await?;
    refund_job(servers, &half_refunded, "running").await?;
    servers.primary.upstream().caught_up(SOON).await?;
    servers.cut_off_the_replica();
    // The worker gets no answer, looks the payment up, and records it.
    site.gateway_link.set(Mode::Quiet);
    refund_job(servers, &half_refunded, "done").await?;

    let gone = shop::order_in(api, OrderState::Shipped).await?;
    shop::step(api, paid.id, "processing").await?.expect(200);
    shop::step(api, paid.id, "ship").await?.expect(200);
    shop::return_step(api, received.id, "complete").await?.expect(200);
    refund_job(servers, &received, "done").await?;
    // A sequence is logged 32 positions ahead. Only what is lost beyond that is given out again.
    shop::sell(api, 8).await?;
    for order in [gone.id, paid.id] {
        invoiced(servers, order).await?;
    }
    for queue in Queue::JOBS {
        books::drained(&servers.pool, queue, SOON).await?;
    }
    site.shown(servers, SOON).await?;
    Ok(Story { paid, gone, half_refunded, received })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_asynchronous_replica_has_lost_is_named() -> Result<()> {
    let mut servers = Servers::start("asynchronous").await?;
    let mut site =
        Site::open(&servers, &[Part::Command, Part::Relay, Part::Workers], TransportConfig::default()).await?;
    let queries = site.show_in_another_database(&servers).await?;
    let listener = listen(&queries).await?;
    let story = Box::pin(lose_the_end(&servers, &site)).await?;
    let highest = "select max(position) from messaging.outbox";
    let lost = books::count(&servers.pool, highest).await?;
    let kept = books::count(&servers.replica_pool().await?, highest).await?;
    assert!(kept + 32 < lost, "positions up to {lost} were given out, and {kept} is left");

    // The old server is cut off and lives. Idle processes find the new one without an error.
    let there = servers.promote().await?;
    site.goes_on(&servers, there).await?;
    tokio::time::timeout(SOON, listener)
        .await
        .context("who listens to events is sent away: the positions told are void")??;
    listen(&queries).await?.abort();
    servers.primary.kill();
    for queue in Queue::JOBS {
        books::drained(&servers.pool, queue, SOON).await?;
    }

    is_named(&servers, &site, &story).await?;
    recovers(&servers, &site, &story).await?;
    site.close().await
}

/// Listens to the events until the stream ends.
async fn listen(queries: &str) -> Result<JoinHandle<()>> {
    let request = Client::new().get(format!("{queries}/api/v1/events")).header("accept", "text/event-stream");
    let mut answer = request.send().await?.error_for_status()?;
    Ok(tokio::spawn(async move { while answer.chunk().await.is_ok_and(|chunk| chunk.is_some()) {} }))
}

/// Nothing is paid twice, and everything with a trace is named.
async fn is_named(servers: &Servers, site: &Site, story: &Story) -> Result<()> {
    let Story { paid, gone, half_refunded, received } = story;
    refund_job(servers, half_refunded, "done").await?;
    let payments = site.paid().await?;
    let of = |returned: &ReturnDocument| payments.iter().filter(|(id, _)| *id == returned.id.to_string()).count();
    assert_eq!((of(half_refunded), of(received)), (1, 1), "{payments:?}");

    let report = site.audit(servers, false).await?;
    assert_eq!(violated(&report), [5, 6, 7], "{:#?}", report.rules);
    let shown = said(&report, Rule::ReadModels);
    assert!(shown.contains(&format!("order {} is shown and has no events", gone.id)), "{shown}");
    assert!(shown.contains(&format!("order {} is shown at 4, its events are only at 2", paid.id)), "{shown}");
    let refunds = said(&report, Rule::Refunds);
    assert!(refunds.contains(&format!("for {}, which is neither", received.id)), "{refunds}");
    let files = said(&report, Rule::Invoices);
    for order in [gone, paid] {
        let name = InvoiceStore::invoice_name(order.order_number.as_str());
        assert!(files.contains(&format!("{name} is in the store, and belongs to no invoice")), "{name}: {files}");
    }
    Ok(())
}

/// Repeats a command until it is done. After a failover a command may be answered 503.
async fn insist(api: &Api, path: &str) -> Result<()> {
    eventually(path, SOON, async || {
        let answer = api.post(path, &json!({})).await?;
        Ok((answer.status == 200).then_some(()))
    })
    .await
}

/// What people do after that, until an audit finds nothing.
async fn recovers(servers: &Servers, site: &Site, story: &Story) -> Result<()> {
    let Story { paid, received, .. } = story;
    let payment = site.paid().await?.into_iter().find(|(id, _)| *id == received.id.to_string());
    insist(&site.api, &format!("/returns/{}/complete", received.id)).await?;
    refund_job(servers, received, "done").await?;
    let refund = "select transaction_id from command.refunds where return_id = $1";
    let transaction: String = sqlx::query_scalar(refund).bind(received.id).fetch_one(&servers.pool).await?;
    assert_eq!(Some((received.id.to_string(), transaction)), payment, "the first payment counts");
    assert_eq!(site.paid().await?.len(), 2, "and no other was made");

    // Its third version is another one than that which the read models have.
    insist(&site.api, &format!("/orders/{}/cancel", paid.id)).await?;
    let rebuild = async |on_loss| {
        let messaging = servers.pool_as("articurated_query").await.expect("a pool");
        let config = site.read_config().expect("another database");
        let read = runtime::database::connect(&config, Some("articurated_query"), "test").await.expect("a pool");
        query::rebuild(messaging, Some(read), Ids::system().next(), on_loss).await
    };
    let refused = rebuild(OnLoss::Fail).await;
    assert!(matches!(refused, Err(RebuildError::Incomplete(_))), "{refused:?}");
    rebuild(OnLoss::Forget).await?;
    let state: String = sqlx::query_scalar("select state from read.orders where id = $1")
        .bind(paid.id)
        .fetch_one(site.read_pool(servers))
        .await?;
    assert_eq!(state, "CANCELLED");

    books::delivered(&servers.pool, SOON).await?;
    for queue in Queue::JOBS {
        books::drained(&servers.pool, queue, SOON).await?;
    }
    site.shown(servers, SOON).await?;
    let report = site.audit(servers, true).await?;
    assert_eq!(violated(&report), [7], "{:#?}", report.rules);
    for named in said(&report, Rule::Invoices).lines() {
        let (file, _) = named.split_once(" is in the store").context("a file")?;
        std::fs::remove_file(file)?;
    }
    let report = site.audit(servers, true).await?;
    assert_eq!(report.verdict, Verdict::Holds, "{:#?}", report.rules);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deliveries_of_events_that_were_lost_are_named() -> Result<()> {
    let broker = Broker::new().await?;
    let mut servers = Servers::start("rabbitmq").await?;
    let site = Site::open(&servers, &[Part::Command, Part::Relay], broker.transport()).await?;
    let kept = shop::place(&site.api, &shop::order()).await?;
    books::passed(&servers.pool, Consumer::Relay, SOON).await?;
    servers.primary.upstream().caught_up(SOON).await?;
    servers.cut_off_the_replica();
    let gone = shop::place(&site.api, &shop::order()).await?;
    eventually_equal("everything is published", SOON, 0, async || books::pending(&servers.pool).await).await?;

    let there = servers.promote().await?;
    servers.primary.kill();
    let workers = Tasks::new(CancellationToken::new());
    let pool = servers.pool_as("articurated_workers").await?;
    for queue in Queue::JOBS {
        workers.spawn("intake", intake::run(pool.clone(), broker.transport(), queue, workers.clone()));
    }
    let after = eventually("commands are answered", SOON, async || {
        let answer = site.api.post("/orders", &shop::order()).await;
        Ok(answer.ok().filter(|answer| answer.status == 201).map(|answer| answer.order()))
    })
    .await?;
    for order in [&kept, &gone, &after] {
        eventually("its event has arrived", SOON, async || {
            let arrived = "select count(*) from messaging.inbox where queue = 'notifications' and aggregate_id = $1";
            let arrived: i64 = sqlx::query_scalar(arrived).bind(order.id).fetch_one(&servers.pool).await?;
            Ok((arrived == 1).then_some(()))
        })
        .await?;
    }
    eprintln!("the relay and the broker went on after {:.1?}", there.elapsed());

    let report = site.audit(&servers, false).await?;
    let orphan = "select event_id from messaging.inbox where aggregate_id = $1";
    let orphan: Uuid = sqlx::query_scalar(orphan).bind(gone.id).fetch_one(&servers.pool).await?;
    let effects = said(&report, Rule::Effects);
    let named = format!("the queue notifications has {orphan}, which is not in the outbox");
    assert!(effects.contains(&named), "{effects}");
    workers.drain(SOON).await?;
    site.close().await
}
