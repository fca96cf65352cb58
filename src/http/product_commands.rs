//! Products put on sale, changed, and taken off sale.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, delete, patch, post, web};
use garde::Validate;
use serde::{Deserialize, Serialize};
use steward_actors::catalog::{Catalog, Made, NewProduct, ProductChange, Variant, VariantChange};
use steward_actors::inventory::Sku;
use steward_actors::text::is_control;
use url::Url;
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;

use super::caller::Caller;
use super::categories::is_id;
use super::etag::{self, IfMatch};
use super::idempotency;
use super::json::{ValidJson, named};
use super::problem::Problem;
use super::products::{Attributes, ProductView, shown};
use super::query::{InPath, PathId, is_sku};
use super::values::{AmountInput, CurrencyCode, is_one_line, is_text};

pub(super) fn configure(config: &mut ServiceConfig) {
    config.service(create_product).service(change_product).service(archive_product);
}

/// Bytes of a body: 100 variants with their attributes.
const BODY: usize = 512 * 1024;

/// A product to be put on sale.
#[derive(Serialize, Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ProductInput {
    #[garde(length(chars, min = 1, max = 200), custom(is_one_line))]
    #[schema(min_length = 1, max_length = 200)]
    name: String,
    /// What it is. Searched by each of its words, however many they are.
    #[garde(inner(length(chars, max = 10_000), custom(is_text)))]
    #[schema(max_length = 10_000)]
    description: Option<String>,
    /// The category it is in.
    #[garde(inner(custom(is_id)))]
    #[schema(min_length = 1, max_length = 64, pattern = "^[A-Za-z0-9_-]+$")]
    category_id: Option<String>,
    /// Where pictures of it are: http or https.
    #[garde(length(max = 20), inner(length(max = 2000), custom(is_image_url)))]
    #[schema(max_items = 20)]
    #[serde(default)]
    image_urls: Vec<String>,
    /// What all its variants have in common, by name.
    #[garde(custom(are_attributes))]
    #[serde(default)]
    attributes: Attributes,
    /// All in one currency.
    #[garde(length(min = 1, max = 100), dive)]
    #[schema(min_items = 1, max_items = 100)]
    variants: Vec<VariantInput>,
}

/// One SKU of a product.
#[derive(Serialize, Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct VariantInput {
    /// Never reused, not even after the product is gone.
    #[garde(custom(is_sku))]
    #[schema(min_length = 1, max_length = 64, pattern = "^[A-Za-z0-9._-]+$")]
    sku: String,
    #[garde(length(chars, min = 1, max = 200), custom(is_one_line))]
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

/// What is to be changed of a product; what is not there stays.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ProductPatch {
    #[garde(inner(length(chars, min = 1, max = 200), custom(is_one_line)))]
    #[schema(value_type = String, required = false, min_length = 1, max_length = 200)]
    #[serde(default, deserialize_with = "named")]
    name: Option<String>,
    /// What it is. Searched by each of its words, however many they are.
    #[garde(inner(inner(length(chars, max = 10_000), custom(is_text))))]
    #[schema(value_type = Option<String>, max_length = 10_000)]
    #[serde(default, deserialize_with = "named")]
    description: Option<Option<String>>,
    #[garde(inner(inner(custom(is_id))))]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 64, pattern = "^[A-Za-z0-9_-]+$")]
    #[serde(default, deserialize_with = "named")]
    category_id: Option<Option<String>>,
    /// All of them; null for none.
    #[garde(inner(inner(length(max = 20), inner(length(max = 2000), custom(is_image_url)))))]
    #[schema(value_type = Option<Vec<String>>, max_items = 20)]
    #[serde(default, deserialize_with = "named")]
    image_urls: Option<Option<Vec<String>>>,
    /// All of them; null for none.
    #[garde(inner(inner(custom(are_attributes))))]
    #[schema(value_type = Option<Attributes>)]
    #[serde(default, deserialize_with = "named")]
    attributes: Option<Option<Attributes>>,
    /// Those to be changed or added, by SKU; the others stay.
    #[garde(length(max = 100), dive)]
    #[schema(max_items = 100)]
    #[serde(default)]
    variants: Vec<VariantPatch>,
}

