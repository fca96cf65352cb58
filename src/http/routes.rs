//! Every route, on one screen. Each resource's file says which paths and methods it has; here is
//! where they hang.

use std::collections::BTreeSet;

use actix_web::App;
use clap::ValueEnum;
use utoipa::openapi::OpenApi;
use utoipa_actix_web::service_config::ServiceConfig;
use utoipa_actix_web::{AppExt, scope};

use super::{
    accounts, admin, balances, bank_webhooks, categories, codes, connections, docs, export, health, hello,
    holds, inventory, keys, linking, links, metrics, net_worth, openapi, order_commands, order_events,
    order_placing, orders, people, product_commands, product_search, products, profiles, recovery, roles,
    sessions, transaction_commands, transactions, users, webhooks,
};

/// A bounded context: what may be deployed and scaled apart from the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Context {
    /// Users, sessions, roles.
    Users,
    /// Products, categories, stock.
    Catalog,
    /// Orders, payments, refunds.
    Orders,
    /// Linked connections, accounts, transactions.
    Accounts,
}

/// The contexts whose routes a replica serves. What belongs to no version (health, the API's
/// description) is always served; what belongs to no context, with any of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served(BTreeSet<Context>);

impl Served {
    /// Everything.
    pub fn all() -> Self {
        Self::these(Context::value_variants().iter().copied())
    }

    /// These contexts and no other; none of them for a replica that answers nobody.
    pub fn these(contexts: impl IntoIterator<Item = Context>) -> Self {
        Self(contexts.into_iter().collect())
    }
}

/// What version 1 has, and what the paths without a version are.
fn v1(config: &mut ServiceConfig, served: &Served) {
    if served.0.is_empty() {
        return;
    }
    // Routes are tried one after the other, so those that are asked most come first.
    for context in &served.0 {
        match context {
            Context::Users => config
                .configure(profiles::configure)
                .configure(sessions::configure)
                .configure(users::configure)
                .configure(people::configure)
                .configure(recovery::configure)
                .configure(roles::configure)
                .configure(export::configure),
            Context::Catalog => config
                .configure(categories::configure)
                .configure(product_search::configure)
                .configure(products::configure)
                .configure(product_commands::configure)
                .configure(inventory::configure)
                .configure(holds::configure),
            Context::Orders => config
                .configure(order_placing::configure)
                .configure(orders::configure)
                .configure(order_commands::configure)
                .configure(order_events::configure)
                .configure(webhooks::configure),
            Context::Accounts => config
                .configure(linking::configure)
                .configure(connections::configure)
                .configure(bank_webhooks::configure)
                .configure(accounts::configure)
                .configure(balances::configure)
                .configure(net_worth::configure)
                .configure(transactions::configure)
                .configure(transaction_commands::configure),
        };
    }
    config.service(hello::v1).configure(admin::configure);
}

/// What differs in version 2. A third version is one more function like this one, its
/// `scope("/v3")` in [`documented`], and its handlers next to those it replaces.
fn v2(config: &mut ServiceConfig, served: &Served) {
    if !served.0.is_empty() {
        config.service(hello::v2);
    }
}

/// What belongs to no version.
fn unversioned(config: &mut ServiceConfig) {
    config
        .configure(health::configure)
        .configure(metrics::configure)
        .configure(docs::configure)
        .configure(links::configure)
        .configure(keys::configure)
        .configure(codes::configure);
}

fn documented(config: &mut ServiceConfig, served: &Served) {
    config
        .service(scope("/v1").configure(|config| v1(config, served)))
        .service(scope("/v2").configure(|config| v2(config, served)))
        .configure(unversioned);
}

/// Hangs the routes of what is served into an application.
pub(super) fn configure(config: &mut actix_web::web::ServiceConfig, served: &Served) {
    documented(&mut ServiceConfig::new(config), served);
    // The same handlers answer without a version, in the form that the specifications use.
    v1(&mut ServiceConfig::new(config), served);
}

/// Hangs what the operations port has into an application.
pub(super) fn operations(config: &mut actix_web::web::ServiceConfig) {
    ServiceConfig::new(config).configure(health::configure).configure(metrics::configure);
}

/// Whether a path belongs to a version of the API.
pub(super) fn is_versioned(path: &str) -> bool {
    path.strip_prefix("/v").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}

/// The OpenAPI document of the routes, before [`openapi`] adds what all of them share.
pub(super) fn collect(served: &Served) -> OpenApi {
    let app = App::new().into_utoipa_app().openapi(openapi::head());
    app.configure(|config: &mut ServiceConfig| documented(config, served)).split_for_parts().1
}
