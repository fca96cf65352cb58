//! Many wrong passwords, on several replicas, and the owner in between.

use futures_util::future::join_all;

use super::*;
use crate::users::{CurrentPassword, Edit, Editor};

fn guess(login: &str, password: &str, ip: &str, device_token: Option<&str>) -> LogIn {
    LogIn {
        login: login.to_owned(),
        password: password.into(),
        device: Device::new(None, Some(ip.to_owned())),
        device_token: device_token.map(Into::into),
    }
}

fn is_throttled(answer: &Result<LoggedIn, LogInError>) -> bool {
    matches!(answer, Err(LogInError::Throttled { .. }))
}

#[actix_rt::test]
async fn of_a_thousand_guesses_on_three_replicas_ten_are_looked_at_and_the_owner_gets_in() {
    let world = world();
    let replicas = [world.sessions.clone(), world.replica(), world.replica()];
    let ada = world.registered("ada@example.org").await;
    let before = world.hasher.verified();
    // Given a thousand guesses from as many addresses, by address and by username,
    for n in 0..1000 {
        let ip = format!("10.0.{}.{}", n / 250, n % 250);
        let guess = guess("ADA@example.org", &format!("guess number {n}"), &ip, None);
        let refused = replicas[n % 3].log_in(guess).await.unwrap_err();
        let throttled = LogInError::Throttled { retry_after: Duration::ZERO };
        let expected = if n < 10 { LogInError::InvalidCredentials } else { throttled };
        assert_eq!(std::mem::discriminant(&refused), std::mem::discriminant(&expected), "{n}: {refused:?}");
    }
    assert_eq!(world.hasher.verified(), before + 10);
    // then a stranger with the right password waits, too,
    assert!(is_throttled(&world.sessions.log_in(guess("ada@example.org", PASSWORD, "10.9.9.9", None)).await));
    // and the owner gets in from her own device, time and again, though she mistypes,
    let token = ada.device.expose();
    for replica in &replicas {
        let mistyped = replica.log_in(guess("ada@example.org", "mistyped it", "10.9.9.9", Some(token))).await;
        assert_eq!(mistyped.unwrap_err(), LogInError::InvalidCredentials);
        replica.log_in(guess("ada@example.org", PASSWORD, "10.9.9.9", Some(token))).await.unwrap();
    }
    // and others are not kept waiting.
    world.registered("bob@example.org").await;
    assert!(world.sessions.log_in(guess("bob@example.org", PASSWORD, "10.9.9.9", None)).await.is_ok());
}

#[actix_rt::test]
async fn nobodys_account_is_throttled_like_anyones() {
    let world = world();
    world.registered("ada@example.org").await;
    for login in ["ada@example.org", "nobody@example.org", "nobody", "not a login"] {
        let (before, mut looked_at) = (world.hasher.verified(), 0);
        for n in 0..15 {
            let answer =
                world.sessions.log_in(guess(login, "wrong password", &format!("10.1.0.{n}"), None)).await;
            looked_at += u64::from(!is_throttled(&answer));
        }
        assert_eq!((looked_at, world.hasher.verified() - before), (10, 10), "{login}");
    }
}

#[actix_rt::test]
async fn a_device_token_of_another_user_or_of_nobody_is_no_way_around() {
    let world = world();
    world.registered("ada@example.org").await;
    let bob = world.registered("bob@example.org").await;
    let forged = bob.device.expose().replacen(&bob.session_id, "another", 1);
    let mut looked_at = 0;
    for n in 0..30 {
        let token = [bob.device.expose(), &forged, "nonsense"][n % 3];
        let answer =
            world.sessions.log_in(guess("ada@example.org", "wrong password", "10.0.0.1", Some(token))).await;
        looked_at += u64::from(!is_throttled(&answer));
    }
    assert_eq!(looked_at, 10);
}

#[actix_rt::test]
async fn a_stolen_device_token_has_ten_guesses_of_its_own() {
    let world = world();
    let ada = world.registered("ada@example.org").await;
    let token = ada.device.expose();
    let guesses = (0..30).map(|n| {
        let guess = guess("ada@example.org", "wrong password", &format!("10.0.0.{n}"), Some(token));
        world.sessions.log_in(guess)
    });
    let answers = join_all(guesses).await;
    assert_eq!(answers.iter().filter(|answer| is_throttled(answer)).count(), 20);
    // A new log-in from it has the same device, and so the same count.
    world.clock.advance(Duration::from_secs(90));
    let again =
        world.sessions.log_in(guess("ada@example.org", PASSWORD, "10.0.0.1", Some(token))).await.unwrap();
    let wrong = guess("ada@example.org", "wrong password", "10.0.0.1", Some(again.device.expose()));
    assert_eq!(world.sessions.log_in(wrong).await.unwrap_err(), LogInError::InvalidCredentials);
    let wrong = guess("ada@example.org", "wrong password", "10.0.0.1", Some(again.device.expose()));
    assert!(is_throttled(&world.sessions.log_in(wrong).await));
}

