//! Feature flags.

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, get, put, web};
use garde::Validate;
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;
use steward_actors::flags::{Flag, FlagChange, Flags, MOST_USERS};
use steward_actors::ids;
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;

use crate::http::caller::Caller;
use crate::http::etag::{self, IfMatch};
use crate::http::json::ValidJson;
use crate::http::problem::Problem;
use crate::http::query::InPath;
use crate::http::values::Time;

pub(super) fn configure(config: &mut ServiceConfig) {
    config.service(list_flags).service(get_flag).service(set_flag).service(my_flags);
}

/// A flag's name in a path: 1 to 64 of `a-z 0-9 -`.
struct FlagName(String);

impl<'de> Deserialize<'de> for FlagName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if (1..=64).contains(&name.len()) && name.bytes().all(legal) {
            Ok(Self(name))
        } else {
            Err(serde::de::Error::custom("no name"))
        }
    }
}

/// What to change; what is absent stays. A new flag is off, and for everyone once it is enabled.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct FlagInput {
    /// Off, it is off for everyone.
    #[garde(skip)]
    enabled: Option<bool>,
    /// The share of users that it is on for.
    #[garde(range(max = 100))]
    #[schema(maximum = 100)]
    percentage: Option<u8>,
    /// Users that it is on for besides.
    #[garde(length(max = MOST_USERS), custom(are_ids))]
    #[schema(max_items = 1000)]
    users: Option<Vec<String>>,
}

fn are_ids(users: &Option<Vec<String>>, (): &()) -> garde::Result {
    let fine = users.iter().flatten().all(|id| ids::is_well_formed(id));
    if fine { Ok(()) } else { Err(garde::Error::new("has something in it that is no id")) }
}

/// A flag.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct FlagView {
    name: String,
    /// Off, it is off for everyone.
    enabled: bool,
    /// The share of users that it is on for, 0 to 100.
    percentage: u8,
    /// Users that it is on for besides, by id.
    users: Vec<String>,
    updated_at: Time,
}

impl FlagView {
    fn of(flag: Flag) -> Self {
        let Flag { id, enabled, percentage, users, updated_at } = flag;
        Self { name: id, enabled, percentage, users, updated_at: updated_at.into() }
    }
}

/// All flags.
#[derive(Serialize, ToSchema)]
struct FlagViews {
    /// By name.
    items: Vec<FlagView>,
}

/// The flags, as this replica knows them (a second old at most).
#[utoipa::path(
    tag = "operations",
    responses((status = 200, body = FlagViews)),
    security(("bearer" = ["admin:read"])),
)]
#[get("/admin/flags")]
async fn list_flags(flags: web::Data<Flags>) -> Result<web::Json<FlagViews>, Problem> {
    let items = flags.known().values().cloned().map(FlagView::of).collect();
    Ok(web::Json(FlagViews { items }))
}

/// A flag.
#[utoipa::path(
    tag = "operations",
    params(("name" = String, Path)),
    responses((status = 200, body = FlagView)),
    security(("bearer" = ["admin:read"])),
)]
#[get("/admin/flags/{name}")]
async fn get_flag(
    request: HttpRequest,
    name: InPath<FlagName>,
    flags: web::Data<Flags>,
) -> Result<HttpResponse, Problem> {
    let flag = flags.get(&name.0.0).await?.ok_or_else(Problem::not_found)?;
    Ok(etag::versioned(&request, etag::tag(flag.version), &FlagView::of(flag.value)))
}

/// Changes a flag, or makes it.
#[utoipa::path(
    tag = "operations",
    params(("name" = String, Path), ("If-Match" = Option<String>, Header)),
    request_body = FlagInput,
    responses((status = 200, body = FlagView), (status = 201, body = FlagView), (status = 412, description = "The flag has changed meanwhile")),
    security(("bearer" = ["admin:write"])),
)]
#[put("/admin/flags/{name}")]
async fn set_flag(
    request: HttpRequest,
    caller: Caller,
    name: InPath<FlagName>,
    if_match: IfMatch,
    body: ValidJson<FlagInput>,
    flags: web::Data<Flags>,
) -> Result<HttpResponse, Problem> {
    let FlagInput { enabled, percentage, users } = body.0;
    let change = FlagChange { enabled, percentage, users };
    let (flag, new) = flags.set(&name.0.0, change, if_match.0, &caller.by(&request)).await?;
    let mut response = if new { HttpResponse::Created() } else { HttpResponse::Ok() };
    if new {
        response.insert_header((header::LOCATION, format!("/v1/admin/flags/{}", name.0.0)));
    }
    response.insert_header(etag::tag(flag.version));
    Ok(response.json(FlagView::of(flag.value)))
}

/// What is on for the caller.
#[derive(Serialize, ToSchema)]
struct MyFlags {
    /// Each flag there is, and whether it is on.
    flags: BTreeMap<String, bool>,
}

/// The flags as they are for the caller.
#[utoipa::path(
    tag = "users",
    responses((status = 200, body = MyFlags)),
    security(("bearer" = [])),
)]
#[get("/flags")]
async fn my_flags(caller: Caller, flags: web::Data<Flags>) -> web::Json<MyFlags> {
    let known = flags.known();
    let on = |(name, flag): (&String, &Flag)| (name.clone(), flag.is_on(Some(&caller.user_id)));
    web::Json(MyFlags { flags: known.iter().map(on).collect() })
}
