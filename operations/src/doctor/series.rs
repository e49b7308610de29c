//! Series of invoice and credit note numbers that end soon. A document for which no number is left is a dead job.

use chrono::Days;
use contracts::{Series, financial_year};
use runtime::Clock;
use sqlx::PgPool;

use super::Finding;

const REMEDY: &str = "set another INVOICE_PREFIX (for invoices) or CREDIT_NOTE_PREFIX (for credit notes) and restart the workers: \
                      a new prefix starts a new series, and one or two characters leave room for seven digits";

pub(super) async fn findings(pool: &PgPool, clock: &Clock) -> sqlx::Result<Vec<Finding>> {
    let today = clock.now().date_naive();
    // In some time zone the year has ended, or has not started yet. No number is taken from the series of other years.
    let years = [today - Days::new(1), today + Days::new(1)].map(financial_year);
    let rows =
        sqlx::query!("select series, last_number from work.document_series order by series").fetch_all(pool).await?;
    let current = rows.into_iter().filter(|row| years.iter().any(|year| row.series.ends_with(&format!("/{year}"))));
    Ok(current.filter_map(|row| finding(row.series, row.last_number.unsigned_abs())).collect())
}

/// A warning from 90 % on.
fn finding(name: String, taken: u32) -> Option<Finding> {
    let series = Series::named(name).ok()?;
    let (name, last) = (series.name(), series.last());
    if taken >= last {
        let cause = format!("the series {name} has ended at {last}: its documents have no number and are dead jobs");
        let remedy = format!("{REMEDY}; then ops retry their queue");
        return Some(Finding::problem("SERIES_ENDED", cause, remedy));
    }
    (taken >= last - last / 10).then(|| {
        let cause = format!("the series {name} has {} of {last} numbers left", last - taken);
        Finding::warning("SERIES_ENDING", cause, REMEDY)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_is_named_from_90_percent_on() {
        let cause = |name: &str, taken| {
            let finding = finding(name.to_owned(), taken)?;
            assert!(finding.remedy.contains("INVOICE_PREFIX"));
            Some((finding.code, finding.cause))
        };
        assert_eq!(cause("AC/26-27", 8_999_999), None);
        let left = "the series AC/26-27 has 999999 of 9999999 numbers left".to_owned();
        assert_eq!(cause("AC/26-27", 9_000_000), Some(("SERIES_ENDING", left)));
        let left = "the series ABC/26-27 has 1 of 999999 numbers left".to_owned();
        assert_eq!(cause("ABC/26-27", 999_998), Some(("SERIES_ENDING", left)));
        let ended =
            "the series ABC/26-27 has ended at 999999: its documents have no number and are dead jobs".to_owned();
        assert_eq!(cause("ABC/26-27", 999_999), Some(("SERIES_ENDED", ended)));
    }
}
