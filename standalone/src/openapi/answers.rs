//! What every answer of the API has beside what its operation says: headers, and errors as problem details.

use utoipa::PartialSchema;
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::Operation;
use utoipa::openapi::schema::{ArrayItems, KnownFormat, ObjectBuilder, Schema, SchemaFormat, Type};
use utoipa::openapi::{Header, OpenApi, Ref, RefOr, Response, ResponseBuilder};

/// Commands that write nothing, or answer for several entities.
const WITHOUT_VERSION: [&str; 3] = ["quote_order", "preview_return", "change_order_states"];

pub(super) fn describe(whole: &mut OpenApi) {
    if let Some(components) = &mut whole.components {
        components.schemas.insert("Problem".to_owned(), runtime::Problem::schema());
        components.schemas.values_mut().for_each(without_null_defaults);
        for response in components.responses.values_mut() {
            if let RefOr::T(response) = response {
                complete(response, true);
            }
        }
    }
    for (path, item) in &mut whole.paths.paths {
        if !path.starts_with("/api/v1") {
            continue;
        }
        for operation in [&mut item.get, &mut item.post, &mut item.patch].into_iter().flatten() {
            describe_operation(operation);
        }
    }
}

fn describe_operation(operation: &mut Operation) {
    let is_command = operation.tags.iter().flatten().any(|tag| tag.ends_with(": commands"))
        && operation.operation_id.as_deref().is_none_or(|id| !WITHOUT_VERSION.contains(&id));
    let responses = &mut operation.responses.responses;
    for (status, response) in responses.iter_mut() {
        let RefOr::T(response) = response else { continue };
        complete(response, !status.starts_with(['2', '3']));
        if response.description.is_empty() {
            described(status).clone_into(&mut response.description);
        }
        if is_command && status.starts_with('2') {
            let mut add = |name: &str, text: &str| {
                response.headers.insert(name.to_owned(), header(text));
            };
            add("ETag", "`\"<version>\"`: send it as `If-Match` with the next command.");
            add("X-Consistency-Token", "Send it with a query: what is read is not older than this.");
            add(
                "Idempotency-Replayed",
                "`true` where this is the stored answer to an earlier request with the same key.",
            );
            if status == "201" {
                add("Location", "Path of what was created.");
            }
        }
    }
    let mut internal = ResponseBuilder::new()
        .description("`INTERNAL_ERROR`: a fault on our side; quote the `request_id`.")
        .content("application/json", ContentBuilder::new().schema(Some(Ref::from_schema_name("ErrorBody"))).build())
        .build();
    complete(&mut internal, true);
    responses.entry("500".to_owned()).or_insert(RefOr::T(internal));
}

/// What an empty description says: the status alone.
fn described(status: &str) -> &'static str {
    match status {
        "201" => "It was created.",
        "202" => "It was started.",
        _ => "As it is now.",
    }
}

/// The request id, and for errors the other form.
fn complete(response: &mut Response, is_error: bool) {
    if let Some(RefOr::T(pdf)) = response.content.get_mut("application/pdf") {
        let bytes = ObjectBuilder::new().schema_type(Type::String).content_media_type("application/pdf");
        pdf.schema = Some(bytes.format(Some(SchemaFormat::KnownFormat(KnownFormat::Binary))).into());
    }
    response.headers.insert("X-Request-Id".to_owned(), header("The log lines of this request carry it."));
    if is_error && response.content.contains_key("application/json") {
        let problem = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
        response.content.insert("application/problem+json".to_owned(), problem.into());
    }
}

fn header(description: &str) -> RefOr<Header> {
    let text = ObjectBuilder::new().schema_type(Type::String);
    HeaderBuilder::new().schema(Some(text)).description(Some(description)).build().into()
}

/// A default that its own type does not allow says nothing: the member may be left out.
fn without_null_defaults(schema: &mut RefOr<Schema>) {
    let RefOr::T(schema) = schema else { return };
    match schema {
        Schema::Object(object) => {
            if object.default.as_ref().is_some_and(serde_json::Value::is_null) {
                object.default = None;
            }
            object.properties.values_mut().for_each(without_null_defaults);
        }
        Schema::Array(array) => {
            if let ArrayItems::RefOrSchema(items) = &mut array.items {
                without_null_defaults(items);
            }
        }
        Schema::OneOf(one_of) => one_of.items.iter_mut().for_each(without_null_defaults),
        Schema::AllOf(all_of) => all_of.items.iter_mut().for_each(without_null_defaults),
        Schema::AnyOf(any_of) => any_of.items.iter_mut().for_each(without_null_defaults),
        _ => {}
    }
}
