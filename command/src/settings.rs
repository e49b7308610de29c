//! The command service's own settings.

use clap::builder::{PossibleValuesParser, TypedValueParser};
use domain::{Gstin, Named, RefundShipping};
use schedules::Expression;

use crate::taxation::Taxation;

const MIDNIGHT: &str = "0 0 * * *";

/// The command service's own settings.
#[derive(Debug, Clone, clap::Args)]
pub struct Settings {
    /// Statements in flight at once, for each kind of command (1 to 16). Commands on one aggregate go to the same batcher.
    #[arg(long, env = "COMMAND_BATCHERS", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=16))]
    pub command_batchers: u16,
    /// Commands committed together, at most (1 to 500).
    #[arg(long, env = "COMMAND_BATCH", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=500))]
    pub command_batch: u16,
    /// Days after the day of delivery in which a return may be requested.
    #[arg(long, env = "RETURN_WINDOW_DAYS", default_value_t = 30, value_parser = clap::value_parser!(u32).range(0..=3_650))]
    pub return_window_days: u32,
    /// Days after the day of the request in which a manager can review a return; after that it is rejected. Unset: it
    /// waits for ever.
    #[arg(long, env = "RETURN_REVIEW_DAYS", value_parser = clap::value_parser!(u32).range(1..=365))]
    pub return_review_days: Option<u32>,
    /// When returns that were not reviewed in time are rejected, and their customers told: minute, hour, day of month,
    /// month, day of week.
    #[arg(long, env = "RETURN_REVIEW_CRON", default_value = MIDNIGHT)]
    pub return_review_cron: Expression,
    /// The time zone of return windows, reviews and GST rates.
    #[arg(long, env = "BUSINESS_TIMEZONE", default_value = "Asia/Kolkata", value_parser = runtime::config::timezone)]
    pub business_timezone: chrono_tz::Tz,
    /// Whether an order can have several returns, until nothing is left, or one.
    #[arg(long, env = "RETURNS_PER_ORDER", value_enum, default_value_t)]
    pub returns_per_order: ReturnsPerOrder,
    /// How much of the shipping a return refunds: nothing, all of it with the return after which nothing of the order is
    /// left, or each unit's share with the unit.
    #[arg(long, env = "REFUND_SHIPPING", default_value_t = RefundShipping::FullReturn, value_parser = refund_shipping())]
    pub refund_shipping: RefundShipping,
    /// The shop's GST identification number. Unset: the shop is not registered, and no order is taxed.
    #[arg(long, env = "SUPPLIER_GSTIN", value_parser = Gstin::parse)]
    pub supplier_gstin: Option<Gstin>,
    /// Whether prices, discounts and shipping include the GST, or it is added to them.
    #[arg(long, env = "PRICES_INCLUDE_TAX", default_value_t = true, action = clap::ArgAction::Set)]
    pub prices_include_tax: bool,
    /// Hours for which the answer to an `Idempotency-Key` is kept.
    #[arg(long, env = "IDEMPOTENCY_RETENTION_HOURS", default_value_t = 24, value_parser = clap::value_parser!(u32).range(1..=8_760))]
    pub idempotency_retention_hours: u32,
}

/// How many returns an order can have. Rejected ones do not count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum ReturnsPerOrder {
    #[default]
    Many,
    One,
}

/// Reads one of the names that `domain` gives the values.
fn refund_shipping() -> impl TypedValueParser<Value = RefundShipping> {
    PossibleValuesParser::new(RefundShipping::NAMES.iter().copied())
        .try_map(|name| RefundShipping::from_name(&name).ok_or("is not a known value"))
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            command_batchers: 2,
            command_batch: 64,
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
    pub(crate) fn return_policy(&self) -> domain::ReturnPolicy {
        domain::ReturnPolicy {
            window_days: self.return_window_days,
            timezone: self.business_timezone,
            one_return_per_order: self.returns_per_order == ReturnsPerOrder::One,
            shipping: self.refund_shipping,
        }
    }

    pub(crate) fn taxation(&self) -> Taxation {
        Taxation {
            supplier: self.supplier_gstin.clone(),
            prices_include_tax: self.prices_include_tax,
            timezone: self.business_timezone,
        }
    }
}
