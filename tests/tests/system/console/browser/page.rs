//! A page of Chromium, by the protocol of its developer tools. The connection of `headless_chrome` looks for answers ten times a second
//! only, and a test has thousands of calls.

use std::net::TcpStream;
use std::sync::Mutex;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tests::waiting::SOON;
use tungstenite::stream::MaybeTlsStream;
use tungstenite::{Message, WebSocket, connect};

#[derive(Debug)]
pub(super) struct Page(Mutex<Connection>);

#[derive(Debug)]
struct Connection {
    socket: WebSocket<MaybeTlsStream<TcpStream>>,
    calls: u64,
    /// What came between the answers.
    events: Vec<Value>,
}

impl Page {
    pub(super) fn connect(url: &str) -> Result<Self> {
        let (socket, _) = connect(url)?;
        if let MaybeTlsStream::Plain(stream) = socket.get_ref() {
            stream.set_read_timeout(Some(SOON))?;
            stream.set_nodelay(true)?;
        }
        Ok(Self(Mutex::new(Connection { socket, calls: 0, events: Vec::new() })))
    }

    /// Calls a method, and waits for its answer.
    pub(super) fn call(&self, method: &str, params: &Value) -> Result<Value> {
        let mut connection = self.0.lock().expect("not poisoned");
        connection.calls += 1;
        let call = json!({ "id": connection.calls, "method": method, "params": params });
        connection.socket.send(Message::text(call.to_string()))?;
        loop {
            let Message::Text(text) = connection.socket.read().context(method.to_owned())? else { continue };
            let mut answer: Value = serde_json::from_str(&text)?;
            if answer["id"] == call["id"] {
                if let Some(error) = answer.get("error") {
                    bail!("{method}: {error}");
                }
                return Ok(answer["result"].take());
            }
            connection.events.push(answer);
        }
    }

    /// The events that came since this was asked last.
    pub(super) fn events(&self) -> Vec<Value> {
        std::mem::take(&mut self.0.lock().expect("not poisoned").events)
    }

    /// Strikes a key.
    pub(super) fn strike(&self, key: &str) -> Result<()> {
        let (code, text) = match key {
            "Tab" => (9, None),
            "Enter" => (13, Some("\r")),
            "Escape" => (27, None),
            " " => (32, Some(" ")),
            letter => (0, Some(letter)),
        };
        let kind = if text.is_some() { "keyDown" } else { "rawKeyDown" };
        let down = json!({ "type": kind, "key": key, "windowsVirtualKeyCode": code, "text": text.unwrap_or_default() });
        self.call("Input.dispatchKeyEvent", &down)?;
        self.call("Input.dispatchKeyEvent", &json!({ "type": "keyUp", "key": key, "windowsVirtualKeyCode": code }))?;
        Ok(())
    }

    pub(super) fn click(&self, (x, y): (f64, f64)) -> Result<()> {
        for kind in ["mouseMoved", "mousePressed", "mouseReleased"] {
            let button = if kind == "mouseMoved" { "none" } else { "left" };
            let event = json!({ "type": kind, "x": x, "y": y, "button": button, "clickCount": 1 });
            self.call("Input.dispatchMouseEvent", &event)?;
        }
        Ok(())
    }
}
