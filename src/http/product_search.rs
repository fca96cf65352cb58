//! Looking for products.

use std::collections::{BTreeMap, BTreeSet};
use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest, HttpResponse, get, web};
use garde::Validate;
use serde::{Deserialize, Serialize};
use steward_actors::catalog::{Catalog, Facets, ProductPage, ProductSearch, Sort, level_of_text};
use steward_actors::rates::Rates;
use utoipa::{IntoParams, ToSchema};
use utoipa_actix_web::service_config::ServiceConfig;

use super::categories::is_id;
use super::page::{Binding, CursorText, Limit, Listed, link_next};
use super::problem::{FieldError, Problem};
use super::products::{ProductView, ShownIn};
use super::query;
use super::values::CurrencyCode;

pub(super) fn configure(config: &mut ServiceConfig) {
    config.service(list_products);
}

/// What the parameters for attributes begin with.
const ATTRIBUTES: &str = "attributes.";
/// Values of attributes that may be asked for.
const MOST_VALUES: usize = 20;

/// What narrows and sorts the list.
#[derive(Deserialize, Validate, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ProductFilter {
    /// Each word of it begins a word of the name or the description. A word is a run of letters and
    /// digits; case makes no difference, nor whether é is written as one character or as two. Of a
    /// word 40 characters count, and of more than 64 words the first 64.
    #[garde(length(chars, max = 200))]
    #[param(max_length = 200)]
    q: Option<String>,
    /// Only products in this category or one that is in it.
    #[garde(inner(custom(is_id)))]
    #[param(min_length = 1, max_length = 64, pattern = "^[A-Za-z0-9_-]+$")]
    category: Option<String>,
    /// Only products whose cheapest variant costs so much at least, in the product's currency.
    #[garde(inner(custom(is_price)))]
    #[param(pattern = "^[0-9]{1,14}(\\.[0-9]{1,4})?$")]
    min_price: Option<String>,
    /// … and so much at most.
    #[garde(inner(custom(is_price)))]
    #[param(pattern = "^[0-9]{1,14}(\\.[0-9]{1,4})?$")]
    max_price: Option<String>,
    /// Only products of which some (true) or none (false) can be ordered now.
    #[garde(skip)]
    in_stock: Option<bool>,
    /// Without it: `relevance` if there is a `q`, else `-createdAt`.
    #[garde(skip)]
    #[param(inline)]
    sort: Option<SortBy>,
    /// `facets`: counts over what is found, without regard to `inStock`.
    #[garde(skip)]
    #[param(inline)]
    expand: Option<Expand>,
    /// Prices are shown in this currency too, by the latest reference rates.
    #[garde(skip)]
    #[param(inline)]
    currency: Option<CurrencyCode>,
    #[serde(default)]
    #[garde(skip)]
    #[param(inline)]
    limit: Limit,
    #[garde(skip)]
    #[param(inline)]
    cursor: Option<CursorText>,
}

fn is_price(text: &str, _: &()) -> garde::Result {
    // Fifteen digits keep it exact wherever it goes.
    let fits = text.len() <= 20 && level_of_text(text).is_some();
    if fits { Ok(()) } else { Err(garde::Error::new("is no amount such as 12.50")) }
}

/// The order of the list.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
enum SortBy {
    /// What is called so first, then what has all words in its name; newest first in each part.
    #[serde(rename = "relevance")]
    Relevance,
    /// Cheapest first.
    #[serde(rename = "price")]
    Price,
    /// Dearest first.
    #[serde(rename = "-price")]
    PriceDescending,
    /// Newest first.
    #[serde(rename = "-createdAt")]
    Newest,
}

impl From<SortBy> for Sort {
    fn from(sort: SortBy) -> Self {
        match sort {
            SortBy::Relevance => Self::Relevance,
            SortBy::Price => Self::Cheapest,
            SortBy::PriceDescending => Self::Dearest,
            SortBy::Newest => Self::Newest,
        }
    }
}

/// What comes with the list.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
enum Expand {
    Facets,
}

type AttributeFilter = BTreeMap<String, BTreeSet<String>>;

/// The whole query string.
struct ProductQuery {
    filter: ProductFilter,
    attributes: AttributeFilter,
}

impl FromRequest for ProductQuery {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Self::read(request.query_string()))
    }
}

impl ProductQuery {
    fn read(text: &str) -> Result<Self, Problem> {
        let (filter, named) = query::split(text, ATTRIBUTES)?;
        let mut attributes = AttributeFilter::new();
        if named.len() > MOST_VALUES {
            return Err(Problem::invalid_field("attributes", "invalid", "are more than 20 values"));
        }
        for (name, value) in named {
            let fits = |text: &str, most| (1..=most).contains(&text.chars().count());
            if !fits(&name, 64) || !fits(&value, 200) {
                let field: String = format!("{ATTRIBUTES}{name}").chars().take(200).collect();
                let message = "has a name over 64 or a value over 200 characters, or an empty one";
                return Err(Problem::invalid(vec![FieldError::new(field, "invalid", message)]));
            }
            attributes.entry(name).or_default().insert(value);
        }
        Ok(Self { filter, attributes })
    }

