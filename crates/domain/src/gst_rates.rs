//! The rates of GST on handicrafts by HSN code, each from its first day: the rate of an item that is ordered without one.
//!
//! The figures are data, in `data/gst_rates.csv`, each with its source: the serial number in the notification. The notifications
//! themselves stand in `data/notifications`, and a test compares both. Where the tariff of 2017 or 2022 has other codes for the same
//! goods, those have a row too. Goods whose rate depended on their price (shawls until 21 September 2025) and goods that are not
//! handicrafts are not in it: for them the shop sends a rate with each item.

use std::sync::LazyLock;

use chrono::NaiveDate;

use crate::tax::GstRate;

struct Entry {
    /// The first digits of an item's code.
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

/// The last day until this one on which rates came into force.
pub fn last_rate_change(until: NaiveDate) -> Option<NaiveDate> {
    ENTRIES.iter().map(|entry| entry.from).filter(|from| *from <= until).max()
}

/// The rate on a day in India; `None` where the table has none. The longest matching code wins, and of its rates the
/// latest one in force.
pub fn default_rate(hsn: &str, on: NaiveDate) -> Option<GstRate> {
    let digits: String = hsn.chars().filter(char::is_ascii_digit).collect();
    ENTRIES
        .iter()
        .filter(|entry| digits.starts_with(entry.hsn) && entry.from <= on)
        .max_by_key(|entry| (entry.hsn.len(), entry.from))
        .map(|entry| entry.rate)
}
