//! Connections to institutions, and their runs.

use actix_web::http::header::LOCATION;
use actix_web::{HttpRequest, HttpResponse, delete, get, post, web};
use garde::Validate;
use serde::{Deserialize, Serialize};
use steward_actors::account_sync::{
    Connection, ConnectionStatus, Connections, Disposal, Outcome, Run, RunStatus,
};
use utoipa::{IntoParams, ToSchema};
use utoipa_actix_web::service_config::ServiceConfig;

use super::caller::Caller;
use super::etag;
use super::page::{Binding, Listed, Paging};
use super::problem::Problem;
use super::query::{InPath, PathId, ValidQuery};
use super::values::Time;

pub(super) fn configure(config: &mut ServiceConfig) {
    config
        .service(list_connections)
        .service(get_connection)
        .service(delete_connection)
        .service(request_sync)
        .service(list_runs)
        .service(get_run);
}

/// A link to an institution.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct ConnectionView {
    id: String,
    provider: String,
    #[schema(required = true)]
    institution: Option<String>,
    /// `active`, `needs_reauth` or `revoked`.
    #[schema(value_type = String)]
    status: ConnectionStatus,
    /// How the last run ended: `complete`, `partial`, `rate_limited`, `needs_reauth` or
    /// `provider_down`.
    #[schema(required = true)]
    last_outcome: Option<&'static str>,
    /// Why it is not active, why its last run was not complete, why the present one waits, or which
    /// accounts are never shown.
    #[schema(required = true)]
    reason: Option<String>,
    /// When the last complete run ended.
    #[schema(required = true)]
    last_success_at: Option<Time>,
    /// When the next attempt is planned; null while one is under way, or if none is planned.
    #[schema(required = true)]
    next_attempt_at: Option<Time>,
}

impl ConnectionView {
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn of(connection: Connection) -> Self {
        Self {
            next_attempt_at: connection.next_attempt_at().map(Time::from),
            id: connection.id,
            provider: connection.provider,
            institution: connection.institution,
            status: connection.status,
            last_outcome: connection.last_outcome.map(Outcome::name),
            reason: connection.reason,
            last_success_at: connection.last_success_at.map(Time::from),
        }
    }
}

/// One run of a connection.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct RunView {
    id: String,
    connection_id: String,
    /// `queued`, `running` or `finished`.
    #[schema(value_type = String)]
    status: RunStatus,
    /// `complete`, `partial`, `rate_limited`, `needs_reauth` or `provider_down`; null until it has
    /// ended.
    #[schema(required = true)]
    outcome: Option<&'static str>,
    /// Accounts and transactions that appeared.
    added: u32,
    /// Accounts and transactions that changed.
    modified: u32,
    /// Accounts and transactions that the institution no longer tells of.
    removed: u32,
    #[schema(required = true)]
    started_at: Option<Time>,
    #[schema(required = true)]
    finished_at: Option<Time>,
    /// Why it did not go well, or which accounts are never shown; of a run that is queued, why it waits, if
    /// it was cut off too often, or if the provider does not want to be asked yet.
    #[schema(required = true)]
    reason: Option<String>,
}

impl RunView {
    fn of(run: Run) -> Self {
        Self {
            id: run.id,
            connection_id: run.connection_id,
            status: run.status,
            outcome: run.outcome.map(Outcome::name),
            added: run.added,
            modified: run.modified,
            removed: run.removed,
            started_at: run.started_at.map(Time::from),
            finished_at: run.finished_at.map(Time::from),
            reason: run.reason,
        }
    }
}

/// My connections, oldest first.
#[utoipa::path(
    tag = "accounts",
    params(Paging),
    responses((status = 200, body = Listed<ConnectionView>)),
    security(("bearer" = [])),
)]
#[get("/connections")]
async fn list_connections(
    caller: Caller,
    paging: ValidQuery<Paging>,
    connections: web::Data<Connections>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let paging = paging.0;
    let binding = Binding::new("connections", &caller.user_id);
    let after = binding.after(paging.cursor.as_deref())?;
    let (found, next) = connections.list(&caller.user_id, paging.limit.get(), after).await?;
    let found = found.into_iter().map(|connection| ConnectionView::of(connection.value)).collect();
    Ok(Listed::new(found, next.as_ref(), &binding).respond(&request))
}

