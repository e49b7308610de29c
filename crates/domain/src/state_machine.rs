//! What all state machines share: a table of states, and one decision about one step in it.

use std::fmt::{self, Display};
use std::str::FromStr;

use thiserror::Error;

use crate::names::Named;

/// The states of one machine. Implemented by `state_machine!` from a table, never by hand.
pub trait State: Named + FromStr<Err = UnknownState> {
    /// What has the state, with its article, for messages: "an order".
    const NOUN: &'static str;

    /// The states that may follow; empty when this one is final.
    fn allowed(self) -> &'static [Self];
}

/// What to do about a legal step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Take the step: one audit row, one event.
    Apply,
    /// The state is already the requested one: answer with it and write nothing.
    AlreadyThere,
}

/// Decides the step from `current` to `requested`.
pub fn decide<S: State>(current: S, requested: S) -> Result<Decision, InvalidTransition<S>> {
    if requested == current {
        Ok(Decision::AlreadyThere)
    } else if current.allowed().contains(&requested) {
        Ok(Decision::Apply)
    } else {
        Err(InvalidTransition { current, requested })
    }
}

/// A step that the table does not allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub struct InvalidTransition<S: State> {
    pub current: S,
    pub requested: S,
}

impl<S: State> Display for InvalidTransition<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { current, requested } = self;
        write!(f, "{} in {current} cannot become {requested}; ", S::NOUN)?;
        match current.allowed() {
            [] => write!(f, "{current} is final"),
            allowed => {
                let allowed: Vec<_> = allowed.iter().map(|state| state.as_str()).collect();
                write!(f, "from {current} it can become {}", allowed.join(" or "))
            }
        }
    }
}

/// A name that no state of the machine has.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{given:?} is not a state of {noun}; the states are {}", known.join(", "))]
pub struct UnknownState {
    pub given: String,
    pub noun: &'static str,
    pub known: &'static [&'static str],
}

/// Makes an enum of states from a table that reads like the one in the requirements, so that the legal steps stand in
/// one place: `State "NAME" => [states that may follow]`, the state at creation first.
macro_rules! state_machine {
    (
        $(#[$doc:meta])*
        $machine:ident, $noun:literal, { $($state:ident $name:literal => [$($next:ident),*],)+ }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $machine { $($state),+ }

        $crate::names::names!($machine { $($state $name),+ });

        impl $machine {
            /// The states that may follow; empty when this one is final.
            pub const fn allowed(self) -> &'static [Self] {
                match self { $(Self::$state => &[$(Self::$next),*]),+ }
            }

            /// Whether nothing may follow.
            pub const fn is_terminal(self) -> bool {
                self.allowed().is_empty()
            }

            /// The states from which this one can be reached in one step.
            pub fn sources(self) -> impl Iterator<Item = Self> {
                Self::ALL.into_iter().filter(move |from| from.allowed().contains(&self))
            }
        }

        impl $crate::State for $machine {
            const NOUN: &'static str = $noun;

            fn allowed(self) -> &'static [Self] {
                self.allowed()
            }
        }

        impl std::str::FromStr for $machine {
            type Err = $crate::UnknownState;

            fn from_str(given: &str) -> Result<Self, Self::Err> {
                <Self as $crate::Named>::from_name(given).ok_or_else(|| $crate::UnknownState {
                    given: given.to_owned(),
                    noun: $noun,
                    known: <Self as $crate::Named>::NAMES,
                })
            }
        }
    };
}
pub(crate) use state_machine;
