//! The rates of GST on handicrafts by HSN code, each from the day on which it began: what an item bears when nobody says.
//!
//! The figures are data, in `data/gst_rates.csv`, each with its source. Goods whose rate hangs on their price (shawls) and
//! those that are no handicraft are not in it: for them the shop gives a rate with each item.

use std::sync::LazyLock;

use chrono::NaiveDate;

use crate::tax::GstRate;

struct Entry {
    /// Digits that the code of an item begins with.
    hsn: &'static str,
    from: NaiveDate,
    rate: GstRate,
}

static ENTRIES: LazyLock<Vec<Entry>> = LazyLock::new(|| {
    include_str!("../data/gst_rates.csv")
        .lines()
        .skip(1)
        .map(|line| entry(line).expect("a line of our own data"))
        .collect()
});

fn entry(line: &'static str) -> Option<Entry> {
    let mut fields = line.split(',');
    let (hsn, from, per_cent) = (fields.next()?, fields.next()?, fields.next()?);
    Some(Entry { hsn, from: from.parse().ok()?, rate: GstRate::from_per_cent(per_cent.parse().ok()?).ok()? })
}

/// The rate on a day in India; `None` where the table has none. The longest code that fits counts, and of that the latest
/// that has begun.
pub fn default_rate(hsn: &str, on: NaiveDate) -> Option<GstRate> {
    let digits: String = hsn.chars().filter(char::is_ascii_digit).collect();
    ENTRIES
        .iter()
        .filter(|entry| digits.starts_with(entry.hsn) && entry.from <= on)
        .max_by_key(|entry| (entry.hsn.len(), entry.from))
        .map(|entry| entry.rate)
}
