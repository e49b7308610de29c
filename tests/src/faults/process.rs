//! One process of ours. Its keeper restarts it after each death, decides how each of its lives ends, and replaces it by the
//! program of another release when it is told to.

use std::fs::OpenOptions;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use embedded::child::{Child, Signal, bound_to_parent};
use messaging::leases;
use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::places::{self, Role};
use super::tally::Tally;
use super::{Setup, Weather};
use crate::programs;

/// How often the keeper checks the process.
const LOOK: Duration = Duration::from_millis(20);
/// If the process has not passed its place often enough by then, it is killed where it is.
const PATIENCE: Duration = Duration::from_secs(12);
/// How long a process may take to stop: the longest drain of ours, and a little.
const DRAIN: Duration = Duration::from_secs(50);

/// What the gateway answers in one of its lives, instead of doing anything. Each has a meaning of its own for the workers.
const GATEWAY_ERRORS: [u16; 7] = [401, 403, 404, 409, 425, 500, 503];

/// How to start a process.
#[derive(Debug, Clone)]
pub(super) struct Recipe {
    /// Distinguishes two processes of one program.
    pub(super) name: &'static str,
    pub(super) role: Role,
    pub(super) program: &'static str,
    pub(super) environment: Vec<(&'static str, String)>,
    pub(super) log: PathBuf,
}

/// What happens to a process in one life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Live,
    /// Dies at a place, at the n-th pass.
    Dies(&'static str, u64),
    /// Freezes at a place, at the n-th pass.
    Freezes(&'static str, u64),
    /// The harness kills it at a random moment.
    Killed(Instant),
    /// The harness freezes it at a random moment.
    Frozen(Instant),
}

impl Fate {
    /// Whether the process carries it out itself. The harness cannot take that back.
    const fn is_armed(self) -> bool {
        matches!(self, Self::Dies(..) | Self::Freezes(..))
    }
}

/// What others see of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Status {
    /// The weather with which the process was started.
    pub(super) weather: Weather,
    pub(super) starts: u64,
}

/// Keeps one process running until `stop`; then stops it gracefully.
pub(super) struct Keeper {
    pub(super) recipe: Recipe,
    pub(super) setup: Setup,
    pub(super) chance: StdRng,
    pub(super) weather: watch::Receiver<Weather>,
    /// The folder of the programs of the release that is to run.
    pub(super) release: watch::Receiver<PathBuf>,
    pub(super) status: watch::Sender<Status>,
    pub(super) tally: Arc<Tally>,
    pub(super) stop: CancellationToken,
    /// The places left in this turn: every place comes once before any comes twice.
    pub(super) deck: Vec<&'static places::Place>,
}

/// How the process ended.
enum End {
    Died,
    /// Another release takes its place.
    Replaced,
    Stopped,
}

/// A running process. Dropping this kills it.
struct Life {
    child: Child,
    /// The harness killed it, so it did not die of its fate.
    killed: bool,
}

impl Life {
    fn kill(&mut self) {
        self.killed = true;
        self.child.signal(Signal::SIGKILL);
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        self.child.signal(Signal::SIGKILL);
    }
}

impl Keeper {
    pub(super) async fn run(mut self) -> Result<()> {
        loop {
            let weather = *self.weather.borrow_and_update();
            let fate = match weather {
                Weather::Calm => Fate::Live,
                Weather::Storm => self.draw_life(),
            };
            let mut life = Life { child: self.start(fate)?, killed: false };
            self.status.send_modify(|status| *status = Status { weather, starts: status.starts + 1 });
            match self.live(&mut life, fate).await {
                End::Died | End::Replaced => {}
                End::Stopped => return Ok(()),
            }
        }
    }

    fn start(&mut self, fate: Fate) -> Result<Child> {
        let program = self.release.borrow_and_update().join(self.recipe.program);
        let recipe = &self.recipe;
        let mut command = bound_to_parent(Signal::SIGKILL, program);
        // These processes must not inherit settings from the environment of the run.
        command.env_clear().envs(programs::environment());
        command.envs(recipe.environment.iter().map(|(name, value)| (name, value)));
        if recipe.role == Role::Gateway {
            // Each of the six faults is drawn by itself: more than three of four calls are hit.
            let rate = if *self.weather.borrow() == Weather::Storm { "0.25" } else { "0" };
            let error = GATEWAY_ERRORS.choose(&mut self.chance).copied().unwrap_or(503);
            let faults = format!("delay=1500,error={error},timeout-after-success=2500,garbage,duplicate,pending=800");
            let seed = self.chance.random::<u64>().to_string();
            command.env("GATEWAY_FAULTS", faults).env("GATEWAY_FAULT_RATE", rate).env("GATEWAY_FAULT_SEED", seed);
        }
        match fate {
            Fate::Dies(place, pass) => drop(command.env("FAULT_POINT", format!("{place}:{pass}"))),
            Fate::Freezes(place, pass) => drop(command.env("FAULT_POINT", format!("{place}:{pass}:stop"))),
            Fate::Live | Fate::Killed(_) | Fate::Frozen(_) => {}
        }
        let log = OpenOptions::new().create(true).append(true).open(&recipe.log)?;
        command.stdout(Stdio::from(log.try_clone()?)).stderr(Stdio::from(log));
        Child::spawn(recipe.name, command)
    }

