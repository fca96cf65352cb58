//! What the actors of a replica are made of, and the making of them.
//!
//! Who calls it: [`super::Steward::start`]. What never happens here: an adapter; those are handed in.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use steward_actors::account_sync::{Connections, SyncOptions, SyncParts};
use steward_actors::accounts::Accounts;
use steward_actors::cluster::{Membership, Slots, StoreClock};
use steward_actors::inventory::Inventory;
use steward_actors::order_saga::{Adoption, CrashPoints, Orders, OrdersOptions, OrdersParts};
use steward_actors::outbox::{Outbox, OutboxOptions, Performer, Waker};
use steward_actors::seal::Sealer;
use steward_actors::session::Invalidations;
use steward_actors::store::Store;
use steward_actors::supervision::{Arbiters, InfrastructureTask, Tree, supervise_task};
use steward_actors::users::{Belongings, Records, UserRemoval};
use steward_actors::{session, users};

use super::outside::Outside;
use super::schedules;
use super::share::{Role, Share};
use crate::config::{Config, Profile};

/// What the actors are made of.
pub(super) struct Parts {
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: Arc<StoreClock>,
    pub(super) tree: Tree,
    pub(super) arbiters: Arc<Arbiters>,
    pub(super) incarnation: String,
    pub(super) slots: Arc<Slots>,
}

impl Parts {
    pub(super) fn inventory(&self) -> Inventory {
        let (arbiters, tree) = (self.arbiters.clone(), self.tree.clone());
        Inventory::new(self.store.clone(), self.clock.clone(), arbiters, tree, Inventory::OPTIONS)
    }

    pub(super) fn orders(
        &self,
        inventory: &Inventory,
        outside: &Outside,
        waker: &Waker,
        crash_points: &CrashPoints,
        share: &Share,
    ) -> Orders {
        let parts = OrdersParts {
            store: self.store.clone(),
            clock: self.clock.clone(),
            holds: Arc::new(inventory.clone()),
            payments: outside.payments.clone(),
            outbox: waker.clone(),
            incarnation: self.incarnation.clone(),
            crash_points: crash_points.clone(),
        };
        let options = OrdersOptions { runs_sagas: share.has(Role::Orders), ..OrdersOptions::default() };
        Orders::new(parts, options, self.arbiters.clone(), self.tree.clone())
    }

    /// What lets go of users who are gone.
    pub(super) fn removal(
        &self,
        connections: &Connections,
        accounts: &Accounts,
        orders: &Orders,
        inventory: &Inventory,
    ) -> UserRemoval {
        let records = |collection, index| -> Arc<dyn Belongings> {
            Arc::new(Records::new(self.store.clone(), collection, index))
        };
        UserRemoval::new(vec![
            records(&session::SESSIONS, "user"),
            records(&users::USER_TOKENS, "user"),
            Arc::new(connections.clone()),
            // What the connections left, and what was kept by hand.
            Arc::new(accounts.clone()),
            Arc::new(orders.clone()),
            Arc::new(inventory.clone()),
        ])
    }

    pub(super) fn connections(
        &self,
        config: &Config,
        outside: &Outside,
        channel: Arc<dyn Invalidations>,
        sealer: Arc<dyn Sealer>,
    ) -> Connections {
        let parts = SyncParts {
            store: self.store.clone(),
            clock: self.clock.clone(),
            banks: outside.banks.clone(),
            sealer,
            replica: self.incarnation.clone(),
            channel,
            territory: self.slots.clone(),
            options: SyncOptions {
                interval: Duration::from_secs(config.sync.interval_seconds),
                ..SyncOptions::default()
            },
        };
        Connections::new(parts, self.arbiters.clone(), self.tree.clone())
    }

    /// The loops that look in the store for work of this replica's share.
    #[allow(clippy::too_many_arguments, reason = "each loop has its own part")]
    pub(super) fn claiming(
        &self,
        share: &Share,
        orders: &Orders,
        membership: &Arc<Membership>,
        connections: &Connections,
        inventory: &Inventory,
        outside: &Outside,
        sealer: Arc<dyn Sealer>,
        waker: Waker,
        performers: Vec<Arc<dyn Performer>>,
    ) -> Vec<InfrastructureTask> {
        let mut claiming = Vec::new();
        if share.has(Role::Orders) {
            let adoption = Arc::new(Adoption::new(orders.clone(), membership.clone()));
            claiming.push(supervise_task(&self.tree, "adoption", move |stop| {
                let adoption = adoption.clone();
                async move { adoption.run(stop).await }
            }));
        }
        if share.has(Role::Sync) {
            let slots = self.slots.clone();
            claiming.push(supervise_task(&self.tree, "slots", move |stop| {
                let slots = slots.clone();
                async move { slots.run(stop).await }
            }));
            let connections = connections.clone();
            claiming.push(supervise_task(&self.tree, "sync-schedule", move |stop| {
                let connections = connections.clone();
                async move { connections.schedule(stop).await }
            }));
        }
        if share.has(Role::Jobs) {
            let outbox = Arc::new(Outbox::new(
                self.store.clone(),
                self.clock.clone(),
                self.incarnation.clone(),
                waker,
                performers,
                OutboxOptions::default(),
            ));
            claiming.push(supervise_task(&self.tree, "outbox", move |stop| {
                let outbox = outbox.clone();
                async move { outbox.run(stop).await }
            }));
            claiming.push(schedules::start(self, inventory, orders, outside, sealer));
        }
        claiming
    }
}

/// Outside production, `STEWARD_CRASH_POINT=name:n` ends the process the hard way when it passes
/// that point of a saga for the n-th time: what the recovery tests kill it with.
pub(super) fn crash_points(profile: Profile) -> CrashPoints {
    let wanted = std::env::var("STEWARD_CRASH_POINT").ok().filter(|_| profile != Profile::Production);
    let Some(wanted) = wanted else { return CrashPoints::default() };
    let (name, nth) = wanted.split_once(':').unwrap_or((&wanted, "1"));
    let (name, nth) = (name.to_owned(), nth.parse().unwrap_or(1));
    let passed = AtomicUsize::new(0);
    CrashPoints::new(move |point| {
        if point == name && passed.fetch_add(1, Ordering::SeqCst) + 1 == nth {
            std::process::abort();
        }
    })
}
