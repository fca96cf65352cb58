//! Users over the store in memory.

mod accounts;
mod rights;

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::cluster::Clock;
use crate::outbox::Recipients;
use crate::store::Batch;
use crate::testing::{CommitFault, FastHasher, ManualClock, MemoryStore, WatchedStore};

struct World {
    store: Arc<MemoryStore>,
    clock: Arc<ManualClock>,
    hasher: Arc<FastHasher>,
    users: Users,
}

fn world() -> World {
    let clock = Arc::new(ManualClock::default());
    let store = Arc::new(MemoryStore::new(clock.clone()));
    let hasher = Arc::new(FastHasher::default());
    let users = Users::new(Arc::new(WatchedStore::new(store.clone())), clock.clone(), hasher.clone());
    World { store, clock, hasher, users }
}

fn password() -> Password {
    Password::parse("correct horse".into()).unwrap()
}

fn named(email: &str) -> NewUser {
    NewUser::new(Email::parse(email).unwrap(), password())
}

fn name(text: &str) -> DisplayName {
    DisplayName::parse(text).unwrap()
}

#[tokio::test]
async fn who_registers_is_found_by_address_and_username_whatever_the_case() {
    let world = world();
    let mut ada = named("Ada@Example.org");
    ada.username = Some(Username::parse("Countess").unwrap());
    let made = world.users.register(ada).await.unwrap();
    assert_eq!((made.version, made.value.roles.as_slice()), (1, ["customer".to_owned()].as_slice()));
    assert_eq!(made.value.name, "Countess");
    for login in ["ada@example.ORG", "countess", "COUNTESS"] {
        assert_eq!(world.users.by_login(login).await.unwrap().unwrap(), made, "{login}");
    }
    assert_eq!(world.users.by_login("not a login").await.unwrap(), None);
    let recipient = world.users.address(&made.value.id).await.unwrap().unwrap();
    assert_eq!((recipient.email.as_str(), recipient.name.as_str()), ("Ada@Example.org", "Countess"));
}

#[tokio::test]
async fn a_taken_address_or_username_is_refused() {
    let world = world();
    let mut ada = named("ada@example.org");
    ada.username = Some(Username::parse("ada").unwrap());
    world.users.register(ada).await.unwrap();
    let again = world.users.register(named("ADA@example.org")).await;
    assert_eq!(again.unwrap_err(), RegisterError::EmailTaken);
    let mut other = named("other@example.org");
    other.username = Some(Username::parse("ADA").unwrap());
    assert_eq!(world.users.register(other).await.unwrap_err(), RegisterError::UsernameTaken);
}

#[tokio::test]
async fn of_many_who_register_one_address_at_once_one_gets_it() {
    let world = world();
    let all = (0..100).map(|_| world.users.register(named("ada@example.org")));
    let answers = futures_util::future::join_all(all).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
    let refused = answers.iter().filter(|answer| matches!(answer, Err(RegisterError::EmailTaken)));
    assert_eq!(refused.count(), 99);
}

#[tokio::test]
async fn a_password_that_repeats_the_address_is_weak() {
    let world = world();
    let mut ada = named("ada.lovelace@example.org");
    ada.password = Password::parse("Ada.Lovelace".into()).unwrap();
    assert_eq!(world.users.register(ada).await.unwrap_err(), RegisterError::WeakPassword);
}

#[tokio::test]
async fn a_registration_whose_outcome_was_unknown_counts_once() {
    for fault in [CommitFault::LostBefore, CommitFault::LostAfter] {
        let world = world();
        world.store.fail_commits([fault]);
        let made = world.users.register(named("ada@example.org")).await.unwrap();
        assert_eq!(world.users.get(&made.value.id).await.unwrap().unwrap(), made, "{fault:?}");
        assert_eq!(world.store.commits(), 1, "{fault:?}");
    }
}

#[tokio::test]
async fn a_registration_that_stays_unknown_is_not_called_a_failure() {
    let world = world();
    world.store.fail_commits([CommitFault::LostAfter, CommitFault::Unavailable]);
    let unknown = world.users.register(named("ada@example.org")).await;
    assert!(matches!(unknown, Err(RegisterError::OutcomeUnknown(_))), "{unknown:?}");
    world.store.fail_commits([CommitFault::Unavailable]);
    let failed = world.users.register(named("bob@example.org")).await;
    assert!(matches!(failed, Err(RegisterError::Unavailable(_))), "{failed:?}");
}

#[tokio::test]
async fn nothing_is_made_while_the_hasher_is_busy_or_the_store_is_away() {
    let world = world();
    world.hasher.set_busy(true);
    let busy = world.users.register(named("ada@example.org")).await;
    assert_eq!(busy.unwrap_err(), RegisterError::Busy);
    world.hasher.set_busy(false);
    world.store.set_down(true);
    let away = world.users.register(named("ada@example.org")).await;
    assert!(matches!(away, Err(RegisterError::Unavailable(_))));
    world.store.set_down(false);
    assert_eq!(world.store.commits(), 0);
}

