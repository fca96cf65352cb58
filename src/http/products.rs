//! Products and their variants: how they are shown.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use actix_web::http::{StatusCode, header};
use actix_web::{HttpRequest, HttpResponse, get, web};
use garde::Validate;
use serde::{Deserialize, Serialize};
use steward_actors::catalog::{Catalog, Product, Variant};
use steward_actors::money::{Currency, Money};
use steward_actors::rates::{RateTable, Rates};
use steward_actors::store::Versioned;
use utoipa::{IntoParams, ToSchema};
use utoipa_actix_web::service_config::ServiceConfig;

use super::etag;
use super::problem::Problem;
use super::query::{InPath, PathId, ValidQuery};
use super::values::{Amount, CurrencyCode, Time};

pub(super) fn configure(config: &mut ServiceConfig) {
    config.service(get_product);
}

/// What a product or a variant has, by name.
pub(super) type Attributes = BTreeMap<String, String>;

/// A product.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct ProductView {
    id: String,
    name: String,
    #[schema(required = true)]
    description: Option<String>,
    #[schema(required = true)]
    category_id: Option<String>,
    image_urls: Vec<String>,
    attributes: Attributes,
    variants: Vec<VariantView>,
    archived: bool,
    version: u64,
    created_at: Time,
}

/// One SKU of a product.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct VariantView {
    sku: String,
    name: String,
    price: Amount,
    currency: CurrencyCode,
    attributes: Attributes,
    /// Units that can be ordered now.
    available: i64,
    /// With `currency=`: what that is in another currency, for show, by the latest rates there are.
    /// Orders are paid in the variant's own. Absent if the variant's currency has no rate.
    #[serde(skip_serializing_if = "Option::is_none")]
    converted: Option<ConvertedPrice>,
}

/// A price in another currency, by the reference rates of a day; rounded half away from zero.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ConvertedPrice {
    price: Amount,
    currency: CurrencyCode,
    /// The day that the rates are of: the last working day, or longer ago while their publisher is
    /// away.
    #[schema(format = Date)]
    rate_date: String,
}

/// When to ask again for rates that were never had.
const RATES_SOON: Duration = Duration::from_secs(10);

/// The rates that prices are shown by, and the currency they are shown in.
pub(super) struct ShownIn {
    table: RateTable,
    currency: Currency,
}

impl ShownIn {
    /// What a `currency=` asks for.
    ///
    /// # Errors
    /// 422 if the rates don't have the currency, 503 if no rates were ever had.
    pub(super) async fn asked(
        currency: Option<CurrencyCode>,
        rates: &Rates,
    ) -> Result<Option<Self>, Problem> {
        let Some(CurrencyCode(currency)) = currency else { return Ok(None) };
        match rates.latest().await? {
            Some(table) if table.has(currency) => Ok(Some(Self { table, currency })),
            Some(_) => Err(Problem::invalid_field("currency", "no_rate", "has no exchange rate")),
            None => Err(Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "no_rates",
                "There are no exchange rates yet",
            )
            .retry_after(RATES_SOON)),
        }
    }

    fn price(&self, price: Money) -> Option<ConvertedPrice> {
        let converted = self.table.convert(price, self.currency)?;
        Some(ConvertedPrice {
            price: converted.into(),
            currency: self.currency.into(),
            rate_date: self.table.date().to_owned(),
        })
    }
}

impl ProductView {
    pub(super) fn of(
        product: Versioned<Product>,
        available: &HashMap<String, i64>,
        shown_in: Option<&ShownIn>,
    ) -> Self {
        let Versioned { value: product, version } = product;
        let variant = |variant: Variant| VariantView {
            available: available.get(variant.sku.as_str()).copied().unwrap_or(0),
            converted: shown_in.and_then(|shown_in| shown_in.price(variant.price)),
            sku: variant.sku.as_str().to_owned(),
            name: variant.name,
            price: variant.price.into(),
            currency: variant.price.currency.into(),
            attributes: variant.attributes,
        };
        Self {
            id: product.id,
            name: product.name,
            description: product.description,
            category_id: product.category_id,
            image_urls: product.image_urls,
            attributes: product.attributes,
            variants: product.variants.into_iter().map(variant).collect(),
            archived: product.archived,
            version,
            created_at: product.created_at.into(),
        }
    }
}

/// The product as it stands, and its tag: what is available changes without the product.
pub(super) async fn shown(
    product: Versioned<Product>,
    catalog: &Catalog,
    shown_in: Option<&ShownIn>,
) -> Result<((header::HeaderName, String), ProductView), Problem> {
    let available = catalog.available(std::slice::from_ref(&product)).await?;
    let version = product.version;
    let product = ProductView::of(product, &available, shown_in);
    Ok((etag::tag_of_shown(version, &product), product))
}

/// How a product is shown.
#[derive(Deserialize, Validate, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Shown {
    /// Prices are shown in this currency too, by the latest reference rates.
    #[garde(skip)]
    #[param(inline)]
    currency: Option<CurrencyCode>,
}

/// One product, archived or not.
#[utoipa::path(
    tag = "catalogue",
    params(("id" = String, Path), Shown),
    responses((status = 200, body = ProductView)),
)]
#[get("/products/{id}")]
async fn get_product(
    id: InPath<PathId>,
    asked: ValidQuery<Shown>,
    catalog: web::Data<Catalog>,
    rates: web::Data<Rates>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let shown_in = ShownIn::asked(asked.0.currency, &rates).await?;
    let found = catalog.get(&id.0.0).await?.ok_or_else(Problem::not_found)?;
    let (tag, product) = shown(found, &catalog, shown_in.as_ref()).await?;
    Ok(etag::versioned(&request, tag, &product))
}
