//! Ending one session, all others, and all together with a change of their user.

use futures_util::future::join;

use super::*;

/// What a change of name and of nothing else is.
fn renamed(found: &Versioned<User>) -> Result<(User, Batch), ChangeError> {
    Ok((User { name: "Renamed".to_owned(), ..found.value.clone() }, Batch::new()))
}

async fn live(world: &World, user_id: &str) -> Vec<String> {
    let (found, next) = world.sessions.page(user_id, 100, None).await.unwrap().unwrap();
    assert_eq!(next, None);
    found.into_iter().map(|session| session.id).collect()
}

#[actix_rt::test]
async fn of_two_users_each_sees_and_ends_their_own_sessions_only() {
    let world = world();
    let ada = world.registered("ada@example.org").await;
    let bob = world.registered("bob@example.org").await;
    world.clock.advance(Duration::from_secs(1));
    let second = world.log_in("ada@example.org", PASSWORD).await.unwrap();
    let (ada_id, bob_id) = (&ada.user.value.id, &bob.user.value.id);
    assert_eq!(live(&world, ada_id).await, [second.session_id.clone(), ada.session_id.clone()]);

    let refused = world.sessions.end_one(bob_id, &ada.session_id).await;
    assert_eq!(refused, Err(LogOutError::NotFound));
    assert!(world.check(&ada).await.is_ok());
    world.sessions.end_one(ada_id, &ada.session_id).await.unwrap();
    assert_eq!(world.check(&ada).await, REFUSED);
    assert_eq!(world.sessions.end_one(ada_id, &ada.session_id).await, Err(LogOutError::NotFound));
    assert_eq!(live(&world, ada_id).await, [second.session_id]);
    assert_eq!(live(&world, bob_id).await, [bob.session_id]);
}

#[actix_rt::test]
async fn a_change_ends_all_sessions_but_one_in_its_own_commit() {
    let world = world();
    let kept = world.registered("ada@example.org").await;
    let other = world.log_in("ada@example.org", PASSWORD).await.unwrap();
    let bob = world.registered("bob@example.org").await;
    for opened in [&kept, &other, &bob] {
        world.check(opened).await.unwrap();
    }
    let commits = world.memory.commits();
    let user_id = &kept.user.value.id;
    let changed = world.sessions.end_all(user_id, Some(&kept.session_id), renamed).await.unwrap();
    assert_eq!((changed.value.name.as_str(), changed.version), ("Renamed", 2));
    assert_eq!(world.memory.commits(), commits + 1);
    assert_eq!(world.check(&other).await, REFUSED);
    assert!(world.check(&kept).await.is_ok() && world.check(&bob).await.is_ok());
    assert_eq!(live(&world, user_id).await, std::slice::from_ref(&kept.session_id));

    // Nor does it revive what was ended before, whoever it is told to keep.
    world.sessions.end_all(user_id, Some(&other.session_id), renamed).await.unwrap();
    assert_eq!(world.check(&other).await, REFUSED);
    assert_eq!(world.check(&kept).await, REFUSED);
    world.sessions.end_others(user_id, Some(&bob.session_id)).await.unwrap();
    assert!(world.check(&bob).await.is_ok());
}

#[actix_rt::test]
async fn a_change_that_is_refused_or_fails_ends_nothing() {
    let world = world();
    let opened = world.registered("ada@example.org").await;
    let user_id = &opened.user.value.id;
    let refuse = |_: &Versioned<User>| Err(ChangeError::NotFound);
    assert_eq!(world.sessions.end_all(user_id, None, refuse).await, Err(ChangeError::NotFound));
    world.memory.fail_commits([CommitFault::Unavailable]);
    let failed = world.sessions.end_all(user_id, None, renamed).await;
    assert!(matches!(failed, Err(ChangeError::Unavailable(_))), "{failed:?}");
    assert!(world.check(&opened).await.is_ok());
    assert_eq!(world.sessions.end_others("nobody", None).await, Err(ChangeError::NotFound));
}

