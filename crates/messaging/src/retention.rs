//! For how long the outbox and the inbox are kept.

use std::time::Duration;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const MINUTE: Duration = Duration::from_secs(60);

/// The relay drops what is older; `ops doctor` reports what should have been dropped and is still there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::Args)]
pub struct RetentionConfig {
    /// How long outbox and inbox are kept, and longer until all is settled: `90d`, `36h`, `20m` (at least 5 minutes).
    #[arg(long = "outbox-retention", env = "OUTBOX_RETENTION", default_value = "90d", value_parser = retention)]
    pub keep: Duration,
    /// How much time one partition holds: `11d`, `1h`, `150s` (at least 1 minute). Unset: an eighth of the retention, at
    /// most 91 days.
    #[arg(long = "outbox-partition-width", env = "OUTBOX_PARTITION_WIDTH", value_parser = width)]
    pub partition_width: Option<Duration>,
}

impl Default for RetentionConfig {
    fn default() -> Self {
        Self { keep: 90 * DAY, partition_width: None }
    }
}

impl RetentionConfig {
    /// How much time one partition holds: whole days, if it is longer than a day.
    pub fn width(&self) -> Duration {
        let eighth = (self.keep / 8).clamp(MINUTE, 91 * DAY);
        let whole_days = DAY * u32::try_from(eighth.as_secs() / DAY.as_secs()).unwrap_or(91);
        self.partition_width.unwrap_or(if eighth < DAY { eighth } else { whole_days })
    }

    /// For how long from now partitions must exist.
    pub fn ahead(&self) -> Duration {
        if self.width() < DAY { (4 * self.width()).max(10 * MINUTE) } else { 14 * DAY }
    }
}

fn retention(text: &str) -> Result<Duration, String> {
    at_least(5 * MINUTE, text)
}

fn width(text: &str) -> Result<Duration, String> {
    at_least(MINUTE, text)
}

fn at_least(least: Duration, text: &str) -> Result<Duration, String> {
    let given = humantime::parse_duration(text).map_err(|error| format!("{error}; write it as 90d, 36h or 20m"))?;
    let is_valid = given >= least && given <= 36_500 * DAY;
    is_valid.then_some(given).ok_or_else(|| format!("must be {} to 36500d", humantime::format_duration(least)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(keep: &str) -> RetentionConfig {
        RetentionConfig { keep: retention(keep).expect("a retention"), partition_width: None }
    }

    #[test]
    fn a_partition_is_an_eighth_of_the_retention() {
        assert_eq!(of("90d").width(), 11 * DAY);
        assert_eq!(of("10y").width(), 91 * DAY);
        assert_eq!(of("1d").width(), DAY / 8);
        assert_eq!(of("20m").width(), Duration::from_secs(150));
        assert_eq!(of("5m").width(), MINUTE);
    }

    #[test]
    fn partitions_exist_ahead_of_time() {
        assert_eq!(of("90d").ahead(), 14 * DAY);
        assert_eq!(of("20m").ahead(), 10 * MINUTE);
    }

    #[test]
    fn nonsense_is_refused_with_a_hint() {
        for text in ["", "90", "soon", "1s", "200y"] {
            retention(text).expect_err(text);
        }
        assert_eq!(retention("1m"), Err("must be 5m to 36500d".to_owned()));
    }
}