    async fn live(&mut self, life: &mut Life, mut fate: Fate) -> End {
        let patience = Instant::now() + PATIENCE;
        loop {
            let asked_at = match fate {
                Fate::Killed(at) | Fate::Frozen(at) => Some(at),
                Fate::Dies(..) | Fate::Freezes(..) => Some(patience),
                Fate::Live => None,
            };
            tokio::select! {
                biased;
                () = self.stop.cancelled() => {
                    self.finish(life).await;
                    return End::Stopped;
                }
                Ok(()) = self.release.changed() => {
                    self.finish(life).await;
                    return End::Replaced;
                }
                () = ended(&life.child) => return self.record_death(life, fate).await,
                _ = self.weather.changed() => fate = self.heed_weather(life, fate),
                () = frozen(&life.child), if matches!(fate, Fate::Freezes(..)) => {
                    if let Fate::Freezes(place, _) = fate {
                        self.tally.did(&format!("frozen at {place}"));
                    }
                    self.thaw(&life.child).await;
                    fate = self.draw_moment();
                }
                () = sleep_until(asked_at.unwrap_or(patience)), if asked_at.is_some() => {
                    fate = self.reach_moment(life, fate).await;
                }
            }
        }
    }

    /// Carries out a fate whose time has come, or kills a process that does not pass its place.
    async fn reach_moment(&mut self, life: &mut Life, fate: Fate) -> Fate {
        if !matches!(fate, Fate::Frozen(_)) {
            life.kill();
            return Fate::Live;
        }
        life.child.signal(Signal::SIGSTOP);
        self.tally.did(&format!("{} frozen", self.recipe.name));
        self.thaw(&life.child).await;
        self.draw_moment()
    }

    /// Changes the fate when the weather changes.
    fn heed_weather(&mut self, life: &mut Life, fate: Fate) -> Fate {
        let weather = *self.weather.borrow_and_update();
        // An armed place cannot be disarmed, and the gateway learns the weather only at its start.
        if weather == Weather::Calm && (fate.is_armed() || self.recipe.role == Role::Gateway) {
            life.kill();
            return Fate::Live;
        }
        self.status.send_modify(|status| status.weather = weather);
        if weather == Weather::Storm { self.draw_moment() } else { Fate::Live }
    }

    /// A life with a kill at a place or at a random moment.
    fn draw_life(&mut self) -> Fate {
        if self.chance.random_bool(0.2) {
            return self.draw_moment();
        }
        if self.deck.is_empty() {
            self.deck = places::of(self.recipe.role, self.setup).collect();
            self.deck.shuffle(&mut self.chance);
        }
        let Some(place) = self.deck.pop() else { return self.draw_moment() };
        let pass = self.chance.random_range(1..=if place.often { 12 } else { 3 });
        if self.chance.random_bool(0.1) { Fate::Freezes(place.name, pass) } else { Fate::Dies(place.name, pass) }
    }

    /// A kill or a freeze at a random moment of a running life.
    fn draw_moment(&mut self) -> Fate {
        let at = Instant::now() + Duration::from_millis(self.chance.random_range(300..8_000));
        if self.chance.random_bool(0.2) { Fate::Frozen(at) } else { Fate::Killed(at) }
    }

    /// Keeps a process frozen for longer than its leases, or until the storm is over.
    async fn thaw(&mut self, child: &Child) {
        let (shortest, longest) = match self.recipe.role {
            Role::Relay | Role::Query => (leases::LEASE.as_secs() + 1, leases::LEASE.as_secs() + 4),
            Role::Workers => (messaging::worker::LEASE.as_secs() + 1, messaging::worker::LEASE.as_secs() + 8),
            Role::Command | Role::Gateway => (1, 4),
        };
        let length = Duration::from_secs(self.chance.random_range(shortest..=longest));
        let mut weather = self.weather.clone();
        tokio::select! {
            () = sleep(length) => {}
            _ = weather.wait_for(|weather| *weather == Weather::Calm) => {}
            () = self.stop.cancelled() => {}
        }
        child.signal(Signal::SIGCONT);
    }

    /// Records how a process died.
    async fn record_death(&self, life: &Life, fate: Fate) -> End {
        let status = life.child.exited().unwrap_or_default();
        match fate {
            _ if status.signal() != Some(Signal::SIGKILL as i32) => {
                self.tally.violated(format!("{} ended by itself ({status}); see its log", self.recipe.name));
                // Its port may be taken or its database unreachable: neither passes in an instant.
                sleep(Duration::from_millis(500)).await;
            }
            Fate::Dies(place, _) if !life.killed => self.tally.killed(place),
            _ => self.tally.killed("anywhere"),
        }
        End::Died
    }

    /// Stops the process. Anything but a graceful exit is a violation.
    async fn finish(&self, life: &mut Life) {
        life.child.signal(Signal::SIGCONT);
        life.child.signal(Signal::SIGTERM);
        let name = self.recipe.name;
        if tokio::time::timeout(DRAIN, ended(&life.child)).await.is_err() {
            self.tally.violated(format!("{name} did not stop within {DRAIN:?}"));
            return;
        }
        let status = life.child.exited().unwrap_or_default();
        if !status.success() {
            self.tally.violated(format!("{name} was asked to stop and ended with {status}"));
        }
    }
}

async fn ended(child: &Child) {
    while child.exited().is_none() {
        sleep(LOOK).await;
    }
}

/// Returns when the process has frozen itself.
async fn frozen(child: &Child) {
    let is_stopped = || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.pid())).unwrap_or_default();
        stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('T'))
    };
    while !is_stopped() {
        sleep(LOOK).await;
    }
}
