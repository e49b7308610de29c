//! The worker processes of a run, and their deaths.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Result, ensure};
use embedded::child::{Child, Signal, bound_to_parent};
use rand::RngExt;
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::time::sleep;

use super::{Plan, Run, program};
use crate::books::count;
use crate::programs;

/// How often the harness looks whether it is time to kill a worker.
const LOOK: Duration = Duration::from_millis(20);
/// How long the kernel may take to end a process.
const END: Duration = Duration::from_secs(10);

/// A worker process. Dropping this kills it.
struct Worker {
    name: String,
    child: Child,
}

impl Worker {
    fn start(run: &Run, number: usize) -> Result<Self> {
        let name = format!("worker-{number}");
        let mut command = bound_to_parent(Signal::SIGKILL, program());
        command.env_clear().envs(programs::environment()).env("DATABASE_URL", &run.database.url);
        command.args(["work", "--name", &name, "--seed", &number.to_string()]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        Ok(Self { name, child: Child::spawn("ordered", command)? })
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.child.signal(Signal::SIGKILL);
    }
}

/// Keeps the workers running until the run ends, and kills some. Returns how many it has killed.
pub(super) async fn keep(run: &Run, plan: &Plan) -> Result<usize> {
    let mut chance = StdRng::seed_from_u64(plan.seed ^ 1);
    let mut workers = (0..plan.workers).map(|number| Worker::start(run, number)).collect::<Result<Vec<_>>>()?;
    let mut killed = 0;
    // Nearly every job takes three steps or more: it starts, it is done, and it has its effect.
    let due_after = |killed: usize| 3 * run.events.len() * (killed + 1) / (plan.kills + 1);
    while !run.stop.is_cancelled() {
        let steps = usize::try_from(count(&run.database.pool, "select last_value from public.steps").await?)?;
        if killed < plan.kills && steps >= due_after(killed) {
            let victim = workers.swap_remove(chance.random_range(..workers.len()));
            kill(run, &victim).await?;
            killed += 1;
            workers.push(Worker::start(run, plan.workers + killed)?);
        }
        for worker in &workers {
            ensure!(worker.child.exited().is_none(), "{} ended by itself", worker.name);
        }
        tokio::select! { () = run.stop.cancelled() => {}, () = sleep(LOOK) => {} }
    }
    Ok(killed)
}

/// Kills a worker in the middle of its jobs. Its lease would expire within 25 s; a run has less patience.
async fn kill(run: &Run, worker: &Worker) -> Result<()> {
    worker.child.signal(Signal::SIGKILL);
    ensure!(worker.child.wait(END), "{} does not die", worker.name);
    sqlx::query("update messaging.workers set expires_at = '-infinity' where owner = $1")
        .bind(&worker.name)
        .execute(&run.database.pool)
        .await?;
    Ok(())
}
