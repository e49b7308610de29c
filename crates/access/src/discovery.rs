//! Where the parts of an OpenID provider are (OpenID Connect Discovery 1.0).

use std::sync::{Arc, PoisonError, RwLock};

use anyhow::{Context, ensure};
use reqwest::Url;
use serde::Deserialize;

use crate::fetch;

/// What the provider says of itself, as far as it is used here.
#[derive(Debug, Deserialize)]
struct Document {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
    end_session_endpoint: Option<String>,
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
}

/// The same, checked.
#[derive(Debug)]
pub(crate) struct Metadata {
    pub(crate) authorization_endpoint: Url,
    pub(crate) token_endpoint: Url,
    pub(crate) end_session_endpoint: Option<Url>,
    jwks: Url,
    /// Whether the client's secret goes into the body: the provider does not take it in the header, where it goes by default.
    pub(crate) takes_secret_in_body: bool,
}

/// The provider of one issuer.
#[derive(Debug)]
pub(crate) struct Discovery {
    /// `iss` of its tokens, exactly.
    pub(crate) issuer: String,
    document: Url,
    known: RwLock<Option<Arc<Metadata>>>,
}

impl Discovery {
    /// # Errors
    /// For an issuer that is no address, or one that an attacker on the network could answer for.
    pub(crate) fn of(issuer: &str) -> anyhow::Result<Self> {
        let document = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
        let document = Url::parse(&document).context("OIDC_ISSUER must be an address as https://login.example.com")?;
        ensure!(document.query().is_none() && document.fragment().is_none(), "OIDC_ISSUER must have no query");
        Ok(Self {
            issuer: issuer.to_owned(),
            document: fetch::checked(document, "OIDC_ISSUER")?,
            known: RwLock::default(),
        })
    }

    /// What was read last. `None`: nothing was read yet.
    pub(crate) fn known(&self) -> Option<Arc<Metadata>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads where the parts are, and returns where the keys are.
    ///
    /// # Errors
    /// When the provider does not answer, is another one, or names an address that an attacker on the network could answer for.
    pub(crate) async fn read(&self) -> anyhow::Result<Url> {
        let text = fetch::text(self.document.clone()).await.with_context(|| self.document.to_string())?;
        let metadata = self.parse(&text).with_context(|| self.document.to_string())?;
        let keys = metadata.jwks.clone();
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(metadata));
        Ok(keys)
    }

    fn parse(&self, text: &str) -> anyhow::Result<Metadata> {
        let document: Document = serde_json::from_str(text).context("not the metadata of an OpenID provider")?;
        let issuer = document.issuer;
        ensure!(issuer == self.issuer, "it is the issuer {issuer:?}, and OIDC_ISSUER is {:?}", self.issuer);
        let address = |what: &str, text: &str| fetch::checked(Url::parse(text).with_context(|| what.to_owned())?, what);
        let methods = document.token_endpoint_auth_methods_supported.unwrap_or_default();
        let takes = |name: &str| methods.iter().any(|method| method == name);
        Ok(Metadata {
            authorization_endpoint: address("authorization_endpoint", &document.authorization_endpoint)?,
            token_endpoint: address("token_endpoint", &document.token_endpoint)?,
            end_session_endpoint: document
                .end_session_endpoint
                .map(|text| address("end_session_endpoint", &text))
                .transpose()?,
            jwks: address("jwks_uri", &document.jwks_uri)?,
            takes_secret_in_body: takes("client_secret_post") && !takes("client_secret_basic"),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn document() -> Value {
        json!({
            "issuer": "https://login.example.com/shop",
            "authorization_endpoint": "https://login.example.com/shop/authorize",
            "token_endpoint": "https://login.example.com/shop/token",
            "jwks_uri": "https://login.example.com/shop/keys",
        })
    }

    #[test]
    fn only_the_issuer_itself_speaks_for_the_issuer() {
        let discovery = Discovery::of("https://login.example.com/shop").expect("an issuer");
        assert_eq!(discovery.document.as_str(), "https://login.example.com/shop/.well-known/openid-configuration");
        assert!(discovery.parse(&document().to_string()).is_ok());
        for (member, value) in [
            ("issuer", json!("https://login.example.com/shop/")),
            ("issuer", json!("https://evil.example")),
            ("token_endpoint", json!("http://login.example.com/shop/token")),
            ("jwks_uri", json!("http://login.example.com/shop/keys")),
            ("authorization_endpoint", json!("javascript:alert(1)")),
            ("end_session_endpoint", json!("javascript:alert(1)")),
            ("token_endpoint", Value::Null),
        ] {
            let mut wrong = document();
            wrong[member] = value;
            assert!(discovery.parse(&wrong.to_string()).is_err(), "{wrong}");
        }
        for wrong in ["login.example.com", "http://login.example.com", "", "https://login.example.com/?x=1"] {
            assert!(Discovery::of(wrong).is_err(), "{wrong}");
        }
        assert!(Discovery::of("http://127.0.0.1:9400").is_ok());
    }

    #[test]
    fn the_secret_goes_where_the_provider_takes_it() {
        let discovery = Discovery::of("https://login.example.com/shop").expect("an issuer");
        for (methods, in_body) in [
            (Value::Null, false),
            (json!(["client_secret_basic", "client_secret_post"]), false),
            (json!(["client_secret_post"]), true),
            (json!(["private_key_jwt"]), false),
        ] {
            let mut document = document();
            document["token_endpoint_auth_methods_supported"] = methods;
            let metadata = discovery.parse(&document.to_string()).expect("metadata");
            assert_eq!(metadata.takes_secret_in_body, in_body, "{document}");
        }
    }
}
