//! Events in all the states in which an operator can do something about them.

use anyhow::{Result, bail};
use contracts::OrderState;
use standalone::Part;
use tests::waiting::{SOON, eventually_equal};
use tests::{Database, System, books, shop};
use uuid::Uuid;

use crate::operations::{die, execute};

/// Orders, each with one event.
pub(super) const ORDERS: usize = 9;

#[derive(Debug, Clone)]
pub(super) struct Events {
    /// Their e-mails are dead, of the same cause.
    pub(super) refused: [Uuid; 2],
    /// Its e-mail is dead: the address is wrong.
    pub(super) wrong_address: Uuid,
    /// Its e-mail is dead, and is not needed any more.
    pub(super) old: Uuid,
    /// Its e-mail waits for an hour.
    pub(super) later: Uuid,
    /// Its way out ended: it is too large.
    pub(super) parked: Uuid,
    /// It goes out in an hour.
    pub(super) waiting: Uuid,
}

impl Events {
    /// A database with all of them, and two more dead e-mails, which timed out.
    pub(super) async fn prepare() -> Result<(Database, Self)> {
        let system = System::start(|options| options.parts = vec![Part::Command]).await?;
        for _ in 0..ORDERS {
            shop::order_in(&system.api, OrderState::PendingPayment).await?;
        }
        let database = system.stop().await?;
        let ids: Vec<Uuid> = sqlx::query_scalar("select event_id from messaging.outbox order by position")
            .fetch_all(&database.pool)
            .await?;
        let [parked, waiting, a, b, wrong_address, old, later, ..] = ids[..] else { bail!("{ids:?}") };
        let events = Self { refused: [a, b], wrong_address, old, later, parked, waiting };
        let exceptions = format!(
            "insert into messaging.outbox_exceptions (event_id, position, shard, aggregate_id, aggregate_version, status, parked_at, parked_reason)
             select event_id, position, shard, aggregate_id, 1, 'PARKED', clock_timestamp(), 'TOO_LARGE' from messaging.outbox where event_id = '{parked}';
             insert into messaging.outbox_exceptions (event_id, position, shard, aggregate_id, aggregate_version, status, attempts, last_error, next_attempt_at)
             select event_id, position, shard, aggregate_id, 1, 'WAITING', 1, 'no', clock_timestamp() + interval '1 hour'
             from messaging.outbox where event_id = '{waiting}'"
        );
        execute(&database.pool, &exceptions).await?;
        let system = System::start_on(database, |options| options.parts = vec![Part::Relay]).await?;
        let (pool, came) =
            (&system.database.pool, "select count(*) from messaging.inbox where queue = 'notifications'");
        eventually_equal("the e-mails", SOON, 7, async || books::count(pool, came).await).await?;
        let dead = format!(
            "update messaging.inbox set status = 'dead', attempts = 5, finished_at = clock_timestamp(),
                    last_error = case when event_id in ('{a}', '{b}') then 'mail server said 451' when event_id = '{wrong_address}' then 'no such mailbox'
                                      when event_id = '{old}' then 'mailbox full' else 'timed out' end
             where queue = 'notifications' and event_id <> '{later}';
             update messaging.inbox set attempts = 1, run_at = clock_timestamp() + interval '1 hour', last_error = 'no' where event_id = '{later}'"
        );
        die(pool, &dead).await?;
        Ok((system.stop().await?, events))
    }
}
