//! What the description says about access: how callers prove who they are, and per operation the roles that may call it, out of the
//! same table that decides.

use access::deprecation::{self, Deprecation};
use access::table::{self, Reach};
use runtime::ErrorBody;
use serde_json::Value;
use utoipa::PartialSchema;
use utoipa::openapi::extensions::Extensions;
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{ContentBuilder, Deprecated, OpenApi, Ref, RefOr, Response};

const API_KEY: &str = "api_key";
const TOKEN: &str = "token";
/// Status, name in the components, description.
const REFUSALS: [(&str, &str, &str); 3] = [
    (
        "401",
        "Unauthorized",
        "`UNAUTHORIZED`: with `AUTH=required`, the header `Authorization: Bearer` with a valid API key or token is missing.",
    ),
    (
        "403",
        "Forbidden",
        "`FORBIDDEN`: the role of the caller may not do this; `details.allowed_roles` says which may. Or its key may not be used from \
         this address. `OPERATIONS_CLOSED`: the service is open to other machines with `AUTH=none`.",
    ),
    (
        "429",
        "RateLimited",
        "`RATE_LIMITED`: too many requests of this caller or address; `Retry-After` says when to come back.",
    ),
];

pub(super) fn describe(whole: &mut OpenApi) {
    let components = whole.components.get_or_insert_default();
    let bearer = |format: &str, description: &str| {
        let mut http = Http::new(HttpAuthScheme::Bearer);
        http.bearer_format = Some(format.to_owned());
        http.description = Some(description.to_owned());
        RefOr::T(SecurityScheme::Http(http))
    };
    let schemes = [
        (API_KEY, bearer("ak_live_…", "An API key: `ops keys create`, or `POST /api/v1/ops/keys`.")),
        (TOKEN, bearer("JWT", "A token of the identity provider that `JWT_ISSUER` names: RS256, ES256 or EdDSA.")),
    ];
    components.security_schemes.extend(schemes.map(|(name, scheme)| (name.to_owned(), scheme)));
    for (_, name, description) in REFUSALS {
        let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("ErrorBody"))).build();
        let mut response = Response::new(description);
        response.content.insert("application/json".to_owned(), content.into());
        components.responses.insert(name.to_owned(), response.into());
    }
    components.schemas.entry("ErrorBody".to_owned()).or_insert_with(ErrorBody::schema);
    for (path, item) in &mut whole.paths.paths {
        let methods = [
            ("GET", &mut item.get),
            ("POST", &mut item.post),
            ("PUT", &mut item.put),
            ("PATCH", &mut item.patch),
            ("DELETE", &mut item.delete),
        ];
        for (method, operation) in methods {
            if let (Some(operation), Some(rule)) = (operation, table::of(method, path)) {
                guard(operation, rule);
                if let Some(deprecation) = deprecation::of(method, path) {
                    announce(operation, deprecation);
                }
            }
        }
    }
}

/// What the headers of its answers say, too.
fn announce(operation: &mut Operation, deprecation: &Deprecation) {
    let Deprecation { since, sunset, instead, .. } = deprecation;
    operation.deprecated = Some(Deprecated::True);
    let known = operation.description.take().unwrap_or_default();
    operation.description =
        Some(format!("{known}\n\nDeprecated since {since}, goes on {sunset}: call `{instead}` in its place."));
}

fn guard(operation: &mut Operation, rule: &table::Rule) {
    // Either of them, or with `AUTH=none` neither.
    let nothing: [&str; 0] = [];
    operation.security = Some(
        [API_KEY, TOKEN]
            .map(|scheme| SecurityRequirement::new(scheme, nothing))
            .into_iter()
            .chain([SecurityRequirement::default()])
            .collect(),
    );
    let roles = rule.roles().map(|(role, reach)| {
        let reach = if reach == Reach::Own { "own" } else { "all" };
        (role.as_str().to_owned(), Value::from(reach))
    });
    let roles = Extensions::from_iter([("x-roles", Value::Object(roles.collect()))]);
    operation.extensions.get_or_insert_default().merge(roles);
    for (status, name, _) in REFUSALS {
        let response = RefOr::Ref(Ref::from_response_name(name));
        operation.responses.responses.entry(status.to_owned()).or_insert(response);
    }
}
