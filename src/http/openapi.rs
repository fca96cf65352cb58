//! The OpenAPI 3.1 document: collected from the handlers, completed with what all routes share
//! (the form of problems, the statuses that the extractors answer on their own, bearer tokens).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use utoipa::openapi::path::{Operation, ParameterIn, PathItem};
use utoipa::openapi::request_body::RequestBody;
use utoipa::openapi::schema::SchemaType;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{
    Components, ContentBuilder, InfoBuilder, OpenApi, OpenApiBuilder, Ref, RefOr, Response, ResponseBuilder,
    Schema, ServerBuilder, Type,
};
use utoipa::{PartialSchema, ToSchema};

use super::fields;
use super::problem::{FieldError, MEDIA_TYPE, ProblemDocument};
use super::routes::{self, Served};

/// The name of the bearer scheme, for `security(("bearer" = []))`.
const BEARER: &str = "bearer";

/// What the extractors and the frame answer on their own.
const SHARED: [(&str, &str, &str); 10] = [
    ("400", "BadRequest", "The request cannot be read, or lacks something required."),
    ("401", "Unauthenticated", "No or bad credentials."),
    ("403", "Forbidden", "A permission is missing, whatever the id."),
    ("404", "NotFound", "There is no such thing, or it belongs to another."),
    ("408", "TooSlow", "The body took too long to arrive."),
    ("413", "TooLarge", "The body is too large."),
    ("415", "UnsupportedMediaType", "The body is not application/json in UTF-8."),
    ("422", "Invalid", "Some values won't do; errors names them."),
    ("503", "Unavailable", "Not now; Retry-After says when."),
    ("default", "Problem", "Anything else that goes wrong."),
];

/// The document that is served and printed: of the whole API, whatever this replica serves of it,
/// because clients see all replicas as one.
pub fn document() -> &'static OpenApi {
    static DOCUMENT: OnceLock<OpenApi> = OnceLock::new();
    DOCUMENT.get_or_init(|| {
        let mut document = routes::collect(&Served::all());
        for item in document.paths.paths.values_mut() {
            for (_, operation) in of_item_mut(item) {
                complete(operation);
            }
        }
        let components = document.components.get_or_insert_with(Components::new);
        add_components(components);
        document
    })
}

/// The methods of each documented path of what is served.
pub(super) fn operations(served: &Served) -> BTreeMap<String, BTreeSet<&'static str>> {
    let mut document = routes::collect(served);
    let items = document.paths.paths.iter_mut();
    items.map(|(path, item)| (path.clone(), of_item_mut(item).map(|(method, _)| method).collect())).collect()
}

/// Who may call an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// Everyone; also where a session only makes a difference.
    All,
    /// Whoever has a session and these permissions.
    Session(Vec<String>),
}

/// On which terms an operation is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Terms {
    pub(super) access: Access,
    /// Whether any query is one too many.
    pub(super) takes_no_query: bool,
}

/// On which terms which operation is called: method, path, and what is written beside its handler.
pub(super) fn terms(served: &Served) -> Vec<(&'static str, String, Terms)> {
    let mut document = routes::collect(served);
    let mut all = Vec::new();
    for (path, item) in document.paths.paths.iter_mut() {
        for (method, operation) in of_item_mut(item) {
            all.push((method, path.clone(), terms_of(path, operation)));
        }
    }
    all
}

fn terms_of(path: &str, operation: &Operation) -> Terms {
    // Whoever sends webhooks, and browsers, probes and scrapers, add to a URL what they like.
    let is_strict = routes::is_versioned(path) && !path.contains("/webhooks/");
    Terms { access: access(operation), takes_no_query: is_strict && !has(operation, &ParameterIn::Query) }
}

/// Whether an operation has a parameter in this place.
fn has(operation: &Operation, place: &ParameterIn) -> bool {
    operation.parameters.iter().flatten().any(|parameter| match parameter {
        RefOr::T(parameter) => parameter.parameter_in == *place,
        RefOr::Ref(_) => false,
    })
}

