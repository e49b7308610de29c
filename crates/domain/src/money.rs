//! Amounts.

/// The largest amount, in minor units: ten billion rupees. The sum of nine million of them fits a report, and each is exact as a JSON
/// number in JavaScript.
pub const MAX_MINOR: i64 = 1_000_000_000_000;

/// An amount that is charged, paid or refunded, in minor units (paise): 0 to [`MAX_MINOR`]. Arithmetic that would
/// leave the range gives `None`, so a sum never wraps or turns negative unnoticed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Money(i64);

impl Money {
    pub const ZERO: Self = Self(0);

    /// `None` outside 0 to [`MAX_MINOR`].
    pub const fn new(minor: i64) -> Option<Self> {
        if minor >= 0 && minor <= MAX_MINOR { Some(Self(minor)) } else { None }
    }

    pub const fn minor(self) -> i64 {
        self.0
    }

    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).and_then(Self::new)
    }

    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).and_then(Self::new)
    }

    pub fn checked_mul(self, quantity: i64) -> Option<Self> {
        self.0.checked_mul(quantity).and_then(Self::new)
    }

    pub fn sum(amounts: impl IntoIterator<Item = Self>) -> Option<Self> {
        amounts.into_iter().try_fold(Self::ZERO, Self::checked_add)
    }
}
