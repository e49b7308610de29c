//! Named numbers of one stretch of time, and how they are compared with those of another.

use std::fmt::Write;

use serde_json::{Map, Value};

/// A time is flat when it has not more than doubled.
const FLAT: f64 = 2.0;
/// A rate is flat when it has lost no more than this.
const FLAT_RATE: f64 = 0.95;
/// Times below this many milliseconds are noise: they are shown, and not judged.
const NOISE_MS: f64 = 0.2;

/// Numbers in the order in which they were noted. The last word of a name is the unit.
#[derive(Debug, Clone, Default)]
pub(crate) struct Figures(Vec<(String, f64)>);

impl Figures {
    pub(crate) fn note(&mut self, name: impl Into<String>, value: f64) {
        self.0.push((name.into(), value));
    }

    pub(crate) fn add(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    pub(crate) fn get(&self, name: &str) -> Option<f64> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| *value)
    }

    /// These numbers in one line, by their names.
    pub(crate) fn line(&self, names: &[&str]) -> String {
        let of = |name: &&str| Some(format!("{name} {:.2}", self.get(name)?));
        names.iter().filter_map(of).collect::<Vec<_>>().join(", ")
    }

    pub(crate) fn json(&self) -> Value {
        Value::Object(self.0.iter().map(|(name, value)| (name.clone(), Value::from(*value))).collect::<Map<_, _>>())
    }
}

/// A table of these stretches, one column each, with the ratio of the last to each of the others. Returns it with the names that
/// are not flat.
pub(crate) fn compare(columns: &[(&str, &Figures)]) -> (String, Vec<String>) {
    let (Some((last_name, last)), mut table, mut not_flat) = (columns.last(), String::new(), Vec::new()) else {
        return Default::default();
    };
    let others = &columns[..columns.len() - 1];
    let mut head = format!("{:<58}", "");
    for (name, _) in columns {
        let _ = write!(head, "{name:>12}");
    }
    for (name, _) in others {
        let _ = write!(head, "{:>14}", format!("{last_name}/{name}"));
    }
    let _ = writeln!(table, "{head}");
    for (name, value) in &last.0 {
        let _ = write!(table, "{name:<58}");
        for (_, figures) in columns {
            let _ = write!(table, "{:>12}", figures.get(name).map_or("-".to_owned(), |value| format!("{value:.2}")));
        }
        let ratios: Vec<_> = others.iter().map(|(_, figures)| ratio(*value, figures.get(name))).collect();
        for ratio in &ratios {
            let _ = write!(table, "{:>14}", ratio.map_or("-".to_owned(), |ratio| format!("{ratio:.2}")));
        }
        if !ratios.iter().flatten().all(|ratio| is_flat(name, *value, *ratio)) {
            let _ = write!(table, "  NOT FLAT");
            not_flat.push(name.clone());
        }
        table.push('\n');
    }
    (table, not_flat)
}

fn ratio(value: f64, of: Option<f64>) -> Option<f64> {
    of.filter(|of| *of > 0.0).map(|of| value / of)
}

/// Maxima and deviations are not judged: one checkpoint decides them.
fn is_flat(name: &str, value: f64, ratio: f64) -> bool {
    let judged = !name.contains(" max ") && !name.contains(" stddev ");
    match name.rsplit(' ').next() {
        Some("ms") if judged => ratio <= FLAT || value < NOISE_MS,
        Some("/s") => ratio >= FLAT_RATE,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_doubled_is_not_flat() {
        let of = |values: [f64; 4]| {
            let mut figures = Figures::default();
            for (name, value) in ["claim mean ms", "claim max ms", "tiny mean ms", "events /s"].into_iter().zip(values)
            {
                figures.note(name, value);
            }
            figures
        };
        let (before, after) = (of([1.0, 1.0, 0.01, 100.0]), of([2.1, 9.0, 0.1, 90.0]));
        assert_eq!(compare(&[("first", &before), ("last", &after)]).1, ["claim mean ms", "events /s"]);
        assert!(compare(&[("first", &before), ("last", &before)]).1.is_empty());
    }
}
