//! The minimum that prints with Chromium: the limit for a renderer. One web socket per tab, one call at a time; no
//! deadlines, no blocked network, no recovery.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use futures_util::{SinkExt, StreamExt};
use nix::unistd::Uid;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStderr};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};

use workers::pdf::{FLAGS, find_chromium};

use crate::system::bound_to_us;

const START_DEADLINE: Duration = Duration::from_secs(30);
const EXIT_DEADLINE: Duration = Duration::from_secs(5);

/// The browser that our renderer uses.
pub(crate) fn executable() -> Result<PathBuf> {
    let configured = std::env::var_os("CHROMIUM_PATH").map(PathBuf::from);
    Ok(find_chromium(configured.as_deref())?)
}

/// A running browser.
#[derive(Debug)]
pub(crate) struct Browser {
    socket: Socket,
    /// `ws://127.0.0.1:port`
    address: String,
    child: Child,
    /// Never read. It stays open because the browser fails when it cannot write to its standard error.
    _log: Lines<BufReader<ChildStderr>>,
    profile: TempDir,
}

impl Browser {
    pub(crate) async fn launch() -> Result<Self> {
        let profile = tempfile::Builder::new().prefix("articurated-bench-").tempdir()?;
        let mut command = bound_to_us(executable()?);
        command
            .arg("--remote-debugging-port=0")
            .args(FLAGS)
            .arg(format!("--user-data-dir={}", profile.path().display()));
        if Uid::effective().is_root() {
            command.arg("--no-sandbox");
        }
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let mut log = BufReader::new(child.stderr.take().context("standard error is piped")?).lines();
        let url = timeout(START_DEADLINE, listening_on(&mut log)).await.context("Chromium does not start")??;
        let address = url.split("/devtools/").next().unwrap_or_default().to_owned();
        Ok(Self { socket: Socket::connect(&url).await?, address, child, _log: log, profile })
    }

    /// A blank page in a new tab.
    pub(crate) async fn open_page(&mut self) -> Result<Page> {
        let target = self.socket.call::<Value>("Target.createTarget", json!({ "url": "about:blank" })).await?;
        let id = target["targetId"].as_str().context("a target without an id")?;
        let mut socket = Socket::connect(&format!("{}/devtools/page/{id}", self.address)).await?;
        let tree = socket.call::<Value>("Page.getFrameTree", json!({})).await?;
        let frame = tree["frameTree"]["frame"]["id"].as_str().context("a page without a frame")?.to_owned();
        Ok(Page { socket, frame })
    }

    pub(crate) async fn close(mut self) -> Result<()> {
        self.socket.call::<Value>("Browser.close", json!({})).await?;
        timeout(EXIT_DEADLINE, self.child.wait()).await.context("Chromium does not exit")??;
        // The last process of the browser may still be writing; the system's clean-up of temporary files removes the rest.
        let _ = self.profile.close();
        Ok(())
    }
}

async fn listening_on(log: &mut Lines<BufReader<ChildStderr>>) -> Result<String> {
    let mut last = String::new();
    while let Some(line) = log.next_line().await? {
        if let Some(url) = line.strip_prefix("DevTools listening on ") {
            return Ok(url.trim().to_owned());
        }
        last = line;
    }
    bail!("Chromium has ended: {last}")
}

/// A tab.
#[derive(Debug)]
pub(crate) struct Page {
    socket: Socket,
    frame: String,
}

#[derive(Deserialize)]
struct Printed {
    data: String,
}

impl Page {
    pub(crate) async fn print(&mut self, html: &str) -> Result<()> {
        /// `%PDF` in Base64.
        const PDF: &str = "JVBERi";
        let content = json!({ "frameId": self.frame, "html": html });
        self.socket.call::<Value>("Page.setDocumentContent", content).await?;
        let options = json!({ "printBackground": true, "preferCSSPageSize": true, "generateTaggedPDF": true });
        let printed: Printed = self.socket.call("Page.printToPDF", options).await?;
        ensure!(printed.data.starts_with(PDF), "that is not a PDF");
        Ok(())
    }
}

#[derive(Debug)]
struct Socket {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
    last_id: u64,
}

#[derive(Deserialize)]
struct Answer {
    id: Option<u64>,
    result: Option<Box<RawValue>>,
    error: Option<Value>,
}

impl Socket {
    async fn connect(url: &str) -> Result<Self> {
        // Nagle's algorithm would hold back the end of a document until the browser has acknowledged the rest.
        let (stream, _) = connect_async_with_config(url, None, true).await.context("cannot talk to Chromium")?;
        Ok(Self { stream, last_id: 0 })
    }

    /// Sends one call and returns its result; skips events that come before it.
    async fn call<T: for<'a> Deserialize<'a>>(&mut self, method: &str, params: Value) -> Result<T> {
        self.last_id += 1;
        let message = json!({ "id": self.last_id, "method": method, "params": params }).to_string();
        self.stream.send(Message::text(message)).await?;
        loop {
            let message = self.stream.next().await.context("Chromium hung up")??;
            let Message::Text(text) = message else { continue };
            let answer: Answer = serde_json::from_str(&text)?;
            if answer.id == Some(self.last_id) {
                ensure!(answer.error.is_none(), "{method}: {:?}", answer.error);
                let result = answer.result.context("an answer without a result")?;
                return Ok(serde_json::from_str(result.get())?);
            }
        }
    }
}
