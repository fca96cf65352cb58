//! Linking institutions, and linking them again.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, post, web};
use garde::Validate;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use steward_actors::account_sync::{Connection, Connections, LinkError, LinkRequest, RelinkRequest};
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;

use super::caller::Caller;
use super::connections::ConnectionView;
use super::idempotency;
use super::json::ValidJson;
use super::problem::{FieldError, Problem};
use super::query::{InPath, PathId};
use super::values::Time;

pub(super) fn configure(config: &mut ServiceConfig) {
    config.service(create_connection).service(create_link_token).service(relink);
}

/// The provider whose tokens come from a page of its own.
const PLAID: &str = "plaid";

/// What links an institution.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct NewConnection {
    /// `sandbox`, `simplefin` or `plaid`.
    #[garde(length(chars, min = 1, max = 64))]
    #[schema(min_length = 1, max_length = 64)]
    provider: String,
    /// From the provider; not for `plaid`. The sandbox takes `sandbox`, and with a fault
    /// `sandbox-slow`, `sandbox-rate-limited`, `sandbox-expired`, `sandbox-broken-pages`,
    /// `sandbox-down`, `sandbox-shuffled`, `sandbox-hanging`, `sandbox-hostile`.
    #[garde(inner(custom(is_token)))]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 4096)]
    setup_token: Option<SecretString>,
    /// From Plaid's page, for `plaid`. The sandbox takes `public-sandbox`, and with a fault
    /// `public-sandbox-slow`, `-rate-limited`, `-expired`, `-broken-pages`, `-down`,
    /// `-institution-down`, `-not-ready`, `-shuffled`, `-mutating`, `-hanging`, `-hostile`.
    #[garde(inner(custom(is_token)))]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 4096)]
    public_token: Option<SecretString>,
}

/// What links it again.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Relink {
    /// The connection's, if it is said.
    #[garde(inner(length(chars, min = 1, max = 64)))]
    #[schema(min_length = 1, max_length = 64)]
    provider: Option<String>,
    /// As for a new connection.
    #[garde(inner(custom(is_token)))]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 4096)]
    setup_token: Option<SecretString>,
    /// As for a new connection.
    #[garde(inner(custom(is_token)))]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 4096)]
    public_token: Option<SecretString>,
}

fn is_token(token: &SecretString, _: &()) -> garde::Result {
    if (1..=4096).contains(&token.expose_secret().len()) {
        Ok(())
    } else {
        Err(garde::Error::new("is not 1 to 4096 characters long"))
    }
}

/// The token that this provider takes, and the name of its field.
fn token_of(
    provider: &str,
    setup_token: Option<SecretString>,
    public_token: Option<SecretString>,
) -> Result<(SecretString, &'static str), Problem> {
    const FIELDS: [&str; 2] = ["/setupToken", "/publicToken"];
    let [field, foreign] = if provider == PLAID { [FIELDS[1], FIELDS[0]] } else { FIELDS };
    let (own, other) =
        if provider == PLAID { (public_token, setup_token) } else { (setup_token, public_token) };
    if other.is_some() {
        let message = format!("{provider} takes {}", &field[1..]);
        return Err(Problem::invalid_field(foreign, "foreign_field", message));
    }
    Ok((own.ok_or_else(|| Problem::missing(field))?, field))
}

/// A refusal names the field that the token came in.
fn problem(error: LinkError, field: &'static str) -> Problem {
    let LinkError::Refused(reason) = &error else { return error.into() };
    Problem::setup_token_refused(FieldError::new(field, "refused", reason.clone()))
}

fn created(connection: Connection, replayed: bool) -> HttpResponse {
    let connection = ConnectionView::of(connection);
    let location = format!("/v1/connections/{}", connection.id());
    idempotency::respond(StatusCode::CREATED, location, replayed).json(connection)
}

/// Links an institution. Its first run is queued.
#[utoipa::path(
    tag = "accounts",
    params(("Idempotency-Key" = Option<String>, Header, description = "The client's name for this command")),
    request_body = NewConnection,
    responses(
        (status = 201, body = ConnectionView),
        (status = 422, description = "The token was refused (`setup_token_refused`)"),
    ),
    security(("bearer" = [])),
)]
#[post("/connections")]
async fn create_connection(
    caller: Caller,
    body: ValidJson<NewConnection>,
    connections: web::Data<Connections>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let NewConnection { provider, setup_token, public_token } = body.0;
    let (setup_token, field) = token_of(&provider, setup_token, public_token)?;
    let said = (&provider, setup_token.expose_secret());
    let (id, command) = idempotency::optional(&request, &caller.user_id, "POST /v1/connections", &said)?;
    let request = LinkRequest { id, command, user_id: caller.user_id.clone(), provider, setup_token };
    let linked = connections.link(request).await.map_err(|error| problem(error, field))?;
    Ok(created(linked.connection, linked.replayed))
}

/// Links it again: what was merged stays merged, and a run is queued.
#[utoipa::path(
    tag = "accounts",
    params(("id" = String, Path)),
    request_body = Relink,
    responses(
        (status = 201, body = ConnectionView),
        (status = 422, description = "The token was refused (`setup_token_refused`)"),
    ),
    security(("bearer" = [])),
)]
#[post("/connections/{id}/relink")]
async fn relink(
    caller: Caller,
    id: InPath<PathId>,
    body: ValidJson<Relink>,
    connections: web::Data<Connections>,
) -> Result<HttpResponse, Problem> {
    let Relink { provider, setup_token, public_token } = body.0;
    let found = connections.get(&caller.user_id, &id.0.0).await?.ok_or_else(Problem::not_found)?;
    let (token, field) = token_of(&found.value.provider, setup_token, public_token)?;
    let (user_id, connection_id) = (caller.user_id.clone(), id.0.0);
    let linked = connections.relink(RelinkRequest { user_id, connection_id, provider, token }).await;
    Ok(created(linked.map_err(|error| problem(error, field))?, false))
}

/// For which link Plaid's page is to be opened.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct LinkTokenAsked {
    /// The connection to let the user in again to; absent for a new one.
    #[garde(inner(length(chars, min = 1, max = 64)))]
    #[schema(min_length = 1, max_length = 64)]
    connection_id: Option<String>,
}

/// What Plaid's page needs.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct LinkTokenView {
    link_token: String,
    expires_at: Time,
}

/// Makes what Plaid's page needs, for a new link or to let the user in again.
#[utoipa::path(
    tag = "accounts",
    request_body = LinkTokenAsked,
    responses(
        (status = 200, body = LinkTokenView),
        (status = 422, description = "The connection's provider has no such page (`no_link_page`)"),
    ),
    security(("bearer" = [])),
)]
#[post("/connections/link-token")]
async fn create_link_token(
    caller: Caller,
    body: ValidJson<LinkTokenAsked>,
    connections: web::Data<Connections>,
) -> Result<HttpResponse, Problem> {
    let made = connections.link_token(&caller.user_id, body.0.connection_id.as_deref()).await?;
    let view = LinkTokenView { link_token: made.token, expires_at: Time::from(made.expires_at) };
    Ok(HttpResponse::Ok().insert_header(("cache-control", "no-store")).json(view))
}
