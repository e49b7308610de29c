//! REST writes: every command commits state, audit row and outbox row together.
//!
//! The way of a command, in reading order:
//! - [`api`]: routes; a body is parsed and checked, an outcome becomes an answer;
//! - [`intent`]: who wants what, under which key and condition: what every command carries besides its own data;
//! - [`transitions`], [`placing`], [`returning`]: the three kinds of commands; [`taxing`]: what an order bears of GST;
//! - [`expiry`]: what nobody has reviewed in time is rejected by the clock;
//! - [`lanes`]: commands that arrive while a commit is in flight form the next slice;
//! - [`store`]: the SQL; a slice is one statement;
//! - [`snapshots`]: every order and return told again, for read models that are made anew.
//!
//! Invariant: whether a transition is legal stands in `domain`'s table and nowhere else; SQL gets it as data.

mod api;
mod intent;
mod transitions;
mod placing;
mod returning;
mod taxing;
mod expiry;
mod lanes;
mod store;
pub mod snapshots;
mod upkeep;

use std::sync::Arc;

use messaging::Hint;
use runtime::{Clock, Ids, Tasks};
use schedules::Expression;
use sqlx::PgPool;

pub use api::openapi;
pub use domain::Gstin;

const MIDNIGHT: &str = "0 0 * * *";

/// The command service's own settings.
#[derive(Debug, Clone, clap::Args)]
pub struct Settings {
    /// Statements in flight at once, for each kind of command (1 to 16). Commands on one aggregate share a lane.
    #[arg(long, env = "COMMAND_LANES", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=16))]
    pub command_lanes: u16,
    /// Commands committed together at most (1 to 500).
    #[arg(long, env = "COMMAND_SLICE", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=500))]
    pub command_slice: u16,
    /// Days after the day of delivery in which a return may be requested.
    #[arg(long, env = "RETURN_WINDOW_DAYS", default_value_t = 30, value_parser = clap::value_parser!(u32).range(0..=3_650))]
    pub return_window_days: u32,
    /// Days after the day of the request in which a manager reviews a return; after that it is rejected. Unset: it waits.
    #[arg(long, env = "RETURN_REVIEW_DAYS", value_parser = clap::value_parser!(u32).range(1..=365))]
    pub return_review_days: Option<u32>,
    /// When returns that nobody has reviewed in time are rejected, and their customers told: minute, hour, day of month,
    /// month, day of week.
    #[arg(long, env = "RETURN_REVIEW_CRON", default_value = MIDNIGHT)]
    pub return_review_cron: Expression,
    /// Where a day begins and ends.
    #[arg(long, env = "BUSINESS_TIMEZONE", default_value = "Asia/Kolkata", value_parser = runtime::config::timezone)]
    pub business_timezone: chrono_tz::Tz,
    /// Whether an order takes several returns until nothing is left, or one.
    #[arg(long, env = "RETURNS_PER_ORDER", value_enum, default_value_t)]
    pub returns_per_order: ReturnsPerOrder,
    /// What a return gives back of the shipping: nothing, all of it with the return after which nothing of the order is left,
    /// or each unit's share with the unit.
    #[arg(long, env = "REFUND_SHIPPING", value_enum, default_value_t)]
    pub refund_shipping: RefundShipping,
    /// The shop's GST identification number. Without one it is not registered, and no order is taxed.
    #[arg(long, env = "SUPPLIER_GSTIN", value_parser = Gstin::parse)]
    pub supplier_gstin: Option<Gstin>,
    /// Whether prices, discounts and shipping contain the GST, or it comes on top.
    #[arg(long, env = "PRICES_INCLUDE_TAX", default_value_t = true, action = clap::ArgAction::Set)]
    pub prices_include_tax: bool,
    /// Hours for which the answer to an `Idempotency-Key` is kept.
    #[arg(long, env = "IDEMPOTENCY_RETENTION_HOURS", default_value_t = 24, value_parser = clap::value_parser!(u32).range(1..=8_760))]
    pub idempotency_retention_hours: u32,
}

/// How many returns an order takes; a rejected one does not count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum ReturnsPerOrder {
    #[default]
    Many,
    One,
}

/// What a return gives back of the shipping.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum RefundShipping {
    Never,
    #[default]
    FullReturn,
    EachUnit,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            command_lanes: 2,
            command_slice: 64,
            return_window_days: 30,
            return_review_days: None,
            return_review_cron: Expression::constant(MIDNIGHT),
            business_timezone: chrono_tz::Asia::Kolkata,
            returns_per_order: ReturnsPerOrder::Many,
            refund_shipping: RefundShipping::FullReturn,
            supplier_gstin: None,
            prices_include_tax: true,
            idempotency_retention_hours: 24,
        }
    }
}

impl Settings {
    fn return_policy(&self) -> domain::ReturnPolicy {
        domain::ReturnPolicy {
            window_days: self.return_window_days,
            timezone: self.business_timezone,
            one_return_per_order: self.returns_per_order == ReturnsPerOrder::One,
            shipping: match self.refund_shipping {
                RefundShipping::Never => domain::RefundShipping::Never,
                RefundShipping::FullReturn => domain::RefundShipping::FullReturn,
                RefundShipping::EachUnit => domain::RefundShipping::EachUnit,
            },
        }
    }

    fn taxation(&self) -> taxing::Taxation {
        taxing::Taxation {
            supplier: self.supplier_gstin.clone(),
            prices_include_tax: self.prices_include_tax,
            timezone: self.business_timezone,
        }
    }
}

/// What every handler needs.
#[derive(Clone)]
struct App(Arc<Inner>);

struct Inner {
    pool: PgPool,
    clock: Clock,
    ids: Ids,
    policy: domain::ReturnPolicy,
    taxation: taxing::Taxation,
    order_transitions: lanes::Lanes<store::OrderTransitions>,
    return_transitions: lanes::Lanes<store::ReturnTransitions>,
    placements: lanes::Lanes<store::Placements>,
    in_flight: intent::InFlight,
    hint: Hint,
}

impl std::ops::Deref for App {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

/// Starts the service's background tasks and returns its routes.
pub fn start(pool: PgPool, settings: &Settings, clock: Clock, ids: Ids, tasks: &Tasks) -> axum::Router {
    let hint = Hint::start(&pool, messaging::outbox::CHANNEL, tasks);
    tasks.spawn(
        "idempotency upkeep",
        upkeep::run(pool.clone(), clock.clone(), settings.idempotency_retention_hours, tasks.clone()),
    );
    let lanes = lanes::Size { lanes: settings.command_lanes.into(), slice: settings.command_slice.into() };
    let app = App(Arc::new(Inner {
        policy: settings.return_policy(),
        taxation: settings.taxation(),
        order_transitions: lanes::Lanes::start(store::OrderTransitions, &pool, lanes, &hint, tasks),
        return_transitions: lanes::Lanes::start(store::ReturnTransitions, &pool, lanes, &hint, tasks),
        placements: lanes::Lanes::start(store::Placements, &pool, lanes, &hint, tasks),
        in_flight: intent::InFlight::default(),
        pool,
        clock,
        ids,
        hint,
    }));
    expiry::start(&app, settings, &format!("command-{}", app.ids.next()), tasks);
    api::routes(app)
}
