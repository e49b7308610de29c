//! A model of leases, marks, gaps and the fence: every order of steps of three writers and two readers.
//!
//! The readers are the real [`Progress`]. The rest is what Postgres does. Planted bugs must be found.

use std::collections::BTreeSet;

use chrono::DateTime;
use stateright::{Checker, Model, Property};

use super::*;

/// Events that one statement returns, at most.
const LIMIT: usize = 2;
/// How often the lease changes hands, at most.
const TAKE_OVERS: u8 = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bug {
    None,
    /// The writers are read before the highest position.
    WritersFirst,
    /// A reader goes on from its head only: a bare cursor.
    NoGaps,
    /// A mark is stored without a look at the lease.
    NoEpoch,
    /// The mark covers what was read, although writers may still commit.
    NoFence,
}

/// The second writer changes the same aggregate as the first, so it starts when that one has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Writer {
    Waiting,
    Open(i64),
    Committed(i64),
    RolledBack,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Reader {
    epoch: u8,
    progress: Progress,
    /// What it has read of the two things that it asks for, one after the other.
    drawn: Option<i64>,
    writers: Option<Vec<String>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    drawn: i64,
    writers: [Writer; 3],
    readers: [Reader; 2],
    owner: usize,
    epoch: u8,
    stored: i64,
    /// In the order of their delivery; the inbox drops duplicates.
    delivered: Vec<i64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Draw(usize),
    Commit(usize),
    RollBack(usize),
    AskFirst(usize),
    AskSecond(usize),
    Forward(usize),
    Store(usize),
    TakeOver(usize),
}

impl World {
    fn committed(&self) -> BTreeSet<i64> {
        let position = |writer: &Writer| if let Writer::Committed(position) = writer { Some(*position) } else { None };
        self.writers.iter().filter_map(position).collect()
    }

    fn open(&self) -> Vec<String> {
        (0..)
            .zip(&self.writers)
            .filter(|(_, writer)| matches!(writer, Writer::Open(_)))
            .map(|(n, _)| format!("{n}"))
            .collect()
    }

    fn forward(&mut self, reader: usize, bug: Bug) {
        let mut look_at = self.readers[reader].progress.look_at();
        if bug == Bug::NoGaps {
            (look_at.gap_first, look_at.gap_last) = (Vec::new(), Vec::new());
        }
        let in_gap = |position: i64| {
            look_at.gap_first.iter().zip(&look_at.gap_last).any(|(first, last)| (*first..=*last).contains(&position))
        };
        let seen: Vec<i64> = self
            .committed()
            .into_iter()
            .filter(|position| *position > look_at.after || in_gap(*position))
            .take(LIMIT)
            .collect();
        if self.owner == reader && self.epoch == self.readers[reader].epoch {
            let new = seen.iter().filter(|position| !self.delivered.contains(position));
            let new: Vec<i64> = new.copied().collect();
            self.delivered.extend(new);
        }
        let progress = &mut self.readers[reader].progress;
        let mut covered = progress.saw(&look_at, &seen, seen.len() == LIMIT);
        if bug == Bug::NoFence {
            covered = Covered(Mark { position: progress.look_at().after, since: None });
        }
        progress.handled(covered);
    }
}

struct Log(Bug);

