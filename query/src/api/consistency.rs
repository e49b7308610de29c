//! Reading one's own writes.
//!
//! Every command returns a token, `order:<id>@<version>`. A query that sends it back gets its response once the read model has
//! that version. If that takes too long the query is refused; it never gets an older version.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use axum::http::{HeaderMap, StatusCode};
use contracts::{CONSISTENCY_TOKEN_HEADER, EntityType};
use runtime::ApiError;
use runtime::backoff::Backoff;
use serde_json::json;
use sqlx::PgPool;
use tokio::time::Instant;
use uuid::Uuid;

use crate::projector::announcements::Announcements;

/// Limit of tokens in one request.
const MAX_TOKENS: usize = 20;
/// Another process may run the projector, so a waiting request also polls: often at first, then less often.
const POLL: Backoff = Backoff::new(Duration::from_millis(2), Duration::from_millis(50));

/// What a request reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// Documents: any later version will do.
    Documents,
    /// The history: it must have every entry up to the version.
    History,
}

/// The consistency tokens of a request.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Tokens {
    /// The highest version per order and return.
    versions: BTreeMap<(&'static str, Uuid), i32>,
}

impl Tokens {
    /// Tokens from the header and from the query parameter `consistency`, separated by commas.
    pub(super) fn parse(headers: &HeaderMap, parameter: Option<&str>) -> Result<Self, ApiError> {
        let mut tokens = Self::default();
        let mut count = 0;
        for header in headers.get_all(CONSISTENCY_TOKEN_HEADER) {
            let text = header.to_str().map_err(|_| malformed(CONSISTENCY_TOKEN_HEADER))?;
            tokens.add(CONSISTENCY_TOKEN_HEADER, text, &mut count)?;
        }
        tokens.add("consistency", parameter.unwrap_or_default(), &mut count)?;
        Ok(tokens)
    }

    fn add(&mut self, field: &str, text: &str, count: &mut usize) -> Result<(), ApiError> {
        if text.trim().is_empty() {
            return Ok(());
        }
        for token in text.split(',') {
            *count += 1;
            if *count > MAX_TOKENS {
                return Err(ApiError::invalid_field(field, format!("must hold at most {MAX_TOKENS} tokens")));
            }
            let (key, version) = parse_token(token.trim()).ok_or_else(|| malformed(field))?;
            let highest = self.versions.entry(key).or_insert(version);
            *highest = version.max(*highest);
        }
        Ok(())
    }
}

