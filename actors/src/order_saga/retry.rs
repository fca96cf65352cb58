//! An operator has an order's step tried again at once.
//!
//! A saga of this replica is nudged. One of another replica is taken over, like an orphan: the
//! version is the fence, so an owner that is at it meets a conflict and nothing is done twice.

use std::time::Duration;

use super::event::Event;
use super::order::Order;
use super::order_event::with_events;
use super::orders::Orders;
use super::state::apply;
use crate::audit::{self, AuditEntry, By};
use crate::store::{Batch, CommitError, StoreError, Versioned};

/// Why a step is not tried again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RetryError {
    /// There is no such order.
    #[error("there is no such order")]
    NotFound,
    /// The saga is done; there is no step.
    #[error("the order has no step to try")]
    Settled,
    /// The store did not take it; a conflict says that its owner is at it just now.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// How long a saga of this replica may take to hear of it.
const NUDGE: Duration = Duration::from_secs(2);

impl Orders {
    /// Has the order's step tried again now; the order as it is then. The audit log says by whom.
    ///
    /// # Errors
    /// [`RetryError`].
    pub async fn retry(&self, order_id: &str, by: &By) -> Result<Versioned<Order>, RetryError> {
        let Versioned { value: mut order, version } =
            self.get(order_id).await?.ok_or(RetryError::NotFound)?;
        let (Some(step), Some(owner)) = (order.step, order.owner.clone()) else {
            return Err(RetryError::Settled);
        };
        let now = self.ports.clock.now();
        let entry = AuditEntry::new(by, "saga.retry", &format!("order/{order_id}"), now)
            .with("step", step.name())
            .with("owner", owner.as_str());
        let me = self.ports.incarnation.clone();
        if owner == me {
            audit::append(self.ports.store.as_ref(), &entry).await?;
            if let Err(error) = self.nudge(order_id, NUDGE).await {
                tracing::warn!(order = order_id, %error, "a saga was not told to try again");
            }
            return Ok(Versioned { value: order, version });
        }
        // A replica that runs no sagas leaves it to nobody, whom adoption finds at once.
        let by = if self.options.runs_sagas { me } else { String::new() };
        let adopted = apply(&mut order, Event::Adopted { by }, 0, now).map_err(|_| RetryError::Settled)?;
        let batch = with_events(Batch::new().replace(&order, version), &[adopted], now);
        self.ports.store.commit(batch.insert(&entry)).await?;
        self.resume(order_id);
        Ok(Versioned { value: order, version: version + 1 })
    }
}
