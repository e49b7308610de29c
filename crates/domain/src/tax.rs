//! GST: how much of an amount is tax, and how the tax is split over the lines to the paisa.
//!
//! The tax is computed once per rate, on the sum of all amounts of that rate, and then split over them. Computed line by
//! line, the rounding errors of the lines would add up. CGST and SGST are rounded separately, half away from zero.

use std::collections::BTreeMap;

use chrono::{Datelike, NaiveDate};
use thiserror::Error;

use crate::allocation::allocate;
use crate::names::names;

/// Thousandths of a per cent in the whole.
const WHOLE: i128 = 100_000;

/// A rate of GST, exact to a thousandth of a per cent: 0 % to 100 %.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GstRate(u32);

/// The rates, in thousandths of a per cent, that were ever notified for goods under section 9 of the CGST Act and section 5 of
/// the IGST Act. The portal refuses others.
const NOTIFIED: [u32; 12] = [0, 100, 250, 1_000, 1_500, 3_000, 5_000, 7_500, 12_000, 18_000, 28_000, 40_000];

/// Not a rate: the message says what one must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("must be a percentage from 0 to 100 with at most three decimals")]
pub struct BadRate;

impl GstRate {
    /// `None` above 100 %.
    pub const fn from_thousandths(thousandths: u32) -> Option<Self> {
        if thousandths <= 100_000 { Some(Self(thousandths)) } else { None }
    }

    /// The rate as clients write it, like 18 or 0.25.
    pub fn from_per_cent(per_cent: f64) -> Result<Self, BadRate> {
        let thousandths = (per_cent * 1_000.0).round();
        // For a value out of range, and for NaN, one of the comparisons below is false.
        let exact = (per_cent * 1_000.0 - thousandths).abs() < 1e-6;
        if !(exact && (0.0..=100_000.0).contains(&thousandths)) {
            return Err(BadRate);
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 100,000, as just checked")]
        Ok(Self(thousandths as u32))
    }

    /// Whether goods were ever taxed at this rate.
    pub fn is_notified(self) -> bool {
        NOTIFIED.contains(&self.0)
    }

    pub fn per_cent(self) -> f64 {
        f64::from(self.0) / 1_000.0
    }
}

/// Whether goods cross a state border on their way. It decides which taxes apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Supply {
    /// Half CGST, half SGST.
    IntraState,
    /// IGST.
    InterState,
}

names!(Supply { IntraState "INTRA_STATE", InterState "INTER_STATE" });

/// How an order is taxed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaxTerms {
    pub supply: Supply,
    /// Whether prices, discount and shipping contain the tax, or it comes on top.
    pub prices_include_tax: bool,
}

/// The three taxes on one amount.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taxes {
    pub cgst: i64,
    pub sgst: i64,
    pub igst: i64,
}

impl Taxes {
    pub const fn total(self) -> i64 {
        self.cgst + self.sgst + self.igst
    }

    fn on(taxable: i128, rate: GstRate, supply: Supply) -> Self {
        let tax = taxable * i128::from(rate.0);
        match supply {
            Supply::IntraState => {
                let half = rounded(tax, 2 * WHOLE);
                Self { cgst: half, sgst: half, igst: 0 }
            }
            Supply::InterState => Self { cgst: 0, sgst: 0, igst: rounded(tax, WHOLE) },
        }
    }
}

/// A price that a customer pays, and the taxes in it: paid = taxable + taxes + round-off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Charge {
    pub paid: i64,
    pub taxes: Taxes,
    /// The paise by which taxable amount and taxes miss the price; below zero when they exceed it. 0 where prices do not
    /// contain the tax.
    pub round_off: i64,
}

impl Charge {
    /// The amount on which the taxes are computed.
    pub const fn taxable(&self) -> i64 {
        self.paid - self.taxes.total() - self.round_off
    }

    /// Part by part.
    #[must_use]
    pub const fn plus(&self, other: &Self) -> Self {
        Self {
            paid: self.paid + other.paid,
            taxes: Taxes {
                cgst: self.taxes.cgst + other.taxes.cgst,
                sgst: self.taxes.sgst + other.taxes.sgst,
                igst: self.taxes.igst + other.taxes.igst,
            },
            round_off: self.round_off + other.round_off,
        }
    }