fn parse_token(token: &str) -> Option<((&'static str, Uuid), i32)> {
    let (kind, rest) = token.split_once(':')?;
    let (id, version) = rest.split_once('@')?;
    let kind = [EntityType::Order, EntityType::Return].into_iter().find(|known| known.as_str() == kind)?;
    let version = version.parse().ok().filter(|version| *version >= 1)?;
    Some(((kind.as_str(), Uuid::try_parse(id).ok()?), version))
}

fn malformed(field: &str) -> ApiError {
    ApiError::invalid_field(field, "must be order:<id>@<version> or return:<id>@<version>, separated by commas")
}

/// Holds a request back until the read model has the versions of its tokens.
#[derive(Debug)]
pub(super) struct Consistency {
    read: PgPool,
    announcements: Announcements,
    max_wait: Duration,
}

impl Consistency {
    pub(super) fn new(read: PgPool, announcements: Announcements, max_wait: Duration) -> Self {
        Self { read, announcements, max_wait }
    }

    /// Returns once the read model has these versions; 503 `READ_MODEL_BEHIND` when that takes too long.
    pub(super) async fn wait_for(&self, tokens: &Tokens, scope: Scope) -> Result<(), ApiError> {
        if tokens.versions.is_empty() {
            return Ok(());
        }
        let ids: HashSet<Uuid> = tokens.versions.keys().map(|(_, id)| *id).collect();
        // Listens before the first read, so that a batch that commits in between is not missed.
        let mut listener = self.announcements.listen();
        let deadline = Instant::now() + self.max_wait;
        let mut polls = 1;
        loop {
            let have = versions(&self.read, tokens, scope).await?;
            let behind = tokens.versions.values().zip(&have).any(|(wanted, have)| have < wanted);
            if !behind {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(read_model_behind(tokens, &have));
            }
            tokio::select! {
                () = listener.wait_for_any(&ids) => {}
                () = tokio::time::sleep_until(deadline.min(Instant::now() + POLL.ceiling(polls))) => polls += 1,
            }
        }
    }
}

/// The versions that the read model has, in the order of `tokens`; 0 for an unknown order or return.
async fn versions(read: &PgPool, tokens: &Tokens, scope: Scope) -> sqlx::Result<Vec<i32>> {
    let kinds: Vec<&str> = tokens.versions.keys().map(|(kind, _)| *kind).collect();
    let ids: Vec<Uuid> = tokens.versions.keys().map(|(_, id)| *id).collect();
    match scope {
        Scope::Documents => {
            sqlx::query_scalar!(
                r#"
                select coalesce(
                    case kind
                        when 'order' then (select version from read.orders where orders.id = wanted.id)
                        when 'return' then (select version from read.returns where returns.id = wanted.id)
                    end, 0) as "have!"
                from unnest($1::text[], $2::uuid[]) with ordinality as wanted (kind, id, place)
                order by place
                "#,
                &kinds as &[&str],
                &ids,
            )
            .fetch_all(read)
            .await
        }
        // Versions run from 1 to n without a gap, so the history is complete when it has as many entries as the version says.
        Scope::History => {
            let versions: Vec<i32> = tokens.versions.values().copied().collect();
            sqlx::query_scalar!(
                r#"
                select (
                    select count(*)::int from read.history
                    where aggregate_type = kind and aggregate_id = id and history.version <= wanted.version
                ) as "have!"
                from unnest($1::text[], $2::uuid[], $3::int[]) with ordinality as wanted (kind, id, version, place)
                order by place
                "#,
                &kinds as &[&str],
                &ids,
                &versions,
            )
            .fetch_all(read)
            .await
        }
    }
}

fn read_model_behind(tokens: &Tokens, have: &[i32]) -> ApiError {
    let token = |(kind, id): &(&str, Uuid), version: i32| format!("{kind}:{id}@{version}");
    let behind = || tokens.versions.iter().zip(have).filter(|((_, wanted), have)| have < wanted);
    let details = json!({
        "wanted": behind().map(|((key, wanted), _)| token(key, *wanted)).collect::<Vec<_>>(),
        "have": behind().map(|((key, _), have)| token(key, *have)).collect::<Vec<_>>(),
    });
    let message = "the read model does not have the requested version yet; try again";
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "READ_MODEL_BEHIND", message).with_details(details)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

    fn of(header: Option<&str>, parameter: Option<&str>) -> Result<Tokens, ApiError> {
        let mut headers = HeaderMap::new();
        if let Some(header) = header {
            headers.insert(CONSISTENCY_TOKEN_HEADER, header.parse().expect("a header value"));
        }
        Tokens::parse(&headers, parameter)
    }

    fn versions(tokens: &Tokens) -> Vec<(&'static str, i32)> {
        tokens.versions.iter().map(|((kind, _), version)| (*kind, *version)).collect()
    }

    #[test]
    fn header_and_parameter_count_together_and_the_highest_version_wins() {
        let header = format!("order:{ID}@2, return:{ID}@1");
        let parameter = format!("order:{ID}@7,order:{ID}@3");
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
            format!("order:{ID}"),
            format!("order:{ID}@"),
            format!("order:{ID}@0"),
            format!("order:{ID}@-1"),
            format!("order:{ID}@2147483648"),
            format!("order:{ID}@1,"),
            format!("invoice:{ID}@1"),
            format!("ORDER:{ID}@1"),
            format!("{ID}@1"),
            "order:42@1".to_owned(),
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
        let tokens = |n: usize| vec![format!("order:{ID}@1"); n].join(",");
        assert!(of(None, Some(&tokens(MAX_TOKENS))).is_ok());
        assert!(of(None, Some(&tokens(MAX_TOKENS + 1))).is_err());
        assert!(of(Some(&tokens(MAX_TOKENS)), Some(&tokens(1))).is_err());
    }

    #[test]
    fn the_error_names_what_is_behind() {
        let tokens = of(None, Some(&format!("order:{ID}@3,return:{ID}@1"))).expect("well-formed");
        let error = read_model_behind(&tokens, &[2, 1]);
        assert_eq!((error.status.as_u16(), error.code), (503, "READ_MODEL_BEHIND"));
        assert_eq!(error.details, json!({"wanted": [format!("order:{ID}@3")], "have": [format!("order:{ID}@2")]}));
    }
}
