//! How sessions begin and end.

use super::*;

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
        let before = world.hasher.runs();
        let refused = world.log_in(login, password).await.unwrap_err();
        assert_eq!(refused, LogInError::InvalidCredentials, "{login}");
        assert_eq!(world.hasher.runs(), before + 1, "{login}");
    }
    for login in [&ada.email, "nobody@example.org"] {
        let before = world.hasher.runs();
        assert_eq!(world.log_in(login, "short").await.unwrap_err(), LogInError::InvalidCredentials);
        assert_eq!(world.hasher.runs(), before);
    }
    // A text that preparing changes is tried twice, also where the first try is right.
    world.change(&bob.id, |user| user.password_hash = PasswordHash::new(format!("0${COMPOSED}"))).await;
    for login in [&ada.email, "nobody@example.org", &bob.email] {
        let before = world.hasher.runs();
        assert_eq!(world.log_in(login, DECOMPOSED).await.unwrap_err(), LogInError::InvalidCredentials);
        assert_eq!(world.hasher.runs(), before + 2, "{login}");
    }
}

/// What one device sends for some keys, and what another does.
const COMPOSED: &str = "correct h\u{f6}rse";
const DECOMPOSED: &str = "correct ho\u{308}rse";

#[actix_rt::test]
async fn a_password_is_the_same_on_every_device() {
    let world = world();
    for (email, text) in [("ada@example.org", COMPOSED), ("bob@example.org", DECOMPOSED)] {
        let new = NewUser::new(Email::parse(email).unwrap(), Password::parse(text.into()).unwrap());
        world.sessions.register(new, Device::default()).await.unwrap();
        for other in [COMPOSED, DECOMPOSED] {
            world.log_in(email, other).await.unwrap();
        }
    }
}

#[actix_rt::test]
async fn a_password_that_was_hashed_as_it_was_sent_opens_still_and_is_hashed_anew() {
    let world = world();
    let ada = world.registered("ada@example.org").await.user.value;
    let as_sent = PasswordHash::new(format!("0${DECOMPOSED}"));
    world.change(&ada.id, |user| user.password_hash = as_sent).await;
    assert_eq!(world.log_in("ada@example.org", COMPOSED).await.unwrap_err(), LogInError::InvalidCredentials);
    let opened = world.log_in("ada@example.org", DECOMPOSED).await.unwrap();
    assert!(world.check(&opened).await.is_ok());
    for text in [COMPOSED, DECOMPOSED] {
        world.log_in("ada@example.org", text).await.unwrap();
    }
    let hash = world.users.get(&ada.id).await.unwrap().unwrap().value.password_hash;
    assert!(hash.expose().ends_with(COMPOSED));
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

#[actix_rt::test]
async fn a_hash_with_old_parameters_is_made_anew_at_log_in() {
    let world = world();
    let ada = world.registered("ada@example.org").await.user.value;
    let old = PasswordHash::new(format!("old${PASSWORD}"));
    world.change(&ada.id, |user| user.password_hash = old.clone()).await;
    let opened = world.log_in("ada@example.org", PASSWORD).await.unwrap();
    let hash = world.users.get(&ada.id).await.unwrap().unwrap().value.password_hash;
    assert_ne!(hash, old);
    // Nobody's sessions end by that, and the password is the same.
    assert!(world.check(&opened).await.is_ok());
    world.log_in("ada@example.org", PASSWORD).await.unwrap();
    assert_eq!(world.users.get(&ada.id).await.unwrap().unwrap().value.password_hash, hash);
    // A wrong password never makes one.
    world.change(&ada.id, |user| user.password_hash = old.clone()).await;
    world.log_in("ada@example.org", "wrong password").await.unwrap_err();
    assert_eq!(world.users.get(&ada.id).await.unwrap().unwrap().value.password_hash, old);
}
