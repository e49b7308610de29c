//! Places at which a process can be told to kill itself, for the fault tests.
//!
//! A process started with `FAULT_POINT=transaction.committed:37` sends itself SIGKILL when it passes that place for the
//! 37th time: exactly there, with nothing flushed, closed or rolled back. With `:stop` at the end
//! (`FAULT_POINT=transaction.committed:37:stop`) it sends itself SIGSTOP, as if the machine had frozen.
//!
//! The places are in every build, so the tests run what is shipped. Without the variable, passing one costs a load and a
//! branch.

use std::fmt::Display;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::sys::signal::{Signal, raise};

/// `<place>:<n-th pass>[:stop]`.
const VARIABLE: &str = "FAULT_POINT";

#[derive(Debug, PartialEq, Eq)]
struct Fault {
    place: String,
    pass: u64,
    signal: Signal,
}

static FAULT: LazyLock<Option<Fault>> = LazyLock::new(|| {
    let text = std::env::var(VARIABLE).ok()?;
    let fault = parse(&text);
    if let Some(fault) = &fault {
        tracing::warn!(place = fault.place, pass = fault.pass, "this process will kill itself");
    } else {
        tracing::error!(%text, "FAULT_POINT is not <place>:<n-th pass>[:stop] and is ignored");
    }
    fault
});
static PASSES: AtomicU64 = AtomicU64::new(0);

/// Marks a place at which the process may be killed. Names read `<who>.<what has just happened>`.
pub fn point(place: &str) {
    if let Some(fault) = FAULT.as_ref().filter(|fault| fault.place == place) {
        fault.pass();
    }
}

/// Marks a place that different things pass. The fault names the thing: `FAULT_POINT=worker.job.started@<event id>:1` kills the
/// process when it starts this job, and no other.
pub fn point_of(place: &str, thing: impl Display) {
    let Some(fault) = &*FAULT else { return };
    if fault.place.split_once('@').is_some_and(|(at, of)| at == place && of == thing.to_string()) {
        fault.pass();
    }
}

impl Fault {
    fn pass(&self) {
        if PASSES.fetch_add(1, Ordering::Relaxed) + 1 == self.pass {
            // Cannot fail for a process's own id; if it did, the fault test would miss its crash and fail.
            let _ = raise(self.signal);
        }
    }
}

fn parse(text: &str) -> Option<Fault> {
    let mut parts = text.split(':');
    let place = parts.next().filter(|place| !place.is_empty())?.to_owned();
    let pass = parts.next()?.parse().ok().filter(|pass| *pass > 0)?;
    let signal = match (parts.next(), parts.next()) {
        (None, _) => Signal::SIGKILL,
        (Some("stop"), None) => Signal::SIGSTOP,
        _ => return None,
    };
    Some(Fault { place, pass, signal })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_names_its_place_and_its_pass() {
        let fault = |pass, signal| Some(Fault { place: "transaction.committed".to_owned(), pass, signal });
        assert_eq!(parse("transaction.committed:37"), fault(37, Signal::SIGKILL));
        assert_eq!(parse("transaction.committed:1:stop"), fault(1, Signal::SIGSTOP));
    }

    #[test]
    fn an_invalid_fault_is_ignored() {
        for text in ["", "transaction.committed", "transaction.committed:0", ":1", "a:b", "a:1:explode", "a:1:stop:now"]
        {
            assert_eq!(parse(text), None, "{text}");
        }
        point("another place");
        point_of("another place", 7);
    }
}
