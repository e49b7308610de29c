//! Real processes that end in every way, and a real HTTP listener in place of the trace collector.
//!
//! The process under test is this test program itself, started again with its ending in the environment.

use std::env;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{ExitCode, Output};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use nix::sys::signal::{Signal, raise};
use runtime::config::{HttpLimits, TelemetryConfig, TracesConfig};
use runtime::process::Server;
use runtime::{Tasks, http, process};
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

const ENDING: &str = "PROCESS_TEST_ENDING";
const COLLECTOR: &str = "PROCESS_TEST_COLLECTOR";
const DEADLINE: Duration = Duration::from_secs(30);
const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_ending_drains_the_tasks_and_exports_their_spans() -> Result<()> {
    for (ending, succeeds, said) in [
        ("signal", true, ""),
        ("error in start-up", false, "error: no database"),
        ("taken port", false, "the port is in use by another program"),
        ("panic in start-up", false, "error: panicked: clumsy"),
        ("failed task", false, "error: a task failed"),
    ] {
        let (collector, mut posts) = collector().await?;
        let Output { status, stderr, stdout } = end(ending, collector).await?;
        let stderr = String::from_utf8_lossy(&stderr);
        let log = String::from_utf8_lossy(&stdout);
        assert_eq!(status.code(), Some(i32::from(!succeeds)), "{ending}: {stderr}{log}");
        assert!(stderr.contains(said), "{ending}: {stderr}");

        let mut exported = Vec::new();
        while let Ok(body) = posts.try_recv() {
            exported.extend_from_slice(&body);
        }
        for span in ["span.before.the.end", "span.while.draining"] {
            let found = exported.windows(span.len()).any(|window| window == span.as_bytes());
            assert!(found, "{ending}: {span} was not exported\n{log}");
        }
    }
    Ok(())
}

/// Takes spans as an OTLP collector does, and passes the bodies on.
async fn collector() -> Result<(SocketAddr, UnboundedReceiver<Bytes>)> {
    let (sender, posts) = unbounded_channel();
    let listener = TcpListener::bind(ANY_PORT).await?;
    let address = listener.local_addr()?;
    let take = move |body: Bytes| {
        let taken = sender.send(body);
        async move { taken.map_err(|_| axum::http::StatusCode::GONE) }
    };
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/v1/traces", post(take))).await });
    Ok((address, posts))
}

async fn end(ending: &str, collector: SocketAddr) -> Result<Output> {
    let mut program = Command::new(env::current_exe()?);
    program.args(["--exact", "the_process", "--ignored", "--nocapture"]).kill_on_drop(true);
    program.env(ENDING, ending).env(COLLECTOR, collector.to_string());
    Ok(tokio::time::timeout(DEADLINE, program.output()).await.context(ending.to_owned())??)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the process that the test above starts"]
async fn the_process() {
    let ending = env::var(ENDING).expect("started by the test above");
    let collector: SocketAddr = env::var(COLLECTOR).expect("an address").parse().expect("an address");
    let traces = TracesConfig { endpoint: Some(format!("http://{collector}")), ..TracesConfig::default() };
    let telemetry = TelemetryConfig { traces, ..TelemetryConfig::default() };
    let code = process::run("doomed", &telemetry, async |shutdown| {
        let drain_within = Duration::from_secs(5);
        let start = async |tasks: &Tasks| start(tasks, &ending, collector).await;
        process::serve("doomed", &HttpLimits::default(), drain_within, shutdown, start).await
    })
    .await;
    std::process::exit(i32::from(code != ExitCode::SUCCESS));
}

async fn start(tasks: &Tasks, ending: &str, taken: SocketAddr) -> Result<Server> {
    let shutdown = tasks.shutdown.clone();
    tasks.spawn("obedient", async move {
        shutdown.cancelled().await;
        tracing::info_span!("span.while.draining").in_scope(|| ());
    });
    tracing::info_span!("span.before.the.end").in_scope(|| ());
    match ending {
        "signal" => raise(Signal::SIGTERM)?,
        "error in start-up" => bail!("no database"),
        "taken port" => drop(http::bind(taken, "PORT").await?),
        "panic in start-up" => panic!("clumsy"),
        "failed task" => tasks.spawn("unlucky", async { Err::<(), _>("no luck") }),
        other => bail!("unknown ending {other}"),
    }
    Ok(Server { listener: http::bind(ANY_PORT, "PORT").await?, router: Router::new() })
}
