//! The middleware in front of the routes: who calls, how often, and whether the [table](crate::table) lets it.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use runtime::http::client_address;
use runtime::{ApiError, Clock, Tasks};
use serde_json::json;
use sqlx::PgPool;

use crate::api_key::ApiKey;
use crate::at_a_time::AtATime;
use crate::deprecation::{self, DEPRECATED};
use crate::keyring::{Keyring, StoredKey};
use crate::limits::{FORGET, Left, Limit, Limits};
use crate::principal::{Caller, Principal, Role, forbidden};
use crate::settings::{AccessSettings, Auth};
use crate::table::{self, Reach};
use crate::token::{Refused, Tokens};

/// Requests per second where the settings say nothing.
const PER_CALLER: NonZeroU32 = NonZeroU32::new(1_000).expect("not zero");
const PER_ADDRESS: NonZeroU32 = NonZeroU32::new(50).expect("not zero");

/// The access to a service's routes.
#[derive(Debug, Clone)]
pub struct Access(Checks);

#[derive(Debug, Clone)]
enum Checks {
    None { is_open_to_others: bool },
    All(Arc<Checker>),
}

#[derive(Debug)]
struct Checker {
    keys: Keyring,
    tokens: Option<Tokens>,
    limits: Limits,
    at_a_time: AtATime,
    clock: Clock,
}

impl Access {
    /// Every caller may do everything: for services that other machines do not reach.
    pub fn unchecked() -> Self {
        Self(Checks::None { is_open_to_others: false })
    }

    /// Prepares the checks of a service that listens on this address. The pool is on the database of the commands, with the right to read
    /// `access.api_keys`.
    ///
    /// # Errors
    /// When the settings contradict each other or leave an open address undecided, or the issuer's keys cannot be read.
    pub async fn start(
        settings: &AccessSettings,
        address: IpAddr,
        pool: &PgPool,
        clock: &Clock,
        tasks: &Tasks,
    ) -> anyhow::Result<Self> {
        if settings.mode(address)? == Auth::None {
            return Ok(Self(Checks::None { is_open_to_others: !address.is_loopback() }));
        }
        let limits = Limits {
            callers: Limit::new("caller", settings.rate_limit_per_caller.unwrap_or(PER_CALLER)),
            addresses: Limit::new("address", settings.rate_limit_per_address.unwrap_or(PER_ADDRESS)),
        };
        let tokens = Tokens::start(&settings.tokens, clock.clone(), tasks).await?;
        let checker = Arc::new(Checker {
            keys: Keyring::new(pool.clone()),
            tokens,
            limits,
            at_a_time: AtATime::default(),
            clock: clock.clone(),
        });
        let (limited, shutdown) = (checker.clone(), tasks.shutdown.clone());
        tasks.spawn("silent callers", async move {
            while shutdown.run_until_cancelled(tokio::time::sleep(FORGET)).await.is_some() {
                limited.limits.callers.forget_silent();
                limited.limits.addresses.forget_silent();
            }
            anyhow::Ok(())
        });
        Ok(Self(Checks::All(checker)))
    }

    /// Puts the checks in front of these routes, each of which must be in the table.
    pub fn guard(&self, routes: Router) -> Router {
        let guarded = match &self.0 {
            Checks::None { .. } => routes,
            Checks::All(checker) => routes.route_layer(from_fn_with_state(checker.clone(), check)),
        };
        deprecation::announce(guarded, DEPRECATED)
    }

    /// Whether callers are asked who they are.
    pub fn is_checked(&self) -> bool {
        matches!(self.0, Checks::All(_))
    }

    /// Whether a key or token from this address is good. An attempt that fails counts for its address.
    ///
    /// # Errors
    /// The refusal, as a request with it would get.
    pub async fn admit(&self, credentials: &str, address: Option<IpAddr>) -> Result<(), Box<Response>> {
        match &self.0 {
            Checks::None { .. } => Ok(()),
            Checks::All(checker) => checker.principal(credentials, address).await.map(drop),
        }
    }

    /// Refuses an address that has failed too often, before it costs a look-up.
    ///
    /// # Errors
    /// 429 with the time after which it may come again.
    pub fn check_address(&self, address: Option<IpAddr>) -> Result<(), Box<Response>> {
        match &self.0 {
            Checks::All(checker) => checker.check_address(address),
            Checks::None { .. } => Ok(()),
        }
    }

