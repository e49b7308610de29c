//! Faults of the gateway, requested by a header or drawn by chance.

use std::fmt;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::http::{HeaderMap, StatusCode};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use runtime::ApiError;

/// Request header that requests faults for one call, in the format of `GATEWAY_FAULTS`.
pub const FAULT_HEADER: &str = "x-gateway-fault";

/// Longest wait that can be requested.
const MAX_WAIT: Duration = Duration::from_mins(10);

/// What goes wrong in one call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Faults {
    /// `delay=MS`: waits before anything else.
    pub delay: Option<Duration>,
    /// `error=STATUS`: fails before doing anything. A look-up is never refused for good, with 400 or 422.
    pub error: Option<StatusCode>,
    /// `timeout-after-success=MS`: pays, then stays silent for that long.
    pub timeout_after_success: Option<Duration>,
    /// `garbage`: pays, then answers 200 with an invalid body.
    pub garbage: bool,
    /// `duplicate`: processes the call twice.
    pub duplicate: bool,
    /// `pending=MS`: answers that the refund is under way, and settles it after that long.
    pub pending: Option<Duration>,
    /// `declined`: the refund ends as failed, and nothing is paid.
    pub declined: bool,
}

/// The text of an invalid list of faults. Continues the name of the header or setting.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "must be a list of delay=MS, error=STATUS (400 to 599), timeout-after-success=MS, garbage, duplicate, pending=MS, declined \
     (waits of at most 10 minutes); {0:?} is none of these"
)]
pub struct UnknownFault(String);

impl FromStr for Faults {
    type Err = UnknownFault;

    fn from_str(text: &str) -> Result<Self, UnknownFault> {
        let mut faults = Self::default();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            faults.add(part).ok_or_else(|| UnknownFault(part.to_owned()))?;
        }
        Ok(faults)
    }
}

impl Faults {
    fn add(&mut self, part: &str) -> Option<()> {
        match part.split_once('=') {
            Some(("delay", value)) => self.delay = Some(wait(value)?),
            Some(("error", value)) => self.error = Some(error_status(value)?),
            Some(("timeout-after-success", value)) => self.timeout_after_success = Some(wait(value)?),
            Some(("pending", value)) => self.pending = Some(wait(value)?),
            None if part == "declined" => self.declined = true,
            None if part == "garbage" => self.garbage = true,
            None if part == "duplicate" => self.duplicate = true,
            _ => return None,
        }
        Some(())
    }

    /// These faults, and `others` where these have none.
    fn or(self, others: Self) -> Self {
        Self {
            delay: self.delay.or(others.delay),
            error: self.error.or(others.error),
            timeout_after_success: self.timeout_after_success.or(others.timeout_after_success),
            garbage: self.garbage || others.garbage,
            duplicate: self.duplicate || others.duplicate,
            pending: self.pending.or(others.pending),
            declined: self.declined || others.declined,
        }
    }

    /// A look-up has nothing in it that a gateway could refuse for good.
    pub(crate) fn of_a_look_up(self) -> Self {
        let refusals = [StatusCode::BAD_REQUEST, StatusCode::UNPROCESSABLE_ENTITY];
        Self { error: self.error.filter(|status| !refusals.contains(status)), ..self }
    }

    /// For the log; `None` without faults.
    pub(crate) fn named(&self) -> Option<String> {
        (*self != Self::default()).then(|| self.to_string())
    }

    /// Applies the faults that come before the call is processed.
    pub(crate) async fn before(&self) -> Result<(), ApiError> {
        if let Some(delay) = self.delay {
            tokio::time::sleep(delay).await;
        }
        let failed = |status| ApiError::new(status, "INJECTED_FAULT", "the gateway was told to fail this call");
        self.error.map(failed).map_or(Ok(()), Err)
    }
}

