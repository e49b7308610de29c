//! Settings that every process has. Each struct is flattened into the process's own. Every setting is a long flag and
//! an environment variable; `Default` holds the same values for tests and for code that starts several processes.

mod traces;

use std::net::IpAddr;
use std::time::Duration;

use axum::http::HeaderValue;
use clap::{Args, ValueEnum};
use ipnet::IpNet;
use secrecy::SecretString;

use crate::addresses::literal;

pub use traces::{OtlpHeaders, OtlpProtocol, Pairs, TraceSampler, TracesConfig};

const DATABASE_URL: &str = "postgres://127.0.0.1:5432/articurated";
const MAX_CONNECTIONS: u32 = 16;
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(30);
const MAX_BODY_BYTES: usize = 1024 * 1024;
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
const MAX_CLIENT_CONNECTIONS: usize = 4_096;
const MAX_IN_FLIGHT: usize = 1_024;
const MAX_BUFFERED_BYTES: usize = 64 * 1024 * 1024;

/// Where the database is, and how much of it one process may use.
#[derive(Args, Clone, Debug)]
pub struct DatabaseConfig {
    /// `postgres://user:password@host:port/database`
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, value_parser = secret)]
    pub database_url: SecretString,
    /// Connections one pool may open.
    #[arg(long = "database-max-connections", env = "DATABASE_MAX_CONNECTIONS", default_value_t = MAX_CONNECTIONS)]
    pub max_connections: u32,
    /// How long a caller waits for a free connection before the answer is 503, in seconds.
    #[arg(long = "database-acquire-timeout-seconds", env = "DATABASE_ACQUIRE_TIMEOUT_SECONDS",
          default_value = "5", value_parser = seconds)]
    pub acquire_timeout: Duration,
    /// How long one statement may run, in seconds.
    #[arg(long = "database-statement-timeout-seconds", env = "DATABASE_STATEMENT_TIMEOUT_SECONDS",
          default_value = "30", value_parser = seconds)]
    pub statement_timeout: Duration,
}

impl Default for DatabaseConfig {
    fn default() -> Self {
        Self {
            database_url: SecretString::from(DATABASE_URL),
            max_connections: MAX_CONNECTIONS,
            acquire_timeout: ACQUIRE_TIMEOUT,
            statement_timeout: STATEMENT_TIMEOUT,
        }
    }
}

/// How log lines look.
#[derive(ValueEnum, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object per line, for machines.
    #[default]
    Json,
    /// For people at a terminal.
    Pretty,
}

/// Logs and traces.
#[derive(Args, Clone, Debug)]
pub struct TelemetryConfig {
    #[arg(long, env = "LOG_FORMAT", value_enum, default_value_t)]
    pub log_format: LogFormat,
    /// As `RUST_LOG`: a level, or a comma-separated list of `target=level`.
    #[arg(long = "log", env = "LOG", default_value = "info")]
    pub log_filter: String,
    #[command(flatten)]
    pub traces: TracesConfig,
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        let (log_format, log_filter) = (LogFormat::default(), "info".to_owned());
        Self { log_format, log_filter, traces: TracesConfig::default() }
    }
}

/// What HTTP requests may cost, and from where they may come.
#[derive(Args, Clone, Debug)]
pub struct HttpLimits {
    /// Larger bodies are refused with 413, in bytes.
    #[arg(long = "http-max-body-bytes", env = "HTTP_MAX_BODY_BYTES", default_value_t = MAX_BODY_BYTES)]
    pub max_body_bytes: usize,
    /// Longer requests are answered with 503, in seconds.
    #[arg(long = "http-request-timeout-seconds", env = "HTTP_REQUEST_TIMEOUT_SECONDS",
          default_value = "30", value_parser = seconds)]
    pub request_timeout: Duration,
    /// Connections at a time. When all are taken, the one that has been silent for the longest gives way.
    #[arg(long = "http-max-connections", env = "HTTP_MAX_CONNECTIONS", default_value_t = MAX_CLIENT_CONNECTIONS)]
    pub max_client_connections: usize,
    /// Requests answered at a time. More are refused with 503 and `Retry-After`.
    #[arg(long = "http-max-in-flight", env = "HTTP_MAX_IN_FLIGHT", default_value_t = MAX_IN_FLIGHT)]
    pub max_in_flight: usize,
    /// Bytes of bodies above 64 KiB that are read at a time. More are refused with 503 and `Retry-After`.
    #[arg(long = "http-max-buffered-bytes", env = "HTTP_MAX_BUFFERED_BYTES", default_value_t = MAX_BUFFERED_BYTES)]
    pub max_buffered_bytes: usize,
    /// Proxies in front of the service, as CIDR blocks separated by commas. `X-Forwarded-For` counts only as far as they wrote it, and
    /// `traceparent` only from them and from this machine.
    #[arg(long, env = "TRUSTED_PROXIES", value_parser = networks, default_value = "", hide_default_value = true)]
    pub trusted_proxies: std::vec::Vec<IpNet>,
    /// Names in `Host` that are served, separated by commas, without ports. Unset: callers on this machine may use its own names only
    /// (`localhost`, 127.0.0.1, `[::1]`), all others any.
    #[arg(long, env = "HTTP_ALLOWED_HOSTS", value_delimiter = ',')]
    pub allowed_hosts: Vec<String>,
    /// Origins whose pages may call the API from a browser (CORS), separated by commas, like `https://shop.example`. Unset: none.
    #[arg(long, env = "HTTP_CORS_ORIGINS", value_parser = origins, default_value = "", hide_default_value = true)]
    pub cors_origins: std::vec::Vec<HeaderValue>,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            max_body_bytes: MAX_BODY_BYTES,
            request_timeout: REQUEST_TIMEOUT,
            max_client_connections: MAX_CLIENT_CONNECTIONS,
            max_in_flight: MAX_IN_FLIGHT,
            max_buffered_bytes: MAX_BUFFERED_BYTES,
            trusted_proxies: Vec::new(),
            allowed_hosts: Vec::new(),
            cors_origins: Vec::new(),
        }
    }
}

