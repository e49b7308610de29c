//! The Prometheus text as OpenMetrics 1.0 (<https://prometheus.io/docs/specs/om/open_metrics_spec/>): the recorder writes the older
//! format only, which has no exemplars. The differences: no empty lines, counters are named without `_total` in their descriptions,
//! bounds have a decimal point, and the end is marked.

use std::fmt::Write;

use super::exemplars::Exemplar;

/// `find` returns the exemplar of a bucket of a series.
pub(super) fn with_exemplars(text: &str, find: impl Fn(&str, Option<f64>) -> Option<Exemplar>) -> String {
    let mut open = String::with_capacity(text.len() + text.len() / 4);
    for line in text.lines().filter(|line| !line.is_empty()) {
        // Writing to a text cannot fail.
        let _ = match line.strip_prefix("# ") {
            Some(about) => writeln!(open, "# {}", described(about)),
            None => match bucket(line) {
                Some(bucket) => bucket.write(&mut open, &find),
                None => writeln!(open, "{line}"),
            },
        };
    }
    open.push_str("# EOF\n");
    open
}

/// `TYPE requests_total counter` → `TYPE requests counter`
fn described(about: &str) -> String {
    let mut words = about.splitn(3, ' ');
    let (Some(what), Some(name), Some(rest)) = (words.next(), words.next(), words.next()) else {
        return about.to_owned();
    };
    let family = name.strip_suffix("_total").unwrap_or(name);
    let rest = if what == "HELP" { rest.replace('"', "\\\"") } else { rest.to_owned() };
    format!("{what} {family} {rest}")
}

/// One bucket: `name_bucket{label="value",le="0.5"} 3`
struct Bucket<'l> {
    name: &'l str,
    labels: &'l str,
    le: &'l str,
    count: &'l str,
}

fn bucket(line: &str) -> Option<Bucket<'_>> {
    let (name, rest) = line.split_once("_bucket{")?;
    let (labels, rest) = rest.rsplit_once("le=\"")?;
    let (le, count) = rest.split_once("\"} ")?;
    Some(Bucket { name, labels: labels.trim_end_matches(','), le, count })
}

impl Bucket<'_> {
    fn write(&self, open: &mut String, find: impl Fn(&str, Option<f64>) -> Option<Exemplar>) -> std::fmt::Result {
        let Self { name, labels, le, count } = self;
        let comma = if labels.is_empty() { "" } else { "," };
        let point = if le.bytes().all(|byte| byte.is_ascii_digit()) { ".0" } else { "" };
        write!(open, "{name}_bucket{{{labels}{comma}le=\"{le}{point}\"}} {count}")?;
        let bound = le.parse::<f64>().ok().filter(|bound| bound.is_finite());
        if let Some(Exemplar { trace_id, seconds, at }) = find(&format!("{name}{{{labels}}}"), bound) {
            let (at, millis) = (at.timestamp(), at.timestamp_subsec_millis());
            write!(open, " # {{trace_id=\"{trace_id}\"}} {seconds} {at}.{millis:03}")?;
        }
        writeln!(open)
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use opentelemetry::trace::TraceId;

    use super::*;

    #[test]
    fn the_text_has_the_form_of_openmetrics() {
        let text = "# HELP jobs_total Jobs \"done\".\n# TYPE jobs_total counter\njobs_total{queue=\"a,le=b\"} 2\n\n\
                    # TYPE wait_seconds histogram\nwait_seconds_bucket{queue=\"a\",le=\"0.5\"} 1\n\
                    wait_seconds_bucket{queue=\"a\",le=\"1\"} 3\nwait_seconds_bucket{queue=\"a\",le=\"+Inf\"} 4\n\
                    wait_seconds_sum{queue=\"a\"} 2.5\nwait_seconds_count{queue=\"a\"} 4\n\n\
                    # TYPE size_bytes histogram\nsize_bytes_bucket{le=\"1000\"} 1\n\n# TYPE depth gauge\ndepth 7\n";
        let at = DateTime::from_timestamp_millis(1_700_000_000_250).expect("a time");
        let find = |series: &str, le: Option<f64>| {
            let (known, seconds) = (series == "wait_seconds{queue=\"a\"}", le.map_or(4.0, |le| le - 0.25));
            (known && le != Some(0.5)).then_some(Exemplar { trace_id: TraceId::from_bytes([10; 16]), seconds, at })
        };
        let id = "0a".repeat(16);
        let expected = format!(
            "# HELP jobs Jobs \\\"done\\\".\n# TYPE jobs counter\njobs_total{{queue=\"a,le=b\"}} 2\n\
             # TYPE wait_seconds histogram\nwait_seconds_bucket{{queue=\"a\",le=\"0.5\"}} 1\n\
             wait_seconds_bucket{{queue=\"a\",le=\"1.0\"}} 3 # {{trace_id=\"{id}\"}} 0.75 1700000000.250\n\
             wait_seconds_bucket{{queue=\"a\",le=\"+Inf\"}} 4 # {{trace_id=\"{id}\"}} 4 1700000000.250\n\
             wait_seconds_sum{{queue=\"a\"}} 2.5\nwait_seconds_count{{queue=\"a\"}} 4\n\
             # TYPE size_bytes histogram\nsize_bytes_bucket{{le=\"1000.0\"}} 1\n# TYPE depth gauge\ndepth 7\n# EOF\n"
        );
        assert_eq!(with_exemplars(text, find), expected);
    }
}
