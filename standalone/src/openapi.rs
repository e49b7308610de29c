//! The OpenAPI description of the whole API, merged from those of the processes.

mod access;
mod answers;
pub mod examples;
mod links;
mod texts;

use anyhow::Result;
use utoipa::openapi::server::Server;
use utoipa::openapi::tag::Tag;
use utoipa::openapi::{InfoBuilder, LicenseBuilder, OpenApi, OpenApiBuilder};

const DESCRIPTION: &str = "\
Commands change orders and returns. Queries read the read models, which the events of those changes keep up to date. \
The response to a command has the header `X-Consistency-Token`. A query that sends it back waits until the read model \
has that version, so a client always reads its own writes.

With `AUTH=required` every request under `/api/v1` has `Authorization: Bearer` with an API key or a token. `x-roles` of an \
operation says which roles may call it: `all`, or `own` for what belongs to the customer. The answers to such requests have the \
headers `RateLimit` and `RateLimit-Policy`.

Money is an integer of minor units (paise), times are UTC, and every error has one shape: `ErrorBody`.";

/// In reading order.
const TAGS: [&str; 13] = [
    "Orders: commands",
    "Returns: commands",
    "Refunds: commands",
    "Orders: queries",
    "Returns: queries",
    "Refunds: queries",
    "Invoices and credit notes: queries",
    "Events",
    "Reports",
    "Exports",
    "Operations",
    "Payment gateway: callbacks",
    "Payment gateway (mock)",
];

/// The gateway listens on a port of its own, and so does `ops` when it is a process of its own.
const GATEWAY: &str = "http://127.0.0.1:9000";
const WORKERS: &str = "http://127.0.0.1:8004";
const OPERATIONS: &str = "http://127.0.0.1:8003";

/// API-SPECIFICATION.yml.
pub fn yaml() -> Result<String> {
    Ok(whole().to_yaml()?)
}

pub(crate) fn whole() -> OpenApi {
    let name = env!("CARGO_PKG_LICENSE");
    let license = LicenseBuilder::new().name(name).identifier(Some(name)).build();
    let info = InfoBuilder::new()
        .title("ArtiCurated Order & Returns API")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(DESCRIPTION))
        .license(Some(license))
        .build();
    let mut gateway = payment_gateway::openapi();
    for item in gateway.paths.paths.values_mut() {
        item.servers = Some(vec![Server::new(GATEWAY)]);
    }
    let mut callbacks = workers::openapi();
    for item in callbacks.paths.paths.values_mut() {
        item.servers = Some(vec![Server::new("/"), Server::new(WORKERS)]);
    }
    let mut operators = operations::api::openapi();
    for item in operators.paths.paths.values_mut() {
        item.servers = Some(vec![Server::new("/"), Server::new(OPERATIONS)]);
    }
    let mut whole = OpenApiBuilder::new()
        .info(info)
        .servers(Some([Server::new("/"), Server::new("http://127.0.0.1:8000")]))
        .build()
        .merge_from(command::openapi())
        .merge_from(query::openapi())
        .merge_from(operators)
        .merge_from(callbacks)
        .merge_from(gateway);
    sort_tags(&mut whole);
    texts::describe(&mut whole);
    access::describe(&mut whole);
    answers::describe(&mut whole);
    examples::describe(&mut whole);
    links::describe(&mut whole);
    whole
}

fn sort_tags(whole: &mut OpenApi) {
    let described = whole.tags.take().unwrap_or_default();
    let named = |name: &str| described.iter().find(|tag| tag.name == name).cloned().unwrap_or_else(|| Tag::new(name));
    whole.tags = Some(TAGS.into_iter().map(named).collect());
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn every_operation_is_in_a_described_section() {
        let whole = serde_json::to_value(whole()).unwrap();
        let items = whole["paths"].as_object().unwrap().values().flat_map(|item| item.as_object().unwrap());
        let operations: Vec<_> = items.filter(|(method, _)| *method != "servers").collect();
        assert!(operations.len() > 20, "{}", operations.len());
        for (_, operation) in operations {
            let tag = operation["tags"][0].as_str().unwrap_or_default();
            assert!(TAGS.contains(&tag), "{}: {tag:?}", operation["operationId"]);
        }
    }

    fn each(value: &Value, visit: &mut impl FnMut(&Value)) {
        visit(value);
        match value {
            Value::Array(elements) => elements.iter().for_each(|element| each(element, visit)),
            Value::Object(members) => members.values().for_each(|member| each(member, visit)),
            _ => {}
        }
    }

    #[test]
    fn every_reference_leads_somewhere_and_every_operation_has_an_id_of_its_own() {
        let whole = serde_json::to_value(whole()).unwrap();
        let (mut references, mut ids) = (BTreeSet::new(), Vec::new());
        each(&whole, &mut |value| {
            references.extend(value["$ref"].as_str().map(ToOwned::to_owned));
            if value["responses"].is_object() {
                ids.extend(value["operationId"].as_str().map(ToOwned::to_owned));
            }
        });
        assert!(references.len() > 50, "{}", references.len());
        for reference in references {
            assert!(whole.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
        }
        let all = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), all);
    }

    #[test]
    fn a_text_of_a_body_says_what_it_may_be() {
        let whole = serde_json::to_value(whole()).unwrap();
        let property = |path: &str| whole.pointer(&format!("/components/schemas/{path}")).unwrap();
        let [line, prose] = [contracts::pattern(|_| false), contracts::pattern(|c| matches!(c, '\n' | '\r' | '\t'))];
        for (path, pattern) in [
            ("PlaceOrder/properties/payment_method", &line),
            ("PlaceItem/properties/title", &line),
            ("Address/properties/city", &line),
            ("Address/additionalProperties", &line),
            ("Reject/properties/rejection_category", &line),
            ("Reject/properties/rejection_reason", &prose),
            // Operators' reasons are shown in a terminal.
            ("Justification/properties/reason", &line),
        ] {
            let property = property(path);
            assert_eq!((&property["pattern"], &property["minLength"]), (&json!(pattern), &json!(1)), "{path}");
        }
        assert_eq!(property("Reject")["required"], json!(["rejection_category", "rejection_reason"]));
        let body = |path: &str| &whole["paths"][path]["post"]["requestBody"]["required"];
        assert_eq!((body("/api/v1/orders/{id}/pay"), body("/api/v1/orders")), (&json!(false), &json!(true)));
    }
}
