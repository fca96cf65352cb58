//! Holds: units that a shopper keeps for a while.

use std::collections::HashSet;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, delete, get, post, web};
use garde::Validate;
use serde::{Deserialize, Serialize};
use serde_json::json;
use steward_actors::catalog::Catalog;
use steward_actors::inventory::{Hold, HoldError, HoldLine, HoldRequest, HoldStatus, Inventory};
use steward_actors::store::Cursor;
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;

use super::caller::Caller;
use super::etag;
use super::idempotency::{self, IdempotencyKey};
use super::json::ValidJson;
use super::page::{Binding, Listed, Paging};
use super::problem::{FieldError, Problem};
use super::query::{InPath, PathId, ValidQuery, is_sku};
use super::values::Time;

pub(super) fn configure(config: &mut ServiceConfig) {
    config.service(create_hold).service(list_holds).service(get_hold).service(delete_hold);
}

/// What is to be held, all of it or nothing.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct NewHold {
    /// What is held; no SKU twice.
    #[garde(length(min = 1, max = 100), dive)]
    #[schema(min_items = 1, max_items = 100)]
    lines: Vec<LineOfHold>,
    /// After how many seconds it ends by itself.
    #[garde(range(min = 1, max = 900))]
    #[schema(minimum = 1, maximum = 900)]
    ttl_seconds: u32,
}

/// So many units of a SKU.
#[derive(Serialize, Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct LineOfHold {
    #[garde(custom(is_sku))]
    #[schema(min_length = 1, max_length = 64, pattern = "^[A-Za-z0-9._-]+$")]
    sku: String,
    #[garde(range(min = 1, max = 1000))]
    #[schema(minimum = 1, maximum = 1000)]
    quantity: i64,
}

/// A hold.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct HoldView {
    id: String,
    lines: Vec<LineOfHold>,
    /// When it ends by itself, unless an order takes it over before.
    #[schema(required = true)]
    expires_at: Option<Time>,
    status: HoldStatusView,
    /// The order that took it over.
    #[schema(required = true)]
    order_id: Option<String>,
}

/// Where a hold stands: what it held is sold when it is `committed`, and on hand again when it is
/// `returned` after that.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum HoldStatusView {
    Held,
    Committed,
    Released,
    Returned,
}

impl From<HoldStatus> for HoldStatusView {
    fn from(status: HoldStatus) -> Self {
        match status {
            HoldStatus::Held => Self::Held,
            HoldStatus::Committed => Self::Committed,
            HoldStatus::Released => Self::Released,
            HoldStatus::Returned => Self::Returned,
        }
    }
}

impl HoldView {
    pub(super) fn of(hold: Hold) -> Self {
        let line = |HoldLine { sku, quantity }| LineOfHold { sku, quantity };
        Self {
            id: hold.id,
            lines: hold.lines.into_iter().map(line).collect(),
            expires_at: hold.expires_at.map(Time::from),
            status: hold.status.into(),
            order_id: hold.order_id,
        }
    }
}

/// Holds all lines for a while, or nothing.
#[utoipa::path(
    tag = "stock",
    params(("Idempotency-Key" = String, Header, description = "The client's name for this command")),
    request_body = NewHold,
    responses(
        (status = 201, body = HoldView),
        (
            status = 409,
            description = "Too few units (`out_of_stock`, with `skus`), or too many live holds (`too_many_holds`)",
        ),
    ),
    security(("bearer" = [])),
)]
#[post("/holds")]
async fn create_hold(
    caller: Caller,
    key: IdempotencyKey,
    body: ValidJson<NewHold>,
    inventory: web::Data<Inventory>,
    catalog: web::Data<Catalog>,
) -> Result<HttpResponse, Problem> {
    let asked = body.0;
    no_sku_twice(&asked.lines)?;
    let lines: Vec<HoldLine> =
        asked.lines.into_iter().map(|LineOfHold { sku, quantity }| HoldLine { sku, quantity }).collect();
    let ttl = Duration::from_secs(asked.ttl_seconds.into());
    let request = HoldRequest {
        id: key.command_id(&caller.user_id, "POST /holds"),
        user_id: caller.user_id.clone(),
        lines: lines.clone(),
        ttl: Some(ttl),
    };
    let placed = match inventory.hold_for_shopper(request).await {
        Ok(placed) => placed,
        Err(refused) => return Err(why_refused(refused, &lines, &catalog).await),
    };
    let hold = placed.hold;
    // A command that comes again finds the first one's hold.
    if hold.lines != lines || hold.expires_at != Some(hold.created_at.plus(ttl)) {
        return Err(Problem::key_reused());
    }
    let mut response =
        idempotency::respond(StatusCode::CREATED, format!("/v1/holds/{}", hold.id), placed.replayed);
    let hold = HoldView::of(hold);
    Ok(response.insert_header(etag::tag_of_content(&hold)).json(hold))
}

