//! What replicas share through Redis, and what each has for itself without one.

use std::sync::Arc;

use steward_actors::cluster::StoreClock;
use steward_actors::limits::{Limits, MemoryLimits};
use steward_actors::session::{Invalidations, LocalInvalidations, Posted, SessionLocator};
use steward_actors::store::Store;
use steward_actors::supervision::{InfrastructureTask, Tree, supervise_task};

use crate::storage::redis::{RedisInvalidations, RedisLimits, RedisLocator, RedisPool};

/// Users and addresses whose requests are counted in memory.
const COUNTED_KEYS: usize = 100_000;

/// Where sessions are told of and looked up, and the tasks that do it.
pub(super) type SessionPorts =
    (Arc<dyn Invalidations>, Option<Arc<dyn SessionLocator>>, Vec<InfrastructureTask>);

pub(super) fn session_ports(
    redis: Option<&RedisPool>,
    store: &Arc<dyn Store>,
    clock: &Arc<StoreClock>,
    tree: &Tree,
) -> SessionPorts {
    let Some(pool) = redis else { return (Arc::new(LocalInvalidations::default()), None, Vec::new()) };
    let (channel, tasks) = RedisInvalidations::start(pool.clone(), tree);
    let posted = Arc::new(Posted::new(channel, store.clone(), clock.clone()));
    let mut telling = Vec::from(tasks);
    telling.push(supervise_task(tree, "posted-revocations", {
        let posted = posted.clone();
        move |stop| {
            let posted = posted.clone();
            async move { posted.run(stop).await }
        }
    }));
    (posted, Some(Arc::new(RedisLocator::new(pool.clone()))), telling)
}

/// Where requests are counted, and where guesses of passwords are.
pub(super) fn limits(
    redis: Option<&RedisPool>,
    clock: Arc<StoreClock>,
) -> (Arc<dyn Limits>, Arc<dyn Limits>) {
    let memory = || MemoryLimits::new(clock.clone(), COUNTED_KEYS);
    match redis {
        Some(pool) => (
            Arc::new(RedisLimits::new(pool.clone(), memory())),
            Arc::new(RedisLimits::of_guesses(pool.clone(), memory())),
        ),
        None => (Arc::new(memory()), Arc::new(memory())),
    }
}
