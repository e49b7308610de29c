//! A model of sent, arrived, settled and retention: every order of steps of one or two events, a relay, a broker that loses and
//! dead-letters, a consumer that crashes, a worker, an operator, and retention that runs at any time.
//!
//! The relay's view is the real [`Arrivals`]. The rest is what the statements of `outbox-relay` and the function
//! `messaging.unsettled` do. Each event has a partition of its own. Planted bugs must be found.

use stateright::{Checker, HasDiscoveries, Model, Property};

use super::*;

/// Copies of an event on the broker, at most.
const COPIES: u8 = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bug {
    None,
    /// Retention takes what is sent for what has arrived.
    SentIsArrived,
    /// The mark of arrivals moves when an event is sent.
    MarkMovesAtSend,
    /// Retention drops events whose jobs are open.
    IgnoresOpenJobs,
    /// Retention drops events that are exceptions.
    IgnoresExceptions,
    /// An exception that goes out is forgotten, although the mark has passed it.
    ForgetsExceptions,
    /// The mark ends at the end of the window, although an event in it is missing.
    MarkPassesTheMissing,
    /// The inbox takes an event twice.
    NoDedupe,
}

/// The row of an event among the exceptions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Exception {
    None,
    Waiting,
    Skipped,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Job {
    Absent,
    Open,
    Done,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Event {
    exception: Exception,
    is_awaited: bool,
    /// It went out less than five minutes ago.
    is_recent: bool,
    /// Copies in the queue, at the consumer, and among the dead letters.
    queued: u8,
    held: u8,
    dead: u8,
    job: Job,
    effects: u8,
    is_dropped: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    /// The mark of the relay: events up to it are out, or are exceptions.
    sent: i64,
    arrivals: Arrivals,
    /// The mark of arrivals, as it is stored.
    arrived: i64,
    events: Vec<Event>,
    mishaps: u8,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Send,
    /// The broker refuses the next event, which becomes an exception.
    Refuse,
    Look,
    ForgetArrived,
    CrashOfConsumer,
    /// To the event at this place.
    Of(usize, What),
    /// The same, and it counts.
    Mishap(usize, What),
}

/// What happens to one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    SendException,
    FiveMinutesPass,
    Resend,
    DeliverDeadLetter,
    Lose,
    GiveUp,
    Receive,
    Store,
    Finish,
    Replay,
    Skip,
    Retain,
}

impl Event {
    const NEW: Self = Self {
        exception: Exception::None,
        is_awaited: false,
        is_recent: false,
        queued: 0,
        held: 0,
        dead: 0,
        job: Job::Absent,
        effects: 0,
        is_dropped: false,
    };

    const fn has_room(&self) -> bool {
        self.queued + self.held + self.dead < COPIES
    }

    fn is_missing(&self) -> bool {
        self.job == Job::Absent && self.exception == Exception::None && !self.is_dropped
    }

    /// A row that makes sure that someone still looks after it.
    fn is_remembered(&self) -> bool {
        self.is_awaited || self.exception == Exception::Waiting
    }

    fn publish(&mut self) {
        self.queued += 1;
        self.is_recent = true;
    }

    fn happens(&mut self, what: What, bug: Bug) {
        match what {
            What::SendException => {
                self.publish();
                self.exception = Exception::None;
                self.is_awaited = bug != Bug::ForgetsExceptions;
            }
            What::FiveMinutesPass => self.is_recent = false,
            What::Resend | What::Replay => self.exception = Exception::Waiting,
            What::DeliverDeadLetter => {
                self.dead -= 1;
                if self.exception != Exception::Skipped {
                    self.insert(bug);
                }
            }
            What::Lose => self.queued -= 1,
            What::GiveUp => (self.queued, self.dead) = (self.queued - 1, self.dead + 1),
            What::Receive => (self.queued, self.held) = (self.queued - 1, self.held + 1),
            What::Store => {
                self.held -= 1;
                self.insert(bug);
            }
            What::Finish => (self.job, self.effects) = (Job::Done, self.effects + 1),
            What::Skip => self.exception = Exception::Skipped,
            What::Retain => self.is_dropped = true,
        }
    }

    /// There is no row without a partition, and none twice.
    fn insert(&mut self, bug: Bug) {
        if !self.is_dropped && (self.job == Job::Absent || bug == Bug::NoDedupe) {
            self.job = Job::Open;
        }
    }
}

impl World {
    fn position(place: usize) -> i64 {
        i64::try_from(place).expect("two places") + 1
    }

    fn next(&self) -> usize {
        usize::try_from(self.sent).expect("a place")
    }

    fn look(&mut self, bug: Bug) {
        self.arrivals.stand_at(self.arrived, self.sent);
        let Some(window) = self.arrivals.ahead(1) else { return };
        let missing = (0..)
            .zip(&self.events)
            .map(|(place, event)| (Self::position(place), event))
            .find(|(position, event)| (window.after + 1..=window.until).contains(position) && event.is_missing())
            .map(|(position, _)| position)
            .filter(|_| bug != Bug::MarkPassesTheMissing);
        self.arrived = self.arrivals.saw(window, missing);
    }

    /// Whether a look at a window of the sweep, or at the awaited events, would find this event.
    fn is_due(&self, place: usize) -> bool {
        let event = &self.events[place];
        let position = Self::position(place);
        let is_above = position > self.arrived && position <= self.sent;
        event.is_missing() && !event.is_recent && (is_above || event.is_awaited)
    }

