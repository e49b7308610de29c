//! How a process declares a schedule.

use std::fmt::{self, Debug, Display};
use std::future::Future;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde_json::Value;

use crate::timing::{Expression, Timing};

/// One run of a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// The time for which it runs, however late it runs. Every attempt of a run has the same.
    pub at: DateTime<Utc>,
    /// Earlier due times that were missed and are not caught up; counted up to 1,000.
    pub missed: i32,
    /// 1 for the first.
    pub attempt: i32,
}

/// Which missed runs are caught up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missed {
    /// The newest, which stands for all of them.
    Once,
    /// Each of the newest `at_most`, the oldest of them first.
    Each { at_most: u16 },
}

impl Missed {
    pub(crate) const fn at_most(self) -> u16 {
        match self {
            Self::Once => 1,
            Self::Each { at_most } => at_most,
        }
    }
}

type Handler = Box<dyn Fn(Due) -> BoxFuture<'static, Result<Value, String>> + Send + Sync>;

/// A schedule of this process.
pub struct Schedule {
    pub(crate) name: &'static str,
    pub(crate) timing: Timing,
    pub(crate) missed: Missed,
    pub(crate) handler: Handler,
}

impl Schedule {
    /// The handler returns what it has done, or what went wrong. It may run again for the same due time after it has
    /// succeeded, if the process dies before the success is recorded. It is dropped in the middle when another instance
    /// takes the lead.
    pub fn new<H, F, E>(name: &'static str, expression: Expression, timezone: Tz, handler: H) -> Self
    where
        H: Fn(Due) -> F + Send + Sync + 'static,
        F: Future<Output = Result<Value, E>> + Send + 'static,
        E: Display + 'static,
    {
        let handler: Handler =
            Box::new(move |due| handler(due).map(|ended| ended.map_err(|error| error.to_string())).boxed());
        Self { name, timing: Timing { expression, timezone }, missed: Missed::Once, handler }
    }

    /// Sets which missed runs are caught up; [`Missed::Once`] by default.
    pub fn missed(self, missed: Missed) -> Self {
        Self { missed, ..self }
    }
}

impl Debug for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Schedule").field("name", &self.name).field("timing", &self.timing).finish_non_exhaustive()
    }
}
