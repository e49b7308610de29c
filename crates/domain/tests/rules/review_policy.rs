//! When a request for a return has waited too long.

use chrono::{DateTime, Duration, Utc};
use chrono_tz::{Asia::Kolkata, Tz};
use domain::ReviewPolicy;
use proptest::prelude::*;

fn at(instant: &str) -> DateTime<Utc> {
    instant.parse().expect("an RFC 3339 instant")
}

#[test]
fn the_last_day_of_the_review_counts_to_its_end_in_india() {
    let week = ReviewPolicy { days: 7, timezone: Kolkata };
    for (now, overdue_before) in [
        // 17 March in India, to its last instant; what was requested on 10 March has its seventh day.
        ("2026-03-17T18:29:59.999999Z", "2026-03-09T18:30:00Z"),
        ("2026-03-17T18:30:00Z", "2026-03-10T18:30:00Z"),
    ] {
        assert_eq!(week.overdue_before(at(now)), at(overdue_before), "{now}");
    }
}

#[test]
fn a_day_that_begins_late_begins_with_its_first_instant() {
    // On 4 November 2018 clocks in São Paulo went from midnight to 1:00.
    let one = ReviewPolicy { days: 1, timezone: chrono_tz::America::Sao_Paulo };
    assert_eq!(one.overdue_before(at("2018-11-05T12:00:00Z")), at("2018-11-04T03:00:00Z"));
    // Samoa had no 30 December 2011.
    let one = ReviewPolicy { days: 1, timezone: chrono_tz::Pacific::Apia };
    assert_eq!(one.overdue_before(at("2011-12-30T12:00:00Z")), at("2011-12-30T10:00:00Z"));
}

#[test]
fn a_review_without_an_end_never_ends() {
    let forever = ReviewPolicy { days: u32::MAX, timezone: Kolkata };
    assert!(forever.overdue_before(at("2026-03-17T00:00:00Z")) < at("0001-01-01T00:00:00Z"));
}

proptest! {
    /// The same day that the return window counts: requested on a local day, overdue once `days` more have passed.
    #[test]
    fn a_request_is_overdue_after_the_last_local_day_and_not_before(
        requested_at in 0..4_000_000_000_i64,
        days in 1..366_u32,
        offset in 0..40_000_000_i64,
        timezone in prop::sample::select(vec![Kolkata, chrono_tz::UTC, chrono_tz::America::New_York, Tz::America__Sao_Paulo]),
    ) {
        let requested_at = DateTime::from_timestamp(requested_at, 0).expect("in range");
        let now = requested_at + Duration::seconds(offset);
        let local_day = |at: DateTime<Utc>| at.with_timezone(&timezone).date_naive();
        let passed = (local_day(now) - local_day(requested_at)).num_days();
        let overdue = requested_at < ReviewPolicy { days, timezone }.overdue_before(now);
        prop_assert_eq!(overdue, passed > i64::from(days));
    }
}