    #[must_use]
    pub const fn minus(&self, other: &Self) -> Self {
        Self {
            paid: self.paid - other.paid,
            taxes: Taxes {
                cgst: self.taxes.cgst - other.taxes.cgst,
                sgst: self.taxes.sgst - other.taxes.sgst,
                igst: self.taxes.igst - other.taxes.igst,
            },
            round_off: self.round_off - other.round_off,
        }
    }

    /// The part of the charge in which `paid` paise were paid: of each tax its proportion, half a paisa rounded away from zero. The
    /// whole is exact.
    #[must_use]
    pub fn part(&self, paid: i64) -> Self {
        let share = |of: i64| {
            let (of, whole) = (i128::from(of) * i128::from(paid), i128::from(self.paid.max(1)));
            let rounded = (2 * of.abs() + whole) / (2 * whole) * of.signum();
            i64::try_from(rounded).expect("a part is at most the whole")
        };
        let Taxes { cgst, sgst, igst } = self.taxes;
        let taxes = Taxes { cgst: share(cgst), sgst: share(sgst), igst: share(igst) };
        Self { paid, taxes, round_off: share(self.round_off) }
    }

    /// The charge for goods sold at `net`, which contains the tax or not, as the terms say.
    fn of(net: i64, rate: GstRate, terms: TaxTerms) -> Self {
        if !terms.prices_include_tax {
            let taxes = Taxes::on(net.into(), rate, terms.supply);
            return Self { paid: net + taxes.total(), taxes, round_off: 0 };
        }
        // The exact taxable value lies between two whole paise. With the rounded taxes of either, the sum may miss the
        // price by a paisa or two. We take the nearer one and show the difference as round-off.
        let below = i128::from(net) * WHOLE / (WHOLE + i128::from(rate.0));
        let split = |taxable: i128| {
            let taxes = Taxes::on(taxable, rate, terms.supply);
            let taxable = i64::try_from(taxable).expect("at most a paisa more than what is paid");
            Self { paid: net, taxes, round_off: net - taxable - taxes.total() }
        };
        let (below, above) = (split(below), split(below + 1));
        if above.round_off.abs() < below.round_off.abs() { above } else { below }
    }
}

/// The last day on which a credit note reduces the tax on a supply of this day: 30 November after the end of the financial year
/// (section 34 (2) of the CGST Act).
pub fn last_day_to_reduce_tax(supplied_on: NaiveDate) -> NaiveDate {
    let year = supplied_on.year() + i32::from(supplied_on.month() >= 4);
    NaiveDate::from_ymd_opt(year, 11, 30).unwrap_or(NaiveDate::MAX)
}

/// An amount to be taxed. It contains the tax or not, as the terms say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taxed {
    /// Not below zero.
    pub net: i64,
    /// `None`: not taxed.
    pub rate: Option<GstRate>,
}

/// Taxes the amounts of an order. The charges are in the order of the amounts.
///
/// # Panics
/// If an amount is below zero.
pub fn assess(amounts: &[Taxed], terms: TaxTerms) -> Vec<Charge> {
    let mut charges: Vec<Charge> =
        amounts.iter().map(|amount| Charge { paid: amount.net, ..Charge::default() }).collect();
    let mut by_rate: BTreeMap<GstRate, Vec<usize>> = BTreeMap::new();
    for (place, amount) in amounts.iter().enumerate() {
        if let Some(rate) = amount.rate {
            by_rate.entry(rate).or_default().push(place);
        }
    }
    for (rate, places) in by_rate {
        let weights: Vec<i64> = places.iter().map(|place| amounts[*place].net).collect();
        let whole = Charge::of(weights.iter().sum(), rate, terms);
        let cgst = allocate(whole.taxes.cgst, &weights);
        let igst = allocate(whole.taxes.igst, &weights);
        let round_off = allocate(whole.round_off.abs(), &weights);
        for (share, place) in places.into_iter().enumerate() {
            // The split of SGST is that of CGST: the amounts are equal.
            let taxes = Taxes { cgst: cgst[share], sgst: cgst[share], igst: igst[share] };
            let round_off = round_off[share] * whole.round_off.signum();
            let on_top = if terms.prices_include_tax { 0 } else { taxes.total() };
            charges[place] = Charge { paid: charges[place].paid + on_top, taxes, round_off };
        }
    }
    charges
}

/// `numerator` ÷ `denominator`, half away from zero; both are not below zero.
fn rounded(numerator: i128, denominator: i128) -> i64 {
    i64::try_from((2 * numerator + denominator) / (2 * denominator)).expect("a tax is at most what it is on")
}
