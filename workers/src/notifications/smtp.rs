//! The conversation with a mail server, in two halves. Until the server is ready for the text, it cannot have accepted
//! anything. From then on, only its answer says whether it has.
//!
//! lettre's transport makes one call of both halves, and its errors do not say in which half they happened. So we use its
//! connection directly, one for each e-mail.

use std::time::Duration;

use lettre::Address;
use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{AsyncSmtpConnection, Tls, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt};
use lettre::transport::smtp::extension::{ClientId, Extension, MailParameter};
use percent_encoding::percent_decode_str;
use reqwest::Url;
use tokio::time::timeout;

const CONNECTED_WITHIN: Duration = Duration::from_secs(30);
/// How long a server may take for its greeting, for MAIL, for RCPT and for DATA, and for the text with the answer to it (RFC 5321,
/// section 4.5.3.2). A worker that is stopped meanwhile does not wait so long: the e-mail is sent later, or in doubt if its text
/// was on the way.
const GREETED_WITHIN: Duration = Duration::from_secs(5 * 60);
const MAIL_WITHIN: Duration = Duration::from_secs(5 * 60);
const RCPT_WITHIN: Duration = Duration::from_secs(5 * 60);
const DATA_WITHIN: Duration = Duration::from_secs(2 * 60);
const ACCEPTED_WITHIN: Duration = Duration::from_secs((3 + 10) * 60);
const GOODBYE_WITHIN: Duration = Duration::from_secs(1);

/// Why we do not know that an e-mail was sent. The texts contain no address.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotSent {
    /// The server cannot be reached, or refuses us before it has heard of this e-mail. It would refuse any other.
    #[error("{0}")]
    Down(String),
    /// The server accepted nothing; it may accept it later.
    #[error("{0}")]
    Later(String),
    /// The server accepted nothing, and never will.
    #[error("{0}")]
    Never(String),
    /// The server may have accepted it.
    #[error("{0}")]
    Unknown(String),
}

/// The mail server of `SMTP_URL`.
#[derive(Debug)]
pub(super) struct Smtp {
    host: String,
    port: u16,
    tls: Tls,
    credentials: Option<Credentials>,
    /// Our name in EHLO.
    name: ClientId,
}

/// Why `SMTP_URL` is not valid. The texts do not quote it, because it contains a password.
#[derive(Debug, thiserror::Error)]
pub(super) enum UrlError {
    #[error("it is no URL: {0}; expected smtps://user:password@host, or smtp://user:password@host?tls=required")]
    NotAUrl(String),
    #[error("it names no host")]
    NoHost,
    #[error("the scheme {0:?} is not supported, only smtp and smtps")]
    Scheme(String),
    #[error("tls={0} is not supported, only required and opportunistic")]
    Tls(String),
    #[error("user and password must be percent-encoded UTF-8, and both or neither must be given")]
    Credentials,
    #[error("a login without TLS shows the password to the network: use smtps://, or add ?tls=required")]
    PlainLogin,
    #[error("TLS cannot be set up: {0}")]
    Setup(#[from] Error),
}

impl Smtp {
    /// Accepts what lettre's `from_url` accepts: `scheme://user:password@host:port/name?tls=…`.
    pub(super) fn parse(text: &str) -> Result<Self, UrlError> {
        let url = Url::parse(text).map_err(|error| UrlError::NotAUrl(error.to_string()))?;
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or(UrlError::NoHost)?.to_owned();
        let tls = url.query_pairs().find(|(name, _)| name == "tls").map(|(_, value)| value.into_owned());
        runtime::tls::install();
        let parameters = || TlsParameters::new(host.clone());
        let (tls, usual_port) = match (url.scheme(), tls.as_deref()) {
            ("smtps", _) => (Tls::Wrapper(parameters()?), 465),
            ("smtp", Some("required")) => (Tls::Required(parameters()?), 587),
            ("smtp", Some("opportunistic")) => (Tls::Opportunistic(parameters()?), 587),
            ("smtp", None) => (Tls::None, 25),
            ("smtp", Some(other)) => return Err(UrlError::Tls(other.to_owned())),
            (other, _) => return Err(UrlError::Scheme(other.to_owned())),
        };
        let decoded = |text: &str| percent_decode_str(text).decode_utf8().map(std::borrow::Cow::into_owned);
        let credentials = match (url.username(), url.password()) {
            ("", None) => None,
            ("", Some(_)) | (_, None) => return Err(UrlError::Credentials),
            (user, Some(password)) => {
                let both = decoded(user).and_then(|user| Ok(Credentials::new(user, decoded(password)?)));
                Some(both.map_err(|_| UrlError::Credentials)?)
            }
        };
        let is_open = matches!(tls, Tls::None | Tls::Opportunistic(_)) && !runtime::config::is_this_machine(&host);
        if credentials.is_some() && is_open {
            return Err(UrlError::PlainLogin);
        }
        if is_open {
            runtime::tls::warn_without("mail server", &host, "begin its URL with smtps://, or add ?tls=required");
        }
        let name = match url.path().trim_matches('/') {
            "" => ClientId::default(),
            name => ClientId::Domain(name.to_owned()),
        };
        Ok(Self { port: url.port().unwrap_or(usual_port), host, tls, credentials, name })
    }

