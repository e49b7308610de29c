//! Bodies of order commands.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use contracts::{Address, CustomerId, Email, Hsn, OrderNumber, Sku};
use domain::OrderState;
use iso_currency::Currency;
use runtime::{ApiError, FieldErrors};
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;
use utoipa::openapi::schema::{ObjectBuilder, Schema, SchemaType, Type};

use super::extras;
use super::{StepBody, check_optional, check_text, parse_field, parse_optional, reason_and_actor};
use crate::addresses;
use crate::context::Body;
use crate::place_order::{self, Draft, DraftItem};
use crate::taxation::{Addresses, Taxation};
use crate::transition::Details;

/// A new order.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct PlaceOrder {
    /// Unique. Letters, digits, `.`, `_`, `-`; no UUID. Generated when absent.
    #[serde(default)]
    #[schema(max_length = 32, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]*$", example = "AC-2026-000123")]
    order_number: Option<String>,
    #[schema(min_length = 1, max_length = 64)]
    customer_id: String,
    #[serde(default)]
    #[schema(max_length = 254, format = Email)]
    customer_email: Option<String>,
    #[serde(default)]
    #[schema(schema_with = currency)]
    currency: Option<String>,
    #[serde(default)]
    #[schema(max_length = 64)]
    payment_method: Option<String>,
    /// When the shop is registered, its `state` decides which GST applies: a state of India, by name or code. Without one, the postal
    /// code or the billing address does. Where the billing address has a GSTIN, the state of that decides.
    #[serde(default)]
    shipping_address: Option<Address>,
    #[serde(default)]
    billing_address: Option<Address>,
    #[schema(min_items = 1, max_items = 500)]
    items: Vec<PlaceItem>,
    /// Subtracted from the whole order; at most the sum of the items. Minor units (paise).
    #[serde(default)]
    #[schema(minimum = 0, maximum = 1_000_000_000_000_i64)]
    discount_minor: i64,
    /// Minor units (paise).
    #[serde(default)]
    #[schema(minimum = 0, maximum = 1_000_000_000_000_i64)]
    shipping_minor: i64,
    /// The shop's own data about the order, at most 50 entries: names of 1 to 40 characters, texts of 1 to 500.
    #[serde(default)]
    #[schema(schema_with = extras::metadata)]
    metadata: BTreeMap<String, String>,
    /// The shop's own words for the order, each once.
    #[serde(default)]
    #[schema(schema_with = extras::tags)]
    tags: Vec<String>,
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
    #[schema(minimum = 0, maximum = 1_000_000_000_000_i64)]
    unit_price_minor: i64,
    /// Harmonised System of Nomenclature code of 4, 6 or 8 digits. Blanks and dots are left out.
    #[serde(default)]
    #[schema(
        max_length = 16,
        pattern = r"^[ .]*(0[1-9]|[1-6][0-9]|7[0-689]|8[0-9]|9[0-7])([ .]*[0-9][ .]*[0-9]){1,3}[ .]*$",
        example = "69139000"
    )]
    hsn: Option<String>,
    /// GST in per cent, for a registered shop a rate at which goods are taxed: 0, 0.1, 0.25, 1, 1.5, 3, 5, 7.5, 12, 18, 28 or 40. When
    /// absent: the rate of handicrafts with this HSN code on the day, or else `DEFAULT_GST_RATE`. A registered shop sells nothing
    /// without a rate.
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

/// What the price of an order depends on.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct QuoteOrder {
    #[serde(default)]
    #[schema(schema_with = currency)]
    currency: Option<String>,
    /// As in the order: it decides which GST applies.
    #[serde(default)]
    shipping_address: Option<Address>,
    #[serde(default)]
    billing_address: Option<Address>,
    #[schema(min_items = 1, max_items = 500)]
    items: Vec<PlaceItem>,
    /// Minor units (paise).
    #[serde(default)]
    #[schema(minimum = 0, maximum = 1_000_000_000_000_i64)]
    discount_minor: i64,
    /// Minor units (paise).
    #[serde(default)]
    #[schema(minimum = 0, maximum = 1_000_000_000_000_i64)]
    shipping_minor: i64,
}

