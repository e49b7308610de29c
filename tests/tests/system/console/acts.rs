//! Acts, and what the console says came of them.

use anyhow::{Context, Result};
use contracts::{OrderState, ReturnState};
use serde_json::json;
use standalone::Part;
use tests::waiting::SOON;
use tests::{System, books, eventually, shop};
use uuid::Uuid;

use super::{Browser, encoded};
use crate::operations::{die, execute};

/// Follows the page of an act until it says this.
async fn comes_of(browser: &mut Browser, path: &str, sentence: &str) -> Result<()> {
    let mut seen = String::new();
    let said = eventually(sentence, SOON, async || {
        let page = browser.open(path).await?.expect(200);
        let said = page.text.contains(sentence);
        seen = page.text;
        Ok(said.then_some(()))
    })
    .await;
    said.with_context(|| seen)
}

/// The one job of the queue of the e-mails, as if its last attempt had failed.
pub(super) async fn dead_mail(system: &System) -> Result<Uuid> {
    let pool = &system.database.pool;
    let job = "select event_id from messaging.inbox where queue = 'notifications'";
    let id = eventually("an e-mail", SOON, async || Ok(sqlx::query_scalar(job).fetch_optional(pool).await?)).await?;
    let dead = "update messaging.inbox set status = 'dead', attempts = 5, finished_at = clock_timestamp(),
                       last_error = 'mail server said 451 to <b>meera</b> meera@example.in' where queue = 'notifications'";
    die(pool, dead).await?;
    Ok(id)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_job_is_found_understood_and_mended() -> Result<()> {
    let system = System::start(|_| {}).await?;
    shop::order_in(&system.api, OrderState::PendingPayment).await?;
    let id = dead_mail(&system).await?.to_string();
    let mut browser = Browser::of(&system)?;
    browser.open("/console").await?.expect(200).has("1 job makes no progress");
    let stuck = browser.open("/console/stuck").await?.expect(200);
    stuck
        .has("<strong>1 job</strong> of notifications")
        .has("mail server said")
        .has("Retry (1)")
        .lacks("<b>meera</b>")
        .lacks("meera@");
    browser.open("/console/find?q=state:dead+queue:notifications+error:\"451\"").await?.expect(200).has(&id);
    browser.open("/console/find?q=state:dead+error:timeout").await?.expect(200).has("No such job").lacks(&id);
    let event = browser.open(&format!("/console/find?q={id}")).await?.expect(200);
    event.has("Edit and retry");

    let token = stuck.form_token();
    let whole = [
        ("act", "retry"),
        ("event_ids", &*id),
        ("queue", "notifications"),
        ("actor", "anita"),
        ("reason", "the mail server is back"),
        ("form_token", &*token),
    ];
    for (field, code) in [("form_token", 422), ("act", 422), ("event_ids", 422), ("reason", 422), ("actor", 422)] {
        let without: Vec<_> = whole.into_iter().filter(|(name, _)| *name != field).collect();
        browser.send("/console/act", &without).await?.expect(code);
    }
    let forged = whole.map(|(name, value)| (name, if name == "form_token" { "AAAA" } else { value }));
    browser.send("/console/act", &forged).await?.expect(403).has("FORM_EXPIRED");
    let actions = "select count(*) from messaging.operator_actions";
    assert_eq!(books::count(&system.database.pool, actions).await?, 0, "nothing of that has changed anything");

    let done = browser.send("/console/act", &whole).await?.expect(200);
    done.has("1 retried: 1 waiting for a worker.").has("the mail server is back").has("data-follow");
    let another = browser.send("/console/act", &whole).await?;
    another.expect(409).has("JOB_NOT_DEAD");
    assert!(
        browser.open("/console/stuck").await?.text.contains("value=\"anita\"")
            || browser.cookies.contains_key("articurated_name")
    );
    let database = system.stop().await?;

    let system =
        System::start_on(database, |options| options.parts = vec![Part::Workers, Part::Operations, Part::Gateway])
            .await?;
    let mut browser = Browser::of(&system)?;
    comes_of(&mut browser, &done.path, "1 retried: 1 done.").await?;
    browser.open(&done.path).await?.lacks("data-follow");
    let log = browser.open("/console/log?text=MAIL+SERVER&actor=anita").await?.expect(200);
    log.has("RETRY").has("CONSOLE");
    browser.open("/console/log?action=SKIP").await?.expect(200).has("No operator action");
    browser
        .open("/console/log.csv")
        .await?
        .expect(200)
        .has(",\"anita\",\"CONSOLE\",\"RETRY\",\"1\",\"the mail server is back\",");
    system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_says_what_became_of_each_event() -> Result<()> {
    let system = System::start(|_| {}).await?;
    shop::order_in(&system.api, OrderState::ProcessingInWarehouse).await?;
    let pool = &system.database.pool;
    books::delivered(pool, SOON).await?;
    let ids: Vec<Uuid> =
        sqlx::query_scalar("select event_id from messaging.outbox order by position").fetch_all(pool).await?;
    assert_eq!(ids.len(), 3);
    let ids = ids.iter().map(Uuid::to_string).collect::<Vec<_>>().join(" ");
    let mut browser = Browser::of(&system)?;
    let token = browser.open("/console").await?.form_token();
    let fields = [
        ("act", "replay"),
        ("event_ids", &*ids),
        ("actor", "anita"),
        ("reason", "a new consumer"),
        ("form_token", &*token),
    ];
    let replayed = browser.send("/console/act", &fields).await?.expect(200);
    comes_of(&mut browser, &replayed.path, "3 replayed: 3 delivered.").await?;

    let skip = fields.map(|(name, value)| (name, if name == "act" { "skip" } else { value }));
    browser.send("/console/act", &skip).await?.expect(409).has("Nothing was changed");
    system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_is_paused_and_resumed() -> Result<()> {
    let system = System::start(|_| {}).await?;
    let mut browser = Browser::of(&system)?;
    let token = browser.open("/console").await?.expect(200).form_token();
    let fields = [
        ("act", "pause"),
        ("queue", "refunds"),
        ("actor", "anita"),
        ("reason", "the bank is closed"),
        ("form_token", &*token),
    ];
    browser.send("/console/act", &fields).await?.expect(200).has("The queue was paused");
    browser.open("/console").await?.expect(200).has("by anita: the bank is closed").has("Resume");
    let resume = fields.map(|(name, value)| (name, if name == "act" { "resume" } else { value }));
    browser.send("/console/act", &resume).await?.expect(200).has("The queue was resumed");
    browser.open("/console").await?.expect(200).lacks("by anita: the bank is closed").lacks("Resume");
    system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schedule_is_run_and_its_page_says_what_it_did() -> Result<()> {
    let system = System::start(|_| {}).await?;
    let mut browser = Browser::of(&system)?;
    let led =
        "select count(*) from messaging.schedules where name = 'partition_maintenance' and lease_owner is not null";
    eventually("a leader", SOON, async || Ok((books::count(&system.database.pool, led).await? == 1).then_some(())))
        .await?;
    let page = browser.open("/console/schedules").await?.expect(200);
    let token = page.has("value=\"partition_maintenance\"").has("Run now").form_token();
    let fields = [
        ("act", "run"),
        ("schedule", "partition_maintenance"),
        ("actor", "anita"),
        ("reason", "room is needed"),
        ("form_token", &*token),
    ];
    let act = browser.send("/console/act", &fields).await?.expect(200);
    comes_of(&mut browser, &act.path, "partition_maintenance has run: {").await?;
    let unknown = fields.map(|(name, value)| (name, if name == "schedule" { "none" } else { value }));
    browser.send("/console/act", &unknown).await?.expect(404).has("ops schedules lists them");
    system.finish().await
}

/// What an event says of a customer is shown to one who says why, and the log has it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payload_is_hidden_until_it_is_asked_for() -> Result<()> {
    let system = System::start(|_| {}).await?;
    let mut body = shop::order_of_person("Zaverchand");
    body["customer_id"] = json!("Zaverchand");
    system
        .api
        .call(reqwest::Method::POST, "/orders")
        .header("X-Actor", "Zaverchand")
        .json(&body)
        .send()
        .await?
        .expect(201);
    let id: Uuid = sqlx::query_scalar("select event_id from messaging.outbox").fetch_one(&system.database.pool).await?;
    let path = format!("/console/events/{id}");
    let mut browser = Browser::of(&system)?;
    let hidden = browser.open(&path).await?.expect(200);
    hidden.has("(hidden)").has("PENDING_PAYMENT").lacks("Zaverchand");
    let token = hidden.form_token();
    browser
        .send(&path, &[("form_token", &token), ("actor", "anita"), ("reason", " ")])
        .await?
        .expect(422)
        .lacks("Zaverchand");
    let shown = browser.send(&path, &[("form_token", &token), ("actor", "anita"), ("reason", "a complaint")]).await?;
    shown.expect(200).has("Zaverchand").has("REVEAL");
    let log = "select count(*) from messaging.operator_actions where action = 'REVEAL' and actor = 'anita' and reason = 'a complaint'";
    assert_eq!(books::count(&system.database.pool, log).await?, 1);
    system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_is_found_by_all_its_names() -> Result<()> {
    let system = System::start(|options| options.parts = Part::ALL.to_vec()).await?;
    let returned = shop::return_in(&system.api, ReturnState::Completed).await?;
    books::settled(&system.database.pool).await?;
    let mut browser = Browser::of(&system)?;
    let number = returned.order_number.to_string();
    let invoice: String =
        sqlx::query_scalar("select invoice_number from work.invoices").fetch_one(&system.database.pool).await?;
    for name in [&number, &returned.order_id.to_string(), &invoice] {
        let found = browser.open(&format!("/console/find?q={}", name.replace('/', "%2F"))).await?.expect(200);
        found.has(&format!("<h1>Order {number}</h1>")).has("return.completed").has(&invoice).has("job credit_notes");
    }
    browser.open("/console/find?q=nothing-like-it").await?.expect(200).has("Nothing is called");

    let shop = &system.api;
    let shipped = shop::order_in(shop, OrderState::ProcessingInWarehouse).await?;
    let parcel = json!({ "carrier": "India Post", "tracking_number": "EE123456789IN" });
    shop.post(&format!("/orders/{}/ship", shipped.id), &parcel).await?.expect(200);
    let paid = json!({ "payment_transaction_id": "upi-77" });
    let another = shop::order_in(shop, OrderState::PendingPayment).await?;
    shop.post(&format!("/orders/{}/pay", another.id), &paid).await?.expect(200);
    books::settled(&system.database.pool).await?;
    let refund: String =
        sqlx::query_scalar("select transaction_id from command.refunds where transaction_id is not null")
            .fetch_one(&system.database.pool)
            .await?;
    for (name, order) in [
        (&*refund, &number),
        ("EE123456789IN", &shipped.order_number.to_string()),
        ("upi-77", &another.order_number.to_string()),
    ] {
        browser
            .open(&format!("/console/find?q={}", encoded(name)))
            .await?
            .expect(200)
            .has(&format!("<h1>Order {order}</h1>"));
    }
    for (name, by) in [("meera@example.com", "e-mail"), ("cust-1", "customer")] {
        let many = browser.open(&format!("/console/find?q={}", encoded(name))).await?.expect(200);
        many.has("<h1>Find</h1>").has(&number).has(&shipped.order_number.to_string()).has(&format!("<td>{by}</td>"));
    }
    system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_discarded_and_released_is_said() -> Result<()> {
    let system = System::start(|_| {}).await?;
    shop::order_in(&system.api, OrderState::PendingPayment).await?;
    let id = dead_mail(&system).await?.to_string();
    let later = "insert into messaging.inbox (queue, event_id, aggregate_id, aggregate_version, run_at, last_error)
                 select 'invoices', event_id, aggregate_id, aggregate_version, clock_timestamp() + interval '1 hour', 'no'
                 from messaging.outbox";
    execute(&system.database.pool, later).await?;
    let mut browser = Browser::of(&system)?;
    let token = browser.open("/console/stuck").await?.expect(200).form_token();
    let act =
        |verb| [("act", verb), ("event_ids", &*id), ("actor", "anita"), ("reason", "a trial"), ("form_token", &*token)];
    let discarded = browser.send("/console/act", &act("discard")).await?.expect(200);
    discarded.has("1 discarded: 1 discarded.").has("notifications").lacks("<td>invoices</td>");
    let released = browser.send("/console/act", &act("release")).await?.expect(200);
    released.has("1 released: 1 waiting for a worker.").has("invoices").lacks("<td>notifications</td>");
    browser.send("/console/act", &act("release")).await?.expect(409).has("NOTHING_TO_RELEASE");
    execute(&system.database.pool, "delete from messaging.inbox where queue = 'invoices'").await?;
    system.finish().await
}
