//! Splitting an amount without gaining or losing a paisa.

use std::cmp::Reverse;

/// Splits `amount` in proportion to `weights` by the method of the largest remainder: every share is the exact
/// proportion rounded down or up, and the shares sum to `amount`. Of equal remainders the earlier line gets the
/// paisa. A weight of 0 gets nothing, and while `amount` is at most the sum of the weights, no share exceeds its
/// weight: a discount allocated over line amounts leaves no line negative.
///
/// # Panics
/// If `amount` or a weight is negative, or if there is an amount but no weight to carry it.
pub fn allocate(amount: i64, weights: &[i64]) -> Vec<i64> {
    assert!(amount >= 0, "an amount to allocate is not negative");
    assert!(weights.iter().all(|weight| *weight >= 0), "a weight is not negative");
    let total: i128 = weights.iter().copied().map(i128::from).sum();
    if amount == 0 {
        return vec![0; weights.len()];
    }
    assert!(total > 0, "an amount needs a weight to carry it");

    // Two i64 multiplied always fit an i128.
    let product = |weight: i64| i128::from(amount) * i128::from(weight);
    let mut shares: Vec<i64> = weights
        .iter()
        .map(|weight| i64::try_from(product(*weight) / total).expect("a share is at most the amount"))
        .collect();

    let left = amount - shares.iter().sum::<i64>();
    let mut by_remainder: Vec<usize> = (0..weights.len()).collect();
    by_remainder.sort_by_key(|line| Reverse(product(weights[*line]) % total));
    // The remainders sum to `left` × `total` and each is below `total`, so at least `left` of them are above 0.
    for (line, _paisa) in by_remainder.into_iter().zip(0..left) {
        shares[line] += 1;
    }
    shares
}

/// What has been taken of a line so far, of one part of its amount.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Returned {
    pub quantity: u32,
    /// In minor units.
    pub amount: i64,
}

/// The exact split of an amount over the units of a line: each unit is worth `base` paise or one more. 100000.00 for 3
/// units are 33333.33, 33333.33 and 33333.34; −0.02 are −0.01, −0.01 and 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnitShares {
    pub base: i64,
    /// How many of the units carry one paisa more. They come last.
    pub extra: i64,
    pub units: u32,
}

impl UnitShares {
    /// # Panics
    /// If there are no units: no such line can be ordered.
    pub fn of(amount: i64, quantity: u32) -> Self {
        assert!(quantity > 0, "a line has units");
        let units = i64::from(quantity);
        Self { base: amount.div_euclid(units), extra: amount.rem_euclid(units), units: quantity }
    }

    /// What `quantity` further units refund; `None` when fewer are left.
    ///
    /// The amount that is left is split over the units that are left, and the units without the extra paisa go first. So the
    /// refunds of any sequence of returns stay within what was paid, and are exactly that once every unit has been refunded, also
    /// when returns between them were rejected, or money was given back without a return.
    pub fn refund(&self, returned: Returned, quantity: u32) -> Option<i64> {
        let left = self.units.checked_sub(returned.quantity).filter(|left| quantity <= *left)?;
        if quantity == 0 {
            return Some(0);
        }
        let whole = self.base * i64::from(self.units) + self.extra;
        let Self { base, extra, .. } = Self::of(whole - returned.amount, left);
        let without_extra = i64::from(left) - extra;
        let quantity = i64::from(quantity);
        Some(quantity * base + (quantity - without_extra).max(0))
    }
}
