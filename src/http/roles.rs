//! Roles, what they permit, and who holds them.

use std::collections::BTreeSet;

use actix_web::{HttpRequest, HttpResponse, get, put, web};
use garde::Validate;
use serde::{Deserialize, Serialize};
use steward_actors::users::roles::{self, PERMISSIONS, Role, Roles};
use steward_actors::users::{Edit, Editor, Users};
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;

use super::caller::Caller;
use super::etag::{self, IfMatch};
use super::json::ValidJson;
use super::problem::{FieldError, Problem};
use super::query::{InPath, PathId};
use super::user_view::UserView;

pub(super) fn configure(config: &mut ServiceConfig) {
    config.service(list_roles).service(put_role).service(put_user_roles);
}

/// A role.
#[derive(Serialize, ToSchema)]
struct RoleView {
    name: String,
    /// What it permits.
    permissions: BTreeSet<String>,
}

impl RoleView {
    fn of(role: Role) -> Self {
        Self { name: role.name, permissions: role.permissions }
    }
}

/// All roles.
#[derive(Serialize, ToSchema)]
struct RoleList {
    /// By name.
    items: Vec<RoleView>,
}

/// The roles.
#[utoipa::path(
    tag = "users",
    responses((status = 200, body = RoleList)),
    security(("bearer" = ["roles:write"])),
)]
#[get("/roles")]
async fn list_roles(roles: web::Data<Roles>) -> Result<web::Json<RoleList>, Problem> {
    let items = roles.list().await?.into_iter().map(RoleView::of).collect();
    Ok(web::Json(RoleList { items }))
}

/// What a role is to permit.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RoleInput {
    /// Of users:read, users:write, roles:write, accounts:read, catalog:write, inventory:read,
    /// inventory:write, orders:read, orders:write, events:read, admin:read, admin:write.
    #[garde(length(max = 50))]
    #[schema(max_items = 50)]
    permissions: Vec<String>,
}

/// Says what a role permits; makes the role if there is none of this name. Who does it holds all
/// that the role permitted and is to permit.
#[utoipa::path(
    tag = "users",
    params(("name" = String, Path, description = "2 to 32 lower-case letters, in groups joined by `-`")),
    request_body = RoleInput,
    responses(
        (status = 200, body = RoleView),
        (status = 409, description = "The role `admin` permits everything (`role_fixed`), or there are too many roles"),
    ),
    security(("bearer" = ["roles:write"])),
)]
#[put("/roles/{name}")]
async fn put_role(
    caller: Caller,
    name: InPath<PathId>,
    body: ValidJson<RoleInput>,
    roles: web::Data<Roles>,
    request: HttpRequest,
) -> Result<web::Json<RoleView>, Problem> {
    let name = name.0.0;
    if !roles::is_role_name(&name) {
        return Err(Problem::not_found());
    }
    let unknown = |(n, name): (usize, &String)| {
        let known = PERMISSIONS.contains(&name.as_str());
        (!known).then(|| FieldError::new(format!("/permissions/{n}"), "unknown", "is no permission"))
    };
    let errors: Vec<FieldError> = body.0.permissions.iter().enumerate().filter_map(unknown).collect();
    if !errors.is_empty() {
        return Err(Problem::invalid(errors));
    }
    let role = roles.set(&caller.by(&request), &name, body.0.permissions.into_iter().collect()).await?;
    Ok(web::Json(RoleView::of(role)))
}

/// The roles that a user is to hold.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct UserRolesInput {
    #[garde(length(max = 20), custom(are_distinct))]
    #[schema(max_items = 20)]
    roles: Vec<String>,
}

/// For lists of roles: none twice.
pub(super) fn are_distinct(roles: &[String], _: &()) -> garde::Result {
    let distinct: BTreeSet<&String> = roles.iter().collect();
    match distinct.len() == roles.len() {
        true => Ok(()),
        false => Err(garde::Error::new("names a role twice")),
    }
}

/// Says which roles a user holds. Who does it holds all that the user may do, before and after.
#[utoipa::path(
    tag = "users",
    params(("id" = String, Path)),
    request_body = UserRolesInput,
    responses(
        (status = 200, body = UserView),
        (status = 409, description = "This is the last admin (`last_admin`)"),
        (status = 412, description = "The user has changed meanwhile"),
    ),
    security(("bearer" = ["roles:write"])),
)]
#[put("/users/{id}/roles")]
async fn put_user_roles(
    caller: Caller,
    id: InPath<PathId>,
    based_on: IfMatch,
    body: ValidJson<UserRolesInput>,
    users: web::Data<Users>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let edit = Edit { roles: Some(body.0.roles), ..Edit::default() };
    let by = Editor::Another(caller.by(&request));
    let user = users.edit(&id.0.0, &by, &edit, based_on.0).await?;
    Ok(etag::changed(etag::tag_of_user(&id.0.0, user.version), &UserView::of(user)))
}
