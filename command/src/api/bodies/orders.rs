//! Bodies of order commands.

use chrono::{DateTime, Utc};
use contracts::{Address, CustomerId, Email, Hsn, OrderNumber, Sku};
use domain::{Gstin, OrderState};
use iso_currency::Currency;
use runtime::{ApiError, FieldErrors};
use serde::Deserialize;
use utoipa::ToSchema;

use super::{StepBody, check_optional, check_text, parse_field, parse_optional, reason_and_actor};
use crate::context::Body;
use crate::place_order::{self, Draft, DraftItem};
use crate::taxation::Taxation;
use crate::transition::Details;

const MAX_ADDRESS_FIELDS: usize = 20;

/// A new order.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct PlaceOrder {
    /// Unique. Letters, digits, `.`, `_`, `-`. Generated when absent.
    #[serde(default)]
    #[schema(max_length = 32, example = "AC-2026-000123")]
    order_number: Option<String>,
    #[schema(min_length = 1, max_length = 64)]
    customer_id: String,
    #[serde(default)]
    #[schema(max_length = 254)]
    customer_email: Option<String>,
    /// ISO 4217, upper case. INR when absent.
    #[serde(default)]
    #[schema(example = "INR")]
    currency: Option<String>,
    #[serde(default)]
    #[schema(max_length = 64)]
    payment_method: Option<String>,
    /// When the shop is registered, its `state` decides which GST applies: a state of India, by name or code.
    #[serde(default)]
    shipping_address: Option<Address>,
    #[serde(default)]
    billing_address: Option<Address>,
    #[schema(min_items = 1, max_items = 500)]
    items: Vec<PlaceItem>,
    /// Subtracted from the whole order; at most the sum of the items. Minor units (paise).
    #[serde(default)]
    #[schema(minimum = 0)]
    discount_minor: i64,
    /// Minor units (paise).
    #[serde(default)]
    #[schema(minimum = 0)]
    shipping_minor: i64,
    /// Who places the order, for the audit.
    #[serde(default)]
    #[schema(max_length = 64)]
    actor: Option<String>,
}

/// A line of a new order.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct PlaceItem {
    #[schema(min_length = 1, max_length = 64)]
    sku: String,
    #[schema(min_length = 1, max_length = 255)]
    title: String,
    #[schema(minimum = 1, maximum = 100_000)]
    quantity: i64,
    /// Minor units (paise).
    #[schema(minimum = 0)]
    unit_price_minor: i64,
    /// Harmonised System of Nomenclature code.
    #[serde(default)]
    #[schema(max_length = 16)]
    hsn: Option<String>,
    /// GST in per cent, with at most three decimals. When absent: the rate of handicrafts with this HSN code on the day, or
    /// none.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 100, example = 5)]
    gst_rate: Option<f64>,
}

/// A payment.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::api) struct Pay {
    #[schema(max_length = 128)]
    payment_transaction_id: Option<String>,
    #[schema(max_length = 1000)]
    reason: Option<String>,
    #[schema(max_length = 64)]
    actor: Option<String>,
}

/// The state to which an order shall change.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct ChangeOrderState {
    #[serde(with = "contracts::named")]
    #[schema(value_type = contracts::schema::OrderState)]
    pub(in crate::api) new_state: OrderState,
    #[serde(default)]
    #[schema(max_length = 1000)]
    reason: Option<String>,
    #[serde(default)]
    #[schema(max_length = 64)]
    actor: Option<String>,
}

reason_and_actor!(Pay, ChangeOrderState);

impl StepBody for Pay {
    fn check(&self, errors: &mut FieldErrors) {
        check_optional(errors, "payment_transaction_id", self.payment_transaction_id.as_deref(), 128);
    }

    fn into_details(self) -> Details {
        Details { payment_transaction_id: self.payment_transaction_id, ..Details::default() }
    }
}

impl StepBody for ChangeOrderState {
    fn into_details(self) -> Details {
        Details::default()
    }
}

impl Body for PlaceOrder {
    fn actor(&self) -> Option<&str> {
        self.actor.as_deref()
    }

    fn reason(&self) -> Option<&str> {
        None
    }
}

