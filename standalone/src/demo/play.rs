//! Plays the script: sends one command after the other, and reads back what each one wrote.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use contracts::money;
use contracts::{OrderDocument, ReturnDocument};
use serde_json::{Map, Value, json};

use super::client::{Answer, Client, Document, Timed, detail};
use super::script::{OrderScript, Script, Step};

/// The last responses, and what differed from the script.
#[derive(Debug, Default)]
pub(super) struct Played {
    pub(super) orders: Vec<Tracked<OrderDocument>>,
    pub(super) returns: Vec<Tracked<ReturnDocument>>,
    pub(super) commands: usize,
    /// The time of each read, from the command's response to the read model's.
    pub(super) reads: Vec<Duration>,
    pub(super) problems: Vec<String>,
}

/// A document as its last command returned it, with the token that makes a read wait for it.
#[derive(Debug)]
pub(super) struct Tracked<D> {
    pub(super) document: D,
    pub(super) token: String,
}

impl<D: Document> Tracked<D> {
    pub(super) fn path(&self) -> String {
        format!("{}/{}", D::PLURAL, self.document.id())
    }
}

pub(super) async fn play(client: &Client, script: &Script) -> Result<Played> {
    let mut played = Played::default();
    for order in &script.orders {
        play_order(client, order, &mut played).await?;
    }
    Ok(played)
}

async fn play_order(client: &Client, script: &OrderScript, played: &mut Played) -> Result<()> {
    let answered: Timed<OrderDocument> = client.command("orders", &script.order).await?;
    let took = answered.took;
    let mut order = first_document(answered)?;
    let lines = order.document.items.len();
    println!(
        "\n{}  {}  {}  {lines} item{}: {}",
        order.document.order_number,
        money(order.document.total_minor, &order.document.currency),
        destination(&order.document),
        if lines == 1 { "" } else { "s" },
        order.document.items[0].title,
    );
    played.read_back(client, "place", &order, took).await?;
    for step in &script.steps {
        if step.is_return() {
            play_return(client, step, &order.document, played).await?;
        } else {
            take(client, step, &mut order, played).await?;
        }
    }
    played.orders.push(order);
    Ok(())
}

async fn play_return(client: &Client, script: &Step, order: &OrderDocument, played: &mut Played) -> Result<()> {
    let requested: Timed<ReturnDocument> = client.command("returns", &return_body(&script.body, order)?).await?;
    let took = requested.took;
    let mut tracked = first_document(requested)?;
    played.read_back(client, "return", &tracked, took).await?;
    for step in &script.steps {
        take(client, step, &mut tracked, played).await?;
    }
    played.returns.push(tracked);
    Ok(())
}

/// Sends one command for an existing order or return.
async fn take<D: Document>(client: &Client, step: &Step, tracked: &mut Tracked<D>, played: &mut Played) -> Result<()> {
    let Timed { answer, status, took }: Timed<D> =
        client.command(&format!("{}/{}", tracked.path(), step.name), &step.body).await?;
    if status != step.expect {
        played.problems.push(format!("{} {}: status {status} instead of {}", tracked.path(), step.name, step.expect));
    }
    match answer {
        Answer::Refused(refusal) => {
            let code = &refusal.error.code;
            println!("  {:<11}{:<24}refused as expected: {status} {code}", step.name, tracked.document.state());
            if detail(&refusal, "current_state") != tracked.document.state() {
                played.problems.push(format!("{} {}: refused with {refusal:?}", tracked.path(), step.name));
            }
            Ok(())
        }
        Answer::Done { document, token } => {
            let expected = tracked.document.version() + i32::from(!step.unchanged);
            if document.version() != expected || (step.unchanged && document != tracked.document) {
                played.problems.push(format!("{} {}: not version {expected}", tracked.path(), step.name));
            }
            *tracked = Tracked { document, token };
            let name = if step.unchanged { format!("{} again", step.name) } else { step.name.clone() };
            played.read_back(client, &name, tracked, took).await
        }
    }
}

impl Played {
    /// Reads with the consistency token: the read model must equal the command's response.
    async fn read_back<D: Document>(
        &mut self,
        client: &Client,
        name: &str,
        tracked: &Tracked<D>,
        took: Duration,
    ) -> Result<()> {
        let started = Instant::now();
        let seen: D = client.read(&tracked.path(), &tracked.token).await?;
        let read = started.elapsed();
        println!(
            "  {name:<11}{:<24}written in {:>5}, read in {:>5}",
            tracked.document.state(),
            millis(took),
            millis(read)
        );
        if seen.without_effects() != tracked.document.clone().without_effects() {
            self.problems.push(format!("{} after {name}: the read model differs from the response", tracked.path()));
        }
        self.commands += 1;
        self.reads.push(read);
        Ok(())
    }
}

/// The rest of an order's script needs its first document, so a refusal ends the demo.
fn first_document<D: Document>(timed: Timed<D>) -> Result<Tracked<D>> {
    match timed.answer {
        Answer::Done { document, token } => Ok(Tracked { document, token }),
        Answer::Refused(refusal) => anyhow::bail!("POST /{} was refused: {refusal:?}", D::PLURAL),
    }
}

/// The script names items by SKU; the command needs their ids, which the response to the order contains.
fn return_body(script: &Map<String, Value>, order: &OrderDocument) -> Result<Value> {
    let mut body = script.clone();
    body.insert("order_id".to_owned(), json!(order.id));
    for item in body.get_mut("items").and_then(Value::as_array_mut).context("a return names its items")? {
        let item = item.as_object_mut().context("an item is an object")?;
        let sku = item.remove("sku").context("an item names its sku")?;
        let ordered =
            order.items.iter().find(|ordered| sku == ordered.sku.as_str()).context("the sku is in the order")?;
        item.insert("order_item_id".to_owned(), json!(ordered.id));
    }
    Ok(Value::Object(body))
}

fn destination(order: &OrderDocument) -> String {
    let address = order.shipping_address.clone().unwrap_or_default();
    [address.city, address.state].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

pub(super) fn millis(duration: Duration) -> String {
    format!("{:.0} ms", duration.as_secs_f64() * 1_000.0)
}
