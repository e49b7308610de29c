//! What was paid for a line of an order, what is left of it, and what units of it are worth.

use uuid::Uuid;

use crate::allocation::{Returned, UnitShares, allocate};
use crate::tax::{Charge, Taxes};

/// A part of what was paid for a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Part {
    pub goods: Charge,
    pub shipping: Charge,
}

impl Part {
    pub const fn paid(&self) -> i64 {
        self.goods.paid + self.shipping.paid
    }

    /// Part by part.
    #[must_use]
    pub const fn plus(&self, other: &Self) -> Self {
        Self { goods: self.goods.plus(&other.goods), shipping: self.shipping.plus(&other.shipping) }
    }

    #[must_use]
    pub const fn minus(&self, other: &Self) -> Self {
        Self { goods: self.goods.minus(&other.goods), shipping: self.shipping.minus(&other.shipping) }
    }

    /// So much of it, of goods and shipping in proportion.
    #[must_use]
    pub fn share(&self, amount: i64) -> Self {
        let shares = allocate(amount, &[self.goods.paid, self.shipping.paid]);
        Self { goods: self.goods.part(shares[0]), shipping: self.shipping.part(shares[1]) }
    }
}

/// A line of the order, and what was returned of it so far. Rejected returns do not count, and neither do units that never
/// arrived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReturnableItem {
    pub id: Uuid,
    pub quantity: u32,
    /// What was paid.
    pub goods: Charge,
    pub shipping: Charge,
    /// What was given back of it without a return.
    pub given_back: Part,
    /// Units that are refunded, or will be.
    pub returned_quantity: u32,
    /// What they are worth: what is refunded, and the fees that are kept back from it.
    pub returned_goods: Charge,
    pub returned_shipping: Charge,
    /// These fees.
    pub kept: Part,
    /// Units that the warehouse received and rejected: they are not refunded, and cannot be returned again.
    pub rejected_quantity: u32,
    /// Units that were missing in a return, and were not requested again.
    pub missing_quantity: u32,
}

impl ReturnableItem {
    /// How many units can still be returned.
    pub fn returnable(&self) -> u32 {
        self.quantity.saturating_sub(self.returned_quantity).saturating_sub(self.rejected_quantity)
    }

    /// What is left of what was paid.
    pub const fn left(&self) -> Part {
        let paid = Part { goods: self.goods, shipping: self.shipping };
        let returned = Part { goods: self.returned_goods, shipping: self.returned_shipping };
        paid.minus(&self.given_back).minus(&returned.minus(&self.kept))
    }

    /// What all units are worth, those among them that were returned: what was paid, less what was given back without a return. A fee
    /// that was given back belongs to units that were returned, so it takes nothing from the others.
    fn worth(&self) -> Part {
        let worth = |paid: &Charge, given_back: &Charge, returned: &Charge| {
            let left = paid.minus(given_back);
            if left.paid <= returned.paid {
                return *returned;
            }
            let (left_in, returned_in) = (left.taxes, returned.taxes);
            let taxes = Taxes {
                cgst: left_in.cgst.max(returned_in.cgst),
                sgst: left_in.sgst.max(returned_in.sgst),
                igst: left_in.igst.max(returned_in.igst),
            };
            Charge { taxes, ..left }
        };
        Part {
            goods: worth(&self.goods, &self.given_back.goods, &self.returned_goods),
            shipping: worth(&self.shipping, &self.given_back.shipping, &self.returned_shipping),
        }
    }

    /// The refund without shipping; `None` when fewer units are left.
    pub(crate) fn refund(&self, quantity: u32) -> Option<ReturnLine> {
        let worth = self.worth().goods;
        let part = |of: fn(&Charge) -> i64| {
            let returned = Returned { quantity: self.returned_quantity, amount: of(&self.returned_goods) };
            UnitShares::of(of(&worth), self.quantity).refund(returned, quantity)
        };
        let goods = each_part(part)?;
        let (shipping, kept) = (Charge::default(), Part::default());
        Some(ReturnLine { order_item_id: self.id, quantity, goods, shipping, kept })
    }

    /// The shipping of `quantity` further units: what is due for all units returned so far, less what was refunded. Earlier
    /// returns may have refunded more or less than their share, under another policy.
    pub(crate) fn shipping_of(&self, quantity: u32) -> Charge {
        let (gone, worth) = (i128::from(self.returned_quantity) + i128::from(quantity), self.worth().shipping);
        let due = |of: fn(&Charge) -> i64| {
            let due = (i128::from(of(&worth)) * gone).div_euclid(i128::from(self.quantity));
            i64::try_from(due).ok().map(|due| due - of(&self.returned_shipping))
        };
        each_part(due).filter(|due| due.paid > 0).unwrap_or_default()
    }
}

/// Computes each part of a charge by itself. The taxable amount follows from the parts.
fn each_part(part: impl Fn(fn(&Charge) -> i64) -> Option<i64>) -> Option<Charge> {
    Some(Charge {
        paid: part(|charge| charge.paid)?,
        taxes: Taxes {
            cgst: part(|charge| charge.taxes.cgst)?,
            sgst: part(|charge| charge.taxes.sgst)?,
            igst: part(|charge| charge.taxes.igst)?,
        },
        round_off: part(|charge| charge.round_off)?,
    })
}

/// One item of an accepted return, with its exact refund.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReturnLine {
    pub order_item_id: Uuid,
    /// 0 when only shipping is refunded, for units that were returned before.
    pub quantity: u32,
    /// What these units are worth.
    pub goods: Charge,
    pub shipping: Charge,
    /// The fees that are kept back from it.
    pub kept: Part,
}

impl ReturnLine {
    /// What the customer is paid.
    pub const fn refund(&self) -> i64 {
        self.refunded().paid()
    }

    /// The same with its tax.
    pub const fn refunded(&self) -> Part {
        Part { goods: self.goods, shipping: self.shipping }.minus(&self.kept)
    }
}

/// Keeps fees back from what these lines refund, at most all of it.
pub(crate) fn keep_back(lines: &mut [ReturnLine], fees: i64) {
    let refunds: Vec<i64> = lines.iter().map(ReturnLine::refund).collect();
    let fees = fees.min(refunds.iter().sum());
    for (line, fee) in lines.iter_mut().zip(allocate(fees, &refunds)) {
        line.kept = Part { goods: line.goods, shipping: line.shipping }.share(fee);
    }
}
