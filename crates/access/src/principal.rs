//! Who calls.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use contracts::CustomerId;
use runtime::ApiError;

/// What a caller may do. The [table](crate::table) has a column for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Sees and sends back what the customer has bought.
    Customer,
    /// The shop's front end, back office and warehouse: takes orders and returns through their steps.
    Staff,
    /// Decides about returns and money, and sees the reports.
    Manager,
    /// Sees the reports.
    Reporting,
    /// Looks after queues and events.
    Operator,
    /// Everything, and the keys of all others.
    Admin,
}

impl Role {
    pub const ALL: [Self; 6] =
        [Self::Customer, Self::Staff, Self::Manager, Self::Reporting, Self::Operator, Self::Admin];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Customer => "customer",
            Self::Staff => "staff",
            Self::Manager => "manager",
            Self::Reporting => "reporting",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A name that is no role.
#[derive(Debug, thiserror::Error)]
#[error("must be customer, staff, manager, reporting, operator or admin")]
pub struct UnknownRole;

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(name: &str) -> Result<Self, UnknownRole> {
        Self::ALL.into_iter().find(|role| role.as_str() == name).ok_or(UnknownRole)
    }
}

/// A caller who has proved who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// The actor in the audit: the name of the key, or the subject of the token, both at most 64 characters. In the console also the name
    /// of a person with the subject behind it, at most 127.
    pub name: String,
    pub role: Role,
    /// Of the role `customer` only, and always there.
    pub customer_id: Option<CustomerId>,
    scope: String,
}

impl Principal {
    /// `kind` tells principals of different kinds apart that have the same name: `key`, `jwt` or `person`.
    pub(crate) fn new(kind: &'static str, name: String, role: Role, customer_id: Option<CustomerId>) -> Self {
        let scope = format!("{kind}:{name}");
        Self { name, role, customer_id, scope }
    }

    /// One that everything else of the same name has, and no other principal: the scope of its idempotency keys and of its limits.
    pub fn scope(&self) -> &String {
        &self.scope
    }
}

/// Who sends a request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Caller {
    /// Access is not checked (`AUTH=none`): the request says itself who acts.
    #[default]
    Unchecked,
    Known(Arc<Principal>),
}

impl Caller {
    /// The customer whose things alone this caller may see and change. `None`: those of all.
    pub fn owner(&self) -> Option<&str> {
        match self {
            Self::Known(principal) => principal.customer_id.as_ref().map(CustomerId::as_str),
            Self::Unchecked => None,
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get::<Self>().cloned().unwrap_or_default())
    }
}

/// 403: this caller may not do that.
pub(crate) fn forbidden(message: impl Into<String>) -> ApiError {
    ApiError::new(axum::http::StatusCode::FORBIDDEN, "FORBIDDEN", message)
}
