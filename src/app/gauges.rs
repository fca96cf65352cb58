//! Figures that nobody meets on the way: they are looked for every few seconds.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use metrics::{counter, gauge};
use steward_actors::account_sync;
use steward_actors::cluster::Clock;
use steward_actors::order_saga;
use steward_actors::outbox;
use steward_actors::providers::{Breaker, BreakerState};
use steward_actors::store::StoreError;
use steward_actors::supervision::{InfrastructureTask, NodeState, Tree, supervise_task};
use steward_actors::{figures, time::Timestamp};
use tokio::sync::watch;
use tokio::time::sleep;

use super::Parts;
use super::readiness::ReplicaReadiness;
use crate::telemetry;

/// The span between looks at this process.
const LOOK: Duration = Duration::from_secs(5);
/// Looks at this process from one look into the store to the next.
const ASK_EVERY: u32 = 3;
/// Records of a kind that are counted at most.
const COUNTED: usize = 1000;

/// Starts looking.
pub(super) fn start(
    parts: &Parts,
    readiness: &ReplicaReadiness,
    breakers: Vec<Breaker>,
) -> InfrastructureTask {
    let (store, clock, tree, readiness) =
        (parts.store.clone(), parts.clock.clone(), parts.tree.clone(), readiness.clone());
    let slots = parts.slots.clone();
    supervise_task(&parts.tree, "gauges", move |mut stop: watch::Receiver<bool>| {
        let (store, clock, tree, readiness) = (store.clone(), clock.clone(), tree.clone(), readiness.clone());
        let (breakers, slots) = (breakers.clone(), slots.clone());
        async move {
            let mut kinds = BTreeSet::new();
            for look in 0_u32.. {
                count_actors(&tree, &mut kinds);
                tell_replica(&readiness);
                gauge!(figures::SLOTS).set(slots.held() as f64);
                breakers.iter().for_each(tell_breaker);
                tell_process();
                if look.is_multiple_of(ASK_EVERY)
                    && let Err(error) = ask(store.as_ref(), clock.now()).await
                {
                    tracing::warn!(%error, "figures of the store could not be looked for");
                }
                telemetry::sort_figures();
                tokio::select! {
                    () = sleep(LOOK) => {}
                    _ = stop.wait_for(|stop| *stop) => return,
                }
            }
        }
    })
}

/// `kinds` are those that were ever seen: one that has gone counts as none.
fn count_actors(tree: &Tree, kinds: &mut BTreeSet<&'static str>) {
    let census = tree.census();
    kinds.extend(census.keys());
    for &kind in kinds.iter() {
        let of_kind = census.get(kind).cloned().unwrap_or_default();
        for state in NodeState::ALL {
            let count = of_kind.states.get(&state).copied().unwrap_or_default();
            gauge!(figures::ACTORS, "kind" => kind, "state" => state.name()).set(count as f64);
        }
        gauge!(figures::ACTOR_WAITING, "kind" => kind).set(of_kind.waiting as f64);
        gauge!(figures::ACTOR_LONGEST, "kind" => kind).set(of_kind.longest as f64);
    }
}

fn tell_breaker(breaker: &Breaker) {
    let now = breaker.state();
    for state in BreakerState::ALL {
        let is = if state == now { 1.0 } else { 0.0 };
        let provider = breaker.name().to_owned();
        gauge!(figures::BREAKERS, "provider" => provider, "state" => state.name()).set(is);
    }
    let provider = breaker.name().to_owned();
    gauge!(figures::BREAKER_PARTS, "provider" => provider).set(breaker.parts_left_alone() as f64);
}

fn tell_replica(readiness: &ReplicaReadiness) {
    let flag = |yes: bool| if yes { 1.0 } else { 0.0 };
    gauge!(figures::REPLICA_LIVE).set(flag(readiness.membership.am_live()));
    gauge!(figures::CLOCK_UNCERTAINTY).set(readiness.clock.uncertainty().as_secs_f64());
    gauge!(figures::ACTOR_THREAD_STUCK).set(flag(readiness.watchdog.is_stuck()));
}

async fn ask(store: &dyn steward_actors::store::Store, now: Timestamp) -> Result<(), StoreError> {
    let jobs = outbox::survey(store, COUNTED).await?;
    for (status, count) in jobs.by_status {
        gauge!(figures::JOBS, "status" => status.name()).set(count as f64);
    }
    gauge!(figures::JOBS_OLDEST).set(age(jobs.oldest_due, now));

    let sagas = order_saga::survey(store, COUNTED).await?;
    for (status, count) in sagas.by_status {
        gauge!(figures::SAGAS, "status" => status.name()).set(count as f64);
    }
    for (status, oldest) in sagas.oldest {
        gauge!(figures::SAGA_OLDEST, "status" => status.name()).set(age(oldest, now));
    }
    gauge!(figures::SAGAS_STUCK).set(sagas.stuck as f64);

    let connections = account_sync::survey(store, COUNTED).await?;
    for (status, count) in connections.by_status {
        gauge!(figures::CONNECTIONS, "status" => status.name()).set(count as f64);
    }
    gauge!(figures::SYNC_STALEST).set(age(connections.stalest, now));
    Ok(())
}

fn age(since: Option<Timestamp>, now: Timestamp) -> f64 {
    since.map_or(0.0, |since| now.since(since).as_secs_f64())
}

/// From [`/proc/self`](https://man7.org/linux/man-pages/man5/proc.5.html), where there is one.
fn tell_process() {
    /// Clock ticks a second, as Linux shows them to every process.
    const TICKS: f64 = 100.0;
    if let Ok(status) = fs::read_to_string("/proc/self/status")
        && let Some(line) = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))
        && let Some(kib) = line.split_whitespace().next().and_then(|kib| kib.parse::<f64>().ok())
    {
        gauge!(figures::PROCESS_MEMORY).set(kib * 1024.0);
    }
    if let Ok(files) = fs::read_dir("/proc/self/fd") {
        gauge!(figures::PROCESS_FILES).set(files.count() as f64);
    }
    // Behind the name, which may have spaces and brackets in it, the fields begin with the third.
    let Ok(stat) = fs::read_to_string("/proc/self/stat") else { return };
    let Some((_, fields)) = stat.rsplit_once(')') else { return };
    let field = |n: usize| fields.split_whitespace().nth(n - 3).and_then(|field| field.parse::<f64>().ok());
    if let (Some(user), Some(system)) = (field(14), field(15)) {
        counter!(figures::PROCESS_CPU).absolute(((user + system) / TICKS) as u64);
    }
    let booted = fs::read_to_string("/proc/stat").ok().and_then(|stat| {
        stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse::<f64>().ok()
    });
    if let (Some(booted), Some(started)) = (booted, field(22)) {
        gauge!(figures::PROCESS_START).set(booted + started / TICKS);
    }
}
