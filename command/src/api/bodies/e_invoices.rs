//! What the invoice registration portal answers.

use chrono::{DateTime, Utc};
use contracts::EInvoiceDocument;
use runtime::FieldErrors;
use serde::Deserialize;
use utoipa::ToSchema;

use super::{StepBody, check_text, reason_and_actor};
use crate::correct::Facts;
use crate::e_invoice::Registration;
use crate::transition::Details;

const IRN_DIGITS: usize = 64;
/// More than a QR code can hold.
const MAX_QR_CODE: usize = 2_900;

/// The answer of the invoice registration portal to the e-invoice of an order.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct Register {
    /// `Irn`: 64 hexadecimal digits.
    #[schema(min_length = 64, max_length = 64, pattern = "^[0-9a-f]+$")]
    irn: String,
    /// `AckNo`.
    #[schema(min_length = 1, max_length = 20, pattern = "^[0-9]+$")]
    acknowledgement_number: String,
    /// `AckDt`, with its time zone.
    acknowledged_at: DateTime<Utc>,
    /// `SignedQRCode`: a JSON Web Token.
    #[schema(min_length = 1, max_length = 2900)]
    signed_qr_code: String,
    #[serde(default)]
    #[schema(max_length = 1000)]
    reason: Option<String>,
    #[serde(default)]
    #[schema(max_length = 64)]
    actor: Option<String>,
}

/// The same, to correct it.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct PortalAnswer {
    /// `Irn`: 64 hexadecimal digits.
    #[schema(min_length = 64, max_length = 64, pattern = "^[0-9a-f]+$")]
    irn: String,
    /// `AckNo`.
    #[schema(min_length = 1, max_length = 20, pattern = "^[0-9]+$")]
    acknowledgement_number: String,
    /// `AckDt`, with its time zone.
    acknowledged_at: DateTime<Utc>,
    /// `SignedQRCode`: a JSON Web Token.
    #[schema(min_length = 1, max_length = 2900)]
    signed_qr_code: String,
}

reason_and_actor!(Register);

impl Register {
    fn answer(self) -> PortalAnswer {
        let Self { irn, acknowledgement_number, acknowledged_at, signed_qr_code, .. } = self;
        PortalAnswer { irn, acknowledgement_number, acknowledged_at, signed_qr_code }
    }

    pub(in crate::api) fn facts(self) -> Facts {
        let registration = Registration { document: self.answer().into(), corrects: false };
        Facts { e_invoice: Some(registration), ..Facts::default() }
    }
}

impl StepBody for Register {
    fn check(&self, errors: &mut FieldErrors) {
        self.clone().answer().check(errors, "");
    }

    fn into_details(self) -> Details {
        Details::default()
    }
}

impl PortalAnswer {
    pub(super) fn check(&self, errors: &mut FieldErrors, within: &str) {
        let field = |name: &str| format!("{within}{name}");
        let is_hex = self.irn.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        if self.irn.len() != IRN_DIGITS || !is_hex {
            errors.add(field("irn"), "must be 64 hexadecimal digits in small letters");
        }
        let number = &self.acknowledgement_number;
        if !(1..=20).contains(&number.len()) || !number.bytes().all(|byte| byte.is_ascii_digit()) {
            errors.add(field("acknowledgement_number"), "must be 1 to 20 digits");
        }
        check_text(errors, &field("signed_qr_code"), &self.signed_qr_code, MAX_QR_CODE);
    }
}

impl From<PortalAnswer> for EInvoiceDocument {
    fn from(answer: PortalAnswer) -> Self {
        let PortalAnswer { irn, acknowledgement_number, acknowledged_at, signed_qr_code } = answer;
        Self { irn, acknowledgement_number, acknowledged_at, signed_qr_code }
    }
}