    fn is_settled(&self, place: usize, bug: Bug) -> bool {
        let event = &self.events[place];
        let passed = if bug == Bug::SentIsArrived { self.sent } else { self.arrived.min(self.sent) };
        Self::position(place) <= passed
            && (!event.is_remembered() || bug == Bug::IgnoresExceptions)
            && (event.job != Job::Open || bug == Bug::IgnoresOpenJobs)
    }
}

/// How large the world is. Two events and two mishaps are more orders of steps than a test should go through.
#[derive(Clone, Copy, Debug)]
struct Size {
    events: usize,
    /// How often the broker or an operator does something that sends an event again, at most.
    mishaps: u8,
}

const SIZES: [Size; 2] = [Size { events: 1, mishaps: 3 }, Size { events: 2, mishaps: 1 }];

struct Delivery(Bug, Size);

impl Model for Delivery {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        let events = vec![Event::NEW; self.1.events];
        vec![World { sent: 0, arrivals: Arrivals::default(), arrived: 0, events, mishaps: 0 }]
    }

    fn actions(&self, world: &World, steps: &mut Vec<Step>) {
        if world.next() < world.events.len() {
            steps.extend([Step::Send, Step::Refuse]);
        }
        steps.extend([Step::Look, Step::ForgetArrived, Step::CrashOfConsumer]);
        let queue_is_empty = world.events.iter().all(|event| event.queued == 0);
        for (n, event) in (0..).zip(&world.events) {
            let is_kept = !event.is_dropped;
            let is_waiting = event.exception == Exception::Waiting && is_kept;
            let may = [
                (What::Skip, is_waiting),
                (What::SendException, is_waiting && event.has_room()),
                (What::FiveMinutesPass, event.is_recent),
                (What::Resend, queue_is_empty && world.is_due(n)),
                (What::DeliverDeadLetter, event.dead > 0),
                (What::Receive, event.queued > 0),
                (What::Store, event.held > 0),
                (What::Finish, event.job == Job::Open && is_kept),
                (What::Retain, is_kept && world.is_settled(n, self.0)),
            ];
            steps.extend(may.into_iter().filter(|(_, may)| *may).map(|(what, _)| Step::Of(n, what)));
            let is_out = World::position(n) <= world.sent && event.exception == Exception::None && is_kept;
            let may = [(What::Lose, event.queued > 0), (What::GiveUp, event.queued > 0), (What::Replay, is_out)];
            let mishaps = may.into_iter().filter(|(_, may)| *may && world.mishaps < self.1.mishaps);
            steps.extend(mishaps.map(|(what, _)| Step::Mishap(n, what)));
        }
    }

    fn next_state(&self, before: &World, step: Step) -> Option<World> {
        let mut world = before.clone();
        match step {
            Step::Send => {
                let next = world.next();
                world.events[next].publish();
                world.sent += 1;
                if self.0 == Bug::MarkMovesAtSend {
                    world.arrived = world.sent;
                }
            }
            Step::Refuse => {
                let next = world.next();
                world.events[next].exception = Exception::Waiting;
                world.sent += 1;
            }
            Step::Look => world.look(self.0),
            Step::ForgetArrived => {
                for event in &mut world.events {
                    event.is_awaited &= event.job == Job::Absent && event.exception == Exception::None;
                }
            }
            Step::CrashOfConsumer => {
                for event in &mut world.events {
                    event.queued += std::mem::take(&mut event.held);
                }
            }
            Step::Mishap(n, what) => {
                world.mishaps += 1;
                world.events[n].happens(what, self.0);
            }
            Step::Of(n, what) => world.events[n].happens(what, self.0),
        }
        (world != *before).then_some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("nothing is dropped before its effect", |_, world: &World| {
                let is_safe = |event: &Event| event.effects > 0 || event.exception == Exception::Skipped;
                world.events.iter().all(|event| !event.is_dropped || is_safe(event))
            }),
            Property::always("no effect happens twice", |_, world: &World| {
                world.events.iter().all(|event| event.effects <= 1)
            }),
            Property::always("what is out and has not arrived is found again", |_, world: &World| {
                (0..).zip(&world.events).all(|(n, event)| {
                    World::position(n) > world.arrived || !event.is_missing() || event.is_remembered()
                })
            }),
            Property::sometimes(
                "everything is sent, lost, sent again, done and dropped",
                |model: &Self, world: &World| {
                    world.mishaps == model.1.mishaps
                        && world.events.iter().all(|event| event.is_dropped && event.effects == 1)
                },
            ),
        ]
    }
}

#[test]
fn nothing_is_lost_or_done_twice_in_any_order_of_steps() {
    for size in SIZES {
        let checked = Delivery(Bug::None, size).checker().threads(2).spawn_bfs().join();
        checked.assert_properties();
        assert!(checked.unique_state_count() > 1_000, "{size:?}: {} states", checked.unique_state_count());
    }
}

#[test]
fn planted_bugs_are_found() {
    for bug in [
        Bug::SentIsArrived,
        Bug::MarkMovesAtSend,
        Bug::IgnoresOpenJobs,
        Bug::IgnoresExceptions,
        Bug::ForgetsExceptions,
        Bug::MarkPassesTheMissing,
        Bug::NoDedupe,
    ] {
        let checked =
            Delivery(bug, SIZES[1]).checker().threads(2).finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
        let broken = checked.discoveries().into_keys().any(|property| !property.starts_with("everything"));
        assert!(broken, "{bug:?} breaks nothing");
    }
}
