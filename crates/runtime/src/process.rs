//! The shape of every `main`: telemetry, the work, and the same orderly end after a fault as after a signal.

use std::panic::AssertUnwindSafe;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::anyhow;
use axum::Router;
use futures_util::FutureExt;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::config::{HttpLimits, TelemetryConfig};
use crate::tasks::{Tasks, panic_message};
use crate::{http, shutdown, telemetry};

/// Runs `work` as the whole of a process. `work` receives the token that SIGTERM and Ctrl-C cancel.
///
/// However `work` ends (a result, an error, a panic), the last spans are exported before the process exits.
pub async fn run<W>(service: &'static str, config: &TelemetryConfig, work: W) -> ExitCode
where
    W: AsyncFnOnce(CancellationToken) -> anyhow::Result<()>,
{
    exit_code(run_with_telemetry(service, config, work).await)
}

/// 0 for success. For an error, 1 and one sentence on stderr: people read it, so it is never a stack trace.
pub fn exit_code(outcome: anyhow::Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run_with_telemetry<W>(service: &'static str, config: &TelemetryConfig, work: W) -> anyhow::Result<()>
where
    W: AsyncFnOnce(CancellationToken) -> anyhow::Result<()>,
{
    let telemetry = telemetry::init(service, config)?;
    let outcome = catch_panic(Box::pin(work(shutdown::on_signal()))).await;
    // It blocks until the collector has answered, and the export runs on this runtime.
    let flushed = tokio::task::spawn_blocking(|| telemetry.shutdown()).await;
    outcome.and(flushed.map_err(Into::into))
}

/// What [`serve`] serves: routes on a listener that is already bound.
#[derive(Debug)]
pub struct Server {
    pub listener: TcpListener,
    /// Without the HTTP middleware, which [`serve`] adds.
    pub router: Router,
}

/// Starts a server and serves until `shutdown` is cancelled; then waits for the background tasks, for at most
/// `drain_within`.
///
/// `start` spawns the tasks and returns what to serve. A signal during `start` ends it. The tasks are drained also when
/// `start` fails.
///
/// # Errors
/// When `start` or the server fails, a task failed, or one did not stop in time.
pub async fn serve<S>(
    service: &'static str,
    limits: &HttpLimits,
    drain_within: Duration,
    shutdown: CancellationToken,
    start: S,
) -> anyhow::Result<()>
where
    S: AsyncFnOnce(&Tasks) -> anyhow::Result<Server>,
{
    let tasks = Tasks::new(shutdown);
    let served = catch_panic(async {
        let Some(started) = tasks.shutdown.run_until_cancelled(Box::pin(start(&tasks))).await else { return Ok(()) };
        let Server { listener, router } = started?;
        tracing::info!(address = %listener.local_addr()?, "listening");
        http::serve(listener, http::layered(router, service, limits), limits, tasks.shutdown.clone()).await
    })
    .await;
    let drained = tasks.drain(drain_within).await;
    served.and(drained)
}

/// Runs a command that ends by itself, unless `shutdown` is cancelled first.
///
/// # Errors
/// The command's own, or that it was interrupted.
pub async fn interruptible<T>(
    shutdown: &CancellationToken,
    command: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    let done = shutdown.run_until_cancelled(command).await;
    done.unwrap_or_else(|| Err(anyhow!("interrupted by a signal before it was finished")))
}

/// A panic as an error. The panic hook has logged where it happened.
async fn catch_panic<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    AssertUnwindSafe(work)
        .catch_unwind()
        .await
        .unwrap_or_else(|panic| Err(anyhow!("panicked: {}", panic_message(panic.as_ref()))))
}
