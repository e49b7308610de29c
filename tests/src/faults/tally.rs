//! What a run did, measured and found.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{Plan, places};

/// After which something is delivered again, and the longest time from the moment at which the service takes connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Recovery {
    RestartOfPostgres,
    RestartOfRabbitMq,
    Failover,
}

impl Recovery {
    const ALL: [Self; 3] = [Self::RestartOfPostgres, Self::RestartOfRabbitMq, Self::Failover];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::RestartOfPostgres => "a restart of Postgres",
            Self::RestartOfRabbitMq => "a restart of RabbitMQ",
            Self::Failover => "a failover of Postgres",
        }
    }

    pub(super) const fn limit(self) -> Duration {
        match self {
            Self::RestartOfPostgres | Self::RestartOfRabbitMq => Duration::from_secs(5),
            Self::Failover => Duration::from_secs(10),
        }
    }
}

/// Longest time until an operator sees a stuck row.
pub(super) const STUCK_SHOWS: Duration = Duration::from_secs(30);

/// The counts of a run. All parts of the harness write to it.
#[derive(Debug, Default)]
pub(super) struct Tally(Mutex<Counts>);

#[derive(Debug, Default, Clone)]
pub(super) struct Counts {
    /// Processes that died of SIGKILL, by the place of death.
    pub(super) kills: BTreeMap<String, u64>,
    /// All other faults, by name.
    pub(super) acts: BTreeMap<String, u64>,
    /// Time from there to the next delivery.
    pub(super) recoveries: Vec<(Recovery, Duration)>,
    /// Time from the commit of a row that the relay cannot deliver until the operator saw it.
    pub(super) stuck: Vec<Duration>,
    pub(super) violations: Vec<String>,
}

impl Tally {
    pub(super) fn killed(&self, place: &str) {
        *self.lock().kills.entry(place.to_owned()).or_default() += 1;
    }

    pub(super) fn did(&self, act: &str) {
        self.did_often(act, 1);
    }

    pub(super) fn did_often(&self, act: &str, times: u64) {
        if times == 0 {
            return;
        }
        *self.lock().acts.entry(act.to_owned()).or_default() += times;
    }

    pub(super) fn recovered(&self, from: Recovery, after: Duration) {
        self.lock().recoveries.push((from, after));
    }

    pub(super) fn stuck_showed(&self, after: Duration) {
        self.lock().stuck.push(after);
    }

    pub(super) fn violated(&self, what: impl Into<String>) {
        let what = what.into();
        eprintln!("VIOLATION: {what}");
        self.lock().violations.push(what);
    }

    pub(super) fn kills(&self) -> u64 {
        self.lock().kills.values().sum()
    }

    /// How often something was done.
    pub(super) fn times(&self, act: &str) -> u64 {
        self.lock().acts.get(act).copied().unwrap_or_default()
    }

    pub(super) fn counts(&self) -> Counts {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The report of a run.
#[derive(Debug)]
pub struct Report {
    pub(super) plan: Plan,
    pub(super) took: Duration,
    pub(super) orders: usize,
    pub(super) returns: usize,
    pub(super) completed_returns: usize,
    pub(super) refunds: usize,
    pub(super) counts: Counts,
    pub(super) logs: PathBuf,
}

impl Report {
    /// The folder of logs and files; the run keeps it after a violation.
    pub fn logs(&self) -> &Path {
        &self.logs
    }

    /// Everything that must never happen; empty after a good run.
    pub fn violations(&self) -> &[String] {
        &self.counts.violations
    }

    /// What took longer than its limit. On a machine that is busy with other things, this proves nothing.
    pub fn late(&self) -> Vec<String> {
        let recoveries = self.counts.recoveries.iter().filter(|(from, after)| *after > from.limit());
        let recoveries = recoveries.map(|(from, after)| {
            format!("after {} the next delivery took {after:.1?}; the limit is {:?}", from.name(), from.limit())
        });
        let stuck = self.counts.stuck.iter().filter(|after| **after > STUCK_SHOWS);
        let stuck = stuck.map(|after| format!("a stuck row was shown after {after:.1?}; the limit is {STUCK_SHOWS:?}"));
        recoveries.chain(stuck).collect()
    }

    /// The number of killed processes.
    pub fn kills(&self) -> u64 {
        self.counts.kills.values().sum()
    }

    /// Places of this setup at which no process died.
    pub fn untouched(&self) -> Vec<&'static str> {
        let died = |name: &str| self.counts.kills.keys().any(|place| place == name);
        places::under(self.plan.setup).map(|place| place.name).filter(|name| !died(name)).collect()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Plan { seed, setup, .. } = &self.plan;
        let transport = if setup.rabbitmq { "RabbitMQ" } else { "the Postgres queue" };
        writeln!(f, "seed {seed}, {transport}, {:.0?}", self.took)?;
        writeln!(
            f,
            "  {} orders, {} returns, {} of them completed; {} refunds in the gateway's ledger",
            self.orders, self.returns, self.completed_returns, self.refunds
        )?;
        writeln!(f, "  {} processes killed:", self.kills())?;
        for (place, times) in &self.counts.kills {
            writeln!(f, "    {times:5}  {place}")?;
        }
        if !self.untouched().is_empty() {
            writeln!(f, "    never: {}", self.untouched().join(", "))?;
        }
        writeln!(f, "  other faults:")?;
        for (act, times) in &self.counts.acts {
            writeln!(f, "    {times:5}  {act}")?;
        }
        for from in Recovery::ALL {
            let times = self.counts.recoveries.iter().filter(|(after, _)| *after == from).map(|(_, took)| *took);
            spread(f, &format!("deliveries after {}", from.name()), times.collect())?;
        }
        spread(f, "a stuck row is shown", self.counts.stuck.clone())?;
        self.late().iter().try_for_each(|late| writeln!(f, "  LATE: {late}"))?;
        writeln!(f, "  violations: {}", self.violations().len())?;
        self.violations().iter().try_for_each(|violation| writeln!(f, "    {violation}"))
    }
}

fn spread(f: &mut fmt::Formatter<'_>, what: &str, mut times: Vec<Duration>) -> fmt::Result {
    times.sort_unstable();
    let (Some(median), Some(longest)) = (times.get(times.len() / 2), times.last()) else { return Ok(()) };
    writeln!(f, "  {what}: median {median:.2?}, longest {longest:.2?}, of {}", times.len())
}
