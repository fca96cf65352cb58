//! The audit log.

use actix_web::{HttpRequest, HttpResponse, get, web};
use garde::Validate;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use steward_actors::audit::{AuditEntry, AuditFilter, AuditLog};
use steward_actors::store::Entity;
use utoipa::{IntoParams, ToSchema};
use utoipa_actix_web::service_config::ServiceConfig;

use crate::http::page::{Binding, CursorText, Limit, Listed, paged};
use crate::http::problem::{FieldError, Problem};
use crate::http::query::ValidQuery;
use crate::http::values::Time;

pub(super) fn configure(config: &mut ServiceConfig) {
    config.service(list_audit);
}

/// What narrows the list: one of the three at most.
#[derive(Deserialize, Validate, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Filter {
    /// Who: a user's id, `command-line` or `system`.
    #[garde(length(chars, min = 1, max = 200))]
    #[param(min_length = 1, max_length = 200)]
    actor: Option<String>,
    /// What was done, such as `job.retry`.
    #[garde(length(chars, min = 1, max = 200))]
    #[param(min_length = 1, max_length = 200)]
    act: Option<String>,
    /// What it was done to, such as `job/order_confirmation.1` or `user/u1`.
    #[garde(length(chars, min = 1, max = 200))]
    #[param(min_length = 1, max_length = 200)]
    target: Option<String>,
    #[serde(default)]
    #[garde(skip)]
    #[param(inline)]
    limit: Limit,
    #[garde(skip)]
    #[param(inline)]
    cursor: Option<CursorText>,
}

impl Filter {
    fn chosen(&self) -> Result<AuditFilter, Problem> {
        let second = |field: &str| {
            FieldError::new(field, "too_many_filters", "is given together with another of actor, act, target")
        };
        match (self.actor.clone(), self.act.clone(), self.target.clone()) {
            (None, None, None) => Ok(AuditFilter::All),
            (Some(actor), None, None) => Ok(AuditFilter::Actor(actor)),
            (None, Some(act), None) => Ok(AuditFilter::Act(act)),
            (None, None, Some(target)) => Ok(AuditFilter::Target(target)),
            (_, Some(_), None) => Err(Problem::invalid(vec![second("act")])),
            (_, _, Some(_)) => Err(Problem::invalid(vec![second("target")])),
        }
    }
}

/// Something that was done.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct AuditView {
    id: String,
    at: Time,
    /// A user's id, `command-line` or `system`.
    actor: String,
    act: String,
    target: String,
    /// The address or host it came from.
    #[schema(required = true)]
    from: Option<String>,
    #[schema(required = true)]
    request_id: Option<String>,
    /// Single values that are worth knowing; never a secret.
    #[schema(value_type = Object)]
    details: Map<String, Value>,
}

impl AuditView {
    fn of(entry: &AuditEntry) -> Self {
        Self {
            id: entry.id().to_owned(),
            at: entry.at().into(),
            actor: entry.actor().to_owned(),
            act: entry.act().to_owned(),
            target: entry.target().to_owned(),
            from: entry.from().map(str::to_owned),
            request_id: entry.request_id().map(str::to_owned),
            details: entry.details().clone(),
        }
    }
}

/// The audit log, newest first.
#[utoipa::path(
    tag = "operations",
    params(Filter),
    responses((status = 200, body = Listed<AuditView>)),
    security(("bearer" = ["admin:read"])),
)]
#[get("/admin/audit")]
async fn list_audit(
    request: HttpRequest,
    filter: ValidQuery<Filter>,
    log: web::Data<AuditLog>,
) -> Result<HttpResponse, Problem> {
    let filter = filter.0;
    let binding = Binding::new("admin/audit", &(&filter.actor, &filter.act, &filter.target));
    let query = AuditLog::query(&filter.chosen()?);
    let query = paged(query, filter.limit, filter.cursor.as_deref(), &binding)?;
    let (entries, next) = log.find(query).await?;
    let items = entries.iter().map(|entry| AuditView::of(&entry.value)).collect();
    Ok(Listed::new(items, next.as_ref(), &binding).respond(&request))
}
