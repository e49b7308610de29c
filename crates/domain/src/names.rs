//! Closed sets of values, each value with one name.

use std::fmt::{Debug, Display};

/// A closed set of values. Each has one name, the same in JSON, in the database and in messages. Implemented by
/// `names!`, never by hand.
pub trait Named: Copy + Eq + Debug + Display + 'static {
    const ALL: &'static [Self];
    /// The names of [`ALL`](Self::ALL), in the same order.
    const NAMES: &'static [&'static str];

    fn as_str(self) -> &'static str;

    /// The value with this name; `None` when there is no such value.
    fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|value| value.as_str() == name)
    }
}

/// Gives the values of an enum their names.
macro_rules! names {
    ($set:ident { $($value:ident $name:literal),+ $(,)? }) => {
        impl $set {
            /// Every value, in the order of their declaration.
            pub const ALL: [Self; [$($name),+].len()] = [$(Self::$value),+];

            /// The name in JSON, in the database and in messages.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$value => $name),+ }
            }
        }

        impl $crate::Named for $set {
            const ALL: &'static [Self] = &Self::ALL;
            const NAMES: &'static [&'static str] = &[$($name),+];

            fn as_str(self) -> &'static str {
                self.as_str()
            }
        }

        impl std::fmt::Display for $set {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}
pub(crate) use names;
