//! The `DevTools` protocol over a browser's debugging pipe: JSON messages, each ended by a NUL.
//!
//! The messages are `headless_chrome`'s types; the transport is ours. The crate's transport (1.0.22) polls and locks its
//! socket for a tenth of a second at a time, so that a document took 280 ms where the browser needs 50. It also needs a
//! TCP port, which every user of the machine could connect to.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use headless_chrome::protocol::cdp::types::Method;
use headless_chrome::protocol::cdp::{Fetch, Network};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{ChildStdin, ChildStdout};
use tokio::sync::{mpsc, oneshot};

/// Messages that wait for the browser to read them. Each tab has one call in flight; the rest is for refused requests.
const MAX_QUEUED_MESSAGES: usize = 256;

/// Why a call has no result.
#[derive(Debug)]
pub(super) enum Failure {
    /// The browser answered with an error.
    Refused(String),
    /// The tab, or the whole browser, is gone.
    Crashed(&'static str),
}

/// The calling side. When the last clone is dropped, the pipe closes and the browser exits.
#[derive(Clone, Debug)]
pub(super) struct Connection {
    to_browser: mpsc::Sender<Vec<u8>>,
    calls: Arc<Calls>,
}

/// The answering side. It must be read until the pipe closes.
#[derive(Debug)]
pub(super) struct Answers {
    pipe: BufReader<ChildStdout>,
    refusals: mpsc::WeakSender<Vec<u8>>,
    calls: Arc<Calls>,
}

type Answer = Result<Box<RawValue>, Failure>;

#[derive(Debug, Default)]
struct Calls(Mutex<CallTable>);

#[derive(Debug, Default)]
struct CallTable {
    last_id: u32,
    pending: HashMap<u32, PendingCall>,
    /// Calls to these sessions would never be answered.
    crashed_sessions: HashSet<String>,
    closed: bool,
    #[cfg(test)]
    refused: usize,
}

#[derive(Debug)]
struct PendingCall {
    session: Option<String>,
    answer: oneshot::Sender<Answer>,
}

#[derive(Serialize)]
struct Request<'a, M> {
    id: u32,
    method: &'static str,
    params: M,
    #[serde(rename = "sessionId", skip_serializing_if = "Option::is_none")]
    session: Option<&'a str>,
}

#[derive(Deserialize)]
struct Incoming<'a> {
    id: Option<u32>,
    result: Option<Box<RawValue>>,
    error: Option<RemoteError>,
    method: Option<&'a str>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
    #[serde(rename = "sessionId")]
    session: Option<&'a str>,
}

#[derive(Deserialize)]
struct RemoteError {
    message: String,
}

#[derive(Deserialize)]
struct Paused {
    #[serde(rename = "requestId")]
    request_id: String,
}

pub(super) fn over(input: ChildStdin, output: ChildStdout) -> (Connection, Answers) {
    let (to_browser, messages) = mpsc::channel(MAX_QUEUED_MESSAGES);
    let calls = Arc::<Calls>::default();
    let refusals = to_browser.downgrade();
    tokio::spawn(write(input, messages));
    let answers = Answers { pipe: BufReader::new(output), refusals, calls: Arc::clone(&calls) };
    (Connection { to_browser, calls }, answers)
}

impl Connection {
    /// Calls a method of a tab (its session), or of the browser itself.
    pub(super) async fn call<M>(&self, session: Option<&str>, params: M) -> Result<M::ReturnObject, Failure>
    where
        M: Method + Serialize,
    {
        let (id, answer) = self.calls.register(session)?;
        let request = Request { id, method: M::NAME, params, session };
        let mut message = serde_json::to_vec(&request).map_err(|error| Failure::Refused(error.to_string()))?;
        message.push(0);
        self.to_browser.send(message).await.map_err(|_| Failure::Crashed("the browser no longer reads"))?;
        let result = answer.await.unwrap_or(Err(Failure::Crashed("the browser is gone")))?;
        serde_json::from_str(result.get()).map_err(|error| Failure::Refused(format!("undecodable answer: {error}")))
    }

