//! The figures of this process, for Prometheus.

use actix_web::{HttpRequest, HttpResponse, get};
use utoipa_actix_web::service_config::ServiceConfig;

use super::NO_STORE;
use super::problem::Problem;

/// Renders the figures. What the composition root puts into each worker's `app_data`, where they
/// may be told.
#[derive(Clone)]
pub struct Figures(pub fn() -> String);

/// The media type of the
/// [text format](https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format).
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(super) fn configure(config: &mut ServiceConfig) {
    config.service(metrics);
}

/// The figures of this process, in the text format of Prometheus. In production on the operations
/// port only.
#[utoipa::path(
    tag = "operations",
    responses((status = 200, description = "The figures", body = String, content_type = "text/plain")),
)]
#[get("/metrics")]
async fn metrics(request: HttpRequest) -> Result<HttpResponse, Problem> {
    let figures = request.app_data::<Figures>().ok_or_else(Problem::not_found)?;
    Ok(HttpResponse::Ok().insert_header(NO_STORE).content_type(TEXT).body(figures.0()))
}
