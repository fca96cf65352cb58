//! Every route, on one screen. Each resource's file says which paths and methods it has; here is
//! where they hang.

use actix_web::App;
use utoipa::openapi::OpenApi;
use utoipa_actix_web::service_config::ServiceConfig;
use utoipa_actix_web::{AppExt, scope};

use super::{
    accounts, admin, connections, docs, health, hello, holds, inventory, openapi, orders, products, sessions,
    users,
};

/// What version 1 has, and what the paths without a version are.
fn v1(config: &mut ServiceConfig) {
    config
        .service(hello::v1)
        .configure(sessions::configure)
        .configure(users::configure)
        .configure(connections::configure)
        .configure(accounts::configure)
        .configure(products::configure)
        .configure(inventory::configure)
        .configure(holds::configure)
        .configure(orders::configure)
        .configure(admin::configure);
}

/// What differs in version 2. A third version is one more function like this one, its
/// `scope("/v3")` in [`documented`], and its handlers next to those it replaces.
fn v2(config: &mut ServiceConfig) {
    config.service(hello::v2);
}

/// What belongs to no version.
fn unversioned(config: &mut ServiceConfig) {
    config.configure(health::configure).configure(docs::configure);
}

fn documented(config: &mut ServiceConfig) {
    config.service(scope("/v1").configure(v1)).service(scope("/v2").configure(v2)).configure(unversioned);
}

/// Hangs every route into an application.
pub(super) fn configure(config: &mut actix_web::web::ServiceConfig) {
    documented(&mut ServiceConfig::new(config));
    // The same handlers answer without a version, in the form that the specifications use.
    v1(&mut ServiceConfig::new(config));
}

/// The path without its version, where it answers there too.
pub(super) fn without_version(path: &str) -> Option<&str> {
    path.strip_prefix("/v1").filter(|rest| rest.starts_with('/'))
}

/// The OpenAPI document of the routes, before [`openapi`] adds what all of them share.
pub(super) fn collect() -> OpenApi {
    let app = App::new().into_utoipa_app().openapi(openapi::head());
    app.configure(documented).split_for_parts().1
}
