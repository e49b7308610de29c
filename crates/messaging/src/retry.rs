//! How often a failed job is tried again, and when.

use std::time::Duration;

use rand::RngExt;

/// Exponential back-off with full jitter: the n-th retry waits between 0 and min(cap, base × 2ⁿ⁻¹).
///
/// Full jitter spreads the retries of jobs that failed together (an outage of the gateway) over the whole
/// interval; see "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetryPolicy {
    /// Attempts after the first.
    pub max_retries: u32,
    pub base: Duration,
    pub cap: Duration,
}

impl RetryPolicy {
    /// Invoices and notifications: 3 retries, from 60 s, at most 600 s.
    pub const DOCUMENTS: Self = Self { max_retries: 3, base: Duration::from_secs(60), cap: Duration::from_secs(600) };
    /// Refunds: 5 retries, from 120 s, at most 1,800 s.
    pub const REFUNDS: Self = Self { max_retries: 5, base: Duration::from_secs(120), cap: Duration::from_secs(1_800) };

    /// Whether a job that has been started `attempts` times may be started again.
    pub fn allows_another(&self, attempts: i32) -> bool {
        i64::from(attempts) <= i64::from(self.max_retries)
    }

    /// The longest wait before the retry that follows attempt number `attempts` (1 is the first attempt).
    pub fn ceiling(&self, attempts: i32) -> Duration {
        let doublings = u32::try_from(attempts.saturating_sub(1)).unwrap_or(0).min(31);
        self.base.saturating_mul(1 << doublings).min(self.cap)
    }

    /// A wait drawn at random up to the ceiling.
    pub fn delay(&self, attempts: i32) -> Duration {
        self.ceiling(attempts).mul_f64(rand::rng().random_range(0.0..=1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ceilings_double_up_to_the_cap() {
        let seconds = |policy: RetryPolicy| (1..=6).map(|n| policy.ceiling(n).as_secs()).collect::<Vec<_>>();
        assert_eq!(seconds(RetryPolicy::DOCUMENTS), [60, 120, 240, 480, 600, 600]);
        assert_eq!(seconds(RetryPolicy::REFUNDS), [120, 240, 480, 960, 1_800, 1_800]);
        assert_eq!(RetryPolicy::REFUNDS.ceiling(i32::MAX).as_secs(), 1_800);
    }

    #[test]
    fn delays_stay_under_their_ceiling_and_differ() {
        let delays: Vec<_> = (0..100).map(|_| RetryPolicy::DOCUMENTS.delay(2)).collect();
        assert!(delays.iter().all(|delay| *delay <= Duration::from_secs(120)));
        assert!(delays.iter().any(|delay| *delay != delays[0]), "full jitter must not repeat itself");
    }

    #[test]
    fn a_job_is_started_once_and_retried_as_often_as_the_policy_says() {
        assert!(RetryPolicy::DOCUMENTS.allows_another(3));
        assert!(!RetryPolicy::DOCUMENTS.allows_another(4));
    }
}
