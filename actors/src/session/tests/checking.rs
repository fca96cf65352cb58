//! What the session actor answers, from memory, the locator and the store.

use futures_util::future::join_all;
use tokio::time::Instant;

use super::*;

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
    // The session, its user and the user's roles.
    assert_eq!(world.store.reads(), before + 3);
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