    /// The first half: until the server waits for the text.
    pub(super) async fn start(&self, from: &Address, to: &Address) -> Result<Conversation, NotSent> {
        let connected = timeout(GREETED_WITHIN, self.connect()).await;
        let connected = connected.map_err(|_| NotSent::Down(slow("greet us and let us log in", GREETED_WITHIN)))?;
        let mut connection = connected?;
        let mut parameters = Vec::new();
        if [from, to].iter().any(|address| !AsRef::<str>::as_ref(address).is_ascii()) {
            if !connection.server_info().supports_feature(Extension::SmtpUtfEight) {
                return Err(NotSent::Never(
                    "the mail server does not support addresses in other scripts (SMTPUTF8)".to_owned(),
                ));
            }
            parameters.push(MailParameter::SmtpUtfEight);
        }
        let sender = timeout(MAIL_WITHIN, connection.command(Mail::new(Some(from.clone()), parameters))).await;
        sender
            .map_err(|_| NotSent::Down(slow("take the sender", MAIL_WITHIN)))?
            .map_err(|error| sender_refused(&error))?;
        // Some servers are slow on purpose when they do not know the recipient.
        let recipient = timeout(RCPT_WITHIN, connection.command(Rcpt::new(to.clone(), Vec::new()))).await;
        recipient
            .map_err(|_| NotSent::Later(slow("take the recipient", RCPT_WITHIN)))?
            .map_err(|error| answered("refuses the recipient", &error, to))?;
        let ready = timeout(DATA_WITHIN, connection.command(Data)).await;
        ready
            .map_err(|_| NotSent::Later(slow("get ready for the text", DATA_WITHIN)))?
            .map_err(|error| answered("refuses the message", &error, to))?;
        Ok(Conversation { connection, to: to.clone() })
    }

    /// Until the server knows who we are.
    async fn connect(&self) -> Result<AsyncSmtpConnection, NotSent> {
        let mut connection = self.greeted().await.map_err(|error| down("cannot be reached", &error))?;
        if let Some(credentials) = &self.credentials {
            let login = connection.auth(DEFAULT_MECHANISMS, credentials).await;
            login.map_err(|error| down("refuses the login in SMTP_URL", &error))?;
        }
        Ok(connection)
    }

    async fn greeted(&self) -> Result<AsyncSmtpConnection, Error> {
        let wrapped = if let Tls::Wrapper(parameters) = &self.tls { Some(parameters.clone()) } else { None };
        let address = (self.host.as_str(), self.port);
        let mut connection =
            AsyncSmtpConnection::connect_tokio1(address, Some(CONNECTED_WITHIN), &self.name, wrapped, None).await?;
        match &self.tls {
            Tls::Required(parameters) => connection.starttls(parameters.clone(), &self.name).await?,
            Tls::Opportunistic(parameters) if connection.can_starttls() => {
                connection.starttls(parameters.clone(), &self.name).await?;
            }
            _ => {}
        }
        Ok(connection)
    }
}

/// A server that waits for the text. If this is dropped before the end of the text, the server accepts nothing.
pub(super) struct Conversation {
    connection: AsyncSmtpConnection,
    to: Address,
}

impl Conversation {
    /// The second half: the text, and the answer.
    pub(super) async fn deliver(&mut self, text: &[u8]) -> Result<(), NotSent> {
        match timeout(ACCEPTED_WITHIN, self.connection.message(text)).await {
            Ok(Ok(_accepted)) => Ok(()),
            Ok(Err(error)) if error.status().is_some() => Err(answered("refuses the message", &error, &self.to)),
            Ok(Err(error)) => Err(NotSent::Unknown(format!("the mail server's answer was lost: {error}"))),
            Err(_elapsed) => Err(NotSent::Unknown(slow("answer to the text", ACCEPTED_WITHIN))),
        }
    }

