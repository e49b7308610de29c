//! Who looks at a page.

use std::sync::Arc;

use access::sessions::Session;
use access::{Caller, Secret};
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{Method, StatusCode};
use runtime::http::client_address;

use super::Console;
use super::cookies::{NAME, SESSION, cookie};
use super::document::encoded;
use super::refusal::{Answer, Refusal};

/// Who looks at a page.
#[derive(Debug)]
pub(super) struct Visitor {
    pub(super) caller: Caller,
    /// What they are called, as far as it is known.
    pub(super) name: Option<String>,
    /// The secret that ties forms to the session, or with `AUTH=none` to this process.
    secret: Secret,
}

impl Visitor {
    /// Whether this visitor may do what this operation of the API does.
    pub(super) fn may(&self, method: &str, route: &str) -> bool {
        self.caller.may(method, &format!("/api/v1/ops/{route}"))
    }

    /// # Errors
    /// 403 for a visitor who may not read with this operation of the API.
    pub(super) fn must_read(&self, route: &str) -> Answer<()> {
        self.must("GET", route)
    }

    /// # Errors
    /// 403 for a visitor who may not do what this operation of the API does.
    pub(super) fn must(&self, method: &str, route: &str) -> Answer<()> {
        if self.may(method, route) {
            return Ok(());
        }
        let role = match &self.caller {
            Caller::Known(principal) => principal.role.as_str(),
            Caller::Unchecked => "anonymous",
        };
        let message = format!("the role {role} may not {method} /api/v1/ops/{route}, so it may not do the same here");
        Err(Refusal::new(StatusCode::FORBIDDEN, "FORBIDDEN", message))
    }

    /// The token that each form carries.
    pub(super) fn form_token(&self) -> String {
        self.secret.form_token()
    }

    /// # Errors
    /// 403 for a form that does not carry the token of this visitor.
    pub(super) fn must_send(&self, form_token: &str) -> Answer<()> {
        if self.secret.is_of_form(form_token) {
            return Ok(());
        }
        let message = "the form is of another session; go back, load the page again, and send it once more";
        Err(Refusal::new(StatusCode::FORBIDDEN, "FORM_EXPIRED", message))
    }

    /// Whether they have signed in.
    pub(super) fn is_known(&self) -> bool {
        matches!(self.caller, Caller::Known(_))
    }

    /// What the operator log calls them, where it is known. `given` is what they call themselves.
    pub(super) fn actor<'a>(&'a self, given: &'a str) -> &'a str {
        match &self.caller {
            Caller::Known(principal) => &principal.name,
            Caller::Unchecked => given,
        }
    }
}

impl FromRequestParts<Arc<Console>> for Visitor {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, console: &Arc<Console>) -> Answer<Self> {
        if !console.access.is_checked() {
            let (name, secret) = (cookie(&parts.headers, NAME), console.secret.clone());
            return Ok(Self { caller: Caller::Unchecked, name, secret });
        }
        let secret = cookie(&parts.headers, SESSION).and_then(|text| Secret::parse(&text));
        let secret = secret.ok_or_else(|| sign_in_and_come_back(parts))?;
        let address = client_address(&parts.extensions);
        console.access.check_address(address).map_err(Refusal::too_many)?;
        let found = console.sessions.find(&secret, address).await?;
        console.access.count(found.as_ref().map(|session| &session.principal), address).map_err(Refusal::too_many)?;
        let Session { principal, shown } = found.ok_or_else(|| sign_in_and_come_back(parts))?;
        Ok(Self { caller: Caller::Known(Arc::new(principal)), name: Some(shown), secret })
    }
}

/// Only what shows something can be come back to.
fn sign_in_and_come_back(parts: &Parts) -> Refusal {
    let back = match parts.method {
        Method::GET => parts.uri.path_and_query().map_or("/console", |path| path.as_str()),
        _ => "/console",
    };
    Refusal::SignIn { back: encoded(back).to_string() }
}
