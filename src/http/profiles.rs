//! One user: me, or another by those who may.

use actix_web::{HttpRequest, HttpResponse, delete, get, patch, put, web};
use garde::Validate;
use secrecy::SecretString;
use serde::Deserialize;
use steward_actors::store::Versioned;
use steward_actors::users::{
    Age, CurrentPassword, DisplayName, Edit, Editor, Email, Password, User, Username, Users,
};
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;

use super::caller::Caller;
use super::etag::{self, IfMatch};
use super::json::{OptionalJson, ValidJson, named};
use super::problem::Problem;
use super::query::{InPath, PathId};
use super::user_view::UserView;
use super::users::checked;

pub(super) fn configure(config: &mut ServiceConfig) {
    config
        .service(get_me)
        .service(put_me)
        .service(patch_me)
        .service(delete_me)
        .service(get_user)
        .service(put_user)
        .service(patch_user)
        .service(delete_user);
}

/// What is to change of a user. Only what is named changes; null clears what is optional.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ProfileInput {
    #[garde(skip)]
    #[serde(default, deserialize_with = "named")]
    #[schema(value_type = String, required = false, min_length = 1, max_length = 100)]
    name: Option<String>,
    /// 3 to 32 of `A-Z a-z 0-9 . _ -`.
    #[garde(skip)]
    #[serde(default, deserialize_with = "named")]
    #[schema(value_type = Option<String>)]
    username: Option<Option<String>>,
    #[garde(skip)]
    #[serde(default, deserialize_with = "named")]
    #[schema(value_type = Option<i64>, minimum = 0, maximum = 150)]
    age: Option<Option<i64>>,
    /// One's own stays as it was until this one is verified.
    #[garde(skip)]
    #[serde(default, deserialize_with = "named")]
    #[schema(value_type = String, required = false, max_length = 254, format = Email)]
    email: Option<String>,
    /// Needed to change one's own address.
    #[garde(skip)]
    #[schema(value_type = Option<String>, format = Password)]
    current_password: Option<SecretString>,
    /// Whether the user is shut out; by `users:write` only.
    #[garde(skip)]
    #[serde(default, deserialize_with = "named")]
    #[schema(value_type = bool, required = false)]
    disabled: Option<bool>,
}

impl ProfileInput {
    /// The values, or everything that is wrong with them.
    fn parse(self) -> Result<(Edit, Option<SecretString>), Problem> {
        let mut errors = Vec::new();
        let mut edit = Edit { disabled: self.disabled, ..Edit::default() };
        edit.name = self.name.and_then(|text| checked(&mut errors, "/name", DisplayName::parse(&text)));
        edit.email = self.email.and_then(|text| checked(&mut errors, "/email", Email::parse(&text)));
        edit.username = self
            .username
            .map(|name| name.and_then(|text| checked(&mut errors, "/username", Username::parse(&text))));
        edit.age = self.age.map(|age| age.and_then(|years| checked(&mut errors, "/age", Age::parse(years))));
        if errors.is_empty() { Ok((edit, self.current_password)) } else { Err(Problem::invalid(errors)) }
    }
}

/// The current password, as it was sent. One that can't be anyone's is a wrong one.
fn current(password: Option<SecretString>, caller: &Caller) -> Result<Option<CurrentPassword>, Problem> {
    let parsed = password.map(Password::parse).transpose().map_err(|_| {
        Problem::invalid_field("/currentPassword", "wrong_password", "is not the current password")
    })?;
    Ok(parsed.map(|password| CurrentPassword::new(password, &caller.session_id)))
}

/// Who changes the user with this id. Nobody changes themselves with more ease by their own id.
fn by(
    caller: &Caller,
    id: &str,
    password: Option<SecretString>,
    request: &HttpRequest,
) -> Result<Editor, Problem> {
    if caller.user_id == id {
        return Ok(Editor::Oneself(current(password, caller)?));
    }
    caller.require_self_or(id, "users:write")?;
    Ok(Editor::Another(caller.by(request)))
}

async fn show(request: &HttpRequest, users: &Users, id: &str) -> Result<HttpResponse, Problem> {
    let user: Versioned<User> = users.shown(id).await?.ok_or_else(Problem::not_found)?;
    Ok(etag::versioned(request, etag::tag_of_user(id, user.version), &UserView::of(user)))
}

async fn edit(
    caller: &Caller,
    id: &str,
    based_on: &IfMatch,
    body: ProfileInput,
    users: &Users,
    request: &HttpRequest,
) -> Result<HttpResponse, Problem> {
    let (edit, password) = body.parse()?;
    let by = by(caller, id, password, request)?;
    let user = users.edit(id, &by, &edit, based_on.0).await?;
    Ok(etag::changed(etag::tag_of_user(id, user.version), &UserView::of(user)))
}

/// Me.
#[utoipa::path(tag = "users", responses((status = 200, body = UserView)), security(("bearer" = [])))]
#[get("/users/me")]
async fn get_me(
    caller: Caller,
    users: web::Data<Users>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    show(&request, &users, &caller.user_id).await
}