/// One of my connections.
#[utoipa::path(
    tag = "accounts",
    params(("id" = String, Path)),
    responses((status = 200, body = ConnectionView)),
    security(("bearer" = [])),
)]
#[get("/connections/{id}")]
async fn get_connection(
    caller: Caller,
    id: InPath<PathId>,
    connections: web::Data<Connections>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let found = connections.get(&caller.user_id, &id.0.0).await?.ok_or_else(Problem::not_found)?;
    Ok(etag::versioned(&request, etag::tag(found.version), &ConnectionView::of(found.value)))
}

/// What becomes of the accounts.
#[derive(Deserialize, Validate, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Parting {
    /// `keep` (they stay, kept by hand) or `delete`.
    #[serde(default)]
    #[garde(skip)]
    #[param(inline)]
    accounts: PartingAccounts,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum PartingAccounts {
    #[default]
    Keep,
    Delete,
}

/// Ends a connection and wipes its credential.
#[utoipa::path(
    tag = "accounts",
    params(("id" = String, Path), Parting),
    responses((status = 204)),
    security(("bearer" = [])),
)]
#[delete("/connections/{id}")]
async fn delete_connection(
    caller: Caller,
    id: InPath<PathId>,
    parting: ValidQuery<Parting>,
    connections: web::Data<Connections>,
) -> Result<HttpResponse, Problem> {
    let disposal = match parting.0.accounts {
        PartingAccounts::Keep => Disposal::KeepAccounts,
        PartingAccounts::Delete => Disposal::DeleteAccounts,
    };
    connections.delete(&caller.user_id, &id.0.0, disposal).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// A run that was queued, or was on its way already.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct SyncAccepted {
    run_id: String,
}

/// Wants a run; joins one that is queued or running.
///
/// It waits if the provider has said that it does not want to be asked yet; `nextAttemptAt` of the connection
/// says until when.
#[utoipa::path(
    tag = "accounts",
    params(("id" = String, Path)),
    responses((status = 202, body = SyncAccepted)),
    security(("bearer" = [])),
)]
#[post("/connections/{id}/sync")]
async fn request_sync(
    caller: Caller,
    id: InPath<PathId>,
    connections: web::Data<Connections>,
) -> Result<HttpResponse, Problem> {
    let run = connections.request_sync(&caller.user_id, &id.0.0).await?;
    Ok(HttpResponse::Accepted()
        .insert_header((LOCATION, format!("/v1/connections/{}/runs/{}", run.connection_id, run.id)))
        .json(SyncAccepted { run_id: run.id }))
}

/// The runs of a connection, newest first.
#[utoipa::path(
    tag = "accounts",
    params(("id" = String, Path), Paging),
    responses((status = 200, body = Listed<RunView>)),
    security(("bearer" = [])),
)]
#[get("/connections/{id}/runs")]
async fn list_runs(
    caller: Caller,
    id: InPath<PathId>,
    paging: ValidQuery<Paging>,
    connections: web::Data<Connections>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let (id, paging) = (id.0.0, paging.0);
    let binding = Binding::new("runs", &(&caller.user_id, &id));
    let after = binding.after(paging.cursor.as_deref())?;
    let runs = connections.runs(&caller.user_id, &id, paging.limit.get(), after).await?;
    let (found, next) = runs.ok_or_else(Problem::not_found)?;
    let found = found.into_iter().map(|run| RunView::of(run.value)).collect();
    Ok(Listed::new(found, next.as_ref(), &binding).respond(&request))
}

/// One run of a connection.
#[utoipa::path(
    tag = "accounts",
    params(("id" = String, Path), ("runId" = String, Path)),
    responses((status = 200, body = RunView)),
    security(("bearer" = [])),
)]
#[get("/connections/{id}/runs/{runId}")]
async fn get_run(
    caller: Caller,
    ids: InPath<(PathId, PathId)>,
    connections: web::Data<Connections>,
) -> Result<web::Json<RunView>, Problem> {
    let (id, run_id) = ids.0;
    let run = connections.run(&caller.user_id, &id.0, &run_id.0).await?;
    Ok(web::Json(RunView::of(run.value)))
}
