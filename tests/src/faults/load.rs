//! Customers and staff who order, ship and return. They repeat every request under its key until they get an answer.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use contracts::{
    IDEMPOTENCY_KEY_HEADER, InvoiceDocument, OrderDocument, OrderState, ReturnDocument, ReturnState, day_in_india, irn,
};
use rand::RngExt;
use rand::rngs::StdRng;
use reqwest::Method;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use super::book::Book;
use super::stage::Stage;
use super::tally::Tally;
use super::{Plan, chance};
use crate::{Answer, Api, portal, shop};

/// Concurrent customers.
const CUSTOMERS: u32 = 8;
/// Time-out of a request, after which the customer repeats it.
const PATIENCE: Duration = Duration::from_secs(4);
/// How long the staff wait for an invoice that is to be registered. In a storm they give up.
const INVOICED_WITHIN: Duration = Duration::from_secs(5);
/// Wait before the customer repeats a request.
const REPEAT: Duration = Duration::from_millis(150);
/// No fault of ours lasts so long. A request without an answer by then is a violation.
const AT_LAST: Duration = Duration::from_secs(90);

/// All customers.
#[derive(Debug)]
pub(super) struct Load {
    customers: JoinSet<()>,
    stop: CancellationToken,
}

impl Load {
    pub(super) fn start(stage: &Stage, plan: &Plan, book: &Arc<Book>, tally: &Arc<Tally>) -> Result<Self> {
        let (mut customers, stop) = (JoinSet::new(), CancellationToken::new());
        for number in 0..CUSTOMERS {
            let customer = Customer::new(stage, plan.seed, &format!("customer-{number}"), book, tally)?;
            let pause = Duration::from_secs_f64(f64::from(CUSTOMERS) / plan.orders_per_second);
            customers.spawn(customer.shop(pause, stop.clone()));
        }
        Ok(Self { customers, stop })
    }

    /// Lets every customer wait for the present answer, then stops them.
    pub(super) async fn stop(mut self) -> Result<()> {
        self.stop.cancel();
        while let Some(customer) = self.customers.join_next().await {
            customer?;
        }
        Ok(())
    }
}

/// One customer, and the staff who serve that customer.
pub(super) struct Customer {
    name: String,
    api: Api,
    query: Api,
    chance: StdRng,
    keys: u64,
    book: Arc<Book>,
    tally: Arc<Tally>,
}

/// An unexpected answer; the tally has recorded it.
#[derive(Debug)]
pub(super) struct Surprise;

impl Customer {
    pub(super) fn new(stage: &Stage, seed: u64, name: &str, book: &Arc<Book>, tally: &Arc<Tally>) -> Result<Self> {
        let api = |port: u16| Api::with_timeout(&format!("http://127.0.0.1:{port}/api/v1"), PATIENCE);
        Ok(Self {
            name: name.to_owned(),
            api: api(stage.ports.command)?,
            query: api(stage.ports.query)?,
            chance: chance(seed, name),
            keys: 0,
            book: book.clone(),
            tally: tally.clone(),
        })
    }

    async fn shop(mut self, pause: Duration, stop: CancellationToken) {
        let mut next = interval(pause);
        next.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // After an unexpected answer the customer gives up this order and places the next.
        while !stop.is_cancelled() {
            tokio::select! { () = stop.cancelled() => return, _ = next.tick() => {} }
            let _ = self.order_and_return(&stop).await;
        }
    }

