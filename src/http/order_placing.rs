//! Placing an order: what it is to be, at the server's prices.

use std::collections::HashSet;

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, post, web};
use garde::Validate;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use steward_actors::addresses::AddressCheck;
use steward_actors::catalog::Catalog;
use steward_actors::money::Money;
use steward_actors::order_saga::{AcceptOrder, Accepted, Line, Orders};
use steward_actors::providers::PostalAddress;
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;

use super::caller::Caller;
use super::idempotency::{self, IdempotencyKey, fingerprint};
use super::json::ValidJson;
use super::orders::OrderView;
use super::problem::{FieldError, Problem};
use super::query::is_sku;
use super::values::{AmountInput, CurrencyCode, is_one_line};

pub(super) fn configure(config: &mut ServiceConfig) {
    config.service(create_order);
}

/// An order to be placed. Prices are the server's.
#[derive(Serialize, Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct NewOrder {
    /// What is ordered; no SKU twice. Its total must be one that the payment provider can charge: 0.50 or more in
    /// USD and EUR, for instance, and in BHD, JOD, KWD, OMR and TND a multiple of 0.01.
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
    /// What the client believes it costs; if it does not, nothing is ordered (409). Without it the order is at
    /// whatever the prices are when it is accepted.
    #[garde(skip)]
    #[serde(skip_serializing_if = "Option::is_none")]
    expected_total: Option<AmountInput>,
    /// The currency that the client believes it costs that in; without it any will do.
    #[garde(skip)]
    #[serde(skip_serializing_if = "Option::is_none")]
    expected_currency: Option<CurrencyCode>,
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

/// Places an order. It is accepted when this answers, and reaches its end whatever happens.
#[utoipa::path(
    tag = "orders",
    params(("Idempotency-Key" = String, Header, description = "The client's name for this command")),
    request_body = NewOrder,
    responses(
        (status = 202, description = "Accepted; its saga has begun", body = OrderView),
        (
            status = 409,
            description = "The price is not what the client expected (`price_changed`, with the present `total` \
                           and `currency`), or the hold has ended (`hold_expired`) or is another order's \
                           (`hold_taken`)",
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
    let location = format!("/v1/orders/{}", accepted.order.value.id);
    let mut response = idempotency::respond(StatusCode::ACCEPTED, location, accepted.replayed);
    response.json(OrderView::of(accepted.order))
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
    as_expected(asked, &lines)?;
    Ok(lines)
}

/// 409 if the client believes that the lines cost something else than they do.
fn as_expected(asked: &NewOrder, lines: &[Line]) -> Result<(), Problem> {
    let Some(currency) = lines.first().map(|line| line.unit_price.currency) else { return Ok(()) };
    let total = lines.iter().try_fold(Money::new(0, currency), |sum, line| sum.plus(line.total()?));
    let total =
        total.map_err(|error| Problem::invalid_field("/lines", "amount", format!("the total {error}")))?;
    let expected_currency = asked.expected_currency.map_or(currency, |expected| expected.0);
    // In its own currency: if that was changed, the amount may not be one of the new.
    let expected = match &asked.expected_total {
        Some(amount) => amount.in_currency(expected_currency, "/expectedTotal")?,
        None => Money::new(total.minor, expected_currency),
    };
    if expected == total {
        return Ok(());
    }
    Err(Problem::conflict("price_changed", "The order costs something else now")
        .with("total", total.to_number())
        .with("currency", total.currency.code()))
}
