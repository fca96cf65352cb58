//! The smallest resource, in two versions: the pattern for adding another.

use actix_web::{get, web};
use serde::Serialize;
use utoipa::ToSchema;

/// A greeting.
#[derive(Serialize, ToSchema)]
struct Hello {
    message: &'static str,
    /// The version of the API that answered.
    version: &'static str,
}

/// Greets.
#[utoipa::path(tag = "hello", operation_id = "helloV1", responses((status = 200, body = Hello)))]
#[get("/hello")]
pub(super) async fn v1() -> web::Json<Hello> {
    web::Json(Hello { message: "Hello, world!", version: "v1" })
}

/// Greets, in the words of version 2.
#[utoipa::path(tag = "hello", operation_id = "helloV2", responses((status = 200, body = Hello)))]
#[get("/hello")]
pub(super) async fn v2() -> web::Json<Hello> {
    web::Json(Hello { message: "Hello from Steward!", version: "v2" })
}
