//! Orders: seeing them, and watching their sagas.

use actix_web::{HttpRequest, HttpResponse, get, web};
use garde::Validate;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use steward_actors::money::Money;
use steward_actors::order_saga::{Line, Order, OrderStatus, Orders, PaymentStatus, TimelineEntry};
use steward_actors::store::Versioned;
use utoipa::{IntoParams, ToSchema};
use utoipa_actix_web::service_config::ServiceConfig;

use super::caller::Caller;
use super::etag;
use super::page::{Binding, CursorText, Limit, Listed};
use super::problem::Problem;
use super::query::{InPath, PathId, ValidQuery};
use super::values::{Amount, CurrencyCode, Time};

pub(super) fn configure(config: &mut ServiceConfig) {
    config.service(list_orders).service(get_order).service(order_timeline);
}

/// An order.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct OrderView {
    id: String,
    user_id: String,
    /// `pending`, `stock_held`, `payment_authorized`, `confirmed`, `shipped`, `delivered`,
    /// `rejected`, `cancelled`, `refunding` or `refunded`.
    status: &'static str,
    /// Why it is being undone, or was: `out_of_stock`, `payment_declined`, `payment_method_invalid` (the
    /// payment provider knows no such method), `authentication_required`, `payment_unavailable`,
    /// `stock_unavailable`, `requested_by_customer` or `requested_by_shop`.
    #[schema(required = true)]
    reason: Option<String>,
    /// The statuses that may follow.
    next_states: Vec<&'static str>,
    lines: Vec<LineView>,
    total: Amount,
    currency: CurrencyCode,
    #[schema(required = true)]
    shipping_address: Option<Map<String, Value>>,
    /// The carrier's number, once it is shipped.
    #[schema(required = true)]
    tracking_number: Option<String>,
    payment: PaymentView,
    version: u64,
    created_at: Time,
    updated_at: Time,
}

/// A line of an order.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct LineView {
    sku: String,
    /// What the variant was called when it was ordered.
    name: String,
    quantity: i64,
    /// In the order's currency, as all amounts of it.
    unit_price: Amount,
    total: Amount,
}

/// Where the payment of an order stands.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct PaymentView {
    /// `pending`, `created`, `authorized`, `captured`, `canceled` or `refunded`.
    status: PaymentStatusView,
    provider: String,
    /// The provider's id of it.
    #[schema(required = true)]
    reference: Option<String>,
    /// What is reserved or was taken.
    authorized: Amount,
    /// What was taken.
    captured: Amount,
    /// What of it was given back.
    refunded: Amount,
}

#[derive(Serialize, ToSchema)]
#[serde(transparent)]
#[schema(value_type = String)]
struct PaymentStatusView(PaymentStatus);

impl OrderView {
    pub(super) fn of(order: Versioned<Order>) -> Self {
        let Versioned { value: order, version } = order;
        let currency = order.currency();
        let amount = |minor| Amount(Money::new(minor, currency));
        let line = |line: Line| LineView {
            // The order was accepted, so its lines have totals.
            total: amount(line.unit_price.minor.saturating_mul(line.quantity)),
            sku: line.sku,
            name: line.name,
            quantity: line.quantity,
            unit_price: line.unit_price.into(),
        };
        Self {
            id: order.id,
            user_id: order.user_id,
            status: order.status.name(),
            reason: order.reason.map(|reason| reason.to_string()),
            next_states: order.status.next_states().iter().map(|status| status.name()).collect(),
            lines: order.lines.into_iter().map(line).collect(),
            total: order.total.into(),
            currency: currency.into(),
            shipping_address: order.shipping_address,
            tracking_number: order.tracking_number,
            payment: PaymentView {
                status: PaymentStatusView(order.payment.status),
                provider: order.payment.provider,
                reference: order.payment.reference,
                authorized: amount(order.payment.authorized),
                captured: amount(order.payment.captured),
                refunded: amount(order.payment.refunded),
            },
            version,
            created_at: order.created_at.into(),
            updated_at: order.updated_at.into(),
        }
    }
}

/// What narrows the list.
#[derive(Deserialize, Validate, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct OrderFilter {
    #[serde(default)]
    #[garde(skip)]
    #[param(inline)]
    limit: Limit,
    #[garde(skip)]
    #[param(inline)]
    cursor: Option<CursorText>,
    /// Only those that stand so.
    #[garde(skip)]
    #[param(inline)]
    status: Option<StatusFilter>,
    /// Of this user, or `*` for everybody; mine without it.
    #[garde(length(min = 1, max = 64), pattern(r"^([A-Za-z0-9_-]+|\*)$"))]
    #[param(min_length = 1, max_length = 64, pattern = r"^([A-Za-z0-9_-]+|\*)$")]
    user_id: Option<String>,
}

