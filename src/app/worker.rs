//! What each HTTP thread is given to answer with.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use actix_web::web::Data;
use secrecy::SecretString;
use steward_actors::account_sync::Connections;
use steward_actors::accounts::{Accounts, Ledger};
use steward_actors::addresses::AddressCheck;
use steward_actors::catalog::Catalog;
use steward_actors::cluster::{Membership, Slots, StoreClock};
use steward_actors::inventory::Inventory;
use steward_actors::order_saga::Orders;
use steward_actors::rates::Rates;
use steward_actors::session::Sessions;
use steward_actors::users::Users;
use steward_actors::users::roles::Roles;

use super::operations::Operations;
use super::readiness::ReplicaReadiness;
use crate::http::caller::Authenticator;
use crate::http::health::Health;
use crate::http::keys::PublishedKeys;
use crate::http::metrics::Figures;
use crate::http::order_events::Streams;
use crate::http::webhooks::StripeWebhooks;
use crate::providers::PlaidWebhooks;
use crate::telemetry;

/// What each HTTP thread gets.
#[derive(Clone)]
pub(super) struct Worker {
    pub(super) published: PublishedKeys,
    pub(super) sessions: Sessions,
    pub(super) users: Users,
    pub(super) roles: Roles,
    pub(super) catalog: Catalog,
    pub(super) rates: Rates,
    pub(super) addresses: AddressCheck,
    pub(super) accounts: Accounts,
    pub(super) ledger: Ledger,
    pub(super) inventory: Inventory,
    pub(super) orders: Orders,
    pub(super) connections: Connections,
    pub(super) operations: Operations,
    pub(super) streams: Arc<Streams>,
    pub(super) webhook_secret: Option<SecretString>,
    pub(super) plaid_webhooks: Option<Arc<PlaidWebhooks>>,
    pub(super) clock: Arc<StoreClock>,
    pub(super) membership: Arc<Membership>,
    pub(super) slots: Arc<Slots>,
    pub(super) readiness: ReplicaReadiness,
    pub(super) in_detail: bool,
    pub(super) threads: Arc<AtomicUsize>,
}

impl Worker {
    pub(super) fn configure(&self, app: &mut actix_web::web::ServiceConfig) {
        let thread = self.threads.fetch_add(1, Ordering::Relaxed);
        let authenticator: Authenticator = Rc::new(self.sessions.on_this_thread(&format!("http-{thread}")));
        self.operations.configure(app);
        app.app_data(authenticator)
            .app_data(Health { readiness: Rc::new(self.readiness.clone()), in_detail: self.in_detail });
        if self.in_detail {
            app.app_data(Figures(telemetry::figures));
        }
        app.app_data(Data::new(self.published.clone()))
            .app_data(Data::new(self.sessions.clone()))
            .app_data(Data::new(self.users.clone()))
            .app_data(Data::new(self.roles.clone()))
            .app_data(Data::new(self.catalog.clone()))
            .app_data(Data::new(self.rates.clone()))
            .app_data(Data::new(self.addresses.clone()))
            .app_data(Data::new(self.accounts.clone()))
            .app_data(Data::new(self.ledger.clone()))
            .app_data(Data::new(self.inventory.clone()))
            .app_data(Data::new(self.orders.clone()))
            .app_data(Data::from(self.streams.clone()))
            .app_data(Data::new(StripeWebhooks {
                secret: self.webhook_secret.clone(),
                clock: self.clock.clone(),
            }))
            .app_data(Data::new(self.plaid_webhooks.clone()))
            .app_data(Data::new(self.connections.clone()))
            .app_data(Data::from(self.membership.clone()))
            .app_data(Data::from(self.slots.clone()));
    }
}
