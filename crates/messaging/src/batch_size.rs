//! How many rows the next batch of a loop has.

use runtime::database::timed_out;
use sqlx::Error;

/// Full batches that must succeed before a batch of one row has its full size again.
const STEPS: i64 = 16;

/// The size of the batches of one loop.
///
/// A batch that takes too long would take too long again, for ever. So each time-out halves the next batch, down to one row,
/// and each full batch that succeeds makes the next one a little larger.
#[derive(Debug)]
pub struct BatchSize {
    name: &'static str,
    most: i64,
    rows: i64,
}

impl BatchSize {
    /// Starts with the full size. `name` tells the loop from others in log and metrics.
    pub const fn new(name: &'static str, most: i64) -> Self {
        Self { name, most, rows: most }
    }

    /// The limit of the next batch.
    pub const fn rows(&self) -> i64 {
        self.rows
    }

    /// A batch of so many rows succeeded. If it was not full, nothing is known about larger ones.
    pub fn succeeded(&mut self, rows: i64) {
        if rows >= self.rows {
            self.rows = (self.rows + (self.most / STEPS).max(1)).min(self.most);
        }
    }

    /// A batch of up to so many rows failed.
    pub fn failed(&mut self, rows: i64, error: &Error) {
        if timed_out(error) {
            self.rows = (rows.min(self.rows) / 2).max(1);
            metrics::counter!("batches_halved_total", "loop" => self.name).increment(1);
            tracing::warn!(
                batches = self.name,
                rows,
                next = self.rows,
                "a batch took too long; the next one is smaller"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use super::*;

    fn timeout() -> Error {
        Error::Io(ErrorKind::TimedOut.into())
    }

    #[test]
    fn a_time_out_halves_what_was_tried_down_to_one_row() {
        let mut size = BatchSize::new("test", 1_000);
        let mut sizes = Vec::new();
        while size.rows() > 1 {
            size.failed(size.rows(), &timeout());
            sizes.push(size.rows());
        }
        assert_eq!(sizes, [500, 250, 125, 62, 31, 15, 7, 3, 1]);
        size.failed(1, &timeout());
        assert_eq!(size.rows(), 1);

        let mut size = BatchSize::new("test", 1_000);
        size.failed(40, &timeout());
        assert_eq!(size.rows(), 20, "half of what the batch had, not of what it might have had");
    }

    #[test]
    fn other_errors_change_nothing() {
        let mut size = BatchSize::new("test", 1_000);
        for error in [Error::Io(ErrorKind::ConnectionReset.into()), Error::PoolTimedOut, Error::RowNotFound] {
            size.failed(1_000, &error);
        }
        assert_eq!(size.rows(), 1_000);
    }

    #[test]
    fn full_batches_that_succeed_bring_the_size_back() {
        let mut size = BatchSize::new("test", 1_000);
        size.failed(2, &timeout());
        size.succeeded(0);
        assert_eq!(size.rows(), 1, "an empty batch proves nothing");
        let mut batches = 0;
        while size.rows() < 1_000 {
            size.succeeded(size.rows());
            batches += 1;
        }
        assert_eq!(batches, 17);
        size.succeeded(1_000);
        assert_eq!(size.rows(), 1_000);

        let mut small = BatchSize::new("test", 4);
        small.failed(4, &timeout());
        small.succeeded(2);
        assert_eq!(small.rows(), 3);
    }
}
