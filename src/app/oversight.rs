//! What operators see and do from the command line with orders under way, replicas, actors and
//! providers: on the configured store, beside the replicas that run on it. Those find what was done
//! by looking, within a second.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use steward_actors::cluster::{Clock, REPLICAS, Replica, StoreClock};
use steward_actors::order_saga::{self, OrderStatus};
use steward_actors::pauses::{PROVIDER, Pause, Pauses};
use steward_actors::store::{PRIMARY, Query, Store, find};
use steward_actors::supervision::Tree;

use super::commands::say;
use super::failure::Failure;
use super::operators::{by, each, one_line, open};
use crate::config::Config;

/// What is done with orders under way.
pub enum SagasAct {
    /// Those that stand so, or are stuck.
    List {
        /// Where they stand; those that are stuck without it.
        status: Option<OrderStatus>,
        /// For at least so long.
        older_than: Option<Duration>,
        /// How many at most, 1 to 1,000.
        limit: usize,
    },
    /// The next step of these is tried again.
    Retry(Vec<String>),
    /// These are undone.
    Compensate(Vec<String>),
}

/// What is done with actors, in the store.
pub enum ActorsAct {
    /// What is paused.
    Paused,
    /// One is held back.
    Pause {
        /// Of which kind.
        kind: &'static str,
        /// Its key.
        key: String,
        /// Why; may be empty.
        reason: String,
    },
    /// One is let go.
    Resume {
        /// Of which kind.
        kind: &'static str,
        /// Its key.
        key: String,
    },
}

/// What is done with providers.
pub enum ProvidersAct {
    /// Which are held back.
    List,
    /// One is held back.
    Pause {
        /// Its name.
        name: String,
        /// Why; may be empty.
        reason: String,
    },
    /// One is let go.
    Resume {
        /// Its name.
        name: String,
    },
}

/// The store, and its time.
struct Desk {
    store: Arc<dyn Store>,
    clock: Arc<StoreClock>,
}

/// Does `act` at a desk in the configured store.
async fn at_desk(
    config: &Config,
    routes: &str,
    act: impl AsyncFnOnce(&Desk) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let opened = open(config, routes).await?;
    let store = opened.store.clone();
    let done = match StoreClock::start(store.as_ref()).await {
        Ok(clock) => act(&Desk { store, clock: Arc::new(clock) }).await,
        Err(error) => Err(Failure::new(error)),
    };
    opened.close().await;
    done
}

/// Lists, retries or undoes orders.
///
/// # Errors
/// The store can't be opened, or an order was left as it was.
pub async fn sagas(config: Config, act: SagasAct) -> Result<(), Failure> {
    let routes = "GET /v1/admin/sagas, POST /v1/admin/sagas/{id}/retry, POST /v1/orders/{id}/cancel";
    at_desk(&config, routes, async |desk| match act {
        SagasAct::List { status, older_than, limit } => desk.list_sagas(status, older_than, limit).await,
        SagasAct::Retry(ids) => {
            let retry = async |id: &str| {
                order_saga::retry_from_outside(desk.store.as_ref(), id, &by(), desk.clock.now()).await
            };
            each(&ids, "tried again", retry).await
        }
        SagasAct::Compensate(ids) => {
            let cancel = async |id: &str| {
                order_saga::cancel_from_outside(desk.store.as_ref(), id, &by(), desk.clock.now()).await
            };
            each(&ids, "being undone", cancel).await
        }
    })
    .await
}

/// Pauses and resumes actors.
///
/// # Errors
/// The store can't be opened, or does not take it.
pub async fn actors(config: Config, act: ActorsAct) -> Result<(), Failure> {
    at_desk(&config, "/v1/admin/actors and /v1/admin/pauses", async |desk| match act {
        ActorsAct::Paused => desk.list_pauses(|_| true).await,
        ActorsAct::Pause { kind, key, reason } => desk.pause(kind, &key, &reason).await,
        ActorsAct::Resume { kind, key } => desk.resume(kind, &key).await,
    })
    .await
}