    /// How many requests of documents were refused.
    #[cfg(test)]
    pub(super) fn refused(&self) -> usize {
        self.calls.lock().refused
    }

    /// Whether calls to the tab can still be answered.
    pub(super) fn is_open(&self, session: &str) -> bool {
        let calls = self.calls.lock();
        !calls.closed && !calls.crashed_sessions.contains(session)
    }
}

impl Answers {
    /// Delivers answers to their callers until the browser closes the pipe.
    pub(super) async fn deliver(mut self) {
        let mut message = Vec::new();
        while self.pipe.read_until(0, &mut message).await.is_ok_and(|length| length > 0) {
            message.pop();
            match serde_json::from_slice::<Incoming<'_>>(&message) {
                Ok(incoming) => self.receive(incoming),
                Err(error) => tracing::warn!(%error, "the browser sent an undecodable message"),
            }
            message.clear();
        }
    }

    fn receive(&self, incoming: Incoming<'_>) {
        if let Some(id) = incoming.id {
            self.calls.answer(
                id,
                match (incoming.result, incoming.error) {
                    (Some(result), None) => Ok(result),
                    (_, error) => Err(Failure::Refused(error.map(|error| error.message).unwrap_or_default())),
                },
            );
            return;
        }
        match (incoming.method, incoming.session) {
            (Some("Inspector.targetCrashed"), Some(session)) => self.calls.crash(session),
            (Some("Fetch.requestPaused"), Some(session)) => self.refuse(session, incoming.params),
            _ => {}
        }
    }

    /// Fails a request of a document. If the message cannot be queued, the request stays paused for ever, which is as good.
    fn refuse(&self, session: &str, paused: Option<&RawValue>) {
        let paused = paused.and_then(|paused| serde_json::from_str::<Paused>(paused.get()).ok());
        let (Some(Paused { request_id }), Some(to_browser)) = (paused, self.refusals.upgrade()) else { return };
        #[cfg(test)]
        {
            self.calls.lock().refused += 1;
        }
        let params = Fetch::FailRequest { request_id, error_reason: Network::ErrorReason::Aborted };
        // No call has the id 0.
        let request = Request { id: 0, method: Fetch::FailRequest::NAME, params, session: Some(session) };
        if let Ok(mut message) = serde_json::to_vec(&request) {
            message.push(0);
            let _ = to_browser.try_send(message);
        }
    }
}

impl Drop for Answers {
    fn drop(&mut self) {
        self.calls.close();
    }
}

impl Calls {
    fn register(&self, session: Option<&str>) -> Result<(u32, oneshot::Receiver<Answer>), Failure> {
        let mut calls = self.lock();
        if calls.closed {
            return Err(Failure::Crashed("the browser is gone"));
        }
        if session.is_some_and(|session| calls.crashed_sessions.contains(session)) {
            return Err(Failure::Crashed("the tab's process died"));
        }
        calls.last_id += 1;
        let (id, (answer, answered)) = (calls.last_id, oneshot::channel());
        calls.pending.insert(id, PendingCall { session: session.map(str::to_owned), answer });
        Ok((id, answered))
    }

    fn answer(&self, id: u32, outcome: Answer) {
        if let Some(pending) = self.lock().pending.remove(&id) {
            // The caller may have given up.
            let _ = pending.answer.send(outcome);
        }
    }

    fn crash(&self, session: &str) {
        let mut calls = self.lock();
        calls.crashed_sessions.insert(session.to_owned());
        for (_, lost) in calls.pending.extract_if(|_, call| call.session.as_deref() == Some(session)) {
            let _ = lost.answer.send(Err(Failure::Crashed("the tab's process died")));
        }
    }

    fn close(&self) {
        let mut calls = self.lock();
        calls.closed = true;
        calls.pending.clear();
    }

    fn lock(&self) -> MutexGuard<'_, CallTable> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A task of its own, because a caller that gives up in the middle of a message would corrupt the next one.
async fn write(mut pipe: ChildStdin, mut messages: mpsc::Receiver<Vec<u8>>) {
    while let Some(message) = messages.recv().await {
        if pipe.write_all(&message).await.is_err() {
            return;
        }
    }
}
