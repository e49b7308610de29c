//! Invoices in a bucket, on a real S3 server.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use contracts::{OrderState, ReturnState};
use embedded::child::{Child, Signal, bound_to_parent};
use embedded::free_port;
use storage::{InvoiceStore, OpenError, StoreError, open_with};
use tests::servers::S3;
use tests::waiting::SOON;
use tests::{Api, Database, books, eventually, programs, shop};

use super::operations::ops_with;

#[tokio::test]
async fn what_is_put_into_a_bucket_is_read_back_and_replaced() -> Result<()> {
    let s3 = S3::start().await?;
    let store = open_with("s3://shop/bills/2026", s3.environment()).await?;
    for number in ["AC-1", "AC/1", "AC%2F1", "a b#1", "..", "ऑर्डर/1", "ক+ক?&="] {
        let name = InvoiceStore::invoice_name(number);
        assert!(matches!(store.get(&name).await, Err(StoreError::NotFound(missing)) if missing == name), "{number}");
        for content in [format!("%PDF-1 {number}"), format!("%PDF-1 {number}, replaced")] {
            store.put(&name, Bytes::from(content.clone())).await?;
            let file = store.get(&name).await?;
            assert_eq!(file.size, content.len() as u64, "{number}");
            assert_eq!(file.bytes().await?, content, "{number}");
        }
        assert_eq!(store.display_path(&name), format!("s3://shop/bills/2026/{name}"));
    }
    let elsewhere = open_with("s3://shop", s3.environment()).await?;
    assert!(matches!(elsewhere.get("invoice_AC-1.pdf").await, Err(StoreError::NotFound(_))), "the prefix counts");
    assert!(store.unfinished_uploads(Duration::ZERO)?.is_empty(), "an upload leaves no partial object");
    Ok(store.check().await?)
}

#[tokio::test]
async fn an_unusable_bucket_is_refused_with_advice() -> Result<()> {
    let s3 = S3::start().await?;
    let refusal = open_with("s3://missing/bills", s3.environment()).await.expect_err("no such bucket").to_string();
    assert!(
        refusal.contains("INVOICE_STORE_URL=s3://missing/bills") && refusal.contains("create the bucket"),
        "{refusal}"
    );

    let locked = S3::start_locked().await?;
    let refusal = open_with("s3://shop", locked.environment()).await.expect_err("an unknown key").to_string();
    assert!(refusal.contains("check AWS_ACCESS_KEY_ID") && !refusal.contains("hush"), "{refusal}");
    Ok(())
}

#[tokio::test]
async fn an_unreachable_bucket_does_not_stop_the_start() -> Result<()> {
    let gone = S3::start().await?.environment();
    let store = open_with("s3://shop", gone).await.context("a process starts without it")?;
    let unreachable = store.check().await.expect_err("the server is gone");
    assert!(matches!(unreachable, OpenError::Unreachable { .. }), "{unreachable}");
    assert!(unreachable.to_string().contains("AWS_ENDPOINT_URL"), "{unreachable}");
    let failed = store.put("invoice_AC-1.pdf", Bytes::from_static(b"%PDF")).await.expect_err("the server is gone");
    assert!(matches!(failed, StoreError::Failed(_)), "{failed}");
    Ok(())
}

/// Everything in one process, with its invoices in the bucket.
async fn standalone(database: &Database, s3: &S3) -> Result<(Child, Api)> {
    let folder = tokio::task::spawn_blocking(programs::folder).await?;
    let port = free_port()?;
    let mut command = bound_to_parent(Signal::SIGKILL, folder.join("standalone"));
    command.arg("run").env_clear().envs(programs::environment());
    command.env("DATABASE_URL", &database.url).env("DATA_DIR", tests::services::folder("standalone")?);
    command.env("PORT", port.to_string()).env("GATEWAY_PORT", free_port()?.to_string());
    command.env("INVOICE_STORE_URL", "s3://shop/bills").envs(s3.environment());
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let child = Child::spawn("standalone", command)?;
    let base = format!("http://127.0.0.1:{port}");
    let health = Api::new(&base)?;
    let ready = eventually("standalone is ready", SOON, async || {
        Ok(health.get("/health/ready").await.ok().filter(|answer| answer.status == 200))
    });
    assert_eq!(ready.await?.json()["checks"]["invoice store"], "ok");
    Ok((child, Api::new(&format!("{base}/api/v1"))?))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_system_keeps_its_invoices_in_a_bucket_and_an_audit_finds_them_there() -> Result<()> {
    let (s3, database) = (S3::start().await?, Database::new().await?);
    let (system, api) = standalone(&database, &s3).await?;
    shop::order_in(&api, OrderState::Shipped).await?;
    let returned = shop::return_in(&api, ReturnState::Completed).await?;
    books::settled(&database.pool).await?;

    let order = api.get(&format!("/orders/{}", returned.order_id)).await?.expect(200).order();
    let invoice = order.invoice.context("an invoice")?;
    let served = api.get(&format!("/orders/{}/invoice", order.id)).await?.expect(200);
    assert_eq!(served.header("etag"), format!("\"{}\"", invoice.sha256));
    let store = open_with("s3://shop/bills", s3.environment()).await?;
    assert_eq!(store.get(&invoice.path).await?.bytes().await?, served.body, "the API serves the object in the bucket");
    let note = api.get(&format!("/returns/{}/credit-note", returned.id)).await?.expect(200);
    assert!(note.body.starts_with(b"%PDF"));

    let audit = async || {
        let variables = s3.environment();
        let mut environment: Vec<_> = variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        environment.extend([("DATABASE_URL", database.url.as_str()), ("AUDIT_INVOICE_STORE_URL", "s3://shop/bills")]);
        ops_with(&environment, &["audit", "--json"]).await
    };
    let report = audit().await?.exited(0).json();
    assert_eq!((&report["rules"][6]["rule"], &report["rules"][6]["status"]), (&7.into(), &"holds".into()), "{report}");
    store.put(&invoice.path, Bytes::from_static(b"%PDF-1.4 another")).await?;
    let report = audit().await?.exited(1).json();
    assert_eq!(report["rules"][6]["status"], "violated", "{report}");
    tokio::task::spawn_blocking(move || system.stop(Signal::SIGTERM, SOON)).await?;
    Ok(())
}
