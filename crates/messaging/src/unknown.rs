//! Events that this release does not know: a newer release has started to write them while this process still runs.
//!
//! Such an event waits, because another process of the new release may take it, or this one may be upgraded. It waits for an
//! hour and costs no attempts. Then an operator has to act.

use std::time::Duration;

/// How long an event that is not known is tried again.
pub const WITHIN: Duration = Duration::from_secs(3_600);
/// Shortest and longest wait between two tries.
pub const WAITS: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(300));

/// What is not known, and what to do: `then` reads "the workers, then retry".
pub fn reason(what: &str, then: &str) -> String {
    format!("this release does not know {what}: upgrade {then}")
}

/// The wait that follows when an event has waited for so long. It doubles the time waited, within [`WAITS`].
pub fn wait(waited: Duration) -> Duration {
    waited.clamp(WAITS.0, WAITS.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_is_some_twenty_tries() {
        let (mut waited, mut tries) = (Duration::ZERO, 0);
        while waited < WITHIN {
            waited += wait(waited);
            tries += 1;
        }
        assert_eq!(tries, 18);
        assert_eq!(wait(Duration::ZERO), WAITS.0);
        assert_eq!(wait(WITHIN), WAITS.1);
    }
}
