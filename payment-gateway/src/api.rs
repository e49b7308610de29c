//! `POST /refund`, `GET /refund/{key}`, `GET /refunds`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use contracts::{GatewayRefund, GatewayRefundRequest, GatewayRefundStatus, IDEMPOTENCY_KEY_HEADER};
use runtime::http::ApiJson;
use runtime::{ApiError, Clock, ErrorBody, FieldErrors, Ids};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tracing::Instrument;
use utoipa::{OpenApi, ToSchema};

use crate::callbacks::Callbacks;
use crate::faults::{FaultInjector, Faults};
use crate::ledger::{Entry, Ledger, LedgerError, total_by_currency};

const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
const MAX_KEY: usize = 255;

#[derive(Debug)]
pub(crate) struct Gateway {
    pub(crate) ledger: Ledger,
    pub(crate) injector: FaultInjector,
    pub(crate) callbacks: Option<Callbacks>,
    pub(crate) clock: Clock,
    pub(crate) ids: Ids,
    /// Requests for refunds that have arrived and are not decided.
    pub(crate) open_calls: AtomicUsize,
}

/// Counts a request for a refund until it is dropped.
struct OpenCall(Arc<Gateway>);

impl OpenCall {
    fn start(gateway: &Arc<Gateway>) -> Self {
        gateway.open_calls.fetch_add(1, Ordering::SeqCst);
        Self(gateway.clone())
    }
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        self.0.open_calls.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Everything that the gateway has paid out. A client reconciles its own records with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LedgerReport {
    /// Oldest first.
    pub refunds: Vec<GatewayRefund>,
    pub count: usize,
    /// Requests for refunds that the gateway has received and not decided. They may still be paid, also when their clients have gone.
    pub open_calls: usize,
    /// Minor units.
    #[schema(value_type = BTreeMap<String, i64>, example = json!({ "INR": 1_250_000 }))]
    pub total_by_currency: BTreeMap<String, i128>,
}

#[derive(OpenApi)]
#[openapi(paths(refund, look_up, list), components(schemas(ErrorBody)))]
struct Document;

/// The gateway's part of the API specification.
pub fn openapi() -> utoipa::openapi::OpenApi {
    Document::openapi()
}

pub(crate) fn routes(gateway: Arc<Gateway>) -> Router {
    Router::new()
        .route("/refund", post(refund))
        .route("/refund/{key}", get(look_up))
        .route("/refunds", get(list))
        .with_state(gateway)
}

/// Pay a refund out
///
/// A repeat under the same key returns the first result and pays nothing.
#[utoipa::path(
    post,
    path = "/refund",
    operation_id = "gateway_refund",
    tag = "Payment gateway (mock)",
    params(
        ("Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 255, pattern = "^[!-~]+$", description = "Names the refund, at most 255 visible ASCII characters; the id in the body if absent"),
        ("X-Gateway-Fault" = Option<String>, Header, description = "Faults for this call, e.g. `delay=200,error=503`"),
    ),
    request_body = GatewayRefundRequest,
    responses(
        (status = 200, description = "Paid out, now or before", body = GatewayRefund,
            headers(("Idempotency-Replayed" = String, description = "`true` when it was paid out before"))),
        (status = 400, description = "MALFORMED_JSON", body = ErrorBody),
        (status = 413, description = "BODY_TOO_LARGE", body = ErrorBody),
        (status = 415, description = "UNSUPPORTED_MEDIA_TYPE", body = ErrorBody),
        (status = 422, description = "VALIDATION_FAILED, or IDEMPOTENCY_KEY_REUSED: the key belongs to another refund", body = ErrorBody),
    ),
)]
async fn refund(
    State(gateway): State<Arc<Gateway>>,
    headers: HeaderMap,
    body: Result<ApiJson<GatewayRefundRequest>, ApiError>,
) -> Result<Response, ApiError> {
    // In a task of its own, because a gateway finishes and logs a payment also when its client hangs up.
    let open = OpenCall::start(&gateway);
    let call = async move {
        let _open = open;
        let mut call = Call::default();
        let outcome = call.process(gateway, &headers, body).await;
        call.log(&outcome);
        outcome.map(|entry| (entry, call.faults))
    };
    let (entry, faults) = tokio::spawn(call.in_current_span()).await.map_err(ApiError::internal)??;
    if let Some(silence) = faults.timeout_after_success {
        tokio::time::sleep(silence).await;
    }
    Ok(if faults.garbage { garbage() } else { entry.into_response() })
}

