//! Request bodies, and the checks that need no database.

use contracts::{Address, OrderState, ReturnState};
use runtime::{ApiError, FieldError};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;
use uuid::Uuid;

/// A new order.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PlaceOrder {
    /// Unique; letters, digits, `.`, `_`, `-`; made up when absent.
    #[serde(default)]
    #[schema(max_length = 32, example = "AC-2026-000123")]
    pub(crate) order_number: Option<String>,
    #[schema(min_length = 1, max_length = 64)]
    pub(crate) customer_id: String,
    #[serde(default)]
    #[schema(max_length = 254)]
    pub(crate) customer_email: Option<String>,
    /// ISO 4217, upper case; INR when absent.
    #[serde(default)]
    #[schema(example = "INR")]
    pub(crate) currency: Option<String>,
    #[serde(default)]
    #[schema(max_length = 64)]
    pub(crate) payment_method: Option<String>,
    /// Its `state` decides whose GST it is, where the shop is registered: a state of India by name or code.
    #[serde(default)]
    pub(crate) shipping_address: Option<Address>,
    #[serde(default)]
    pub(crate) billing_address: Option<Address>,
    #[schema(min_items = 1, max_items = 500)]
    pub(crate) items: Vec<PlaceItem>,
    /// Taken off the whole order; at most the sum of the items. Minor units (paise).
    #[serde(default)]
    #[schema(minimum = 0)]
    pub(crate) discount_minor: i64,
    /// Minor units (paise).
    #[serde(default)]
    #[schema(minimum = 0)]
    pub(crate) shipping_minor: i64,
    /// Who places it, for the audit.
    #[serde(default)]
    #[schema(max_length = 64)]
    pub(crate) actor: Option<String>,
}

/// A line of a new order.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PlaceItem {
    #[schema(min_length = 1, max_length = 64)]
    pub(crate) sku: String,
    #[schema(min_length = 1, max_length = 255)]
    pub(crate) title: String,
    #[schema(minimum = 1, maximum = 100_000)]
    pub(crate) quantity: i64,
    /// Minor units (paise).
    #[schema(minimum = 0)]
    pub(crate) unit_price_minor: i64,
    /// Harmonised System of Nomenclature code.
    #[serde(default)]
    #[schema(max_length = 16)]
    pub(crate) hsn: Option<String>,
    /// GST in per cent, with at most three decimals. Absent: the rate of handicrafts with this HSN code on the day, or none.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 100, example = 5)]
    pub(crate) gst_rate: Option<f64>,
}

/// Why, and who says so. Without `actor` the header `X-Actor` counts, and without that "anonymous".
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Step {
    #[schema(max_length = 1000)]
    pub(crate) reason: Option<String>,
    #[schema(max_length = 64)]
    pub(crate) actor: Option<String>,
}

/// A payment.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Pay {
    #[schema(max_length = 128)]
    pub(crate) payment_transaction_id: Option<String>,
    #[schema(max_length = 1000)]
    pub(crate) reason: Option<String>,
    #[schema(max_length = 64)]
    pub(crate) actor: Option<String>,
}

/// A parcel on its way.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Ship {
    #[schema(max_length = 64)]
    pub(crate) carrier: Option<String>,
    #[schema(max_length = 128)]
    pub(crate) tracking_number: Option<String>,
    #[schema(max_length = 1000)]
    pub(crate) reason: Option<String>,
    #[schema(max_length = 64)]
    pub(crate) actor: Option<String>,
}

/// The state an order shall take.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChangeOrderState {
    #[serde(with = "contracts::named")]
    #[schema(value_type = contracts::schema::OrderState)]
    pub(crate) new_state: OrderState,
    #[serde(default)]
    #[schema(max_length = 1000)]
    pub(crate) reason: Option<String>,
    #[serde(default)]
    #[schema(max_length = 64)]
    pub(crate) actor: Option<String>,
}

/// The return of some units of an order's items.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RequestReturn {
    pub(crate) order_id: Uuid,
    /// At least one.
    #[serde(default)]
    #[schema(max_items = 500)]
    pub(crate) items: Vec<ReturnItem>,
    #[serde(default)]
    #[schema(max_length = 1000)]
    pub(crate) reason: Option<String>,
    #[serde(default)]
    #[schema(max_length = 64)]
    pub(crate) actor: Option<String>,
}

/// Units of one item.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReturnItem {
    /// `items[].id` of the order.
    pub(crate) order_item_id: Uuid,
    #[schema(minimum = 1, maximum = 100_000)]
    pub(crate) quantity: i64,
    #[serde(default)]
    #[schema(max_length = 1000)]
    pub(crate) reason: Option<String>,
}

/// A manager's approval.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Approve {
    #[schema(max_length = 1000)]
    pub(crate) notes: Option<String>,
    #[schema(max_length = 1000)]
    pub(crate) reason: Option<String>,
    #[schema(max_length = 64)]
    pub(crate) actor: Option<String>,
}

