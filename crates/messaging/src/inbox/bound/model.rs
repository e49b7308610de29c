//! A model of claims and their bound: every order of steps of a few jobs, the transactions that write them, and two workers.
//!
//! The bounds are the real [`Known`]. The rest is what Postgres does. Planted bugs must be found.

use chrono::DateTime;
use stateright::{Checker, Model, Property};

use super::*;

/// How large the world is. Two jobs and three ticks together are more orders of steps than a test can go through.
#[derive(Clone, Copy, Debug)]
struct Size {
    jobs: usize,
    /// Ticks of the clock, at most.
    ticks: i64,
}

const SIZES: [Size; 2] = [Size { jobs: 1, ticks: 3 }, Size { jobs: 2, ticks: 1 }];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bug {
    None,
    /// The bound passes jobs that another claim holds: it may give them back.
    SkippedIsGone,
    /// The bound moves without waiting for writers.
    NoFence,
    /// A retried job becomes due at its old time.
    OldTime,
    /// The bound moves although the queue is paused and nothing was looked at.
    PausedIsEmpty,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Job {
    Absent,
    /// Inserted by a transaction that is open.
    Uncommitted(i64),
    Ready(i64),
    /// Locked by the claim of this worker, which has not committed.
    Locked(i64, usize),
    Running(i64),
    Done,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Worker {
    known: Known,
    asked: Option<DateTime<Utc>>,
    /// A claim in flight: where it started, what it locked, and what it left.
    claim: Option<(StartAt, Option<usize>, Option<DateTime<Utc>>)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    clock: i64,
    paused: bool,
    jobs: Vec<Job>,
    workers: [Worker; 2],
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Tick,
    Pause,
    Insert(usize),
    Commit(usize),
    Finish(usize),
    Retry(usize),
    AskTime(usize),
    AskWriters(usize),
    Claim(usize),
    CommitClaim(usize),
    LoseClaim(usize),
}

fn at(clock: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(clock, 0).expect("a time")
}

impl World {
    fn writers(&self, but: usize) -> Vec<String> {
        let inserts = (0..).zip(&self.jobs).filter(|(_, job)| matches!(job, Job::Uncommitted(_)));
        let claims = (0..).zip(&self.workers).filter(|(n, worker)| *n != but && worker.claim.is_some());
        inserts.map(|(n, _)| format!("job {n}")).chain(claims.map(|(n, _)| format!("worker {n}"))).collect()
    }

    fn claim(&mut self, n: usize, bug: Bug) {
        let start_at = self.workers[n].known.start_at();
        if self.paused {
            if bug == Bug::PausedIsEmpty {
                self.workers[n].known.claimed(start_at, false, None);
            }
            return;
        }
        let is_due = |due: i64| at(due) >= start_at.bound && due <= self.clock;
        let picked = self.jobs.iter().position(|job| matches!(job, Job::Ready(due) if is_due(*due)));
        let left = |(other, job): (usize, &Job)| match job {
            Job::Ready(due) if is_due(*due) && Some(other) != picked => Some(*due),
            Job::Locked(due, _) if is_due(*due) && bug != Bug::SkippedIsGone => Some(*due),
            _ => None,
        };
        let first_left = self.jobs.iter().enumerate().filter_map(left).min().map(at);
        if let Some(job) = picked
            && let Job::Ready(due) = self.jobs[job]
        {
            self.jobs[job] = Job::Locked(due, n);
        }
        self.workers[n].claim = Some((start_at, picked, first_left));
    }
}

struct Claims(Bug, Size);

impl Model for Claims {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        let worker = Worker { known: Known::stored(at(0)), asked: None, claim: None };
        vec![World { clock: 0, paused: false, jobs: vec![Job::Absent; self.1.jobs], workers: [worker.clone(), worker] }]
    }

    fn actions(&self, world: &World, steps: &mut Vec<Step>) {
        if world.clock < self.1.ticks {
            steps.push(Step::Tick);
        }
        steps.push(Step::Pause);
        for (n, job) in (0..).zip(&world.jobs) {
            match job {
                Job::Absent => steps.push(Step::Insert(n)),
                Job::Uncommitted(_) => steps.push(Step::Commit(n)),
                Job::Running(_) => steps.extend([Step::Finish(n), Step::Retry(n)]),
                Job::Ready(_) | Job::Locked(..) | Job::Done => {}
            }
        }
        for (n, worker) in (0..).zip(&world.workers) {
            if worker.claim.is_some() {
                steps.extend([Step::CommitClaim(n), Step::LoseClaim(n)]);
            } else if worker.asked.is_some() {
                steps.push(Step::AskWriters(n));
            } else {
                steps.push(Step::Claim(n));
                if worker.known.needs_writers() {
                    steps.push(Step::AskTime(n));
                }
            }
        }
    }

    fn next_state(&self, before: &World, step: Step) -> Option<World> {
        let mut world = before.clone();
        let clock = world.clock;
        match step {
            Step::Tick => world.clock += 1,
            Step::Pause => world.paused = !world.paused,
            Step::Insert(n) => world.jobs[n] = Job::Uncommitted(clock),
            Step::Commit(n) => {
                if let Job::Uncommitted(due) = world.jobs[n] {
                    world.jobs[n] = Job::Ready(due);
                }
            }
            Step::Finish(n) => world.jobs[n] = Job::Done,
            Step::Retry(n) => {
                if let Job::Running(due) = world.jobs[n] {
                    world.jobs[n] = Job::Ready(if self.0 == Bug::OldTime { due } else { clock });
                }
            }
            Step::AskTime(n) => world.workers[n].asked = Some(at(clock)),
            Step::AskWriters(n) => {
                let writers = if self.0 == Bug::NoFence { Vec::new() } else { world.writers(n) };
                let asked = world.workers[n].asked.take()?;
                world.workers[n].known.note_writers(asked, writers);
            }
            Step::Claim(n) => world.claim(n, self.0),
            Step::CommitClaim(n) => {
                let (start_at, picked, first_left) = world.workers[n].claim.take()?;
                if let Some(job) = picked
                    && let Job::Locked(due, _) = world.jobs[job]
                {
                    world.jobs[job] = Job::Running(due);
                }
                world.workers[n].known.claimed(start_at, picked.is_some(), first_left);
            }
            // The transaction is rolled back, and the worker starts again from what it knew.
            Step::LoseClaim(n) => {
                let (_, picked, _) = world.workers[n].claim.take()?;
                if let Some(job) = picked
                    && let Job::Locked(due, _) = world.jobs[job]
                {
                    world.jobs[job] = Job::Ready(due);
                }
                world.workers[n].known = Known::stored(world.workers[n].known.at);
            }
        }
        (world != *before).then_some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("no job that could start is due below a bound", |_, world: &World| {
                world.jobs.iter().all(|job| match job {
                    Job::Uncommitted(due) | Job::Ready(due) => {
                        world.workers.iter().all(|worker| at(*due) >= worker.known.at)
                    }
                    Job::Absent | Job::Locked(..) | Job::Running(_) | Job::Done => true,
                })
            }),
            Property::sometimes("the bound passes finished jobs", |model: &Self, world: &World| {
                world.jobs.iter().all(|job| *job == Job::Done)
                    && world.workers.iter().all(|worker| worker.known.at == at(model.1.ticks))
            }),
        ]
    }
}

#[test]
fn no_job_falls_below_the_bound_in_any_order_of_steps() {
    for size in SIZES {
        let checked = Claims(Bug::None, size).checker().threads(2).spawn_bfs().join();
        checked.assert_properties();
        assert!(checked.unique_state_count() > 1_000, "{size:?}: {} states", checked.unique_state_count());
    }
}

#[test]
fn planted_bugs_are_found() {
    for bug in [Bug::SkippedIsGone, Bug::NoFence, Bug::OldTime, Bug::PausedIsEmpty] {
        let checked = Claims(bug, SIZES[0]).checker().threads(2).spawn_bfs().join();
        let broken = checked.discoveries().into_keys().any(|property| property.starts_with("no job"));
        assert!(broken, "{bug:?} breaks nothing");
    }
}
