//! How often a failed job is retried, and when.

use std::time::Duration;

use runtime::backoff::{Backoff, stretched};

/// How often a queue retries a failed job, and how long it waits before each retry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// The unit of `waits`.
    pub unit: Duration,
    /// The wait before each retry, in units.
    pub waits: &'static [u32],
    /// What happens after the last of them.
    pub then: Then,
}

/// What happens to a job that fails after its last wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// It is dead.
    GiveUp,
    /// It is retried after the last wait, again and again. Operators are told once.
    GoOn,
}

impl RetryPolicy {
    /// Invoices and credit notes: 5 retries over 38 minutes.
    pub const DOCUMENTS: Self = Self { unit: Duration::from_secs(60), waits: &[1, 2, 5, 10, 20], then: Then::GiveUp };
    /// Notifications: 7 retries over 23 hours. A mail server that greylists refuses for minutes, and one whose mailbox or disk
    /// is full for hours (RFC 5321, section 4.5.4.1 asks a sender to go on for days).
    pub const MAIL: Self =
        Self { unit: Duration::from_secs(60), waits: &[5, 15, 60, 120, 240, 480, 480], then: Then::GiveUp };
    /// Refunds: 5 retries over an hour, and then one every half hour. Only the gateway's word ends a refund.
    pub const REFUNDS: Self = Self { unit: Duration::from_secs(120), waits: &[1, 2, 4, 8, 15], then: Then::GoOn };

    /// Whether a job that has been started `attempts` times may be started again.
    pub fn allows_another(&self, attempts: i32) -> bool {
        self.then == Then::GoOn || usize::try_from(attempts).is_ok_and(|attempts| attempts <= self.waits.len())
    }

    /// Whether all retries of the schedule have failed with attempt number `attempt`, and the job goes on all the same.
    pub(crate) fn goes_on_after(&self, attempt: i32) -> bool {
        self.then == Then::GoOn && usize::try_from(attempt) == Ok(self.waits.len() + 1)
    }

    /// The wait before the retry that follows attempt number `attempt` (1 is the first attempt): what the schedule says, and
    /// up to a quarter more.
    pub fn wait(&self, attempt: i32) -> Duration {
        let place = usize::try_from(attempt).unwrap_or(1).clamp(1, self.waits.len().max(1)) - 1;
        stretched(self.unit * self.waits.get(place).copied().unwrap_or(1))
    }

    /// The pauses of the queue while its dependency is down: from a twelfth of a unit, doubled with each failed probe, to at
    /// most a unit. Only one job probes at a time, so they need no jitter.
    pub fn pauses(&self) -> Backoff {
        Backoff::new(self.unit / 12, self.unit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minutes(policy: RetryPolicy) -> u64 {
        let units: u32 = policy.waits.iter().sum();
        (policy.unit * units).as_secs() / 60
    }

    #[test]
    fn the_schedules_outlast_ordinary_outages() {
        assert_eq!(minutes(RetryPolicy::DOCUMENTS), 38);
        assert_eq!(minutes(RetryPolicy::MAIL), 23 * 60 + 20);
        assert_eq!(minutes(RetryPolicy::REFUNDS), 60);
    }

    #[test]
    fn a_wait_is_that_of_the_schedule_and_up_to_a_quarter_more() {
        for (attempt, seconds) in [(0, 300), (1, 300), (2, 900), (7, 28_800), (i32::MAX, 28_800)] {
            let waits: Vec<_> = (0..100).map(|_| RetryPolicy::MAIL.wait(attempt).as_secs_f64()).collect();
            let range = f64::from(seconds)..=f64::from(seconds) * 1.25;
            assert!(waits.iter().all(|wait| range.contains(wait)), "after attempt {attempt}");
            assert!(waits.iter().any(|wait| (wait - waits[0]).abs() > f64::EPSILON), "jitter must not repeat itself");
        }
    }

    #[test]
    fn a_job_is_started_once_and_retried_as_often_as_the_policy_says() {
        assert!(RetryPolicy::DOCUMENTS.allows_another(5));
        assert!(!RetryPolicy::DOCUMENTS.allows_another(6));
    }

    #[test]
    fn a_refund_is_retried_for_ever_and_operators_are_told_once() {
        assert!(RetryPolicy::REFUNDS.allows_another(i32::MAX));
        let told: Vec<_> = (1..100).filter(|attempt| RetryPolicy::REFUNDS.goes_on_after(*attempt)).collect();
        assert_eq!(told, [6]);
        assert!((1..100).all(|attempt| !RetryPolicy::MAIL.goes_on_after(attempt)));
    }

    #[test]
    fn the_pauses_of_an_outage_grow_from_seconds_to_a_minute() {
        let pauses = RetryPolicy::DOCUMENTS.pauses();
        let seconds: Vec<_> = (1..=6).map(|failures| pauses.ceiling(failures).as_secs()).collect();
        assert_eq!(seconds, [5, 10, 20, 40, 60, 60]);
    }
}