    /// An order's whole life, or as much of it as there is time for.
    async fn order_and_return(&mut self, stop: &CancellationToken) -> Result<(), Surprise> {
        let mut order = self.place().await?;
        for (step, state) in [
            ("pay", OrderState::Paid),
            ("processing", OrderState::ProcessingInWarehouse),
            ("ship", OrderState::Shipped),
            ("deliver", OrderState::Delivered),
        ] {
            if stop.is_cancelled() {
                return Ok(());
            }
            let may_cancel = matches!(order.state, OrderState::PendingPayment | OrderState::Paid);
            if may_cancel && self.chance.random_bool(0.04) {
                self.step(&order, "cancel", OrderState::Cancelled).await?;
                return Ok(());
            }
            order = self.step(&order, step, state).await?;
        }
        if order.is_for_the_portal() {
            order = self.register(order, stop).await?;
        }
        for line in 0..order.items.len() {
            // The customer returns none, some or all units of a line, in one return or in several.
            let mut left = i64::from(order.items[line].quantity);
            while left > 0 && !stop.is_cancelled() && self.chance.random_bool(0.75) {
                let quantity = self.chance.random_range(1..=left);
                left -= quantity;
                self.send_back(&order, line, quantity, stop).await?;
            }
        }
        Ok(())
    }

    /// Places an order and remembers it.
    pub(super) async fn place(&mut self) -> Result<OrderDocument, Surprise> {
        let lines: Vec<_> = (0..self.chance.random_range(1..=3))
            .map(|_| (self.chance.random_range(1..=4), self.chance.random_range(10_000..=5_000_000)))
            .collect();
        let mut body = shop::order_of(&lines);
        for item in body["items"].as_array_mut().into_iter().flatten() {
            // What an invoice for the portal must have.
            item["hsn"] = json!("691200");
            item["gst_rate"] = json!(5);
        }
        body["customer_id"] = json!(self.name);
        body["billing_address"] = json!({ "name": "Rasa Interiors LLP", "line1": "2, Colaba Causeway", "city": "Mumbai",
                                          "state": "MH", "postal_code": "400005" });
        if self.chance.random_bool(0.25) {
            body["billing_address"]["gstin"] = json!(portal::BUYER);
        }
        body["discount_minor"] = json!(self.chance.random_range(0..=9_999));
        let order: OrderDocument = self.ask("/orders", &body, 201).await?;
        self.book.order(order.clone());
        Ok(order)
    }

    /// Takes an order a step further and remembers its state.
    pub(super) async fn step(
        &mut self,
        order: &OrderDocument,
        step: &str,
        state: OrderState,
    ) -> Result<OrderDocument, Surprise> {
        let after: OrderDocument = self.ask(&format!("/orders/{}/{step}", order.id), &json!({}), 200).await?;
        self.expect((after.id, after.state, after.version) == (order.id, state, order.version + 1), &after)?;
        self.book.order(after.clone());
        Ok(after)
    }

    /// Enters what the portal answered to the order's invoice, and often corrects it at once.
    async fn register(&mut self, order: OrderDocument, stop: &CancellationToken) -> Result<OrderDocument, Surprise> {
        let Some(invoice) = self.invoice(&order, stop).await else { return Ok(order) };
        let irn = irn(portal::SHOP, invoice.issued_at, "INV", &invoice.invoice_number);
        #[expect(clippy::cast_precision_loss, reason = "amounts are far below 2^53 paise")]
        let total = order.total_minor as f64 / 100.0;
        let file = json!({
            "SellerDtls": { "Gstin": portal::SHOP }, "BuyerDtls": { "Gstin": portal::BUYER }, "ValDtls": { "TotInvVal": total },
            "DocDtls": { "Typ": "INV", "No": invoice.invoice_number,
                         "Dt": day_in_india(invoice.issued_at).format("%d/%m/%Y").to_string() },
        });
        let mut answer = portal::answer_to(&file, &irn);
        let path = format!("/orders/{}", order.id);
        let mut after: OrderDocument = self.ask(&format!("{path}/e-invoice"), &answer, 200).await?;
        self.book.order(after.clone());
        if self.chance.random_bool(0.5) {
            answer["acknowledgement_number"] = json!("112610000000777");
            let corrected = json!({ "e_invoice": answer, "reason": "a digit was wrong" });
            after = self.send(Method::PATCH, &path, &corrected, 200).await?;
            self.book.order(after.clone());
        }
        self.tally.did("invoices registered");
        Ok(after)
    }

