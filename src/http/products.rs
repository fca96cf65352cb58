//! Products and their variants.

use std::collections::{BTreeMap, HashMap};

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, get, post, web};
use garde::Validate;
use serde::{Deserialize, Serialize};
use steward_actors::catalog::{Catalog, NewProduct, Product, ProductPage, Variant};
use steward_actors::ids;
use steward_actors::inventory::{self, Inventory};
use steward_actors::store::Versioned;
use utoipa::{IntoParams, ToSchema};
use utoipa_actix_web::service_config::ServiceConfig;

use super::json::ValidJson;
use super::page::{Binding, CursorText, Limit, Listed};
use super::problem::Problem;
use super::query::{InPath, PathId, ValidQuery};
use super::values::{Amount, AmountInput, CurrencyCode, Time};

pub(super) fn configure(config: &mut ServiceConfig) {
    config.service(create_product).service(list_products).service(get_product);
}

type Attributes = BTreeMap<String, String>;

/// A product to be put on sale.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ProductInput {
    #[garde(length(chars, min = 1, max = 200))]
    #[schema(min_length = 1, max_length = 200)]
    name: String,
    #[garde(length(chars, max = 10_000))]
    #[schema(max_length = 10_000)]
    description: Option<String>,
    /// Where pictures of it are.
    #[garde(length(max = 20), inner(url, length(max = 2000)))]
    #[schema(max_items = 20)]
    #[serde(default)]
    image_urls: Vec<String>,
    /// What all its variants have in common, by name.
    #[garde(custom(are_attributes))]
    #[serde(default)]
    attributes: Attributes,
    #[garde(length(min = 1, max = 100), dive)]
    #[schema(min_items = 1, max_items = 100)]
    variants: Vec<VariantInput>,
}

/// One SKU of a product.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct VariantInput {
    /// Never reused, not even after the product is gone.
    #[garde(length(chars, min = 1, max = 64), pattern("^[A-Za-z0-9._-]+$"))]
    #[schema(min_length = 1, max_length = 64, pattern = "^[A-Za-z0-9._-]+$")]
    sku: String,
    #[garde(length(chars, min = 1, max = 200))]
    #[schema(min_length = 1, max_length = 200)]
    name: String,
    #[garde(skip)]
    price: AmountInput,
    #[garde(skip)]
    currency: CurrencyCode,
    /// What sets it apart from the others, by name.
    #[garde(custom(are_attributes))]
    #[serde(default)]
    attributes: Attributes,
}

fn are_attributes(attributes: &Attributes, _: &()) -> garde::Result {
    let fits = |text: &str, most: usize| (1..=most).contains(&text.chars().count());
    if attributes.len() <= 50 && attributes.iter().all(|(name, value)| fits(name, 64) && fits(value, 200)) {
        Ok(())
    } else {
        Err(garde::Error::new("has more than 50 names, or a name over 64 or a value over 200 characters"))
    }
}

/// A product.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ProductView {
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
}

impl ProductView {
    fn of(product: Versioned<Product>, available: &HashMap<String, i64>) -> Self {
        let Versioned { value: product, version } = product;
        let variant = |variant: Variant| VariantView {
            available: available.get(variant.sku.as_str()).copied().unwrap_or(0),
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

/// Units available of all SKUs of `products`.
async fn available(
    inventory: &Inventory,
    products: &[Versioned<Product>],
) -> Result<HashMap<String, i64>, Problem> {
    let variants = products.iter().flat_map(|product| &product.value.variants);
    let skus: Vec<String> = variants.map(|variant| variant.sku.as_str().to_owned()).collect();
    let mut available = HashMap::new();
    for some in skus.chunks(1000) {
        let stocks = inventory.stocks(some).await?;
        available
            .extend(stocks.into_iter().map(|stock| (stock.value.sku().to_owned(), stock.value.available())));
    }
    Ok(available)
}

/// Puts a product on sale. Its stock begins empty.
#[utoipa::path(
    tag = "catalogue",
    request_body = ProductInput,
    responses(
        (status = 201, body = ProductView),
        (status = 409, description = "A SKU is, or once was, another product's (`sku_taken`)"),
    ),
    security(("bearer" = ["catalog:write"])),
)]
#[post("/products")]
async fn create_product(
    body: ValidJson<ProductInput>,
    catalog: web::Data<Catalog>,
) -> Result<HttpResponse, Problem> {
    let asked = body.0;
    let mut variants = Vec::new();
    for (n, variant) in asked.variants.into_iter().enumerate() {
        let field = |name: &str| format!("/variants/{n}/{name}");
        let price = variant.price.in_currency(variant.currency.0, &field("price"))?;
        if price.minor < 0 {
            return Err(Problem::invalid_field(field("price"), "amount", "is negative"));
        }
        let sku = inventory::Sku::parse(variant.sku)
            .map_err(|error| Problem::invalid_field(field("sku"), "invalid", error.to_string()))?;
        variants.push(Variant { sku, name: variant.name, price, attributes: variant.attributes });
    }
    let new = NewProduct {
        id: ids::new_id(),
        name: asked.name,
        description: asked.description,
        category_id: None,
        image_urls: asked.image_urls,
        attributes: asked.attributes,
        variants,
    };
    let product = catalog.create(new).await?;
    let location = format!("/v1/products/{}", product.value.id);
    Ok(HttpResponse::Created()
        .insert_header((header::LOCATION, location))
        .json(ProductView::of(product, &HashMap::new())))
}

/// What narrows the list.
#[derive(Deserialize, Validate, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ProductFilter {
    /// Each word of it begins a word of the name or the description.
    #[garde(length(chars, max = 200))]
    #[param(max_length = 200)]
    q: Option<String>,
    #[serde(default)]
    #[garde(skip)]
    #[param(inline)]
    limit: Limit,
    #[garde(skip)]
    #[param(inline)]
    cursor: Option<CursorText>,
}

/// Products on sale, newest first.
#[utoipa::path(
    tag = "catalogue",
    params(ProductFilter),
    responses((status = 200, body = Listed<ProductView>)),
)]
#[get("/products")]
async fn list_products(
    filter: ValidQuery<ProductFilter>,
    catalog: web::Data<Catalog>,
    inventory: web::Data<Inventory>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let filter = filter.0;
    let binding = Binding::new("products", &filter.q);
    let after = filter.cursor.as_deref().map(|text| binding.open(text)).transpose()?;
    let words = filter.q.unwrap_or_default();
    let (found, next) = catalog.page(ProductPage { words, limit: filter.limit.get(), after }).await?;
    let available = available(&inventory, &found).await?;
    let found = found.into_iter().map(|product| ProductView::of(product, &available)).collect();
    Ok(Listed::new(found, next.as_ref(), &binding).respond(&request))
}

/// One product.
#[utoipa::path(
    tag = "catalogue",
    params(("id" = String, Path)),
    responses((status = 200, body = ProductView)),
)]
#[get("/products/{id}")]
async fn get_product(
    id: InPath<PathId>,
    catalog: web::Data<Catalog>,
    inventory: web::Data<Inventory>,
) -> Result<web::Json<ProductView>, Problem> {
    let found = catalog.get(&id.0.0).await?.ok_or_else(Problem::not_found)?;
    let available = available(&inventory, std::slice::from_ref(&found)).await?;
    Ok(web::Json(ProductView::of(found, &available)))
}
