//! What an order costs, and how it is taxed.

use chrono::{DateTime, Utc};
use contracts::{Hsn, TaxTermsDocument};
use domain::{DraftLine, GstRate, OrderDraft, OrderTotals};
use runtime::FieldErrors;

use crate::taxation::{self, Addresses, Taxation};

/// The price of an order.
#[derive(Debug)]
pub(crate) struct Price {
    pub(crate) totals: OrderTotals,
    /// The rate of each item.
    pub(crate) rates: Vec<Option<GstRate>>,
    /// `None` when the shop is not registered.
    pub(crate) terms: Option<TaxTermsDocument>,
}

/// What the price of an order depends on, as the client sent it.
#[derive(Debug)]
pub(crate) struct Draft<'a> {
    pub(crate) items: Vec<DraftItem<'a>>,
    pub(crate) discount_minor: i64,
    pub(crate) shipping_minor: i64,
    pub(crate) currency: &'a str,
    pub(crate) addresses: Addresses<'a>,
}

/// What the price of a line depends on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DraftItem<'a> {
    pub(crate) quantity: i64,
    pub(crate) unit_price_minor: i64,
    pub(crate) hsn: Option<&'a Hsn>,
    /// Per cent.
    pub(crate) gst_rate: Option<f64>,
}

impl Draft<'_> {
    /// Prices the order, or reports everything that is invalid about it.
    pub(crate) fn price(self, taxation: &Taxation, at: DateTime<Utc>, errors: &mut FieldErrors) -> Option<Price> {
        let terms = taxation.terms(self.addresses, errors);
        // An order with too many items is refused anyway, so the rates of the rest do not matter.
        let priced_items = self.items.iter().enumerate().take(domain::MAX_LINES);
        let rates: Vec<_> = priced_items
            .map(|(index, item)| {
                taxation.rate(item.gst_rate, item.hsn, at, || format!("items[{index}].gst_rate"), errors)
            })
            .collect();
        // A zero-rated supply under a letter of undertaking bears no tax on any goods.
        let without_tax = terms.as_ref().is_some_and(|terms| terms.lut_reference.is_some());
        let nothing = GstRate::from_thousandths(0);
        let rates: Vec<_> = rates.into_iter().map(|rate| if without_tax { rate.and(nothing) } else { rate }).collect();
        let draft = OrderDraft {
            lines: self
                .items
                .iter()
                .zip(rates.iter().copied().chain(std::iter::repeat(None)))
                .map(|(item, rate)| DraftLine {
                    quantity: item.quantity,
                    unit_price_minor: item.unit_price_minor,
                    rate: rate.filter(|_| terms.is_some()),
                })
                .collect(),
            discount_minor: self.discount_minor,
            shipping_minor: self.shipping_minor,
            terms: taxation::rules(terms.as_ref()),
        };
        match draft.totals() {
            Ok(totals) => {
                if let Some(terms) = &terms {
                    let taxable = totals.lines.iter().map(|line| line.goods.taxable() + line.shipping.taxable()).sum();
                    taxation::check_value(taxable, self.currency, self.addresses, errors);
                    if taxation.e_invoicing {
                        let hsn: Vec<_> = self.items.iter().map(|item| item.hsn).collect();
                        taxation::check_e_invoice(terms, self.addresses, &hsn, errors);
                    }
                }
                Some(Price { totals, rates, terms })
            }
            Err(problems) => {
                for problem in problems {
                    errors.add(problem.field, problem.message);
                }
                None
            }
        }
    }
}
