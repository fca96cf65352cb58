//! The public halves of the keys that sign access tokens, for whoever verifies them.

use std::sync::Arc;

use actix_web::http::header::CACHE_CONTROL;
use actix_web::{HttpResponse, get, web};
use serde::Serialize;
use steward_actors::cluster::Clock;
use steward_actors::keys::{AccessTokens, PublicKey};
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;

/// How long a copy is good: far shorter than a new key is published before it signs.
const FRESH: (actix_web::http::header::HeaderName, &str) =
    (CACHE_CONTROL, "public, max-age=300, stale-if-error=86400");

pub(super) fn configure(config: &mut ServiceConfig) {
    config.service(jwks);
}

/// What the composition root puts into each worker's `app_data`.
#[derive(Clone)]
pub struct PublishedKeys {
    /// What has the keys.
    pub tokens: Arc<dyn AccessTokens>,
    /// The present.
    pub clock: Arc<dyn Clock>,
}

/// A key set ([RFC 7517](https://www.rfc-editor.org/rfc/rfc7517#section-5)).
#[derive(Serialize, ToSchema)]
struct KeySet {
    keys: Vec<KeyView>,
}

/// A public key on P-256 ([RFC 7518](https://www.rfc-editor.org/rfc/rfc7518#section-6.2.1)).
#[derive(Serialize, ToSchema)]
struct KeyView {
    kty: &'static str,
    crv: &'static str,
    alg: &'static str,
    #[serde(rename = "use")]
    used_for: &'static str,
    kid: String,
    x: String,
    y: String,
}

impl From<PublicKey> for KeyView {
    fn from(PublicKey { kid, x, y }: PublicKey) -> Self {
        Self { kty: "EC", crv: "P-256", alg: "ES256", used_for: "sig", kid, x, y }
    }
}

/// The keys that access tokens are verified with.
#[utoipa::path(tag = "sessions", responses((status = 200, body = KeySet)))]
#[get("/.well-known/jwks.json")]
async fn jwks(published: web::Data<PublishedKeys>) -> HttpResponse {
    let keys = published.tokens.published(published.clock.now());
    HttpResponse::Ok()
        .insert_header(FRESH)
        .json(KeySet { keys: keys.into_iter().map(KeyView::from).collect() })
}
