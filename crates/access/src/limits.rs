//! How often one caller, and one address, may call.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use governor::clock::{Clock, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};
use runtime::ApiError;
use serde_json::{Value, json};

/// A caller may be this many seconds ahead of its rate.
const BURST_SECONDS: u32 = 5;
/// How often callers that have been silent are forgotten.
pub(crate) const FORGET: Duration = Duration::from_secs(60);

/// Those over a limit that are remembered. What is forgotten is found again by its next request.
const REMEMBERED: usize = 10_000;

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");

type Limiter<K> = RateLimiter<K, DashMapStateStore<K>, DefaultClock, StateInformationMiddleware>;

/// A limit for each of many.
#[derive(Debug)]
pub(crate) struct Limit<K: Hash + Eq + Clone> {
    each: Limiter<K>,
    /// Those that are over it, and until when.
    over: Mutex<HashMap<K, Instant>>,
    name: &'static str,
    per_second: NonZeroU32,
    policy: HeaderValue,
}

/// What is left, for the headers of the answer.
#[derive(Debug, Clone)]
pub(crate) struct Left {
    name: &'static str,
    policy: HeaderValue,
    remaining: u32,
}

/// The limits of a service.
#[derive(Debug)]
pub(crate) struct Limits {
    pub(crate) callers: Limit<String>,
    pub(crate) addresses: Limit<IpAddr>,
}

impl<K: Hash + Eq + Clone> Limit<K> {
    pub(crate) fn new(name: &'static str, per_second: NonZeroU32) -> Self {
        let burst = per_second.saturating_mul(NonZeroU32::MIN.saturating_add(BURST_SECONDS - 1));
        let each = RateLimiter::keyed(Quota::per_second(per_second).allow_burst(burst)).with_middleware();
        let policy =
            HeaderValue::try_from(format!("\"{name}\";q={burst};w={BURST_SECONDS}")).expect("only plain characters");
        Self { each, over: Mutex::default(), name, per_second, policy }
    }

    /// Counts a request.
    ///
    /// # Errors
    /// 429 with the time after which it may come again.
    pub(crate) fn take(&self, key: &K) -> Result<Left, Box<Response>> {
        match self.each.check_key(key) {
            Ok(state) => Ok(self.left(state.remaining_burst_capacity())),
            Err(refused) => {
                let wait = refused.wait_time_from(DefaultClock::default().now());
                self.note(key, wait);
                Err(Box::new(self.refuse(wait)))
            }
        }
    }

    /// Whether one is over it, without counting anything.
    ///
    /// # Errors
    /// As [`take`](Self::take).
    pub(crate) fn check(&self, key: &K) -> Result<(), Box<Response>> {
        let until = self.lock().get(key).copied();
        match until.and_then(|until| until.checked_duration_since(Instant::now())) {
            Some(wait) => Err(Box::new(self.refuse(wait))),
            None => Ok(()),
        }
    }

    fn left(&self, remaining: u32) -> Left {
        Left { name: self.name, policy: self.policy.clone(), remaining }
    }

    fn note(&self, key: &K, wait: Duration) {
        let mut over = self.lock();
        if over.len() >= REMEMBERED {
            over.clear();
        }
        over.insert(key.clone(), Instant::now() + wait);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<K, Instant>> {
        self.over.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn forget_silent(&self) {
        self.lock().retain(|_, until| *until > Instant::now());
        self.each.retain_recent();
        self.each.shrink_to_fit();
    }

    fn refuse(&self, wait: Duration) -> Response {
        let seconds = wait.as_secs() + 1;
        let message = format!("more than {} requests per second; try again in {seconds} s", self.per_second);
        let details = json!({ "limit": self.name, "per_second": self.per_second, "retry_after_seconds": seconds });
        let mut answer = too_many(message, details, seconds);
        self.left(0).tell(answer.headers_mut());
        answer
    }
}

/// 429 `RATE_LIMITED`, with the time after which the caller may come again.
pub(crate) fn too_many(message: String, details: Value, seconds: u64) -> Response {
    let error = ApiError::new(StatusCode::TOO_MANY_REQUESTS, "RATE_LIMITED", message).with_details(details);
    let mut answer = error.into_response();
    answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    answer
}

impl Left {
    /// `RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers-10).
    pub(crate) fn tell(self, headers: &mut HeaderMap) {
        let Self { name, policy, remaining } = self;
        headers.insert(POLICY, policy);
        if let Ok(left) = HeaderValue::try_from(format!("\"{name}\";r={remaining};t={BURST_SECONDS}")) {
            headers.insert(RATE_LIMIT, left);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_a_limit_of_its_own() {
        let limit = Limit::new("address", NonZeroU32::MIN);
        let (one, other) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        for left in (0..BURST_SECONDS).rev() {
            assert_eq!(limit.take(&one).expect("within the limit").remaining, left);
        }
        assert!(limit.check(&one).is_ok(), "that is not known yet");
        let refused = limit.take(&one).expect_err("over the limit");
        assert!(limit.check(&one).is_err() && limit.check(&other).is_ok());
        assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(refused.headers()["retry-after"], "1");
        assert_eq!(refused.headers()["ratelimit"], "\"address\";r=0;t=5");
        assert!(limit.take(&other).is_ok());
    }
}