    /// Says goodbye to the server. The e-mail no longer depends on it.
    pub(super) async fn end(mut self) {
        let _ = timeout(GOODBYE_WITHIN, self.connection.quit()).await;
    }
}

fn slow(what: &str, within: Duration) -> String {
    format!("the mail server did not {what} within {} s", within.as_secs())
}

fn down(what: &str, error: &Error) -> NotSent {
    NotSent::Down(format!("the mail server {what}: {error}"))
}

/// All e-mails have the same sender. Some servers greylist already here, and answer 4xx.
fn sender_refused(error: &Error) -> NotSent {
    let what = "refuses the sender, MAIL_FROM";
    if error.is_transient() { NotSent::Later(format!("the mail server {what}: {error}")) } else { down(what, error) }
}

/// Replies that start with 5 are permanent (RFC 5321, section 4.2.1). All others may pass.
fn answered(what: &str, error: &Error, to: &Address) -> NotSent {
    let words = without_address(&format!("the mail server {what}: {error}"), to);
    if error.is_permanent() { NotSent::Never(words) } else { NotSent::Later(words) }
}

/// Removes the recipient, whom servers like to quote, because these words are logged.
fn without_address(words: &str, to: &Address) -> String {
    let (address, mut rest, mut clean) = (to.to_string().to_ascii_lowercase(), words, String::new());
    while let Some(at) = rest.to_ascii_lowercase().find(&address) {
        clean.push_str(&rest[..at]);
        clean.push_str("the recipient");
        rest = &rest[at + address.len()..];
    }
    clean + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_where_and_how() {
        for (url, host, port) in [
            ("smtp://mail.example", "mail.example", 25),
            ("smtp://mail.example?tls=required", "mail.example", 587),
            ("smtp://mail.example?tls=opportunistic", "mail.example", 587),
            ("smtps://shop%40example.com:p%2Fw@mail.example", "mail.example", 465),
            ("smtp://127.0.0.1:2525/shop.example", "127.0.0.1", 2525),
            ("smtp://shop:hush@127.0.0.1:2525", "127.0.0.1", 2525),
            ("smtp://shop:hush@mail.example?tls=required", "mail.example", 587),
        ] {
            let smtp = Smtp::parse(url).expect(url);
            assert_eq!((smtp.host.as_str(), smtp.port), (host, port), "{url}");
        }
        let named = Smtp::parse("smtp://mail.example/shop.example").expect("a URL");
        assert_eq!(named.name, ClientId::Domain("shop.example".to_owned()));
        let known = Smtp::parse("smtps://shop%40example.com:p%2Fw@mail.example").expect("a URL");
        assert_eq!(known.credentials, Some(Credentials::new("shop@example.com".to_owned(), "p/w".to_owned())));
    }

    #[test]
    fn what_is_no_server_is_refused_without_the_password() {
        for (url, reason) in [
            ("", "no URL"),
            ("mail.example", "no URL"),
            ("http://mail.example", "\"http\""),
            ("smtp:mail.example", "no host"),
            ("smtp://a:hush@mail.example?tls=perhaps", "tls=perhaps"),
            ("smtp://a@mail.example", "both or neither"),
            ("smtp://a:hush@mail.example", "without TLS"),
            ("smtp://a:hush@mail.example?tls=opportunistic", "without TLS"),
            ("smtp://a:%FFhush@mail.example", "percent-encoded"),
        ] {
            let refusal = Smtp::parse(url).expect_err(url).to_string();
            assert!(refusal.contains(reason) && !refusal.contains("hush"), "{url}: {refusal}");
        }
    }

    #[test]
    fn the_servers_words_lose_the_address() {
        let to = "Meera@example.com".parse().expect("an address");
        let words = "550 <meera@EXAMPLE.com>: no meera@example.com here";
        assert_eq!(without_address(words, &to), "550 <the recipient>: no the recipient here");
    }
}
