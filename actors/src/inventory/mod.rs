//! Stock: one actor per SKU in use.

mod holds;

pub use holds::{Hold, HoldError, HoldLine, HoldRequest, HoldStatus, Holds};
