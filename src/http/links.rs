//! The pages that links in mails lead to. They hold nothing: the token stays in the address, and
//! the script sends it to the API.

use actix_web::http::header;
use actix_web::{HttpResponse, get};
use utoipa_actix_web::service_config::ServiceConfig;

use super::NO_STORE;

pub(super) fn configure(config: &mut ServiceConfig) {
    config.service(reset_password).service(verify_email).service(script);
}

const RESET: &str = r#"<!DOCTYPE html>
<html lang="en">
<meta charset="UTF-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Choose a password</title>
<h1>Choose a password</h1>
<form data-to="/v1/password-resets/confirm">
  <label>New password <input name="newPassword" type="password" autocomplete="new-password" minlength="8" maxlength="128" required></label>
  <button>Set it</button>
</form>
<p role="status"></p>
<script src="/mail-links.js"></script>
</html>
"#;

const VERIFY: &str = r#"<!DOCTYPE html>
<html lang="en">
<meta charset="UTF-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Verify your address</title>
<h1>Verify your address</h1>
<form data-to="/v1/email-verifications/confirm"><button>This address is mine</button></form>
<p role="status"></p>
<script src="/mail-links.js"></script>
</html>
"#;

/// A click, not the page's being opened, uses the token up: programs that look at mails open links.
const SCRIPT: &str = r#"const form = document.querySelector("form");
const says = document.querySelector("[role=status]");
form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const token = new URLSearchParams(location.search).get("token") ?? "";
  const body = JSON.stringify({ token, ...Object.fromEntries(new FormData(form)) });
  const headers = { "Content-Type": "application/json" };
  const answer = await fetch(form.dataset.to, { method: "POST", headers, body }).catch(() => null);
  if (answer?.ok) {
    form.remove();
    says.textContent = "Done. You can close this page.";
    return;
  }
  const problem = await answer?.json().catch(() => null);
  const wrong = problem?.errors?.[0];
  says.textContent = wrong ? `This ${wrong.field.slice(1)} ${wrong.message}` : problem?.title ?? "Try again later.";
});
"#;

const POLICY: &str = "default-src 'none'; script-src 'self'; connect-src 'self'; frame-ancestors 'none'; \
                      base-uri 'none'; form-action 'none'";

fn page(html: &'static str) -> HttpResponse {
    HttpResponse::Ok()
        .content_type("text/html; charset=utf-8")
        .insert_header((header::CONTENT_SECURITY_POLICY, POLICY))
        .insert_header(NO_STORE)
        .body(html)
}

/// Where the link in a mail about a forgotten password leads.
#[utoipa::path(tag = "users", responses(
    (status = 200, description = "A page", content_type = "text/html", body = String),
))]
#[get("/reset-password")]
async fn reset_password() -> HttpResponse {
    page(RESET)
}

/// Where the link in a mail about an address leads.
#[utoipa::path(tag = "users", responses(
    (status = 200, description = "A page", content_type = "text/html", body = String),
))]
#[get("/verify-email")]
async fn verify_email() -> HttpResponse {
    page(VERIFY)
}

/// What these pages do.
#[utoipa::path(tag = "users", operation_id = "mailLinks", responses(
    (status = 200, description = "The script", content_type = "text/javascript", body = String),
))]
#[get("/mail-links.js")]
async fn script() -> HttpResponse {
    HttpResponse::Ok().content_type("text/javascript; charset=utf-8").body(SCRIPT)
}
