//! Adoption: no order stays with an owner that is gone.
//!
//! Who runs it: the composition root, under [`crate::supervision::supervise_task`], in replicas
//! that run sagas. A round finds the distinct owners of unfinished orders by the owner index,
//! jumping from one to the next, and takes over the orders of those that are no longer live, and
//! of none, by replacing each at the version it was read as. An owner that was only slow meets
//! that as a conflict. What never happens here: a step of a saga.

use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use tokio::sync::watch;

use super::event::Event;
use super::order::{ORDERS, Order};
use super::order_event::with_events;
use super::orders::Orders;
use super::state::apply;
use crate::cluster::Membership;
use crate::store::{Batch, CommitError, Cursor, Query, StoreError, Versioned, find};
use crate::supervision::lock;

/// Whether owners live. [`Membership`] in production.
#[async_trait]
pub trait Liveness: Send + Sync + 'static {
    /// Whether this replica's own heartbeat stands.
    fn am_live(&self) -> bool;

    /// Whether that incarnation lives.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn is_live(&self, incarnation: &str) -> Result<bool, StoreError>;
}

#[async_trait]
impl Liveness for Membership {
    fn am_live(&self) -> bool {
        Self::am_live(self)
    }

    async fn is_live(&self, incarnation: &str) -> Result<bool, StoreError> {
        Self::is_live(self, incarnation).await
    }
}

/// The span between rounds.
const EVERY: Duration = Duration::from_millis(250);
/// Distinct owners that one round looks at.
const OWNERS: usize = 1000;
/// Orders that are adopted side by side.
const PAGE: usize = 64;
/// Own orders that one round looks at, to see that each has its saga.
const OWN_PAGE: usize = 200;

/// Takes over orders.
pub struct Adoption {
    orders: Orders,
    liveness: Arc<dyn Liveness>,
    /// Where the look through this incarnation's own orders goes on.
    own: Mutex<Option<Cursor>>,
}

impl Adoption {
    /// Adoption for the replica that `orders` belong to.
    pub fn new(orders: Orders, liveness: Arc<dyn Liveness>) -> Self {
        Self { orders, liveness, own: Mutex::default() }
    }

    /// A round every 250 ms and whenever an order is left without a saga, until `stop` becomes
    /// true.
    pub async fn run(&self, mut stop: watch::Receiver<bool>) {
        loop {
            if let Err(error) = self.round().await {
                tracing::warn!(%error, "orphaned orders could not be looked for");
            }
            tokio::select! {
                () = self.orders.ports.clock.sleep(EVERY) => {}
                () = self.orders.woken() => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
    }

    /// One round; how many orders were taken over.
    ///
    /// # Errors
    /// [`StoreError`]; what was taken over until then stays so.
    pub async fn round(&self) -> Result<usize, StoreError> {
        if !self.liveness.am_live() || self.orders.is_draining() {
            return Ok(0);
        }
        self.start_own().await?;
        let mut adopted = 0;
        let mut beyond = String::new();
        for _ in 0..OWNERS {
            let Some(owner) = self.next_owner(beyond).await? else { break };
            let mine = owner == self.orders.ports.incarnation;
            if !mine && (owner.is_empty() || !self.liveness.is_live(&owner).await?) {
                adopted += self.adopt_all(&owner).await?;
            }
            if self.orders.room() == 0 || self.orders.is_draining() {
                break;
            }
            // No id has a space, and every character of an id sorts behind it.
            beyond = owner + " ";
        }
        Ok(adopted)
    }

    async fn next_owner(&self, from: String) -> Result<Option<String>, StoreError> {
        let query = Query::by(&ORDERS, "owner").range(Some(from.into()), None).limit(1);
        let (found, _) = find::<Order>(self.orders.ports.store.as_ref(), query).await?;
        Ok(found.into_iter().next().and_then(|order| order.value.owner))
    }

    async fn adopt_all(&self, owner: &str) -> Result<usize, StoreError> {
        let mut adopted = 0;
        loop {
            let limit = PAGE.min(self.orders.room());
            if limit == 0 || self.orders.is_draining() {
                return Ok(adopted);
            }
            let query = Query::by(&ORDERS, "owner").equal(owner).limit(limit);
            let (page, next) = find::<Order>(self.orders.ports.store.as_ref(), query).await?;
            let taken = join_all(page.into_iter().map(|order| self.adopt(order))).await;
            let taken = taken.into_iter().filter(|taken| *taken).count();
            adopted += taken;
            // Without progress the rest is for the next round.
            if next.is_none() || taken == 0 {
                break;
            }
        }
        if adopted > 0 {
            tracing::info!(owner, adopted, "orders were taken over");
        }
        Ok(adopted)
    }

    async fn adopt(&self, found: Versioned<Order>) -> bool {
        let ports = &self.orders.ports;
        let mut order = found.value.clone();
        let event = Event::Adopted { by: ports.incarnation.clone() };
        let now = ports.clock.now();
        let adopted = match apply(&mut order, event, 0, now) {
            Ok(adopted) => adopted,
            Err(impossible) => {
                tracing::error!(order = order.id, %impossible, "an order cannot be taken over");
                return false;
            }
        };
        ports.crash_points.pass("adopt.before_commit");
        let batch = with_events(Batch::shared().change(&found, &order), &[adopted], now);
        let committed = ports.store.commit(batch).await;
        ports.crash_points.pass("adopt.after_commit");
        match committed {
            Ok(()) => {
                self.orders.resume(&order.id);
                true
            }
            // Another replica was first, or its owner lives after all.
            Err(CommitError::Conflict(_)) => false,
            Err(CommitError::Unavailable(reason)) => {
                tracing::warn!(order = order.id, reason, "an order was not taken over");
                false
            }
            Err(CommitError::OutcomeUnknown(reason)) => {
                tracing::warn!(order = order.id, reason, "an order may have been taken over");
                self.orders.look_for_left_over();
                false
            }
        }
    }

    /// Sees to it that this incarnation's own orders have their sagas: all of them if one is known
    /// to lack its saga, otherwise a page a round.
    async fn start_own(&self) -> Result<(), StoreError> {
        let all = self.orders.take_left_over();
        if all {
            *lock(&self.own) = None;
        }
        loop {
            let after = lock(&self.own).clone();
            let me = self.orders.ports.incarnation.as_str();
            let query = Query::by(&ORDERS, "owner").equal(me).limit(OWN_PAGE).after(after);
            let (page, next) = find::<Order>(self.orders.ports.store.as_ref(), query).await?;
            for order in &page {
                if !self.orders.ensure_started(&order.value.id) {
                    return Ok(());
                }
            }
            let more = next.is_some();
            *lock(&self.own) = next;
            if !all || !more {
                return Ok(());
            }
        }
    }
}
