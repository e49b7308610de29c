//! Faults around the processes during a storm, and measurements in the calm after it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use contracts::Queue;
use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use tokio::time::{Instant, sleep};

use super::book::Book;
use super::load::Customer;
use super::proxy::Mode;
use super::stage::Stage;
use super::tally::{Recovery, STUCK_SHOWS, Tally};
use super::{Plan, broker, database, operator};
use crate::waiting::eventually;

/// Much longer than a recovery may take. A delivery that is still missing then is lost, not slow.
const GIVEN_UP: Duration = Duration::from_secs(120);
/// How long a copy of the whole database may take.
const REPLICA_WITHIN: Duration = Duration::from_secs(180);
/// Time-out of one attempt to make a row stuck.
const STUCK_MEETS_GAP: Duration = Duration::from_secs(10);

/// A fault or an operator's action in a storm.
#[derive(Debug, Clone, Copy)]
enum Act {
    TerminateBackends,
    CrashDatabase,
    FailOver,
    HoldSnapshot,
    ReplayPublished,
    RetryDead,
    ReplayParked,
    Rebuild,
    CutAll,
    DuplicateAndReorder,
    RaiseMemoryAlarm,
    DeleteBinding,
    CrashBroker,
}

const EVERYWHERE: [Act; 10] = [
    Act::TerminateBackends,
    Act::TerminateBackends,
    Act::CrashDatabase,
    Act::FailOver,
    Act::HoldSnapshot,
    Act::ReplayPublished,
    Act::RetryDead,
    Act::ReplayParked,
    Act::Rebuild,
    Act::CutAll,
];
const WITH_A_BROKER: [Act; 6] = [
    Act::DuplicateAndReorder,
    Act::DuplicateAndReorder,
    Act::DuplicateAndReorder,
    Act::RaiseMemoryAlarm,
    Act::DeleteBinding,
    Act::CrashBroker,
];

/// Causes one fault after the other for this long, while the network is bad.
pub(super) async fn storm(stage: &mut Stage, plan: &Plan, chance: &mut StdRng, tally: &Tally) -> Result<()> {
    stage.network(Mode::Stormy);
    let until = Instant::now() + plan.storm;
    let acts: Vec<_> =
        EVERYWHERE.into_iter().chain(WITH_A_BROKER.into_iter().filter(|_| stage.setup.rabbitmq)).collect();
    while Instant::now() < until {
        sleep(Duration::from_millis(chance.random_range(300..2_500))).await;
        let Some(act) = acts.choose(chance) else { break };
        match perform(*act, stage, chance, tally).await {
            Ok(()) => {}
            // A broker that was just killed, or is out of memory, may refuse the harness as well.
            Err(_) if matches!(act, Act::DuplicateAndReorder | Act::DeleteBinding) => {
                tally.did("attempts refused by RabbitMQ");
            }
            Err(error) => return Err(error.context(format!("{act:?}"))),
        }
    }
    stage.network(Mode::Quiet);
    Ok(())
}

