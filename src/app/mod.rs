//! The composition root: the only place that knows which adapter goes where.
//!
//! Who calls it: the command line. [`Steward::start`] puts the parts together and serves;
//! [`Steward::stop`] takes them apart in the order that loses nothing. What never happens here: a
//! decision of the domain.

mod backup;
mod checks;
mod commands;
mod first_admin;
mod gauges;
mod keys;
mod operations;
mod operators;
mod outside;
mod oversight;
mod people;
mod readiness;
mod schedules;
pub mod schema;
mod screen;
mod share;
mod stores;

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use actix_web::web::Data;
use secrecy::SecretString;
use steward_actors::account_sync::{Connections, Revocations, SyncOptions, SyncParts};
use steward_actors::accounts::{AccountRemoval, Accounts, Ledger};
use steward_actors::addresses::AddressCheck;
use steward_actors::catalog::Catalog;
use steward_actors::cluster::{Lease, Membership, Slots, StoreClock};
use steward_actors::inventory::Inventory;
use steward_actors::limits::{Limits, MemoryLimits};
use steward_actors::order_saga::{Adoption, CrashPoints, OrderMails, Orders, OrdersOptions, OrdersParts};
use steward_actors::outbox::{Jobs, Outbox, OutboxOptions, Performer, Waker};
use steward_actors::rates::Rates;
use steward_actors::seal::Sealer;
use steward_actors::session::{
    Invalidations, LocalInvalidations, Posted, SessionLocator, SessionParts, Sessions,
};
use steward_actors::store::{CommitError, MeasuredStore, Store, StoreError};
use steward_actors::supervision::{Arbiters, Escalation, InfrastructureTask, Tree, Watchdog, supervise_task};
use steward_actors::users::mail::UserMails;
use steward_actors::users::roles::Roles;
use steward_actors::users::{Belongings, Records, UserRemoval, Users};
use steward_actors::{session, users};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::config::{Config, Profile};
use crate::http::caller::Authenticator;
use crate::http::health::Health;
use crate::http::keys::PublishedKeys;
use crate::http::metrics::Figures;
use crate::http::order_events::Streams;
use crate::http::webhooks::StripeWebhooks;
use crate::http::{Limiting, Listener, Server};
use crate::passwords::Argon2Passwords;
use crate::storage::redis::{RedisError, RedisInvalidations, RedisLimits, RedisLocator, RedisPool};
use crate::telemetry;

pub use backup::{backup, restore};
pub use checks::checks;
pub use commands::{migrate, sandbox, seed, serve};
pub use first_admin::AdminError;
pub use keys::OpenKeysError;
pub use operators::{JobsAct, jobs, reseal_keys};
pub use outside::{OutsideError, PROVIDERS};
pub use oversight::{ActorsAct, ProvidersAct, SagasAct, actors, providers, replicas, sagas};
pub use people::{UserAct, rotate_keys, user};
pub use share::{NothingToDo, Role, Share};
pub use stores::OpenStoreError;

use operations::Operations;
use outside::Outside;
use readiness::ReplicaReadiness;
use stores::OpenStore;

/// Tokens that each worker thread's session actor remembers.
const REMEMBERED_TOKENS: usize = 10_000;
/// Users and addresses whose requests are counted in memory.
const COUNTED_KEYS: usize = 100_000;
/// How long each part may take to finish what it has when the replica stops.
const DRAIN: Duration = Duration::from_secs(10);