impl Model for Log {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        let reader = |epoch| Reader { epoch, progress: Progress::from_mark(Mark::START), drawn: None, writers: None };
        vec![World {
            drawn: 0,
            writers: [Writer::Waiting; 3],
            readers: [reader(1), reader(0)],
            owner: 0,
            epoch: 1,
            stored: 0,
            delivered: Vec::new(),
        }]
    }

    fn actions(&self, world: &World, steps: &mut Vec<Step>) {
        for (n, writer) in (0..).zip(&world.writers) {
            match writer {
                Writer::Waiting if n != 1 || matches!(world.writers[0], Writer::Committed(_)) => {
                    steps.push(Step::Draw(n));
                }
                Writer::Open(_) => steps.extend([Step::Commit(n), Step::RollBack(n)]),
                _ => {}
            }
        }
        for (n, reader) in (0..).zip(&world.readers) {
            let has_asked = reader.drawn.is_some() || reader.writers.is_some();
            if has_asked {
                steps.push(Step::AskSecond(n));
            } else if reader.progress.needs_writers() {
                steps.push(Step::AskFirst(n));
            }
            steps.extend([Step::Forward(n), Step::Store(n)]);
            if world.owner != n && world.epoch < 1 + TAKE_OVERS {
                steps.push(Step::TakeOver(n));
            }
        }
    }

    fn next_state(&self, before: &World, step: Step) -> Option<World> {
        let mut world = before.clone();
        match step {
            Step::Draw(n) => {
                world.drawn += 1;
                world.writers[n] = Writer::Open(world.drawn);
            }
            Step::Commit(n) => {
                if let Writer::Open(position) = world.writers[n] {
                    world.writers[n] = Writer::Committed(position);
                }
            }
            Step::RollBack(n) => world.writers[n] = Writer::RolledBack,
            Step::AskFirst(n) if self.0 == Bug::WritersFirst => world.readers[n].writers = Some(world.open()),
            Step::AskFirst(n) => world.readers[n].drawn = Some(world.drawn),
            Step::AskSecond(n) => {
                let (drawn, open) = (world.drawn, world.open());
                let reader = &mut world.readers[n];
                let taken = reader.drawn.take().unwrap_or(drawn);
                let writers = reader.writers.take().unwrap_or(open);
                reader.progress.note_writers(Point { taken, at: DateTime::UNIX_EPOCH }, writers);
            }
            Step::Forward(n) => world.forward(n, self.0),
            Step::Store(n) => {
                let (mark, epoch) = (world.readers[n].progress.mark().position, world.readers[n].epoch);
                let holds = world.owner == n && world.epoch == epoch;
                if mark > world.stored && (holds || self.0 == Bug::NoEpoch) {
                    world.stored = mark;
                }
            }
            Step::TakeOver(n) => {
                world.owner = n;
                world.epoch += 1;
                let mark = Mark { position: world.stored, since: None };
                world.readers[n] =
                    Reader { epoch: world.epoch, progress: Progress::from_mark(mark), drawn: None, writers: None };
            }
        }
        (world != *before).then_some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(
                "the stored mark passes nothing that can still come, or is not out",
                |_, world: &World| {
                    world.writers.iter().all(|writer| match writer {
                        Writer::Open(position) => *position > world.stored,
                        Writer::Committed(position) => *position > world.stored || world.delivered.contains(position),
                        Writer::Waiting | Writer::RolledBack => true,
                    })
                },
            ),
            Property::always("the owner still looks for what is committed and not out", |_, world: &World| {
                let owner = &world.readers[world.owner];
                let look_at = owner.progress.look_at();
                let gaps = || look_at.gap_first.iter().zip(&look_at.gap_last);
                world.committed().iter().filter(|position| !world.delivered.contains(position)).all(|position| {
                    *position > look_at.after || gaps().any(|(first, last)| (first..=last).contains(&position))
                })
            }),
            Property::always("the second version never goes out first", |_, world: &World| {
                let place = |writer: Writer| match writer {
                    Writer::Committed(position) => world.delivered.iter().position(|out| *out == position),
                    _ => None,
                };
                match (place(world.writers[0]), place(world.writers[1])) {
                    (first, Some(second)) => first.is_some_and(|first| first < second),
                    _ => true,
                }
            }),
            Property::sometimes("everything goes out and the mark passes it", |_, world: &World| {
                world.delivered.len() == 3 && world.stored == 3
            }),
        ]
    }
}

#[test]
fn nothing_is_lost_or_reordered_in_any_order_of_steps() {
    let checked = Log(Bug::None).checker().threads(2).spawn_bfs().join();
    checked.assert_properties();
    assert!(checked.unique_state_count() > 10_000, "{} states", checked.unique_state_count());
}

#[test]
fn planted_bugs_are_found() {
    for bug in [Bug::WritersFirst, Bug::NoGaps, Bug::NoEpoch, Bug::NoFence] {
        let checked = Log(bug).checker().threads(2).spawn_bfs().join();
        let broken = checked.discoveries().into_keys().any(|property| !property.starts_with("everything"));
        assert!(broken, "{bug:?} breaks nothing");
    }
}
