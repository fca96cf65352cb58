//! Passwords and addresses: changed by those who know the old password, or by tokens sent by mail.

use actix_web::{HttpResponse, post, put, web};
use garde::Validate;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use steward_actors::session::Sessions;
use steward_actors::users::{Email, Password, Users};
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;

use super::caller::Caller;
use super::json::ValidJson;
use super::problem::Problem;

pub(super) fn configure(config: &mut ServiceConfig) {
    config
        .service(put_password)
        .service(ask_reset)
        .service(confirm_reset)
        .service(ask_verification)
        .service(confirm_verification);
}

/// A new password, and the one that it takes the place of.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PasswordInput {
    #[garde(skip)]
    #[schema(value_type = String, format = Password)]
    current_password: SecretString,
    #[garde(skip)]
    #[schema(value_type = String, min_length = 8, max_length = 128, format = Password)]
    new_password: SecretString,
}

fn new_password(text: SecretString) -> Result<Password, Problem> {
    Password::parse(text).map_err(|wrong| Problem::invalid_field("/newPassword", wrong.code, wrong.message))
}

/// Changes my password. All my other sessions end.
#[utoipa::path(
    tag = "users",
    request_body = PasswordInput,
    responses((status = 204)),
    security(("bearer" = [])),
)]
#[put("/users/me/password")]
async fn put_password(
    caller: Caller,
    body: ValidJson<PasswordInput>,
    sessions: web::Data<Sessions>,
) -> Result<HttpResponse, Problem> {
    let new = new_password(body.0.new_password)?;
    // One that can't be anyone's is a wrong one.
    let wrong =
        |_| Problem::invalid_field("/currentPassword", "wrong_password", "is not the current password");
    let current = Password::parse(body.0.current_password).map_err(wrong)?;
    sessions.change_password(&caller.user_id, &caller.session_id, current, &new).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// An address whose password was forgotten.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ResetInput {
    #[garde(skip)]
    #[schema(max_length = 254, format = Email)]
    email: String,
}

/// Sends a token to reset the password, if anyone has this address; five an hour at most. The answer
/// is always the same.
#[utoipa::path(tag = "users", request_body = ResetInput, responses((status = 202)))]
#[post("/password-resets")]
async fn ask_reset(body: ValidJson<ResetInput>, users: web::Data<Users>) -> Result<HttpResponse, Problem> {
    let email = Email::parse(&body.0.email);
    let email = email.map_err(|wrong| Problem::invalid_field("/email", wrong.code, wrong.message))?;
    users.ask_reset(&email).await?;
    Ok(HttpResponse::Accepted().finish())
}

/// A token from a mail, and the password that it is to set.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ResetConfirmation {
    #[garde(custom(is_token))]
    #[schema(value_type = String, max_length = 256)]
    token: SecretString,
    #[garde(skip)]
    #[schema(value_type = String, min_length = 8, max_length = 128, format = Password)]
    new_password: SecretString,
}

fn is_token(token: &SecretString, _: &()) -> garde::Result {
    match token.expose_secret().len() {
        0..=256 => Ok(()),
        _ => Err(garde::Error::new("is too long for a token")),
    }
}

/// Sets the password of whoever was sent the token. All sessions end; nobody is logged in.
#[utoipa::path(tag = "users", request_body = ResetConfirmation, responses((status = 204)))]
#[post("/password-resets/confirm")]
async fn confirm_reset(
    body: ValidJson<ResetConfirmation>,
    users: web::Data<Users>,
) -> Result<HttpResponse, Problem> {
    let new = new_password(body.0.new_password)?;
    users.reset_password(body.0.token.expose_secret(), &new).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Sends a token to verify my address, or the one that is pending; none if there is nothing to
/// verify, and five an hour at most.
#[utoipa::path(tag = "users", responses((status = 202)), security(("bearer" = [])))]
#[post("/email-verifications")]
async fn ask_verification(caller: Caller, users: web::Data<Users>) -> Result<HttpResponse, Problem> {
    users.ask_verification(&caller.user_id).await?;
    Ok(HttpResponse::Accepted().finish())
}

/// A token from a mail.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct VerificationInput {
    #[garde(custom(is_token))]
    #[schema(value_type = String, max_length = 256)]
    token: SecretString,
}

/// Counts the address that the token was sent to as verified.
#[utoipa::path(
    tag = "users",
    request_body = VerificationInput,
    responses((status = 204), (status = 409, description = "Another has the address by now (`email_taken`)")),
)]
#[post("/email-verifications/confirm")]
async fn confirm_verification(
    body: ValidJson<VerificationInput>,
    users: web::Data<Users>,
) -> Result<HttpResponse, Problem> {
    users.verify_email(body.0.token.expose_secret()).await?;
    Ok(HttpResponse::NoContent().finish())
}
