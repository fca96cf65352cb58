//! Holds as others see them: what the order saga asks of stock.

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

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
    /// When it ends by itself; `None` for an order's hold, which ends only by commit or release.
    pub expires_at: Option<Timestamp>,
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
    /// When it ends by itself, if it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
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
}