    fn search(self) -> Result<(ProductSearch, Binding), Problem> {
        let Self { filter, attributes } = self;
        let (q, sort) = (filter.q.unwrap_or_default(), filter.sort.map(Sort::from));
        let sort = sort.unwrap_or(if q.is_empty() { Sort::Newest } else { Sort::Relevance });
        let level = |text: &Option<String>| text.as_deref().and_then(level_of_text);
        let (min_price, max_price) = (level(&filter.min_price), level(&filter.max_price));
        let bound =
            (&q, &filter.category, min_price, max_price, filter.in_stock, &attributes, format!("{sort:?}"));
        let binding = Binding::new("products", &bound);
        let after = binding.after(filter.cursor.as_deref())?;
        let search = ProductSearch {
            words: q,
            category: filter.category,
            min_price,
            max_price,
            in_stock: filter.in_stock,
            attributes,
            sort,
            limit: filter.limit.get(),
            after,
        };
        Ok((search, binding))
    }
}

/// A page of products, and what they have in common.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ProductList {
    /// What was found. A page may be shorter than `limit` although another follows.
    items: Vec<ProductView>,
    /// Where the next page begins; null when there is none.
    #[schema(required = true)]
    next_cursor: Option<String>,
    /// With `expand=facets`.
    #[serde(skip_serializing_if = "Option::is_none")]
    facets: Option<FacetsView>,
}

/// Counts over the first 1,000 products that are found, in stock or not.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct FacetsView {
    /// How many products were counted.
    counted: u64,
    /// Whether these were all.
    complete: bool,
    categories: Vec<CategoryFacetView>,
    attributes: Vec<AttributeFacetView>,
    prices: Vec<PriceFacetView>,
}

/// Products in a category or one that is in it.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct CategoryFacetView {
    id: String,
    name: String,
    /// Products in it or in a category that is in it.
    count: u64,
}

/// The most frequent values of an attribute.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct AttributeFacetView {
    name: String,
    values: Vec<ValueFacetView>,
}

/// Products that have this value, or a variant that has it.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ValueFacetView {
    value: String,
    count: u64,
}

/// Products whose cheapest variant costs that, in the product's currency.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct PriceFacetView {
    /// The lowest price that is in.
    from: i64,
    /// The lowest price that is out; null for the last band.
    #[schema(required = true)]
    until: Option<i64>,
    count: u64,
}

impl FacetsView {
    fn of(facets: Facets) -> Self {
        let Facets { counted, complete, categories, attributes, prices } = facets;
        let value = |value: steward_actors::catalog::ValueFacet| ValueFacetView {
            value: value.value,
            count: value.count,
        };
        Self {
            counted,
            complete,
            categories: categories
                .into_iter()
                .map(|found| CategoryFacetView { id: found.id, name: found.name, count: found.count })
                .collect(),
            attributes: attributes
                .into_iter()
                .map(|found| AttributeFacetView {
                    name: found.name,
                    values: found.values.into_iter().map(value).collect(),
                })
                .collect(),
            prices: prices
                .into_iter()
                .map(|found| PriceFacetView { from: found.from, until: found.until, count: found.count })
                .collect(),
        }
    }
}

/// Products on sale.
#[utoipa::path(
    tag = "catalogue",
    params(
        ProductFilter,
        ("attributes.NAME" = Option<String>, Query, description = "Only products that, or a variant of \
            which, have this value of the attribute NAME; given again, one of the values. At most 20."),
    ),
    responses((status = 200, body = ProductList)),
)]
#[get("/products")]
async fn list_products(
    asked: ProductQuery,
    catalog: web::Data<Catalog>,
    rates: web::Data<Rates>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let expand = asked.filter.expand;
    let currency = asked.filter.currency;
    let (search, binding) = asked.search()?;
    let shown_in = ShownIn::asked(currency, &rates).await?;
    let ProductPage { products, available, next } = catalog.search(&search).await?;
    let facets = match expand {
        Some(Expand::Facets) => Some(FacetsView::of(catalog.facets(&search).await?)),
        None => None,
    };
    let items =
        products.into_iter().map(|product| ProductView::of(product, &available, shown_in.as_ref())).collect();
    let Listed { items, next_cursor } = Listed::new(items, next.as_ref(), &binding);
    let mut response = HttpResponse::Ok();
    link_next(&mut response, &request, next_cursor.as_deref());
    Ok(response.json(ProductList { items, next_cursor, facets }))
}
