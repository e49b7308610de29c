//! The AsyncAPI description of the events: what the stream of `GET /events` and webhooks send. Its schemas are those of the OpenAPI
//! description.

use std::collections::BTreeSet;

use anyhow::Result;
use contracts::{EntityType, EventType, SCHEMA_VERSION};
use serde_json::{Map, Value, json};

use crate::openapi;

const DESCRIPTION: &str = "\
What happens to orders, returns, refunds, invoices and credit notes, as a stream of server-sent events and as webhooks. Both send the \
same events; each has the whole entity as it is after the change, so events may be lost, repeated or mixed up on the way and the highest \
`version` of an entity is what it is now.

`schema_version` is the version of all payloads. Within a version members and event types are added, and none is removed or given another \
meaning: receivers leave out what they do not know. A change that this forbids gets the next version; the CHANGELOG announces it six \
months before.";

const STREAM: &str = "\
`GET /api/v1/events` with `Accept: text/event-stream`. The `id` of each server-sent event is its cursor: a client that reconnects with \
`Last-Event-ID` misses nothing and gets nothing twice. A comment every 15 seconds keeps the connection alive. `types` and `order_id` \
choose what is sent.";

const WEBHOOK: &str = "\
`POST` to the URL of an endpoint that was registered by `POST /api/v1/ops/webhooks`, signed by the Standard Webhooks specification. At \
least once, and in order for each order. An answer other than 2xx within 15 seconds is repeated for three days.";

/// docs/asyncapi.yml.
pub fn yaml() -> Result<String> {
    Ok(yaml_serde::to_string(&document()?)?)
}

fn document() -> Result<Value> {
    let described = serde_json::to_value(openapi::whole())?;
    let mut schemas = Map::new();
    copy("EventDocument", &described, &mut schemas);
    let (mut messages, mut streamed, mut delivered) = (Map::new(), Map::new(), Map::new());
    for event_type in EventType::news() {
        let Some(entity) = event_type.aggregate_type() else { continue };
        let name = event_type.as_str();
        copy(document_of(entity), &described, &mut schemas);
        schemas.insert(name.to_owned(), payload(event_type, entity));
        let payload = reference("schemas", name);
        let message = json!({ "name": name, "title": title(name), "summary": summary(event_type), "contentType": "application/json",
                              "payload": payload });
        let traits = json!([reference("messageTraits", "standardWebhook")]);
        let mut signed = message.clone();
        signed["traits"] = traits;
        messages.insert(name.to_owned(), message);
        streamed.insert(name.to_owned(), reference("messages", name));
        delivered.insert(name.to_owned(), signed);
    }
    Ok(json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "ArtiCurated events",
            "version": env!("CARGO_PKG_VERSION"),
            "description": DESCRIPTION,
            "license": { "name": env!("CARGO_PKG_LICENSE") },
        },
        "defaultContentType": "application/json",
        "servers": {
            "local": { "host": "127.0.0.1:8000", "protocol": "http" },
            "receiver": {
                "host": "{receiver}",
                "protocol": "https",
                "description": "The receiver of the webhooks.",
                "variables": { "receiver": { "default": "shop.example" } },
            },
        },
        "channels": {
            "stream": {
                "address": "/api/v1/events",
                "title": "Server-sent events",
                "description": STREAM,
                "servers": [{ "$ref": "#/servers/local" }],
                "messages": streamed,
            },
            "webhook": { "address": null, "title": "Webhooks", "description": WEBHOOK, "servers": [{ "$ref": "#/servers/receiver" }], "messages": delivered },
        },
        "operations": {
            "streamEvents": { "action": "send", "channel": { "$ref": "#/channels/stream" }, "summary": "Send events as they happen" },
            "deliverEvents": { "action": "send", "channel": { "$ref": "#/channels/webhook" }, "summary": "Deliver events to an endpoint" },
        },
        "components": {
            "schemas": schemas,
            "messages": messages,
            "messageTraits": { "standardWebhook": { "headers": headers() } },
        },
    }))
}

