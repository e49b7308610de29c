//! The requests, and scripts that send them.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use uuid::Uuid;

use crate::load::Script;

/// A realistic order: two items, both addresses.
const ORDER: &str = include_str!("../order.json");
/// The life of an order, each step with its body.
const STEPS: [(&str, &str); 4] = [
    ("pay", r#"{"payment_transaction_id":"UPI-632514870011"}"#),
    ("processing", r#"{"actor":"warehouse.jaipur"}"#),
    ("ship", r#"{"actor":"warehouse.jaipur","carrier":"Blue Dart","tracking_number":"BD69351142IN"}"#),
    ("deliver", r#"{"actor":"courier.bluedart"}"#),
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

    fn take(&self) -> Option<u64> {
        let order = self.next.fetch_add(1, Ordering::Relaxed);
        (order <= self.end).then_some(order)
    }
}

pub(crate) fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: bench\r\n\r\n").into_bytes()
}

/// Reads a report of the query service.
pub(crate) fn report(path: &str) -> Vec<u8> {
    get(&format!("/api/v1/reports/{path}"))
}

pub(crate) fn place() -> Vec<u8> {
    let mut request = Vec::new();
    post(&mut request, format_args!(""), ORDER);
    request
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
        write!(into, "GET /api/v1/orders/{id} HTTP/1.1\r\nhost: bench\r\n\r\n").expect("writing to a Vec cannot fail");
        Some(200)
    })
}

fn write_step(into: &mut Vec<u8>, order: Uuid, step: usize) {
    let (verb, body) = STEPS[step];
    post(into, format_args!("/{order}/{verb}"), body);
}

fn post(into: &mut Vec<u8>, path: std::fmt::Arguments<'_>, body: &str) {
    let length = body.len();
    write!(
        into,
        "POST /api/v1/orders{path} HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .expect("writing to a Vec cannot fail");
}
