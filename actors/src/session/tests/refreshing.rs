//! Access tokens and refresh tokens of sessions that really live in a store.

use futures_util::future::join_all;

use super::*;
use crate::audit::AuditEntry;
use crate::store::{Query, find};

async fn refresh(world: &World, opened: &LoggedIn) -> Result<LoggedIn, RefreshError> {
    world.sessions.refresh(opened.refresh.expose(), None).await
}

async fn access(world: &World, opened: &LoggedIn) -> Result<Principal, AuthError> {
    world.here.authenticate(opened.access.expose()).await
}

async fn replays(world: &World) -> usize {
    let query = Query::by(&crate::audit::AUDIT, "act").equal("session.refresh_replayed");
    find::<AuditEntry>(world.memory.as_ref(), query).await.unwrap().0.len()
}

#[actix_rt::test]
async fn an_access_token_counts_while_its_session_lives_and_ten_minutes_at_most() {
    let world = world();
    let opened = world.registered("ada@example.org").await;
    let principal = access(&world, &opened).await.unwrap();
    assert_eq!(principal, world.check(&opened).await.unwrap());
    world.clock.advance(ACCESS_LIFE);
    assert_eq!(access(&world, &opened).await, REFUSED);
    assert!(world.check(&opened).await.is_ok());

    let again = world.log_in("ada@example.org", PASSWORD).await.unwrap();
    assert!(access(&world, &again).await.is_ok());
    world.sessions.log_out(&again.session_id).await.unwrap();
    assert_eq!(access(&world, &again).await, REFUSED);
}

#[actix_rt::test]
async fn an_access_token_ends_with_the_credentials_like_the_session_token() {
    let world = world();
    let kept = world.registered("ada@example.org").await;
    let other = world.log_in("ada@example.org", PASSWORD).await.unwrap();
    for opened in [&kept, &other] {
        access(&world, opened).await.unwrap();
    }
    world.sessions.end_others(&kept.user.value.id, Some(&kept.session_id)).await.unwrap();
    assert!(access(&world, &kept).await.is_ok());
    assert_eq!(access(&world, &other).await, REFUSED);
    assert_eq!(refresh(&world, &other).await.unwrap_err(), RefreshError::Refused);
    assert!(refresh(&world, &kept).await.is_ok());
}

#[actix_rt::test]
async fn an_access_token_is_answered_from_memory_and_forgotten_with_its_session() {
    let world = world();
    let opened = world.registered("ada@example.org").await;
    access(&world, &opened).await.unwrap();
    let before = world.store.reads();
    access(&world, &opened).await.unwrap();
    assert_eq!(world.store.reads(), before);
    world.end_unheard(&opened).await;
    world.channel.feed.pass_on(Invalidation::Session(opened.session_id.clone()));
    assert_eq!(access(&world, &opened).await, REFUSED);
}

#[actix_rt::test]
async fn an_access_token_of_one_user_with_anothers_session_is_refused() {
    let world = world();
    let (ada, bob) = (world.registered("ada@example.org").await, world.registered("bob@example.org").await);
    let now = world.clock.now();
    let mut claims = PlainTokens.read(ada.access.expose(), now).unwrap();
    claims.session_id = bob.session_id.clone();
    let forged = PlainTokens.issue(&claims, now).unwrap();
    assert_eq!(world.here.authenticate(forged.expose()).await, REFUSED);
}

#[actix_rt::test]
async fn refreshing_changes_two_tokens_and_keeps_the_session() {
    let world = world();
    let opened = world.registered("ada@example.org").await;
    let next = refresh(&world, &opened).await.unwrap();
    assert_eq!(next.session_id, opened.session_id);
    assert_eq!(next.token.expose(), opened.token.expose());
    assert_ne!(next.refresh.expose(), opened.refresh.expose());
    assert_ne!(next.access.expose(), opened.access.expose());
    assert_eq!(next.user, opened.user);
    assert!(access(&world, &next).await.is_ok() && world.check(&next).await.is_ok());
    // A refresh token is no bearer token, and a bearer token refreshes nothing.
    assert_eq!(world.here.authenticate(next.refresh.expose()).await, REFUSED);
    for no_refresh_token in [next.token.expose(), next.access.expose(), "", "a.b.c.d"] {
        let refused = world.sessions.refresh(no_refresh_token, None).await.unwrap_err();
        assert_eq!(refused, RefreshError::Refused);
    }
}

#[actix_rt::test]
async fn a_hundred_parallel_refreshes_with_lost_replies_leave_one_live_family() {
    for at_once in [50, 100] {
        let world = world();
        let mut opened = world.registered("ada@example.org").await;
        // Several rounds, in each of which all tabs refresh at once and most replies are lost.
        for _ in 0..3 {
            let answers = join_all((0..at_once).map(|_| refresh(&world, &opened))).await;
            let answers: Vec<LoggedIn> = answers.into_iter().map(Result::unwrap).collect();
            let first = answers[0].refresh.expose();
            assert!(answers.iter().all(|answer| answer.refresh.expose() == first));
            // The one reply that arrives is the last; its token is used while slow tabs still send
            // the one before.
            let arrived = answers.into_iter().next_back().unwrap();
            access(&world, &arrived).await.unwrap();
            let slow = join_all((0..at_once).map(|_| refresh(&world, &opened))).await;
            assert!(
                slow.iter()
                    .all(|answer| answer.as_ref().unwrap().refresh.expose() == arrived.refresh.expose())
            );
            opened = arrived;
            world.clock.advance(ACCESS_LIFE);
        }
        assert!(world.check(&opened).await.is_ok());
        assert_eq!(replays(&world).await, 0);
        let live = world.sessions.page(&opened.user.value.id, 100, None).await.unwrap().unwrap().0;
        assert_eq!(live.len(), 1);
    }
}

