//! The shipment of an order after a change of the rates of GST. The tax is that of the day of the supply (section 14 of the CGST Act), so
//! it is reckoned again inside what was paid. No shipment is refused for it.

use chrono::{DateTime, Duration, Utc};
use contracts::{InvoiceLineDocument, OrderItemDocument, OrderState, day_in_india};
use domain::{GstRate, TaxTerms, Taxed, assess};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use runtime::ApiError;
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::App;
use crate::context::CommandContext;
use crate::order_books::OrderBooks;
use crate::outcome::Outcome;
use crate::store::OrderOf;
use crate::taxation;
use crate::transition::{ChangeState, answer, new_transition, step};
use crate::under_lock::{UnderLock, under_lock};

/// For so long after a change every order is looked at: the id of an order is of another clock than its time.
const ALL_FOR: Duration = Duration::days(30);

/// Whether the rates may have changed since an order was placed. Its id tells when that was.
pub(crate) fn may_have_other_rates(app: &App, id: Uuid, now: DateTime<Utc>) -> bool {
    if app.taxation.supplier.is_none() {
        return false;
    }
    let Some(changed_on) = domain::last_rate_change(day_in_india(now)) else { return false };
    let seconds = id.get_timestamp().and_then(|time| i64::try_from(time.to_unix().0).ok());
    let placed_on = seconds.and_then(|seconds| DateTime::from_timestamp(seconds, 0)).map(day_in_india);
    placed_on.is_none_or(|placed_on| placed_on <= changed_on) || day_in_india(now) - changed_on < ALL_FOR
}

pub(crate) async fn ship(
    app: &App,
    context: &CommandContext,
    command: ChangeState<OrderState>,
) -> Result<Outcome, ApiError> {
    let of = OrderOf::Order(command.id);
    under_lock(app, context, of, Ship { app: app.clone(), context: context.clone(), command }).await
}

struct Ship {
    app: App,
    context: CommandContext,
    command: ChangeState<OrderState>,
}

impl UnderLock for Ship {
    fn run(self, conn: &mut PgConnection, books: OrderBooks) -> BoxFuture<'_, Result<Outcome, ApiError>> {
        async move {
            let Self { app, context, command } = self;
            let mut transition = new_transition(&app, &context, &command)?;
            if books.state == OrderState::ProcessingInWarehouse
                && let Some(lines) = at_new_rates(&books, context.at)
            {
                transition.progress["invoice_lines"] = json!(lines);
            }
            let outcome = step::<OrderState>(conn, transition).await?;
            answer(&context, &command, outcome)
        }
        .boxed()
    }
}

/// The lines of the invoice at the rates of this day; `None` when they are those of the day of the order.
fn at_new_rates(books: &OrderBooks, at: DateTime<Utc>) -> Option<Vec<InvoiceLineDocument>> {
    let order = &books.order;
    let terms = taxation::rules(Some(order.tax_terms.as_ref()?));
    let rates: Vec<_> = order.items.iter().map(|item| new_rate(item, order.created_at, at)).collect();
    let mut lines: Vec<_> = order.items.iter().map(|item| order.invoice_line(item)).collect();
    let changed: Vec<(usize, GstRate)> =
        rates.into_iter().enumerate().filter_map(|(place, rate)| Some((place, rate?))).collect();
    if changed.is_empty() {
        return None;
    }
    // What was paid stays, so it contains the new tax, also where the prices of the order did not.
    let terms = TaxTerms { prices_include_tax: true, ..terms };
    let of = |amount: fn(&InvoiceLineDocument) -> i64| {
        changed.iter().map(|(place, rate)| Taxed { net: amount(&lines[*place]), rate: Some(*rate) }).collect::<Vec<_>>()
    };
    let amounts = [of(|line| line.paid_minor), of(|line| line.shipping_minor)].concat();
    let charges = assess(&amounts, terms);
    let (goods, shipping) = charges.split_at(changed.len());
    for ((place, rate), (goods, shipping)) in changed.iter().zip(goods.iter().zip(shipping)) {
        let line = &mut lines[*place];
        line.gst_rate = Some(rate.per_cent());
        line.tax = Some(taxation::tax(goods));
        line.shipping_tax = (shipping.paid > 0).then(|| taxation::tax(shipping));
    }
    Some(lines)
}

/// The rate of an item's HSN code on the day of the supply, where the item has that of the day of the order, and they differ.
fn new_rate(item: &OrderItemDocument, ordered_at: DateTime<Utc>, at: DateTime<Utc>) -> Option<GstRate> {
    let of = |at| domain::default_rate(item.hsn.as_ref()?.as_str(), day_in_india(at));
    let (then, now) = (of(ordered_at)?, of(at)?);
    let sold_at = GstRate::from_per_cent(item.gst_rate?).ok()?;
    (sold_at == then && then != now).then_some(now)
}
