//! Commands wait when the relay cannot keep up, before the disk is full.

use anyhow::Result;
use contracts::OrderState;
use standalone::Part;
use tests::waiting::{SOON, eventually};
use tests::{System, books, shop};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_are_refused_while_too_many_events_wait_and_reads_go_on() -> Result<()> {
    let system = System::start(|options| {
        options.parts = vec![Part::Command, Part::Query];
        options.command.outbox_max_pending = 5;
    })
    .await?;
    let (api, pool) = (&system.api, &system.database.pool);
    let order = shop::order_in(api, OrderState::Delivered).await?;
    shop::place(api, &shop::order()).await?;
    // Six events wait, and no relay runs.
    let refused = eventually("commands are refused", SOON, async || {
        let answer = api.post("/orders", &shop::order()).await?;
        Ok((answer.status != 201).then_some(answer))
    })
    .await?
    .expect(503);
    assert_eq!(refused.json()["error"]["code"], "OUTBOX_FULL");
    assert!(!refused.header("retry-after").is_empty());
    let before = books::row_counts(pool).await?;
    api.post("/returns", &shop::return_of(&order, 0, 1)).await?.expect(503);
    assert_eq!(books::row_counts(pool).await?, before, "nothing was done");
    books::projected(pool, SOON).await?;
    api.get(&format!("/orders/{}", order.id)).await?.expect(200);

    let relay = system.another_relay("relay").await?;
    eventually("commands are accepted again", SOON, async || {
        Ok((api.post("/orders", &shop::order()).await?.status == 201).then_some(()))
    })
    .await?;
    relay.drain(SOON).await?;
    system.abandon().await
}
