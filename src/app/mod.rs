//! The composition root: the only place that knows which adapter goes where.
//!
//! Who calls it: the command line. [`Steward::start`] puts the parts together and serves;
//! [`Steward::stop`] takes them apart in the order that loses nothing. What never happens here: a
//! decision of the domain.

mod backup;
mod check;
mod checks;
mod commands;
mod errors;
mod failure;
mod first_admin;
mod gauges;
mod keys;
mod neighbours;
mod operations;
mod operators;
mod outside;
mod oversight;
mod parts;
mod people;
mod readiness;
mod schedules;
pub mod schema;
mod screen;
mod share;
mod shared;
mod stores;
mod worker;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use steward_actors::account_sync::{Connections, Revocations};
use steward_actors::accounts::{AccountRemoval, Accounts, Ledger};
use steward_actors::catalog::Catalog;
use steward_actors::cluster::{Lease, Membership, Slots, StoreClock};
use steward_actors::inventory::Inventory;
use steward_actors::order_saga::{OrderMails, Orders};
use steward_actors::outbox::{Jobs, Performer, Waker};
use steward_actors::rates::Rates;
use steward_actors::session::{SessionParts, Sessions};
use steward_actors::store::MeasuredStore;
use steward_actors::supervision::{Arbiters, InfrastructureTask, Tree, Watchdog, supervise_task};
use steward_actors::users::Users;
use steward_actors::users::mail::UserMails;
use steward_actors::users::roles::Roles;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::config::{Config, Profile};
use crate::http::health::Health;
use crate::http::keys::PublishedKeys;
use crate::http::metrics::Figures;
use crate::http::order_events::Streams;
use crate::http::{Limiting, Listener, Server};
use crate::passwords::Argon2Passwords;
use crate::storage::redis::RedisPool;
use crate::telemetry;

pub use backup::{backup, restore};
pub use check::{Check, Verdict};
pub use checks::checks;
pub use commands::{migrate, sandbox, seed, serve};
pub use errors::ServeError;
pub use failure::Failure;
pub use first_admin::AdminError;
pub use keys::OpenKeysError;
pub use operators::{JobsAct, jobs, reseal_keys};
pub use outside::{OutsideError, PROVIDERS};
pub use oversight::{ActorsAct, ProvidersAct, SagasAct, actors, providers, replicas, sagas};
pub use people::{UserAct, rotate_keys, user};
pub use share::{NothingToDo, Role, Share};
pub use stores::OpenStoreError;

use neighbours::{channel, host, others_hear_us};
use operations::Operations;
use outside::Outside;
use parts::{Parts, crash_points};
use readiness::ReplicaReadiness;
use shared::{limits, session_ports};
use stores::OpenStore;
use worker::Worker;

/// Tokens that each worker thread's session actor remembers.
const REMEMBERED_TOKENS: usize = 10_000;
/// How long each part may take to finish what it has when the replica stops.
const DRAIN: Duration = Duration::from_secs(10);

/// A running replica.
pub struct Steward {
    url: String,
    sandbox: Option<String>,
    tree: Tree,
    draining: watch::Sender<bool>,
    server: Server,
    operations: Option<Server>,
    patience: Patience,
    claiming: Vec<InfrastructureTask>,
    telling: Vec<InfrastructureTask>,
    heartbeat: InfrastructureTask,
    orders: Orders,
    connections: Connections,
    inventory: Inventory,
    membership: Arc<Membership>,
    slots: Arc<Slots>,
    arbiters: Arc<Arbiters>,
    store: OpenStore,
    outside: Outside,
    _watchdog: Arc<Watchdog>,
}

