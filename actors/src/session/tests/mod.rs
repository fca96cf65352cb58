//! Sessions over the store in memory, with session actors that really run.

mod checking;
mod ending;
mod guessing;
mod lifetime;
mod refreshing;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;

use super::*;
use crate::cluster::Clock;
use crate::keys::{ACCESS_LIFE, AccessTokens, TokenKey};
use crate::limits::MemoryLimits;
use crate::store::{Batch, Store, Versioned, load};
use crate::supervision::{Tree, lock};
use crate::testing::{CommitFault, FastHasher, ManualClock, MemoryStore, PlainTokens, WatchedStore};
use crate::users::{ChangeError, Email, NewUser, Password, PasswordHash, RegisterError, User, Users};

/// A locator that a test changes behind everyone's back.
#[derive(Default)]
struct ScriptedLocator {
    entries: Mutex<HashMap<TokenHash, String>>,
    away: Mutex<bool>,
    asked: AtomicU64,
}

impl ScriptedLocator {
    fn entries(&self) -> HashMap<TokenHash, String> {
        lock(&self.entries).clone()
    }

    fn up(&self) -> Result<(), LocatorError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        if *lock(&self.away) { Err(LocatorError("switched off".to_owned())) } else { Ok(()) }
    }
}

#[async_trait]
impl SessionLocator for ScriptedLocator {
    async fn get(&self, token: &TokenHash) -> Result<Option<String>, LocatorError> {
        self.up()?;
        Ok(lock(&self.entries).get(token).cloned())
    }

    async fn put(&self, token: &TokenHash, session_id: &str, _: Duration) -> Result<(), LocatorError> {
        self.up()?;
        lock(&self.entries).insert(*token, session_id.to_owned());
        Ok(())
    }

    async fn forget(&self, token: &TokenHash) -> Result<(), LocatorError> {
        self.up()?;
        lock(&self.entries).remove(token);
        Ok(())
    }
}

/// A channel of which the test decides what is heard.
struct ScriptedChannel {
    feed: Feed,
    reaches_others: Mutex<bool>,
}

#[async_trait]
impl Invalidations for ScriptedChannel {
    async fn publish(&self, what: Invalidation) -> Result<(), Unreached> {
        self.feed.pass_on(what);
        if *lock(&self.reaches_others) { Ok(()) } else { Err(Unreached("switched off".to_owned())) }
    }

    fn hear(&self, what: Invalidation) {
        self.feed.pass_on(what);
    }

    fn subscribe(&self) -> Subscription {
        self.feed.subscribe()
    }
}

struct World {
    memory: Arc<MemoryStore>,
    store: Arc<WatchedStore>,
    clock: Arc<ManualClock>,
    hasher: Arc<FastHasher>,
    locator: Arc<ScriptedLocator>,
    channel: Arc<ScriptedChannel>,
    limits: Arc<MemoryLimits>,
    users: Users,
    sessions: Sessions,
    /// The handle of this test's thread.
    here: SessionsHandle,
}

fn world_with(feed: Feed) -> World {
    let clock = Arc::new(ManualClock::default());
    let memory = Arc::new(MemoryStore::new(clock.clone()));
    let store = Arc::new(WatchedStore::new(memory.clone()));
    let hasher = Arc::new(FastHasher::default());
    let locator = Arc::new(ScriptedLocator::default());
    let channel = Arc::new(ScriptedChannel { feed, reaches_others: Mutex::new(true) });
    let users = Users::new(store.clone(), clock.clone(), hasher.clone());
    let limits = Arc::new(MemoryLimits::new(clock.clone(), 10_000));
    let parts = SessionParts {
        store: store.clone(),
        clock: clock.clone(),
        users: users.clone(),
        limits: limits.clone(),
        access: Arc::new(PlainTokens),
        token_key: TokenKey::new(vec![7; 32].into()),
        locator: Some(locator.clone()),
        invalidations: channel.clone(),
        tree: Tree::new(clock.clone()),
        cache_capacity: 100,
    };
    let sessions = Sessions::new(parts);
    let here = sessions.on_this_thread("test");
    World { memory, store, clock, hasher, locator, channel, limits, users, sessions, here }
}

fn world() -> World {
    world_with(Feed::always_trusted())
}

impl World {
    /// Another replica on the same store, that counts where this one does.
    fn replica(&self) -> Sessions {
        Sessions::new(SessionParts {
            store: self.store.clone(),
            clock: self.clock.clone(),
            users: self.users.clone(),
            limits: self.limits.clone(),
            access: Arc::new(PlainTokens),
            token_key: TokenKey::new(vec![7; 32].into()),
            locator: None,
            invalidations: self.channel.clone(),
            tree: Tree::new(self.clock.clone()),
            cache_capacity: 100,
        })
    }

    async fn registered(&self, email: &str) -> LoggedIn {
        let new = NewUser::new(Email::parse(email).unwrap(), Password::parse(PASSWORD.into()).unwrap());
        self.sessions.register(new, Device::default()).await.unwrap()
    }

    async fn log_in(&self, login: &str, password: &str) -> Result<LoggedIn, LogInError> {
        let log_in = LogIn {
            login: login.to_owned(),
            password: password.into(),
            device: Device::default(),
            device_token: None,
        };
        self.sessions.log_in(log_in).await
    }

    async fn check(&self, opened: &LoggedIn) -> Result<Principal, AuthError> {
        self.here.authenticate(opened.token.expose()).await
    }

    async fn session(&self, opened: &LoggedIn) -> Option<Versioned<Session>> {
        load::<Session>(self.memory.as_ref(), &opened.session_id).await.unwrap()
    }

    async fn change(&self, user_id: &str, change: impl FnOnce(&mut User)) {
        let mut user = load::<User>(self.memory.as_ref(), user_id).await.unwrap().unwrap();
        change(&mut user.value);
        self.memory.commit(Batch::new().replace(&user.value, user.version)).await.unwrap();
    }

    /// Ends a session as another replica does: nobody here is told.
    async fn end_unheard(&self, opened: &LoggedIn) {
        let found = self.session(opened).await.unwrap();
        self.memory.commit(Batch::new().delete(&found)).await.unwrap();
    }
}

const PASSWORD: &str = "correct horse";
const REFUSED: Result<Principal, AuthError> = Err(AuthError::Unauthenticated);
