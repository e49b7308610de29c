//! `Accept` (RFC 9110, section 12.5.1).

use axum::http::{HeaderMap, header};

/// How much a client wants this media type, from 0 (not at all) to 1000; `None`: it does not say. The most specific range counts.
pub fn quality(headers: &HeaderMap, media_type: &str) -> Option<u16> {
    let group = media_type.split('/').next().unwrap_or_default();
    let ranges = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut best: Option<(u8, u16)> = None;
    for range in ranges.flat_map(|ranges| ranges.split(',')) {
        let mut parts = range.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let specific = match name {
            name if name.eq_ignore_ascii_case(media_type) => 2,
            "*/*" => 0,
            name if name.strip_suffix("/*").is_some_and(|of| of.eq_ignore_ascii_case(group)) => 1,
            _ => continue,
        };
        let quality = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
        let quality = quality.map_or(1_000, thousandths);
        if best.is_none_or(|(known, _)| specific >= known) {
            best = Some((specific, quality));
        }
    }
    best.map(|(_, quality)| quality)
}

/// Whether a client names this media type, and wants it at least as much as `other`.
pub fn prefers(headers: &HeaderMap, media_type: &str, other: &str) -> bool {
    let names = |headers: &HeaderMap| {
        let given = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
        given
            .flat_map(|ranges| ranges.split(','))
            .any(|range| range.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(media_type))
    };
    let wanted = quality(headers, media_type).unwrap_or(0);
    names(headers) && wanted > 0 && wanted >= quality(headers, other).unwrap_or(0)
}

/// `0.5` → 500. What is no number counts as 1.
fn thousandths(text: &str) -> u16 {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits: String = part.chars().chain("000".chars()).take(3).collect();
    match (whole, digits.parse::<u16>()) {
        ("0", Ok(part)) => part,
        _ => 1_000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accept(text: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::ACCEPT, text.parse().expect("a header value"))])
    }

    #[test]
    fn the_most_specific_range_counts() {
        for (given, expected) in [
            ("text/csv", Some(1_000)),
            ("text/csv;q=0", Some(0)),
            ("text/csv; q=0.25, */*", Some(250)),
            ("text/*;q=0.5", Some(500)),
            ("*/*;q=0.1", Some(100)),
            ("TEXT/CSV", Some(1_000)),
            ("text/*;q=0.9, text/csv;q=0.3", Some(300)),
            ("application/json", None),
        ] {
            assert_eq!(quality(&accept(given), "text/csv"), expected, "{given}");
        }
        assert_eq!(quality(&HeaderMap::new(), "text/csv"), None);
    }

    #[test]
    fn a_type_is_preferred_when_it_is_named() {
        for (given, expected) in [
            ("text/csv", true),
            ("text/csv;q=0", false),
            ("application/json, text/csv", true),
            ("application/json, text/csv;q=0.5", false),
            ("*/*", false),
            ("text/csv, */*", true),
        ] {
            assert_eq!(prefers(&accept(given), "text/csv", "application/json"), expected, "{given}");
        }
    }
}