impl Steward {
    /// Puts the parts together and begins to serve. Call it inside an actix `System` whose runtime
    /// has several threads.
    ///
    /// # Errors
    /// [`ServeError`].
    pub async fn start(config: Config, share: Share) -> Result<Self, ServeError> {
        let refusals: Vec<String> = config.refusals().iter().map(ToString::to_string).collect();
        if !refusals.is_empty() {
            return Err(ServeError::Refused(refusals));
        }
        let system = |what: &str| {
            let what = what.to_owned();
            move |source| ServeError::System { what, source }
        };
        let listener = Listener::bind(&config.http)
            .map_err(system(&format!("cannot listen on {}", config.http.bind)))?
            .serving(share.served());
        let operations = Listener::bind_operations(&config.http)
            .map_err(system("cannot listen on http.operations_bind"))?;

        stores::make_private(&config.data.dir)
            .map_err(system(&format!("cannot make {}", config.data.dir.display())))?;
        let opened = OpenStore::open(&config).await?;
        let store = MeasuredStore::around(opened.store.clone());
        let clock = Arc::new(StoreClock::start(store.as_ref()).await?);
        let lease = Lease {
            length: Duration::from_secs(config.cluster.lease_seconds),
            heartbeat: Duration::from_secs(config.cluster.heartbeat_seconds),
        };
        let roles = share.roles().map(str::to_owned).collect();
        let membership =
            Membership::join(store.clone(), clock.clone(), lease, host(), roles, channel(&config)).await?;
        if opened.is_exclusive() {
            membership.forget_others().await?;
        }
        if !opened.is_exclusive()
            && let Err(error) = others_hear_us(&config, &membership, lease).await
        {
            // A record that stays would keep the next attempt waiting.
            let _ = membership.leave().await;
            return Err(error);
        }
        let redis = match &config.redis.uri {
            Some(uri) => Some(RedisPool::connect(uri, &config.redis.prefix)?),
            None => None,
        };
        let (limits, guesses) = limits(redis.as_ref(), clock.clone());
        let outside = Outside::start(&config, listener.public_url(), clock.clone(), limits.clone()).await?;

        let tree = Tree::new(clock.clone());
        let threads = std::thread::available_parallelism().map_or(2, usize::from);
        let arbiters = Arc::new(Arbiters::start(threads));
        let watchdog = Watchdog::start(arbiters.clone(), Duration::from_secs(1), Duration::from_secs(5))
            .map_err(system("no thread for the watchdog"))?;
        let watchdog = Arc::new(watchdog);
        let passwords = Argon2Passwords::start().map_err(system("no threads for passwords"))?;
        let membership = Arc::new(membership);
        let slots = Arc::new(Slots::new("sync", store.clone(), clock.clone(), membership.clone()));
        // So that what is asked of a first replica at once is begun at once.
        slots.round().await?;
        let incarnation = membership.incarnation();
        let parts = Parts { store, clock, tree, arbiters, incarnation, slots };

        let (channel, locator, mut telling) =
            session_ports(redis.as_ref(), &parts.store, &parts.clock, &parts.tree);
        let users = Users::new(parts.store.clone(), parts.clock.clone(), Arc::new(passwords))
            .telling(channel.clone())
            .counting(guesses.clone());
        let accounts = Accounts::new(parts.store.clone(), parts.clock.clone()).telling(channel.clone());
        let roles = Roles::new(parts.store.clone(), parts.clock.clone(), channel.clone());
        let admin = first_admin::ensure(&config, &users).await?;
        let sealer = keys::sealer(&config, parts.store.as_ref()).await?;
        let (tokens, keys) =
            keys::open(&config, parts.store.clone(), parts.clock.clone(), sealer.clone()).await?;
        let token_key = keys.token_key();
        telling.push(supervise_task(&parts.tree, "keys", move |stop| {
            let keys = keys.clone();
            async move { keys.run(stop).await }
        }));
        let sessions = Sessions::new(SessionParts {
            store: parts.store.clone(),
            clock: parts.clock.clone(),
            users: users.clone(),
            limits: guesses,
            access: tokens.clone(),
            token_key,
            locator,
            invalidations: channel.clone(),
            tree: parts.tree.clone(),
            cache_capacity: REMEMBERED_TOKENS,
        });
        let inventory = parts.inventory();
        let waker = Waker::default();
        let crash_points = crash_points(config.profile);
        let orders = parts.orders(&inventory, &outside, &waker, &crash_points, &share);
        let connections = parts.connections(&config, &outside, channel.clone(), sealer.clone());

        let heartbeat = supervise_task(&parts.tree, "heartbeat", {
            let membership = membership.clone();
            move |stop| {
                let membership = membership.clone();
                async move { membership.beat(stop).await }
            }
        });
        let order_mails = OrderMails::new(
            parts.store.clone(),
            Arc::new(users.clone()),
            outside.mailer.clone(),
            crash_points,
        );
        let url = listener.public_url().to_owned();
        let mails = UserMails::new(users.clone(), outside.mailer.clone(), &url);
        let removal = parts.removal(&connections, &accounts, &orders, &inventory);
        let parted = AccountRemoval::new(parts.store.clone());
        let revocations = Revocations::new(outside.banks.clone(), sealer.clone());
        let others: [Arc<dyn Performer>; 4] =
            [Arc::new(mails), Arc::new(removal), Arc::new(parted), Arc::new(revocations)];
        let performers: Vec<Arc<dyn Performer>> = order_mails.performers().chain(others).collect();
        let jobs = Jobs::new(parts.store.clone(), parts.clock.clone(), waker.clone(), &performers);
        let mut claiming = parts.claiming(
            &share,
            &orders,
            &membership,
            &connections,
            &inventory,
            &outside,
            sealer,
            waker,
            performers,
        );

        let (draining, drains) = watch::channel(false);
        let worker = Worker {
            published: PublishedKeys { tokens, clock: parts.clock.clone() },
            sessions,
            users,
            roles,
            catalog: Catalog::new(parts.store.clone(), parts.clock.clone(), Arc::new(inventory.clone())),
            rates: Rates::new(parts.store.clone(), parts.clock.clone()),
            addresses: outside.addresses.clone(),
            accounts,
            ledger: Ledger::new(parts.store.clone(), parts.clock.clone()),
            inventory: inventory.clone(),
            orders: orders.clone(),
            connections: connections.clone(),
            operations: Operations::new(&parts, jobs, outside.breakers.clone()),
            streams: Arc::new(Streams::new(drains.clone())),
            webhook_secret: outside.webhook_secret.clone(),
            plaid_webhooks: outside.plaid_webhooks.clone(),
            clock: parts.clock.clone(),
            membership: membership.clone(),
            slots: parts.slots.clone(),
            readiness: ReplicaReadiness {
                membership: membership.clone(),
                clock: parts.clock.clone(),
                watchdog: watchdog.clone(),
                redis: redis.clone(),
                draining: drains,
                share,
            },
            in_detail: config.profile != Profile::Production,
            threads: Arc::default(),
        };
        let readiness = worker.readiness.clone();
        claiming.push(gauges::start(&parts, &readiness, outside.breakers.clone()));
        claiming.extend(worker.operations.start());
        let limiting = Limiting::new(limits, &config.limits);
        let server = listener
            .limiting(limiting)
            .serve(move |app| worker.configure(app))
            .map_err(system("the server does not start"))?;
        let (operations, operations_url) = match operations {
            None => (None, None),
            Some(listener) => {
                let url = listener.public_url().to_owned();
                let tell = move |app: &mut actix_web::web::ServiceConfig| {
                    app.app_data(Health { readiness: Rc::new(readiness.clone()), in_detail: true })
                        .app_data(Figures(telemetry::figures));
                };
                let server = listener.serve_operations(tell).map_err(system("the operations port"))?;
                (Some(server), Some(url))
            }
        };
        screen::show(
            &config,
            &url,
            operations_url.as_deref(),
            outside.sandbox_url(),
            &opened,
            redis.is_some(),
            admin.as_ref(),
        );
        Ok(Self {
            sandbox: outside.sandbox_url().map(str::to_owned),
            url,
            tree: parts.tree,
            draining,
            server,
            operations,
            patience: Patience {
                drain: Duration::from_secs(config.http.drain_seconds),
                grace: Duration::from_secs(config.http.shutdown_seconds),
            },
            claiming,
            telling,
            heartbeat,
            orders,
            connections,
            inventory,
            membership,
            slots: parts.slots,
            arbiters: parts.arbiters,
            store: opened,
            outside,
            _watchdog: watchdog,
        })
    }