/// Parses each part of a list with commas. An empty text is an empty list: a variable that is there without a value.
fn listed<T>(text: &str, one: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, String> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(one).collect()
}

fn networks(text: &str) -> Result<Vec<IpNet>, String> {
    listed(text, network)
}

fn origins(text: &str) -> Result<Vec<HeaderValue>, String> {
    listed(text, origin)
}

/// An origin as browsers send it: a scheme, a host, and a port unless it is the usual one.
fn origin(text: &str) -> Result<HeaderValue, String> {
    let expected = || "must be an origin like https://shop.example, without a path".to_owned();
    let (scheme, host) = text.trim().split_once("://").ok_or_else(expected)?;
    let is_origin =
        matches!(scheme, "http" | "https") && !host.is_empty() && !host.contains(['/', '*', '?', '#', '@', ' ']);
    if !is_origin {
        return Err(expected());
    }
    HeaderValue::from_str(&format!("{scheme}://{}", host.to_ascii_lowercase())).map_err(|_| expected())
}

/// Whether what goes to this host crosses no network: a loopback address, or a folder with a socket.
pub fn is_this_machine(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host.starts_with('/')
        || literal(host).is_some_and(|address| address.is_loopback())
}

/// Parses a CIDR block, or one address.
pub fn network(text: &str) -> Result<IpNet, String> {
    let text = text.trim();
    let one = || text.parse::<IpAddr>().map(IpNet::from);
    text.parse().or_else(|_| one()).map_err(|_| "expected a CIDR block or an address, like 10.0.0.0/8".to_owned())
}

/// Parses a setting that must not appear in logs or help.
pub fn secret(text: &str) -> Result<SecretString, std::convert::Infallible> {
    Ok(SecretString::from(text))
}

/// Parses a positive number of seconds, fractions allowed.
pub fn seconds(text: &str) -> Result<Duration, String> {
    let number: f64 = text.parse().map_err(|_| "expected a number of seconds".to_owned())?;
    match Duration::try_from_secs_f64(number) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        _ => Err("expected a number of seconds above 0".to_owned()),
    }
}

/// Parses a name of the IANA time zone database.
pub fn timezone(name: &str) -> Result<chrono_tz::Tz, String> {
    name.parse().map_err(|_| "expected a name of the IANA time zone database, like Asia/Kolkata".to_owned())
}

/// Parses a share or probability, 0 to 1.
pub fn ratio(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "expected a number from 0 to 1".to_owned())?;
    if (0.0..=1.0).contains(&number) { Ok(number) } else { Err("expected a number from 0 to 1".to_owned()) }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use secrecy::ExposeSecret;

    use super::*;

    #[derive(Parser, Debug)]
    struct Everything {
        #[command(flatten)]
        database: DatabaseConfig,
        #[command(flatten)]
        telemetry: TelemetryConfig,
        #[command(flatten)]
        limits: HttpLimits,
    }

    fn parse(more: &[&str]) -> Result<Everything, clap::Error> {
        let always = ["process", "--database-url", "postgres://user:hush@db/x"];
        Everything::try_parse_from(always.iter().chain(more))
    }

    #[test]
    fn the_defaults_of_the_command_line_are_the_defaults_of_the_code() {
        let parsed = parse(&[]).expect("complete");
        assert_eq!(format!("{:?}", parsed.telemetry), format!("{:?}", TelemetryConfig::default()));
        assert_eq!(format!("{:?}", parsed.limits), format!("{:?}", HttpLimits::default()));
        let defaults = DatabaseConfig::default();
        assert_eq!(parsed.database.max_connections, defaults.max_connections);
        assert_eq!(parsed.database.acquire_timeout, defaults.acquire_timeout);
        assert_eq!(parsed.database.statement_timeout, defaults.statement_timeout);
    }

    #[test]
    fn the_database_password_stays_out_of_debug_output() {
        let parsed = parse(&[]).expect("complete");
        assert!(!format!("{parsed:?}").contains("hush"));
        assert!(parsed.database.database_url.expose_secret().contains("hush"));
    }

    #[test]
    fn numbers_out_of_range_are_refused() {
        for bad in [
            ["--http-request-timeout-seconds", "0"],
            ["--http-request-timeout-seconds", "soon"],
            ["--http-request-timeout-seconds", "-1"],
        ] {
            assert!(parse(&bad).is_err(), "{bad:?}");
        }
        assert_eq!(seconds("0.25"), Ok(Duration::from_millis(250)));
    }

    #[test]
    fn a_list_without_a_value_is_empty() {
        let parsed = parse(&["--cors-origins", "", "--trusted-proxies", ""]).expect("valid").limits;
        assert!(parsed.cors_origins.is_empty() && parsed.trusted_proxies.is_empty());
        let given =
            ["--cors-origins", "https://Shop.example, https://b.example", "--trusted-proxies", "10.0.0.0/8,::1"];
        let parsed = parse(&given).expect("valid").limits;
        assert_eq!(parsed.cors_origins, ["https://shop.example", "https://b.example"]);
        assert_eq!(parsed.trusted_proxies.len(), 2);
        for bad in [["--cors-origins", "https://a.example/path"], ["--trusted-proxies", "everyone"]] {
            assert!(parse(&bad).is_err(), "{bad:?}");
        }
    }
}