#[actix_rt::test]
async fn a_change_whose_outcome_was_unknown_keeps_what_it_should() {
    for fault in [CommitFault::LostBefore, CommitFault::LostAfter] {
        let world = world();
        let kept = world.registered("ada@example.org").await;
        let other = world.log_in("ada@example.org", PASSWORD).await.unwrap();
        world.memory.fail_commits([fault]);
        world.sessions.end_all(&kept.user.value.id, Some(&kept.session_id), renamed).await.unwrap();
        assert!(world.check(&kept).await.is_ok(), "{fault:?}");
        assert_eq!(world.check(&other).await, REFUSED, "{fault:?}");
    }
}

#[actix_rt::test]
async fn a_log_in_that_races_a_change_of_credentials_leaves_nothing_live() {
    let world = world();
    let ada = world.registered("ada@example.org").await;
    // Given a log-in that has read the user as it was,
    let read = world.users.get(&ada.user.value.id).await.unwrap().unwrap();
    // when the password is changed before its session is written,
    world.sessions.end_all(&ada.user.value.id, Some(&ada.session_id), renamed).await.unwrap();
    let late = world.sessions.open(read, Device::default()).await.unwrap();
    // then that session was never one.
    assert_eq!(world.check(&late).await, REFUSED);
    assert!(world.check(&ada).await.is_ok());
}

#[actix_rt::test]
async fn who_is_disabled_and_enabled_again_has_no_old_sessions() {
    let world = world();
    let ada = world.registered("ada@example.org").await;
    let user_id = ada.user.value.id.clone();
    let disable = |found: &Versioned<User>| {
        Ok::<_, ChangeError>((User { disabled: true, ..found.value.clone() }, Batch::new()))
    };
    world.sessions.end_all(&user_id, None, disable).await.unwrap();
    assert_eq!(world.check(&ada).await, REFUSED);
    world.change(&user_id, |user| user.disabled = false).await;
    world.sessions.user_changed(&user_id).await;
    assert_eq!(world.check(&ada).await, REFUSED);
}

#[actix_rt::test]
async fn two_changes_at_once_both_count() {
    let world = world();
    let ada = world.registered("ada@example.org").await;
    let second = world.log_in("ada@example.org", PASSWORD).await.unwrap();
    let user_id = &ada.user.value.id;
    let both = join(
        world.sessions.end_others(user_id, Some(&ada.session_id)),
        world.sessions.end_others(user_id, Some(&second.session_id)),
    );
    let (a, b) = both.await;
    a.unwrap();
    b.unwrap();
    let left = live(&world, user_id).await;
    assert!(left.len() <= 1, "{left:?}");
}

#[actix_rt::test]
async fn nobody_has_more_live_sessions_than_allowed_and_the_one_unused_for_longest_goes() {
    let world = world();
    let first = world.registered("ada@example.org").await;
    world.clock.advance(SEEN_EVERY);
    let mut last = None;
    for n in 1..MOST_SESSIONS {
        world.clock.advance(Duration::from_secs(1));
        let opened = world.log_in("ada@example.org", PASSWORD).await.unwrap();
        if n == 1 {
            // The first is used, so the second is the one that was not used for longest.
            world.clock.advance(Duration::from_secs(1));
            world.check(&first).await.unwrap();
            while world.session(&first).await.unwrap().version == 1 {
                tokio::task::yield_now().await;
            }
            last = Some(opened);
        }
    }
    let second = last.unwrap();
    assert!(world.check(&second).await.is_ok());
    world.clock.advance(Duration::from_secs(1));
    world.log_in("ada@example.org", PASSWORD).await.unwrap();
    assert_eq!(world.check(&second).await, REFUSED);
    assert!(world.check(&first).await.is_ok());
    assert_eq!(live(&world, &first.user.value.id).await.len(), MOST_SESSIONS);
}
