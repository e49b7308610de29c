//! How often a failed job is retried, and when.

use std::time::Duration;

use runtime::backoff::Backoff;

/// How often a queue retries a failed job, and how long it waits before each retry.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetryPolicy {
    /// Attempts after the first.
    pub max_retries: u32,
    pub backoff: Backoff,
}

impl RetryPolicy {
    /// Invoices and notifications: 3 retries, from 60 s, at most 600 s.
    pub const DOCUMENTS: Self =
        Self { max_retries: 3, backoff: Backoff::new(Duration::from_secs(60), Duration::from_secs(600)) };
    /// Refunds: 5 retries, from 120 s, at most 1,800 s.
    pub const REFUNDS: Self =
        Self { max_retries: 5, backoff: Backoff::new(Duration::from_secs(120), Duration::from_secs(1_800)) };

    /// Whether a job that has been started `attempts` times may be started again.
    pub fn allows_another(&self, attempts: i32) -> bool {
        i64::from(attempts) <= i64::from(self.max_retries)
    }

    /// A random wait before the retry that follows attempt number `attempt` (1 is the first attempt).
    pub fn delay(&self, attempt: i32) -> Duration {
        self.backoff.delay(u32::try_from(attempt).unwrap_or(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ceilings_double_up_to_the_cap() {
        let seconds =
            |policy: RetryPolicy| (1..=6).map(|attempt| policy.backoff.ceiling(attempt).as_secs()).collect::<Vec<_>>();
        assert_eq!(seconds(RetryPolicy::DOCUMENTS), [60, 120, 240, 480, 600, 600]);
        assert_eq!(seconds(RetryPolicy::REFUNDS), [120, 240, 480, 960, 1_800, 1_800]);
    }

    #[test]
    fn the_delay_after_an_attempt_is_that_of_its_back_off() {
        for (attempt, ceiling) in [(1, 60), (2, 120), (i32::MAX, 600)] {
            let delays: Vec<_> = (0..100).map(|_| RetryPolicy::DOCUMENTS.delay(attempt)).collect();
            assert!(delays.iter().all(|delay| delay.as_secs() <= ceiling), "after attempt {attempt}");
            assert!(delays.iter().any(|delay| *delay != delays[0]), "full jitter must not repeat itself");
        }
    }

    #[test]
    fn a_job_is_started_once_and_retried_as_often_as_the_policy_says() {
        assert!(RetryPolicy::DOCUMENTS.allows_another(3));
        assert!(!RetryPolicy::DOCUMENTS.allows_another(4));
    }
}