/// Of a SKU that is not on sale there will never be enough, which is not the same as too few today.
async fn why_refused(refused: HoldError, lines: &[HoldLine], catalog: &Catalog) -> Problem {
    let HoldError::OutOfStock(lacking) = &refused else { return refused.into() };
    let Ok(known) = catalog.prices(lacking).await else { return refused.into() };
    let on_sale = |sku: &String| known.iter().any(|record| record.sku.as_str() == sku && !record.archived);
    let unknown =
        lines.iter().enumerate().filter(|(_, line)| lacking.contains(&line.sku) && !on_sale(&line.sku));
    let errors: Vec<FieldError> = unknown
        .map(|(n, _)| FieldError::new(format!("/lines/{n}/sku"), "unknown_sku", "is no SKU on sale"))
        .collect();
    if errors.is_empty() { refused.into() } else { Problem::invalid(errors) }
}

fn no_sku_twice(lines: &[LineOfHold]) -> Result<(), Problem> {
    let mut seen = HashSet::new();
    let twice = lines.iter().enumerate().filter(|(_, line)| !seen.insert(&line.sku));
    let errors: Vec<FieldError> = twice
        .map(|(n, _)| FieldError::new(format!("/lines/{n}/sku"), "sku_twice", "is in another line already"))
        .collect();
    if errors.is_empty() { Ok(()) } else { Err(Problem::invalid(errors)) }
}

/// My live holds, newest first.
#[utoipa::path(
    tag = "stock",
    params(Paging),
    responses((status = 200, body = Listed<HoldView>)),
    security(("bearer" = [])),
)]
#[get("/holds")]
async fn list_holds(
    caller: Caller,
    filter: ValidQuery<Paging>,
    inventory: web::Data<Inventory>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let filter = filter.0;
    let binding = Binding::new("holds", &caller.user_id);
    let after = binding.after(filter.cursor.as_deref())?;
    let live = inventory.live_holds_of(&caller.user_id).await?;
    let (live, next) = page(live, filter.limit.get(), after)?;
    let live = live.into_iter().map(HoldView::of).collect();
    Ok(Listed::new(live, next.as_ref(), &binding).respond(&request))
}

/// A page of a user's live holds, of which there are few, and where the next one begins.
pub(super) fn page(
    mut live: Vec<Hold>,
    limit: usize,
    after: Option<Cursor>,
) -> Result<(Vec<Hold>, Option<Cursor>), Problem> {
    let place = |hold: &Hold| (hold.created_at.as_millis(), hold.id.clone());
    if let Some(Cursor { keys, id }) = after {
        let [at] = keys.as_slice() else { return Err(Problem::bad_cursor()) };
        let end = (at.as_i64().ok_or_else(Problem::bad_cursor)?, id);
        live.retain(|hold| place(hold) < end);
    }
    let more = live.len() > limit;
    live.truncate(limit);
    let next = live.last().filter(|_| more).map(place);
    Ok((live, next.map(|(at, id)| Cursor { keys: vec![json!(at)], id })))
}

/// One hold of mine.
#[utoipa::path(
    tag = "stock",
    params(("id" = String, Path)),
    responses((status = 200, body = HoldView)),
    security(("bearer" = [])),
)]
#[get("/holds/{id}")]
async fn get_hold(
    caller: Caller,
    id: InPath<PathId>,
    inventory: web::Data<Inventory>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let hold = inventory.hold_of(&caller.user_id, &id.0.0).await?.ok_or_else(Problem::not_found)?;
    let hold = HoldView::of(hold);
    // It lapses at its time, whether or not its record says so yet.
    Ok(etag::versioned(&request, etag::tag_of_content(&hold), &hold))
}

/// Ends a hold of mine before its time.
#[utoipa::path(
    tag = "stock",
    params(("id" = String, Path)),
    responses((status = 204), (status = 409, description = "An order has taken it over (`hold_taken`)")),
    security(("bearer" = [])),
)]
#[delete("/holds/{id}")]
async fn delete_hold(
    caller: Caller,
    id: InPath<PathId>,
    inventory: web::Data<Inventory>,
) -> Result<HttpResponse, Problem> {
    inventory.withdraw(&caller.user_id, &id.0.0).await?;
    Ok(HttpResponse::NoContent().finish())
}
