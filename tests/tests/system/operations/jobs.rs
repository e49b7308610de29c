//! Finding jobs by what they are about and what went wrong.

use anyhow::Result;
use contracts::OrderState;
use serde_json::Value;
use standalone::Part;
use tests::waiting::{SOON, eventually_equal};
use tests::{System, books, shop};

use super::{die, ops};

fn types(jobs: &Value) -> Vec<&str> {
    jobs["jobs"].as_array().into_iter().flatten().filter_map(|job| job["event_type"].as_str()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_are_found_by_type_error_and_time() -> Result<()> {
    let parts = vec![Part::Command, Part::Relay, Part::Operations];
    let system = System::start(|options| options.parts = parts).await?;
    let pool = &system.database.pool;
    shop::order_in(&system.api, OrderState::Paid).await?;
    books::delivered(pool, SOON).await?;
    let mails = "select count(*) from messaging.inbox where queue = 'notifications'";
    eventually_equal("two e-mails", SOON, 2, async || books::count(pool, mails).await).await?;
    let dead = "update messaging.inbox as job
                set status = 'dead', attempts = 5, finished_at = clock_timestamp(), received_at = '2026-11-21T10:00:00Z',
                    last_error = case event_type when 'order.paid' then 'mail server: Timed Out' else 'mail server: 100% full' end
                from messaging.outbox as event where event.event_id = job.event_id and queue = 'notifications'";
    die(pool, dead).await?;

    let paid = &["order.paid"][..];
    let created = &["order.created"][..];
    for (query, found) in [
        ("", &["order.paid", "order.created"][..]),
        ("event_type=order.paid", paid),
        ("error=timed%20out", paid),
        ("error=100%25", created),
        ("error=mail&event_type=order.created&queue=notifications&status=dead", created),
        ("error=timed%20out&event_type=order.created", &[]),
        ("since=2026-11-21T10:00:00Z", &["order.paid", "order.created"]),
        ("since=2026-11-21T15:30:00%2B05:30", &["order.paid", "order.created"]),
        ("since=2026-11-21T10:00:00.001Z", &[]),
    ] {
        let jobs = system.api.get(&format!("/ops/jobs?{query}")).await?.expect(200).json();
        assert_eq!(types(&jobs), found, "{query}");
    }
    for (query, field) in [
        ("event_type=order.eaten", "event_type"),
        ("event_type=", "event_type"),
        ("error=", "error"),
        (&*format!("error={}", "x".repeat(201)), "error"),
        ("since=yesterday", "since"),
        ("since=0001-01-01T00:00:00Z", "since"),
        ("since=2h", "since"),
    ] {
        let refused = system.api.get(&format!("/ops/jobs?{query}")).await?.refused(422, "VALIDATION_FAILED");
        let details = serde_json::to_string(&refused.details)?;
        assert!(details.contains(&format!("\"{field}\"")), "{query}: {details}");
    }
    for (arguments, found) in [
        (&["--type", "order.paid"][..], paid),
        (&["--error", "TIMED out"], paid),
        (&["--since", "2h"], &[]),
        (&["--since", "100years"], &["order.paid", "order.created"]),
    ] {
        let jobs = ops(&system.database, &[&["jobs", "--json"], arguments].concat()).await?.exited(0).json();
        assert_eq!(types(&jobs), found, "{arguments:?}");
    }
    system.stop().await?;
    Ok(())
}

/// A list ends at its limit, and looks no further. What is stuck counts those that it does not list.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_jobs_beyond_a_limit_are_counted_and_not_looked_up() -> Result<()> {
    let parts = vec![Part::Command, Part::Relay, Part::Operations];
    let system = System::start(|options| options.parts = parts).await?;
    let pool = &system.database.pool;
    for _ in 0..3 {
        shop::order_in(&system.api, OrderState::Paid).await?;
    }
    books::delivered(pool, SOON).await?;
    let mails = "select count(*) from messaging.inbox where queue = 'notifications'";
    eventually_equal("six e-mails", SOON, 6, async || books::count(pool, mails).await).await?;
    let dead = "update messaging.inbox
                set status = 'dead', attempts = 5, finished_at = clock_timestamp(), received_at = messaging.time_of(event_id),
                    last_error = case when event_id = (select min(event_id::text)::uuid from messaging.inbox where queue = 'notifications')
                                     then 'mail server: timed out' else 'mail server: full' end
                where queue = 'notifications'";
    die(pool, dead).await?;
    let in_order: Vec<String> =
        sqlx::query_scalar("select event_id::text from messaging.dead_letters order by event_id")
            .fetch_all(pool)
            .await?;

    let stuck = system.api.get("/ops/stuck?limit=2").await?.expect(200).json();
    assert_eq!(stuck["jobs_total"], 6);
    assert_eq!(ids(&stuck), in_order[..2]);
    let newest: Vec<_> = in_order.iter().rev().take(2).cloned().collect();
    for query in ["limit=2", "limit=2&status=dead", "limit=2&queue=notifications&error=mail"] {
        assert_eq!(ids(&system.api.get(&format!("/ops/jobs?{query}")).await?.expect(200).json()), newest, "{query}");
    }
    let oldest = system.api.get("/ops/jobs?limit=2&error=timed+out").await?.expect(200).json();
    assert_eq!(ids(&oldest), in_order[..1]);
    system.stop().await?;
    Ok(())
}

fn ids(list: &Value) -> Vec<String> {
    let ids = list["jobs"].as_array().into_iter().flatten().filter_map(|job| job["event_id"].as_str());
    ids.map(str::to_owned).collect()
}
