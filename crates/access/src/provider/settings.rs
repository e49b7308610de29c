//! Which identity provider signs people in, and who of them may.

use anyhow::{Context, bail, ensure};
use reqwest::Url;
use runtime::config::secret;
use secrecy::{ExposeSecret, SecretString};

use crate::discovery::Discovery;
use crate::fetch;
use crate::principal::Role;

const SCOPES: &str = "openid profile";
const ROLE_CLAIM: &str = "role";
const NAME_CLAIM: &str = "name";
const ROLES: &str = "admin=admin,operator=operator";

/// Sign-in to the console at an identity provider (OpenID Connect).
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ProviderSettings {
    /// The identity provider at which people sign in to the console (OpenID Connect): its issuer, exactly. Unset: they sign in with API keys
    /// only.
    #[arg(long, env = "OIDC_ISSUER")]
    pub oidc_issuer: Option<String>,
    /// The id that the provider has given to the console.
    #[arg(long, env = "OIDC_CLIENT_ID")]
    pub oidc_client_id: Option<String>,
    /// The secret that belongs to it.
    #[arg(long, env = "OIDC_CLIENT_SECRET", hide_env_values = true, value_parser = secret)]
    pub oidc_client_secret: Option<SecretString>,
    /// The address of the console in people's browsers, as `https://ops.example.in/console`. The provider sends them back to
    /// `/sign-in/callback` below it.
    #[arg(long, env = "CONSOLE_URL")]
    pub console_url: Option<Url>,
    /// What the provider is asked for; `openid` must be among it.
    #[arg(long, env = "OIDC_SCOPES", default_value = SCOPES)]
    pub oidc_scopes: Option<String>,
    /// The claim of the ID token with the role, or with groups: its name, or a JSON pointer, as `/realm_access/roles`. A text or a list.
    #[arg(long, env = "OIDC_ROLE_CLAIM", default_value = ROLE_CLAIM)]
    pub oidc_role_claim: Option<String>,
    /// Which value of that claim means which role, as `VALUE=ROLE`, separated by commas. The first one that a person has counts. Others may
    /// not sign in.
    #[arg(long, env = "OIDC_ROLES", default_value = ROLES)]
    pub oidc_roles: Option<String>,
    /// The claim of the ID token with the name that the operator log shows beside the subject.
    #[arg(long, env = "OIDC_NAME_CLAIM", default_value = NAME_CLAIM)]
    pub oidc_name_claim: Option<String>,
}

/// The settings of a provider, checked.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) discovery: Discovery,
    pub(super) client_id: String,
    pub(super) client_secret: SecretString,
    /// Without a slash at its end.
    pub(super) console: String,
    pub(super) scopes: String,
    pub(super) role_claim: String,
    pub(super) roles: Vec<(String, Role)>,
    pub(super) name_claim: String,
}

impl ProviderSettings {
    /// `None`: no provider is set.
    ///
    /// # Errors
    /// When something is missing or cannot be.
    pub(super) fn checked(&self) -> anyhow::Result<Option<Checked>> {
        let Self { oidc_issuer, oidc_client_id, oidc_client_secret, console_url, .. } = self;
        let (issuer, client_id, client_secret, console) = match (
            given(oidc_issuer.as_ref()),
            given(oidc_client_id.as_ref()),
            oidc_client_secret,
            console_url,
        ) {
            (None, None, None, None) => return Ok(None),
            (Some(issuer), Some(id), Some(secret), Some(console)) if !secret.expose_secret().is_empty() => {
                (issuer, id, secret, console)
            }
            _ => bail!(
                "sign-in at an identity provider needs OIDC_ISSUER, OIDC_CLIENT_ID, OIDC_CLIENT_SECRET and CONSOLE_URL: set all \
                     four, or none"
            ),
        };
        let or =
            |setting: &Option<String>, default: &str| given(setting.as_ref()).unwrap_or_else(|| default.to_owned());
        let scopes = or(&self.oidc_scopes, SCOPES);
        ensure!(scopes.split_whitespace().any(|scope| scope == "openid"), "OIDC_SCOPES must contain openid");
        Ok(Some(Checked {
            discovery: Discovery::of(&issuer)?,
            client_id,
            client_secret: client_secret.clone(),
            console: console_address(console)?,
            scopes,
            role_claim: or(&self.oidc_role_claim, ROLE_CLAIM),
            roles: roles(&or(&self.oidc_roles, ROLES))?,
            name_claim: or(&self.oidc_name_claim, NAME_CLAIM),
        }))
    }
}