fn reference(kind: &str, name: &str) -> Value {
    json!({ "$ref": format!("#/components/{kind}/{name}") })
}

/// What signs a delivery.
fn headers() -> Value {
    json!({
        "type": "object",
        "required": ["webhook-id", "webhook-timestamp", "webhook-signature"],
        "properties": {
            "webhook-id": { "type": "string", "description": "The event's `id`, the same in every attempt." },
            "webhook-timestamp": { "type": "string", "pattern": "^[0-9]+$", "description": "Of the attempt, in seconds since 1970." },
            "webhook-signature": {
                "type": "string",
                "description": "`v1,` and the base64 of HMAC-SHA256 over `<webhook-id>.<webhook-timestamp>.<body>`; two of them, separated \
                                by a blank, while a secret is replaced.",
            },
        },
    })
}

fn payload(event_type: EventType, entity: EntityType) -> Value {
    let object = reference("schemas", document_of(entity));
    json!({
        "description": summary(event_type),
        "allOf": [
            reference("schemas", "EventDocument"),
            {
                "properties": {
                    "type": { "const": event_type.as_str() },
                    "schema_version": { "const": SCHEMA_VERSION },
                    "data": { "properties": { "entity_type": { "const": entity.as_str() }, "object": object } },
                },
            },
        ],
    })
}

const fn document_of(entity: EntityType) -> &'static str {
    match entity {
        EntityType::Order => "OrderDocument",
        EntityType::Return => "ReturnDocument",
        EntityType::Refund => "RefundDocument",
        EntityType::Invoice => "InvoiceDocument",
        EntityType::CreditNote => "CreditNoteDocument",
    }
}

/// `order.in_transit` as a title.
fn title(name: &str) -> String {
    let words = name.replace(['.', '_'], " ");
    let (first, rest) = words.split_at(1);
    format!("{}{rest}", first.to_uppercase())
}

fn summary(event_type: EventType) -> &'static str {
    match event_type {
        EventType::OrderCreated => "An order was placed.",
        EventType::OrderPaid => "An order was paid.",
        EventType::OrderProcessing => "An order is being prepared in the warehouse.",
        EventType::OrderShipped => "An order was handed to the carrier; its invoice follows.",
        EventType::OrderDelivered => "An order has arrived.",
        EventType::OrderCancelled => "An order was cancelled; what was paid is given back.",
        EventType::OrderUpdated => "Facts of an order were changed, or a note was added; its state is what it was.",
        EventType::OrderRegistered => "The registration of an order's invoice was entered.",
        EventType::OrderInvoiceRequested => "The invoice is sent to the customer once more; the order is what it was.",
        EventType::ReturnRequested => "A return was requested.",
        EventType::ReturnApproved => "A return was approved.",
        EventType::ReturnRejected => "A return was rejected, or withdrawn by its customer.",
        EventType::ReturnInTransit => "A return is on its way to the shop.",
        EventType::ReturnReceived => "A return has arrived, and was counted.",
        EventType::ReturnCompleted => "A return is completed; its refund is queued.",
        EventType::ReturnUpdated => "Facts of a return were corrected; its state is what it was.",
        EventType::InvoiceGenerated => "The PDF of an invoice is stored.",
        EventType::InvoiceRegistered => "An edition of an invoice with its registration is stored.",
        EventType::CreditNoteGenerated => "The PDF of a credit note is stored.",
        EventType::RefundInitiated => "A refund is queued, for a return or a cancellation.",
        EventType::RefundGranted => "A refund is queued, of money that is given back without a return.",
        EventType::RefundInDoubt => "The gateway may have paid a refund, or not; it is looked up.",
        EventType::RefundDelayed => "A refund has been in doubt for long, and the customer is told.",
        EventType::RefundProcessed => "A refund was paid.",
        EventType::RefundFailed => "The gateway has refused a refund for good.",
        EventType::RefundRetried => "A refund that had failed is queued again.",
        EventType::OrderErased => "Personal data was erased from an order.",
        EventType::ReturnErased => "Personal data was erased from a return.",
        EventType::RefundErased => "Personal data was erased from a refund.",
        EventType::InvoiceErased => "Personal data was erased from an invoice.",
        EventType::CreditNoteErased => "Personal data was erased from a credit note.",
        EventType::SnapshotTaken => "Nothing has happened.",
    }
}

