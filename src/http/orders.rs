//! Orders: accepting them, and watching their sagas.

use std::collections::HashSet;

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, get, post, web};
use garde::Validate;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use steward_actors::addresses::AddressCheck;
use steward_actors::catalog::Catalog;
use steward_actors::money::Money;
use steward_actors::order_saga::{
    AcceptOrder, Accepted, Line, Order, OrderStatus, Orders, PaymentStatus, TimelineEntry,
};
use steward_actors::providers::PostalAddress;
use steward_actors::store::Versioned;
use utoipa::{IntoParams, ToSchema};
use utoipa_actix_web::service_config::ServiceConfig;

use super::caller::Caller;
use super::etag;
use super::idempotency::{IdempotencyKey, REPLAYED, fingerprint};
use super::json::ValidJson;
use super::page::{Binding, CursorText, Limit, Listed};
use super::problem::{FieldError, Problem};
use super::query::{InPath, PathId, Sku, ValidQuery};
use super::values::{Amount, AmountInput, CurrencyCode, Time, is_one_line};

pub(super) fn configure(config: &mut ServiceConfig) {
    config.service(create_order).service(list_orders).service(get_order).service(order_timeline);
}

/// An order to be placed. Prices are the server's.
#[derive(Serialize, Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct NewOrder {
    /// What is ordered; no SKU twice. Its total must be one that the payment provider can charge: in
    /// BHD, JOD, KWD, OMR and TND a multiple of 0.01, for instance.
    #[garde(length(min = 1, max = 100), dive)]
    #[schema(min_items = 1, max_items = 100)]
    lines: Vec<LineInput>,
    /// A hold of mine over the same lines: the order takes it over.
    #[garde(length(min = 1, max = 64), pattern("^[A-Za-z0-9_-]+$"))]
    #[schema(min_length = 1, max_length = 64, pattern = "^[A-Za-z0-9_-]+$")]
    #[serde(skip_serializing_if = "Option::is_none")]
    hold_id: Option<String>,
    /// Where to.
    #[garde(dive)]
    #[serde(skip_serializing_if = "Option::is_none")]
    shipping_address: Option<ShippingAddress>,
    /// The payment provider's name of the method, such as `pm_card_visa`.
    #[garde(length(chars, min = 1, max = 100), pattern("^[A-Za-z0-9_-]+$"))]
    #[schema(min_length = 1, max_length = 100, pattern = "^[A-Za-z0-9_-]+$")]
    payment_method: String,
    /// What the client believes it costs; if it does not, nothing is ordered (409).
    #[garde(skip)]
    #[serde(skip_serializing_if = "Option::is_none")]
    expected_total: Option<AmountInput>,
}

/// So many units of a SKU.
#[derive(Serialize, Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct LineInput {
    #[garde(custom(is_sku))]
    #[schema(min_length = 1, max_length = 64, pattern = "^[A-Za-z0-9._-]+$")]
    pub(super) sku: String,
    #[garde(range(min = 1, max = 1000))]
    #[schema(minimum = 1, maximum = 1000)]
    pub(super) quantity: i64,
}

/// Where something is sent.
#[derive(Serialize, Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ShippingAddress {
    #[garde(length(chars, min = 1, max = 200), custom(is_one_line))]
    #[schema(min_length = 1, max_length = 200)]
    name: String,
    #[garde(length(chars, min = 1, max = 200), custom(is_one_line))]
    #[schema(min_length = 1, max_length = 200)]
    line1: String,
    #[garde(inner(length(chars, max = 200), custom(is_one_line)))]
    #[schema(max_length = 200)]
    #[serde(skip_serializing_if = "Option::is_none")]
    line2: Option<String>,
    #[garde(length(chars, min = 1, max = 200), custom(is_one_line))]
    #[schema(min_length = 1, max_length = 200)]
    city: String,
    #[garde(inner(length(chars, max = 200), custom(is_one_line)))]
    #[schema(max_length = 200)]
    #[serde(skip_serializing_if = "Option::is_none")]
    region: Option<String>,
    #[garde(length(chars, min = 1, max = 20), custom(is_one_line))]
    #[schema(min_length = 1, max_length = 20)]
    postal_code: String,
    /// ISO 3166-1 alpha-2.
    #[garde(pattern("^[A-Z]{2}$"))]
    #[schema(pattern = "^[A-Z]{2}$")]
    country: String,
}

impl ShippingAddress {
    /// Without whom it is for, and without what only those who live there know.
    fn place(&self) -> PostalAddress {
        PostalAddress {
            street: self.line1.clone(),
            city: self.city.clone(),
            region: self.region.clone(),
            postal_code: self.postal_code.clone(),
            country: self.country.clone(),
        }
    }
}