#[tokio::test]
async fn what_is_committed_with_a_user_fails_with_the_user() {
    let world = world();
    let other = world.users.register(named("other@example.org")).await.unwrap().value;
    let failed = world.users.register_with(named("ada@example.org"), |_| Batch::new().insert(&other)).await;
    assert!(matches!(failed, Err(RegisterError::Unavailable(_))), "{failed:?}");
    assert_eq!(world.users.by_login("ada@example.org").await.unwrap(), None);
}

#[tokio::test]
async fn a_name_is_set_and_dated() {
    let world = world();
    let ada = world.users.register(named("ada@example.org")).await.unwrap().value;
    world.clock.advance(Duration::from_secs(60));
    let changed = world.users.set_name(&ada.id, &name("Ada")).await.unwrap();
    assert_eq!((changed.value.name.as_str(), changed.version), ("Ada", 2));
    assert_eq!(changed.value.updated_at, world.clock.now());
    assert_eq!(world.users.get(&ada.id).await.unwrap().unwrap(), changed);
    assert_eq!(world.users.set_name("nobody", &name("Ada")).await.unwrap_err(), ChangeError::NotFound);
}

#[tokio::test]
async fn names_set_at_the_same_time_are_set_one_after_the_other() {
    let world = world();
    let ada = world.users.register(named("ada@example.org")).await.unwrap().value;
    let names: Vec<DisplayName> = (0..4).map(|n| name(&format!("Ada {n}"))).collect();
    let all = names.iter().map(|name| world.users.set_name(&ada.id, name));
    for answer in futures_util::future::join_all(all).await {
        answer.unwrap();
    }
    assert_eq!(world.users.get(&ada.id).await.unwrap().unwrap().version, 5);
}

#[tokio::test]
async fn a_change_whose_outcome_was_unknown_counts_once() {
    for fault in [CommitFault::LostBefore, CommitFault::LostAfter] {
        let world = world();
        let ada = world.users.register(named("ada@example.org")).await.unwrap().value;
        world.store.fail_commits([fault]);
        let changed = world.users.set_name(&ada.id, &name("Ada")).await.unwrap();
        assert_eq!((changed.value.name.as_str(), changed.version), ("Ada", 2), "{fault:?}");
    }
}

#[tokio::test]
async fn the_first_admin_is_made_once() {
    let world = world();
    let email = || Email::parse("admin@example.org").unwrap();
    let both = futures_util::future::join(
        world.users.ensure_admin(email(), password()),
        world.users.ensure_admin(Email::parse("boss@example.org").unwrap(), password()),
    );
    let (a, b) = both.await;
    let made = [a.unwrap(), b.unwrap()].into_iter().filter(|first| *first != FirstAdmin::Exists);
    assert_eq!(made.count(), 1);
    assert_eq!(world.users.ensure_admin(email(), password()).await.unwrap(), FirstAdmin::Exists);
    assert_eq!(world.store.commits(), 1);
}

#[tokio::test]
async fn two_replicas_with_the_same_admin_configured_make_one() {
    let world = world();
    let email = || Email::parse("admin@example.org").unwrap();
    let all = (0..10).map(|_| world.users.ensure_admin(email(), password()));
    let answers = futures_util::future::join_all(all).await;
    let made = answers.iter().filter(|answer| matches!(answer, Ok(FirstAdmin::Made(_)))).count();
    let existed = answers.iter().filter(|answer| matches!(answer, Ok(FirstAdmin::Exists))).count();
    assert_eq!((made, existed), (1, 9));
}

#[tokio::test]
async fn a_customer_with_the_admins_address_is_not_made_an_admin() {
    let world = world();
    let customer = world.users.register(named("admin@example.org")).await.unwrap().value;
    let refused = world.users.ensure_admin(Email::parse("admin@example.org").unwrap(), password()).await;
    assert_eq!(refused.unwrap_err(), RegisterError::EmailTaken);
    assert!(!world.users.get(&customer.id).await.unwrap().unwrap().value.is_admin());
}

#[tokio::test]
async fn sample_users_keep_their_ids_and_are_made_once() {
    let world = world();
    let sample = Sample { id: "user123".to_owned(), user: named("user123@example.org") };
    assert!(world.users.insert_sample(sample.clone()).await.unwrap());
    assert!(!world.users.insert_sample(sample).await.unwrap());
    assert_eq!(world.users.get("user123").await.unwrap().unwrap().version, 1);
}

#[tokio::test]
async fn verifying_nobody_runs_the_hasher_and_is_never_right() {
    let world = world();
    let ada = world.users.register(named("ada@example.org")).await.unwrap().value;
    assert_eq!(world.users.verify(Some(&ada), &password()).await, Ok(Verified::Right));
    assert_eq!(world.users.verify(None, &password()).await, Ok(Verified::Wrong));
    assert_eq!(world.hasher.verified(), 2);
}