/// A status by its name.
#[derive(Clone, Copy)]
struct StatusFilter(OrderStatus);

impl<'de> Deserialize<'de> for StatusFilter {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        let status = OrderStatus::from_name(&name);
        status.map(Self).ok_or_else(|| serde::de::Error::custom("is no status of orders"))
    }
}

impl utoipa::PartialSchema for StatusFilter {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
        let names = OrderStatus::ALL.map(OrderStatus::name);
        utoipa::openapi::ObjectBuilder::new()
            .schema_type(utoipa::openapi::Type::String)
            .enum_values(Some(names))
            .into()
    }
}

impl ToSchema for StatusFilter {}

/// Orders, newest first: mine, or with `userId` and `orders:read` another's or everybody's.
#[utoipa::path(
    tag = "orders",
    params(OrderFilter),
    responses((status = 200, body = Listed<OrderView>)),
    security(("bearer" = [])),
)]
#[get("/orders")]
async fn list_orders(
    caller: Caller,
    filter: ValidQuery<OrderFilter>,
    orders: web::Data<Orders>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let filter = filter.0;
    let whose = filter.user_id.as_deref().unwrap_or(&caller.user_id);
    if whose != caller.user_id {
        caller.require("orders:read")?;
    }
    let status = filter.status.map(|status| status.0);
    let binding = Binding::new("orders", &(whose, status));
    let after = binding.after(filter.cursor.as_deref())?;
    let user_id = Some(whose).filter(|whose| *whose != "*");
    let (found, next) = orders.page(user_id, status, filter.limit.get(), after).await?;
    let found = found.into_iter().map(OrderView::of).collect();
    Ok(Listed::new(found, next.as_ref(), &binding).respond(&request))
}

/// The order, if the caller may see it.
pub(super) async fn visible(caller: &Caller, orders: &Orders, id: &str) -> Result<Versioned<Order>, Problem> {
    let found = if caller.may("orders:read") {
        orders.get(id).await?
    } else {
        orders.get_of(&caller.user_id, id).await?
    };
    found.ok_or_else(Problem::not_found)
}

/// One order.
#[utoipa::path(
    tag = "orders",
    params(("id" = String, Path)),
    responses((status = 200, body = OrderView)),
    security(("bearer" = [])),
)]
#[get("/orders/{id}")]
async fn get_order(
    caller: Caller,
    id: InPath<PathId>,
    orders: web::Data<Orders>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let order = visible(&caller, &orders, &id.0.0).await?;
    Ok(etag::versioned(&request, etag::tag(order.version), &OrderView::of(order)))
}

/// What happened to an order.
#[derive(Serialize, ToSchema)]
struct Timeline {
    /// Oldest first; 10,000 at most.
    items: Vec<TimelineItem>,
    /// Whether more happened than is told here.
    truncated: bool,
}

/// A line of the timeline.
#[derive(Serialize, ToSchema)]
struct TimelineItem {
    at: Time,
    /// `accept`, `hold`, `authorize`, `cancel`, `refund`, …
    step: &'static str,
    /// `requested`, `done`, `waiting`, `refused`, `compensated`, `failed`, `gave_up`, `stuck` or
    /// `taken_over`.
    #[schema(value_type = String)]
    status: steward_actors::order_saga::TimelineStatus,
    /// How often the step had been tried.
    attempt: u32,
    #[schema(required = true)]
    detail: Option<String>,
}

impl TimelineItem {
    fn of(entry: TimelineEntry) -> Self {
        let TimelineEntry { at, step, status, attempt, detail } = entry;
        Self { at: at.into(), step, status, attempt, detail }
    }
}

/// Each step, attempt and compensation of an order.
#[utoipa::path(
    tag = "orders",
    params(("id" = String, Path)),
    responses((status = 200, body = Timeline)),
    security(("bearer" = [])),
)]
#[get("/orders/{id}/timeline")]
async fn order_timeline(
    caller: Caller,
    id: InPath<PathId>,
    orders: web::Data<Orders>,
) -> Result<web::Json<Timeline>, Problem> {
    let order = visible(&caller, &orders, &id.0.0).await?;
    let told = orders.timeline(&order.value.id).await?;
    let items = told.entries.into_iter().map(TimelineItem::of).collect();
    Ok(web::Json(Timeline { items, truncated: !told.is_whole }))
}
