//! What every message of JSON-RPC 2.0 has, and what a call of a tool has besides.

use rmcp::ErrorData;
use rmcp::model::RequestId;
use serde_json::{Map, Value};

/// The id of a request, where it is one.
pub(super) fn id_of(message: &Value) -> Option<RequestId> {
    message.get("id").and_then(|id| serde_json::from_value(id.clone()).ok())
}

/// Why it is no message, or calls no tool.
pub(super) fn fault(message: &Value) -> Option<ErrorData> {
    let Value::Object(members) = message else { return invalid("a message is one object") };
    if members.get("jsonrpc") != Some(&Value::from("2.0")) {
        return invalid("jsonrpc must be \"2.0\"");
    }
    if members.get("id").is_some_and(|id| !(id.is_string() || id.is_i64() || id.is_u64())) {
        return invalid("id must be text or a whole number");
    }
    if members.get("method").is_some_and(|method| !method.is_string()) {
        return invalid("method must be text");
    }
    if !["method", "result", "error"].iter().any(|member| members.contains_key(*member)) {
        return invalid("method is required");
    }
    if members.get("params").is_some_and(|params| !params.is_object()) {
        return invalid("params must be an object");
    }
    if members.get("method") == Some(&Value::from("tools/call")) { fault_of_call(members) } else { None }
}

fn fault_of_call(members: &Map<String, Value>) -> Option<ErrorData> {
    let param = |name: &str| members.get("params").and_then(|params| params.get(name));
    let message = if !param("name").is_some_and(Value::is_string) {
        "params.name must be the name of a tool"
    } else if param("arguments").is_some_and(|arguments| !arguments.is_object()) {
        "params.arguments must be an object"
    } else {
        return None;
    };
    Some(ErrorData::invalid_params(message, None))
}

#[expect(clippy::unnecessary_wraps, reason = "it is the answer of `fault`")]
fn invalid(message: &'static str) -> Option<ErrorData> {
    Some(ErrorData::invalid_request(message, None))
}
