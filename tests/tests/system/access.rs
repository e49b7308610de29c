//! Who may do what, over HTTP: every route of the table in every role, keys, and tokens.

mod keys;
mod matrix;
mod secrets;
mod tokens;

use std::num::NonZeroU32;

use access::Role;
use access::settings::Auth;
use anyhow::Result;
use contracts::CustomerId;
use operations::write::keys::{MadeKey, NewKey, create};
use operations::write::{Operator, Source};
use reqwest::Method;
use secrecy::ExposeSecret;
use serde_json::Value;
use standalone::Options;
use tests::{Answer, System};

/// The customers of these tests.
const ASHA: &str = "asha";
const RAVI: &str = "ravi";

/// A system that asks who calls.
pub(crate) async fn guarded(adjust: impl FnOnce(&mut Options)) -> Result<System> {
    System::start(|options| {
        options.access.auth = Some(Auth::Required);
        options.access.rate_limit_per_address = NonZeroU32::new(100_000);
        adjust(options);
    })
    .await
}

fn operator() -> Result<Operator> {
    Ok(Operator::new("root", Source::Cli, "a test", None)?)
}

/// A key for this role; that of a customer is of the customer of that name.
pub(crate) async fn key(system: &System, name: &str, role: Role) -> Result<MadeKey> {
    let customer_id = (role == Role::Customer).then(|| CustomerId::parse(name)).transpose()?;
    let new = NewKey::new(name, role, customer_id, Vec::new(), None)?;
    Ok(create(&system.database.pool_as(operations::ROLE).await?, new, operator()?).await?)
}

/// One who calls with a key or a token.
#[derive(Debug, Clone)]
struct Client<'s> {
    system: &'s System,
    credentials: String,
}

impl<'s> Client<'s> {
    fn of(system: &'s System, key: &MadeKey) -> Self {
        Self { system, credentials: key.key.expose_secret().to_owned() }
    }

    async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Answer> {
        let call = self.system.api.call(method, path).header("authorization", &format!("Bearer {}", self.credentials));
        match body {
            Some(body) => call.json(body).send().await,
            None => call.send().await,
        }
    }

    async fn get(&self, path: &str) -> Result<Answer> {
        self.call(Method::GET, path, None).await
    }

    async fn post(&self, path: &str, body: &Value) -> Result<Answer> {
        self.call(Method::POST, path, Some(body)).await
    }
}
