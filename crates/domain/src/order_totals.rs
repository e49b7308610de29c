//! What an order costs, and what is wrong with an order that has no price.

use thiserror::Error;

use crate::allocation::allocate;
use crate::money::{MAX_MINOR, Money};
use crate::tax::{Charge, GstRate, TaxTerms, Taxed, assess};

/// Lines per order.
pub const MAX_LINES: usize = 500;
/// Units per line.
pub const MAX_QUANTITY: i64 = 100_000;

/// The amounts of an order as the client sent them, unchecked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderDraft {
    pub lines: Vec<DraftLine>,
    pub discount_minor: i64,
    pub shipping_minor: i64,
    pub terms: TaxTerms,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DraftLine {
    pub quantity: i64,
    pub unit_price_minor: i64,
    /// `None`: the line is not taxed.
    pub rate: Option<GstRate>,
}

/// What an order costs: total = subtotal − discount + shipping, and the tax where prices do not contain it. The lines'
/// amounts sum to it exactly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderTotals {
    pub subtotal: Money,
    pub discount: Money,
    pub shipping: Money,
    /// Part of the total.
    pub tax: Money,
    pub total: Money,
    /// In the order of the draft.
    pub lines: Vec<LineAmounts>,
}

/// The amounts of a line. [`UnitShares`](crate::UnitShares) splits them over its units, so the paise of each unit are
/// fixed when the order is placed and never computed from rates again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineAmounts {
    /// Quantity × unit price.
    pub gross: Money,
    /// The line's share of the order's discount.
    pub discount: Money,
    /// The price of the goods: what a return of the whole line refunds.
    pub goods: Charge,
    /// The line's share of the shipping, which is taxed like the goods.
    pub shipping: Charge,
}

/// One thing wrong with the draft, by the path of the field in the request: `items[3].quantity`.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{field} {message}")]
pub struct PlacementError {
    pub field: String,
    pub message: String,
}

impl OrderDraft {
    /// The amounts of the order, or everything that is wrong with it. A rule across fields is applied only to fields that
    /// are valid by themselves, so one mistake is not reported twice.
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
        let untaxed = net.zip(shipping).and_then(|(net, shipping)| {
            problems.require(net.checked_add(shipping), "shipping_minor", || {
                format!("must leave the order's total at most {MAX_MINOR}")
            })
        });

        let (Some(gross), Some(subtotal), Some(discount), Some(shipping), Some(_)) =
            (gross, subtotal, discount, shipping, untaxed)
        else {
            return Err(problems.0);
        };
        let lines = self.taxed(&gross, discount, shipping);
        let whole = lines.iter().fold(Charge::default(), |sum, line| sum.plus(&line.goods).plus(&line.shipping));
        let amounts = Money::new(whole.paid).zip(Money::new(whole.taxes.total()));
        let amounts = problems.require(amounts, "items", || format!("must cost at most {MAX_MINOR} with the tax"));
        let (total, tax) = amounts.ok_or(problems.0)?;
        Ok(OrderTotals { subtotal, discount, shipping, tax, total, lines })
    }

    /// Splits discount and shipping over the lines, and taxes the results.
    fn taxed(&self, gross: &[Money], discount: Money, shipping: Money) -> Vec<LineAmounts> {
        let gross_minor: Vec<i64> = gross.iter().map(|gross| gross.minor()).collect();
        let discounts = allocate(discount.minor(), &gross_minor);
        let net: Vec<i64> = gross_minor.iter().zip(&discounts).map(|(gross, discount)| gross - discount).collect();
        let quantities: Vec<i64> = self.lines.iter().map(|line| line.quantity).collect();
        // By price after discount; if that is 0 everywhere, by price; if that is 0 too, by quantity.
        let weights = [&net, &gross_minor].into_iter().find(|weights| weights.iter().any(|weight| *weight > 0));
        let shippings = allocate(shipping.minor(), weights.unwrap_or(&quantities));

        let amounts = [&net, &shippings].into_iter().flat_map(|amounts| amounts.iter().zip(&self.lines));
        let amounts: Vec<Taxed> = amounts.map(|(net, line)| Taxed { net: *net, rate: line.rate }).collect();
        let charges = assess(&amounts, self.terms);
        let (goods, shipping) = charges.split_at(gross.len());
        gross
            .iter()
            .zip(discounts)
            .zip(goods.iter().zip(shipping))
            .map(|((gross, discount), (goods, shipping))| {
                let discount = Money::new(discount).expect("a share is at most the discount");
                LineAmounts { gross: *gross, discount, goods: *goods, shipping: *shipping }
            })
            .collect()
    }

    /// `None` when anything is wrong with the lines.
    fn gross_amounts(&self, problems: &mut Problems) -> Option<Vec<Money>> {
        let count = (1..=MAX_LINES).contains(&self.lines.len()).then_some(());
        let count = problems.require(count, "items", || format!("must have 1 to {MAX_LINES} entries"));
        // Lines beyond the limit are not checked, so the answer to a huge request stays small.
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
