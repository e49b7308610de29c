//! The requests, and scripts that send them.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use contracts::CONSISTENCY_TOKEN_HEADER;
use uuid::Uuid;

use crate::load::Script;

/// A realistic order: two items, both addresses.
const ORDER: &str = include_str!("../order.json");
/// An order with little more than it needs: ten million of its events, or two million such orders, must fit on a disk.
const SMALL_ORDER: &str = r#"{"customer_id":"CUST-2201","customer_email":"ananya.rao@example.com","items":[
    {"sku":"JBP-BOWL-18","title":"Blue pottery bowl, 18 cm","quantity":1,"unit_price_minor":219900}]}"#;
/// The life of an order, each step with its body.
pub(crate) const STEPS: [(&str, &str); 4] = [
    ("pay", r#"{"payment_transaction_id":"UPI-632514870011"}"#),
    ("processing", r#"{"actor":"warehouse.jaipur"}"#),
    ("ship", r#"{"actor":"warehouse.jaipur","carrier":"Blue Dart","tracking_number":"BD69351142IN"}"#),
    ("deliver", r#"{"actor":"courier.bluedart"}"#),
];
/// The life of a return, likewise.
pub(crate) const RETURN_STEPS: [(&str, &str); 4] = [
    ("approve", r#"{"actor":"returns.meera","approval_notes":"Unused, in its box"}"#),
    ("in-transit", r#"{"carrier":"Blue Dart","tracking_number":"BD69351143IN"}"#),
    ("received", r#"{"actor":"warehouse.jaipur"}"#),
    ("complete", r#"{"actor":"returns.meera"}"#),
];

/// The numbers of seeded orders that no script has used yet.
#[derive(Debug)]
pub(crate) struct Stock {
    next: AtomicU64,
    end: u64,
}

impl Stock {
    /// The orders from `first` to `last`.
    pub(crate) fn new(first: u64, last: u64) -> Arc<Self> {
        Arc::new(Self { next: AtomicU64::new(first), end: last })
    }

    pub(crate) fn take(&self) -> Option<u64> {
        let order = self.next.fetch_add(1, Ordering::Relaxed);
        (order <= self.end).then_some(order)
    }
}

/// The same requests with one more header.
pub(crate) fn with_header(mut script: Script, header: &str) -> Script {
    let header = format!("{header}\r\n").into_bytes();
    Box::new(move |into| {
        let start = into.len();
        let expected = script(into)?;
        let line = into[start..].windows(2).position(|two| two == b"\r\n").map_or(into.len(), |at| start + at + 2);
        into.splice(line..line, header.iter().copied());
        Some(expected)
    })
}

pub(crate) fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").into_bytes()
}

/// Reads a report of the query service.
pub(crate) fn report(path: &str) -> Vec<u8> {
    get(&format!("/api/v1/reports/{path}"))
}

/// Sends a body as an operator, who says who it is.
pub(crate) fn post_as_operator(path: &str, body: &serde_json::Value) -> Vec<u8> {
    let body = body.to_string();
    let length = body.len();
    format!(
        "POST /api/v1/{path} HTTP/1.1\r\nhost: localhost\r\nx-actor: bench\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

pub(crate) fn place() -> Vec<u8> {
    let mut request = Vec::new();
    write_place(&mut request, ORDER);
    request
}

pub(crate) fn place_small() -> Vec<u8> {
    let mut request = Vec::new();
    write_place(&mut request, SMALL_ORDER);
    request
}

/// Reads an order at the version of a consistency token, or a later one.
pub(crate) fn write_own_write(into: &mut Vec<u8>, order: Uuid, token: &str) {
    write!(
        into,
        "GET /api/v1/orders/{order} HTTP/1.1\r\nhost: localhost\r\n{CONSISTENCY_TOKEN_HEADER}: {token}\r\n\r\n"
    )
    .expect("writing to a Vec cannot fail");
}

/// Requests the return of one unit of an item.
pub(crate) fn write_return(into: &mut Vec<u8>, order: Uuid, item: Uuid) {
    let body = format!(
        r#"{{"order_id":"{order}","items":[{{"order_item_id":"{item}","quantity":1,"reason":"Chipped"}}],"reason":"Chipped"}}"#
    );
    post(into, format_args!("returns"), &body);
}

pub(crate) fn write_return_step(into: &mut Vec<u8>, returned: Uuid, step: usize) {
    let (verb, body) = RETURN_STEPS[step];
    post(into, format_args!("returns/{returned}/{verb}"), body);
}

/// Step 0 pays, step 3 delivers.
pub(crate) fn step(order: Uuid, step: usize) -> Vec<u8> {
    let mut request = Vec::new();
    write_step(&mut request, order, step);
    request
}

/// Places identical orders.
pub(crate) fn placing() -> Script {
    let request = place();
    Box::new(move |into| {
        into.extend_from_slice(&request);
        Some(201)
    })
}

/// Takes one order after the other from the stock through all its steps.
pub(crate) fn walking(stock: &Arc<Stock>) -> Script {
    let stock = Arc::clone(stock);
    let (mut order, mut step) = (Uuid::nil(), STEPS.len());
    Box::new(move |into| {
        if step == STEPS.len() {
            order = Uuid::from_u128(stock.take()?.into());
            step = 0;
        }
        write_step(into, order, step);
        step += 1;
        Some(200)
    })
}

/// Places an order, takes a seeded one through its steps, and repeats.
pub(crate) fn mixing(stock: &Arc<Stock>) -> Script {
    let (mut place, mut walk) = (placing(), walking(stock));
    let mut turns = (0..=STEPS.len()).cycle();
    Box::new(move |into| if turns.next() == Some(0) { place(into) } else { walk(into) })
}

/// Reads the orders 1 to `orders` in a scattered order: steps of a prime reach each of them once.
pub(crate) fn reading(turn: &Arc<AtomicU64>, orders: u64) -> Script {
    const PRIME: u64 = 7_368_787;
    let turn = Arc::clone(turn);
    Box::new(move |into| {
        let order = 1 + turn.fetch_add(PRIME, Ordering::Relaxed) % orders;
        let id = Uuid::from_u128(order.into());
        write!(into, "GET /api/v1/orders/{id} HTTP/1.1\r\nhost: localhost\r\n\r\n")
            .expect("writing to a Vec cannot fail");
        Some(200)
    })
}

fn write_place(into: &mut Vec<u8>, order: &str) {
    post(into, format_args!("orders"), order);
}

pub(crate) fn write_step(into: &mut Vec<u8>, order: Uuid, step: usize) {
    let (verb, body) = STEPS[step];
    post(into, format_args!("orders/{order}/{verb}"), body);
}

fn post(into: &mut Vec<u8>, path: std::fmt::Arguments<'_>, body: &str) {
    let length = body.len();
    write!(
        into,
        "POST /api/v1/{path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .expect("writing to a Vec cannot fail");
}
