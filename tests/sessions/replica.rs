//! What one replica has, as far as sessions go.

use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use steward::storage::redis::{RedisInvalidations, RedisLocator, RedisPool};
use steward_actors::keys::TokenKey;
use steward_actors::limits::MemoryLimits;
use steward_actors::session::{
    AuthError, Device, Invalidation, Invalidations, LoggedIn, Posted, Principal, Session, SessionParts,
    Sessions, SessionsHandle, Subscription,
};
use steward_actors::store::{Batch, Store, load};
use steward_actors::supervision::{InfrastructureTask, Tree, supervise_task};
use steward_actors::testing::{FastHasher, ManualClock, MemoryStore, PlainTokens, WatchedStore};
use steward_actors::users::{Email, NewUser, Password, Users};
use tokio::time::timeout;

pub const REFUSED: Result<Principal, AuthError> = Err(AuthError::Unauthenticated);
/// What "at once" means between replicas.
pub const A_SECOND: Duration = Duration::from_secs(1);
/// For what has no deadline of its own: longer than it ever takes.
pub const LONG: Duration = Duration::from_secs(10);

/// What the replicas share besides Redis.
pub struct Cluster {
    pub store: Arc<MemoryStore>,
    clock: Arc<ManualClock>,
    hasher: Arc<FastHasher>,
    uri: SecretString,
    /// The keys of this test.
    pub prefix: String,
}

pub struct Replica {
    pub pool: RedisPool,
    pub sessions: Sessions,
    pub store: Arc<WatchedStore>,
    channel: Arc<RedisInvalidations>,
    handle: SessionsHandle,
    _tasks: [InfrastructureTask; 3],
}

impl Cluster {
    pub fn new(uri: SecretString) -> Self {
        let clock = Arc::new(ManualClock::default());
        Self {
            store: Arc::new(MemoryStore::new(clock.clone())),
            clock,
            hasher: Arc::default(),
            uri,
            prefix: format!("test-{}:", steward_actors::ids::new_id()),
        }
    }

    /// A replica whose channel is trusted.
    pub async fn replica(&self) -> Replica {
        let replica = self.replica_without_redis();
        replica.trusted().await;
        replica
    }

    /// A replica that may not have reached Redis.
    pub fn replica_without_redis(&self) -> Replica {
        self.replica_at(self.uri.clone())
    }

    /// A replica that finds Redis by another URI, and may not have reached it.
    pub fn replica_at(&self, uri: SecretString) -> Replica {
        let tree = Tree::new(self.clock.clone());
        let store = Arc::new(WatchedStore::new(self.store.clone()));
        let pool = RedisPool::connect(&uri, &self.prefix).unwrap();
        let (channel, tasks) = RedisInvalidations::start(pool.clone(), &tree);
        let posted = Arc::new(Posted::new(channel.clone(), store.clone(), self.clock.clone()));
        let looking = supervise_task(&tree, "posted-revocations", {
            let posted = posted.clone();
            move |stop| {
                let posted = posted.clone();
                async move { posted.run(stop).await }
            }
        });
        let [listening, beating] = tasks;
        let sessions = Sessions::new(SessionParts {
            store: store.clone(),
            clock: self.clock.clone(),
            users: Users::new(store.clone(), self.clock.clone(), self.hasher.clone()),
            limits: Arc::new(MemoryLimits::new(self.clock.clone(), 1000)),
            access: Arc::new(PlainTokens),
            token_key: TokenKey::new(vec![7; 32].into()),
            locator: Some(Arc::new(RedisLocator::new(pool.clone()))),
            invalidations: posted,
            tree,
            cache_capacity: 1000,
        });
        let handle = sessions.on_this_thread("test");
        Replica { pool, sessions, store, channel, handle, _tasks: [listening, beating, looking] }
    }

    /// Ends a session behind everyone's back.
    pub async fn end_unheard(&self, opened: &LoggedIn) {
        let found = load::<Session>(self.store.as_ref(), &opened.session_id).await.unwrap().unwrap();
        self.store.commit(Batch::new().delete(&found)).await.unwrap();
    }
}

impl Replica {
    pub async fn registered(&self, email: &str) -> LoggedIn {
        let password = Password::parse("correct horse".into()).unwrap();
        let new = NewUser::new(Email::parse(email).unwrap(), password);
        self.sessions.register(new, Device::default()).await.unwrap()
    }

    pub async fn check(&self, opened: &LoggedIn) -> Result<Principal, AuthError> {
        self.handle.authenticate(opened.token.expose()).await
    }

    pub async fn authenticate(&self, token: &str) -> Result<Principal, AuthError> {
        self.handle.authenticate(token).await
    }

    /// As [`Replica::check`], by the access token: the two never differ for long.
    pub async fn check_access(&self, opened: &LoggedIn) -> Result<Principal, AuthError> {
        self.handle.authenticate(opened.access.expose()).await
    }

    /// Checks both tokens until they are answered from memory, so that what is tested afterwards
    /// are cached tokens.
    pub async fn check_until_cached(&self, opened: &LoggedIn) {
        let cached = async {
            loop {
                let before = self.store.reads();
                self.check(opened).await.unwrap();
                self.check_access(opened).await.unwrap();
                if self.store.reads() == before {
                    return;
                }
            }
        };
        timeout(LONG, cached).await.expect("never answered from memory");
    }

    pub fn listen(&self) -> Subscription {
        self.channel.subscribe()
    }

    pub async fn trusted(&self) {
        timeout(LONG, self.listen().trusted()).await.expect("the channel is never trusted");
    }
}

/// Waits until `what` is heard.
pub async fn heard(subscription: &mut Subscription, what: &Invalidation, within: Duration) {
    let heard = async { while subscription.next().await != *what {} };
    timeout(within, heard).await.unwrap_or_else(|_| panic!("{what:?} was not heard within {within:?}"));
}
