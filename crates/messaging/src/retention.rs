//! For how long outbox and inbox are kept.

/// The relay drops what is older; `ops doctor` reports what should have been dropped and is still there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::Args)]
pub struct RetentionConfig {
    /// Days for which outbox and inbox are kept, and longer until all is settled (1 to 36500). They are dropped in partitions
    /// of an eighth of that, at most 91 days each.
    #[arg(long = "outbox-retention-days", env = "OUTBOX_RETENTION_DAYS", default_value_t = RetentionConfig::default().days,
          value_parser = clap::value_parser!(i32).range(1..=36_500))]
    pub days: i32,
}

impl Default for RetentionConfig {
    fn default() -> Self {
        Self { days: 90 }
    }
}
