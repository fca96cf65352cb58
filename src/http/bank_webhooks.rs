//! What Plaid tells us unasked. A signature is its only credential, and nothing in it is believed but
//! that somebody should look.

use actix_web::{HttpRequest, HttpResponse, post, web};
use steward_actors::account_sync::Connections;
use utoipa_actix_web::service_config::ServiceConfig;

use super::problem::Problem;
use super::webhooks::Raw;
use crate::providers::{PlaidNotGenuine, PlaidWebhooks, read_plaid_webhook};

pub(super) fn configure(config: &mut ServiceConfig) {
    config.service(plaid_webhook_received);
}

/// A webhook of Plaid's (or the sandbox's). A repeat changes nothing and is answered the same.
#[utoipa::path(
    tag = "accounts",
    params(("Plaid-Verification" = String, Header, description = "A JWT with `iat` and `request_body_sha256`")),
    request_body(content = serde_json::Value, description = "A webhook of Plaid's API"),
    responses(
        (status = 200, description = "It need not be sent again"),
        (status = 401, description = "It is not signed by Plaid, or was signed over five minutes ago"),
    ),
)]
#[post("/webhooks/plaid")]
async fn plaid_webhook_received(
    request: HttpRequest,
    body: Raw,
    webhooks: web::Data<Option<std::sync::Arc<PlaidWebhooks>>>,
    connections: web::Data<Connections>,
) -> Result<HttpResponse, Problem> {
    let Some(webhooks) = webhooks.as_ref() else {
        return Err(Problem::unauthorized().because(PlaidNotGenuine::Unsigned));
    };
    let token = request.headers().get("plaid-verification").and_then(|value| value.to_str().ok());
    let name = match webhooks.check(token, &body.0).await {
        Ok(name) => name,
        Err(why @ PlaidNotGenuine::NoKey(_)) => return Err(Problem::unavailable(why)),
        Err(why) => return Err(Problem::unauthorized().because(why)),
    };
    if let Some(notice) = read_plaid_webhook(&body.0) {
        let heeded = connections.noticed("plaid", &notice.item_id, &name).await?;
        tracing::debug!(item_id = notice.item_id, what = notice.what, ?heeded, "a webhook");
    }
    Ok(HttpResponse::Ok().finish())
}