/// What is to be changed of a variant. One that the product has not got is added, and needs a
/// name and a price.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct VariantPatch {
    #[garde(custom(is_sku))]
    #[schema(min_length = 1, max_length = 64, pattern = "^[A-Za-z0-9._-]+$")]
    sku: String,
    #[garde(inner(length(chars, min = 1, max = 200), custom(is_one_line)))]
    #[schema(value_type = String, required = false, min_length = 1, max_length = 200)]
    #[serde(default, deserialize_with = "named")]
    name: Option<String>,
    #[garde(skip)]
    #[schema(value_type = AmountInput, required = false)]
    #[serde(default, deserialize_with = "named")]
    price: Option<AmountInput>,
    /// Without it, the price is in the currency of the product.
    #[garde(skip)]
    #[schema(value_type = CurrencyCode, required = false)]
    #[serde(default, deserialize_with = "named")]
    currency: Option<CurrencyCode>,
    /// All of them; null for none.
    #[garde(inner(inner(custom(are_attributes))))]
    #[schema(value_type = Option<Attributes>)]
    #[serde(default, deserialize_with = "named")]
    attributes: Option<Option<Attributes>>,
}

fn is_image_url(text: &str, _: &()) -> garde::Result {
    let web = text.starts_with("https://") || text.starts_with("http://");
    let url = Url::parse(text).ok().filter(|_| web);
    let is_public = |url: &Url| url.has_host() && url.username().is_empty() && url.password().is_none();
    // Browsers mend what is not quite a URL; what we hand on is one.
    let exact = text.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'"' | b'<' | b'>' | b'\\' | b'`'));
    if exact && url.as_ref().is_some_and(is_public) {
        Ok(())
    } else {
        Err(garde::Error::new("is no http or https URL, in ASCII and without credentials"))
    }
}

fn are_attributes(attributes: &Attributes, _: &()) -> garde::Result {
    let fits =
        |text: &str, most: usize| (1..=most).contains(&text.chars().count()) && !text.contains(is_control);
    if attributes.len() <= 50 && attributes.iter().all(|(name, value)| fits(name, 64) && fits(value, 200)) {
        Ok(())
    } else {
        Err(garde::Error::new(
            "has more than 50 names, or one that is not 1 to 64 characters, or a value that is not 1 to \
             200, or control characters",
        ))
    }
}

/// Puts a product on sale. Its stock begins empty.
#[utoipa::path(
    tag = "catalogue",
    params(("Idempotency-Key" = Option<String>, Header, description = "The client's name for this command")),
    request_body = ProductInput,
    responses(
        (status = 201, body = ProductView),
        (status = 409, description = "A SKU is, or once was, another product's (`sku_taken`)"),
    ),
    security(("bearer" = ["catalog:write"])),
)]
#[post("/products")]
async fn create_product(
    caller: Caller,
    body: ValidJson<ProductInput, BODY>,
    catalog: web::Data<Catalog>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let (id, command) = idempotency::optional(&request, &caller.user_id, "POST /v1/products", &body.0)?;
    let made = catalog.create(new_product(body.0, id, command)?).await;
    let Made { value: product, replayed } =
        made.map_err(|error| Problem::of_catalog(error, "/categoryId"))?;
    let location = format!("/v1/products/{}", product.value.id);
    let (tag, product) = shown(product, &catalog, None).await?;
    Ok(idempotency::respond(StatusCode::CREATED, location, replayed).insert_header(tag).json(product))
}

fn new_product(asked: ProductInput, id: String, command: Option<String>) -> Result<NewProduct, Problem> {
    let mut variants = Vec::new();
    for (n, variant) in asked.variants.into_iter().enumerate() {
        let price = variant.price.in_currency(variant.currency.0, &format!("/variants/{n}/price"))?;
        let sku = sku(variant.sku, n)?;
        variants.push(Variant { sku, name: variant.name, price, attributes: variant.attributes });
    }
    Ok(NewProduct {
        id,
        command,
        name: asked.name,
        description: asked.description,
        category_id: asked.category_id,
        image_urls: asked.image_urls,
        attributes: asked.attributes,
        variants,
    })
}

