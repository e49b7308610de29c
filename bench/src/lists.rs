//! Every list over a million orders: what a page costs with each filter, in each order, and deep in the list.

use std::net::SocketAddr;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use chrono::Days;
use messaging::TransportConfig;
use runtime::Clock;
use serde_json::{Value, json};
use standalone::Part;

use crate::Plan;
use crate::client::Connection;
use crate::load::Latencies;
use crate::report::{Figure, Row};
use crate::requests;
use crate::system::System;

const ORDERS: u64 = 1_000_000;
/// Requests per list; the values of its filter differ.
const TIMES: u64 = 60;
/// Requests before them, which have every plan made and every index opened.
const WARM_UP: u64 = 5;
const AIM_MS: f64 = 50.0;
/// Pages that lead into the depth of the list.
const DEEP: usize = 40;

/// `{n}` is the number of an order.
const LISTS: [(&str, &str); 17] = [
    ("orders, newest", "orders"),
    ("of 100", "orders?limit=100"),
    ("summary of 100", "orders?limit=100&view=summary"),
    ("by change", "orders?sort=-updated_at"),
    ("one rare state", "orders?state=SHIPPED"),
    ("three states", "orders?state=PAID,SHIPPED,CANCELLED"),
    ("a customer", "orders?customer_id=CUST-{customer}"),
    ("an e-mail address", "orders?email=c{customer}@example.com"),
    ("a number", "orders?order_number=AC-20260101-{padded}"),
    ("a payment", "orders?payment_transaction_id=UPI-{n}"),
    ("a parcel", "orders?tracking_number=BD{n}IN"),
    ("a SKU", "orders?sku=SKU-{sku}"),
    ("two words", "orders?q=name{name}+blue"),
    ("words of all", "orders?q=blue+pottery"),
    ("a month, counted", "orders?created_from={from}&created_to={to}&total=true"),
    ("returns", "returns?state=COMPLETED"),
    ("refunds", "refunds?status=PROCESSED"),
];
const ISSUED: [(&str, &str); 3] =
    [("invoices", "invoices"), ("one invoice", "invoices?number=AC%2F26-27%2F{n}"), ("credit notes", "credit-notes")];

pub(crate) async fn measure(system: &System, plan: &Plan) -> Result<Vec<Row>> {
    let sample = system.sample_order().await?;
    let database = system.database("ours").await?;
    let orders = plan.share(ORDERS);
    database.seed_lists(&sample, orders).await?;
    database.settle().await?;
    let work = async |address| {
        let mut figures = Vec::new();
        for (name, path) in LISTS.into_iter().chain(ISSUED) {
            figures.push(Figure::new(name, one(address, path, orders).await?.per_mille(950)).at_most(AIM_MS));
        }
        figures.push(Figure::new("deep page", deep(address).await?.per_mille(950)).at_most(AIM_MS));
        Ok(figures)
    };
    let figures = system.during(&database, &[Part::Query], TransportConfig::default(), work).await?;
    system.drop(database).await?;
    let what = format!("lists over {orders} orders, p95 of {TIMES} requests");
    Ok(vec![Row::figures(what, "ms", figures, json!({}))])
}

async fn one(address: SocketAddr, path: &str, orders: u64) -> Result<Latencies> {
    let mut connection = Connection::open(address).await?;
    let (today, mut times) = (Clock::system().now().date_naive(), Vec::new());
    for turn in 0..WARM_UP + TIMES {
        // Every tenth of the numbers is delivered and has a return.
        let n = 1 + (turn * 7_368_790) % orders / 10 * 10;
        let path = path
            .replace("{n}", &n.to_string())
            .replace("{from}", &(today - Days::new(60)).to_string())
            .replace("{to}", &(today - Days::new(30)).to_string())
            .replace("{padded}", &format!("{n:08}"))
            .replace("{customer}", &(n % 50_000).to_string())
            .replace("{sku}", &(n % 5_000).to_string())
            .replace("{name}", &(n % 3_000).to_string());
        let request = requests::get(&format!("/api/v1/{path}"));
        let started = Instant::now();
        let body = connection.exchange(&request, 200).await?;
        let took = started.elapsed();
        ensure!(!body.starts_with(b"{\"data\":[]"), "{path} finds nothing");
        if turn >= WARM_UP {
            times.push(took);
        }
    }
    Latencies::new(times)
}

/// Pages of 100 after the 4,000th entry.
async fn deep(address: SocketAddr) -> Result<Latencies> {
    let mut connection = Connection::open(address).await?;
    let (mut cursor, mut times) = (String::new(), Vec::new());
    for page in 0..DEEP + usize::try_from(TIMES)? {
        let request = requests::get(&format!("/api/v1/orders?limit=100&fields=id{cursor}"));
        let started = Instant::now();
        let body = connection.exchange(&request, 200).await?;
        if page >= DEEP {
            times.push(started.elapsed());
        }
        let body: Value = serde_json::from_slice(body)?;
        cursor = format!("&cursor={}", body["next_cursor"].as_str().context("the list goes on")?);
    }
    Latencies::new(times)
}
