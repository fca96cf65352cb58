//! Stock: one actor per SKU in use.
//!
//! Who calls it: the routes through [`Inventory`], the order saga through [`Holds`]. What never
//! happens here: a unit that two have, a change without a movement in the same commit, an answer
//! before the commit.

mod actor;
mod adjustment;
mod bundle;
mod decide;
mod forgetting;
mod holds;
mod pace;
mod pending;
mod records;
mod round;
mod service;
mod shopper;
mod shopping;
mod sku;
mod state;
#[cfg(test)]
mod tests;
mod trouble;

pub use adjustment::{AdjustError, Adjusted, Adjustment};
pub use holds::{Hold, HoldError, HoldLine, HoldRequest, HoldStatus, Holds, LapsedHolds, Placed, TakeError};
pub use records::{HOLDS, MOVEMENTS, Movement, MovementKind, STOCK};
pub use service::Inventory;
pub use shopper::{MOST_LIVE, SHOPPERS};
pub use sku::{NotASku, Sku};
pub use state::{MOST_ON_HAND, Stock};
