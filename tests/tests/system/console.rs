//! The console as people use it: its pages, its forms, and who may do what.

mod acts;
mod admin;
mod browser;
mod bulk;
mod pages;
mod provider;
mod sign_in;
mod stories;

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::header::{CONTENT_TYPE, COOKIE, LOCATION, SET_COOKIE};
use reqwest::{Client, Method, RequestBuilder, redirect};
use tests::System;

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// A browser without scripts.
#[derive(Debug)]
struct Browser {
    http: Client,
    base: String,
    cookies: BTreeMap<String, String>,
}

/// What it shows.
#[derive(Debug)]
struct Page {
    status: u16,
    /// Where the browser ended up.
    path: String,
    text: String,
}

impl Browser {
    fn of(system: &System) -> Result<Self> {
        runtime::tls::install();
        let http = Client::builder().redirect(redirect::Policy::none()).build()?;
        Ok(Self { http, base: system.base_url().to_owned(), cookies: BTreeMap::new() })
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let cookies: Vec<_> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let request = self.http.request(method, format!("{}{path}", self.base)).header("sec-fetch-site", "same-origin");
        if cookies.is_empty() { request } else { request.header(COOKIE, cookies.join("; ")) }
    }

    /// Sends a request, and follows where its answer leads.
    async fn follow(&mut self, request: RequestBuilder, path: &str) -> Result<Page> {
        let (mut request, mut path) = (request, path.to_owned());
        for _ in 0..5 {
            let response = request.send().await?;
            for cookie in response.headers().get_all(SET_COOKIE) {
                let pair = cookie.to_str()?.split(';').next().unwrap_or_default();
                let (name, value) = pair.split_once('=').context("a cookie")?;
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
            if let Some(next) = response.headers().get(LOCATION) {
                next.to_str()?.clone_into(&mut path);
            } else {
                let (status, text) = (response.status().as_u16(), response.text().await?);
                let Some(next) = goes_on(&text) else { return Ok(Page { status, path, text }) };
                path = next;
            }
            request = self.request(Method::GET, &path);
        }
        bail!("the redirects do not end: {path}")
    }

    async fn open(&mut self, path: &str) -> Result<Page> {
        self.follow(self.request(Method::GET, path), path).await
    }

    fn filled_in(&self, path: &str, fields: &[(&str, &str)]) -> RequestBuilder {
        let fields: Vec<_> = fields.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
        let request = self.request(Method::POST, path).header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        request.body(fields.join("&"))
    }

    /// Fills a form in and sends it.
    async fn send(&mut self, path: &str, fields: &[(&str, &str)]) -> Result<Page> {
        self.follow(self.filled_in(path, fields), path).await
    }
}

/// Where a page goes on to by itself.
fn goes_on(page: &str) -> Option<String> {
    let (_, rest) = page.split_once("<meta http-equiv=\"refresh\" content=\"0; url=")?;
    Some(rest.split('"').next()?.replace("&amp;", "&"))
}

impl Page {
    #[track_caller]
    fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}: {}", self.path, self.text);
        self
    }

    #[track_caller]
    fn has(&self, text: &str) -> &Self {
        assert!(self.text.contains(text), "{} has no {text:?}: {}", self.path, self.text);
        self
    }

    #[track_caller]
    fn lacks(&self, text: &str) -> &Self {
        assert!(!self.text.contains(text), "{} has {text:?}: {}", self.path, self.text);
        self
    }

    /// The token of its forms.
    #[track_caller]
    fn form_token(&self) -> String {
        let (_, rest) = self.text.split_once("name=\"form_token\" value=\"").expect("a form");
        rest.split('"').next().expect("a token").to_owned()
    }
}