#[actix_rt::test]
async fn a_refresh_token_dies_when_an_access_token_of_its_successor_is_used() {
    let world = world();
    let stolen = world.registered("ada@example.org").await;
    let next = refresh(&world, &stolen).await.unwrap();
    access(&world, &next).await.unwrap();
    world.clock.advance(GRACE);
    assert_eq!(refresh(&world, &stolen).await.unwrap_err(), RefreshError::Refused);
    assert_eq!(world.check(&next).await, REFUSED);
    assert_eq!(replays(&world).await, 1);
}

#[actix_rt::test]
async fn a_replay_ends_its_family_and_no_other_and_says_so_once() {
    let world = world();
    let stolen = world.registered("ada@example.org").await;
    let other = world.log_in("ada@example.org", PASSWORD).await.unwrap();
    let bob = world.registered("bob@example.org").await;
    let second = refresh(&world, &stolen).await.unwrap();
    let third = refresh(&world, &second).await.unwrap();
    refresh(&world, &third).await.unwrap();
    // Two behind what has arrived: no honest tab is so slow.
    let all = join_all((0..10).map(|_| refresh(&world, &stolen))).await;
    assert!(all.into_iter().all(|answer| answer.unwrap_err() == RefreshError::Refused));
    assert_eq!(world.check(&third).await, REFUSED);
    assert_eq!(access(&world, &third).await, REFUSED);
    assert_eq!(refresh(&world, &third).await.unwrap_err(), RefreshError::Refused);
    assert!(world.check(&other).await.is_ok() && world.check(&bob).await.is_ok());
    assert!(refresh(&world, &other).await.is_ok());
    assert_eq!(replays(&world).await, 1);
}

#[actix_rt::test]
async fn a_lost_commit_of_a_refresh_changes_nothing_for_the_client() {
    for fault in [CommitFault::LostBefore, CommitFault::LostAfter, CommitFault::Unavailable] {
        let world = world();
        let first = world.registered("ada@example.org").await;
        let second = refresh(&world, &first).await.unwrap();
        world.memory.fail_commits([fault]);
        let third = match refresh(&world, &second).await {
            Ok(third) => third,
            Err(error) => {
                assert!(matches!(error, RefreshError::Unavailable(_)), "{error:?}");
                refresh(&world, &second).await.unwrap()
            }
        };
        assert!(refresh(&world, &third).await.is_ok(), "{fault:?}");
        assert_eq!(replays(&world).await, 0, "{fault:?}");
    }
}

#[actix_rt::test]
async fn refreshing_counts_as_use_and_a_refresh_token_logs_out() {
    let world = world();
    let mut opened = world.registered("ada@example.org").await;
    for _ in 0..8 {
        world.clock.advance(IDLE / 3);
        opened = refresh(&world, &opened).await.unwrap();
    }
    assert!(world.check(&opened).await.is_ok());
    world.clock.advance(ABSOLUTE - IDLE / 3 * 8);
    assert_eq!(refresh(&world, &opened).await.unwrap_err(), RefreshError::Refused);

    let again = world.log_in("ada@example.org", PASSWORD).await.unwrap();
    assert_eq!(world.sessions.log_out_by("nonsense").await, Err(LogOutError::NotFound));
    world.sessions.log_out_by(again.refresh.expose()).await.unwrap();
    assert_eq!(world.check(&again).await, REFUSED);
    assert_eq!(refresh(&world, &again).await.unwrap_err(), RefreshError::Refused);
}

#[actix_rt::test]
async fn a_session_read_while_it_moves_to_new_credentials_is_no_refusal() {
    let world = world();
    let kept = world.registered("ada@example.org").await;
    // Given a check that has read the session and not yet its user,
    world.store.hold_reads();
    let (here, token) = (world.here.clone(), kept.token.clone());
    let checking = actix_rt::spawn(async move { here.authenticate(token.expose()).await });
    world.store.held(1).await;
    // when the credentials change in between and the session is kept,
    let found = load::<User>(world.memory.as_ref(), &kept.user.value.id).await.unwrap().unwrap();
    let session = world.session(&kept).await.unwrap();
    let batch = Batch::new()
        .replace(&User { credentials_version: 1, ..found.value }, found.version)
        .replace(&Session { credentials_version: 1, ..session.value }, session.version);
    world.memory.commit(batch).await.unwrap();
    world.store.release_reads();
    // then it is looked at again before anyone is refused.
    assert!(checking.await.unwrap().is_ok());
}
