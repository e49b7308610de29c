//! Customers who place orders and take them through their lives over HTTP, while something else is measured.
//!
//! Each connection is a customer with one order at a time. After placing it the customer reads it with the consistency token of
//! the answer: that is reading one's own write.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use contracts::CONSISTENCY_TOKEN_HEADER;
use serde::Deserialize;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::client::Connection;
use crate::load::{Pace, Schedule, on_own_thread};
use crate::requests::{self, RETURN_STEPS, STEPS, Stock};

/// How often a customer looks whether the gate has opened.
const GATE: Duration = Duration::from_millis(10);

/// What a customer does with an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Places it and reads it.
    OwnWrite,
    /// Also takes it to DELIVERED: five commands.
    UntilDelivered,
    /// Also returns an item of it, until the return is COMPLETED: ten commands.
    WholeLife,
}

impl Turn {
    /// The commands of one turn. Each makes an event.
    pub(crate) const fn commands(self) -> u64 {
        match self {
            Self::OwnWrite => 1,
            Self::UntilDelivered => 1 + STEPS.len() as u64,
            Self::WholeLife => 2 + (STEPS.len() + RETURN_STEPS.len()) as u64,
        }
    }
}

/// The customers.
#[derive(Debug, Clone)]
pub(crate) struct Traffic {
    pub(crate) address: SocketAddr,
    pub(crate) connections: u32,
    /// Orders per second over all connections, or as fast as they go.
    pub(crate) pace: Pace,
    pub(crate) turn: Turn,
    /// The request that places an order.
    pub(crate) order: Vec<u8>,
    /// How many orders; `None`: until the traffic is stopped.
    pub(crate) orders: Option<u64>,
    /// No customer starts an order while it is closed.
    pub(crate) gate: Arc<Gate>,
}

/// Holds customers back.
#[derive(Debug, Default)]
pub(crate) struct Gate(AtomicBool);

impl Gate {
    pub(crate) fn close(&self, closed: bool) {
        self.0.store(closed, Ordering::Relaxed);
    }

    async fn passed(&self, stop: &CancellationToken) {
        while self.0.load(Ordering::Relaxed) && !stop.is_cancelled() {
            tokio::time::sleep(GATE).await;
        }
    }
}

/// What the customers have measured since the last look.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// From when a command was due to the end of its response.
    pub(crate) commands: Vec<Duration>,
    /// From the request to the end of its response.
    pub(crate) reads: Vec<Duration>,
    /// Reads among them that were refused with 503, because the read model did not get there in time.
    pub(crate) refused: u64,
    /// Orders whose turn is over.
    pub(crate) orders: u64,
}

type Tallied = Arc<Mutex<Tally>>;

/// Traffic that runs.
#[derive(Debug)]
pub(crate) struct Running {
    tally: Tallied,
    stop: CancellationToken,
    generator: JoinHandle<Result<()>>,
}

impl Traffic {
    /// Customers who go on until they are stopped.
    pub(crate) fn new(address: SocketAddr, connections: u32, pace: Pace, turn: Turn) -> Self {
        Self { address, connections, pace, turn, order: requests::place(), orders: None, gate: Arc::default() }
    }

    pub(crate) fn start(self) -> Running {
        let (tally, stop) = (Tallied::default(), CancellationToken::new());
        let generator = {
            let (tally, stop) = (Arc::clone(&tally), stop.clone());
            on_own_thread(move || self.drive(tally, stop))
        };
        Running { tally, stop, generator }
    }

    async fn drive(self, tally: Tallied, stop: CancellationToken) -> Result<()> {
        let mut customers = JoinSet::new();
        let (start, stock) = (Instant::now(), Stock::new(1, self.orders.unwrap_or(u64::MAX)));
        for number in 0..self.connections {
            let connection = Connection::open(self.address).await?;
            let schedule = Schedule::new(self.pace, self.connections, number, start);
            let customer = Customer { connection, request: Vec::with_capacity(4_096), tally: Arc::clone(&tally) };
            customers.spawn(customer.shop(self.clone(), schedule, Arc::clone(&stock), stop.clone()));
        }
        while let Some(ended) = customers.join_next().await {
            ended??;
        }
        Ok(())
    }
}