/// One call, for its log line. Filled in as the request is parsed.
#[derive(Debug, Default)]
struct Call {
    faults: Faults,
    request: Option<GatewayRefundRequest>,
    sent_key: Option<String>,
}

impl Call {
    async fn process(
        &mut self,
        gateway: Arc<Gateway>,
        headers: &HeaderMap,
        body: Result<ApiJson<GatewayRefundRequest>, ApiError>,
    ) -> Result<Entry, ApiError> {
        let sent = sent_key(headers);
        self.sent_key = sent.as_ref().ok().cloned().flatten();
        self.request = body.as_ref().ok().map(|ApiJson(request)| request.clone());
        self.faults = gateway.injector.faults_for(headers)?;
        self.faults.before().await?;
        let ApiJson(request) = body?;
        validate(&request)?;
        sent?;
        let key = self.key_of(&request);
        let times = if self.faults.duplicate { 2 } else { 1 };
        let ends = if self.faults.declined { GatewayRefundStatus::Failed } else { GatewayRefundStatus::Success };
        let status = if self.faults.pending.is_some() { GatewayRefundStatus::Pending } else { ends };
        let (book, name) = (gateway.clone(), key.clone());
        // Writing to the ledger waits for the disk.
        let pay = move || {
            let refund = gateway.refund(&request, &key, status);
            runtime::faults::point("gateway.refund.received");
            (1..times).try_for_each(|_| gateway.ledger.enter(refund.clone()).map(drop))?;
            gateway.ledger.enter(refund)
        };
        let entered = tokio::task::spawn_blocking(pay).await.map_err(ApiError::internal)?;
        runtime::faults::point("gateway.refund.entered");
        if let (Some(wait), Ok(Entry { replayed: false, .. })) = (self.faults.pending, &entered) {
            tokio::spawn(settle_later(book, name, wait, ends));
        }
        entered.map_err(refused)
    }

    fn key_of(&self, request: &GatewayRefundRequest) -> String {
        self.sent_key.clone().unwrap_or_else(|| request.about().unwrap_or_default().to_string())
    }

    fn log(&self, outcome: &Result<Entry, ApiError>) {
        let request = self.request.as_ref();
        let (word, entry) = match outcome {
            Ok(entry) if entry.replayed => ("replayed", Some(entry)),
            Ok(entry) => ("refunded", Some(entry)),
            Err(error) => (error.code, None),
        };
        tracing::info!(
            about = request.and_then(GatewayRefundRequest::about).map(|id| id.to_string()),
            key = request.map(|request| self.key_of(request)),
            amount = request.map(|request| request.amount),
            currency = request.map(|request| request.currency.as_str()),
            outcome = word,
            transaction_id = entry.map(|entry| entry.refund.transaction_id.as_str()),
            replayed = entry.is_some_and(|entry| entry.replayed),
            faults = self.faults.named(),
            "refund requested"
        );
    }
}

impl Gateway {
    fn refund(&self, request: &GatewayRefundRequest, key: &str, status: GatewayRefundStatus) -> GatewayRefund {
        GatewayRefund {
            status,
            transaction_id: format!("txn_{}", self.ids.next().simple()),
            reference: Some(format!("{:012}", self.ids.next().as_u128() % 1_000_000_000_000)),
            return_id: request.return_id,
            refund_id: request.refund_id,
            payment_transaction_id: request.payment_transaction_id.clone(),
            idempotency_key: key.to_owned(),
            amount: request.amount,
            currency: request.currency.clone(),
            created_at: self.clock.now(),
        }
    }
}

/// Settles a refund that is under way, and tells the client so.
async fn settle_later(gateway: Arc<Gateway>, key: String, wait: Duration, ends: GatewayRefundStatus) {
    tokio::time::sleep(wait).await;
    let (book, name) = (gateway.clone(), key.clone());
    match tokio::task::spawn_blocking(move || book.ledger.settle(&name, ends)).await {
        Ok(Ok(Some(refund))) => {
            tracing::info!(key, status = ?refund.status, transaction_id = refund.transaction_id, "refund settled");
            if let Some(callbacks) = &gateway.callbacks {
                callbacks.tell(&refund, gateway.ids.next(), gateway.clock.now()).await;
            }
        }
        Ok(Ok(None)) => {}
        Ok(Err(error)) => tracing::error!(key, %error, "refund not settled"),
        Err(error) => tracing::error!(key, %error, "refund not settled"),
    }
}