async fn perform(act: Act, stage: &mut Stage, chance: &mut StdRng, tally: &Tally) -> Result<()> {
    match act {
        Act::TerminateBackends => database::terminate_backends(stage, chance, tally).await?,
        Act::CrashDatabase => database::crash(stage, tally).await?,
        Act::FailOver => {
            if stage.fail_over().await? {
                tally.did("Postgres failed over to its replica");
            }
        }
        Act::HoldSnapshot => {
            if stage.hold_snapshot(Duration::from_secs(chance.random_range(5..120)))? {
                tally.did("snapshots held open");
            }
        }
        Act::ReplayPublished => {
            let rows = operator::replay_published(stage, chance.random_range(1..60)).await?;
            tally.did_often("published rows replayed", rows);
        }
        Act::RetryDead => tally.did_often("dead jobs retried", operator::retry_dead(stage).await?),
        Act::ReplayParked => tally.did_often("parked rows replayed", operator::replay_parked(stage).await?),
        // A process frozen in the middle of a batch blocks it, and the database may crash under it. An incomplete rebuild
        // changes no read model.
        Act::Rebuild => match operator::rebuild(stage, Duration::from_millis(chance.random_range(50..3_000))).await {
            Ok(()) => tally.did("read models rebuilt"),
            Err(_) => tally.did("rebuilds killed or abandoned"),
        },
        Act::CutAll => {
            let proxies = &stage.proxies;
            let all = [Some(&proxies.database), proxies.broker.as_ref(), Some(&proxies.gateway)];
            if let Some(Some(proxy)) = all.choose(chance) {
                proxy.cut_all();
                tally.did("all connections to a service cut");
            }
        }
        Act::DuplicateAndReorder => broker::duplicate_and_reorder(stage, chance, tally).await?,
        Act::RaiseMemoryAlarm => broker::raise_memory_alarm(stage, chance, tally).await?,
        Act::DeleteBinding => {
            let queue = Queue::JOBS[chance.random_range(0..Queue::JOBS.len())];
            broker::unbind(stage, queue, tally).await?;
        }
        Act::CrashBroker => broker::crash(stage, tally).await?,
    }
    Ok(())
}

/// Measures how soon deliveries continue after a crash of the database, after its replica has taken its place, and after a
/// crash of the broker if there is one.
pub(super) async fn measure_recoveries(stage: &mut Stage, tally: &Tally) -> Result<()> {
    database::crash(stage, tally).await?;
    measure_recovery(stage, Recovery::RestartOfPostgres, tally).await?;
    eventually("Postgres fails over to its replica", REPLICA_WITHIN, async || {
        Ok(stage.fail_over().await?.then_some(()))
    })
    .await?;
    tally.did("Postgres failed over to its replica");
    measure_recovery(stage, Recovery::Failover, tally).await?;
    if stage.setup.rabbitmq {
        broker::crash(stage, tally).await?;
        measure_recovery(stage, Recovery::RestartOfRabbitMq, tally).await?;
    }
    Ok(())
}

/// Customers order all the time, so there is always something to deliver.
async fn measure_recovery(stage: &Stage, from: Recovery, tally: &Tally) -> Result<()> {
    let back = database::now(&stage.pool).await?;
    let what = format!("deliveries after {}", from.name());
    let first = eventually(&what, GIVEN_UP, async || database::first_delivery_after(&stage.pool, back).await).await;
    match first {
        Ok(after) => tally.recovered(from, after),
        Err(error) => tally.violated(format!("{error:#} (the limit is {:?})", from.limit())),
    }
    Ok(())
}

/// Measures how soon operators see a row that the relay cannot deliver. Then it removes the cause, and the relay must
/// deliver the row.
pub(super) async fn measure_stuck_row(stage: &Stage, round: u64, book: &Arc<Book>, tally: &Arc<Tally>) -> Result<()> {
    operator::replay_parked(stage).await?;
    let customer = format!("unlucky-{round}");
    if !stage.setup.rabbitmq {
        database::refuse(&stage.pool, &customer).await?;
    }
    let mut customer = Customer::new(stage, round, &customer, book, tally)?;
    let (started, since) = (Instant::now(), database::now(&stage.pool).await?);
    loop {
        if stage.setup.rabbitmq {
            // Every new order sends to this queue. Repeated in each attempt, because a process that reconnects to the
            // restarted broker declares the binding again.
            broker::unbind(stage, Queue::Notifications, tally).await?;
        }
        if customer.place().await.is_err() {
            break;
        }
        let shown = async || operator::oldest_stuck(stage, since).await;
        match eventually("a stuck row is shown", STUCK_MEETS_GAP, shown).await {
            Ok(age) => {
                tally.stuck_showed(age);
                break;
            }
            Err(_) if started.elapsed() < GIVEN_UP => {}
            Err(error) => {
                tally.violated(format!("{error:#} (the limit is {STUCK_SHOWS:?})"));
                break;
            }
        }
    }
    database::accept_all(&stage.pool).await?;
    if let Some(broker) = &stage.proxies.broker {
        // A process that connects declares the binding again.
        broker.cut_all();
    }
    Ok(())
}