impl Running {
    /// What was measured since the last call.
    ///
    /// # Errors
    /// When the customers have stopped early: an answer was not what they expected.
    pub(crate) fn take(&self) -> Result<Tally> {
        ensure!(!self.generator.is_finished() || self.stop.is_cancelled(), "the customers have stopped");
        Ok(self.take_last())
    }

    /// The same, also after the last order.
    pub(crate) fn take_last(&self) -> Tally {
        std::mem::take(&mut self.tally.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether all customers have ended: they are out of orders, or one has failed.
    pub(crate) fn has_ended(&self) -> bool {
        self.generator.is_finished()
    }

    /// Stops after the orders in hand.
    pub(crate) async fn stop(self) -> Result<()> {
        self.stop.cancel();
        self.end().await
    }

    /// Waits for the last order.
    pub(crate) async fn end(self) -> Result<()> {
        self.generator.await.context("the customers have crashed")?
    }
}

/// An order, or a return.
#[derive(Debug, Deserialize)]
struct Document {
    id: Uuid,
    items: Vec<Item>,
}

#[derive(Debug, Deserialize)]
struct Item {
    id: Uuid,
}

struct Customer {
    connection: Connection,
    request: Vec<u8>,
    tally: Tallied,
}

impl Customer {
    async fn shop(
        mut self,
        traffic: Traffic,
        mut schedule: Schedule,
        stock: Arc<Stock>,
        stop: CancellationToken,
    ) -> Result<()> {
        loop {
            traffic.gate.passed(&stop).await;
            let due = schedule.next().await;
            if stop.is_cancelled() || stock.take().is_none() {
                return Ok(());
            }
            self.turn(&traffic, due).await?;
            self.tally(|tally| tally.orders += 1);
        }
    }

    async fn turn(&mut self, Traffic { turn, order, .. }: &Traffic, due: Instant) -> Result<()> {
        self.request.clear();
        self.request.extend_from_slice(order);
        let placed: Document = self.command(due, 201).await?;
        self.read_own_write(placed.id).await?;
        if *turn == Turn::OwnWrite {
            return Ok(());
        }
        for step in 0..STEPS.len() {
            self.request.clear();
            requests::write_step(&mut self.request, placed.id, step);
            self.command(Instant::now(), 200).await?;
        }
        if *turn == Turn::UntilDelivered {
            return Ok(());
        }
        self.request.clear();
        requests::write_return(&mut self.request, placed.id, placed.items.first().context("an item")?.id);
        let returned = self.command(Instant::now(), 201).await?;
        for step in 0..RETURN_STEPS.len() {
            self.request.clear();
            requests::write_return_step(&mut self.request, returned.id, step);
            self.command(Instant::now(), 200).await?;
        }
        Ok(())
    }

    async fn command(&mut self, due: Instant, expected: u16) -> Result<Document> {
        let body = self.connection.exchange(&self.request, expected).await?;
        let took = due.elapsed();
        let document = serde_json::from_slice(body)?;
        self.tally(|tally| tally.commands.push(took));
        Ok(document)
    }

    async fn read_own_write(&mut self, order: Uuid) -> Result<()> {
        let token = self.connection.header(CONSISTENCY_TOKEN_HEADER).context("an answer without token")?;
        self.request.clear();
        requests::write_own_write(&mut self.request, order, token);
        let sent = Instant::now();
        let status = self.connection.send(&self.request).await?;
        let took = sent.elapsed();
        if !matches!(status, 200 | 503) {
            bail!("the read of an own write was answered with {status}");
        }
        self.tally(|tally| {
            tally.reads.push(took);
            tally.refused += u64::from(status == 503);
        });
        Ok(())
    }

    fn tally(&self, note: impl FnOnce(&mut Tally)) {
        note(&mut self.tally.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