    /// Where the API is, without a slash at the end.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Where the sandbox is, if this configuration has one.
    pub fn sandbox(&self) -> Option<&str> {
        self.sandbox.as_deref()
    }

    async fn until_told_to_stop(&self) -> Result<Asked, ServeError> {
        let mut escalations = self.tree.escalations();
        tokio::select! {
            asked = told_to_stop() => Ok(asked),
            given_up = escalations.wait_for(Option::is_some) => match given_up {
                Ok(escalation) => Err(escalation.clone().map_or_else(
                    || unreachable!("waited for an escalation"),
                    ServeError::Escalated,
                )),
                Err(_) => Ok(Asked::AtOnce),
            },
        }
    }

    /// Stops: unready, claim nothing, tell clients to leave, accept nothing, finish requests, let
    /// actors finish what they are at, hand over what is leased, close the store.
    pub async fn stop(self, asked: Asked) {
        tracing::info!("stopping");
        self.draining.send_replace(true);
        self.server.show_everyone_out();
        let stop_claiming = async {
            for task in self.claiming {
                task.stop(DRAIN).await;
            }
        };
        let drain = if asked == Asked::ToDrain { self.patience.drain } else { Duration::ZERO };
        tokio::join!(stop_claiming, sleep(drain));
        self.server.stop(self.patience.grace).await;
        let drains = (self.orders.drain(DRAIN), self.connections.drain(DRAIN));
        tokio::join!(drains.0, drains.1);
        self.inventory.drain(DRAIN).await;
        self.heartbeat.stop(DRAIN).await;
        if let Err(error) = self.slots.release().await {
            tracing::warn!(%error, "this replica's slots are left to lapse");
        }
        if let Err(error) = self.membership.leave().await {
            tracing::warn!(%error, "this replica's leases are left to lapse");
        }
        for task in self.telling {
            task.stop(DRAIN).await;
        }
        // Until here it told that this replica drains.
        drop(self.operations);
        self.arbiters.stop();
        self.outside.stop().await;
        self.store.close().await;
        tracing::info!("stopped");
    }
}

/// How a replica is to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Clients and balancers are given time to notice.
    ToDrain,
    /// Nobody else serves, or somebody waits at a terminal.
    AtOnce,
}

/// How long stopping may take.
struct Patience {
    /// While everybody is told to leave.
    drain: Duration,
    /// For what is being answered then.
    grace: Duration,
}

async fn told_to_stop() -> Asked {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => tokio::select! {
            _ = terminate.recv() => Asked::ToDrain,
            _ = tokio::signal::ctrl_c() => Asked::AtOnce,
        },
        Err(error) => {
            tracing::warn!(%error, "SIGTERM cannot be listened for");
            let _ = tokio::signal::ctrl_c().await;
            Asked::AtOnce
        }
    }
}
