//! Reading one's own writes.
//!
//! Every command returns a token, `order:<id>@<version>.<signature>`. A query that sends it back gets its response once the read model has
//! that version. If that takes too long the query is refused; it never gets an older version.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use access::ConsistencyKey;
use access::consistency::Token;
use axum::http::{HeaderMap, StatusCode};
use contracts::{CONSISTENCY_TOKEN_HEADER, EntityType};
use runtime::ApiError;
use serde_json::json;
use sqlx::PgPool;
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use super::waiters::{MAX_AWAITED, Waiters, Wanted, versions};

pub(super) use super::waiters::Scope;

/// Limit of tokens in one request.
const MAX_TOKENS: usize = 20;

/// The consistency tokens of a request.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Tokens {
    /// The highest version per order, return and refund.
    versions: BTreeMap<(&'static str, Uuid), i32>,
}

impl Tokens {
    /// Tokens from the header and from the query parameter `consistency`, separated by commas.
    pub(crate) fn parse(key: &ConsistencyKey, headers: &HeaderMap, parameter: Option<&str>) -> Result<Self, ApiError> {
        let mut tokens = Self::default();
        let mut count = 0;
        for header in headers.get_all(CONSISTENCY_TOKEN_HEADER) {
            let text = header.to_str().map_err(|_| malformed(CONSISTENCY_TOKEN_HEADER))?;
            tokens.add(key, CONSISTENCY_TOKEN_HEADER, text, &mut count)?;
        }
        tokens.add(key, "consistency", parameter.unwrap_or_default(), &mut count)?;
        Ok(tokens)
    }

    /// Of how many orders, returns and refunds they are.
    pub(crate) fn len(&self) -> usize {
        self.versions.len()
    }

    fn wanted(&self, scope: Scope) -> Vec<Wanted> {
        let wanted =
            self.versions.iter().map(|((kind, id), version)| Wanted { scope, kind, id: *id, version: *version });
        wanted.collect()
    }

    fn add(&mut self, key: &ConsistencyKey, field: &str, text: &str, count: &mut usize) -> Result<(), ApiError> {
        if text.trim().is_empty() {
            return Ok(());
        }
        for token in text.split(',') {
            *count += 1;
            if *count > MAX_TOKENS {
                return Err(ApiError::invalid_field(field, format!("must hold at most {MAX_TOKENS} tokens")));
            }
            let (of, version) = read_token(key, token.trim()).ok_or_else(|| malformed(field))?;
            let highest = self.versions.entry(of).or_insert(version);
            *highest = version.max(*highest);
        }
        Ok(())
    }
}

fn read_token(key: &ConsistencyKey, token: &str) -> Option<((&'static str, Uuid), i32)> {
    let Token { entity, id, version } = key.read(token)?;
    let kinds =
        [EntityType::Order, EntityType::Return, EntityType::Refund, EntityType::Invoice, EntityType::CreditNote];
    let kind = kinds.into_iter().find(|known| known.as_str() == entity)?;
    Some(((kind.as_str(), id), version))
}

fn malformed(field: &str) -> ApiError {
    ApiError::invalid_field(
        field,
        "must be tokens that commands answered in X-Consistency-Token, unchanged, separated by commas",
    )
}

/// Holds a request back until the read model has the versions of its tokens.
#[derive(Debug)]
pub(crate) struct Consistency {
    read: PgPool,
    key: ConsistencyKey,
    waiters: Arc<Waiters>,
    max_wait: Duration,
}

impl Consistency {
    pub(crate) fn new(read: PgPool, key: ConsistencyKey, waiters: Arc<Waiters>, max_wait: Duration) -> Self {
        Self { read, key, waiters, max_wait }
    }

    /// Returns once the read model has these versions; 503 `READ_MODEL_BEHIND` when that takes too long, and
    /// `TOO_MANY_WAITING` when too many requests wait already.
    pub(super) async fn wait_for(
        &self,
        headers: &HeaderMap,
        parameter: Option<&str>,
        scope: Scope,
    ) -> Result<(), ApiError> {
        let wanted = Tokens::parse(&self.key, headers, parameter)?.wanted(scope);
        let deadline = Instant::now() + self.max_wait;
        // Most requests find their versions at the first look, and do not wait.
        if wanted.is_empty() || self.behind(&wanted).await?.is_none() {
            return Ok(());
        }
        let mut waiting = self.waiters.enter(wanted.clone()).ok_or_else(too_many_waiting)?;
        match timeout_at(deadline, waiting.served()).await {
            Ok(()) => Ok(()),
            // The last look is the request's own. It says what is missing.
            Err(_elapsed) => self.behind(&wanted).await?.map_or(Ok(()), Err),
        }
    }

    /// What is missing, as the error for the client; `None`: nothing.
    async fn behind(&self, wanted: &[Wanted]) -> sqlx::Result<Option<ApiError>> {
        let have = versions(&self.read, wanted).await?;
        let behind = wanted.iter().zip(&have).any(|(wanted, have)| *have < wanted.version);
        Ok(behind.then(|| read_model_behind(wanted, &have)))
    }
}

fn too_many_waiting() -> ApiError {
    let message = format!(
        "requests wait for {MAX_AWAITED} versions that the read model does not have yet, and no more may wait; \
         try again in a second, or read without a consistency token"
    );
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "TOO_MANY_WAITING", message)
}