/// Why Steward did not start, or had to end.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Production refuses this configuration.
    #[error("{}", .0.join("\n"))]
    Refused(Vec<String>),
    /// The store cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenStoreError),
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store does not take this replica's record.
    #[error("this replica cannot join: {0}")]
    Join(#[from] CommitError),
    /// There are no keys for tokens.
    #[error(transparent)]
    Keys(#[from] OpenKeysError),
    /// Several replicas need one Redis to tell each other about sessions.
    #[error(
        "{host} runs on this database with {theirs}, this replica has {ours}: replicas need the same \
         redis.uri and redis.prefix to tell each other which sessions were ended; set them, or stop \
         the other replica"
    )]
    OneRedisNeeded {
        /// Where the other one runs.
        host: String,
        /// What it has.
        theirs: String,
        /// What this one has.
        ours: String,
    },
    /// Redis cannot be used.
    #[error("Redis: {0}")]
    Redis(#[from] RedisError),
    /// A provider, the sandbox or the mailer cannot be made.
    #[error(transparent)]
    Outside(#[from] OutsideError),
    /// The first admin cannot be made.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// The address is taken, or the system gives no threads.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A part that the replica cannot do without fell too often.
    #[error("{} fell too often: {}", .0.kind, .0.reason)]
    Escalated(Escalation),
}

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
        let outside = Outside::start(&config, listener.public_url(), clock.clone()).await?;

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
        let (limits, guesses) = limits(redis.as_ref(), parts.clock.clone());
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
            catalog: Catalog::new(parts.store.clone(), parts.clock.clone()),
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

/// What the actors are made of.
struct Parts {
    store: Arc<dyn Store>,
    clock: Arc<StoreClock>,
    tree: Tree,
    arbiters: Arc<Arbiters>,
    incarnation: String,
    slots: Arc<Slots>,
}

impl Parts {
    fn inventory(&self) -> Inventory {
        let (arbiters, tree) = (self.arbiters.clone(), self.tree.clone());
        Inventory::new(self.store.clone(), self.clock.clone(), arbiters, tree, Inventory::OPTIONS)
    }

    fn orders(
        &self,
        inventory: &Inventory,
        outside: &Outside,
        waker: &Waker,
        crash_points: &CrashPoints,
        share: &Share,
    ) -> Orders {
        let parts = OrdersParts {
            store: self.store.clone(),
            clock: self.clock.clone(),
            holds: Arc::new(inventory.clone()),
            payments: outside.payments.clone(),
            outbox: waker.clone(),
            incarnation: self.incarnation.clone(),
            crash_points: crash_points.clone(),
        };
        let options = OrdersOptions { runs_sagas: share.has(Role::Orders), ..OrdersOptions::default() };
        Orders::new(parts, options, self.arbiters.clone(), self.tree.clone())
    }

    /// What lets go of users who are gone.
    fn removal(
        &self,
        connections: &Connections,
        accounts: &Accounts,
        orders: &Orders,
        inventory: &Inventory,
    ) -> UserRemoval {
        let records = |collection, index| -> Arc<dyn Belongings> {
            Arc::new(Records::new(self.store.clone(), collection, index))
        };
        UserRemoval::new(vec![
            records(&session::SESSIONS, "user"),
            records(&users::USER_TOKENS, "user"),
            Arc::new(connections.clone()),
            // What the connections left, and what was kept by hand.
            Arc::new(accounts.clone()),
            Arc::new(orders.clone()),
            Arc::new(inventory.clone()),
        ])
    }

    fn connections(
        &self,
        config: &Config,
        outside: &Outside,
        channel: Arc<dyn Invalidations>,
        sealer: Arc<dyn Sealer>,
    ) -> Connections {
        let parts = SyncParts {
            store: self.store.clone(),
            clock: self.clock.clone(),
            banks: outside.banks.clone(),
            sealer,
            replica: self.incarnation.clone(),
            channel,
            territory: self.slots.clone(),
            options: SyncOptions {
                interval: Duration::from_secs(config.sync.interval_seconds),
                ..SyncOptions::default()
            },
        };
        Connections::new(parts, self.arbiters.clone(), self.tree.clone())
    }

    /// The loops that look in the store for work of this replica's share.
    #[allow(clippy::too_many_arguments, reason = "each loop has its own part")]
    fn claiming(
        &self,
        share: &Share,
        orders: &Orders,
        membership: &Arc<Membership>,
        connections: &Connections,
        inventory: &Inventory,
        outside: &Outside,
        sealer: Arc<dyn Sealer>,
        waker: Waker,
        performers: Vec<Arc<dyn Performer>>,
    ) -> Vec<InfrastructureTask> {
        let mut claiming = Vec::new();
        if share.has(Role::Orders) {
            let adoption = Arc::new(Adoption::new(orders.clone(), membership.clone()));
            claiming.push(supervise_task(&self.tree, "adoption", move |stop| {
                let adoption = adoption.clone();
                async move { adoption.run(stop).await }
            }));
        }
        if share.has(Role::Sync) {
            let slots = self.slots.clone();
            claiming.push(supervise_task(&self.tree, "slots", move |stop| {
                let slots = slots.clone();
                async move { slots.run(stop).await }
            }));
            let connections = connections.clone();
            claiming.push(supervise_task(&self.tree, "sync-schedule", move |stop| {
                let connections = connections.clone();
                async move { connections.schedule(stop).await }
            }));
        }
        if share.has(Role::Jobs) {
            let outbox = Arc::new(Outbox::new(
                self.store.clone(),
                self.clock.clone(),
                self.incarnation.clone(),
                waker,
                performers,
                OutboxOptions::default(),
            ));
            claiming.push(supervise_task(&self.tree, "outbox", move |stop| {
                let outbox = outbox.clone();
                async move { outbox.run(stop).await }
            }));
            claiming.push(schedules::start(self, inventory, orders, outside, sealer));
        }
        claiming
    }
}

/// What each HTTP thread gets.
#[derive(Clone)]
struct Worker {
    published: PublishedKeys,
    sessions: Sessions,
    users: Users,
    roles: Roles,
    catalog: Catalog,
    rates: Rates,
    addresses: AddressCheck,
    accounts: Accounts,
    ledger: Ledger,
    inventory: Inventory,
    orders: Orders,
    connections: Connections,
    operations: Operations,
    streams: Arc<Streams>,
    webhook_secret: Option<SecretString>,
    clock: Arc<StoreClock>,
    membership: Arc<Membership>,
    slots: Arc<Slots>,
    readiness: ReplicaReadiness,
    in_detail: bool,
    threads: Arc<AtomicUsize>,
}

impl Worker {
    fn configure(&self, app: &mut actix_web::web::ServiceConfig) {
        let thread = self.threads.fetch_add(1, Ordering::Relaxed);
        let authenticator: Authenticator = Rc::new(self.sessions.on_this_thread(&format!("http-{thread}")));
        self.operations.configure(app);
        app.app_data(authenticator)
            .app_data(Health { readiness: Rc::new(self.readiness.clone()), in_detail: self.in_detail });
        if self.in_detail {
            app.app_data(Figures(telemetry::figures));
        }
        app.app_data(Data::new(self.published.clone()))
            .app_data(Data::new(self.sessions.clone()))
            .app_data(Data::new(self.users.clone()))
            .app_data(Data::new(self.roles.clone()))
            .app_data(Data::new(self.catalog.clone()))
            .app_data(Data::new(self.rates.clone()))
            .app_data(Data::new(self.addresses.clone()))
            .app_data(Data::new(self.accounts.clone()))
            .app_data(Data::new(self.ledger.clone()))
            .app_data(Data::new(self.inventory.clone()))
            .app_data(Data::new(self.orders.clone()))
            .app_data(Data::from(self.streams.clone()))
            .app_data(Data::new(StripeWebhooks {
                secret: self.webhook_secret.clone(),
                clock: self.clock.clone(),
            }))
            .app_data(Data::new(self.connections.clone()))
            .app_data(Data::from(self.membership.clone()))
            .app_data(Data::from(self.slots.clone()));
    }
}

type SessionPorts = (Arc<dyn Invalidations>, Option<Arc<dyn SessionLocator>>, Vec<InfrastructureTask>);

fn session_ports(
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
fn limits(redis: Option<&RedisPool>, clock: Arc<StoreClock>) -> (Arc<dyn Limits>, Arc<dyn Limits>) {
    let memory = || MemoryLimits::new(clock.clone(), COUNTED_KEYS);
    match redis {
        Some(pool) => (
            Arc::new(RedisLimits::new(pool.clone(), memory())),
            Arc::new(RedisLimits::of_guesses(pool.clone(), memory())),
        ),
        None => (Arc::new(memory()), Arc::new(memory())),
    }
}

/// How this replica tells others which sessions were ended.
fn channel(config: &Config) -> String {
    match &config.redis.uri {
        Some(_) => format!("redis, prefix {}", config.redis.prefix),
        None => "no Redis".to_owned(),
    }
}

/// Waits until every other live replica on this database can be told which sessions were ended: by
/// the same Redis, or because there is no other. One that crashed lapses meanwhile.
async fn others_hear_us(config: &Config, membership: &Membership, lease: Lease) -> Result<(), ServeError> {
    let until = Instant::now() + lease.length + lease.heartbeat;
    let me = membership.incarnation();
    let channel = channel(config);
    let alone = config.redis.uri.is_none();
    loop {
        membership.heartbeat().await?;
        let live = membership.live().await?;
        let deaf = live.into_iter().find(|other| other.id != me && (alone || other.channel != channel));
        let Some(other) = deaf else { return Ok(()) };
        if Instant::now() >= until {
            return Err(ServeError::OneRedisNeeded {
                host: other.host,
                theirs: other.channel,
                ours: channel,
            });
        }
        tracing::warn!(
            host = other.host,
            theirs = other.channel,
            ours = channel,
            "waiting for another replica to leave"
        );
        sleep(lease.heartbeat.min(Duration::from_secs(1))).await;
    }
}

/// Outside production, `STEWARD_CRASH_POINT=name:n` ends the process the hard way when it passes
/// that point of a saga for the n-th time: what the recovery tests kill it with.
fn crash_points(profile: Profile) -> CrashPoints {
    let wanted = std::env::var("STEWARD_CRASH_POINT").ok().filter(|_| profile != Profile::Production);
    let Some(wanted) = wanted else { return CrashPoints::default() };
    let (name, nth) = wanted.split_once(':').unwrap_or((&wanted, "1"));
    let (name, nth) = (name.to_owned(), nth.parse().unwrap_or(1));
    let passed = AtomicUsize::new(0);
    CrashPoints::new(move |point| {
        if point == name && passed.fetch_add(1, Ordering::SeqCst) + 1 == nth {
            std::process::abort();
        }
    })
}

fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = if name.trim().is_empty() { "localhost" } else { name.trim() };
    format!("{name}:{}", std::process::id())
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
