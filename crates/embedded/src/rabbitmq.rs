//! A private `RabbitMQ` node with an epmd of its own.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::Signal;

use crate::child::{Child, bound_to_parent};
use crate::folder::Folder;
use crate::{ports, programs};

const USER: &str = "articurated";
const LOG: &str = "rabbitmq.log";
/// Usually a second. On a machine with all cores busy it took more than a minute.
const START_DEADLINE: Duration = Duration::from_mins(3);
const STOP_PATIENCE: Duration = Duration::from_secs(20);
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// Where and how to start the node.
#[derive(Debug, Clone)]
pub struct Options {
    /// Holds everything of the node; created if it does not exist.
    pub folder: PathBuf,
    /// AMQP port. `None`: the port of the last run if it is free, else any free port.
    pub port: Option<u16>,
    /// Start without queues and messages; delete what the folder holds.
    pub fresh: bool,
}

impl Options {
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), port: None, fresh: false }
    }
}

/// A running node; it stops when this is dropped.
#[derive(Debug)]
pub struct PrivateNode {
    place: Arc<Place>,
    broker: Child,
    epmd: Child,
}

/// What stays the same across restarts.
#[derive(Debug)]
struct Place {
    folder: Folder,
    scripts: PathBuf,
    name: String,
    password: String,
    port: u16,
    distribution_port: u16,
    epmd_port: u16,
}

impl PrivateNode {
    /// Starts a node on the folder and waits until it answers AMQP.
    pub async fn start(options: Options) -> Result<Self> {
        tokio::task::spawn_blocking(move || Self::start_blocking(&options)).await?
    }

    fn start_blocking(options: &Options) -> Result<Self> {
        let place = Arc::new(Place::prepare(options)?);
        let epmd = place.start_epmd()?;
        let broker = place.start_broker()?;
        tracing::info!(port = place.port, pid = broker.pid(), folder = %options.folder.display(), "a private RabbitMQ is ready");
        Ok(Self { place, broker, epmd })
    }

    /// It holds the password: do not log it.
    pub fn url(&self) -> String {
        let place = &self.place;
        format!("amqp://{USER}:{}@127.0.0.1:{}/%2f", place.password, place.port)
    }

    pub fn port(&self) -> u16 {
        self.place.port
    }

    /// Process ids: the broker's and its epmd's.
    pub fn pids(&self) -> [u32; 2] {
        [self.broker.pid(), self.epmd.pid()]
    }

    /// Runs `rabbitmqctl` on this node and returns what it printed.
    pub async fn ctl(&self, arguments: &[&str]) -> Result<String> {
        let mut command = self.place.script("rabbitmqctl", Signal::SIGKILL);
        command.args(["--quiet", "--node", &self.place.name]).args(arguments);
        let output = tokio::task::spawn_blocking(move || command.output()).await??;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let complained = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "rabbitmqctl {arguments:?} failed: {said}{complained}");
        Ok(said)
    }

    /// Kills the broker, as in a crash. `restart` brings it back on the same port with its queues.
    pub fn kill(&self) {
        self.broker.signal(Signal::SIGKILL);
        self.broker.wait(STOP_PATIENCE);
    }

    /// Stops the broker if it runs, and starts it again.
    pub async fn restart(&mut self) -> Result<()> {
        let place = Arc::clone(&self.place);
        let stopped = self.broker.clone();
        self.broker = tokio::task::spawn_blocking(move || {
            stopped.stop(Signal::SIGTERM, STOP_PATIENCE);
            place.start_broker()
        })
        .await??;
        Ok(())
    }

    /// Shuts the broker down in order. Dropping does the same, but blocks the thread.
    pub async fn stop(self) {
        let _ = tokio::task::spawn_blocking(move || drop(self)).await;
    }
}

impl Drop for PrivateNode {
    fn drop(&mut self) {
        // On SIGTERM RabbitMQ shuts down in order. rabbitmqctl would take seconds to request the same.
        self.broker.stop(Signal::SIGTERM, STOP_PATIENCE);
        self.epmd.stop(Signal::SIGKILL, STOP_PATIENCE);
    }
}

