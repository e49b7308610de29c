//! When a failed delivery is tried again.

use std::time::Duration;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;

/// Seconds after each failed attempt: two days and 22 hours in all, and up to a quarter more.
const WAITS: [u64; 14] = [
    5,
    30,
    2 * MINUTE,
    10 * MINUTE,
    30 * MINUTE,
    HOUR,
    2 * HOUR,
    4 * HOUR,
    6 * HOUR,
    8 * HOUR,
    12 * HOUR,
    12 * HOUR,
    12 * HOUR,
    12 * HOUR,
];

/// An endpoint to which nothing could be delivered for so long is disabled.
pub(super) const GIVE_UP_AFTER: Duration = Duration::from_secs(3 * 24 * HOUR);
/// The longest wait that an endpoint may ask for with `Retry-After`.
const LONGEST_ASKED: Duration = Duration::from_secs(HOUR);

/// The wait after so many failed attempts; `None`: the delivery is given up.
pub(super) fn wait(failed: i32, asked: Option<Duration>) -> Option<Duration> {
    let place = usize::try_from(failed).ok()?.checked_sub(1)?;
    let wait = Duration::from_secs(*WAITS.get(place)?);
    let asked = asked.unwrap_or_default().min(LONGEST_ASKED);
    Some(runtime::backoff::stretched(wait).max(asked))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delivery_is_tried_for_three_days() {
        let all: u64 = WAITS.iter().sum();
        assert!(Duration::from_secs(all) < GIVE_UP_AFTER && Duration::from_secs(all * 5 / 4) > GIVE_UP_AFTER);
        assert!(WAITS.is_sorted());
        assert!(wait(1, None).is_some_and(|wait| (5..=7).contains(&wait.as_secs())));
        assert!(wait(14, None).is_some());
        assert_eq!(wait(15, None), None);
    }

    #[test]
    fn an_endpoint_may_ask_for_more_time_and_not_for_less() {
        assert_eq!(wait(1, Some(Duration::from_secs(600))), Some(Duration::from_secs(600)));
        assert_eq!(wait(1, Some(Duration::from_secs(86_400))), Some(LONGEST_ASKED));
        assert!(wait(5, Some(Duration::from_secs(1))).is_some_and(|wait| wait.as_secs() >= 30 * MINUTE));
    }
}