#[actix_rt::test]
async fn whoever_once_had_the_password_has_no_guesses_without_end_from_many_devices() {
    let world = world();
    world.registered("ada@example.org").await;
    let mut devices = Vec::new();
    for _ in 0..20 {
        devices.push(world.log_in("ada@example.org", PASSWORD).await.unwrap().device);
    }
    let mut looked_at = 0;
    for n in 0..200 {
        let token = devices[n % devices.len()].expose();
        let wrong = guess("ada@example.org", "wrong password", "10.0.0.1", Some(token));
        looked_at += u64::from(!is_throttled(&world.sessions.log_in(wrong).await));
    }
    assert_eq!(looked_at, u64::from(throttle::DEVICES.uses()));
    // Right ones are not counted here either.
    world.clock.advance(Duration::from_secs(30));
    for device in &devices {
        let right = guess("ada@example.org", PASSWORD, "10.0.0.1", Some(device.expose()));
        world.sessions.log_in(right).await.unwrap();
    }
}

#[actix_rt::test]
async fn one_address_that_tries_one_password_on_everyone_is_slowed_down() {
    let world = world();
    let mut looked_at = 0;
    for n in 0..300 {
        let guess = guess(&format!("user{n}@example.org"), "Password1!", "192.0.2.7", None);
        looked_at += u64::from(!is_throttled(&world.sessions.log_in(guess).await));
    }
    assert_eq!(looked_at, u64::from(throttle::ADDRESS.uses()));
}

#[actix_rt::test]
async fn whoever_is_right_is_never_throttled() {
    let world = world();
    world.registered("ada@example.org").await;
    for _ in 0..40 {
        world.sessions.log_in(guess("ada@example.org", PASSWORD, "192.0.2.7", None)).await.unwrap();
    }
}

#[actix_rt::test]
async fn of_many_right_log_ins_at_once_none_is_refused_for_the_others() {
    let world = world();
    world.registered("ada@example.org").await;
    world.hasher.hold();
    let right = (0..30)
        .map(|n| world.sessions.log_in(guess("ada@example.org", PASSWORD, &format!("10.0.0.{n}"), None)));
    let meanwhile = async {
        world.hasher.holds(3).await;
        world.hasher.let_go();
    };
    let (answers, ()) = tokio::join!(join_all(right), meanwhile);
    let refused: Vec<LogInError> = answers.into_iter().filter_map(Result::err).collect();
    assert!(refused.is_empty(), "{refused:?}");
}

#[actix_rt::test]
async fn of_many_guesses_at_once_ten_are_looked_at() {
    let world = world();
    world.registered("ada@example.org").await;
    let before = world.hasher.verified();
    world.hasher.hold();
    let wrong = (0..30).map(|n| {
        world.sessions.log_in(guess("ada@example.org", "wrong password", &format!("10.0.0.{n}"), None))
    });
    let meanwhile = async {
        world.hasher.holds(3).await;
        world.hasher.let_go();
    };
    let (answers, ()) = tokio::join!(join_all(wrong), meanwhile);
    assert_eq!(answers.iter().filter(|answer| is_throttled(answer)).count(), 20);
    assert_eq!(world.hasher.verified() - before, 10);
}

#[actix_rt::test]
async fn who_waits_too_long_for_other_log_ins_is_told_to_come_back_and_counted_nowhere() {
    let world = world();
    let ada = world.registered("ada@example.org").await;
    world.hasher.hold();
    let first = (0..3).map(|_| {
        let sessions = world.sessions.clone();
        actix_rt::spawn(async move {
            sessions.log_in(guess("ada@example.org", "wrong password", "10.0.0.1", None)).await
        })
    });
    let first: Vec<_> = first.collect();
    world.hasher.holds(3).await;
    // Time passes whenever nothing else is left to do.
    tokio::time::pause();
    for _ in 0..10 {
        let late = world.sessions.log_in(guess("ada@example.org", PASSWORD, "10.0.0.1", None));
        let late = tokio::time::timeout(Duration::from_secs(5), late).await.expect("it is told in time");
        assert_eq!(late.unwrap_err(), LogInError::Busy);
    }
    // The owner's device waits for none of them.
    let own = guess("ada@example.org", PASSWORD, "10.0.0.1", Some(ada.device.expose()));
    let own = async {
        let own = world.sessions.log_in(own).await;
        assert!(own.is_ok(), "{own:?}");
    };
    let meanwhile = async {
        world.hasher.holds(4).await;
        world.hasher.let_go();
    };
    tokio::join!(own, meanwhile);
    for wrong in first {
        assert_eq!(wrong.await.unwrap().unwrap_err(), LogInError::InvalidCredentials);
    }
    world.sessions.log_in(guess("ada@example.org", PASSWORD, "10.0.0.1", None)).await.unwrap();
}