/// In the format of `GATEWAY_FAULTS`.
impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            self.delay.map(|wait| format!("delay={}", wait.as_millis())),
            self.error.map(|status| format!("error={}", status.as_u16())),
            self.timeout_after_success.map(|wait| format!("timeout-after-success={}", wait.as_millis())),
            self.garbage.then(|| "garbage".to_owned()),
            self.duplicate.then(|| "duplicate".to_owned()),
            self.pending.map(|wait| format!("pending={}", wait.as_millis())),
            self.declined.then(|| "declined".to_owned()),
        ];
        f.write_str(&parts.into_iter().flatten().collect::<Vec<_>>().join(","))
    }
}

fn wait(millis: &str) -> Option<Duration> {
    let wait = Duration::from_millis(millis.parse().ok()?);
    (wait <= MAX_WAIT).then_some(wait)
}

fn error_status(number: &str) -> Option<StatusCode> {
    let status = StatusCode::from_u16(number.parse().ok()?).ok()?;
    (status.is_client_error() || status.is_server_error()).then_some(status)
}

/// Decides which faults hit a call.
#[derive(Debug)]
pub(crate) struct FaultInjector {
    by_chance: Faults,
    rate: f64,
    chance: Mutex<StdRng>,
}

impl FaultInjector {
    pub(crate) fn new(by_chance: Faults, rate: f64, seed: u64) -> Self {
        Self { by_chance, rate, chance: Mutex::new(StdRng::seed_from_u64(seed)) }
    }

    /// The faults that the call requests, and those drawn by chance.
    pub(crate) fn faults_for(&self, headers: &HeaderMap) -> Result<Faults, ApiError> {
        let requested = match headers.get(FAULT_HEADER) {
            None => Faults::default(),
            Some(value) => value
                .to_str()
                .unwrap_or("?")
                .parse()
                .map_err(|error: UnknownFault| ApiError::invalid_field("X-Gateway-Fault", error.to_string()))?,
        };
        Ok(requested.or(self.draw()))
    }

    /// Draws each fault separately. Every call draws the same number of times, so that the seed alone determines which
    /// calls are hit.
    fn draw(&self) -> Faults {
        let mut chance = self.chance.lock().unwrap_or_else(PoisonError::into_inner);
        let mut hit = || chance.random_bool(self.rate);
        Faults {
            delay: self.by_chance.delay.filter(|_| hit()),
            error: self.by_chance.error.filter(|_| hit()),
            timeout_after_success: self.by_chance.timeout_after_success.filter(|_| hit()),
            garbage: self.by_chance.garbage && hit(),
            duplicate: self.by_chance.duplicate && hit(),
            pending: self.by_chance.pending.filter(|_| hit()),
            declined: self.by_chance.declined && hit(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_faults_reads_back() {
        for list in [
            "",
            "delay=200,error=503",
            "timeout-after-success=30000,garbage,duplicate",
            "error=404",
            "pending=50,declined",
        ] {
            assert_eq!(list.parse::<Faults>().expect(list).to_string(), list);
        }
        assert_eq!(" delay=5 , garbage ,".parse::<Faults>().expect("spaces").to_string(), "delay=5,garbage");
    }

    #[test]
    fn an_invalid_fault_is_refused() {
        for bad in ["explode", "delay", "delay=soon", "delay=-1", "delay=600001", "error=200", "error=999", "garbage=1"]
        {
            assert_eq!(bad.parse::<Faults>(), Err(UnknownFault(bad.to_owned())));
        }
    }

    #[test]
    fn random_faults_follow_their_rate_and_repeat_with_their_seed() {
        let faults: Faults = "error=503,garbage".parse().expect("faults");
        let draws = |rate, seed| {
            let injector = FaultInjector::new(faults, rate, seed);
            (0..1_000).map(|_| injector.draw()).collect::<Vec<_>>()
        };
        assert!(draws(0.0, 1).iter().all(|drawn| *drawn == Faults::default()));
        assert!(draws(1.0, 1).iter().all(|drawn| *drawn == faults));
        let errors = draws(0.3, 7).iter().filter(|drawn| drawn.error.is_some()).count();
        assert!((200..400).contains(&errors), "{errors}");
        assert_eq!(draws(0.3, 7), draws(0.3, 7));
        assert_ne!(draws(0.3, 7), draws(0.3, 8));
    }
}
