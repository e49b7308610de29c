//! `docs/asyncapi.yml` says what is sent.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use boon::{Compiler, Schemas};
use contracts::{OrderState, ReturnState};
use serde_json::{Value, json};
use standalone::Part;
use tests::programs::root;
use tests::waiting::SOON;
use tests::{System, books, eventually, shop};

const NAME: &str = "urn:asyncapi";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_event_is_as_described() -> Result<()> {
    let described: Value = yaml_serde::from_str(&std::fs::read_to_string(root().join("docs/asyncapi.yml"))?)?;
    let mut compiler = Compiler::new();
    compiler.add_resource(NAME, described).map_err(|error| anyhow::anyhow!("{error}"))?;
    let mut schemas = Schemas::new();

    let system = System::start(|options| options.parts = Part::ALL.to_vec()).await?;
    let (api, pool) = (&system.api, &system.database.pool);
    shop::bring(api, shop::place(api, &shop::order()).await?, OrderState::Paid).await?;
    let cancelled = shop::order_in(api, OrderState::Paid).await?;
    api.post(&format!("/orders/{}/cancel", cancelled.id), &json!({})).await?.expect(200);
    let order = shop::order_in(api, OrderState::Delivered).await?;
    let refused = shop::request_return(api, &order, 0, 1).await?;
    shop::bring_return(api, refused, ReturnState::Rejected).await?;
    let returned = shop::request_return(api, &order, 0, 1).await?;
    shop::bring_return(api, returned, ReturnState::Completed).await?;
    eventually("the credit note is made", SOON, async || {
        let notes = api.get("/credit-notes").await?.expect(200).json();
        Ok(notes["data"][0].is_object().then_some(()))
    })
    .await?;
    let path = format!("/orders/{}", order.id);
    api.patch(&path, &json!({ "metadata": { "shelf": "7" } })).await?.expect(200);
    books::settled(pool).await?;

    let page = api.get("/events?limit=500").await?.expect(200).json();
    let mut seen = BTreeSet::new();
    for event in page["data"].as_array().context("a list")? {
        let name = event["type"].as_str().context("a type")?;
        let schema = compiler.compile(&format!("{NAME}#/components/schemas/{name}"), &mut schemas);
        let schema = schema.map_err(|error| anyhow::anyhow!("{name}: {error}"))?;
        schemas.validate(event, schema).map_err(|error| anyhow::anyhow!("{name}: {error:#}"))?;
        seen.insert(name.to_owned());
    }
    let all = [
        "order.created",
        "order.paid",
        "order.processing",
        "order.shipped",
        "order.delivered",
        "order.cancelled",
        "order.updated",
        "return.requested",
        "return.rejected",
        "return.approved",
        "return.in_transit",
        "return.received",
        "return.completed",
        "invoice.generated",
        "credit_note.generated",
        "refund.initiated",
        "refund.processed",
    ];
    let missing: Vec<_> = all.into_iter().filter(|name| !seen.contains(*name)).collect();
    assert!(missing.is_empty(), "{missing:?}");

    // The schema can say no.
    let mut wrong = page["data"][0].clone();
    wrong["data"]["object"]["total_minor"] = json!("much");
    let schema = compiler.compile(&format!("{NAME}#/components/schemas/order.created"), &mut schemas);
    schemas.validate(&wrong, schema.map_err(|error| anyhow::anyhow!("{error}"))?).expect_err("a text is no amount");
    system.finish().await
}
