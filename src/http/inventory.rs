//! Stock.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, get, post, web};
use garde::Validate;
use serde::{Deserialize, Serialize};
use steward_actors::inventory::{Adjusted, Adjustment, Inventory, Movement, MovementKind, Stock};
use steward_actors::store::Versioned;
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;

use super::caller::{Caller, MaybeCaller};
use super::etag;
use super::idempotency::{self, IdempotencyKey};
use super::json::ValidJson;
use super::page::{Binding, Listed, Paging};
use super::problem::Problem;
use super::query::{InPath, Sku, ValidQuery};
use super::values::{Time, is_one_line};

pub(super) fn configure(config: &mut ServiceConfig) {
    config.service(create_adjustment).service(list_movements).service(get_stock);
}

/// The stock of a SKU; `onHand`, `held` and `version` for callers with `inventory:read`.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct StockView {
    sku: String,
    /// Units that can be ordered now.
    available: i64,
    /// Units there are: held ones, and those of a product that is sold no more, too.
    #[serde(skip_serializing_if = "Option::is_none")]
    on_hand: Option<i64>,
    /// Units held for orders and shoppers.
    #[serde(skip_serializing_if = "Option::is_none")]
    held: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u64>,
}

impl StockView {
    fn of(stock: &Versioned<Stock>, whole: bool) -> Self {
        let Versioned { value: stock, version } = stock;
        Self {
            sku: stock.sku().to_owned(),
            available: stock.orderable(),
            on_hand: whole.then(|| stock.on_hand()),
            held: whole.then(|| stock.held()),
            version: whole.then_some(*version),
        }
    }
}

/// The stock of a SKU.
#[utoipa::path(
    tag = "stock",
    params(("sku" = String, Path)),
    responses((status = 200, body = StockView)),
    security((), ("bearer" = [])),
)]
#[get("/inventory/{sku}")]
async fn get_stock(
    caller: MaybeCaller,
    sku: InPath<Sku>,
    inventory: web::Data<Inventory>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let stock = inventory.stock_now(&sku.0.0).await?.ok_or_else(Problem::not_found)?;
    let stock = StockView::of(&stock, caller.may("inventory:read"));
    // The version tells how much is sold, which is not for all.
    Ok(etag::versioned(&request, etag::tag_of_content(&stock), &stock))
}

/// Units that came in or went.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct AdjustmentInput {
    /// Units that came (positive) or went (negative); not 0.
    #[garde(range(min = -1_000_000_000, max = 1_000_000_000), custom(is_not_zero))]
    #[schema(minimum = -1_000_000_000, maximum = 1_000_000_000)]
    delta: i64,
    /// Why.
    #[garde(length(chars, min = 1, max = 200), custom(is_one_line))]
    #[schema(min_length = 1, max_length = 200)]
    reason: String,
    /// What it refers to: a delivery note, a ticket.
    #[garde(inner(length(chars, max = 200), custom(is_one_line)))]
    #[schema(max_length = 200)]
    reference: Option<String>,
}

fn is_not_zero(delta: &i64, _: &()) -> garde::Result {
    if *delta == 0 { Err(garde::Error::new("is 0")) } else { Ok(()) }
}

/// An entry of the stock ledger.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct MovementView {
    id: String,
    sku: String,
    at: Time,
    kind: MovementKindView,
    /// Units that came (positive) or went (negative).
    delta: i64,
    #[schema(required = true)]
    reason: Option<String>,
    #[schema(required = true)]
    reference: Option<String>,
}

/// What a movement did. `held` and `released` say what became of available units and leave them on hand;
/// `adjusted`, `sold` (of held ones) and `returned` (of sold ones) add up to `onHand`.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum MovementKindView {
    Adjusted,
    Held,
    Sold,
    Released,
    Returned,
}

impl From<MovementKind> for MovementKindView {
    fn from(kind: MovementKind) -> Self {
        match kind {
            MovementKind::Adjusted => Self::Adjusted,
            MovementKind::Held => Self::Held,
            MovementKind::Sold => Self::Sold,
            MovementKind::Released => Self::Released,
            MovementKind::Returned => Self::Returned,
        }
    }
}

impl MovementView {
    fn of(movement: Movement) -> Self {
        let Movement { id, sku, at, kind, delta, reason, reference } = movement;
        Self { id, sku, at: at.into(), kind: kind.into(), delta, reason, reference }
    }
}

/// Adds to what is on hand, or takes from it.
#[utoipa::path(
    tag = "stock",
    params(
        ("sku" = String, Path),
        ("Idempotency-Key" = String, Header, description = "The client's name for this command"),
    ),
    request_body = AdjustmentInput,
    responses(
        (status = 201, body = MovementView),
        (status = 409, description = "Less would be on hand than is held (`below_held`)"),
    ),
    security(("bearer" = ["inventory:write"])),
)]
#[post("/inventory/{sku}/adjustments")]
async fn create_adjustment(
    caller: Caller,
    sku: InPath<Sku>,
    key: IdempotencyKey,
    body: ValidJson<AdjustmentInput>,
    inventory: web::Data<Inventory>,
) -> Result<HttpResponse, Problem> {
    let (sku, asked) = (sku.0.0, body.0);
    let adjustment = Adjustment {
        id: key.command_id(&caller.user_id, &format!("adjust {sku}")),
        sku: sku.clone(),
        delta: asked.delta,
        reason: asked.reason.clone(),
        reference: asked.reference.clone(),
    };
    let Adjusted { movement, replayed, .. } = inventory.adjust(adjustment).await?;
    // A command that comes again finds the first one's movement.
    let same = movement.delta == asked.delta
        && movement.reason.as_deref() == Some(&asked.reason)
        && movement.reference == asked.reference;
    if !same {
        return Err(Problem::key_reused());
    }
    let location = format!("/v1/inventory/{sku}/movements");
    let mut response = idempotency::respond(StatusCode::CREATED, location, replayed);
    Ok(response.json(MovementView::of(movement)))
}

/// The ledger of a SKU, newest first.
#[utoipa::path(
    tag = "stock",
    params(("sku" = String, Path), Paging),
    responses((status = 200, body = Listed<MovementView>)),
    security(("bearer" = ["inventory:read"])),
)]
#[get("/inventory/{sku}/movements")]
async fn list_movements(
    sku: InPath<Sku>,
    filter: ValidQuery<Paging>,
    inventory: web::Data<Inventory>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let (sku, filter) = (sku.0.0, filter.0);
    let binding = Binding::new("movements", &sku);
    let after = binding.after(filter.cursor.as_deref())?;
    let (found, next) = inventory.movements(&sku, filter.limit.get(), after).await?;
    let found = found.into_iter().map(MovementView::of).collect();
    Ok(Listed::new(found, next.as_ref(), &binding).respond(&request))
}