    /// `None`: it is not made in time.
    async fn invoice(&self, order: &OrderDocument, stop: &CancellationToken) -> Option<InvoiceDocument> {
        let until = Instant::now() + INVOICED_WITHIN;
        while Instant::now() < until && !stop.is_cancelled() {
            let seen = self.query.get(&format!("/orders/{}", order.id)).await.ok();
            let order = seen.and_then(|answer| serde_json::from_slice::<OrderDocument>(&answer.body).ok());
            if let Some(invoice) = order.and_then(|order| order.invoice) {
                return Some(invoice);
            }
            sleep(REPEAT).await;
        }
        None
    }

    async fn send_back(
        &mut self,
        order: &OrderDocument,
        line: usize,
        quantity: i64,
        stop: &CancellationToken,
    ) -> Result<(), Surprise> {
        let mut returned: ReturnDocument = self.ask("/returns", &shop::return_of(order, line, quantity), 201).await?;
        self.book.returned(returned.clone());
        let rejected = self.chance.random_bool(0.06);
        let steps: &[_] = if rejected {
            &[("reject", ReturnState::Rejected)]
        } else {
            &[
                ("approve", ReturnState::Approved),
                ("in-transit", ReturnState::InTransit),
                ("received", ReturnState::Received),
                ("complete", ReturnState::Completed),
            ]
        };
        for (step, state) in steps {
            if stop.is_cancelled() {
                return Ok(());
            }
            let path = format!("/returns/{}/{step}", returned.id);
            let after: ReturnDocument = self.ask(&path, &shop::return_step_body(step), 200).await?;
            self.expect((after.id, after.state, after.version) == (returned.id, *state, returned.version + 1), &after)?;
            self.book.returned(after.clone());
            returned = after;
        }
        Ok(())
    }

    async fn ask<T: DeserializeOwned>(&mut self, path: &str, body: &Value, status: u16) -> Result<T, Surprise> {
        self.send(Method::POST, path, body, status).await
    }

    /// Sends a command until it gets an answer. Any status but the expected one is either a reason to repeat it, with the
    /// same key, or unexpected.
    async fn send<T: DeserializeOwned>(
        &mut self,
        method: Method,
        path: &str,
        body: &Value,
        status: u16,
    ) -> Result<T, Surprise> {
        self.keys += 1;
        let key = format!("{}-{}", self.name, self.keys);
        let started = Instant::now();
        loop {
            let call = self.api.call(method.clone(), path).header(IDEMPOTENCY_KEY_HEADER, &key).json(body);
            match call.send().await {
                Ok(answer) if answer.status == status => {
                    return serde_json::from_slice(&answer.body).map_err(|_| self.surprised(path, &answer));
                }
                Ok(answer) if is_worth_repeating(&answer) => {}
                Ok(answer) => return Err(self.surprised(path, &answer)),
                Err(_) => {}
            }
            self.tally.did("requests repeated");
            if started.elapsed() > AT_LAST {
                self.tally.violated(format!("{method} {path} with the key {key} was not answered within {AT_LAST:?}"));
                return Err(Surprise);
            }
            sleep(REPEAT).await;
        }
    }

    fn surprised(&self, path: &str, answer: &Answer) -> Surprise {
        self.tally.violated(format!("{path} was answered {} {}", answer.status, answer.text()));
        Surprise
    }

    fn expect(&self, holds: bool, answer: &impl std::fmt::Debug) -> Result<(), Surprise> {
        if holds {
            return Ok(());
        }
        self.tally.violated(format!("a command was answered with {answer:?}"));
        Err(Surprise)
    }
}

/// The service is overloaded or broken, or still works on this very request.
fn is_worth_repeating(answer: &Answer) -> bool {
    let in_progress = answer.status == 409 && answer.text().contains("IDEMPOTENCY_KEY_IN_PROGRESS");
    in_progress || answer.status == 429 || answer.status >= 500
}
