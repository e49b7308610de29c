//! Who may do what.
//!
//! - [`table`]: the decisions, one line per route: which role may call it, and whether only about its own;
//! - [`principal`]: who calls: a role, a name for the audit, and for customers their id;
//! - [`api_key`]: keys, which the database knows by their hash; `keyring` looks them up for each request;
//! - [`token`]: JSON Web Tokens of an identity provider, checked against its published keys;
//! - [`provider`]: sign-in of people at an identity provider; [`sign_ins`]: the sign-ins that are under way;
//! - [`sessions`]: who is signed in to the console; [`secret`]: what their browsers keep;
//! - [`guard`]: the middleware that finds out who calls, and asks the table;
//! - [`deprecation`]: which operations are to go, and when;
//! - [`consistency`]: consistency tokens, which only our own services can make;
//! - [`decoders`]: what reads credentials, for the fuzz targets.
//!
//! Invariant: no other crate decides who may call a route. What belongs to a customer is told by the predicate of the statement that
//! reads or changes it, with the [`Caller::owner`] of the request.

pub mod table;
pub mod principal;
pub mod api_key;
pub mod token;
pub mod secret;
pub mod provider;
pub mod sign_ins;
pub mod sessions;
pub mod guard;
pub mod deprecation;
pub mod consistency;
pub mod settings;
pub mod decoders;

mod keyring;
mod limits;
mod at_a_time;
mod fetch;
mod discovery;
mod jwks;
mod ring_provider;

pub use consistency::ConsistencyKey;
pub use guard::Access;
pub use principal::{Caller, Principal, Role};
pub use provider::{Provider, ProviderSettings};
pub use secret::Secret;
pub use sessions::Sessions;
pub use settings::AccessSettings;
pub use sign_ins::SignIns;
