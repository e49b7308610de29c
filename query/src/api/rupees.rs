//! Amounts as the GST portals read them.

use serde_json::{Value, json};

/// Rupees, exact to the paisa.
#[expect(clippy::cast_precision_loss, reason = "amounts are far below 2^53 paise")]
pub(super) fn rupees(minor: i64) -> Value {
    json!(minor as f64 / 100.0)
}
