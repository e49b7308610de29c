//! What happened in a run, step by step, and whether it may have.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use anyhow::Result;
use sqlx::PgPool;
use uuid::Uuid;

/// One step of a job, or its effect. The numbers of the steps are drawn in their transactions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    pub aggregate_id: Uuid,
    pub version: i32,
    pub what: What,
}

/// What a step did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// With the status of the version before, if that was in the queue.
    Started(Option<String>),
    /// The handler's rows were written.
    Effect,
    /// The job got this status.
    Became(String),
}

/// All steps, in their order.
#[derive(Debug)]
pub struct History(Vec<Step>);

/// How often things happened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub attempts: usize,
    pub done: usize,
    pub discarded: usize,
    pub deaths: usize,
    pub blocked: usize,
}

/// Reads the history of a run.
pub async fn read(pool: &PgPool) -> Result<History> {
    let rows: Vec<(Uuid, i32, String, Option<String>)> = sqlx::query_as(
        "select aggregate_id, version, status, predecessor
         from (select step, aggregate_id, version, status, predecessor from public.history
               union all
               select step, aggregate_id, version, 'effect', null from public.effects) as steps
         order by step",
    )
    .fetch_all(pool)
    .await?;
    let steps = rows.into_iter().map(|(aggregate_id, version, status, predecessor)| {
        let what = match status.as_str() {
            "running" => What::Started(predecessor),
            "effect" => What::Effect,
            _ => What::Became(status),
        };
        Step { aggregate_id, version, what }
    });
    Ok(History(steps.collect()))
}

/// What is known about an aggregate while its steps are read.
#[derive(Debug, Default)]
struct Aggregate {
    /// The versions that are done or discarded.
    ended: BTreeSet<i32>,
    effects: BTreeSet<i32>,
    done: BTreeSet<i32>,
}

impl Aggregate {
    /// What is wrong with a step, if anything is.
    fn take(&mut self, version: i32, what: &What) -> Option<String> {
        let before_is_open = version > 1 && !self.ended.contains(&(version - 1));
        match what {
            What::Started(predecessor) => {
                let predecessor = predecessor.as_deref().unwrap_or("absent");
                if version > 1 && !["done", "discarded"].contains(&predecessor) {
                    return Some(format!("started while the version before was {predecessor}"));
                }
                if self.ended.contains(&version) {
                    return Some("started after its end".to_owned());
                }
                before_is_open.then(|| "started before the end of the version before".to_owned())
            }
            What::Effect => {
                if !self.effects.insert(version) {
                    return Some("took effect twice".to_owned());
                }
                if self.effects.last() != Some(&version) {
                    return Some("took effect after a later version".to_owned());
                }
                before_is_open.then(|| "took effect before the end of the version before".to_owned())
            }
            What::Became(status) if status == "done" || status == "discarded" => {
                if status == "done" {
                    self.done.insert(version);
                }
                (!self.ended.insert(version)).then(|| "ended twice".to_owned())
            }
            What::Became(_) => None,
        }
    }

    /// What is missing in the end.
    fn missing(&self, versions: i32) -> Option<String> {
        if !self.ended.iter().copied().eq(1..=versions) {
            return Some(format!("{} of {versions} versions ended", self.ended.len()));
        }
        (self.effects != self.done).then(|| format!("{} effects of {} jobs", self.effects.len(), self.done.len()))
    }
}

impl History {
    pub const fn of(steps: Vec<Step>) -> Self {
        Self(steps)
    }

    /// What must not have happened. Each aggregate should have all its versions.
    pub fn violations(&self, aggregates: &[Uuid], versions: i32) -> Vec<String> {
        let mut known: BTreeMap<Uuid, Aggregate> = aggregates.iter().map(|id| (*id, Aggregate::default())).collect();
        let mut violations = Vec::new();
        for Step { aggregate_id, version, what } in &self.0 {
            let wrong = known.entry(*aggregate_id).or_default().take(*version, what);
            violations.extend(wrong.map(|wrong| format!("version {version} of {aggregate_id} {wrong}")));
        }
        for (id, aggregate) in known {
            violations.extend(aggregate.missing(versions).map(|missing| format!("{id}: {missing}")));
        }
        violations
    }

    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for step in &self.0 {
            match &step.what {
                What::Started(_) => counts.attempts += 1,
                What::Became(status) => match status.as_str() {
                    "done" => counts.done += 1,
                    "discarded" => counts.discarded += 1,
                    "dead" => counts.deaths += 1,
                    "blocked" => counts.blocked += 1,
                    _ => {}
                },
                What::Effect => {}
            }
        }
        counts
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { attempts, done, discarded, deaths, blocked } = self;
        write!(
            f,
            "jobs: {}\nattempts: {attempts}\ndone: {done}\ndiscarded: {discarded}\ndeaths: {deaths}\nblocked: {blocked}",
            done + discarded
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(version: i32, what: What) -> Step {
        Step { aggregate_id: Uuid::nil(), version, what }
    }

    fn started(version: i32, predecessor: &str) -> Step {
        step(version, What::Started((version > 1).then(|| predecessor.to_owned())))
    }

    fn became(version: i32, status: &str) -> Step {
        step(version, What::Became(status.to_owned()))
    }

    /// A version that is done at its first attempt.
    fn done(version: i32) -> [Step; 3] {
        [started(version, "done"), became(version, "done"), step(version, What::Effect)]
    }

    fn violations(steps: impl IntoIterator<Item = Step>) -> Vec<String> {
        let nil = Uuid::nil().to_string();
        let found = History::of(steps.into_iter().collect()).violations(&[Uuid::nil()], 3);
        found.iter().map(|found| found.replace(&nil, "A")).collect()
    }

    #[test]
    fn a_history_with_failures_deaths_and_skipped_versions_is_right() {
        let steps = [
            // Version 2 is skipped before version 1 has ended.
            vec![started(1, ""), became(1, "ready"), became(2, "discarded"), started(1, ""), became(1, "dead")],
            vec![became(1, "in_doubt"), started(1, ""), became(1, "done"), step(1, What::Effect)],
            vec![started(3, "discarded"), became(3, "done"), step(3, What::Effect)],
        ];
        assert_eq!(violations(steps.concat()), [""; 0]);
    }

    #[test]
    fn each_violation_is_found() {
        let cases: [(Vec<Step>, &str); 8] = [
            (
                [&done(1)[..], &[started(2, "ready")], &done(2), &done(3)].concat(),
                "version 2 of A started while the version before was ready",
            ),
            (
                [&done(1)[..], &[started(3, "done")], &done(2), &done(3)].concat(),
                "version 3 of A started before the end of the version before",
            ),
            (
                [&done(1)[..], &done(2), &[started(2, "done")], &done(3)].concat(),
                "version 2 of A started after its end",
            ),
            ([&done(1)[..], &done(2), &[step(2, What::Effect)], &done(3)].concat(), "version 2 of A took effect twice"),
            (
                [&done(1)[..], &done(2)[..2], &done(3), &[step(2, What::Effect)]].concat(),
                "version 2 of A took effect after a later version",
            ),
            ([&done(1)[..], &done(2), &[became(2, "discarded")], &done(3)].concat(), "version 2 of A ended twice"),
            ([&done(1)[..], &done(2)].concat(), "A: 2 of 3 versions ended"),
            ([&done(1)[..], &done(2), &done(3)[..2]].concat(), "A: 2 effects of 3 jobs"),
        ];
        for (steps, expected) in cases {
            assert_eq!(violations(steps), [expected]);
        }
    }
}
