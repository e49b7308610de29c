//! The report of an audit.

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

/// Violations of one rule that are quoted; all are counted. The queries have the same number as their limit.
pub(super) const QUOTED: usize = 20;

/// What must hold after any fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    Transitions = 1,
    Versions = 2,
    Outbox = 3,
    Effects = 4,
    Refunds = 5,
    ReadModels = 6,
    Invoices = 7,
    Statuses = 8,
    Leftovers = 9,
    Backlog = 10,
    Chain = 11,
}

impl Rule {
    pub const ALL: [Self; 11] = [
        Self::Transitions,
        Self::Versions,
        Self::Outbox,
        Self::Effects,
        Self::Refunds,
        Self::ReadModels,
        Self::Invoices,
        Self::Statuses,
        Self::Leftovers,
        Self::Backlog,
        Self::Chain,
    ];

    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::Transitions => "each transition has one audit row and one event",
            Self::Versions => "versions are 1..n, and each state is the fold of its audit",
            Self::Outbox => "each event is published, pending, or parked with a reason",
            Self::Effects => "each event is once in each queue that consumes it, with one effect",
            Self::Refunds => "each completed return is refunded once, exactly, and nothing else is",
            Self::ReadModels => "read models are the fold of the events",
            Self::Invoices => "numbers of invoices and credit notes have no gap, each has one PDF",
            Self::Statuses => "ready + running + done + dead + in doubt + discarded + blocked = all",
            Self::Leftovers => "no transaction, lease or temporary file is left behind",
            Self::Backlog => "the backlog is zero",
            Self::Chain => "the audit is as it was written, and as it was sealed",
        }
    }
}

/// The outcome of an audit.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Report {
    /// The time of the snapshot.
    pub at: DateTime<Utc>,
    /// The first day in the outbox; earlier changes are no longer compared with their events.
    #[schema(example = "20261121")]
    pub since: Option<String>,
    /// Whether a backlog is a violation.
    pub drained: bool,
    pub verdict: Verdict,
    /// All eleven, in order.
    pub rules: Vec<Checked>,
}

/// The verdict of an audit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Everything requested was checked, and holds.
    Holds,
    Violated,
    /// No violation, but something requested could not be checked.
    Incomplete,
}

/// One rule.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Checked {
    /// 1 to 11.
    pub rule: u8,
    pub title: &'static str,
    pub status: Status,
    /// All of them.
    pub violations: u64,
    /// The first 20.
    pub examples: Vec<String>,
    /// What was not checked, and why.
    pub not_checked: Vec<String>,
}

/// The outcome of one rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    Holds,
    Violated,
    /// Not checked, or only in part.
    NotChecked,
}

/// Violations of one check.
#[derive(Debug, Clone, Default)]
pub(super) struct Found {
    pub(super) total: u64,
    pub(super) examples: Vec<String>,
}

impl Found {
    pub(super) fn push(&mut self, violation: String) {
        self.total += 1;
        if self.examples.len() < QUOTED {
            self.examples.push(violation);
        }
    }
}

impl Extend<String> for Found {
    fn extend<I: IntoIterator<Item = String>>(&mut self, violations: I) {
        for violation in violations {
            self.push(violation);
        }
    }
}

/// Collects what the checks find.
#[derive(Debug, Default)]
pub(super) struct Findings {
    found: [Found; 11],
    not_checked: [Vec<String>; 11],
    failed: bool,
}

impl Findings {
    pub(super) fn add(&mut self, rule: Rule, found: Found) {
        let known = &mut self.found[rule as usize - 1];
        known.total += found.total;
        known.examples.extend(found.examples);
        known.examples.truncate(QUOTED);
    }

    /// It was not requested.
    pub(super) fn left_out(&mut self, rule: Rule, why: impl Into<String>) {
        self.not_checked[rule as usize - 1].push(why.into());
    }

    /// It was requested and could not be checked.
    pub(super) fn could_not(&mut self, rule: Rule, why: impl Into<String>) {
        self.failed = true;
        self.left_out(rule, why);
    }

    pub(super) fn into_report(self, at: DateTime<Utc>, since: Option<String>, drained: bool) -> Report {
        let violated = self.found.iter().any(|found| found.total > 0);
        let verdict = match (violated, self.failed) {
            (true, _) => Verdict::Violated,
            (false, true) => Verdict::Incomplete,
            (false, false) => Verdict::Holds,
        };
        let rules = Rule::ALL.into_iter().zip(self.found).zip(self.not_checked);
        let rules = rules.map(|((rule, found), not_checked)| checked(rule, found, not_checked)).collect();
        Report { at, since, drained, verdict, rules }
    }
}

fn checked(rule: Rule, found: Found, not_checked: Vec<String>) -> Checked {
    let status = match (found.total, not_checked.is_empty()) {
        (1.., _) => Status::Violated,
        (0, false) => Status::NotChecked,
        (0, true) => Status::Holds,
    };
    Checked {
        rule: rule as u8,
        title: rule.title(),
        status,
        violations: found.total,
        examples: found.examples,
        not_checked,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(fill: impl FnOnce(&mut Findings)) -> Report {
        let mut findings = Findings::default();
        fill(&mut findings);
        findings.into_report(DateTime::UNIX_EPOCH, None, false)
    }

    #[test]
    fn a_rule_that_was_not_checked_does_not_hold() {
        let left_out = report(|findings| findings.left_out(Rule::Backlog, "not asked for"));
        assert_eq!((left_out.verdict, left_out.rules[9].status), (Verdict::Holds, Status::NotChecked));
        let failed = report(|findings| findings.could_not(Rule::Refunds, "the gateway is away"));
        assert_eq!((failed.verdict, failed.rules[4].status), (Verdict::Incomplete, Status::NotChecked));
        let nothing = report(|_| ());
        assert_eq!(nothing.verdict, Verdict::Holds);
        assert!(nothing.rules.iter().all(|rule| rule.status == Status::Holds));
        let numbers: Vec<_> = nothing.rules.iter().map(|rule| rule.rule).collect();
        assert_eq!(numbers, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
    }

    #[test]
    fn all_violations_are_counted_and_twenty_quoted() {
        let many = report(|findings| {
            findings.could_not(Rule::Outbox, "half of it");
            for _ in 0..2 {
                let mut found = Found::default();
                found.extend((0..15).map(|n| n.to_string()));
                findings.add(Rule::Outbox, found);
            }
        });
        let rule = &many.rules[2];
        assert_eq!((many.verdict, rule.status), (Verdict::Violated, Status::Violated));
        assert_eq!((rule.violations, rule.examples.len()), (30, QUOTED));
    }
}
