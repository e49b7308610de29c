//! The GST in an order and in its documents.

use domain::{IndianState, Supply};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::values::Hsn;
use crate::{named, schema};

/// The GST in an amount, to the paisa: amount = taxable + cgst + sgst + igst + round-off.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TaxDocument {
    pub taxable_minor: i64,
    #[serde(default)]
    pub cgst_minor: i64,
    #[serde(default)]
    pub sgst_minor: i64,
    #[serde(default)]
    pub igst_minor: i64,
    /// The paise by which taxable amount and taxes miss the price, where prices include the tax. May be below zero.
    #[serde(default)]
    pub round_off_minor: i64,
}

impl TaxDocument {
    /// Part by part.
    #[must_use]
    pub const fn plus(&self, other: &Self) -> Self {
        Self {
            taxable_minor: self.taxable_minor + other.taxable_minor,
            cgst_minor: self.cgst_minor + other.cgst_minor,
            sgst_minor: self.sgst_minor + other.sgst_minor,
            igst_minor: self.igst_minor + other.igst_minor,
            round_off_minor: self.round_off_minor + other.round_off_minor,
        }
    }
}

/// How an order is taxed. Fixed when it is placed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TaxTermsDocument {
    pub supplier_gstin: String,
    /// Code and name, `29 Karnataka`.
    pub supplier_state: String,
    #[serde(with = "named")]
    #[schema(value_type = schema::Supply)]
    pub supply: Supply,
    /// Code and name of a state, `29 Karnataka`; `96 Outside India` for another country.
    pub place_of_supply: String,
    pub prices_include_tax: bool,
    /// Whether the buyer is a unit or a developer of a special economic zone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sez: bool,
    /// The letter of undertaking under which this zero-rated supply bears no tax.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lut_reference: Option<String>,
}

impl TaxTermsDocument {
    /// What the state's half of the tax is called where the goods are supplied: SGST, or UTGST in a union territory without a
    /// legislature.
    pub fn state_tax(&self) -> &'static str {
        let code = self.place_of_supply.get(..2).and_then(|code| code.parse().ok());
        let is_union_territory =
            code.and_then(IndianState::from_code).is_some_and(IndianState::has_union_territory_tax);
        if is_union_territory { "UTGST" } else { "SGST" }
    }

    /// Whether the supply is zero-rated: section 16 of the IGST Act.
    pub fn is_zero_rated(&self) -> bool {
        self.sez || self.is_export()
    }

    /// Whether the goods leave India.
    pub fn is_export(&self) -> bool {
        self.place_of_supply.starts_with("96")
    }
}

/// Everything that the GST return reports about an invoice or a credit note.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TaxSummaryDocument {
    #[serde(flatten)]
    pub terms: TaxTermsDocument,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipient_name: Option<String>,
    /// Only of a registered recipient.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipient_gstin: Option<String>,
    /// The shop, as the document names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub supplier: Option<SupplierDocument>,
    /// By HSN code and rate. Their totals sum to the document's total.
    pub lines: Vec<TaxSummaryLine>,
}

/// The shop that issues a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SupplierDocument {
    /// The registered name.
    pub name: String,
    /// Semicolons separate its lines.
    pub address: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub city: Option<String>,
    /// The PIN code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub postal_code: Option<String>,
}

/// Goods of one HSN code and one rate, with their shipping.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TaxSummaryLine {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, max_length = 16)]
    pub hsn: Option<Hsn>,
    /// Per cent. Absent when the goods are not taxed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gst_rate: Option<f64>,
    pub quantity: i64,
    /// With the tax.
    pub total_minor: i64,
    #[serde(flatten)]
    pub tax: TaxDocument,
}
