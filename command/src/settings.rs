//! The command service's own settings.

use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use domain::{GstRate, Gstin, Named, RefundShipping};
use schedules::Expression;

use crate::taxation::Taxation;

const MIDNIGHT: &str = "0 0 * * *";
/// Placements, transitions of orders and transitions of returns have batchers.
const KINDS_OF_BATCHERS: u32 = 3;
/// Connections for what has no batcher: requests for returns, hints, schedules, readiness.
const OTHER_CONNECTIONS: u32 = 4;

/// The batchers would take the connections that everything else needs.
#[derive(Debug, thiserror::Error)]
#[error(
    "COMMAND_BATCHERS={batchers} needs {needed} connections ({KINDS_OF_BATCHERS} times {batchers}, and \
     {OTHER_CONNECTIONS} for all else), but DATABASE_MAX_CONNECTIONS is {most}: raise that to {needed}, or lower \
     COMMAND_BATCHERS"
)]
pub struct TooFewConnections {
    batchers: u16,
    most: u32,
    needed: u32,
}

/// The command service's own settings.
#[derive(Debug, Clone, clap::Args)]
pub struct Settings {
    /// Statements in flight at once, for each kind of command (1 to 16). Commands on one aggregate go to the same batcher.
    #[arg(long, env = "COMMAND_BATCHERS", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=16))]
    pub command_batchers: u16,
    /// Commands committed together, at most (1 to 500).
    #[arg(long, env = "COMMAND_BATCH", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=500))]
    pub command_batch: u16,
    /// Seconds after which a command that is still waiting is not executed any more, and is answered 503.
    #[arg(long = "command-deadline-seconds", env = "COMMAND_DEADLINE_SECONDS", default_value = "10",
          value_parser = runtime::config::seconds)]
    pub command_deadline: Duration,
    /// Events that may wait for the relay; beyond that commands are refused (503 `OUTBOX_FULL`), and reads go on.
    #[arg(long, env = "OUTBOX_MAX_PENDING", default_value_t = 10_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub outbox_max_pending: u64,
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
    /// The time zone of return windows and reviews. What the law dates, it dates in India.
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
    /// GST in per cent of items that come without a rate and whose HSN code has none in the table. Unset: a registered shop refuses
    /// them.
    #[arg(long, env = "DEFAULT_GST_RATE", value_parser = default_rate)]
    pub default_gst_rate: Option<GstRate>,
    /// The reference number (ARN) of the shop's letter of undertaking: exports and supplies to special economic zones bear no tax.
    /// It holds for one financial year. Unset: they bear IGST.
    #[arg(long, env = "LUT_REFERENCE", value_parser = lut_reference)]
    pub lut_reference: Option<String>,
    /// Whether the shop must register its invoices to registered buyers and its exports at an invoice registration portal. Orders that
    /// lack what the portal requires are then refused.
    #[arg(long, env = "E_INVOICING", default_value_t = false, action = clap::ArgAction::Set)]
    pub e_invoicing: bool,
    /// Whether prices, discounts and shipping include the GST, or it is added to them.
    #[arg(long, env = "PRICES_INCLUDE_TAX", default_value_t = true, action = clap::ArgAction::Set)]
    pub prices_include_tax: bool,
    /// Whether commands that move money (place, pay, cancel, complete, give back, retry) are refused without an `Idempotency-Key`.
    #[arg(long, env = "REQUIRE_IDEMPOTENCY_KEY", default_value_t = false, action = clap::ArgAction::Set)]
    pub require_idempotency_key: bool,
    /// Hours for which the answer to an `Idempotency-Key` is kept.
    #[arg(long, env = "IDEMPOTENCY_RETENTION_HOURS", default_value_t = 168, value_parser = clap::value_parser!(u32).range(1..=8_760))]
    pub idempotency_retention_hours: u32,
}

/// How many returns an order can have. Rejected ones do not count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum ReturnsPerOrder {
    #[default]
    Many,
    One,
}

/// A rate at which goods are taxed.
fn default_rate(text: &str) -> Result<GstRate, String> {
    let rate = text.parse().ok().and_then(|per_cent| GstRate::from_per_cent(per_cent).ok());
    rate.filter(|rate| rate.is_notified())
        .ok_or_else(|| "must be 0, 0.1, 0.25, 1, 1.5, 3, 5, 7.5, 12, 18, 28 or 40".to_owned())
}

/// An application reference number of the GST portal.
fn lut_reference(text: &str) -> Result<String, String> {
    let is_number = text.len() == 15 && text.chars().all(|c| c.is_ascii_digit() || c.is_ascii_uppercase());
    if is_number {
        Ok(text.to_owned())
    } else {
        Err("must be 15 capital letters and digits, like AD290326000001X".to_owned())
    }
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
            command_deadline: Duration::from_secs(10),
            outbox_max_pending: 10_000_000,
            return_window_days: 30,
            return_review_days: None,
            return_review_cron: Expression::constant(MIDNIGHT),
            business_timezone: chrono_tz::Asia::Kolkata,
            returns_per_order: ReturnsPerOrder::Many,
            refund_shipping: RefundShipping::FullReturn,
            supplier_gstin: None,
            default_gst_rate: None,
            lut_reference: None,
            e_invoicing: false,
            prices_include_tax: true,
            require_idempotency_key: false,
            idempotency_retention_hours: 168,
        }
    }
}

impl Settings {
    /// The connections that the service needs. Each batcher keeps one.
    pub fn connections(&self) -> u32 {
        KINDS_OF_BATCHERS * u32::from(self.command_batchers) + OTHER_CONNECTIONS
    }

    /// # Errors
    /// When a pool with that many connections would leave too few to what has no batcher.
    pub(crate) fn check_connections(&self, most: u32) -> Result<(), TooFewConnections> {
        let needed = self.connections();
        if most >= needed {
            return Ok(());
        }
        Err(TooFewConnections { batchers: self.command_batchers, most, needed })
    }

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
            default_rate: self.default_gst_rate,
            lut_reference: self.lut_reference.clone(),
            e_invoicing: self.e_invoicing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batchers_leave_connections_to_everything_else() {
        let settings = Settings { command_batchers: 5, ..Settings::default() };
        assert!(settings.check_connections(19).is_ok());
        let error = settings.check_connections(18).expect_err("one too few").to_string();
        assert_eq!(
            error,
            "COMMAND_BATCHERS=5 needs 19 connections (3 times 5, and 4 for all else), but DATABASE_MAX_CONNECTIONS is 18: \
             raise that to 19, or lower COMMAND_BATCHERS"
        );
        assert!(
            Settings::default().check_connections(runtime::config::DatabaseConfig::default().max_connections).is_ok()
        );
    }
}
