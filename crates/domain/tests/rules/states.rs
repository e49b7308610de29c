//! Both machines, pair by pair. The tables below are copied from the requirements, R1 and R2, by name, so that they
//! share nothing with the tables under test.

use std::collections::BTreeSet;
use std::str::FromStr;

use domain::{Decision, OrderState, ReturnState, State, decide};
use proptest::prelude::*;

/// Rows are the current state, columns the requested one, in the order of the names.
/// `+` the step is made, `=` it has been made before, `.` it is refused.
struct Matrix {
    names: [&'static str; 6],
    rows: [&'static str; 6],
}

const ORDERS: Matrix = Matrix {
    names: ["PENDING_PAYMENT", "PAID", "PROCESSING_IN_WAREHOUSE", "SHIPPED", "DELIVERED", "CANCELLED"],
    rows: [
        "= + . . . +", // PENDING_PAYMENT
        ". = + . . +", // PAID
        ". . = + . .", // PROCESSING_IN_WAREHOUSE
        ". . . = + .", // SHIPPED
        ". . . . = .", // DELIVERED
        ". . . . . =", // CANCELLED
    ],
};

const RETURNS: Matrix = Matrix {
    names: ["REQUESTED", "APPROVED", "REJECTED", "IN_TRANSIT", "RECEIVED", "COMPLETED"],
    rows: [
        "= + + . . .", // REQUESTED
        ". = . + . .", // APPROVED
        ". . = . . .", // REJECTED
        ". . . = + .", // IN_TRANSIT
        ". . . . = +", // RECEIVED
        ". . . . . =", // COMPLETED
    ],
};

impl Matrix {
    fn expected(&self, current: &str, requested: &str) -> char {
        let place = |name| self.names.iter().position(|known| *known == name).expect("the matrix has every name");
        self.rows[place(current)].chars().filter(|c| *c != ' ').nth(place(requested)).expect("a row has six columns")
    }

    fn next(&self, current: &str) -> BTreeSet<&'static str> {
        self.names.into_iter().filter(|name| self.expected(current, name) == '+').collect()
    }

    fn previous(&self, requested: &str) -> BTreeSet<&'static str> {
        self.names.into_iter().filter(|name| self.expected(name, requested) == '+').collect()
    }
}

fn names<S: State>(states: impl IntoIterator<Item = S>) -> BTreeSet<&'static str> {
    states.into_iter().map(S::as_str).collect()
}

fn check_every_pair<S: State + FromStr>(matrix: &Matrix) {
    assert_eq!(S::ALL.iter().map(|state| state.as_str()).collect::<Vec<_>>(), matrix.names);
    for current in S::ALL.iter().copied() {
        assert_eq!(names(current.allowed().iter().copied()), matrix.next(current.as_str()), "after {current}");
        for requested in S::ALL.iter().copied() {
            let found = match decide(current, requested) {
                Ok(Decision::Apply) => '+',
                Ok(Decision::AlreadyThere) => '=',
                Err(refusal) => {
                    assert_eq!((refusal.current, refusal.requested), (current, requested));
                    '.'
                }
            };
            assert_eq!(found, matrix.expected(current.as_str(), requested.as_str()), "{current} to {requested}");
        }
    }
}

#[test]
fn an_order_makes_exactly_the_steps_of_the_requirements() {
    check_every_pair::<OrderState>(&ORDERS);
    for state in OrderState::ALL {
        assert_eq!(names(state.sources()), ORDERS.previous(state.as_str()), "before {state}");
        assert_eq!(state.is_terminal(), ["DELIVERED", "CANCELLED"].contains(&state.as_str()), "{state}");
    }
}

#[test]
fn a_return_makes_exactly_the_steps_of_the_requirements() {
    check_every_pair::<ReturnState>(&RETURNS);
    for state in ReturnState::ALL {
        assert_eq!(names(state.sources()), RETURNS.previous(state.as_str()), "before {state}");
        assert_eq!(state.is_terminal(), ["REJECTED", "COMPLETED"].contains(&state.as_str()), "{state}");
    }
}

#[test]
fn a_state_is_read_back_from_its_name_and_from_nothing_else() {
    for state in OrderState::ALL {
        assert_eq!(state.to_string().parse(), Ok(state));
    }
    for state in ReturnState::ALL {
        assert_eq!(state.to_string().parse(), Ok(state));
    }
    for given in ["", "paid", " PAID", "REQUESTED"] {
        let error = given.parse::<OrderState>().expect_err("not the name of an order state");
        assert_eq!((error.given.as_str(), error.known), (given, ORDERS.names.as_slice()));
    }
    assert_eq!(
        "PAID".parse::<ReturnState>().expect_err("not the name of a return state").to_string(),
        "\"PAID\" is not a state of a return; the states are REQUESTED, APPROVED, REJECTED, IN_TRANSIT, RECEIVED, COMPLETED",
    );
}

#[test]
fn a_refusal_says_what_is_possible_instead() {
    fn text<S: State>(current: S, requested: S) -> String {
        decide(current, requested).expect_err("the step is illegal").to_string()
    }
    assert_eq!(
        text(OrderState::Shipped, OrderState::Paid),
        "an order in SHIPPED cannot become PAID; from SHIPPED it can become DELIVERED",
    );
    assert_eq!(
        text(OrderState::Paid, OrderState::Delivered),
        "an order in PAID cannot become DELIVERED; from PAID it can become PROCESSING_IN_WAREHOUSE or CANCELLED",
    );
    assert_eq!(
        text(OrderState::Cancelled, OrderState::Paid),
        "an order in CANCELLED cannot become PAID; CANCELLED is final",
    );
    assert_eq!(
        text(ReturnState::Rejected, ReturnState::Approved),
        "a return in REJECTED cannot become APPROVED; REJECTED is final",
    );
}

/// Plays commands against a machine and checks every step it makes against the matrix.
fn walk<S: State>(matrix: &Matrix, commands: &[usize]) -> Result<(), TestCaseError> {
    let mut path = vec![S::ALL[0]];
    for command in commands {
        let current = *path.last().expect("the path has a beginning");
        let requested = S::ALL[*command];
        if decide(current, requested) == Ok(Decision::Apply) {
            prop_assert!(matrix.next(current.as_str()).contains(requested.as_str()), "{current} to {requested}");
            prop_assert!(!path.contains(&requested), "{requested} was left before: a reverse transition");
            path.push(requested);
        }
    }
    // A final state has no way out, so it can only be the end of the path.
    let passed = &path[..path.len() - 1];
    prop_assert!(passed.iter().all(|state| !matrix.next(state.as_str()).is_empty()), "{passed:?}");
    Ok(())
}

proptest! {
    #[test]
    fn no_sequence_of_commands_takes_an_order_off_the_table(commands in prop::collection::vec(0_usize..6, 0..60)) {
        walk::<OrderState>(&ORDERS, &commands)?;
    }

    #[test]
    fn no_sequence_of_commands_takes_a_return_off_the_table(commands in prop::collection::vec(0_usize..6, 0..60)) {
        walk::<ReturnState>(&RETURNS, &commands)?;
    }
}