impl IntoResponse for Entry {
    fn into_response(self) -> Response {
        let mut response = Json(self.refund).into_response();
        if self.replayed {
            response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
        }
        response
    }
}

fn garbage() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], r#"{"status":"SUCC"#).into_response()
}

fn validate(request: &GatewayRefundRequest) -> Result<(), ApiError> {
    let mut errors = FieldErrors::default();
    if request.return_id.is_some() == request.refund_id.is_some() {
        errors.add("return_id", "must be there, or refund_id in its place");
    }
    if request.amount <= 0 {
        errors.add("amount", format!("must be more than 0, not {}", request.amount));
    }
    if request.currency.len() != 3 || !request.currency.bytes().all(|letter| letter.is_ascii_uppercase()) {
        errors.add("currency", "must be three capital letters (ISO 4217)");
    }
    errors.finish()
}

fn sent_key(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let Some(value) = headers.get(IDEMPOTENCY_KEY_HEADER) else { return Ok(None) };
    let key = value.as_bytes();
    if !(1..=MAX_KEY).contains(&key.len()) || !key.iter().all(u8::is_ascii_graphic) {
        let message = format!("must be 1 to {MAX_KEY} visible ASCII characters");
        return Err(ApiError::invalid_field("Idempotency-Key", message));
    }
    Ok(value.to_str().ok().map(str::to_owned))
}

fn refused(error: LedgerError) -> ApiError {
    match error {
        LedgerError::KeyReused(known) => ApiError::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "IDEMPOTENCY_KEY_REUSED",
            "the key belongs to another refund",
        )
        .with_details(json!({
            "idempotency_key": known.idempotency_key,
            "transaction_id": known.transaction_id,
        })),
        LedgerError::File(error) => ApiError::internal(error),
    }
}

/// Look a refund up by its idempotency key
#[utoipa::path(
    get,
    path = "/refund/{key}",
    operation_id = "gateway_get_refund",
    tag = "Payment gateway (mock)",
    params(("key" = String, Path, description = "The idempotency key; the id in the body if none was sent")),
    responses(
        (status = 200, description = "Paid out", body = GatewayRefund),
        (status = 404, description = "REFUND_NOT_FOUND: nothing was paid under this key", body = ErrorBody),
    ),
)]
async fn look_up(
    State(gateway): State<Arc<Gateway>>,
    Path(key): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let faults = gateway.injector.faults_for(&headers)?.of_a_look_up();
    let outcome = faults.before().await.and_then(|()| {
        let missing = || ApiError::not_found("REFUND_NOT_FOUND", "nothing was paid under this key");
        gateway.ledger.get(&key).ok_or_else(missing)
    });
    let word = outcome.as_ref().map_or_else(|error| error.code, |_| "found");
    let transaction_id = outcome.as_ref().ok().map(|refund| refund.transaction_id.as_str());
    tracing::info!(key, outcome = word, transaction_id, faults = faults.named(), "refund looked up");
    let refund = outcome?;
    Ok(if faults.garbage { garbage() } else { Json(refund).into_response() })
}

/// The gateway's own ledger
#[utoipa::path(
    get,
    path = "/refunds",
    operation_id = "gateway_list_refunds",
    tag = "Payment gateway (mock)",
    responses((status = 200, description = "Every refund paid out, oldest first", body = LedgerReport)),
)]
async fn list(State(gateway): State<Arc<Gateway>>) -> Json<LedgerReport> {
    // Read first: a call that ends in between is in the ledger.
    let open_calls = gateway.open_calls.load(Ordering::SeqCst);
    let refunds = gateway.ledger.all();
    tracing::info!(count = refunds.len(), "ledger listed");
    Json(LedgerReport { count: refunds.len(), open_calls, total_by_currency: total_by_currency(&refunds), refunds })
}

#[cfg(test)]
mod tests;
