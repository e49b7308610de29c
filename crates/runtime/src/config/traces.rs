//! Where traces go, and which. The variables and their values are those that OpenTelemetry has standardised.

use std::fmt;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use clap::{Args, ValueEnum};
use percent_encoding::percent_decode_str;

use super::ratio;

/// How spans get to the collector.
#[derive(ValueEnum, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OtlpProtocol {
    /// Port 4318 of most collectors.
    #[default]
    #[value(name = "http/protobuf")]
    HttpProtobuf,
    /// Port 4317 of most collectors.
    Grpc,
}

/// Which traces are recorded. The parent-based ones do as the caller does, and decide only about traces that start here.
#[derive(ValueEnum, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[value(rename_all = "snake_case")]
pub enum TraceSampler {
    AlwaysOn,
    AlwaysOff,
    #[value(name = "traceidratio")]
    TraceIdRatio,
    #[value(name = "parentbased_always_on")]
    ParentBasedAlwaysOn,
    #[value(name = "parentbased_always_off")]
    ParentBasedAlwaysOff,
    #[default]
    #[value(name = "parentbased_traceidratio")]
    ParentBasedTraceIdRatio,
}

/// Headers that a collector asks for, such as a token. They stay out of logs.
#[derive(Clone, Default)]
pub struct OtlpHeaders(HeaderMap);

impl OtlpHeaders {
    /// The headers, with sensitive values.
    pub const fn headers(&self) -> &HeaderMap {
        &self.0
    }
}

impl fmt::Debug for OtlpHeaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.keys()).finish()
    }
}

/// Names with values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pairs(pub Vec<(String, String)>);

/// Where traces go, and which.
#[derive(Args, Clone, Debug)]
pub struct TracesConfig {
    /// Base address of an OTLP collector, e.g. `http://127.0.0.1:4318`. Unset: traces are not exported.
    #[arg(long = "otlp-endpoint", env = "OTEL_EXPORTER_OTLP_ENDPOINT")]
    pub endpoint: Option<String>,
    /// How the collector takes them.
    #[arg(long = "otlp-protocol", env = "OTEL_EXPORTER_OTLP_PROTOCOL", value_enum, default_value_t)]
    pub protocol: OtlpProtocol,
    /// Headers that the collector asks for: `name=value` pairs, separated by commas, values percent-encoded.
    #[arg(long = "otlp-headers", env = "OTEL_EXPORTER_OTLP_HEADERS", hide_env_values = true, value_parser = headers)]
    pub headers: Option<OtlpHeaders>,
    /// Which traces are exported.
    #[arg(long = "traces-sampler", env = "OTEL_TRACES_SAMPLER", value_enum, default_value_t)]
    pub sampler: TraceSampler,
    /// For the ratio samplers: the share of traces that start here and are exported, 0 to 1.
    #[arg(long = "trace-sample-ratio", env = "OTEL_TRACES_SAMPLER_ARG", default_value_t = 1.0, value_parser = ratio)]
    pub sample_ratio: f64,
    /// The name of the service in traces. Unset: the program's.
    #[arg(long = "otel-service-name", env = "OTEL_SERVICE_NAME")]
    pub service_name: Option<String>,
    /// What else is said about the process in each trace: `name=value` pairs, separated by commas.
    #[arg(long = "otel-resource-attributes", env = "OTEL_RESOURCE_ATTRIBUTES", value_parser = pairs)]
    pub resource_attributes: Option<Pairs>,
}

impl Default for TracesConfig {
    fn default() -> Self {
        Self {
            endpoint: None,
            protocol: OtlpProtocol::default(),
            headers: None,
            sampler: TraceSampler::default(),
            sample_ratio: 1.0,
            service_name: None,
            resource_attributes: None,
        }
    }
}

/// `a=1,b=2`, values percent-encoded.
fn pairs(text: &str) -> Result<Pairs, String> {
    let one = |part: &str| {
        let (name, value) = part.split_once('=')?;
        let value = percent_decode_str(value.trim()).decode_utf8().ok()?;
        (!name.trim().is_empty()).then(|| (name.trim().to_owned(), value.into_owned()))
    };
    // The text may be a secret, so the error does not show it.
    let expected = || "expected name=value pairs, separated by commas, with percent-encoded values".to_owned();
    let parts = text.split(',').filter(|part| !part.trim().is_empty());
    parts.map(|part| one(part).ok_or_else(expected)).collect::<Result<_, _>>().map(Pairs)
}

fn headers(text: &str) -> Result<OtlpHeaders, String> {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs(text)?.0 {
        let name = HeaderName::try_from(name).map_err(|_| "a name is not that of a header".to_owned())?;
        let mut value = HeaderValue::try_from(value).map_err(|_| format!("{name} has a value that no header has"))?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(OtlpHeaders(headers))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser, Debug)]
    struct Program {
        #[command(flatten)]
        traces: TracesConfig,
    }

    fn parse(flag: &str, value: &str) -> Result<TracesConfig, String> {
        let parsed = Program::try_parse_from(["program", flag, value]);
        parsed.map(|program| program.traces).map_err(|error| error.to_string())
    }

    #[test]
    fn the_standard_values_are_known_and_no_others() {
        for (name, protocol) in [("http/protobuf", OtlpProtocol::HttpProtobuf), ("grpc", OtlpProtocol::Grpc)] {
            assert_eq!(parse("--otlp-protocol", name).expect("known").protocol, protocol);
        }
        for name in ["always_on", "always_off", "traceidratio", "parentbased_always_on", "parentbased_always_off"] {
            assert!(parse("--traces-sampler", name).is_ok(), "{name}");
        }
        for (flag, value, says) in [
            ("--otlp-protocol", "http/json", "[possible values: http/protobuf, grpc]"),
            ("--traces-sampler", "jaeger_remote", "parentbased_traceidratio]"),
            ("--trace-sample-ratio", "1.5", "from 0 to 1"),
            ("--trace-sample-ratio", "NaN", "from 0 to 1"),
            ("--otel-resource-attributes", "team", "name=value pairs"),
        ] {
            let error = parse(flag, value).expect_err("unknown");
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn headers_are_decoded_and_shown_nowhere() {
        let traces = parse("--otlp-headers", "authorization=Basic%20aHVzaA%3D%3D, x-shop = 7,").expect("valid");
        let headers = traces.headers.as_ref().expect("headers").headers();
        assert_eq!(
            (&headers["authorization"], &headers["x-shop"]),
            (&"Basic aHVzaA==".parse().expect("ASCII"), &"7".parse().expect("ASCII"))
        );
        assert!(!format!("{traces:?}").contains("aHVzaA"), "{traces:?}");
        for bad in ["hush", "a b=hush", "a=hush%0a", "a=hush%ff", "=hush"] {
            assert!(headers_error(bad).is_some_and(|error| !error.contains("hush")), "{bad}");
        }
    }

    fn headers_error(text: &str) -> Option<String> {
        headers(text).err()
    }

    #[test]
    fn attributes_keep_their_order() {
        let attributes = parse("--otel-resource-attributes", "deployment.environment.name=staging,team=a%2Cb");
        let expected = [("deployment.environment.name", "staging"), ("team", "a,b")];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(attributes.expect("valid").resource_attributes, Some(Pairs(expected.to_vec())));
    }
}
