//! Sessions over the store in memory, with session actors that really run.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use tokio::time::Instant;

use super::*;
use crate::cluster::Clock;
use crate::store::{Batch, Store, Versioned, load};
use crate::supervision::{Tree, lock};
use crate::testing::{CommitFault, FastHasher, ManualClock, MemoryStore, WatchedStore};
use crate::users::{Email, NewUser, Password, User, Users};

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
    let sessions = Sessions::new(SessionParts {
        store: store.clone(),
        clock: clock.clone(),
        users: users.clone(),
        locator: Some(locator.clone()),
        invalidations: channel.clone(),
        tree: Tree::new(clock.clone()),
        cache_capacity: 100,
    });
    let here = sessions.on_this_thread("test");
    World { memory, store, clock, hasher, locator, channel, users, sessions, here }
}

fn world() -> World {
    world_with(Feed::always_trusted())
}

impl World {
    async fn registered(&self, email: &str) -> LoggedIn {
        let new = NewUser::new(Email::parse(email).unwrap(), Password::parse(PASSWORD.into()).unwrap());
        self.sessions.register(new, Device::default()).await.unwrap()
    }

    async fn log_in(&self, login: &str, password: &str) -> Result<LoggedIn, LogInError> {
        let log_in = LogIn { login: login.to_owned(), password: password.into(), device: Device::default() };
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

#[actix_rt::test]
async fn a_token_says_who_is_calling_until_the_session_is_ended() {
    let world = world();
    let opened = world.registered("ada@example.org").await;
    let principal = world.check(&opened).await.unwrap();
    assert_eq!(principal.user_id, opened.user.value.id);
    assert_eq!(principal.session_id, opened.session_id);
    assert!(principal.permissions.is_empty());

    world.sessions.log_out(&opened.session_id).await.unwrap();
    assert_eq!(world.check(&opened).await, REFUSED);
    assert!(world.locator.entries().is_empty());
    world.sessions.log_out(&opened.session_id).await.unwrap();
}

#[actix_rt::test]
async fn each_log_in_opens_a_session_of_its_own() {
    let world = world();
    let first = world.registered("ada@example.org").await;
    let second = world.log_in("ADA@example.org", PASSWORD).await.unwrap();
    assert_ne!(first.token.expose(), second.token.expose());
    world.sessions.log_out(&first.session_id).await.unwrap();
    assert_eq!(world.check(&first).await, REFUSED);
    assert!(world.check(&second).await.is_ok());
}

#[actix_rt::test]
async fn tokens_are_kept_only_as_hashes() {
    let world = world();
    let opened = world.registered("ada@example.org").await;
    let stored = serde_json::to_string(&world.session(&opened).await.unwrap().value).unwrap();
    assert!(stored.contains(&opened.token.hash().to_string()));
    assert!(!stored.contains(opened.token.expose()));
}

#[actix_rt::test]
async fn wrong_passwords_unknown_users_and_disabled_ones_cost_and_say_the_same() {
    let world = world();
    let ada = world.registered("ada@example.org").await.user.value;
    let bob = world.registered("bob@example.org").await.user.value;
    world.change(&bob.id, |user| user.disabled = true).await;
    for (login, password) in [
        ("ada@example.org", "wrong password"),
        ("nobody@example.org", PASSWORD),
        ("nobody", PASSWORD),
        ("not a login", PASSWORD),
        ("bob@example.org", PASSWORD),
    ] {
        let before = world.hasher.verified();
        let refused = world.log_in(login, password).await.unwrap_err();
        assert_eq!(refused, LogInError::InvalidCredentials, "{login}");
        assert_eq!(world.hasher.verified(), before + 1, "{login}");
    }
    for login in [&ada.email, "nobody@example.org"] {
        let before = world.hasher.verified();
        assert_eq!(world.log_in(login, "short").await.unwrap_err(), LogInError::InvalidCredentials);
        assert_eq!(world.hasher.verified(), before);
    }
}

#[actix_rt::test]
async fn a_busy_hasher_and_a_store_that_is_away_are_no_wrong_credentials() {
    let world = world();
    world.registered("ada@example.org").await;
    world.hasher.set_busy(true);
    assert_eq!(world.log_in("ada@example.org", PASSWORD).await.unwrap_err(), LogInError::Busy);
    world.hasher.set_busy(false);
    world.memory.set_down(true);
    let away = world.log_in("ada@example.org", PASSWORD).await.unwrap_err();
    assert!(matches!(away, LogInError::Unavailable(_)), "{away:?}");
}

#[actix_rt::test]
async fn a_user_is_made_with_a_session_or_not_at_all() {
    let world = world();
    world.memory.fail_commits([CommitFault::Unavailable]);
    let new =
        NewUser::new(Email::parse("ada@example.org").unwrap(), Password::parse(PASSWORD.into()).unwrap());
    assert!(world.sessions.register(new.clone(), Device::default()).await.is_err());
    assert_eq!(world.users.by_login("ada@example.org").await.unwrap(), None);
    let opened = world.sessions.register(new, Device::default()).await.unwrap();
    assert!(world.check(&opened).await.is_ok());
    assert_eq!(world.memory.commits(), 1);
}

#[actix_rt::test]
async fn what_is_no_token_is_refused_without_asking_anyone() {
    let world = world();
    let before = world.store.reads();
    for bad in ["", "Bearer", "eyJhbGciOiJFUzI1NiJ9.e30.x", &"x".repeat(100_000)] {
        assert_eq!(world.here.authenticate(bad).await, REFUSED);
    }
    assert_eq!(world.store.reads(), before);
    assert_eq!(world.here.authenticate(SessionToken::generate().expose()).await, REFUSED);
}

#[actix_rt::test]
async fn a_known_token_is_answered_from_memory() {
    let world = world();
    let opened = world.registered("ada@example.org").await;
    world.check(&opened).await.unwrap();
    let before = world.store.reads();
    world.memory.set_down(true);
    for _ in 0..10 {
        world.check(&opened).await.unwrap();
    }
    assert_eq!(world.store.reads(), before);
}

#[actix_rt::test]
async fn a_store_that_is_away_is_not_a_refusal() {
    let world = world();
    let opened = world.registered("ada@example.org").await;
    world.memory.set_down(true);
    assert!(matches!(world.check(&opened).await, Err(AuthError::Unavailable { .. })));
    world.memory.set_down(false);
    assert!(world.check(&opened).await.is_ok());
}

#[actix_rt::test]
async fn checks_of_one_token_at_the_same_time_share_a_load() {
    let world = world();
    let opened = world.registered("ada@example.org").await;
    let before = world.store.reads();
    let checks = join_all((0..50).map(|_| world.check(&opened))).await;
    assert!(checks.iter().all(Result::is_ok));
    // The session and its user.
    assert_eq!(world.store.reads(), before + 2);
}

#[actix_rt::test]
async fn a_load_that_raced_an_invalidation_does_not_enter_the_cache() {
    let world = world();
    let opened = world.registered("ada@example.org").await;
    // Given a load that has read the session, but not yet arrived,
    world.store.hold_reads();
    let early = world.here.clone();
    let token = opened.token.clone();
    let early = actix_rt::spawn(async move { early.authenticate(token.expose()).await });
    world.store.held(1).await;
    // when the session is ended meanwhile, as another replica does and then tells,
    world.end_unheard(&opened).await;
    world.channel.feed.pass_on(Invalidation::Session(opened.session_id.clone()));
    // then whoever asks from now on is refused, both before
    let token = opened.token.clone();
    let late = world.here.clone();
    let late = actix_rt::spawn(async move { late.authenticate(token.expose()).await });
    world.store.held(2).await;
    world.store.release_reads();
    assert_eq!(late.await.unwrap(), REFUSED);
    // and after that load has arrived.
    assert!(early.await.unwrap().is_ok());
    assert_eq!(world.check(&opened).await, REFUSED);
}

#[actix_rt::test]
async fn a_user_who_was_changed_is_loaded_again() {
    let world = world();
    let opened = world.registered("ada@example.org").await;
    assert!(!world.check(&opened).await.unwrap().may("users:read"));

    world.change(&opened.user.value.id, |user| user.roles = vec!["support".to_owned()]).await;
    world.sessions.user_changed(&opened.user.value.id).await;
    assert!(world.check(&opened).await.unwrap().may("users:read"));

    world.change(&opened.user.value.id, |user| user.disabled = true).await;
    world.sessions.user_changed(&opened.user.value.id).await;
    assert_eq!(world.check(&opened).await, REFUSED);
}

#[actix_rt::test]
async fn everything_said_before_a_check_counts_for_it() {
    let world = world();
    let opened = world.registered("ada@example.org").await;
    world.check(&opened).await.unwrap();
    world.end_unheard(&opened).await;
    for n in 0..10 {
        world.channel.feed.pass_on(Invalidation::User(n.to_string()));
    }
    world.channel.feed.pass_on(Invalidation::Session(opened.session_id.clone()));
    assert_eq!(world.check(&opened).await, REFUSED);
}

#[actix_rt::test]
async fn while_the_channel_is_silent_the_store_is_asked() {
    let world = world_with(Feed::silent());
    let opened = world.registered("ada@example.org").await;
    world.check(&opened).await.unwrap();
    // Another replica ended it, and nothing was heard.
    world.end_unheard(&opened).await;
    assert_eq!(world.check(&opened).await, REFUSED);
}

#[actix_rt::test]
async fn nothing_cached_outlives_a_silence() {
    let world = world_with(Feed::silent());
    world.channel.feed.heartbeat(Instant::now());
    let opened = world.registered("ada@example.org").await;
    world.check(&opened).await.unwrap();
    let before = world.store.reads();
    world.check(&opened).await.unwrap();
    assert_eq!(world.store.reads(), before, "cached while the channel is alive");

    world.channel.feed.lost();
    world.end_unheard(&opened).await;
    world.channel.feed.heartbeat(Instant::now());
    assert_eq!(world.check(&opened).await, REFUSED);
}

#[actix_rt::test]
async fn a_load_begun_in_silence_does_not_enter_the_cache_when_trust_returns() {
    let world = world_with(Feed::silent());
    let opened = world.registered("ada@example.org").await;
    world.store.hold_reads();
    let (here, token) = (world.here.clone(), opened.token.clone());
    let early = actix_rt::spawn(async move { here.authenticate(token.expose()).await });
    world.store.held(1).await;
    world.end_unheard(&opened).await;
    world.channel.feed.heartbeat(Instant::now());
    world.store.release_reads();
    assert!(early.await.unwrap().is_ok());
    assert_eq!(world.check(&opened).await, REFUSED);
}

#[actix_rt::test]
async fn a_locator_that_was_flushed_or_is_away_logs_nobody_out() {
    let world = world_with(Feed::silent());
    let opened = world.registered("ada@example.org").await;
    lock(&world.locator.entries).clear();
    assert!(world.check(&opened).await.is_ok());
    assert_eq!(world.locator.entries().get(&opened.token.hash()), Some(&opened.session_id), "refilled");

    *lock(&world.locator.away) = true;
    assert!(world.check(&opened).await.is_ok());
    let asked = world.locator.asked.load(Ordering::SeqCst);
    assert!(world.check(&opened).await.is_ok());
    assert_eq!(world.locator.asked.load(Ordering::SeqCst), asked, "left alone for a while");
}

#[actix_rt::test]
async fn a_locator_that_was_rolled_back_revives_nothing() {
    let world = world();
    let ended = world.registered("ada@example.org").await;
    let live = world.log_in("ada@example.org", PASSWORD).await.unwrap();
    let old = world.locator.entries();
    world.sessions.log_out(&ended.session_id).await.unwrap();
    *lock(&world.locator.entries) = old;
    assert_eq!(world.check(&ended).await, REFUSED);
    assert!(!world.locator.entries().contains_key(&ended.token.hash()), "forgotten again");

    // Nor does an entry count that names somebody's live session.
    lock(&world.locator.entries).insert(ended.token.hash(), live.session_id.clone());
    assert_eq!(world.check(&ended).await, REFUSED);
    lock(&world.locator.entries).insert(live.token.hash(), "another".to_owned());
    assert_eq!(world.check(&live).await.unwrap().session_id, live.session_id);
}

#[actix_rt::test]
async fn a_session_ends_when_it_was_idle_for_too_long() {
    let world = world();
    let opened = world.registered("ada@example.org").await;
    world.check(&opened).await.unwrap();
    world.clock.advance(IDLE);
    assert_eq!(world.check(&opened).await, REFUSED);
}

#[actix_rt::test]
async fn being_used_is_written_down_now_and_then() {
    let world = world();
    let opened = world.registered("ada@example.org").await;
    let commits = world.memory.commits();
    world.check(&opened).await.unwrap();
    world.clock.advance(SEEN_EVERY);
    for _ in 0..10 {
        world.check(&opened).await.unwrap();
    }
    // An actor that asks the store is as good as a later request: the write is on its way.
    while world.session(&opened).await.unwrap().version == 1 {
        tokio::task::yield_now().await;
    }
    let seen = world.session(&opened).await.unwrap();
    assert_eq!(seen.value.last_seen_at, world.clock.now());
    assert_eq!(seen.value.expires_at, world.clock.now().plus(IDLE));
    for _ in 0..10 {
        world.check(&opened).await.unwrap();
    }
    assert_eq!(world.memory.commits(), commits + 1);
}

#[actix_rt::test]
async fn a_log_out_whose_outcome_was_unknown_is_settled() {
    for fault in [CommitFault::LostBefore, CommitFault::LostAfter] {
        let world = world();
        let opened = world.registered("ada@example.org").await;
        world.check(&opened).await.unwrap();
        world.memory.fail_commits([fault]);
        world.sessions.log_out(&opened.session_id).await.unwrap();
        assert_eq!(world.check(&opened).await, REFUSED, "{fault:?}");
    }
}

#[actix_rt::test]
async fn a_log_out_that_failed_leaves_the_session() {
    let world = world();
    let opened = world.registered("ada@example.org").await;
    world.memory.fail_commits([CommitFault::Unavailable]);
    let failed = world.sessions.log_out(&opened.session_id).await;
    assert!(matches!(failed, Err(LogOutError::Unavailable(_))), "{failed:?}");
    assert!(world.check(&opened).await.is_ok());
}

#[actix_rt::test]
async fn a_log_out_counts_here_though_the_others_cannot_be_told() {
    let world = world();
    let opened = world.registered("ada@example.org").await;
    world.check(&opened).await.unwrap();
    *lock(&world.channel.reaches_others) = false;
    world.sessions.log_out(&opened.session_id).await.unwrap();
    assert_eq!(world.check(&opened).await, REFUSED);
}
