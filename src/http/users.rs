//! Users.

use actix_web::http::header::LOCATION;
use actix_web::{HttpRequest, HttpResponse, get, post, put, web};
use garde::Validate;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use steward_actors::session::Sessions;
use steward_actors::store::Versioned;
use steward_actors::users::{
    Age, DisplayName, Email, InvalidValue, NewUser, Password, User, Username, Users,
};
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;

use super::caller::Caller;
use super::json::ValidJson;
use super::problem::{FieldError, Problem};
use super::sessions::{Login, device, opened};
use super::values::is_one_line;

pub(super) fn configure(config: &mut ServiceConfig) {
    config.service(register).service(post_name).service(put_name).service(get_name);
}

/// Someone who registers.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Registration {
    /// Unique, whatever its case.
    #[garde(skip)]
    #[schema(max_length = 254, format = Email)]
    email: String,
    /// The same however its characters are put together: counted and kept in NFC.
    #[garde(skip)]
    #[schema(value_type = String, min_length = 8, max_length = 128, format = Password)]
    password: SecretString,
    /// To log in with besides the address: 3 to 32 of `A-Z a-z 0-9 . _ -`.
    #[garde(skip)]
    username: Option<String>,
    /// The name shown; by default the username, without one the address up to the `@`.
    #[garde(skip)]
    #[schema(min_length = 1, max_length = 100)]
    name: Option<String>,
    /// In years.
    #[garde(skip)]
    #[schema(minimum = 0, maximum = 150)]
    age: Option<i64>,
    /// What the user calls this device.
    #[garde(inner(length(chars, max = 100), custom(is_one_line)))]
    #[schema(max_length = 100)]
    device_name: Option<String>,
}

impl Registration {
    /// The values, or everything that is wrong with them.
    fn parse(self) -> Result<(NewUser, Option<String>), Problem> {
        let mut errors = Vec::new();
        let email = checked(&mut errors, "/email", Email::parse(&self.email));
        let password = checked(&mut errors, "/password", Password::parse(self.password));
        let username =
            self.username.and_then(|text| checked(&mut errors, "/username", Username::parse(&text)));
        let name = self.name.and_then(|text| checked(&mut errors, "/name", DisplayName::parse(&text)));
        let age = self.age.and_then(|years| checked(&mut errors, "/age", Age::parse(years)));
        match (email, password) {
            (Some(email), Some(password)) if errors.is_empty() => {
                Ok((NewUser { email, password, username, name, age }, self.device_name))
            }
            _ => Err(Problem::invalid(errors)),
        }
    }
}

/// The value; or else what is wrong with it joins `errors`.
pub(super) fn checked<T>(
    errors: &mut Vec<FieldError>,
    pointer: &str,
    parsed: Result<T, InvalidValue>,
) -> Option<T> {
    parsed.map_err(|wrong| errors.push(FieldError::new(pointer, wrong.code, wrong.message))).ok()
}

/// Registers a user and opens their first session.
#[utoipa::path(
    tag = "users",
    request_body = Registration,
    responses(
        (status = 201, body = Login),
        (status = 409, description = "The address or the username is taken (`email_taken`, `username_taken`)"),
    ),
)]
#[post("/users/register")]
async fn register(
    body: ValidJson<Registration>,
    sessions: web::Data<Sessions>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let (new, device_name) = body.0.parse()?;
    let registered = sessions.register(new, device(&request, device_name)).await?;
    let mut response = HttpResponse::Created();
    response.insert_header((LOCATION, "/v1/users/me"));
    Ok(opened(response, registered))
}

async fn myself(caller: &Caller, users: &Users) -> Result<Versioned<User>, Problem> {
    users.get(&caller.user_id).await?.ok_or_else(Problem::unauthorized)
}

/// A name.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct NameInput {
    #[garde(skip)]
    #[schema(min_length = 1, max_length = 100)]
    name: String,
}

/// The name shown.
#[derive(Serialize, ToSchema)]
struct NameView {
    name: String,
}

async fn set_name(caller: &Caller, body: NameInput, users: &Users) -> Result<web::Json<NameView>, Problem> {
    let name = DisplayName::parse(&body.name)
        .map_err(|wrong| Problem::invalid_field("/name", wrong.code, wrong.message))?;
    let user = users.set_name(&caller.user_id, &name).await?;
    Ok(web::Json(NameView { name: user.value.name }))
}

/// Sets my name.
#[utoipa::path(
    tag = "users",
    request_body = NameInput,
    responses((status = 200, body = NameView)),
    security(("bearer" = [])),
)]
#[post("/setName")]
async fn post_name(
    caller: Caller,
    body: ValidJson<NameInput>,
    users: web::Data<Users>,
) -> Result<web::Json<NameView>, Problem> {
    set_name(&caller, body.0, &users).await
}

/// Sets my name.
#[utoipa::path(
    tag = "users",
    request_body = NameInput,
    responses((status = 200, body = NameView)),
    security(("bearer" = [])),
)]
#[put("/setName")]
async fn put_name(
    caller: Caller,
    body: ValidJson<NameInput>,
    users: web::Data<Users>,
) -> Result<web::Json<NameView>, Problem> {
    set_name(&caller, body.0, &users).await
}

/// My name.
#[utoipa::path(tag = "users", responses((status = 200, body = NameView)), security(("bearer" = [])))]
#[get("/getName")]
async fn get_name(caller: Caller, users: web::Data<Users>) -> Result<web::Json<NameView>, Problem> {
    let user = myself(&caller, &users).await?;
    Ok(web::Json(NameView { name: user.value.name }))
}