/// An empty variable is none.
fn given(setting: Option<&String>) -> Option<String> {
    setting.map(|text| text.trim()).filter(|text| !text.is_empty()).map(str::to_owned)
}

fn console_address(url: &Url) -> anyhow::Result<String> {
    let url = fetch::checked(url.clone(), "CONSOLE_URL")?;
    let is_console =
        url.path().trim_end_matches('/') == "/console" && url.query().is_none() && url.fragment().is_none();
    ensure!(is_console, "CONSOLE_URL must be the address of the console, as https://ops.example.in/console");
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

/// Parses `VALUE=ROLE,…`. A value may contain `=`, as the names of groups in a directory do.
fn roles(text: &str) -> anyhow::Result<Vec<(String, Role)>> {
    let one = |part: &str| {
        let (value, role) = part.rsplit_once('=').with_context(|| format!("OIDC_ROLES: {part:?} is not VALUE=ROLE"))?;
        let role: Role = role.trim().parse().with_context(|| format!("OIDC_ROLES: the role of {part:?}"))?;
        ensure!(role != Role::Customer, "OIDC_ROLES: {part:?}: customers do not use the console");
        ensure!(!value.trim().is_empty(), "OIDC_ROLES: {part:?} has no value");
        Ok((value.trim().to_owned(), role))
    };
    text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complete() -> ProviderSettings {
        ProviderSettings {
            oidc_issuer: Some("https://login.example.com".to_owned()),
            oidc_client_id: Some("console".to_owned()),
            oidc_client_secret: Some("hush".into()),
            console_url: Some("https://ops.example.in/console/".parse().expect("an address")),
            ..ProviderSettings::default()
        }
    }

    #[test]
    fn what_is_missing_or_cannot_be_is_refused() {
        assert!(ProviderSettings::default().checked().expect("none").is_none());
        let checked = complete().checked().expect("complete").expect("a provider");
        assert_eq!(checked.console, "https://ops.example.in/console");
        assert!(!format!("{checked:?}").contains("hush"));
        let wrong = |change: fn(&mut ProviderSettings), message: &str| {
            let mut settings = complete();
            change(&mut settings);
            let error = settings.checked().expect_err("refused");
            assert!(format!("{error:#}").contains(message), "{error:#}");
        };
        wrong(|settings| settings.oidc_issuer = None, "set all four, or none");
        wrong(|settings| settings.oidc_client_id = Some(" ".to_owned()), "set all four, or none");
        wrong(|settings| settings.oidc_client_secret = Some("".into()), "set all four, or none");
        wrong(|settings| settings.console_url = None, "set all four, or none");
        wrong(
            |settings| settings.oidc_issuer = Some("http://login.example.com".to_owned()),
            "OIDC_ISSUER must begin with https",
        );
        wrong(|settings| settings.oidc_scopes = Some("profile".to_owned()), "must contain openid");
        wrong(|settings| settings.oidc_roles = Some("shop=customer".to_owned()), "customers do not use the console");
        wrong(|settings| settings.oidc_roles = Some("ops=king".to_owned()), "the role of \"ops=king\"");
        wrong(|settings| settings.oidc_roles = Some("ops".to_owned()), "is not VALUE=ROLE");
        for address in ["http://ops.example.in/console", "https://ops.example.in", "https://ops.example.in/console?x=1"]
        {
            let settings = ProviderSettings { console_url: address.parse().ok(), ..complete() };
            assert!(settings.checked().expect_err("refused").to_string().contains("CONSOLE_URL"), "{address}");
        }
    }

    #[test]
    fn a_value_is_mapped_to_a_role() {
        let mapped = roles("team=ops=operator, boss = admin,").expect("roles");
        assert_eq!(mapped, [("team=ops".to_owned(), Role::Operator), ("boss".to_owned(), Role::Admin)]);
    }
}
