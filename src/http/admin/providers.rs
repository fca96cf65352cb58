//! The providers outside: how their breakers stand here, and those that an operator holds back
//! everywhere.

use actix_web::{HttpRequest, HttpResponse, get, post, web};
use serde::Serialize;
use steward_actors::pauses::{PROVIDER, Pause, Pauses};
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;

use super::actors::{Name, PauseInput};
use crate::http::caller::Caller;
use crate::http::json::ValidJson;
use crate::http::problem::Problem;
use crate::http::query::InPath;
use crate::http::values::Time;

pub(super) fn configure(config: &mut ServiceConfig) {
    config.service(list_providers).service(pause_provider).service(resume_provider);
}

/// A provider that this replica calls.
#[derive(Serialize, ToSchema)]
struct ProviderView {
    name: String,
    /// `closed` (calls go out), `open` (it did not answer several times), `half_open` (a few calls
    /// go out to see) or `held` (by an operator).
    state: &'static str,
    /// Who holds it back.
    #[schema(required = true)]
    by: Option<String>,
    #[schema(required = true)]
    since: Option<Time>,
    #[schema(required = true)]
    reason: Option<String>,
}

impl ProviderView {
    fn of(name: &str, state: &'static str, pause: Option<Pause>) -> Self {
        let (by, since, reason) = match pause {
            Some(pause) => (Some(pause.by), Some(pause.since.into()), pause.reason),
            None => (None, None, None),
        };
        Self { name: name.to_owned(), state, by, since, reason }
    }
}

/// The providers.
#[derive(Serialize, ToSchema)]
struct ProviderViews {
    items: Vec<ProviderView>,
}

/// The providers that the replica which answers calls.
#[utoipa::path(
    tag = "operations",
    responses((status = 200, body = ProviderViews)),
    security(("bearer" = ["admin:read"])),
)]
#[get("/admin/providers")]
async fn list_providers(pauses: web::Data<Pauses>) -> Result<web::Json<ProviderViews>, Problem> {
    let paused = pauses.all().await?;
    let pause = |name: &str| paused.iter().find(|p| p.kind == PROVIDER && p.key == name).cloned();
    let view = |provider: &steward_actors::providers::Breaker| {
        ProviderView::of(provider.name(), provider.state().name(), pause(provider.name()))
    };
    Ok(web::Json(ProviderViews { items: pauses.providers().iter().map(view).collect() }))
}

fn known(pauses: &Pauses, name: &Name) -> Result<(), Problem> {
    let known = pauses.providers().iter().any(|provider| provider.name() == name.0);
    if known { Ok(()) } else { Err(Problem::not_found()) }
}

/// Lets no call out to a provider, on every replica, within a second: orders wait, runs say
/// `provider_down`, mails stay jobs.
#[utoipa::path(
    tag = "operations",
    params(("name" = String, Path)),
    request_body = PauseInput,
    responses((status = 200, body = ProviderView)),
    security(("bearer" = ["admin:write"])),
)]
#[post("/admin/providers/{name}/pause")]
async fn pause_provider(
    request: HttpRequest,
    caller: Caller,
    name: InPath<Name>,
    body: ValidJson<PauseInput>,
    pauses: web::Data<Pauses>,
) -> Result<web::Json<ProviderView>, Problem> {
    let name = name.0;
    known(&pauses, &name)?;
    let by = caller.by(&request);
    let pause = pauses.pause(PROVIDER, &name.0, body.0.reason.as_deref(), &by).await?;
    Ok(web::Json(ProviderView::of(&name.0, "held", Some(pause))))
}

/// Lets calls out to a provider again.
#[utoipa::path(
    tag = "operations",
    params(("name" = String, Path)),
    responses((status = 204), (status = 409, description = "It is not held back")),
    security(("bearer" = ["admin:write"])),
)]
#[post("/admin/providers/{name}/resume")]
async fn resume_provider(
    request: HttpRequest,
    caller: Caller,
    name: InPath<Name>,
    pauses: web::Data<Pauses>,
) -> Result<HttpResponse, Problem> {
    let name = name.0;
    known(&pauses, &name)?;
    pauses.resume(PROVIDER, &name.0, &caller.by(&request)).await?;
    Ok(HttpResponse::NoContent().finish())
}