/// Changes me: what is named, and nothing else.
#[utoipa::path(
    tag = "users",
    request_body = ProfileInput,
    responses(
        (status = 200, body = UserView),
        (status = 403, description = "`disabled` takes the permission users:write"),
        (status = 409, description = "The address or the username is taken (`email_taken`, `username_taken`)"),
        (status = 412, description = "I have changed meanwhile"),
    ),
    security(("bearer" = [])),
)]
#[put("/users/me")]
async fn put_me(
    caller: Caller,
    based_on: IfMatch,
    body: ValidJson<ProfileInput>,
    users: web::Data<Users>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    edit(&caller, &caller.user_id, &based_on, body.0, &users, &request).await
}

/// Changes me: what is named, and nothing else.
#[utoipa::path(
    tag = "users",
    request_body = ProfileInput,
    responses(
        (status = 200, body = UserView),
        (status = 403, description = "`disabled` takes the permission users:write"),
        (status = 409, description = "The address or the username is taken (`email_taken`, `username_taken`)"),
        (status = 412, description = "I have changed meanwhile"),
    ),
    security(("bearer" = [])),
)]
#[patch("/users/me")]
async fn patch_me(
    caller: Caller,
    based_on: IfMatch,
    body: ValidJson<ProfileInput>,
    users: web::Data<Users>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    edit(&caller, &caller.user_id, &based_on, body.0, &users, &request).await
}

/// Someone who is to go.
#[derive(Default, Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Farewell {
    /// Needed to delete oneself.
    #[garde(skip)]
    #[schema(value_type = Option<String>, format = Password)]
    current_password: Option<SecretString>,
}

async fn remove(
    caller: &Caller,
    id: &str,
    based_on: &IfMatch,
    body: Option<Farewell>,
    users: &Users,
    request: &HttpRequest,
) -> Result<HttpResponse, Problem> {
    let by = by(caller, id, body.unwrap_or_default().current_password, request)?;
    users.delete(id, &by, based_on.0).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Deletes me. All sessions end at once; what I had is removed soon after; orders keep what the law
/// asks for, without my name and address.
#[utoipa::path(
    tag = "users",
    request_body = Farewell,
    responses((status = 204), (status = 409, description = "I am the last admin (`last_admin`)")),
    security(("bearer" = [])),
)]
#[delete("/users/me")]
async fn delete_me(
    caller: Caller,
    based_on: IfMatch,
    body: OptionalJson<Farewell>,
    users: web::Data<Users>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    remove(&caller, &caller.user_id, &based_on, body.0, &users, &request).await
}

/// One user: oneself, or any with `users:read`.
#[utoipa::path(
    tag = "users",
    params(("id" = String, Path)),
    responses((status = 200, body = UserView)),
    security(("bearer" = [])),
)]
#[get("/users/{id}")]
async fn get_user(
    caller: Caller,
    id: InPath<PathId>,
    users: web::Data<Users>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let id = id.0.0;
    caller.require_self_or(&id, "users:read")?;
    show(&request, &users, &id).await
}

/// Changes a user: oneself, or any who may do no more than oneself with `users:write`.
#[utoipa::path(
    tag = "users",
    params(("id" = String, Path)),
    request_body = ProfileInput,
    responses(
        (status = 200, body = UserView),
        (status = 403, description = "users:write, or what the user may do, is missing"),
        (status = 409, description = "`email_taken`, `username_taken`, `last_admin`"),
        (status = 412, description = "The user has changed meanwhile"),
    ),
    security(("bearer" = [])),
)]
#[put("/users/{id}")]
async fn put_user(
    caller: Caller,
    id: InPath<PathId>,
    based_on: IfMatch,
    body: ValidJson<ProfileInput>,
    users: web::Data<Users>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    edit(&caller, &id.0.0, &based_on, body.0, &users, &request).await
}

/// Changes a user: oneself, or any who may do no more than oneself with `users:write`.
#[utoipa::path(
    tag = "users",
    params(("id" = String, Path)),
    request_body = ProfileInput,
    responses(
        (status = 200, body = UserView),
        (status = 403, description = "users:write, or what the user may do, is missing"),
        (status = 409, description = "`email_taken`, `username_taken`, `last_admin`"),
        (status = 412, description = "The user has changed meanwhile"),
    ),
    security(("bearer" = [])),
)]
#[patch("/users/{id}")]
async fn patch_user(
    caller: Caller,
    id: InPath<PathId>,
    based_on: IfMatch,
    body: ValidJson<ProfileInput>,
    users: web::Data<Users>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    edit(&caller, &id.0.0, &based_on, body.0, &users, &request).await
}

/// Deletes a user: oneself with the current password, or any who may do no more than oneself with
/// `users:write`.
#[utoipa::path(
    tag = "users",
    params(("id" = String, Path)),
    request_body(content = Option<Farewell>),
    responses(
        (status = 204),
        (status = 403, description = "users:write, or what the user may do, is missing"),
        (status = 409, description = "This is the last admin (`last_admin`)"),
    ),
    security(("bearer" = [])),
)]
#[delete("/users/{id}")]
async fn delete_user(
    caller: Caller,
    id: InPath<PathId>,
    based_on: IfMatch,
    body: OptionalJson<Farewell>,
    users: web::Data<Users>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    remove(&caller, &id.0.0, &based_on, body.0, &users, &request).await
}
