//! Reading one's own writes.
//!
//! Every command answers with a token, `order:<id>@<version>`. A query that brings it back is answered only
//! once the read model has that version; if that takes too long it is refused, never answered with less.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use axum::http::{HeaderMap, StatusCode};
use contracts::{CONSISTENCY_TOKEN_HEADER, EntityType};
use runtime::{ApiError, FieldError};
use serde_json::json;
use sqlx::PgPool;
use tokio::time::Instant;
use uuid::Uuid;

use crate::applied::Applied;

/// Tokens in one request, at most.
const MAX_TOKENS: usize = 20;
/// Another process may run the projector, so a waiting request also polls: at first often, then less.
const FIRST_POLL: Duration = Duration::from_millis(2);
const LONGEST_POLL: Duration = Duration::from_millis(50);

/// What a request will read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Documents: a later version contains the wanted one.
    Documents,
    /// The history: every entry up to the wanted version must be there.
    History,
}

/// The versions that a request wants to see at least.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// The highest version asked for, per order and return.
    versions: BTreeMap<(&'static str, Uuid), i32>,
}

impl Wanted {
    /// Tokens from the header and from the query parameter `consistency`, separated by commas.
    pub(crate) fn of(headers: &HeaderMap, parameter: Option<&str>) -> Result<Self, ApiError> {
        let mut wanted = Self::default();
        let mut tokens = 0;
        for header in headers.get_all(CONSISTENCY_TOKEN_HEADER) {
            let text = header.to_str().map_err(|_| malformed(CONSISTENCY_TOKEN_HEADER))?;
            wanted.add(CONSISTENCY_TOKEN_HEADER, text, &mut tokens)?;
        }
        wanted.add("consistency", parameter.unwrap_or_default(), &mut tokens)?;
        Ok(wanted)
    }

    fn add(&mut self, field: &str, text: &str, tokens: &mut usize) -> Result<(), ApiError> {
        if text.trim().is_empty() {
            return Ok(());
        }
        for token in text.split(',') {
            *tokens += 1;
            if *tokens > MAX_TOKENS {
                let message = format!("must hold at most {MAX_TOKENS} tokens");
                return Err(ApiError::validation(vec![FieldError::new(field, message)]));
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
    let message = "must be order:<id>@<version> or return:<id>@<version>, several separated by commas";
    ApiError::validation(vec![FieldError::new(field, message)])
}

/// Holds requests back until the read model is far enough.
#[derive(Debug)]
pub(crate) struct Consistency {
    read: PgPool,
    applied: Applied,
    at_most: Duration,
}

impl Consistency {
    pub(crate) fn new(read: PgPool, applied: Applied, at_most: Duration) -> Self {
        Self { read, applied, at_most }
    }

    /// Returns once the read model has what is wanted; 503 `READ_MODEL_BEHIND` when it does not get there in time.
    pub(crate) async fn reached(&self, wanted: &Wanted, scope: Scope) -> Result<(), ApiError> {
        if wanted.versions.is_empty() {
            return Ok(());
        }
        let ids: HashSet<Uuid> = wanted.versions.keys().map(|(_, id)| *id).collect();
        // Interest is registered before the first look: a batch that commits in between is heard of.
        let mut listener = self.applied.listen();
        let deadline = Instant::now() + self.at_most;
        let mut poll = FIRST_POLL;
        loop {
            let have = versions(&self.read, wanted, scope).await?;
            let behind = wanted.versions.iter().zip(&have).any(|((_, wanted), have)| have < wanted);
            if !behind {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(behind_by(wanted, &have));
            }
            tokio::select! {
                () = listener.heard_of(&ids) => {}
                () = tokio::time::sleep_until(deadline.min(Instant::now() + poll)) => poll = (poll * 2).min(LONGEST_POLL),
            }
        }
    }
}

/// The versions that the read model has, in the order of `wanted`; 0 for what it does not know.
async fn versions(read: &PgPool, wanted: &Wanted, scope: Scope) -> sqlx::Result<Vec<i32>> {
    let kinds: Vec<&str> = wanted.versions.keys().map(|(kind, _)| *kind).collect();
    let ids: Vec<Uuid> = wanted.versions.keys().map(|(_, id)| *id).collect();
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
        // Versions run 1..n without a gap, so as many entries as the version means all of them.
        Scope::History => {
            let versions: Vec<i32> = wanted.versions.values().copied().collect();
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

fn behind_by(wanted: &Wanted, have: &[i32]) -> ApiError {
    let token = |(kind, id): &(&str, Uuid), version: i32| format!("{kind}:{id}@{version}");
    let behind = || wanted.versions.iter().zip(have).filter(|((_, wanted), have)| have < wanted);
    let details = json!({
        "wanted": behind().map(|((key, wanted), _)| token(key, *wanted)).collect::<Vec<_>>(),
        "have": behind().map(|((key, _), have)| token(key, *have)).collect::<Vec<_>>(),
    });
    let message = "the read model does not have the wanted version yet; try again";
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "READ_MODEL_BEHIND", message).with_details(details)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

    fn of(header: Option<&str>, parameter: Option<&str>) -> Result<Wanted, ApiError> {
        let mut headers = HeaderMap::new();
        if let Some(header) = header {
            headers.insert(CONSISTENCY_TOKEN_HEADER, header.parse().expect("a header value"));
        }
        Wanted::of(&headers, parameter)
    }

    fn versions(wanted: &Wanted) -> Vec<(&'static str, i32)> {
        wanted.versions.iter().map(|((kind, _), version)| (*kind, *version)).collect()
    }

    #[test]
    fn header_and_parameter_count_together_and_the_highest_version_wins() {
        let header = format!("order:{ID}@2, return:{ID}@1");
        let parameter = format!("order:{ID}@7,order:{ID}@3");
        let wanted = of(Some(&header), Some(&parameter)).expect("well-formed");
        assert_eq!(versions(&wanted), [("order", 7), ("return", 1)]);
    }

    #[test]
    fn no_token_wants_nothing() {
        for (header, parameter) in [(None, None), (Some(""), None), (None, Some(" "))] {
            assert_eq!(of(header, parameter).expect("nothing to refuse"), Wanted::default());
        }
    }

    #[test]
    fn malformed_tokens_are_refused_by_name() {
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
    fn what_is_behind_is_named() {
        let wanted = of(None, Some(&format!("order:{ID}@3,return:{ID}@1"))).expect("well-formed");
        let error = behind_by(&wanted, &[2, 1]);
        assert_eq!((error.status.as_u16(), error.code), (503, "READ_MODEL_BEHIND"));
        assert_eq!(error.details, json!({"wanted": [format!("order:{ID}@3")], "have": [format!("order:{ID}@2")]}));
    }
}
