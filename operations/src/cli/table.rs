//! Tables and ages.

use chrono::{DateTime, Utc};
use comfy_table::Table;
use comfy_table::presets::NOTHING;

/// A table without lines, as operators paste it into a message.
pub(super) fn table<const N: usize>(header: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(header).add_rows(rows);
    table.trim_fmt()
}

/// How long ago `then` was at `now`, in the largest unit of which there are two: `95 s`, `2 min`, `3 h`.
pub(super) fn age(now: DateTime<Utc>, then: DateTime<Utc>) -> String {
    let seconds = (now - then).num_seconds();
    if seconds < 0 {
        return format!("in {}", length(-seconds));
    }
    length(seconds)
}

pub(super) fn age_of(now: DateTime<Utc>, then: Option<DateTime<Utc>>) -> String {
    then.map_or_else(|| "-".to_owned(), |then| age(now, then))
}

/// The beginning of a text, on one line.
pub(super) fn short(text: &str) -> String {
    const MOST: usize = 80;
    let line = text.lines().next().unwrap_or_default();
    if line.chars().count() <= MOST && line.len() == text.len() {
        return text.to_owned();
    }
    line.chars().take(MOST - 1).chain(['…']).collect()
}

fn length(seconds: i64) -> String {
    match seconds {
        ..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use chrono::Duration;

    use super::*;

    #[test]
    fn an_age_is_as_exact_as_it_matters() {
        let now = DateTime::<Utc>::UNIX_EPOCH;
        for (seconds, text) in [
            (0, "0 s"),
            (119, "119 s"),
            (120, "2 min"),
            (7_199, "119 min"),
            (7_200, "2 h"),
            (172_800, "2 d"),
            (-30, "in 30 s"),
        ] {
            assert_eq!(age(now, now - Duration::seconds(seconds)), text);
        }
        assert_eq!(age_of(now, None), "-");
    }

    #[test]
    fn a_long_text_is_cut_where_it_is_seen_to_be() {
        assert_eq!(short("no route"), "no route");
        assert_eq!(short("no route\nat all"), "no route…");
        assert_eq!(short(&"ठ".repeat(81)).chars().count(), 80);
        assert_eq!(short(&"ठ".repeat(80)), "ठ".repeat(80));
    }

    #[test]
    fn a_table_is_plain_text() {
        let text = table(["queue", "ready"], [["refunds".to_owned(), 3.to_string()]]);
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines, [["queue", "ready"], ["refunds", "3"]]);
    }
}
