//! Time and ids, as values that are passed in: a rule that reads the clock itself cannot be tested at the last minute
//! of a deadline.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use chrono::{DateTime, Duration, SubsecRound, Utc};
use uuid::Uuid;

/// A clock. Clones share their shift: advancing one advances all.
#[derive(Clone, Debug)]
pub struct Clock {
    /// The time at which a fixed clock stands still. `None`: the system's time.
    fixed_at: Option<DateTime<Utc>>,
    shift_micros: Arc<AtomicI64>,
}

impl Clock {
    pub fn system() -> Self {
        Self { fixed_at: None, shift_micros: Arc::default() }
    }

    /// A clock that stands still at `at` until it is [`set`](Self::set) or [`advance`](Self::advance)d.
    pub fn fixed(at: DateTime<Utc>) -> Self {
        Self { fixed_at: Some(at), shift_micros: Arc::default() }
    }

    /// Truncated to microseconds, the resolution of Postgres: what is written reads back equal.
    pub fn now(&self) -> DateTime<Utc> {
        let base = self.fixed_at.unwrap_or_else(system_time);
        (base + Duration::microseconds(self.shift_micros.load(Ordering::Acquire))).trunc_subsecs(6)
    }

    /// Moves a fixed clock to `at`.
    ///
    /// # Panics
    /// On the system clock, which can only be shifted.
    pub fn set(&self, at: DateTime<Utc>) {
        let base = self.fixed_at.expect("only a fixed clock can be set");
        let shift = (at - base).num_microseconds().expect("less than 292,000 years");
        self.shift_micros.store(shift, Ordering::Release);
    }

    /// Shifts either kind of clock; a negative duration sets it back.
    pub fn advance(&self, by: Duration) {
        let micros = by.num_microseconds().expect("less than 292,000 years");
        self.shift_micros.fetch_add(micros, Ordering::AcqRel);
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place that reads the system's clock")]
fn system_time() -> DateTime<Utc> {
    Utc::now()
}

/// The source of ids.
#[derive(Clone, Debug)]
pub struct Ids(());

impl Ids {
    pub fn system() -> Self {
        Self(())
    }

    /// A `UUIDv7`; every one is greater than those before it in this process.
    #[expect(clippy::disallowed_methods, reason = "the one place that makes ids")]
    pub fn next(&self) -> Uuid {
        Uuid::now_v7()
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeZone;

    use super::*;

    fn noon() -> DateTime<Utc> {
        Utc.with_ymd_and_hms(2026, 4, 1, 12, 0, 0).single().expect("a real date")
    }

    #[test]
    fn a_fixed_clock_stands_still_until_it_is_moved() {
        let clock = Clock::fixed(noon());
        let seen_by_others = clock.clone();
        assert_eq!(clock.now(), noon());
        clock.advance(Duration::days(30));
        assert_eq!(seen_by_others.now(), noon() + Duration::days(30));
        clock.set(noon() + Duration::hours(1));
        assert_eq!(seen_by_others.now(), noon() + Duration::hours(1));
    }

    #[test]
    fn the_system_clock_can_be_shifted() {
        let clock = Clock::system();
        let before = clock.now();
        clock.advance(Duration::days(31));
        assert!(clock.now() >= before + Duration::days(31));
        assert_eq!(clock.now().timestamp_subsec_nanos() % 1_000, 0);
    }

    #[test]
    fn ids_only_grow() {
        let ids = Ids::system();
        let made: Vec<_> = (0..10_000).map(|_| ids.next()).collect();
        assert!(made.is_sorted_by(|a, b| a < b));
        assert!(made.iter().all(|id| id.get_version_num() == 7));
    }
}
