//! What is asked of an order that is there: cancel, ship, deliver, refund.

use std::collections::HashSet;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, get, post, web};
use garde::Validate;
use serde::{Deserialize, Serialize};
use steward_actors::audit::By;
use steward_actors::inventory::HoldLine;
use steward_actors::money::Currency;
use steward_actors::order_saga::{
    OrderCommand, Orders, Reason, Refund, RefundStatus, RequestRefund, Share, Whose,
};
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;

use super::caller::Caller;
use super::etag::{self, IfMatch};
use super::idempotency::{self, IdempotencyKey, fingerprint};
use super::json::OptionalJson;
use super::order_placing::LineInput;
use super::orders::{OrderView, visible};
use super::page::{Binding, Listed, Paging};
use super::problem::{FieldError, Problem};
use super::query::{InPath, PathId, ValidQuery};
use super::values::{Amount, AmountInput, CurrencyCode, Time, is_one_line};

pub(super) fn configure(config: &mut ServiceConfig) {
    config
        .service(cancel_order)
        .service(ship_order)
        .service(deliver_order)
        .service(refund_order)
        .service(list_refunds);
}

/// Whose orders the caller may change: everybody's with `orders:write`, otherwise their own.
fn whose<'a>(caller: &'a Caller, by: &'a By) -> Whose<'a> {
    if caller.may("orders:write") { Whose::Anyones(by) } else { Whose::Of(&caller.user_id) }
}

async fn command(
    orders: &Orders,
    id: &str,
    whose: Whose<'_>,
    if_match: IfMatch,
    command: OrderCommand,
    status: StatusCode,
) -> Result<HttpResponse, Problem> {
    let order = orders.command(id, whose, if_match.0, &command).await?;
    Ok(HttpResponse::build(status).insert_header(etag::tag(order.version)).json(OrderView::of(order)))
}

/// Cancels an order. Before money is taken it ends as `cancelled`; a paid one is `refunding`, then
/// `refunded`, and its stock is given back. Asking again changes nothing.
#[utoipa::path(
    tag = "orders",
    params(("id" = String, Path)),
    responses(
        (status = 202, description = "It is being undone", body = OrderView),
        (status = 409, description = "It is past that (`wrong_state`, with `nextStates`)"),
        (status = 412, description = "If-Match names another version"),
    ),
    security(("bearer" = [])),
)]
#[post("/orders/{id}/cancel")]
async fn cancel_order(
    request: HttpRequest,
    caller: Caller,
    id: InPath<PathId>,
    if_match: IfMatch,
    orders: web::Data<Orders>,
) -> Result<HttpResponse, Problem> {
    let id = &id.0.0;
    // An operator's own order is cancelled by its customer.
    let own = orders.get_of(&caller.user_id, id).await?.is_some();
    let by = if own { Reason::RequestedByCustomer } else { Reason::RequestedByShop };
    let (cancel, acting) = (OrderCommand::Cancel { by }, caller.by(&request));
    command(&orders, id, whose(&caller, &acting), if_match, cancel, StatusCode::ACCEPTED).await
}

/// Goods that go out.
#[derive(Default, Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Shipment {
    /// The carrier's number.
    #[garde(inner(length(chars, min = 1, max = 100), custom(is_one_line)))]
    #[schema(min_length = 1, max_length = 100)]
    tracking_number: Option<String>,
}

/// Records that a confirmed order is on its way.
#[utoipa::path(
    tag = "orders",
    params(("id" = String, Path)),
    request_body(content = Option<Shipment>),
    responses(
        (status = 200, body = OrderView),
        (status = 409, description = "It is not to be shipped (`wrong_state`, with `nextStates`)"),
        (status = 412, description = "If-Match names another version"),
    ),
    security(("bearer" = ["orders:write"])),
)]
#[post("/orders/{id}/ship")]
async fn ship_order(
    request: HttpRequest,
    caller: Caller,
    id: InPath<PathId>,
    if_match: IfMatch,
    body: OptionalJson<Shipment>,
    orders: web::Data<Orders>,
) -> Result<HttpResponse, Problem> {
    let ship = OrderCommand::Ship { tracking_number: body.0.unwrap_or_default().tracking_number };
    let by = caller.by(&request);
    command(&orders, &id.0.0, Whose::Anyones(&by), if_match, ship, StatusCode::OK).await
}

/// Records that a shipped order arrived.
#[utoipa::path(
    tag = "orders",
    params(("id" = String, Path)),
    responses(
        (status = 200, body = OrderView),
        (status = 409, description = "It is not on its way (`wrong_state`, with `nextStates`)"),
        (status = 412, description = "If-Match names another version"),
    ),
    security(("bearer" = ["orders:write"])),
)]
#[post("/orders/{id}/deliver")]
async fn deliver_order(
    request: HttpRequest,
    caller: Caller,
    id: InPath<PathId>,
    if_match: IfMatch,
    orders: web::Data<Orders>,
) -> Result<HttpResponse, Problem> {
    let by = caller.by(&request);
    command(&orders, &id.0.0, Whose::Anyones(&by), if_match, OrderCommand::Deliver, StatusCode::OK).await
}

