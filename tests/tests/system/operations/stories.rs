//! The story of an order: every step, and what came of it.

use anyhow::{Context, Result};
use chrono::{DateTime, Utc};
use contracts::{OrderState, Queue, ReturnState};
use messaging::TransportConfig;
use reqwest::Method;
use serde_json::{Value, json};
use standalone::Part;
use tests::books::{self, count};
use tests::waiting::SOON;
use tests::{System, shop};
use uuid::Uuid;

use super::ops;

fn time(value: &Value) -> Result<DateTime<Utc>> {
    Ok(value.as_str().with_context(|| format!("a time: {value}"))?.parse()?)
}

fn list<'a>(of: &'a Value, name: &str) -> &'a [Value] {
    of[name].as_array().map_or(&[], Vec::as_slice)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_is_followed_from_its_first_command_to_its_refund() -> Result<()> {
    let system = System::start_via(&TransportConfig::default(), &Part::ALL).await?;
    let (api, pool) = (&system.api, &system.database.pool);
    let mut body = shop::order_of_person("Zaverchand");
    body["customer_id"] = json!("Zaverchand");
    let placed = api.call(Method::POST, "/orders").header("X-Actor", "Zaverchand").json(&body).send().await?;
    let order = placed.expect(201).order();
    let order = shop::bring(api, order, OrderState::Delivered).await?;
    let mut body = shop::return_of(&order, 0, 1);
    body["reason"] = json!("Zaverchand does not like it");
    let returned = api.post("/returns", &body).await?.expect(201).returned();
    let returned = shop::bring_return(api, returned, ReturnState::Completed).await?;
    for queue in Queue::JOBS {
        books::drained(pool, queue, SOON).await?;
    }
    books::settled(pool).await?;

    let number = returned.order_number.to_string();
    let story = api.get(&format!("/ops/stories/{number}")).await?.expect(200).json();
    let steps = list(&story, "steps");
    assert_eq!(i64::try_from(steps.len())?, count(pool, "select count(*) from command.state_transitions").await?);
    let kinds = ["order", "return", "refund", "invoice", "credit_note"];
    assert!(kinds.iter().all(|kind| steps.iter().any(|step| step["entity_type"] == *kind)), "{story:#}");
    for step in steps {
        let (event, at) = (&step["event"], time(&step["at"])?);
        assert!(event["published"] == true && time(&event["published_at"])? > at, "{step:#}");
        for job in list(event, "jobs") {
            let moments = [&job["received_at"], &job["started_at"], &job["finished_at"]].map(time);
            let [received, started, finished] = moments;
            let in_order = [at, received?, started?, finished?].is_sorted();
            assert!(in_order && job["status"] == "done", "{step:#}");
        }
    }
    let jobs = steps.iter().map(|step| list(&step["event"], "jobs").len()).sum::<usize>();
    assert_eq!(i64::try_from(jobs)?, count(pool, "select count(*) from messaging.inbox").await?);
    assert!(steps.iter().any(|step| !list(&step["event"], "emails").is_empty()));
    assert_eq!(list(&story, "refunds").iter().map(|refund| &refund["status"]).collect::<Vec<_>>(), ["PROCESSED"]);
    let documents: Vec<_> = list(&story, "documents").iter().map(|document| &document["kind"]).collect();
    assert_eq!(documents, ["invoice", "credit_note"]);

    // By each of its numbers and ids it is the same order.
    let event: Uuid = sqlx::query_scalar("select event_id from messaging.outbox where event_type = 'return.completed'")
        .fetch_one(pool)
        .await?;
    let invoice = list(&story, "documents")[0]["number"].as_str().context("a number")?.replace('/', "%2F");
    let refund = list(&story, "refunds")[0]["id"].as_str().context("an id")?.to_owned();
    for of in [returned.order_id.to_string(), returned.id.to_string(), refund, event.to_string(), invoice] {
        let same = api.get(&format!("/ops/stories/{of}")).await?.expect(200).json();
        assert_eq!((&same["order_number"], list(&same, "steps").len()), (&story["order_number"], steps.len()), "{of}");
    }
    for none in ["AC-NONE", "%00", "%ff", &"A".repeat(65), &Uuid::nil().to_string()] {
        let unknown = api.get(&format!("/ops/stories/{none}")).await?.expect(404).json();
        assert_eq!(unknown["error"]["code"], "ORDER_NOT_FOUND", "{none}");
    }

    // An operator sees what happened, and not to whom.
    assert!(!story.to_string().contains("Zaverchand"), "{story:#}");
    assert_eq!(steps[0]["actor"], "customer");

    let table = ops(&system.database, &["order", &number]).await?.exited(0).out;
    for text in [number.as_str(), "job refunds", "e-mail order", "REQUESTED → APPROVED", "credit_note"] {
        assert!(table.contains(text), "{text} is not in\n{table}");
    }
    let none = ops(&system.database, &["order", "AC-NONE"]).await?.exited(1).err;
    assert!(none.contains("no order has the number or id \"AC-NONE\""), "{none}");
    system.finish().await
}
