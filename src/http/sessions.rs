//! Sessions: logging in and out, and the list of devices.

use actix_web::http::header::AUTHORIZATION;
use actix_web::{FromRequest, HttpRequest, HttpResponse, HttpResponseBuilder, delete, get, post, web};
use garde::Validate;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use steward_actors::keys::ACCESS_LIFE;
use steward_actors::session::{Device, LogIn, LogOutError, LoggedIn, RefreshError, Session, Sessions};
use steward_actors::users::Users;
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;

use super::NO_STORE;
use super::address::ClientAddress;
use super::caller::Caller;
use super::json::{OptionalJson, ValidJson};
use super::page::{Binding, Listed, Paging};
use super::problem::Problem;
use super::query::{InPath, PathId, ValidQuery};
use super::user_view::UserView;
use super::values::{Time, is_one_line};

pub(super) fn configure(config: &mut ServiceConfig) {
    config
        .service(login)
        .service(login_literal)
        .service(logout)
        .service(refresh)
        .service(list_sessions)
        .service(end_other_sessions)
        .service(end_session)
        .service(list_sessions_of_user)
        .service(end_sessions_of_user);
}

/// Someone who logs in, by address or by username.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Credentials {
    #[garde(length(chars, max = 254))]
    #[schema(max_length = 254)]
    email: Option<String>,
    #[garde(length(chars, max = 254))]
    #[schema(max_length = 254)]
    username: Option<String>,
    #[garde(skip)]
    #[schema(value_type = String, format = Password)]
    password: SecretString,
    /// What the user calls this device.
    #[garde(inner(length(chars, max = 100), custom(is_one_line)))]
    #[schema(max_length = 100)]
    device_name: Option<String>,
    /// What an earlier log-in of this user gave to this device.
    #[garde(skip)]
    #[schema(value_type = Option<String>)]
    device_token: Option<SecretString>,
}

/// A session, and its tokens.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Login {
    user_id: String,
    session_id: String,
    /// A UUID; sent as `Authorization: Bearer <token>`, it counts as long as the session.
    session_token: String,
    /// A JWT, which other services can verify too; sent in the same way.
    access_token: String,
    /// What gets the next access token, once; a copy that is kept and used later ends the session.
    refresh_token: String,
    /// `Bearer`.
    token_type: &'static str,
    /// Seconds until the access token expires.
    expires_in: u64,
    /// Seconds until the refresh token and the session end, unless they are used before.
    refresh_expires_in: u64,
    /// To be sent when this user logs in again from this device: then nobody who guesses passwords
    /// elsewhere keeps them out.
    device_token: String,
    user: UserView,
}

/// The address that a request comes from.
fn address(request: &HttpRequest) -> Option<String> {
    ClientAddress::of(request).map(|address| address.to_string())
}

/// Where a request comes from.
pub(super) fn device(request: &HttpRequest, name: Option<String>) -> Device {
    Device::new(name, address(request))
}

/// The answer with the session's token in it, in body and header.
pub(super) fn opened(mut response: HttpResponseBuilder, opened: LoggedIn) -> HttpResponse {
    let token = opened.token.expose().to_owned();
    response.insert_header((AUTHORIZATION, format!("Bearer {token}"))).insert_header(NO_STORE).json(Login {
        user_id: opened.user.value.id.clone(),
        session_id: opened.session_id,
        session_token: token,
        access_token: opened.access.expose().to_owned(),
        refresh_token: opened.refresh.expose().to_owned(),
        expires_in: ACCESS_LIFE.as_secs(),
        refresh_expires_in: opened.expires_in.as_secs(),
        device_token: opened.device.expose().to_owned(),
        token_type: "Bearer",
        user: UserView::of(opened.user),
    })
}

async fn open_session(
    credentials: Credentials,
    sessions: &Sessions,
    request: &HttpRequest,
) -> Result<HttpResponse, Problem> {
    let Credentials { email, username, password, device_name, device_token } = credentials;
    let known_as = match (email, username) {
        (Some(email), None) => email,
        (None, Some(username)) => username,
        (None, None) => return Err(Problem::missing("/email")),
        (Some(_), Some(_)) => {
            let message = "is there next to email; one of them is enough";
            return Err(Problem::invalid_field("/username", "ambiguous", message));
        }
    };
    let log_in = LogIn { login: known_as, password, device: device(request, device_name), device_token };
    Ok(opened(HttpResponse::Ok(), sessions.log_in(log_in).await?))
}

/// Opens a session.
#[utoipa::path(
    tag = "users",
    request_body = Credentials,
    responses((status = 200, body = Login), (status = 401, description = "Not these credentials")),
)]
#[post("/users/login")]
async fn login(
    body: ValidJson<Credentials>,
    sessions: web::Data<Sessions>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    open_session(body.0, &sessions, &request).await
}

/// Opens a session; the token is in the `Authorization` header of the answer.
#[utoipa::path(
    tag = "users",
    request_body = Credentials,
    responses((status = 200, body = Login), (status = 401, description = "Not these credentials")),
)]
#[post("/login")]
async fn login_literal(
    body: ValidJson<Credentials>,
    sessions: web::Data<Sessions>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    open_session(body.0, &sessions, &request).await
}

/// A refresh token.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RefreshInput {
    #[garde(skip)]
    #[schema(value_type = String)]
    refresh_token: SecretString,
}