impl QuoteOrder {
    /// Checks and prices it as the order that it would be.
    ///
    /// # Errors
    /// 422 with every invalid field.
    pub(in crate::api) fn parse(
        self,
        taxation: &Taxation,
        at: DateTime<Utc>,
    ) -> Result<place_order::PlaceOrder, ApiError> {
        let Self { currency, shipping_address, billing_address, items, discount_minor, shipping_minor } = self;
        let order = PlaceOrder {
            order_number: None,
            customer_id: "quote".to_owned(),
            customer_email: None,
            currency,
            payment_method: None,
            shipping_address,
            billing_address,
            items,
            discount_minor,
            shipping_minor,
            metadata: BTreeMap::new(),
            tags: Vec::new(),
            actor: None,
        };
        order.parse(taxation, at)
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
        mut self,
        taxation: &Taxation,
        at: DateTime<Utc>,
    ) -> Result<place_order::PlaceOrder, ApiError> {
        let mut errors = FieldErrors::default();
        [&mut self.shipping_address, &mut self.billing_address]
            .into_iter()
            .flatten()
            .for_each(addresses::write_as_usual);
        let order_number =
            parse_optional(&mut errors, "order_number", self.order_number.as_deref(), OrderNumber::parse);
        let customer_id = parse_field(&mut errors, "customer_id", &self.customer_id, CustomerId::parse);
        let customer_email =
            parse_optional(&mut errors, "customer_email", self.customer_email.as_deref(), Email::parse);
        self.check(&mut errors);
        let items = self.parse_items(&mut errors);
        let codes = self.codes();
        let price = self.draft(&codes).price(taxation, at, &mut errors);
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
            metadata: self.metadata,
            tags: self.tags,
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
        addresses::check(errors, "shipping_address", self.shipping_address.as_ref());
        addresses::check(errors, "billing_address", self.billing_address.as_ref());
        extras::check_metadata(errors, &self.metadata);
        extras::check_tags(errors, &self.tags);
    }

    /// The lines; `None` when one of them is invalid. Lines beyond the limit are not parsed: the order is refused anyway.
    fn parse_items(&self, errors: &mut FieldErrors) -> Option<Vec<place_order::PlaceItem>> {
        let parsed =
            self.items.iter().take(domain::MAX_LINES).enumerate().map(|(index, item)| item.parse(index, errors));
        // All of them before the first invalid one ends it, so that every error is reported.
        parsed.collect::<Vec<_>>().into_iter().collect()
    }

    /// The HSN codes that are valid. The others are reported with the items.
    fn codes(&self) -> Vec<Option<Hsn>> {
        self.items.iter().map(|item| item.hsn.as_deref().and_then(|code| Hsn::parse(code).ok())).collect()
    }

    fn draft<'a>(&'a self, codes: &'a [Option<Hsn>]) -> Draft<'a> {
        let items = self.items.iter().zip(codes).map(|(item, hsn)| DraftItem {
            quantity: item.quantity,
            unit_price_minor: item.unit_price_minor,
            hsn: hsn.as_ref(),
            gst_rate: item.gst_rate,
        });
        Draft {
            items: items.collect(),
            discount_minor: self.discount_minor,
            shipping_minor: self.shipping_minor,
            currency: self.currency.as_deref().unwrap_or("INR"),
            addresses: Addresses { shipping: self.shipping_address.as_ref(), billing: self.billing_address.as_ref() },
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

/// The codes of ISO 4217, for the API description.
fn currency() -> Schema {
    let letters = || 'A'..='Z';
    let codes =
        letters().flat_map(|a| letters().flat_map(move |b| letters().map(move |c| String::from_iter([a, b, c]))));
    let codes = codes.filter(|code| Currency::from_code(code).is_some()).map(Value::from);
    ObjectBuilder::new()
        .schema_type(SchemaType::from_iter([Type::String, Type::Null]))
        .enum_values(Some(codes.chain([Value::Null])))
        .description(Some(
            "ISO 4217, upper case. INR when absent. A shop that is registered for GST sells in INR only.",
        ))
        .into()
}
