//! Recurring work, each piece at one replica at a time. Every schedule stands here.

use std::time::Duration;

use std::sync::Arc;
use steward_actors::cluster::{Clock, StoreClock};
use steward_actors::inventory::Inventory;
use steward_actors::outbox::{Schedule, Schedules};
use steward_actors::supervision::{InfrastructureTask, supervise_task};

use super::Parts;

/// The span between looks for holds whose time has come. Who reads stock sees exactly what has
/// lapsed anyway; this gives it back when nobody asks.
const SWEEP: Duration = Duration::from_secs(5);
/// Holds that one turn ends.
const SWEPT: usize = 500;

/// Starts what recurs.
pub(super) fn start(parts: &Parts, inventory: &Inventory) -> InfrastructureTask {
    let schedules = vec![hold_sweep(inventory.clone(), parts.clock.clone())];
    let (store, clock) = (parts.store.clone(), parts.clock.clone());
    let schedules = Arc::new(Schedules::new(store, clock, parts.incarnation.clone(), schedules));
    supervise_task(&parts.tree, "schedules", move |stop| {
        let schedules = schedules.clone();
        async move { schedules.run(stop).await }
    })
}

fn hold_sweep(inventory: Inventory, clock: Arc<StoreClock>) -> Schedule {
    Schedule::new("hold-sweep", SWEEP, move || {
        let (inventory, clock) = (inventory.clone(), clock.clone());
        async move {
            inventory.release_expired(clock.now(), SWEPT).await?;
            Ok(())
        }
    })
}