fn is_sku(sku: &str, _: &()) -> garde::Result {
    if Sku::is_well_formed(sku) {
        Ok(())
    } else {
        Err(garde::Error::new("is not 1 to 64 of A-Z a-z 0-9 . _ -"))
    }
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
    name: String,
    quantity: i64,
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
    authorized: Amount,
    captured: Amount,
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

/// Places an order. It is accepted when this answers, and reaches its end whatever happens.
#[utoipa::path(
    tag = "orders",
    params(("Idempotency-Key" = String, Header, description = "The client's name for this command")),
    request_body = NewOrder,
    responses(
        (status = 202, description = "Accepted; its saga has begun", body = OrderView),
        (
            status = 409,
            description = "The price is not what the client expected (`price_changed`), or the hold has \
                           ended (`hold_expired`) or is another order's (`hold_taken`)",
        ),
    ),
    security(("bearer" = [])),
)]
#[post("/orders")]
async fn create_order(
    caller: Caller,
    key: IdempotencyKey,
    body: ValidJson<NewOrder>,
    catalog: web::Data<Catalog>,
    addresses: web::Data<AddressCheck>,
    orders: web::Data<Orders>,
) -> Result<HttpResponse, Problem> {
    let asked = body.0;
    let (command_key, fingerprint) = (key.of(&caller.user_id), fingerprint(&asked));
    if let Some(address) = asked.shipping_address.as_ref().filter(|_| addresses.is_on()) {
        // What was ordered already stays ordered, and nobody is asked about it again.
        if let Some(earlier) = orders.earlier(&caller.user_id, &command_key, &fingerprint).await? {
            return Ok(respond(earlier));
        }
        if addresses.refuses(&address.place()).await {
            return Err(Problem::invalid_field("/shippingAddress", "unknown_address", "is nowhere known"));
        }
    }
    let lines = match priced(&asked, &catalog).await {
        Ok(lines) => lines,
        // Prices and wares change; what was ordered before they did stays ordered.
        Err(refused) => {
            let earlier = orders.earlier(&caller.user_id, &command_key, &fingerprint).await?;
            return earlier.map(respond).ok_or(refused);
        }
    };
    let accepted = orders
        .accept(AcceptOrder {
            command_key,
            fingerprint,
            user_id: caller.user_id.clone(),
            lines,
            hold_id: asked.hold_id,
            shipping_address: asked.shipping_address.as_ref().and_then(as_object),
            payment_method: asked.payment_method,
        })
        .await?;
    Ok(respond(accepted))
}

fn respond(accepted: Accepted) -> HttpResponse {
    let order = OrderView::of(accepted.order);
    let mut response = HttpResponse::Accepted();
    response.insert_header((header::LOCATION, format!("/v1/orders/{}", order.id)));
    if accepted.replayed {
        response.insert_header(REPLAYED);
    }
    response.json(order)
}

fn as_object(address: &ShippingAddress) -> Option<Map<String, Value>> {
    serde_json::to_value(address).ok()?.as_object().cloned()
}

/// The lines at the server's prices.
async fn priced(asked: &NewOrder, catalog: &Catalog) -> Result<Vec<Line>, Problem> {
    let skus: Vec<String> = asked.lines.iter().map(|line| line.sku.clone()).collect();
    let records = catalog.prices(&skus).await?;
    let mut seen = HashSet::new();
    let mut lines: Vec<Line> = Vec::new();
    let mut errors = Vec::new();
    for (n, line) in asked.lines.iter().enumerate() {
        let mut wrong = |code: &'static str, message: &str| {
            errors.push(FieldError::new(format!("/lines/{n}/sku"), code, message));
        };
        let found = records.iter().find(|record| record.sku.as_str() == line.sku && !record.archived);
        let Some(record) = found else {
            wrong("unknown_sku", "is no SKU on sale");
            continue;
        };
        if !seen.insert(&line.sku) {
            wrong("sku_twice", "is in another line already");
        }
        if lines.first().is_some_and(|first| first.unit_price.currency != record.price.currency) {
            wrong("other_currency", "is sold in another currency than the lines before it");
        }
        lines.push(Line {
            sku: line.sku.clone(),
            name: record.name.clone(),
            quantity: line.quantity,
            unit_price: record.price,
            refunded: 0,
        });
    }
    if !errors.is_empty() {
        return Err(Problem::invalid(errors));
    }
    if let (Some(expected), Some(first)) = (&asked.expected_total, lines.first()) {
        let expected = expected.in_currency(first.unit_price.currency, "/expectedTotal")?;
        as_expected(&lines, expected)?;
    }
    Ok(lines)
}

fn as_expected(lines: &[Line], expected: Money) -> Result<(), Problem> {
    let total = lines.iter().try_fold(Money::new(0, expected.currency), |sum, line| sum.plus(line.total()?));
    match total {
        Ok(total) if total == expected => Ok(()),
        Ok(total) => Err(Problem::conflict("price_changed", "The order costs something else now")
            .with("total", total.to_number())
            .with("currency", total.currency.code())),
        Err(error) => Err(Problem::invalid_field("/lines", "amount", format!("the total {error}"))),
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