#[actix_rt::test]
async fn one_address_registers_so_many_and_no_more() {
    let world = world();
    let register = async |n: u32, ip: &str| {
        let email = Email::parse(&format!("u{n}@example.org")).unwrap();
        let new = NewUser::new(email, Password::parse(PASSWORD.into()).unwrap());
        world.sessions.register(new, Device::new(None, Some(ip.to_owned()))).await
    };
    for n in 0..throttle::REGISTRATIONS.uses() {
        register(n, "192.0.2.7").await.unwrap();
    }
    let refused = register(9999, "192.0.2.7").await.unwrap_err();
    assert!(matches!(refused, RegisterError::Throttled { .. }), "{refused:?}");
    register(9999, "192.0.2.8").await.unwrap();
}

fn password(text: &str) -> Password {
    Password::parse(text.into()).unwrap()
}

#[actix_rt::test]
async fn who_guesses_the_current_password_in_a_stolen_session_gets_ten_and_keeps_the_owner_from_nothing() {
    let world = world();
    let stolen = world.registered("ada@example.org").await;
    let own = world.log_in("ada@example.org", PASSWORD).await.unwrap();
    let user_id = &own.user.value.id;
    let before = world.hasher.verified();
    let change = async |session: &str, current: &str| {
        let (current, new) = (password(current), password("battery staple"));
        world.sessions.change_password(user_id, session, current, &new).await
    };
    let oneself = |session: &str, current: &str| {
        Editor::Oneself(Some(CurrentPassword::new(password(current), session)))
    };
    let move_away = Edit { email: Some(Email::parse("thief@example.org").unwrap()), ..Edit::default() };
    // Given guesses on every replica by each of the ways that ask for the password,
    let mut wrong = 0;
    for n in 0..30 {
        let guess = format!("guess number {n}");
        let by = oneself(&stolen.session_id, &guess);
        let refused = match n % 3 {
            0 => change(&stolen.session_id, &guess).await.unwrap_err(),
            1 => world.users.edit(user_id, &by, &move_away, None).await.unwrap_err(),
            _ => world.users.delete(user_id, &by, None).await.unwrap_err(),
        };
        match refused {
            ChangeError::WrongPassword => wrong += 1,
            ChangeError::Throttled { retry_after } => assert!(retry_after > Duration::ZERO),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((wrong, world.hasher.verified() - before), (10, 10));
    // then the right one is not looked at either, there,
    let right = change(&stolen.session_id, PASSWORD).await;
    assert!(matches!(right, Err(ChangeError::Throttled { .. })), "{right:?}");
    // and in a session of her own the owner changes it, however often,
    for (old, new) in [(PASSWORD, "battery staple"), ("battery staple", PASSWORD)].repeat(10) {
        let new = password(new);
        world.sessions.change_password(user_id, &own.session_id, password(old), &new).await.unwrap();
    }
    // after which the stolen one is none.
    assert_eq!(world.check(&stolen).await, REFUSED);
}

#[actix_rt::test]
async fn a_current_password_that_was_not_looked_at_is_no_guess() {
    let world = world();
    let ada = world.registered("ada@example.org").await;
    let (user_id, new) = (&ada.user.value.id, password("battery staple"));
    world.hasher.set_busy(true);
    for _ in 0..30 {
        let busy = world.sessions.change_password(user_id, &ada.session_id, password(PASSWORD), &new).await;
        assert_eq!(busy, Err(ChangeError::Busy));
    }
    world.hasher.set_busy(false);
    world.sessions.change_password(user_id, &ada.session_id, password(PASSWORD), &new).await.unwrap();
}

#[actix_rt::test]
async fn a_wrong_current_password_changes_nothing() {
    let world = world();
    let ada = world.registered("ada@example.org").await;
    let (user_id, new) = (&ada.user.value.id, password("battery staple"));
    let wrong = password("not this one");
    let refused = world.sessions.change_password(user_id, &ada.session_id, wrong.clone(), &new).await;
    assert_eq!(refused, Err(ChangeError::WrongPassword));
    let by = Editor::Oneself(Some(CurrentPassword::new(wrong, &ada.session_id)));
    let edit = Edit { email: Some(Email::parse("new@example.org").unwrap()), ..Edit::default() };
    assert_eq!(world.users.edit(user_id, &by, &edit, None).await, Err(ChangeError::WrongPassword));
    assert_eq!(world.users.delete(user_id, &by, None).await, Err(ChangeError::WrongPassword));
    assert_eq!(world.users.get(user_id).await.unwrap(), Some(ada.user.clone()));
    assert!(world.check(&ada).await.is_ok());
}
