//! Holds as others see them: what the order saga asks of stock.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::store::StoreError;
use crate::time::Timestamp;

/// So many units of a SKU.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldLine {
    /// The SKU.
    pub sku: String,
    /// How many; at least 1 (stock never covers less: that is refused as out of stock).
    pub quantity: i64,
}

/// Asks for a hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HoldRequest {
    /// The hold's id, chosen by who asks: the same id again is the same hold. An order's hold has
    /// the order's id.
    pub id: String,
    /// The user it is for.
    pub user_id: String,
    /// What is held, all of it or nothing; no SKU twice.
    pub lines: Vec<HoldLine>,
    /// After how long it ends by itself: a shopper's hold. `None` for an order's hold, which ends
    /// only by commit or release.
    pub ttl: Option<Duration>,
}

/// Ends the holds whose time has come, for whoever must not tell of their units as held.
#[async_trait]
pub trait LapsedHolds: Send + Sync + 'static {
    /// Ends those whose time had come when this was called; how many.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn end_lapsed(&self) -> Result<usize, StoreError>;
}

/// A hold that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// The hold; for a command that came again, as it stands now.
    pub hold: Hold,
    /// Whether an earlier arrival of the command made it.
    pub replayed: bool,
}

/// Where a hold stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HoldStatus {
    /// The units are held.
    Held,
    /// The units are sold.
    Committed,
    /// The units are available again.
    Released,
    /// The units were sold, and are on hand again.
    Returned,
}

/// A hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hold {
    /// Its id.
    pub id: String,
    /// The user it is for.
    pub user_id: String,
    /// What is held.
    pub lines: Vec<HoldLine>,
    /// Where it stands.
    pub status: HoldStatus,
    /// When a shopper's hold ends by itself, unless an order took it over; `None` for one that an
    /// order made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
    /// The order that took a shopper's hold over. From then on it ends only with that order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order_id: Option<String>,
}

impl Hold {
    /// Whether a shopper made it, rather than an order.
    pub fn is_shoppers(&self) -> bool {
        self.expires_at.is_some()
    }

    /// Whether it is over although nobody has ended it.
    pub fn has_lapsed(&self, now: Timestamp) -> bool {
        self.lapses_at().is_some_and(|at| at <= now)
    }

    /// When it ends by itself, if it is live and does.
    pub(super) fn lapses_at(&self) -> Option<Timestamp> {
        self.expires_at.filter(|_| self.status == HoldStatus::Held && self.order_id.is_none())
    }

    /// The hold once `order_id`, an order of `user_id` over `lines`, has taken it over. Committed
    /// together with the order and at the version this one was read as, it is taken once.
    ///
    /// # Errors
    /// [`TakeError`].
    pub fn taken_over(
        &self,
        order_id: &str,
        user_id: &str,
        lines: &[HoldLine],
        now: Timestamp,
    ) -> Result<Self, TakeError> {
        if self.user_id != user_id || !self.is_shoppers() {
            return Err(TakeError::NotFound);
        }
        if self.order_id.is_some() {
            return Err(TakeError::Taken);
        }
        if self.status != HoldStatus::Held || self.has_lapsed(now) {
            return Err(TakeError::Ended);
        }
        if totals(&self.lines) != totals(lines) {
            return Err(TakeError::OtherLines);
        }
        Ok(Self { order_id: Some(order_id.to_owned()), ..self.clone() })
    }
}

/// Why an order cannot take a hold over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TakeError {
    /// The user has no such hold.
    #[error("there is no such hold")]
    NotFound,
    /// It was released, or its time has come.
    #[error("the hold has ended")]
    Ended,
    /// Another order has it.
    #[error("another order has the hold")]
    Taken,
    /// It holds something else.
    #[error("the hold is over other lines")]
    OtherLines,
}

/// Units by SKU; `None` where a line asks for less than one, or for more than can be counted.
pub(super) fn totals(lines: &[HoldLine]) -> BTreeMap<&str, Option<i64>> {
    let mut totals = BTreeMap::new();
    for line in lines {
        let total = totals.entry(line.sku.as_str()).or_insert(Some(0));
        *total =
            total.filter(|_| line.quantity > 0).and_then(|so_far: i64| so_far.checked_add(line.quantity));
    }
    totals
}

/// Why stock did not do as asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HoldError {
    /// These SKUs have fewer units available than asked for, by a store read begun after the
    /// command arrived. SKUs that don't exist count as empty.
    #[error("out of stock: {}", .0.join(", "))]
    OutOfStock(Vec<String>),
    /// There is no hold with this id.
    #[error("there is no such hold")]
    NotFound,
    /// The hold is past doing that: a committed hold cannot be released, nor a released one
    /// committed. Repeating what was done is no error.
    #[error("the hold is {0:?} already")]
    WrongState(HoldStatus),
    /// The user has as many live holds as a user may have.
    #[error("{most} holds are live already")]
    TooMany {
        /// Live holds that a user may have.
        most: usize,
    },
    /// Nothing was done; try again later.
    #[error("stock is unavailable for now: {reason}")]
    Unavailable {
        /// What is the matter.
        reason: String,
        /// When to try again.
        retry_after: Duration,
    },
    /// It may or may not have been done; ask again with the same id.
    #[error("the outcome is unknown")]
    OutcomeUnknown,
}

/// What the order saga asks of stock. Every method counts once, however often it is called with
/// the same id.
#[async_trait]
pub trait Holds: Send + Sync + 'static {
    /// Holds all lines or none. If the id's hold exists already, it is returned as it stands,
    /// whatever it holds.
    ///
    /// # Errors
    /// [`HoldError`].
    async fn hold(&self, request: HoldRequest) -> Result<Hold, HoldError>;

    /// Turns held units into sold ones.
    ///
    /// # Errors
    /// [`HoldError`].
    async fn commit(&self, id: &str) -> Result<Hold, HoldError>;

    /// Makes held units available again.
    ///
    /// # Errors
    /// [`HoldError`].
    async fn release(&self, id: &str) -> Result<Hold, HoldError>;

    /// Sees to it that nothing is held or sold under the request's id, now and for ever: held
    /// units become available, sold ones come back on hand, and a hold that was never made is
    /// recorded as released, so that it cannot be made later.
    ///
    /// # Errors
    /// [`HoldError`].
    async fn give_back(&self, request: HoldRequest) -> Result<Hold, HoldError>;
}
