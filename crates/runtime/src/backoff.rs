//! How long to wait after a failure before the next attempt.

use std::time::Duration;

use rand::RngExt;

/// Exponential back-off with full jitter: the wait after the n-th failure is drawn from 0 to min(cap, base × 2ⁿ⁻¹).
///
/// Full jitter spreads callers that failed together (an outage that hit all of them) over the whole interval; see
/// "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The longest wait after the first failure.
    pub base: Duration,
    /// The longest wait after any failure.
    pub cap: Duration,
}

impl Backoff {
    pub const fn new(base: Duration, cap: Duration) -> Self {
        Self { base, cap }
    }

    /// The longest wait after failure number `attempt`. Failures are counted from 1; 0 counts as 1.
    pub fn ceiling(&self, attempt: u32) -> Duration {
        let doublings = attempt.saturating_sub(1).min(31);
        self.base.saturating_mul(1 << doublings).min(self.cap)
    }

    /// A random wait up to the [`ceiling`](Self::ceiling).
    pub fn delay(&self, attempt: u32) -> Duration {
        self.ceiling(attempt).mul_f64(rand::rng().random_range(0.0..=1.0))
    }
}

/// A wait of a schedule, and up to a quarter more at random: callers that failed together do not return together.
pub fn stretched(wait: Duration) -> Duration {
    wait.mul_f64(rand::rng().random_range(1.0..=1.25))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTES: Backoff = Backoff::new(Duration::from_secs(60), Duration::from_secs(600));

    #[test]
    fn ceilings_double_up_to_the_cap() {
        let seconds: Vec<_> = (0..=6).map(|attempt| MINUTES.ceiling(attempt).as_secs()).collect();
        assert_eq!(seconds, [60, 60, 120, 240, 480, 600, 600]);
        assert_eq!(MINUTES.ceiling(u32::MAX).as_secs(), 600);
        assert_eq!(Backoff::new(Duration::MAX, Duration::MAX).ceiling(u32::MAX), Duration::MAX);
    }

    #[test]
    fn delays_are_spread_over_the_whole_interval() {
        let delays: Vec<_> = (0..1_000).map(|_| MINUTES.delay(2).as_secs_f64() / 120.0).collect();
        assert!(delays.iter().all(|share| (0.0..=1.0).contains(share)));
        // By chance this fails once in 2^150 runs.
        assert!(delays.iter().any(|share| *share < 0.1) && delays.iter().any(|share| *share > 0.9));
    }
}
