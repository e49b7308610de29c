//! Ages and short texts, for people.

use chrono::{DateTime, TimeDelta, Utc};

/// The moment that was so long ago. None: before all time.
pub(crate) fn before(now: DateTime<Utc>, span: std::time::Duration) -> Option<DateTime<Utc>> {
    now.checked_sub_signed(TimeDelta::from_std(span).ok()?)
}

/// How long before `now` `then` was, in the largest unit that fits twice: `95 s`, `2 min`, `3 h`.
pub(crate) fn age(now: DateTime<Utc>, then: DateTime<Utc>) -> String {
    let seconds = (now - then).num_seconds();
    if seconds < 0 {
        return format!("in {}", length(-seconds));
    }
    length(seconds)
}

pub(crate) fn age_of(now: DateTime<Utc>, then: Option<DateTime<Utc>>) -> String {
    or_dash(then.map(|then| age(now, then)))
}

/// The time between two moments: `12 ms`, `3.4 s`, then as an [`age`].
pub(crate) fn gap(from: DateTime<Utc>, to: DateTime<Utc>) -> String {
    let milliseconds = (to - from).num_milliseconds();
    match milliseconds {
        ..1_000 => format!("{milliseconds} ms"),
        1_000..120_000 => format!("{}.{} s", milliseconds / 1_000, milliseconds % 1_000 / 100),
        _ => length(milliseconds / 1_000),
    }
}

/// When a job came to its queue and was last started, after the step that its event announced: `queued +4 ms, started +6 ms`.
pub(crate) fn hops(at: DateTime<Utc>, received_at: DateTime<Utc>, started_at: Option<DateTime<Utc>>) -> String {
    let queued = format!("queued +{}", gap(at, received_at));
    started_at.map_or_else(|| queued.clone(), |started_at| format!("{queued}, started +{}", gap(at, started_at)))
}

pub(crate) fn or_dash(text: Option<String>) -> String {
    text.unwrap_or_else(|| "-".to_owned())
}

/// The start of a text, on one line.
pub(crate) fn short(text: &str) -> String {
    const WIDTH: usize = 80;
    let line = text.lines().next().unwrap_or_default();
    if line.chars().count() <= WIDTH && line.len() == text.len() {
        return text.to_owned();
    }
    line.chars().take(WIDTH - 1).chain(['…']).collect()
}

fn length(seconds: i64) -> String {
    match seconds {
        ..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// Numbers in their order as `0–7, 12`.
pub(crate) fn ranges(numbers: &[i16]) -> String {
    let mut ranges: Vec<(i16, i16)> = Vec::new();
    for &number in numbers {
        match ranges.last_mut() {
            Some((_, last)) if i32::from(*last) + 1 == i32::from(number) => *last = number,
            _ => ranges.push((number, number)),
        }
    }
    let told =
        ranges.iter().map(|(first, last)| if first == last { first.to_string() } else { format!("{first}–{last}") });
    told.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use chrono::Duration;

    use super::*;

    #[test]
    fn numbers_that_follow_each_other_are_a_range() {
        for (numbers, text) in [
            (&[][..], ""),
            (&[3], "3"),
            (&[0, 1, 2, 5, 7, 8], "0–2, 5, 7–8"),
            (&[i16::MAX - 1, i16::MAX], "32766–32767"),
        ] {
            assert_eq!(ranges(numbers), text);
        }
    }

    #[test]
    fn an_age_has_the_largest_unit_that_fits_twice() {
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
    fn the_time_between_two_moments_has_its_unit() {
        let from = DateTime::<Utc>::UNIX_EPOCH;
        for (milliseconds, text) in
            [(0, "0 ms"), (999, "999 ms"), (1_250, "1.2 s"), (119_999, "119.9 s"), (120_000, "2 min"), (-4, "-4 ms")]
        {
            assert_eq!(gap(from, from + Duration::milliseconds(milliseconds)), text);
        }
    }

    #[test]
    fn a_shortened_text_ends_in_an_ellipsis() {
        assert_eq!(short("no route"), "no route");
        assert_eq!(short("no route\nat all"), "no route…");
        assert_eq!(short(&"ठ".repeat(81)).chars().count(), 80);
        assert_eq!(short(&"ठ".repeat(80)), "ठ".repeat(80));
    }
}