fn sku(text: String, n: usize) -> Result<Sku, Problem> {
    Sku::parse(text)
        .map_err(|error| Problem::invalid_field(format!("/variants/{n}/sku"), "invalid", error.to_string()))
}

/// Changes a product that is on sale, and the names and prices of orders to come.
#[utoipa::path(
    tag = "catalogue",
    params(("id" = String, Path), ("If-Match" = Option<String>, Header, description = "The ETag it is based on")),
    request_body = ProductPatch,
    responses(
        (status = 200, body = ProductView),
        (status = 409, description = "It is archived (`archived`), or a new SKU is taken (`sku_taken`)"),
        (status = 412, description = "It has changed since (`precondition_failed`)"),
    ),
    security(("bearer" = ["catalog:write"])),
)]
#[patch("/products/{id}")]
async fn change_product(
    id: InPath<PathId>,
    if_match: IfMatch,
    body: ValidJson<ProductPatch, BODY>,
    catalog: web::Data<Catalog>,
) -> Result<HttpResponse, Problem> {
    let asked = body.0;
    let variant = |(n, variant): (usize, VariantPatch)| {
        Ok::<_, Problem>(VariantChange {
            sku: sku(variant.sku, n)?,
            name: variant.name,
            price: variant.price.map(AmountInput::into_text),
            currency: variant.currency.map(|currency| currency.0),
            attributes: variant.attributes.map(Option::unwrap_or_default),
        })
    };
    let change = ProductChange {
        name: asked.name,
        description: asked.description,
        category_id: asked.category_id,
        image_urls: asked.image_urls.map(Option::unwrap_or_default),
        attributes: asked.attributes.map(Option::unwrap_or_default),
        variants: asked.variants.into_iter().enumerate().map(variant).collect::<Result<_, _>>()?,
    };
    let changed = catalog.change(&id.0.0, &change, if_match.0).await;
    let product = changed.map_err(|error| Problem::of_catalog(error, "/categoryId"))?;
    let (tag, product) = shown(product, &catalog, None).await?;
    Ok(etag::changed(tag, &product))
}

/// Takes a product off sale for good. It stays readable; its SKUs are never another's.
#[utoipa::path(
    tag = "catalogue",
    params(("id" = String, Path), ("If-Match" = Option<String>, Header, description = "The ETag it is based on")),
    responses(
        (status = 204, description = "It is archived"),
        (status = 409, description = "Some of it is held (`stock_held`)"),
        (status = 412, description = "It has changed since (`precondition_failed`)"),
    ),
    security(("bearer" = ["catalog:write"])),
)]
#[delete("/products/{id}")]
async fn archive_product(
    id: InPath<PathId>,
    if_match: IfMatch,
    catalog: web::Data<Catalog>,
) -> Result<HttpResponse, Problem> {
    let archived = catalog.archive(&id.0.0, if_match.0).await;
    archived.map_err(|error| Problem::of_catalog(error, "/categoryId"))?;
    Ok(HttpResponse::NoContent().finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_at_http_or_https_urls() {
        for good in
            ["https://shop.example/a.png?x=1#y", "http://[::1]:8080/a", "https://xn--bcher-kva.example/%20"]
        {
            assert!(is_image_url(good, &()).is_ok(), "{good}");
        }
        for bad in [
            "javascript:alert(1)",
            "data:image/png;base64,AA",
            "ftp://x/y",
            "file:///etc/passwd",
            "//shop.example/a",
            "https://",
            "https://user:pw@shop.example/a",
            "https://shop.example/a b",
            "https://shop.example/\u{0}",
            " https://shop.example/a",
            "https://shop.example/\"><script>",
            "https:shop",
            "",
            "https://büch.example/",
        ] {
            assert!(is_image_url(bad, &()).is_err(), "{bad}");
        }
    }
}