/// A manager's refusal: both the category and the reason are wanted.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Reject {
    #[schema(min_length = 1, max_length = 64, example = "DAMAGED_BY_CUSTOMER")]
    pub(crate) category: Option<String>,
    #[schema(min_length = 1, max_length = 1000)]
    pub(crate) reason: Option<String>,
    #[schema(max_length = 64)]
    pub(crate) actor: Option<String>,
}

/// The state a return shall take. `REJECTED` wants a reason.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChangeReturnState {
    #[serde(with = "contracts::named")]
    #[schema(value_type = contracts::schema::ReturnState)]
    pub(crate) new_state: ReturnState,
    /// For `REJECTED`; `OTHER` when absent.
    #[serde(default)]
    #[schema(max_length = 64)]
    pub(crate) category: Option<String>,
    /// For `APPROVED`.
    #[serde(default)]
    #[schema(max_length = 1000)]
    pub(crate) notes: Option<String>,
    #[serde(default)]
    #[schema(max_length = 1000)]
    pub(crate) reason: Option<String>,
    #[serde(default)]
    #[schema(max_length = 64)]
    pub(crate) actor: Option<String>,
}

/// The body of a step: a reason and an actor, and for some steps more.
pub(crate) trait StepBody: Serialize {
    fn reason(&self) -> Option<&String>;
    fn actor(&self) -> Option<&String>;

    /// Checks the rest.
    fn check(&self, _checks: &mut Checks) {}

    /// What the entity's document gets from it; nulls are left out.
    fn data(&self) -> Value {
        Value::Null
    }
}

macro_rules! step_body {
    ($body:ty { $($more:item)* }) => {
        impl StepBody for $body {
            fn reason(&self) -> Option<&String> {
                self.reason.as_ref()
            }

            fn actor(&self) -> Option<&String> {
                self.actor.as_ref()
            }

            $($more)*
        }
    };
}

step_body!(Step {});
step_body!(ChangeOrderState {});
step_body!(Pay {
    fn check(&self, checks: &mut Checks) {
        checks.optional("payment_transaction_id", self.payment_transaction_id.as_ref(), 128);
    }

    fn data(&self) -> Value {
        json!({ "payment_transaction_id": self.payment_transaction_id })
    }
});
step_body!(Ship {
    fn check(&self, checks: &mut Checks) {
        checks.optional("carrier", self.carrier.as_ref(), 64);
        checks.optional("tracking_number", self.tracking_number.as_ref(), 128);
    }

    fn data(&self) -> Value {
        json!({ "carrier": self.carrier, "tracking_number": self.tracking_number })
    }
});
step_body!(Approve {
    fn check(&self, checks: &mut Checks) {
        checks.optional("notes", self.notes.as_ref(), 1000);
    }

    fn data(&self) -> Value {
        approval(self.notes.as_ref())
    }
});
step_body!(Reject {
    fn check(&self, checks: &mut Checks) {
        checks.text("category", self.category.as_deref().unwrap_or_default(), 64);
        if self.reason.is_none() {
            checks.wrong("reason", "must not be empty");
        }
    }

    fn data(&self) -> Value {
        rejection(self.category.as_deref(), self.reason.as_ref())
    }
});
step_body!(ChangeReturnState {
    fn check(&self, checks: &mut Checks) {
        checks.optional("category", self.category.as_ref(), 64);
        checks.optional("notes", self.notes.as_ref(), 1000);
        if self.new_state == ReturnState::Rejected && self.reason.is_none() {
            checks.wrong("reason", "is wanted for a rejection");
        }
    }

    fn data(&self) -> Value {
        match self.new_state {
            ReturnState::Approved => approval(self.notes.as_ref()),
            ReturnState::Rejected => rejection(self.category.as_deref().or(Some("OTHER")), self.reason.as_ref()),
            _ => Value::Null,
        }
    }
});

fn approval(notes: Option<&String>) -> Value {
    json!({ "approval_notes": notes })
}

/// What a rejection adds to the document.
pub(crate) fn rejection(category: Option<&str>, reason: Option<&String>) -> Value {
    json!({ "rejection_category": category, "rejection_reason": reason })
}

/// Collects everything that is wrong with a body, so that a client mends it in one go.
#[derive(Debug, Default)]
pub(crate) struct Checks(Vec<FieldError>);

impl Checks {
    pub(crate) fn wrong(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.0.push(FieldError::new(field, message));
    }

    /// Text of 1 to `max` characters.
    pub(crate) fn text(&mut self, field: &str, text: &str, max: usize) {
        if text.trim().is_empty() {
            self.wrong(field, "must not be empty");
        } else if text.chars().nth(max).is_some() {
            self.wrong(field, format!("must be at most {max} characters long"));
        }
    }

    /// The same, where the field is there.
    pub(crate) fn optional(&mut self, field: &str, text: Option<&String>, max: usize) {
        if let Some(text) = text {
            self.text(field, text, max);
        }
    }

    /// The two fields that every command has.
    pub(crate) fn step(&mut self, reason: Option<&String>, actor: Option<&String>) {
        self.optional("reason", reason, 1000);
        self.optional("actor", actor, 64);
    }

    pub(crate) fn done(self) -> Result<(), ApiError> {
        if self.0.is_empty() { Ok(()) } else { Err(ApiError::validation(self.0)) }
    }
}
