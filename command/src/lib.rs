//! REST writes: every command commits state, audit row and outbox row together.
//!
//! The path of a command, in reading order:
//! 1. [`api`]: a route parses the body into a command, and later turns the outcome into the answer;
//! 2. [`context`] and [`idempotency`]: who sends the command, when and why, under which key, at which version;
//! 3. [`place_order`] and [`transition`]: commands that touch one row, in batches. [`taxation`] says which GST an order bears.
//!    [`request_return`], [`receive_return`], [`complete_return`], [`cancel_order`], [`withdraw_return`], [`ship_order`], [`goodwill`], [`refunds`], [`correct`] (with [`amend`]) and [`notes`]: commands that depend
//!    on what has been taken of an order ([`order_books`]), each a transaction of its own under the order's lock
//!    ([`under_lock`]). [`dispatch`] says which step takes which way;
//!    [`quote`] and [`preview_return`] answer what a command would do, and write nothing;
//! 4. [`batcher`]: commands that arrive while a commit is in flight form the next batch;
//! 5. [`store`]: the SQL. A batch is one statement;
//! 6. [`outcome`]: how a command ends; [`document`]: the document that it answers with.
//!
//! Beside it: [`backpressure`] refuses commands while too many events wait; [`maintenance`] deletes old idempotency keys and rejects returns that were not reviewed in time;
//! [`republish`] writes a snapshot of every order, return and refund into the outbox, from which read models can be rebuilt.
//!
//! [`without_http`] executes batches for the benchmarks.
//!
//! Invariant: whether a transition is legal is decided by `domain`'s table and nowhere else; SQL gets it as data.

mod settings;
mod api;
mod context;
mod idempotency;
mod place_order;
mod transition;
mod under_lock;
mod order_books;
mod request_return;
mod receive_return;
mod complete_return;
mod cancel_order;
mod withdraw_return;
mod ship_order;
mod goodwill;
mod refunds;
mod correct;
mod amend;
mod addresses;
mod entries;
mod quote;
mod preview_return;
mod e_invoice;
mod dispatch;
mod taxation;
mod batcher;
mod backpressure;
mod store;
mod document;
mod outcome;
mod maintenance;
mod republish;
#[doc(hidden)]
pub mod without_http;

use std::sync::Arc;
use std::time::Duration;

use access::{Access, ConsistencyKey};
use domain::{OrderState, ReturnState};
use messaging::Hint;
use runtime::{Clock, Ids, Tasks};
use sqlx::PgPool;

use backpressure::Backpressure;
use batcher::Batchers;
use place_order::Placements;
use transition::Transitions;

pub use api::openapi;
pub use domain::{Gstin, RefundShipping};
pub use republish::republish;
pub use settings::{ReturnsPerOrder, Settings, TooFewConnections};

/// What every operation needs.
#[derive(Clone)]
struct App(Arc<Inner>);

struct Inner {
    pool: PgPool,
    clock: Clock,
    ids: Ids,
    policy: domain::ReturnPolicy,
    taxation: taxation::Taxation,
    order_transitions: Batchers<Transitions<OrderState>>,
    return_transitions: Batchers<Transitions<ReturnState>>,
    placements: Batchers<Placements>,
    in_flight: idempotency::InFlight,
    consistency_key: ConsistencyKey,
    /// Whether commands that move money need an idempotency key.
    requires_key: bool,
    /// How long a command may wait before it is executed.
    deadline: Duration,
    backpressure: Backpressure,
    hint: Hint,
}

impl std::ops::Deref for App {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl App {
    fn start(
        pool: PgPool,
        settings: &Settings,
        clock: Clock,
        ids: Ids,
        consistency_key: ConsistencyKey,
        tasks: &Tasks,
    ) -> Self {
        let hint = Hint::start(&pool, messaging::outbox::CHANNEL, tasks);
        let size = batcher::Size {
            batchers: settings.command_batchers.into(),
            batch: settings.command_batch.into(),
            deadline: settings.command_deadline,
        };
        Self(Arc::new(Inner {
            policy: settings.return_policy(),
            taxation: settings.taxation(),
            order_transitions: Batchers::start(&pool, size, &hint, tasks),
            return_transitions: Batchers::start(&pool, size, &hint, tasks),
            placements: Batchers::start(&pool, size, &hint, tasks),
            in_flight: idempotency::InFlight::default(),
            consistency_key,
            requires_key: settings.require_idempotency_key,
            deadline: settings.command_deadline,
            backpressure: Backpressure::start(&pool, settings.outbox_max_pending, tasks),
            pool,
            clock,
            ids,
            hint,
        }))
    }
}

/// Starts the service's background tasks and returns its routes.
///
/// # Errors
/// When the pool is too small for the batchers.
pub fn start(
    pool: PgPool,
    settings: &Settings,
    clock: Clock,
    ids: Ids,
    access: &Access,
    consistency_key: ConsistencyKey,
    tasks: &Tasks,
) -> Result<axum::Router, TooFewConnections> {
    settings.check_connections(pool.options().get_max_connections())?;
    let app = App::start(pool, settings, clock, ids, consistency_key, tasks);
    maintenance::start(&app, settings, tasks);
    let routes = backpressure::guard(&app, api::routes(app.clone()));
    Ok(access.guard(routes))
}