    /// Counts a request of one who is signed in, or an attempt of one who is not.
    ///
    /// # Errors
    /// As [`check_address`](Self::check_address).
    pub fn count(&self, principal: Option<&Principal>, address: Option<IpAddr>) -> Result<(), Box<Response>> {
        match (&self.0, principal) {
            (Checks::All(checker), Some(principal)) => checker.limits.callers.take(principal.scope()).map(drop),
            (Checks::All(checker), None) => checker.count(address),
            (Checks::None { .. }, _) => Ok(()),
        }
    }

    /// Closes routes where others are let in without a check.
    pub fn close_to_others(&self, routes: Router) -> Router {
        match &self.0 {
            Checks::None { is_open_to_others: true } => routes.route_layer(from_fn(closed)),
            Checks::None { is_open_to_others: false } | Checks::All(_) => routes,
        }
    }

    /// The same for the operators' routes. They are closed where others are let in without a check.
    pub fn guard_operations(&self, routes: Router) -> Router {
        self.close_to_others(self.guard(routes))
    }
}

async fn closed(_: Request, _: Next) -> Response {
    let message = "the operators' API is closed: the service listens to other machines without checking who calls; set \
                   AUTH=required, or use the command line `ops`";
    ApiError::new(StatusCode::FORBIDDEN, "OPERATIONS_CLOSED", message).into_response()
}

async fn check(State(checker): State<Arc<Checker>>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let address = client_address(&parts.extensions);
    let (principal, left) = match checker.admit(&parts.headers, address).await {
        Ok(admitted) => admitted,
        Err(refused) => return *refused,
    };
    let route = parts.extensions.get::<MatchedPath>().map(MatchedPath::as_str).unwrap_or_default();
    let mut answer = match decide(&principal, parts.method.as_str(), route) {
        Decision::Allowed => {
            let place = match principal.role {
                Role::Customer => checker.at_a_time.enter(principal.scope()).map(Some),
                _ => Ok(None),
            };
            let _place = match place {
                Ok(place) => place,
                Err(refused) => return *refused,
            };
            parts.extensions.insert(Caller::Known(principal));
            next.run(Request::from_parts(parts, body)).await
        }
        Decision::Forbidden(error) => {
            note_refusal(&error, address, Some(&principal));
            error.into_response()
        }
        Decision::NoSuchMethod(methods) => {
            (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, methods.join(","))]).into_response()
        }
    };
    left.tell(answer.headers_mut());
    answer
}

/// What the table says of a call.
enum Decision {
    Allowed,
    Forbidden(ApiError),
    /// The route has these methods only.
    NoSuchMethod(Vec<&'static str>),
}

/// Whether the table lets a principal call a route.
fn decide(principal: &Principal, method: &str, route: &str) -> Decision {
    let role = principal.role;
    let Some(line) = table::of(method, route) else {
        let methods = table::methods_of(route);
        if methods.is_empty() {
            return Decision::Forbidden(forbidden(format!("the role {role} may not {method} {route}")));
        }
        return Decision::NoSuchMethod(methods);
    };
    if line.reach(role) != Reach::No {
        return Decision::Allowed;
    }
    let roles: Vec<&str> = line.roles().map(|(role, _)| role.as_str()).collect();
    let message = format!("the role {role} may not {method} {route}; it takes one of {}", roles.join(", "));
    Decision::Forbidden(forbidden(message).with_details(json!({ "role": role.as_str(), "allowed_roles": roles })))
}

/// Notes who was not let in. Attempts beyond the limit of their address are refused before, and leave no line each.
fn note_refusal(error: &ApiError, address: Option<IpAddr>, principal: Option<&Principal>) {
    let address = address.map(|address| address.to_string());
    let caller = principal.map(|principal| principal.name.as_str());
    tracing::warn!(code = error.code, reason = error.message, address, caller, "access refused");
}

impl Checker {
    /// Finds out who calls, and counts the request.
    async fn admit(
        &self,
        headers: &HeaderMap,
        address: Option<IpAddr>,
    ) -> Result<(Arc<Principal>, Left), Box<Response>> {
        let principal = match credentials(headers) {
            Ok(given) => self.principal(given, address).await?,
            Err(error) => return Err(Box::new(self.refuse(error, address))),
        };
        if principal.role == Role::Customer {
            self.count(address)?;
        }
        let left = self.limits.callers.take(principal.scope())?;
        Ok((principal, left))
    }

