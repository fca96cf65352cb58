//! What providers tell us unasked. Their signature is their only credential.

use std::sync::Arc;

use actix_web::{FromRequest, HttpRequest, HttpResponse, post, web};
use secrecy::SecretString;
use steward_actors::cluster::Clock;
use steward_actors::order_saga::Orders;
use utoipa_actix_web::service_config::ServiceConfig;

use super::json;
use super::problem::Problem;
use crate::providers::stripe_webhook;

/// Bytes of a webhook that are read.
const LIMIT: usize = 256 * 1024;

/// What the composition root puts into `app_data`: the secret that Stripe signs with, and the
/// present.
pub struct StripeWebhooks {
    /// Without one no webhook is genuine.
    pub secret: Option<SecretString>,
    /// The store's clock.
    pub clock: Arc<dyn Clock>,
}

pub(super) fn configure(config: &mut ServiceConfig) {
    config.service(stripe_webhook_received);
}

/// The raw body: a signature is over its bytes.
pub(super) struct Raw(pub(super) web::BytesMut);

impl FromRequest for Raw {
    type Error = Problem;
    type Future = futures_util::future::LocalBoxFuture<'static, Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, payload: &mut actix_web::dev::Payload) -> Self::Future {
        let body = json::read(request, payload, LIMIT);
        let coded = request.headers().contains_key("content-encoding");
        Box::pin(async move {
            if coded {
                return Err(Problem::unsupported_media_type("Compressed bodies are not read."));
            }
            body.await.map(Self)
        })
    }
}

/// A webhook of Stripe's (or the sandbox's). A repeat changes nothing and is answered the same.
#[utoipa::path(
    tag = "orders",
    params(("Stripe-Signature" = String, Header, description = "`t=<seconds>,v1=<hex>`")),
    request_body(content = serde_json::Value, description = "An event object of Stripe's API"),
    responses(
        (status = 200, description = "It need not be sent again"),
        (status = 401, description = "It is not signed by the provider, or was signed over five minutes ago"),
    ),
)]
#[post("/webhooks/stripe")]
async fn stripe_webhook_received(
    request: HttpRequest,
    body: Raw,
    webhooks: web::Data<StripeWebhooks>,
    orders: web::Data<Orders>,
) -> Result<HttpResponse, Problem> {
    let header = request.headers().get("stripe-signature").and_then(|value| value.to_str().ok());
    let now = webhooks.clock.now();
    let genuine = match &webhooks.secret {
        Some(secret) => stripe_webhook::check(secret, header.unwrap_or_default(), &body.0, now),
        None => Err(stripe_webhook::NotGenuine::Unsigned),
    };
    if let Err(why) = genuine {
        return Err(Problem::unauthorized().because(why));
    }
    if let Some(notice) = stripe_webhook::read(&body.0) {
        let heeded = orders.notice(&notice).await?;
        tracing::debug!(order = notice.order_id, claim = ?notice.claim, ?heeded, "a webhook");
    }
    Ok(HttpResponse::Ok().finish())
}
