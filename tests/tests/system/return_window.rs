//! The end of the return window. The shop's days are those of Asia/Kolkata, 5 h 30 min ahead of UTC.

use anyhow::Result;
use chrono::{DateTime, Utc};
use contracts::OrderState;
use runtime::Clock;
use serde_json::json;
use standalone::Part;
use tests::{System, shop};

fn utc(text: &str) -> DateTime<Utc> {
    text.parse().expect("an instant")
}

async fn shop_at(clock: &Clock, window_days: u32) -> Result<System> {
    System::start(|options| {
        options.parts = vec![Part::Command];
        options.clock = clock.clone();
        options.command.return_window_days = window_days;
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_day_counts_to_its_end_in_kolkata() -> Result<()> {
    // In India it is 11 January already.
    let clock = Clock::fixed(utc("2026-01-10T20:00:00Z"));
    let system = shop_at(&clock, 30).await?;
    let order = shop::order_in(&system.api, OrderState::Delivered).await?;

    clock.set(utc("2026-02-10T18:29:59.999999Z"));
    shop::request_return(&system.api, &order, 0, 1).await?;
    clock.set(utc("2026-02-10T18:30:00Z"));
    let refused = system.api.post("/returns", &shop::return_of(&order, 0, 1)).await?;
    assert_eq!(
        refused.refused(400, "RETURN_NOT_ALLOWED").details,
        json!({ "reason": "OUTSIDE_RETURN_WINDOW", "delivered_on": "2026-01-11", "last_day": "2026-02-10" })
    );
    system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_window_of_no_days_is_the_day_of_delivery() -> Result<()> {
    let clock = Clock::fixed(utc("2026-03-31T04:00:00Z"));
    let system = shop_at(&clock, 0).await?;
    let order = shop::order_in(&system.api, OrderState::Delivered).await?;

    shop::request_return(&system.api, &order, 0, 1).await?;
    clock.set(utc("2026-03-31T18:29:59.999999Z"));
    shop::request_return(&system.api, &order, 0, 1).await?;
    clock.set(utc("2026-03-31T18:30:00Z"));
    let refused = system.api.post("/returns", &shop::return_of(&order, 0, 1)).await?;
    let details = refused.refused(400, "RETURN_NOT_ALLOWED").details;
    assert_eq!((&details["reason"], &details["last_day"]), (&json!("OUTSIDE_RETURN_WINDOW"), &json!("2026-03-31")));
    system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_return_requested_in_time_can_be_completed_after_the_window() -> Result<()> {
    let clock = Clock::fixed(utc("2026-01-10T08:00:00Z"));
    let system = shop_at(&clock, 30).await?;
    let order = shop::order_in(&system.api, OrderState::Delivered).await?;
    let returned = shop::request_return(&system.api, &order, 0, 2).await?;
    clock.set(utc("2026-06-01T08:00:00Z"));
    shop::bring_return(&system.api, returned, contracts::ReturnState::Completed).await?;
    system.finish().await
}
