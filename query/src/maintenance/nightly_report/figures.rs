//! The figures of a day's report.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use sqlx::PgPool;

use super::store::{self, Figure};
use crate::api::reports::{Period, begin_reading, refunds, sales, states};

/// The currency that is reported even on a day without a sale.
const CURRENCY: &str = "INR";

/// By currency, in the order in which they are reported. All are read in one transaction, so they agree with each other.
pub(super) async fn of_day(read: &PgPool, day: NaiveDate) -> sqlx::Result<Vec<Figure>> {
    let mut tx = begin_reading(read).await?;
    let conn = &mut *tx;
    let this_day = Period { from: Some(day), to: Some(day) };
    let all_days = Period { from: None, to: None };
    let mut report = Report::default();
    for sold in sales::by_day(conn, this_day).await? {
        for (name, count, amount_minor) in [
            ("placed", sold.placed, 0),
            ("sold", sold.orders, sold.total_minor),
            ("units_sold", sold.units, sold.subtotal_minor),
            ("discounts", 0, sold.discount_minor),
            ("shipping", 0, sold.shipping_minor),
            ("tax", 0, sold.tax_minor),
            ("cancelled", sold.cancelled, sold.cancelled_minor),
            ("refunded", sold.refunds, sold.refunded_minor),
            ("net_sales", 0, sold.net_minor),
        ] {
            report.add(&sold.currency, name, count, amount_minor);
        }
    }
    for returns in store::returns_of_day(conn, day).await? {
        report.add(&returns.currency, "returns_requested", returns.requested, returns.requested_minor);
        report.add(&returns.currency, "returns_completed", returns.completed, returns.completed_minor);
    }
    for due in refunds::totals(conn, all_days).await? {
        report.add(&due.currency, "refunds_owed", due.owed, due.owed_minor);
        report.add(&due.currency, "refunds_in_doubt", due.in_doubt, due.in_doubt_minor);
        report.add(&due.currency, "refunds_failed", due.failed, due.failed_minor);
    }
    for orders in states::totals(conn, all_days).await? {
        let name = format!("orders_{}", orders.state.to_lowercase());
        report.add(&orders.currency, &name, orders.orders, orders.total_minor);
    }
    Ok(report.figures())
}

/// Name, count and amount of each figure, by currency.
#[derive(Default)]
struct Report(BTreeMap<String, Vec<(String, i64, i64)>>);

impl Report {
    fn add(&mut self, currency: &str, name: &str, count: i64, amount_minor: i64) {
        self.0.entry(currency.to_owned()).or_default().push((name.to_owned(), count, amount_minor));
    }

    fn figures(mut self) -> Vec<Figure> {
        // A day on which nothing happened has a report that says so.
        if !self.0.contains_key(CURRENCY) {
            self.add(CURRENCY, "sold", 0, 0);
        }
        let of_currency = |(currency, figures): (String, Vec<_>)| {
            (1_i32..).zip(figures).map(move |(place, (name, count, amount_minor))| Figure {
                currency: currency.clone(),
                place,
                name,
                count,
                amount_minor,
            })
        };
        self.0.into_iter().flat_map(of_currency).collect()
    }
}
