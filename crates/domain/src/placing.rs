//! Whether an order can be placed, and what it costs.

use thiserror::Error;

use crate::allocation::allocate;
use crate::money::{MAX_MINOR, Money};

/// Lines per order.
pub const MAX_LINES: usize = 500;
/// Units per line.
pub const MAX_QUANTITY: i64 = 100_000;

/// The amounts of an order as the client sent them. Nothing about them is trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderDraft {
    pub lines: Vec<DraftLine>,
    pub discount_minor: i64,
    pub shipping_minor: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DraftLine {
    pub quantity: i64,
    pub unit_price_minor: i64,
}

/// What an order costs: total = subtotal − discount + shipping, and the lines' amounts sum to it exactly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderTotals {
    pub subtotal: Money,
    pub discount: Money,
    pub shipping: Money,
    pub total: Money,
    /// In the order of the draft.
    pub lines: Vec<LineAmounts>,
}

/// paid = gross − discount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineAmounts {
    /// Quantity × unit price.
    pub gross: Money,
    /// The line's share of the order's discount.
    pub discount: Money,
    /// What a return of the whole line refunds.
    pub paid: Money,
}

/// One thing wrong with the draft, by the path of the field in the request: `items[3].quantity`.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{field} {message}")]
pub struct PlacementError {
    pub field: String,
    pub message: String,
}

impl OrderDraft {
    /// Prices the order, or names everything that is wrong with it. A rule across fields is only applied to fields
    /// that are right in themselves, so one mistake is not reported twice.
    pub fn totals(&self) -> Result<OrderTotals, Vec<PlacementError>> {
        let mut problems = Problems(Vec::new());
        let gross = self.gross_amounts(&mut problems);
        let discount = problems.amount("discount_minor", self.discount_minor);
        let shipping = problems.amount("shipping_minor", self.shipping_minor);

        let subtotal = gross.as_ref().and_then(|gross| {
            problems.require(Money::sum(gross.iter().copied()), "items", || {
                format!("must cost at most {MAX_MINOR} together")
            })
        });
        let net = subtotal.zip(discount).and_then(|(subtotal, discount)| {
            problems.require(subtotal.checked_sub(discount), "discount_minor", || {
                format!("must be at most what the items cost together, {}", subtotal.minor())
            })
        });
        let total = net.zip(shipping).and_then(|(net, shipping)| {
            problems.require(net.checked_add(shipping), "shipping_minor", || {
                format!("must leave the order's total at most {MAX_MINOR}")
            })
        });

        match (gross, subtotal, discount, shipping, total) {
            (Some(gross), Some(subtotal), Some(discount), Some(shipping), Some(total)) => {
                Ok(OrderTotals { subtotal, discount, shipping, total, lines: discounted(&gross, discount) })
            }
            _ => Err(problems.0),
        }
    }

    /// `None` when anything is wrong with the lines.
    fn gross_amounts(&self, problems: &mut Problems) -> Option<Vec<Money>> {
        let count = (1..=MAX_LINES).contains(&self.lines.len()).then_some(());
        let count = problems.require(count, "items", || format!("must have 1 to {MAX_LINES} entries"));
        // Lines beyond the limit are not looked into, so that the answer to a huge request stays small.
        let amounts: Vec<_> =
            self.lines.iter().take(MAX_LINES).enumerate().map(|(at, line)| line.gross(at, problems)).collect();
        count.and(amounts.into_iter().collect())
    }
}

impl DraftLine {
    fn gross(self, at: usize, problems: &mut Problems) -> Option<Money> {
        let quantity = (1..=MAX_QUANTITY).contains(&self.quantity).then_some(self.quantity);
        let quantity = problems
            .require(quantity, &format!("items[{at}].quantity"), || format!("must be between 1 and {MAX_QUANTITY}"));
        let field = format!("items[{at}].unit_price_minor");
        let price = problems.amount(&field, self.unit_price_minor);
        price.zip(quantity).and_then(|(price, quantity)| {
            problems.require(price.checked_mul(quantity), &field, || {
                format!("times the quantity must be at most {MAX_MINOR}")
            })
        })
    }
}

fn discounted(gross: &[Money], discount: Money) -> Vec<LineAmounts> {
    let weights: Vec<i64> = gross.iter().map(|gross| gross.minor()).collect();
    allocate(discount.minor(), &weights)
        .into_iter()
        .zip(gross)
        .map(|(share, gross)| {
            let discount = Money::new(share).expect("a share is at most the discount");
            let paid = gross.checked_sub(discount).expect("the discount is at most the subtotal, so is each share");
            LineAmounts { gross: *gross, discount, paid }
        })
        .collect()
}

struct Problems(Vec<PlacementError>);

impl Problems {
    fn amount(&mut self, field: &str, minor: i64) -> Option<Money> {
        self.require(Money::new(minor), field, || format!("must be between 0 and {MAX_MINOR}"))
    }

    fn require<T>(&mut self, value: Option<T>, field: &str, message: impl FnOnce() -> String) -> Option<T> {
        if value.is_none() {
            self.0.push(PlacementError { field: field.to_owned(), message: message() });
        }
        value
    }
}