impl PlaceOrder {
    /// Checks and prices the order.
    ///
    /// # Errors
    /// 422 with every invalid field.
    pub(in crate::api) fn parse(
        self,
        taxation: &Taxation,
        at: DateTime<Utc>,
    ) -> Result<place_order::PlaceOrder, ApiError> {
        let mut errors = FieldErrors::default();
        let order_number =
            parse_optional(&mut errors, "order_number", self.order_number.as_deref(), OrderNumber::parse);
        let customer_id = parse_field(&mut errors, "customer_id", &self.customer_id, CustomerId::parse);
        let customer_email =
            parse_optional(&mut errors, "customer_email", self.customer_email.as_deref(), Email::parse);
        self.check(&mut errors);
        let items = self.parse_items(&mut errors);
        let price = self.draft().price(taxation, at, &mut errors);
        errors.finish()?;
        let (Some(customer_id), Some(items), Some(price)) = (customer_id, items, price) else {
            return Err(ApiError::internal("a field of a new order is invalid and was not reported"));
        };
        Ok(place_order::PlaceOrder {
            order_number,
            customer_id,
            customer_email,
            currency: self.currency.unwrap_or_else(|| "INR".to_owned()),
            payment_method: self.payment_method,
            shipping_address: self.shipping_address,
            billing_address: self.billing_address,
            items,
            price,
        })
    }

    /// Checks the fields that stay texts.
    fn check(&self, errors: &mut FieldErrors) {
        if let Some(currency) = &self.currency
            && Currency::from_code(currency).is_none()
        {
            errors.add("currency", "must be an ISO 4217 code in upper case, like INR");
        }
        check_optional(errors, "payment_method", self.payment_method.as_deref(), 64);
        check_optional(errors, "actor", self.actor.as_deref(), 64);
        check_address(errors, "shipping_address", self.shipping_address.as_ref());
        check_address(errors, "billing_address", self.billing_address.as_ref());
    }

    /// The lines; `None` when one of them is invalid. Lines beyond the limit are not parsed: the order is refused anyway.
    fn parse_items(&self, errors: &mut FieldErrors) -> Option<Vec<place_order::PlaceItem>> {
        let parsed =
            self.items.iter().take(domain::MAX_LINES).enumerate().map(|(index, item)| item.parse(index, errors));
        // All of them before the first invalid one ends it, so that every error is reported.
        parsed.collect::<Vec<_>>().into_iter().collect()
    }

    fn draft(&self) -> Draft<'_> {
        let items = self.items.iter().map(|item| DraftItem {
            quantity: item.quantity,
            unit_price_minor: item.unit_price_minor,
            hsn: item.hsn.as_deref(),
            gst_rate: item.gst_rate,
        });
        Draft {
            items: items.collect(),
            discount_minor: self.discount_minor,
            shipping_minor: self.shipping_minor,
            shipping_address: self.shipping_address.as_ref(),
            billing_address: self.billing_address.as_ref(),
        }
    }
}

impl PlaceItem {
    fn parse(&self, index: usize, errors: &mut FieldErrors) -> Option<place_order::PlaceItem> {
        let field = |name: &str| format!("items[{index}].{name}");
        let sku = parse_field(errors, &field("sku"), &self.sku, Sku::parse);
        check_text(errors, &field("title"), &self.title, 255);
        let hsn = parse_optional(errors, &field("hsn"), self.hsn.as_deref(), Hsn::parse);
        Some(place_order::PlaceItem {
            sku: sku?,
            title: self.title.clone(),
            quantity: self.quantity,
            unit_price_minor: self.unit_price_minor,
            hsn,
        })
    }
}

fn check_address(errors: &mut FieldErrors, name: &str, address: Option<&Address>) {
    let Some(address) = address else { return };
    let named = [
        ("name", &address.name),
        ("line1", &address.line1),
        ("line2", &address.line2),
        ("city", &address.city),
        ("state", &address.state),
        ("postal_code", &address.postal_code),
        ("country", &address.country),
        ("phone", &address.phone),
        ("gstin", &address.gstin),
    ];
    for (field, text) in named {
        check_optional(errors, &format!("{name}.{field}"), text.as_deref(), 255);
    }
    if address.other.len() > MAX_ADDRESS_FIELDS {
        errors.add(name, format!("must not have more than {MAX_ADDRESS_FIELDS} further fields"));
    }
    for (field, text) in &address.other {
        check_text(errors, &format!("{name}.{field}"), text, 255);
        check_text(errors, name, field, 64);
    }
    if let Some(gstin) = &address.gstin
        && let Err(error) = Gstin::parse(gstin)
    {
        errors.add(format!("{name}.gstin"), error.to_string());
    }
}
