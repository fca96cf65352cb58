//! Categories: the tree that products are under.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, delete, get, patch, post, web};
use garde::Validate;
use serde::{Deserialize, Serialize};
use steward_actors::catalog::{Catalog, Category, CategoryChange, Made, NewCategory};
use steward_actors::ids;
use utoipa::{IntoParams, ToSchema};
use utoipa_actix_web::service_config::ServiceConfig;

use super::caller::Caller;
use super::etag::{self, IfMatch};
use super::idempotency;
use super::json::{ValidJson, named};
use super::page::{Binding, CursorText, Limit, Listed};
use super::problem::Problem;
use super::query::{InPath, PathId, ValidQuery};
use super::values::is_one_line;

pub(super) fn configure(config: &mut ServiceConfig) {
    config
        .service(create_category)
        .service(list_categories)
        .service(get_category)
        .service(change_category)
        .service(delete_category);
}

/// A new category.
#[derive(Serialize, Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct CategoryInput {
    #[garde(length(chars, min = 1, max = 200), custom(is_one_line))]
    #[schema(min_length = 1, max_length = 200)]
    name: String,
    /// The category it is in; without one it is a top category.
    #[garde(inner(custom(is_id)))]
    #[schema(min_length = 1, max_length = 64, pattern = "^[A-Za-z0-9_-]+$")]
    parent_id: Option<String>,
}

/// What is to be changed of a category; what is not there stays.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct CategoryPatch {
    #[garde(inner(length(chars, min = 1, max = 200), custom(is_one_line)))]
    #[schema(value_type = String, required = false, min_length = 1, max_length = 200)]
    #[serde(default, deserialize_with = "named")]
    name: Option<String>,
    /// The category it is in; null makes it a top category.
    #[garde(inner(inner(custom(is_id))))]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 64, pattern = "^[A-Za-z0-9_-]+$")]
    #[serde(default, deserialize_with = "named")]
    parent_id: Option<Option<String>>,
}

/// For garde: what may be an id.
pub(super) fn is_id(text: &str, _: &()) -> garde::Result {
    if ids::is_well_formed(text) {
        Ok(())
    } else {
        Err(garde::Error::new("is not 1 to 64 of A-Z a-z 0-9 _ -"))
    }
}

/// A category.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct CategoryView {
    id: String,
    name: String,
    /// The category it is in; null for a top category.
    #[schema(required = true)]
    parent_id: Option<String>,
}

impl CategoryView {
    fn of(category: &Category) -> Self {
        let parent_id = category.parent_id().map(str::to_owned);
        Self { id: category.id.clone(), name: category.name.clone(), parent_id }
    }
}

/// Makes a category.
#[utoipa::path(
    tag = "catalogue",
    params(("Idempotency-Key" = Option<String>, Header, description = "The client's name for this command")),
    request_body = CategoryInput,
    responses(
        (status = 201, body = CategoryView),
        (
            status = 409,
            description = "There are 1,000 already (`too_many_categories`), or this command made one that was \
                           deleted since (`deleted_since`)",
        ),
    ),
    security(("bearer" = ["catalog:write"])),
)]
#[post("/categories")]
async fn create_category(
    caller: Caller,
    body: ValidJson<CategoryInput>,
    catalog: web::Data<Catalog>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let (id, command) = idempotency::optional(&request, &caller.user_id, "POST /v1/categories", &body.0)?;
    let CategoryInput { name, parent_id } = body.0;
    let made = catalog.create_category(NewCategory { id, command, name, parent_id }).await;
    let Made { value: category, replayed } = made.map_err(|error| Problem::of_catalog(error, "/parentId"))?;
    let location = format!("/v1/categories/{}", category.id);
    Ok(idempotency::respond(StatusCode::CREATED, location, replayed)
        .insert_header(etag::tag(category.revision))
        .json(CategoryView::of(&category)))
}

/// What narrows the list.
#[derive(Deserialize, Validate, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct CategoryFilter {
    /// Only categories directly in this one.
    #[garde(inner(custom(is_id)))]
    #[param(min_length = 1, max_length = 64, pattern = "^[A-Za-z0-9_-]+$")]
    parent_id: Option<String>,
    #[serde(default)]
    #[garde(skip)]
    #[param(inline)]
    limit: Limit,
    #[garde(skip)]
    #[param(inline)]
    cursor: Option<CursorText>,
}

/// Categories, oldest first.
#[utoipa::path(
    tag = "catalogue",
    params(CategoryFilter),
    responses((status = 200, body = Listed<CategoryView>)),
)]
#[get("/categories")]
async fn list_categories(
    filter: ValidQuery<CategoryFilter>,
    catalog: web::Data<Catalog>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let filter = filter.0;
    let binding = Binding::new("categories", &filter.parent_id);
    let after = binding.after(filter.cursor.as_deref())?;
    let (found, next) = catalog.categories(filter.parent_id.as_deref(), filter.limit.get(), after).await?;
    let found = found.iter().map(CategoryView::of).collect();
    Ok(Listed::new(found, next.as_ref(), &binding).respond(&request))
}

/// One category.
#[utoipa::path(
    tag = "catalogue",
    params(("id" = String, Path)),
    responses((status = 200, body = CategoryView)),
)]
#[get("/categories/{id}")]
async fn get_category(
    id: InPath<PathId>,
    catalog: web::Data<Catalog>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let category = catalog.category(&id.0.0).await?.ok_or_else(Problem::not_found)?;
    Ok(etag::versioned(&request, etag::tag(category.revision), &CategoryView::of(&category)))
}

/// Renames a category, or moves it with all that is in it.
#[utoipa::path(
    tag = "catalogue",
    params(("id" = String, Path), ("If-Match" = Option<String>, Header, description = "The ETag it is based on")),
    request_body = CategoryPatch,
    responses(
        (status = 200, body = CategoryView),
        (status = 412, description = "It has changed since (`precondition_failed`)"),
    ),
    security(("bearer" = ["catalog:write"])),
)]
#[patch("/categories/{id}")]
async fn change_category(
    id: InPath<PathId>,
    if_match: IfMatch,
    body: ValidJson<CategoryPatch>,
    catalog: web::Data<Catalog>,
) -> Result<HttpResponse, Problem> {
    let CategoryPatch { name, parent_id } = body.0;
    let change = CategoryChange { name, parent_id };
    let changed = catalog.change_category(&id.0.0, change, if_match.0).await;
    let category = changed.map_err(|error| Problem::of_catalog(error, "/parentId"))?;
    Ok(etag::changed(etag::tag(category.revision), &CategoryView::of(&category)))
}

/// Deletes a category that nothing is in.
#[utoipa::path(
    tag = "catalogue",
    params(("id" = String, Path), ("If-Match" = Option<String>, Header, description = "The ETag it is based on")),
    responses(
        (status = 204, description = "It is gone"),
        (status = 409, description = "Something is in it (`category_in_use`, `category_has_children`)"),
        (status = 412, description = "It has changed since (`precondition_failed`)"),
    ),
    security(("bearer" = ["catalog:write"])),
)]
#[delete("/categories/{id}")]
async fn delete_category(
    id: InPath<PathId>,
    if_match: IfMatch,
    catalog: web::Data<Catalog>,
) -> Result<HttpResponse, Problem> {
    let deleted = catalog.delete_category(&id.0.0, if_match.0).await;
    deleted.map_err(|error| Problem::of_catalog(error, "/parentId"))?;
    Ok(HttpResponse::NoContent().finish())
}