/// The next access token and refresh token of a session. The same refresh token gets the same next
/// one, until that has been used.
#[utoipa::path(
    tag = "sessions",
    request_body = RefreshInput,
    responses((status = 200, body = Login), (status = 401, description = "It doesn't count (`invalid_refresh_token`)")),
)]
#[post("/sessions/refresh")]
async fn refresh(
    body: ValidJson<RefreshInput>,
    sessions: web::Data<Sessions>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let refreshed = sessions.refresh(body.0.refresh_token.expose_secret(), address(&request)).await?;
    Ok(opened(HttpResponse::Ok(), refreshed))
}

/// Whose session ends, if not the caller's.
#[derive(Default, Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct LogoutInput {
    /// A refresh token of the session; then no other credentials are needed, nor looked at.
    #[garde(skip)]
    #[schema(value_type = Option<String>)]
    refresh_token: Option<SecretString>,
}

/// Ends this session, or that of a refresh token, on every replica.
#[utoipa::path(
    tag = "users",
    request_body(content = Option<LogoutInput>),
    responses((status = 204), (status = 401, description = "No or bad credentials")),
    security(("bearer" = []), ()),
)]
#[post("/users/logout")]
async fn logout(
    body: OptionalJson<LogoutInput>,
    sessions: web::Data<Sessions>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    match body.0.and_then(|body| body.refresh_token) {
        // The header is not looked at: an access token that has expired keeps nobody logged in.
        Some(token) => sessions.log_out_by(token.expose_secret()).await.map_err(|error| match error {
            LogOutError::NotFound => RefreshError::Refused.into(),
            error => Problem::from(error),
        })?,
        None => {
            let caller = Caller::extract(&request).await?;
            sessions.log_out(&caller.session_id).await?;
        }
    }
    Ok(HttpResponse::NoContent().finish())
}

/// A session as its user sees it.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct SessionView {
    id: String,
    /// What the user calls the device.
    #[schema(required = true)]
    device_name: Option<String>,
    created_at: Time,
    /// To within ten minutes.
    last_seen_at: Time,
    /// Where it was opened from.
    #[schema(required = true)]
    ip: Option<String>,
    /// Whether this request belongs to it.
    current: bool,
}

impl SessionView {
    pub(super) fn of(session: Session, caller: &Caller) -> Self {
        Self {
            current: session.id == caller.session_id,
            id: session.id,
            device_name: session.device_name,
            created_at: session.created_at.into(),
            last_seen_at: session.last_seen_at.into(),
            ip: session.ip,
        }
    }
}

async fn list(
    caller: &Caller,
    user_id: &str,
    page: Paging,
    sessions: &Sessions,
    request: &HttpRequest,
) -> Result<HttpResponse, Problem> {
    let binding = Binding::new("sessions", &user_id);
    let after = binding.after(page.cursor.as_deref())?;
    let found = sessions.page(user_id, page.limit.get(), after).await?;
    let (found, next) = found.ok_or_else(Problem::not_found)?;
    let found = found.into_iter().map(|session| SessionView::of(session, caller)).collect();
    Ok(Listed::new(found, next.as_ref(), &binding).respond(request))
}

/// My sessions, the newest first.
#[utoipa::path(
    tag = "sessions",
    params(Paging),
    responses((status = 200, body = Listed<SessionView>)),
    security(("bearer" = [])),
)]
#[get("/sessions")]
async fn list_sessions(
    caller: Caller,
    page: ValidQuery<Paging>,
    sessions: web::Data<Sessions>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    list(&caller, &caller.user_id, page.0, &sessions, &request).await
}

/// Ends all my sessions but this one.
#[utoipa::path(tag = "sessions", responses((status = 204)), security(("bearer" = [])))]
#[delete("/sessions")]
async fn end_other_sessions(caller: Caller, sessions: web::Data<Sessions>) -> Result<HttpResponse, Problem> {
    sessions.end_others(&caller.user_id, Some(&caller.session_id)).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Ends one of my sessions.
#[utoipa::path(
    tag = "sessions",
    params(("id" = String, Path)),
    responses((status = 204)),
    security(("bearer" = [])),
)]
#[delete("/sessions/{id}")]
async fn end_session(
    caller: Caller,
    id: InPath<PathId>,
    sessions: web::Data<Sessions>,
) -> Result<HttpResponse, Problem> {
    sessions.end_one(&caller.user_id, &id.0.0).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// A user's sessions, the newest first.
#[utoipa::path(
    tag = "sessions",
    params(("id" = String, Path), Paging),
    responses((status = 200, body = Listed<SessionView>), (status = 403, description = "Needs users:read")),
    security(("bearer" = ["users:read"])),
)]
#[get("/users/{id}/sessions")]
async fn list_sessions_of_user(
    caller: Caller,
    id: InPath<PathId>,
    page: ValidQuery<Paging>,
    sessions: web::Data<Sessions>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    list(&caller, &id.0.0, page.0, &sessions, &request).await
}

/// Ends all sessions of a user.
#[utoipa::path(
    tag = "sessions",
    params(("id" = String, Path)),
    responses((status = 204), (status = 403, description = "Needs users:write, and every permission that the user has")),
    security(("bearer" = ["users:write"])),
)]
#[delete("/users/{id}/sessions")]
async fn end_sessions_of_user(
    caller: Caller,
    id: InPath<PathId>,
    sessions: web::Data<Sessions>,
    users: web::Data<Users>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let user = users.get(&id.0.0).await?.ok_or_else(Problem::not_found)?.value;
    for permission in users.permissions_of(&user).await? {
        caller.require(&permission)?;
    }
    sessions.end_all_by(&user.id, &caller.by(&request)).await?;
    Ok(HttpResponse::NoContent().finish())
}
