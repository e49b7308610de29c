//! API-SPECIFICATION.yml: generated from the code, and complete.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result};
use reqwest::Method;
use tests::{Api, System, description};

/// The operations of requirements R4, R5, R8, R10, R14 and R16.
const OPERATIONS: [&str; 100] = [
    "post /api/v1/orders",
    "post /api/v1/orders/{id}/pay",
    "post /api/v1/orders/{id}/processing",
    "post /api/v1/orders/{id}/ship",
    "post /api/v1/orders/{id}/deliver",
    "post /api/v1/orders/{id}/cancel",
    "patch /api/v1/orders/{id}/state",
    "patch /api/v1/orders/{id}",
    "post /api/v1/returns",
    "post /api/v1/returns/{id}/approve",
    "post /api/v1/returns/{id}/reject",
    "post /api/v1/returns/{id}/in-transit",
    "post /api/v1/returns/{id}/received",
    "post /api/v1/returns/{id}/complete",
    "patch /api/v1/returns/{id}/state",
    "patch /api/v1/returns/{id}",
    "post /api/v1/returns/{id}/withdraw",
    "post /api/v1/orders/{id}/refunds",
    "post /api/v1/orders/{id}/e-invoice",
    "post /api/v1/refunds/{id}/retry",
    "get /api/v1/orders",
    "get /api/v1/orders/{id}",
    "get /api/v1/orders/{id}/history",
    "get /api/v1/orders/{id}/e-invoice.json",
    "get /api/v1/orders/{id}/invoice",
    "get /api/v1/returns",
    "get /api/v1/returns/{id}",
    "get /api/v1/returns/{id}/history",
    "get /api/v1/returns/{id}/e-invoice.json",
    "get /api/v1/returns/{id}/credit-note",
    "get /api/v1/refunds",
    "get /api/v1/refunds/{id}",
    "get /api/v1/refunds/{id}/history",
    "get /api/v1/refunds/{id}/e-invoice.json",
    "get /api/v1/refunds/{id}/credit-note",
    "get /api/v1/reports/daily",
    "get /api/v1/reports/sales/daily",
    "get /api/v1/reports/orders-by-state",
    "get /api/v1/reports/returns",
    "get /api/v1/reports/refunds",
    "get /api/v1/reports/lead-times",
    "get /api/v1/reports/gst",
    "get /api/v1/reports/gst/gstr1.json",
    "get /api/v1/reports/gst/gstr1/{sheet}",
    "get /api/v1/ops/status",
    "get /api/v1/ops/stories/{of}",
    "get /api/v1/ops/stuck",
    "get /api/v1/ops/events/{id}",
    "post /api/v1/ops/replay",
    "post /api/v1/ops/events/{id}/skip",
    "post /api/v1/ops/events/{id}/release",
    "post /api/v1/ops/events/{id}/discard",
    "get /api/v1/ops/jobs",
    "get /api/v1/ops/keys",
    "post /api/v1/ops/keys",
    "post /api/v1/ops/keys/{id}/rotate",
    "post /api/v1/ops/keys/{id}/revoke",
    "post /api/v1/ops/jobs/retry",
    "get /api/v1/ops/queues",
    "post /api/v1/ops/queues/{queue}/pause",
    "post /api/v1/ops/queues/{queue}/resume",
    "get /api/v1/ops/actions",
    "get /api/v1/ops/bulk-acts",
    "post /api/v1/ops/bulk-acts",
    "post /api/v1/ops/bulk-acts/preview",
    "get /api/v1/ops/bulk-acts/{id}",
    "post /api/v1/ops/bulk-acts/{id}/cancel",
    "post /api/v1/ops/investigations",
    "post /api/v1/ops/investigations/close",
    "get /api/v1/ops/schedules",
    "post /api/v1/ops/schedules/{name}/run",
    "get /api/v1/ops/audit",
    "get /api/v1/ops/doctor",
    "get /api/v1/credit-notes",
    "get /api/v1/events",
    "post /api/v1/exports",
    "get /api/v1/exports",
    "get /api/v1/exports/{id}",
    "get /api/v1/exports/{id}/file",
    "get /api/v1/invoices",
    "get /api/v1/ops/webhooks",
    "post /api/v1/ops/webhooks",
    "get /api/v1/ops/webhooks/{id}",
    "patch /api/v1/ops/webhooks/{id}",
    "get /api/v1/ops/webhooks/{id}/deliveries",
    "get /api/v1/ops/webhooks/{id}/deliveries/{event_id}",
    "post /api/v1/ops/webhooks/{id}/deliveries/{event_id}/redeliver",
    "post /api/v1/ops/webhooks/{id}/delete",
    "post /api/v1/ops/webhooks/{id}/recover",
    "post /api/v1/ops/webhooks/{id}/rotate-secret",
    "post /api/v1/ops/webhooks/{id}/test",
    "post /api/v1/orders/quote",
    "post /api/v1/orders/transitions",
    "post /api/v1/orders/{id}/notes",
    "post /api/v1/orders/{id}/invoice/send",
    "post /api/v1/returns/preview",
    "post /gateway/callbacks",
    "post /refund",
    "get /refund/{key}",
    "get /refunds",
];

fn checked_in() -> Result<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../API-SPECIFICATION.yml");
    std::fs::read_to_string(&path).with_context(|| path.display().to_string())
}

/// The operations of the description, as in `get /api/v1/orders`.
fn operations(yaml: &str) -> BTreeSet<String> {
    let operations = description::operations(yaml).expect("a description");
    operations.iter().map(|one| format!("{} {}", one.method.to_lowercase(), one.path)).collect()
}

#[test]
fn the_checked_in_description_is_the_one_that_the_code_makes() -> Result<()> {
    let made = standalone::openapi::yaml()?;
    // Compares the whole text, so that even one word counts. The message shows the first difference.
    let checked_in = checked_in()?;
    let drift = made.lines().zip(checked_in.lines()).find(|(made, checked_in)| made != checked_in);
    assert!(made == checked_in, "`make openapi` brings it up to date; first difference: {drift:?}");
    Ok(())
}

#[test]
fn every_operation_of_the_requirements_is_described_and_no_other() -> Result<()> {
    let wanted: BTreeSet<String> = OPERATIONS.iter().map(ToString::to_string).collect();
    assert_eq!(operations(&checked_in()?), wanted);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_described_operation_exists() -> Result<()> {
    let system = System::start(|options| {
        options.parts = standalone::Part::ALL.to_vec();
        options.workers.pdf.chromium_path = Some("/there/is/no/browser".into());
        options.workers.gateway_webhook_secret = Some("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned().into());
    })
    .await?;
    let workers = Api::new(system.base_url())?;
    for operation in operations(&checked_in()?) {
        let (method, path) = operation.split_once(' ').context("a method and a path")?;
        let path = path.replace("{id}", "seven").replace("{key}", "seven").replace("{sheet}", "b2b.csv");
        let method = Method::from_bytes(method.to_uppercase().as_bytes())?;
        let answer = match path.strip_prefix("/api/v1") {
            Some(path) => system.api.call(method, path).send().await?,
            None if path.starts_with("/gateway/") => workers.call(method, &path).send().await?,
            None => system.gateway.call(method, &path).send().await?,
        };
        let code = answer.json()["error"]["code"].as_str().unwrap_or_default().to_owned();
        assert!(!["ROUTE_NOT_FOUND", "METHOD_NOT_ALLOWED"].contains(&code.as_str()), "{operation}: {code}");
        assert!(answer.status < 500, "{operation}: {}", answer.status);
    }
    system.finish().await
}