/// Copies a schema of the OpenAPI description, and all that it refers to.
fn copy(name: &str, described: &Value, schemas: &mut Map<String, Value>) {
    if schemas.contains_key(name) {
        return;
    }
    let mut schema = described["components"]["schemas"][name].clone();
    with_examples(&mut schema);
    let mut names = BTreeSet::new();
    referred(&schema, &mut names);
    schemas.insert(name.to_owned(), schema);
    for name in names {
        copy(&name, described, schemas);
    }
}

/// JSON Schema has a list of examples where OpenAPI has one.
fn with_examples(schema: &mut Value) {
    match schema {
        Value::Array(elements) => elements.iter_mut().for_each(with_examples),
        Value::Object(members) => {
            if let Some(example) = members.remove("example") {
                members.insert("examples".to_owned(), json!([example]));
            }
            members.values_mut().for_each(with_examples);
        }
        _ => {}
    }
}

fn referred(schema: &Value, names: &mut BTreeSet<String>) {
    match schema {
        Value::Array(elements) => elements.iter().for_each(|element| referred(element, names)),
        Value::Object(members) => {
            if let Some(name) = members.get("$ref").and_then(Value::as_str).and_then(|path| path.rsplit('/').next()) {
                names.insert(name.to_owned());
            }
            members.values().for_each(|member| referred(member, names));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The members that version 1 has: they stay, also when others come. Made by `members` when the version was fixed; lines are only added.
    const VERSION_1: &str = include_str!("asyncapi/v1.txt");

    /// `Schema.member: type`, and whether it is always there.
    fn members(document: &Value) -> BTreeSet<String> {
        let mut lines = BTreeSet::new();
        for (name, schema) in document["components"]["schemas"].as_object().expect("schemas") {
            for (member, of) in schema["properties"].as_object().into_iter().flatten() {
                let required = schema["required"].as_array().is_some_and(|all| all.iter().any(|one| one == member));
                let kind = of.get("type").or(of.get("$ref")).or(of.get("oneOf")).unwrap_or(&Value::Null);
                lines.insert(format!("{name}.{member}: {kind}{}", if required { ", always" } else { "" }));
            }
        }
        lines
    }

    #[test]
    fn what_version_1_promised_is_kept() {
        assert_eq!(SCHEMA_VERSION, 1, "another version needs a list of its own");
        let document = document().expect("a document");
        let now = members(&document);
        if std::env::var_os("WRITE_EVENT_MEMBERS").is_some() {
            let lines: Vec<_> = now.iter().map(String::as_str).collect();
            std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/src/asyncapi/v1.txt"), lines.join("\n") + "\n")
                .expect("written");
        }
        let promised: Vec<_> = VERSION_1.lines().collect();
        assert!(promised.len() > 100, "{}", promised.len());
        let broken: Vec<_> = promised.into_iter().filter(|line| !now.contains(*line)).collect();
        assert!(broken.is_empty(), "receivers rely on these: {broken:#?}");
        for event_type in EventType::news() {
            let types = &document["components"]["messages"][event_type.as_str()];
            assert_eq!(types["name"], event_type.as_str());
        }
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let document = document().expect("a document");
        let mut names = BTreeSet::new();
        referred(&document["components"]["schemas"], &mut names);
        assert!(names.len() > 10, "{names:?}");
        for name in names {
            assert!(document["components"]["schemas"][&name].is_object(), "{name}");
        }
    }
}
