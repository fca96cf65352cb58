//! The cluster: replicas, their heartbeats, the slots of long-lived work, and the store's clock.
//!
//! Who calls it: the composition root starts [`Membership`]; everyone reads time through
//! [`Clock`]; adoption of orphaned work asks [`Membership::is_live`]. What never happens here: a
//! decision on a local wall clock, or trust in a lease without the record's version as the fence.

mod clock;
mod membership;
mod slots;

pub use clock::{Clock, MAX_UNCERTAINTY, StoreClock};
pub use membership::{Lease, Membership, REPLICAS, Replica};
pub use slots::{Members, SLOT_TABLES, SLOTS, Slot, SlotTable, Slots, Territory, slot_of};