/// Reads `security(("bearer" = ["users:read"]))`: in OpenAPI 3.1 the list beside a scheme names
/// what is [required of the caller](https://spec.openapis.org/oas/v3.1.0#security-requirement-object).
fn access(operation: &Operation) -> Access {
    let alternatives = serde_json::to_value(&operation.security).unwrap_or_default();
    let mut alternatives = alternatives.as_array().into_iter().flatten();
    match alternatives.next().and_then(|first| first.get(BEARER)?.as_array()) {
        // A second alternative is to have none.
        Some(permissions) if alternatives.next().is_none() => {
            Access::Session(permissions.iter().filter_map(|name| Some(name.as_str()?.to_owned())).collect())
        }
        _ => Access::All,
    }
}

/// What the document begins with.
pub(super) fn head() -> OpenApi {
    let info = InfoBuilder::new().title("Steward").version(env!("CARGO_PKG_VERSION")).description(Some(
        "Users, sessions, linked accounts, catalogue, stock and orders. Every path under /v1 \
             answers without that prefix too, and with a slash at its end. Errors are \
             application/problem+json (RFC 9457) with a stable `code`.",
    ));
    OpenApiBuilder::new().info(info.build()).servers(Some([ServerBuilder::new().url("/").build()])).build()
}

fn of_item_mut(item: &mut PathItem) -> impl Iterator<Item = (&'static str, &mut Operation)> {
    [
        ("GET", &mut item.get),
        ("PUT", &mut item.put),
        ("POST", &mut item.post),
        ("DELETE", &mut item.delete),
        ("PATCH", &mut item.patch),
    ]
    .into_iter()
    .filter_map(|(method, operation)| operation.as_mut().map(|operation| (method, operation)))
}

/// Adds the responses that follow from what an operation takes. What a handler says itself stays.
fn complete(operation: &mut Operation) {
    if let Some(RefOr::T(body)) = &mut operation.request_body {
        forbid_null(body);
    }
    let mut statuses = BTreeSet::from(["503", "default"]);
    if operation.request_body.is_some() {
        statuses.extend(["400", "408", "413", "415", "422"]);
    }
    if has(operation, &ParameterIn::Query) {
        statuses.extend(["400", "422"]);
    }
    if has(operation, &ParameterIn::Path) {
        statuses.insert("404");
    }
    match access(operation) {
        Access::All => {}
        Access::Session(permissions) => {
            statuses.insert("401");
            if !permissions.is_empty() {
                statuses.insert("403");
            }
        }
    }
    operation.operation_id = operation.operation_id.as_deref().map(fields::camel_case);
    for (status, response) in &mut operation.responses.responses {
        let RefOr::T(response) = response else { continue };
        if response.description.is_empty() {
            response.description = "Done.".to_owned();
        }
        let failed = status.starts_with(['4', '5']);
        if failed && response.content.is_empty() {
            response.content = problem("").content;
        }
    }
    for (status, name, _) in SHARED.iter().filter(|(status, ..)| statuses.contains(status)) {
        let response = RefOr::Ref(Ref::from_response_name(*name));
        operation.responses.responses.entry((*status).to_owned()).or_insert(response);
    }
}

/// A body that may be missing may not be null for that; utoipa takes an `Option` for both.
fn forbid_null(body: &mut RequestBody) {
    for content in body.content.values_mut() {
        let RefOr::T(content) = content else { continue };
        let Some(RefOr::T(Schema::OneOf(ways))) = &content.schema else { continue };
        let mut ways = ways.items.iter().filter(|way| !is_null(way));
        if let (Some(only), None) = (ways.next(), ways.next()) {
            content.schema = Some(only.clone());
        }
    }
}

fn is_null(schema: &RefOr<Schema>) -> bool {
    let null = SchemaType::Type(Type::Null);
    matches!(schema, RefOr::T(Schema::Object(object)) if object.schema_type == null)
}

fn add_components(components: &mut Components) {
    for (_, name, description) in SHARED {
        components.responses.insert(name.to_owned(), problem(description).into());
    }
    let schemas = &mut components.schemas;
    schemas.insert("Problem".to_owned(), ProblemDocument::schema());
    schemas.insert(FieldError::name().into_owned(), FieldError::schema());
    let scheme = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("The session token or the access token that a log-in answers."));
    components.add_security_scheme(BEARER, SecurityScheme::Http(scheme.build()));
}

fn problem(description: &str) -> Response {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
    ResponseBuilder::new().description(description).content(MEDIA_TYPE, content).build()
}
