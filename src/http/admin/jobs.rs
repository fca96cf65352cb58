//! Jobs and dead letters.

use std::fmt;

use actix_web::{HttpRequest, HttpResponse, delete, get, post, web};
use garde::Validate;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use steward_actors::outbox::{Job, JobStatus, Jobs};
use utoipa::{IntoParams, ToSchema};
use utoipa_actix_web::service_config::ServiceConfig;

use crate::http::caller::Caller;
use crate::http::page::{Binding, CursorText, Limit, Listed, paged};
use crate::http::problem::Problem;
use crate::http::query::{InPath, ValidQuery};
use crate::http::values::Time;

pub(super) fn configure(config: &mut ServiceConfig) {
    config.service(list_jobs).service(retry_job).service(get_job).service(drop_job);
}

/// A job's id in a path: 1 to 200 of `A-Z a-z 0-9 . _ -`.
struct JobId(String);

impl<'de> Deserialize<'de> for JobId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let id = String::deserialize(deserializer)?;
        let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        if (1..=200).contains(&id.len()) && id.bytes().all(legal) {
            Ok(Self(id))
        } else {
            Err(serde::de::Error::custom("no id"))
        }
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where a job stands.
#[derive(Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Standing {
    /// Waits for its time.
    Due,
    /// A replica is at it.
    Running,
    /// It failed for good, or too often: a dead letter.
    Dead,
}

impl From<Standing> for JobStatus {
    fn from(standing: Standing) -> Self {
        match standing {
            Standing::Due => Self::Due,
            Standing::Running => Self::Running,
            Standing::Dead => Self::Dead,
        }
    }
}

impl From<JobStatus> for Standing {
    fn from(status: JobStatus) -> Self {
        match status {
            JobStatus::Due => Self::Due,
            JobStatus::Running => Self::Running,
            JobStatus::Dead => Self::Dead,
        }
    }
}

/// What narrows the list.
#[derive(Deserialize, Validate, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Filter {
    /// With a status the one due first comes first, otherwise by id.
    #[garde(skip)]
    #[param(inline)]
    status: Option<Standing>,
    #[serde(default)]
    #[garde(skip)]
    #[param(inline)]
    limit: Limit,
    #[garde(skip)]
    #[param(inline)]
    cursor: Option<CursorText>,
}

/// Something that must still be done outside.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct JobView {
    id: String,
    kind: String,
    #[schema(inline)]
    status: Standing,
    /// When it is due; of a running job, when its lease lapses; of a dead letter, since when.
    due_at: Time,
    /// How often it was begun.
    attempts: u32,
    /// Why it was not done last time.
    #[schema(required = true)]
    last_error: Option<String>,
    /// The incarnation that is at it.
    #[schema(required = true)]
    owner: Option<String>,
    created_at: Time,
    /// What it is about; what could be a secret is hidden.
    #[schema(value_type = Object)]
    payload: Map<String, Value>,
}

impl JobView {
    fn of(job: &Job, jobs: &Jobs) -> Self {
        Self {
            id: job.id().to_owned(),
            kind: job.kind().to_owned(),
            status: job.status().into(),
            due_at: job.due_at().into(),
            attempts: job.attempts(),
            last_error: job.last_error().map(str::to_owned),
            owner: job.owner().map(str::to_owned),
            created_at: job.created_at().into(),
            payload: jobs.shown(job),
        }
    }
}

/// Jobs that are not done.
#[utoipa::path(
    tag = "operations",
    params(Filter),
    responses((status = 200, body = Listed<JobView>)),
    security(("bearer" = ["admin:read"])),
)]
#[get("/admin/jobs")]
async fn list_jobs(
    request: HttpRequest,
    filter: ValidQuery<Filter>,
    jobs: web::Data<Jobs>,
) -> Result<HttpResponse, Problem> {
    let filter = filter.0;
    let binding = Binding::new("admin/jobs", &filter.status);
    let query = Jobs::query(filter.status.map(Into::into));
    let query = paged(query, filter.limit, filter.cursor.as_deref(), &binding)?;
    let (found, next) = jobs.find(query).await?;
    let items = found.iter().map(|job| JobView::of(&job.value, &jobs)).collect();
    Ok(Listed::new(items, next.as_ref(), &binding).respond(&request))
}

/// A job.
#[utoipa::path(
    tag = "operations",
    params(("id" = String, Path)),
    responses((status = 200, body = JobView)),
    security(("bearer" = ["admin:read"])),
)]
#[get("/admin/jobs/{id}")]
async fn get_job(id: InPath<JobId>, jobs: web::Data<Jobs>) -> Result<web::Json<JobView>, Problem> {
    let job = jobs.get(&id.0.0).await?.ok_or_else(Problem::not_found)?;
    Ok(web::Json(JobView::of(&job.value, &jobs)))
}

/// Makes a dead letter due now, with all its attempts.
#[utoipa::path(
    tag = "operations",
    params(("id" = String, Path)),
    responses((status = 200, body = JobView)),
    security(("bearer" = ["admin:write"])),
)]
#[post("/admin/jobs/{id}/retry")]
async fn retry_job(
    request: HttpRequest,
    caller: Caller,
    id: InPath<JobId>,
    jobs: web::Data<Jobs>,
) -> Result<web::Json<JobView>, Problem> {
    let job = jobs.retry(&id.0.0, &caller.by(&request)).await?;
    Ok(web::Json(JobView::of(&job.value, &jobs)))
}

/// Drops a dead letter: its effect never happens.
#[utoipa::path(
    tag = "operations",
    params(("id" = String, Path)),
    responses((status = 204)),
    security(("bearer" = ["admin:write"])),
)]
#[delete("/admin/jobs/{id}")]
async fn drop_job(
    request: HttpRequest,
    caller: Caller,
    id: InPath<JobId>,
    jobs: web::Data<Jobs>,
) -> Result<HttpResponse, Problem> {
    jobs.discard(&id.0.0, &caller.by(&request)).await?;
    Ok(HttpResponse::NoContent().finish())
}
