//! A postal address.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A postal address. Every field is optional text of at most 255 characters; other fields
/// are stored as they are, and shown after these.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Address {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 255)]
    pub name: Option<String>,
    #[serde(default, alias = "street", alias = "address_line1", skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 255)]
    pub line1: Option<String>,
    #[serde(default, alias = "address_line2", skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 255)]
    pub line2: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 255)]
    pub city: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 255)]
    pub state: Option<String>,
    #[serde(default, alias = "zip", alias = "pincode", alias = "pin_code", skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 255)]
    pub postal_code: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 255)]
    pub country: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 255)]
    pub phone: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 255)]
    pub gstin: Option<String>,
    /// Whether the buyer is a unit or a developer of a special economic zone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sez: bool,
    #[serde(flatten)]
    pub other: BTreeMap<String, String>,
}

impl Address {
    /// The name of a member for which other names are accepted.
    pub fn usual_name(name: &str) -> &str {
        match name {
            "street" | "address_line1" => "line1",
            "address_line2" => "line2",
            "zip" | "pincode" | "pin_code" => "postal_code",
            usual => usual,
        }
    }
}
