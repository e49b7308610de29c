//! Concurrent commands: in one process, and in two processes on one database.

use std::collections::BTreeMap;

use anyhow::Result;
use contracts::OrderState;
use futures_util::future::{join_all, try_join_all};
use serde_json::json;
use standalone::Part;
use tests::{Answer, Api, System, books, shop};

/// How many answers have each status.
fn statuses<'a>(answers: impl IntoIterator<Item = &'a Answer>) -> BTreeMap<u16, usize> {
    let mut count = BTreeMap::new();
    for answer in answers {
        *count.entry(answer.status).or_default() += 1;
    }
    count
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_cancel_and_processing_on_a_paid_order_exactly_one_wins() -> Result<()> {
    let system = System::commands_only().await?;
    let second = system.second_command_process().await?;
    let mut winners = BTreeMap::new();
    for round in 0..60 {
        let order = shop::order_in(&system.api, OrderState::Paid).await?.id;
        // Alternates: both in one process, then one in each.
        let other = if round % 2 == 0 { &system.api } else { &second.api };
        let (cancel, processing) =
            tokio::try_join!(shop::step(&system.api, order, "cancel"), shop::step(other, order, "processing"))?;
        let loser = match (cancel.status, processing.status) {
            (200, 409) => processing,
            (409, 200) => cancel,
            other => panic!("round {round}: {other:?}"),
        };
        let lost_to = loser.refused(409, "INVALID_STATE_TRANSITION").details["current_state"].to_string();
        *winners.entry(lost_to).or_insert(0) += 1;
        assert_eq!(books::rows_about(&system.database.pool, order).await?, (3, 3), "round {round}");
    }
    assert!(winners.keys().all(|state| state.contains("CANCELLED") || state.contains("PROCESSING")), "{winners:?}");
    second.stop().await?;
    system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_twelve_returns_of_two_units_exactly_two_succeed() -> Result<()> {
    let system = System::commands_only().await?;
    let second = system.second_command_process().await?;
    for _ in 0..5 {
        let order = shop::place(&system.api, &shop::order_of(&[(2, 50_000), (1, 70_000)])).await?;
        let order = shop::bring(&system.api, order, OrderState::Delivered).await?;
        let body = shop::return_of(&order, 0, 1);
        let requests = (0..12).map(|n| if n % 2 == 0 { &system.api } else { &second.api }.post("/returns", &body));
        let answers = try_join_all(requests).await?;
        assert_eq!(statuses(&answers), BTreeMap::from([(201, 2), (400, 10)]));
        for refused in answers.iter().filter(|answer| answer.status == 400) {
            let details = refused.refused(400, "RETURN_NOT_ALLOWED").details;
            assert_eq!(details["reason"], "QUANTITY_EXCEEDS_RETURNABLE");
            assert_eq!(details["item_ids"], json!([order.items[0].id]));
        }
    }
    second.stop().await?;
    system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_an_order_takes_one_return_only_the_first_of_many_succeeds() -> Result<()> {
    let system = System::start(|options| {
        options.parts = vec![Part::Command];
        options.command.returns_per_order = command::ReturnsPerOrder::One;
    })
    .await?;
    let second = system.second_command_process().await?;
    let order = shop::order_in(&system.api, OrderState::Delivered).await?;
    let body = shop::return_of(&order, 0, 1);
    let request_by_many = async || {
        try_join_all((0..8).map(|n| if n % 2 == 0 { &system.api } else { &second.api }.post("/returns", &body))).await
    };

    let answers = request_by_many().await?;
    assert_eq!(statuses(&answers), BTreeMap::from([(201, 1), (400, 7)]));
    for refused in answers.iter().filter(|answer| answer.status == 400) {
        assert_eq!(refused.refused(400, "RETURN_NOT_ALLOWED").details["reason"], "RETURN_ALREADY_EXISTS");
    }
    let first = answers.iter().find(|answer| answer.status == 201).map(Answer::returned).expect("one");
    shop::return_step(&system.api, first.id, "reject").await?.expect(200);
    assert_eq!(
        statuses(&request_by_many().await?),
        BTreeMap::from([(201, 1), (400, 7)]),
        "a rejected return does not count"
    );
    second.stop().await?;
    system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_orders_with_one_number_exactly_one_succeeds() -> Result<()> {
    let system = System::commands_only().await?;
    let second = system.second_command_process().await?;
    for round in 0..5 {
        let mut body = shop::order();
        body["order_number"] = format!("AC-RACE-{round}").into();
        let requests = (0..20).map(|n| if n % 2 == 0 { &system.api } else { &second.api }.post("/orders", &body));
        let answers = try_join_all(requests).await?;
        assert_eq!(statuses(&answers), BTreeMap::from([(201, 1), (409, 19)]));
        for refused in answers.iter().filter(|answer| answer.status == 409) {
            refused.refused(409, "ORDER_NUMBER_EXISTS");
        }
    }
    assert_eq!(books::row_counts(&system.database.pool).await?["command.orders"], 5);
    second.stop().await?;
    system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hundreds_of_commands_on_few_orders_make_only_legal_transitions() -> Result<()> {
    let system = System::commands_only().await?;
    let second = system.second_command_process().await?;
    let orders = try_join_all((0..4).map(|_| shop::order_in(&system.api, OrderState::PendingPayment))).await?;
    let steps = ["pay", "ship", "processing", "deliver", "cancel", "pay", "processing", "ship"];
    // Several commands on one aggregate wait at the same time. The service must execute them one after the other.
    let send = |n: usize| {
        let api: &Api = if n.is_multiple_of(3) { &second.api } else { &system.api };
        shop::step(api, orders[n % orders.len()].id, steps[(n / orders.len()) % steps.len()])
    };
    let answers: Vec<_> = join_all((0..400).map(send)).await.into_iter().collect::<Result<_>>()?;
    assert!(statuses(&answers).keys().all(|status| [200, 409].contains(status)), "{:?}", statuses(&answers));

    for order in &orders {
        let versions: Vec<i32> = answers
            .iter()
            .filter(|a| a.status == 200)
            .map(Answer::order)
            .filter(|o| o.id == order.id)
            .map(|o| o.version)
            .collect();
        let (audit, outbox) = books::rows_about(&system.database.pool, order.id).await?;
        assert_eq!(audit, outbox);
        assert!(audit > 1, "no command was executed on {}", order.id);
        assert_eq!(versions.iter().max().copied().map(i64::from), Some(audit), "every answered version was committed");
    }
    second.stop().await?;
    system.finish().await
}
