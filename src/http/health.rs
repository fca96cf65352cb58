//! Whether the process lives (`/healthz`), and whether it should get requests (`/readyz`,
//! `/health`).

use std::rc::Rc;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder, get};
use async_trait::async_trait;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;

use super::NO_STORE;

/// One role or dependency of this replica.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Part {
    /// What it is called, such as `store` or `orders`.
    pub name: String,
    /// Whether it does its work.
    pub ok: bool,
    /// What is wrong or worth knowing. Operators read it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// How this replica is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Condition {
    /// What this replica does: `api`, `orders`, …
    pub roles: Vec<Part>,
    /// What it needs for that: `store`, `clock`, …
    pub dependencies: Vec<Part>,
}

impl Condition {
    /// Whether all of it is well.
    pub fn is_ok(&self) -> bool {
        self.roles.iter().chain(&self.dependencies).all(|part| part.ok)
    }
}

/// Tells how this replica is. Asked often, so an answer comes from what is known already or within
/// a short deadline.
#[async_trait(?Send)]
pub trait Readiness {
    /// Part by part.
    async fn condition(&self) -> Condition;
}

/// What the composition root puts into each worker's `app_data`.
#[derive(Clone)]
pub struct Health {
    /// Who knows.
    pub readiness: Rc<dyn Readiness>,
    /// Whether answers go part by part, or say no more than whether all is well.
    pub in_detail: bool,
}

/// How this replica is, as far as it is told.
#[derive(Serialize, ToSchema)]
struct HealthReport {
    /// `ok` or `unavailable`.
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    roles: Option<Vec<Part>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dependencies: Option<Vec<Part>>,
}

pub(super) fn configure(config: &mut ServiceConfig) {
    config.service(healthz).service(readyz).service(health_of_replica);
}

/// Whether the process lives. Says nothing about what it depends on.
#[utoipa::path(tag = "operations", responses((status = 200, body = HealthReport)))]
#[get("/healthz")]
async fn healthz() -> HttpResponse {
    report(StatusCode::OK, HealthReport { status: "ok", roles: None, dependencies: None })
}

/// Whether this replica should get requests.
#[utoipa::path(tag = "operations", responses(
    (status = 200, description = "It should", body = HealthReport),
    (status = 503, description = "It should not, for now", body = HealthReport),
))]
#[get("/readyz")]
async fn readyz(request: HttpRequest) -> HttpResponse {
    ready(request.app_data::<Health>()).await
}

/// The same as `/readyz`.
#[utoipa::path(tag = "operations", operation_id = "health", responses(
    (status = 200, description = "It should", body = HealthReport),
    (status = 503, description = "It should not, for now", body = HealthReport),
))]
#[get("/health")]
async fn health_of_replica(request: HttpRequest) -> HttpResponse {
    ready(request.app_data::<Health>()).await
}

async fn ready(health: Option<&Health>) -> HttpResponse {
    let (condition, in_detail) = match health {
        Some(health) => (health.readiness.condition().await, health.in_detail),
        None => (Condition::default(), false),
    };
    let (code, status) = match condition.is_ok() {
        true => (StatusCode::OK, "ok"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
    };
    let told = |parts: Vec<Part>| in_detail.then_some(parts);
    report(
        code,
        HealthReport { status, roles: told(condition.roles), dependencies: told(condition.dependencies) },
    )
}

fn report(code: StatusCode, report: HealthReport) -> HttpResponse {
    let mut response = HttpResponseBuilder::new(code);
    response.insert_header(NO_STORE);
    if code == StatusCode::SERVICE_UNAVAILABLE {
        response.insert_header((actix_web::http::header::RETRY_AFTER, "1"));
    }
    response.json(report)
}