fn read_model_behind(wanted: &[Wanted], have: &[i32]) -> ApiError {
    let token = |Wanted { kind, id, .. }: &Wanted, version: i32| format!("{kind}:{id}@{version}");
    let behind = || wanted.iter().zip(have).filter(|(wanted, have)| **have < wanted.version);
    let details = json!({
        "wanted": behind().map(|(wanted, _)| token(wanted, wanted.version)).collect::<Vec<_>>(),
        "have": behind().map(|(wanted, have)| token(wanted, *have)).collect::<Vec<_>>(),
    });
    let message = "the read model does not have the requested version yet; try again";
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "READ_MODEL_BEHIND", message).with_details(details)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

    fn key() -> ConsistencyKey {
        ConsistencyKey::of(&[7; 32])
    }

    fn token(entity: &str, version: i32) -> String {
        key().token(entity, ID.parse().expect("a UUID"), version)
    }

    fn of(header: Option<&str>, parameter: Option<&str>) -> Result<Tokens, ApiError> {
        let mut headers = HeaderMap::new();
        if let Some(header) = header {
            headers.insert(CONSISTENCY_TOKEN_HEADER, header.parse().expect("a header value"));
        }
        Tokens::parse(&key(), &headers, parameter)
    }

    fn versions(tokens: &Tokens) -> Vec<(&'static str, i32)> {
        tokens.versions.iter().map(|((kind, _), version)| (*kind, *version)).collect()
    }

    #[test]
    fn header_and_parameter_count_together_and_the_highest_version_wins() {
        let header = format!("{}, {}", token("order", 2), token("return", 1));
        let parameter = format!("{},{}", token("order", 7), token("order", 3));
        let tokens = of(Some(&header), Some(&parameter)).expect("well-formed");
        assert_eq!(versions(&tokens), [("order", 7), ("return", 1)]);
    }

    #[test]
    fn without_a_token_there_is_nothing_to_wait_for() {
        for (header, parameter) in [(None, None), (Some(""), None), (None, Some(" "))] {
            assert_eq!(of(header, parameter).expect("no token"), Tokens::default());
        }
    }

    #[test]
    fn malformed_tokens_are_refused_with_their_field() {
        for token in [
            "order".to_owned(),
            format!("order:{ID}@1"),
            format!("order:{ID}@1.0000000000000000"),
            token("order", 1).replace("@1", "@2"),
            format!("{},", token("order", 1)),
            token("order", 0),
            token("customer", 1),
            token("ORDER", 1),
        ] {
            for (header, parameter, field) in
                [(Some(&*token), None, CONSISTENCY_TOKEN_HEADER), (None, Some(&*token), "consistency")]
            {
                let error = of(header, parameter).expect_err(&token);
                assert_eq!((error.code, &error.details["fields"][0]["field"]), ("VALIDATION_FAILED", &json!(field)));
            }
        }
    }

    #[test]
    fn tokens_are_limited() {
        let tokens = |n: usize| vec![token("order", 1); n].join(",");
        assert!(of(None, Some(&tokens(MAX_TOKENS))).is_ok());
        assert!(of(None, Some(&tokens(MAX_TOKENS + 1))).is_err());
        assert!(of(Some(&tokens(MAX_TOKENS)), Some(&tokens(1))).is_err());
    }

    #[test]
    fn the_error_names_what_is_behind() {
        let tokens = of(None, Some(&format!("{},{}", token("order", 3), token("return", 1)))).expect("well-formed");
        let error = read_model_behind(&tokens.wanted(Scope::Documents), &[2, 1]);
        assert_eq!((error.status.as_u16(), error.code), (503, "READ_MODEL_BEHIND"));
        assert_eq!(error.details, json!({"wanted": [format!("order:{ID}@3")], "have": [format!("order:{ID}@2")]}));
    }
}