/// Holds providers back and lets them go.
///
/// # Errors
/// The store can't be opened, or does not take it.
pub async fn providers(config: Config, act: ProvidersAct) -> Result<(), Failure> {
    at_desk(&config, "/v1/admin/providers", async |desk| match act {
        ProvidersAct::List => desk.list_pauses(|pause| pause.kind == PROVIDER).await,
        ProvidersAct::Pause { name, reason } => desk.pause(PROVIDER, &name, &reason).await,
        ProvidersAct::Resume { name } => desk.resume(PROVIDER, &name).await,
    })
    .await
}

/// Lists the replicas that the store remembers.
///
/// # Errors
/// The store can't be opened or read.
pub async fn replicas(config: Config) -> Result<(), Failure> {
    let lease = Duration::from_secs(config.cluster.lease_seconds);
    at_desk(&config, "GET /v1/admin/replicas", async |desk| {
        let query = Query::by(&REPLICAS, PRIMARY).descending().limit(1000);
        let (found, _) = find::<Replica>(desk.store.as_ref(), query).await.map_err(Failure::new)?;
        let now = desk.clock.now();
        let mut lines = String::new();
        for replica in found.into_iter().map(|found| found.value) {
            let state = if now < replica.heartbeat_at.plus(lease) { "live" } else { "gone" };
            // Writing to a string can't fail.
            let _ = writeln!(
                lines,
                "{}  {state}  {}  {}  since {}  heartbeat {}",
                replica.id,
                one_line(&replica.host),
                replica.roles.join(","),
                replica.started_at,
                replica.heartbeat_at,
            );
        }
        listed(&lines)
    })
    .await
}

impl Desk {
    async fn list_sagas(
        &self,
        status: Option<OrderStatus>,
        older_than: Option<Duration>,
        limit: usize,
    ) -> Result<(), Failure> {
        let before = older_than.map(|age| self.clock.now().minus(age));
        let query = order_saga::unfinished(status, before).limit(limit);
        let found = order_saga::find_standing(self.store.as_ref(), query, status).await;
        let (found, _) = found.map_err(Failure::new)?;
        let mut lines = String::new();
        for order in found.into_iter().map(|found| found.value) {
            let waiting = order.waiting.as_ref().map_or("", |waiting| waiting.reason.as_str());
            let stuck = order.stuck_since.map(|since| format!("  stuck since {since}")).unwrap_or_default();
            let _ = writeln!(
                lines,
                "{}  {}  {}  accepted {}{stuck}  {}",
                order.id,
                order.status.name(),
                order.step.map_or("-", |step| step.name()),
                order.created_at,
                one_line(waiting),
            );
        }
        listed(&lines)
    }

    fn pauses(&self) -> Pauses {
        Pauses::new(self.store.clone(), self.clock.clone(), Tree::new(self.clock.clone()))
    }

    async fn list_pauses(&self, wanted: impl Fn(&Pause) -> bool) -> Result<(), Failure> {
        let mut lines = String::new();
        for pause in self.pauses().all().await.map_err(Failure::new)?.into_iter().filter(wanted) {
            let Pause { kind, key, reason, by, since, .. } = pause;
            let reason = one_line(&reason.unwrap_or_default());
            let _ = writeln!(lines, "{kind}  {}  since {since}  by {by}  {reason}", one_line(&key));
        }
        listed(&lines)
    }

    async fn pause(&self, kind: &str, key: &str, reason: &str) -> Result<(), Failure> {
        let reason = Some(reason).filter(|reason| !reason.is_empty());
        self.pauses().pause(kind, key, reason, &by()).await.map_err(Failure::new)?;
        say(&format!("{kind} {key}: paused\n"))
    }

    async fn resume(&self, kind: &str, key: &str) -> Result<(), Failure> {
        self.pauses().resume(kind, key, &by()).await.map_err(Failure::new)?;
        say(&format!("{kind} {key}: resumed\n"))
    }
}

fn listed(lines: &str) -> Result<(), Failure> {
    say(if lines.is_empty() { "There are none.\n" } else { lines })
}