/// How much is given back: an amount, or the price of some units; all that is left without either.
#[derive(Default, Serialize, Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct NewRefund {
    /// In the order's currency; more than 0, and what the payment provider can give back: in BHD, JOD, KWD,
    /// OMR and TND a multiple of 0.01, for instance. The price of units has to be such an amount as well.
    #[garde(skip)]
    #[serde(skip_serializing_if = "Option::is_none")]
    amount: Option<AmountInput>,
    /// Units that were ordered; no SKU twice.
    #[garde(length(min = 1, max = 100), dive)]
    #[schema(min_items = 1, max_items = 100)]
    #[serde(skip_serializing_if = "Option::is_none")]
    lines: Option<Vec<LineInput>>,
    /// Why.
    #[garde(inner(length(chars, min = 1, max = 500), custom(is_one_line)))]
    #[schema(min_length = 1, max_length = 500)]
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

impl NewRefund {
    fn share(&self, currency: Currency) -> Result<Share, Problem> {
        match (&self.amount, &self.lines) {
            (None, None) => Ok(Share::Rest),
            (Some(_), Some(_)) => {
                Err(Problem::invalid_field("/lines", "not_both", "cannot be named together with an amount"))
            }
            (Some(amount), None) => {
                let amount = amount.in_currency(currency, "/amount")?;
                if amount.minor <= 0 {
                    return Err(Problem::invalid_field("/amount", "range", "is not more than 0"));
                }
                Ok(Share::Amount(amount))
            }
            (None, Some(lines)) => {
                let mut seen = HashSet::new();
                let twice = lines.iter().enumerate().filter(|(_, line)| !seen.insert(&line.sku));
                let twice = twice.map(|(n, _)| {
                    FieldError::new(format!("/lines/{n}/sku"), "sku_twice", "is in another line already")
                });
                let twice: Vec<_> = twice.collect();
                if !twice.is_empty() {
                    return Err(Problem::invalid(twice));
                }
                let line = |line: &LineInput| HoldLine { sku: line.sku.clone(), quantity: line.quantity };
                Ok(Share::Lines(lines.iter().map(line).collect()))
            }
        }
    }
}

/// Money that is given back.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct RefundView {
    id: String,
    order_id: String,
    amount: Amount,
    currency: CurrencyCode,
    /// The units it is for, if it is for units.
    #[schema(required = true)]
    lines: Option<Vec<LineInput>>,
    #[schema(required = true)]
    reason: Option<String>,
    /// `pending`, `succeeded` or `failed`; one that succeeded may still fail, days later.
    #[schema(value_type = String)]
    status: RefundStatus,
    /// What the payment provider said to one that failed.
    #[schema(required = true)]
    failure: Option<String>,
    created_at: Time,
    updated_at: Time,
}

impl RefundView {
    fn of(refund: Refund) -> Self {
        let line = |HoldLine { sku, quantity }| LineInput { sku, quantity };
        Self {
            id: refund.id,
            order_id: refund.order_id,
            amount: refund.amount.into(),
            currency: refund.amount.currency.into(),
            lines: refund.lines.map(|lines| lines.into_iter().map(line).collect()),
            reason: refund.reason,
            status: refund.status,
            failure: refund.failure,
            created_at: refund.created_at.into(),
            updated_at: refund.updated_at.into(),
        }
    }
}

/// Gives money of a paid order back. It is owed when this answers, and is tried until it is done or
/// the payment provider refuses it for good.
#[utoipa::path(
    tag = "orders",
    params(
        ("id" = String, Path),
        ("Idempotency-Key" = String, Header, description = "The client's name for this command"),
    ),
    request_body(content = Option<NewRefund>),
    responses(
        (status = 202, description = "It is owed", body = RefundView),
        (
            status = 409,
            description = "The order is not paid (`wrong_state`), or more than is left (`refund_too_large`)",
        ),
        (status = 412, description = "If-Match names another version of the order"),
    ),
    security(("bearer" = ["orders:write"])),
)]
#[post("/orders/{id}/refunds")]
async fn refund_order(
    request: HttpRequest,
    caller: Caller,
    key: IdempotencyKey,
    id: InPath<PathId>,
    if_match: IfMatch,
    body: OptionalJson<NewRefund>,
    orders: web::Data<Orders>,
) -> Result<HttpResponse, Problem> {
    let (id, asked, by) = (&id.0.0, body.0.unwrap_or_default(), caller.by(&request));
    let order = orders.get(id).await?.ok_or_else(Problem::not_found)?.value;
    let ask = RequestRefund {
        id: key.command_id(&caller.user_id, &format!("POST /orders/{id}/refunds")),
        fingerprint: fingerprint(&asked),
        share: asked.share(order.currency())?,
        reason: asked.reason,
    };
    let requested = orders.request_refund(id, Whose::Anyones(&by), if_match.0, ask).await?;
    let location = format!("/v1/orders/{id}/refunds");
    let mut response = idempotency::respond(StatusCode::ACCEPTED, location, requested.replayed);
    Ok(response.json(RefundView::of(requested.refund)))
}

/// The refunds of an order, newest first.
#[utoipa::path(
    tag = "orders",
    params(("id" = String, Path), Paging),
    responses((status = 200, body = Listed<RefundView>)),
    security(("bearer" = [])),
)]
#[get("/orders/{id}/refunds")]
async fn list_refunds(
    caller: Caller,
    id: InPath<PathId>,
    filter: ValidQuery<Paging>,
    orders: web::Data<Orders>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let filter = filter.0;
    let order = visible(&caller, &orders, &id.0.0).await?.value;
    let binding = Binding::new("refunds", &order.id);
    let after = binding.after(filter.cursor.as_deref())?;
    let (found, next) = orders.refunds(&order.id, filter.limit.get(), after).await?;
    let found = found.into_iter().map(RefundView::of).collect();
    Ok(Listed::new(found, next.as_ref(), &binding).respond(&request))
}
