//! Orders whose sagas are not done: found by state and age, their steps tried again. To compensate
//! one, cancel the order.

use actix_web::{HttpRequest, HttpResponse, get, post, web};
use garde::Validate;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use steward_actors::cluster::{Clock, StoreClock};
use steward_actors::order_saga::{self, Order, OrderStatus, Orders};
use utoipa::{IntoParams, ToSchema};
use utoipa_actix_web::service_config::ServiceConfig;

use crate::http::caller::Caller;
use crate::http::page::{Binding, CursorText, Limit, Listed, paged};
use crate::http::problem::Problem;
use crate::http::query::{InPath, PathId, ValidQuery};
use crate::http::values::Time;

pub(super) fn configure(config: &mut ServiceConfig) {
    config.service(list_sagas).service(retry_saga);
}

/// What narrows the list.
#[derive(Deserialize, Validate, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Filter {
    /// Orders that stand so, oldest first. Absent: those that are stuck, longest first.
    #[garde(skip)]
    #[param(inline)]
    status: Option<LiveStatus>,
    /// Accepted, or stuck, at least so many seconds ago.
    #[garde(range(max = 315_360_000))]
    #[param(maximum = 315_360_000)]
    older_than_seconds: Option<u64>,
    #[serde(default)]
    #[garde(skip)]
    #[param(inline)]
    limit: Limit,
    #[garde(skip)]
    #[param(inline)]
    cursor: Option<CursorText>,
}

/// Where an order that is not settled can stand.
#[derive(Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum LiveStatus {
    Pending,
    StockHeld,
    PaymentAuthorized,
    Refunding,
}

impl From<LiveStatus> for OrderStatus {
    fn from(status: LiveStatus) -> Self {
        match status {
            LiveStatus::Pending => Self::Pending,
            LiveStatus::StockHeld => Self::StockHeld,
            LiveStatus::PaymentAuthorized => Self::PaymentAuthorized,
            LiveStatus::Refunding => Self::Refunding,
        }
    }
}

/// An order as far as its saga is concerned.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct SagaView {
    order_id: String,
    user_id: String,
    status: &'static str,
    /// What it does next; null once it is done.
    #[schema(required = true)]
    step: Option<&'static str>,
    /// Why that has not gone through yet.
    #[schema(required = true)]
    waiting_for: Option<String>,
    /// Since when waiting alone will hardly help.
    #[schema(required = true)]
    stuck_since: Option<Time>,
    /// The incarnation that runs it; empty if none does.
    #[schema(required = true)]
    owner: Option<String>,
    created_at: Time,
    updated_at: Time,
}

impl SagaView {
    fn of(order: &Order) -> Self {
        Self {
            order_id: order.id.clone(),
            user_id: order.user_id.clone(),
            status: order.status.name(),
            step: order.step.map(|step| step.name()),
            waiting_for: order.waiting.as_ref().map(|waiting| waiting.reason.clone()),
            stuck_since: order.stuck_since.map(Time::from),
            owner: order.owner.clone(),
            created_at: order.created_at.into(),
            updated_at: order.updated_at.into(),
        }
    }
}

/// Orders whose sagas are not done, by state and age.
#[utoipa::path(
    tag = "operations",
    params(Filter),
    responses((status = 200, body = Listed<SagaView>)),
    security(("bearer" = ["admin:read"])),
)]
#[get("/admin/sagas")]
async fn list_sagas(
    request: HttpRequest,
    filter: ValidQuery<Filter>,
    orders: web::Data<Orders>,
    clock: web::Data<StoreClock>,
) -> Result<HttpResponse, Problem> {
    let filter = filter.0;
    let binding = Binding::new("admin/sagas", &(&filter.status, &filter.older_than_seconds));
    let before = filter.older_than_seconds.map(|age| clock.now().minus(Duration::from_secs(age)));
    let status = filter.status.map(OrderStatus::from);
    let query = order_saga::unfinished(status, before);
    let query = paged(query, filter.limit, filter.cursor.as_deref(), &binding)?;
    let (found, next) = orders.find(query, status).await?;
    let items = found.iter().map(|order| SagaView::of(&order.value)).collect();
    Ok(Listed::new(items, next.as_ref(), &binding).respond(&request))
}

/// Has an order's step tried again at once, wherever its saga lives.
#[utoipa::path(
    tag = "operations",
    params(("id" = String, Path, description = "The order's id")),
    responses((status = 202, body = SagaView), (status = 409, description = "There is no step to try")),
    security(("bearer" = ["admin:write"])),
)]
#[post("/admin/sagas/{id}/retry")]
async fn retry_saga(
    request: HttpRequest,
    caller: Caller,
    id: InPath<PathId>,
    orders: web::Data<Orders>,
) -> Result<HttpResponse, Problem> {
    let order = orders.retry(&id.0.0, &caller.by(&request)).await?;
    Ok(HttpResponse::Accepted().json(SagaView::of(&order.value)))
}