    /// An attempt that fails counts for its address. One that is over its limit is refused before it costs a look-up or a signature.
    async fn principal(&self, credentials: &str, address: Option<IpAddr>) -> Result<Arc<Principal>, Box<Response>> {
        self.check_address(address)?;
        if let Some(key) = ApiKey::parse(credentials) {
            let stored = if let Some(known) = self.keys.remembered(&key) {
                known.key
            } else {
                self.keys.find(&key).await.map_err(|error| ApiError::from(error).into_response())?
            };
            let principal = self.principal_of_key(stored.as_deref(), address);
            return principal.map_err(|error| Box::new(self.refuse(error, address)));
        }
        let Some(tokens) = &self.tokens else {
            return Err(Box::new(self.refuse(unauthorized("this is no API key"), address)));
        };
        tokens.principal(credentials).map_err(|refused| {
            Box::new(match refused {
                Refused::Invalid(reason) => self.refuse(unauthorized(reason), address),
                Refused::NoKeys => {
                    let message = "the identity provider has published no keys; try again in a moment";
                    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "SERVICE_UNAVAILABLE", message).into_response()
                }
            })
        })
    }

    fn principal_of_key(
        &self,
        stored: Option<&StoredKey>,
        address: Option<IpAddr>,
    ) -> Result<Arc<Principal>, ApiError> {
        let stored = stored.ok_or_else(|| unauthorized("there is no such API key, or it was revoked"))?;
        if stored.has_expired(self.clock.now()) {
            return Err(unauthorized("the API key has expired"));
        }
        if !stored.may_come_from(address) {
            return Err(forbidden("the API key may not be used from this address"));
        }
        Ok(stored.principal.clone())
    }

    fn check_address(&self, address: Option<IpAddr>) -> Result<(), Box<Response>> {
        address.map_or(Ok(()), |address| self.limits.addresses.check(&of_one_client(address)))
    }

    /// Counts a request for its address.
    fn count(&self, address: Option<IpAddr>) -> Result<(), Box<Response>> {
        match address {
            Some(address) => self.limits.addresses.take(&of_one_client(address)).map(drop),
            None => Ok(()),
        }
    }

    /// Counts an attempt for its address, and refuses it.
    fn refuse(&self, error: ApiError, address: Option<IpAddr>) -> Response {
        if let Err(limited) = self.count(address) {
            return *limited;
        }
        note_refusal(&error, address, None);
        challenge(error)
    }
}

/// A client has one IPv4 address, and of IPv6 a network of 2^64.
fn of_one_client(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => IpAddr::V6((u128::from(address) >> 64 << 64).into()),
    }
}

/// What follows `Bearer` in `Authorization`.
pub(crate) fn credentials(headers: &HeaderMap) -> Result<&str, ApiError> {
    let Some(value) = headers.get(header::AUTHORIZATION) else {
        return Err(unauthorized("the header Authorization: Bearer with an API key or a token is required"));
    };
    let (scheme, credentials) = value.to_str().unwrap_or_default().split_once(' ').unwrap_or_default();
    if !scheme.eq_ignore_ascii_case("Bearer") || headers.get_all(header::AUTHORIZATION).iter().count() > 1 {
        return Err(unauthorized("the header Authorization must be there once, as Bearer with an API key or a token"));
    }
    Ok(credentials.trim())
}

fn unauthorized(message: impl Into<String>) -> ApiError {
    ApiError::new(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", message)
}

/// A 401 says how to do better (RFC 6750).
fn challenge(error: ApiError) -> Response {
    let is_unauthorized = error.status == StatusCode::UNAUTHORIZED;
    let mut answer = error.into_response();
    if is_unauthorized {
        let bearer = HeaderValue::from_static("Bearer realm=\"articurated\"");
        answer.headers_mut().insert(header::WWW_AUTHENTICATE, bearer);
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_addresses_of_one_client_count_together() {
        let of = |address: &str| of_one_client(address.parse().expect("an address"));
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::9"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }

    #[test]
    fn credentials_follow_bearer_and_stand_alone() {
        let of = |values: &[&str]| {
            let headers = values.iter().map(|value| (header::AUTHORIZATION, value.parse().expect("a header value")));
            credentials(&headers.collect()).map(str::to_owned).ok()
        };
        for (values, expected) in [
            (&["Bearer abc"][..], Some("abc")),
            (&["bearer abc"], Some("abc")),
            (&["Bearer  abc "], Some("abc")),
            (&["Basic abc"], None),
            (&["abc"], None),
            (&["Bearer"], None),
            (&[], None),
        ] {
            assert_eq!(of(values).as_deref(), expected, "{values:?}");
        }
        let mut two = HeaderMap::new();
        two.append(header::AUTHORIZATION, HeaderValue::from_static("Bearer abc"));
        two.append(header::AUTHORIZATION, HeaderValue::from_static("Bearer def"));
        assert!(credentials(&two).is_err());
    }
}
