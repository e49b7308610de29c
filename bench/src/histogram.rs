//! The histograms that the services of this process keep, as Prometheus sees them.

use anyhow::{Context, Result};

/// A histogram at one time: the upper bounds of its buckets in seconds, ascending, and how many values are not above each.
#[derive(Debug, Clone, Default)]
pub(crate) struct Histogram(Vec<(f64, f64)>);

impl Histogram {
    /// All series of that name added up.
    pub(crate) fn now(name: &str) -> Result<Self> {
        let prefix = format!("{name}_bucket{{");
        let mut buckets: Vec<(f64, f64)> = Vec::new();
        for line in runtime::metrics::render().lines().filter(|line| line.starts_with(&prefix)) {
            let (labels, count) = line.rsplit_once(' ').context("a sample has a value")?;
            let (_, bound) = labels.split_once("le=\"").context("a bucket has a bound")?;
            let bound: f64 = bound.split('"').next().unwrap_or_default().parse()?;
            let count: f64 = count.parse()?;
            match buckets.iter_mut().find(|(known, _)| known.total_cmp(&bound).is_eq()) {
                Some((_, sum)) => *sum += count,
                None => buckets.push((bound, count)),
            }
        }
        buckets.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        Ok(Self(buckets))
    }

    /// What was recorded after `earlier`.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        let before =
            |bound: f64| earlier.0.iter().find(|(known, _)| known.total_cmp(&bound).is_eq()).map_or(0.0, |(_, n)| *n);
        Self(self.0.iter().map(|(bound, count)| (*bound, count - before(*bound))).collect())
    }

    /// The value in milliseconds that this share of the values does not exceed, interpolated within its bucket as Prometheus
    /// does. `None` without values.
    pub(crate) fn quantile(&self, share: f64) -> Option<f64> {
        let all = self.0.last().map(|(_, count)| *count).filter(|count| *count > 0.0)?;
        let (mut from, mut below) = (0.0, 0.0);
        for (bound, count) in &self.0 {
            if *count >= all * share {
                // The last bucket has no upper bound.
                let to = if bound.is_finite() { *bound } else { from };
                let part = (all * share - below) / (count - below).max(1.0);
                return Some((from * (1.0 - part) + to * part) * 1e3);
            }
            (from, below) = (*bound, *count);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_lies_within_its_bucket() {
        let earlier = Histogram(vec![(0.001, 10.0), (0.01, 10.0), (f64::INFINITY, 10.0)]);
        let now = Histogram(vec![(0.001, 60.0), (0.01, 110.0), (f64::INFINITY, 110.0)]);
        let since = now.since(&earlier);
        assert_eq!(since.quantile(0.5), Some(1.0));
        assert_eq!(since.quantile(1.0), Some(10.0));
        assert_eq!(earlier.since(&earlier).quantile(0.5), None);
    }
}
