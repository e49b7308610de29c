//! An HTTP client, and answers with assertions.

use std::time::Duration;

use anyhow::Result;
use contracts::{CONSISTENCY_TOKEN_HEADER, OrderDocument, ReturnDocument, Transition};
use reqwest::header::{CONTENT_TYPE, HeaderMap};
use reqwest::{Client, Method, RequestBuilder};
use runtime::http::REQUEST_ID_HEADER;
use runtime::{ErrorBody, ErrorDetail};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Longer than any answer may take, so that a test without an answer ends.
const TIMEOUT: Duration = Duration::from_secs(60);

/// One base address.
#[derive(Debug, Clone)]
pub struct Api {
    base: String,
    http: Client,
}

impl Api {
    pub fn new(base: &str) -> Result<Self> {
        Self::with_timeout(base, TIMEOUT)
    }

    /// A client with a time-out per request.
    pub fn with_timeout(base: &str, timeout: Duration) -> Result<Self> {
        runtime::tls::install();
        Ok(Self { base: base.to_owned(), http: Client::builder().timeout(timeout).build()? })
    }

    /// A call; add headers and a body.
    pub fn call(&self, method: Method, path: &str) -> Call {
        let what = format!("{method} {path}");
        Call { what, builder: self.http.request(method, format!("{}{path}", self.base)) }
    }

    pub async fn get(&self, path: &str) -> Result<Answer> {
        self.call(Method::GET, path).send().await
    }

    /// Reads with a consistency token: the answer has at least that version.
    pub async fn read(&self, path: &str, token: &str) -> Result<Answer> {
        self.call(Method::GET, path).header(CONSISTENCY_TOKEN_HEADER, token).send().await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Result<Answer> {
        self.call(Method::POST, path).json(body).send().await
    }

    pub async fn patch(&self, path: &str, body: &Value) -> Result<Answer> {
        self.call(Method::PATCH, path).json(body).send().await
    }
}

/// A request before it is sent.
#[derive(Debug)]
pub struct Call {
    what: String,
    builder: RequestBuilder,
}

impl Call {
    /// A header of any text as UTF-8, as careless clients send it.
    pub fn header(self, name: &str, value: &str) -> Self {
        Self { builder: self.builder.header(name, value.as_bytes()), ..self }
    }

    pub fn json(self, body: &Value) -> Self {
        Self { builder: self.builder.json(body), ..self }
    }

    /// The body as raw bytes, with or without a content type.
    pub fn body(self, content_type: Option<&str>, body: Vec<u8>) -> Self {
        let call = match content_type {
            Some(content_type) => self.header(CONTENT_TYPE.as_str(), content_type),
            None => self,
        };
        Self { builder: call.builder.body(body), ..call }
    }

    pub async fn send(self) -> Result<Answer> {
        let response = self.builder.send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Ok(Answer { what: self.what, status, headers, body: response.bytes().await?.to_vec() })
    }
}

/// A complete answer. Its assertions panic at the caller's line.
#[derive(Debug, Clone)]
pub struct Answer {
    what: String,
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Asserts the status.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{} was answered {} {}", self.what, self.status, self.text());
        self
    }

    #[track_caller]
    pub fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name).unwrap_or_else(|| panic!("{} was answered without {name}", self.what));
        value.to_str().expect("a header of text")
    }

    /// The consistency token that a command returns and a query accepts.
    #[track_caller]
    pub fn token(&self) -> &str {
        self.header(CONSISTENCY_TOKEN_HEADER)
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        self.parse()
    }

    #[track_caller]
    pub fn order(&self) -> OrderDocument {
        self.parse()
    }

    #[track_caller]
    pub fn returned(&self) -> ReturnDocument {
        self.parse()
    }

    /// The entries of a history.
    #[track_caller]
    pub fn history(&self) -> Vec<Transition> {
        serde_json::from_value(self.json()["data"].clone()).unwrap_or_else(|error| panic!("{}: {error}", self.what))
    }

    #[track_caller]
    fn parse<T: DeserializeOwned>(&self) -> T {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{} was answered with {}: {error}", self.what, self.text()))
    }

    /// Asserts an error in the documented shape, with the same request id in body and header.
    #[track_caller]
    pub fn refused(&self, status: u16, code: &str) -> ErrorDetail {
        assert_eq!(self.status, status, "{} was answered {} {}", self.what, self.status, self.text());
        assert_eq!(self.header(CONTENT_TYPE.as_str()), "application/json", "{}", self.what);
        let raw = self.json();
        let members: Vec<_> = raw["error"].as_object().into_iter().flat_map(|error| error.keys()).collect();
        assert_eq!(members, ["code", "details", "docs", "message", "request_id"], "{}: {raw}", self.what);
        assert_eq!(raw["error"]["docs"], format!("/docs/errors#{code}"), "{}", self.what);
        assert!(raw["error"]["details"].is_object(), "{}: {raw}", self.what);
        let ErrorBody { error } = self.parse();
        assert_eq!(error.code, code, "{}: {raw}", self.what);
        assert!(!error.message.is_empty(), "{}: {raw}", self.what);
        assert_eq!(error.request_id, self.header(REQUEST_ID_HEADER), "{}", self.what);
        error
    }
}