impl Place {
    fn prepare(options: &Options) -> Result<Self> {
        let scripts = programs::rabbitmq()?;
        let folder = Folder::open(&options.folder, None)?;
        let messages = folder.join("mnesia");
        if options.fresh && messages.exists() {
            fs::remove_dir_all(messages)?;
        }
        let password = folder.password()?;
        let last = |name| folder.read(name).and_then(|text| text.parse().ok());
        let port = ports::claim(options.port, last("port"), "RabbitMQ")?;
        folder.write("port", &port.to_string())?;
        for name in ["home", "mnesia", "log"] {
            folder.subfolder(name)?;
        }
        folder.write("enabled_plugins", "[].\n")?;
        // Erlang terms, not the newer ini format: RabbitMQ takes a second or two to translate that at every start.
        folder.write(
            "rabbitmq.config",
            &format!("[{{rabbit, [{{default_user, <<\"{USER}\">>}}, {{default_pass, <<\"{password}\">>}}]}}].\n"),
        )?;
        // The data folder is named after the node, so the name must not depend on a port that may change.
        let name = "articurated@localhost".to_owned();
        Ok(Self {
            folder,
            scripts,
            name,
            password,
            port,
            distribution_port: ports::free_port()?,
            epmd_port: ports::free_port()?,
        })
    }

    /// Without an epmd of our own, Erlang would start one that all nodes share and that never stops.
    fn start_epmd(&self) -> Result<Child> {
        let mut command = bound_to_parent(Signal::SIGKILL, "epmd");
        command.args(["-address", "127.0.0.1", "-port", &self.epmd_port.to_string()]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let epmd = Child::spawn("epmd", command)?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.epmd_port));
        epmd.wait_until(START_DEADLINE, || TcpStream::connect_timeout(&address, PROBE_TIMEOUT).is_ok())?;
        Ok(epmd)
    }

    fn start_broker(&self) -> Result<Child> {
        let log = self.folder.new_log(LOG)?;
        let mut command = self.script("rabbitmq-server", Signal::SIGKILL);
        command.stdout(Stdio::from(log.try_clone()?)).stderr(Stdio::from(log));
        let broker = Child::spawn("rabbitmq", command)?;
        if let Err(error) = broker.wait_until(START_DEADLINE, || speaks_amqp(self.port).is_ok()) {
            broker.stop(Signal::SIGKILL, STOP_PATIENCE);
            return Err(error.context(self.folder.log_tail(LOG)));
        }
        Ok(broker)
    }

    fn script(&self, name: &str, on_parent_death: Signal) -> Command {
        let mut command = bound_to_parent(on_parent_death, self.scripts.join(name));
        let paths = [
            ("HOME", "home"),
            ("RABBITMQ_MNESIA_BASE", "mnesia"),
            ("RABBITMQ_LOG_BASE", "log"),
            ("RABBITMQ_ENABLED_PLUGINS_FILE", "enabled_plugins"),
            ("RABBITMQ_CONFIG_FILE", "rabbitmq.config"),
            // Not the machine's own settings, which are for the machine's own node. This file does not exist.
            ("RABBITMQ_CONF_ENV_FILE", "rabbitmq-env.conf"),
        ];
        command
            .envs(paths.map(|(variable, file)| (variable, self.folder.join(file))))
            .env("RABBITMQ_NODENAME", &self.name)
            .env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_NODE_PORT", self.port.to_string())
            .env("RABBITMQ_DIST_PORT", self.distribution_port.to_string())
            .env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "-kernel inet_dist_use_interface {127,0,0,1}")
            .env("ERL_EPMD_ADDRESS", "127.0.0.1")
            .env("ERL_EPMD_PORT", self.epmd_port.to_string())
            // The script becomes the broker. Otherwise the broker would be its child, which the parent-death signal does
            // not reach.
            .env("RABBITMQ_ALLOW_INPUT", "1")
            .env("RABBITMQ_SERVER_START_ARGS", "-noinput +B i");
        command
    }
}

/// A broker that is ready answers a protocol header with `Connection.Start`, a method frame.
fn speaks_amqp(port: u16) -> Result<()> {
    let mut stream = TcpStream::connect_timeout(&(Ipv4Addr::LOCALHOST, port).into(), PROBE_TIMEOUT)?;
    stream.set_read_timeout(Some(PROBE_TIMEOUT))?;
    stream.write_all(b"AMQP\x00\x00\x09\x01")?;
    let mut frame_type = [0_u8; 1];
    stream.read_exact(&mut frame_type).context("no answer")?;
    match frame_type {
        [1] => Ok(()),
        other => bail!("an answer that is not AMQP: {other:?}"),
    }
}
