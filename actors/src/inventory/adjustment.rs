//! Adjustments as others see them: units that came in or went, counted by hand.

use std::time::Duration;

use super::records::{Movement, MovementKind};
use super::state::Stock;
use crate::time::Timestamp;

/// Asks to change what is on hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adjustment {
    /// The command's id: the same id again for the same SKU counts once.
    pub id: String,
    /// The SKU.
    pub sku: String,
    /// Units that came (positive) or went (negative).
    pub delta: i64,
    /// Why.
    pub reason: String,
    /// What it refers to outside: a delivery note, a ticket.
    pub reference: Option<String>,
}

impl Adjustment {
    pub(super) fn movement_id(&self) -> String {
        Movement::id_of(&self.id, MovementKind::Adjusted, &self.sku)
    }

    pub(super) fn movement(&self, at: Timestamp) -> Movement {
        Movement {
            id: self.movement_id(),
            sku: self.sku.clone(),
            at,
            kind: MovementKind::Adjusted,
            delta: self.delta,
            reason: Some(self.reason.clone()),
            reference: self.reference.clone(),
        }
    }
}

/// An adjustment that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adjusted {
    /// Its entry in the ledger.
    pub movement: Movement,
    /// The counters after it; for a command that came again, as they are now.
    pub stock: Stock,
    /// Whether the command came again.
    pub replayed: bool,
}

/// Why an adjustment was not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdjustError {
    /// There is no such SKU.
    #[error("there is no such SKU")]
    UnknownSku,
    /// Fewer units would be on hand than are held.
    #[error("{held} units are held")]
    BelowHeld {
        /// Units held, by a store read begun after the command arrived.
        held: i64,
    },
    /// More units would be on hand than can be.
    #[error("more than {most} units would be on hand")]
    TooMany {
        /// Units that can be on hand.
        most: i64,
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
