//! What an invoice registration portal answers, without a portal: a token with a made-up signature.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use runtime::Clock;
use serde_json::{Value, json};

/// The GSTIN of a shop in Karnataka.
pub const SHOP: &str = "29AAHCM7727Q1ZI";
/// Of a buyer in Maharashtra.
pub const BUYER: &str = "27AAACR4849R1ZL";

/// The answer to a document of the portal's JSON: its signed code says what was registered.
pub fn answer_to(document: &Value, irn: &str) -> Value {
    let named = &document["DocDtls"];
    let data = json!({
        "SellerGstin": document["SellerDtls"]["Gstin"], "BuyerGstin": document["BuyerDtls"]["Gstin"], "DocNo": named["No"],
        "DocTyp": named["Typ"], "DocDt": named["Dt"], "TotInvVal": document["ValDtls"]["TotInvVal"], "ItemCnt": 2,
        "MainHsnCode": "8306", "Irn": irn, "IrnDt": "2026-11-27 10:00:00",
    });
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let payload = json!({ "data": data.to_string(), "iss": "NIC" });
    let token = format!("{}.{}.{}", part(&json!({ "alg": "RS256" })), part(&payload), "c2ln".repeat(80));
    json!({ "irn": irn, "acknowledgement_number": "112610000000123", "acknowledged_at": Clock::system().now(),
            "signed_qr_code": token })
}
