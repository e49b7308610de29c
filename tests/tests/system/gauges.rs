//! The gauges of outbox and inbox come from one relay. Real programs, because the gauges of a process are global to it.

use std::process::Stdio;

use anyhow::Result;
use embedded::child::{Child, Signal, bound_to_parent};
use messaging::leases::LEASE;
use sqlx::PgPool;
use tests::waiting::{SOON, eventually_equal};
use tests::{Api, System, books, eventually, programs};

const GAUGES: [&str; 9] = [
    "outbox_pending_rows",
    "outbox_parked_rows",
    "outbox_oldest_pending_seconds",
    "inbox_rows",
    "inbox_oldest_ready_seconds",
    "inbox_oldest_due_seconds",
    "inbox_oldest_open_seconds",
    "projection_oldest_pending_seconds",
    "messaging_bytes",
];

/// A relay, and its metrics.
struct Relay {
    child: Child,
    metrics: Api,
}

impl Relay {
    async fn start(system: &System) -> Result<Self> {
        let folder = tokio::task::spawn_blocking(programs::folder).await?;
        let (mut command, port) =
            (bound_to_parent(Signal::SIGKILL, folder.join("outbox-relay")), embedded::free_port()?);
        command.env("DATABASE_URL", &system.database.url).env("RELAY_PORT", port.to_string());
        command.env_remove("RABBITMQ_URL").stdout(Stdio::null()).stderr(Stdio::null());
        let child = Child::spawn("outbox-relay", command)?;
        Ok(Self { child, metrics: Api::new(&format!("http://127.0.0.1:{port}"))? })
    }

    /// Which of the gauges it shows.
    async fn shows(&self) -> Result<Vec<&'static str>> {
        let text = self.metrics.get("/metrics").await?.expect(200).text();
        let shown = |name: &str| text.lines().any(|line| line.split(['{', ' ']).next() == Some(name));
        assert!(shown("db_pool_connections"), "the other metrics stay: {text}");
        Ok(GAUGES.into_iter().filter(|name| shown(name)).collect())
    }
}

async fn owners(pool: &PgPool) -> Result<Vec<String>> {
    let owners = "select owner from messaging.held_shards where consumer = 'relay' group by owner order by min(shard)";
    Ok(sqlx::query_scalar(owners).fetch_all(pool).await?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_gauges_come_from_one_relay_and_move_with_its_lead() -> Result<()> {
    let system = System::commands_only().await?;
    let pool = &system.database.pool;
    let first = Relay::start(&system).await?;
    eventually("the relay leases shards", SOON, async || Ok((owners(pool).await?.len() == 1).then_some(()))).await?;
    eventually_equal("it shows the gauges", SOON, GAUGES.to_vec(), async || first.shows().await).await?;

    let second = Relay::start(&system).await?;
    let names =
        eventually("both lease shards", SOON, async || Ok(<[String; 2]>::try_from(owners(pool).await?).ok())).await?;
    let shown = async || anyhow::Ok((first.shows().await?, second.shows().await?));
    eventually_equal("one of them leads", SOON, (GAUGES.to_vec(), Vec::new()), &shown).await?;

    // As if the first had slept past its lease.
    let take = "update messaging.shard_leases set owner = $1, epoch = epoch + 1 where consumer = 'relay' and shard = 0";
    sqlx::query(take).bind(&names[1]).execute(pool).await?;
    eventually_equal("the other one leads", SOON, (Vec::new(), GAUGES.to_vec()), &shown).await?;

    second.child.signal(Signal::SIGKILL);
    eventually_equal("the first leads again", LEASE + SOON, GAUGES.to_vec(), async || first.shows().await).await?;
    let again =
        books::count(pool, "select count(distinct owner) from messaging.shard_leases where consumer = 'relay'").await?;
    assert_eq!(again, 1);
    first.child.signal(Signal::SIGKILL);
    system.finish().await
}
