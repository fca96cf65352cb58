//! Addresses, passwords and removal, with mails that a scripted mailer takes.

use futures_util::future::join_all;
use secrecy::ExposeSecret;

use super::*;
use crate::outbox::{JOBS, Job, Outbox, OutboxOptions, Waker};
use crate::store::{Query, Store, Versioned, find};
use crate::testing::{MailFault, RecordingMailer};
use crate::users::mail::UserMails;
use crate::users::tokens::{Purpose, UserToken};

struct Post {
    world: World,
    mailer: Arc<RecordingMailer>,
    outbox: Outbox,
}

fn post() -> Post {
    let world = world();
    let mailer = Arc::new(RecordingMailer::default());
    let mails = UserMails::new(world.users.clone(), mailer.clone(), "https://api.example.org");
    let outbox = Outbox::new(
        world.store.clone(),
        world.clock.clone(),
        "r1".to_owned(),
        Waker::default(),
        vec![Arc::new(mails)],
        OutboxOptions::default(),
    );
    Post { world, mailer, outbox }
}

impl Post {
    /// Sends what is due; the tokens in mails of this subject that went to this address.
    async fn tokens(&self, to: &str, subject: &str) -> Vec<String> {
        while self.outbox.round().await.unwrap() > 0 {}
        let mails =
            self.mailer.sent().into_iter().filter(|mail| mail.to == to && mail.subject.contains(subject));
        mails
            .filter_map(|mail| {
                let after = mail.text.split("?token=").nth(1)?;
                Some(after.split_whitespace().next()?.to_owned())
            })
            .collect()
    }

    async fn registered(&self, email: &str) -> User {
        self.world.users.register(named(email)).await.unwrap().value
    }

    async fn get(&self, id: &str) -> User {
        self.world.users.get(id).await.unwrap().unwrap().value
    }
}

fn new_password() -> Password {
    Password::parse("battery staple".into()).unwrap()
}

fn in_a_session(password: Password) -> CurrentPassword {
    CurrentPassword::new(password, "s1")
}

fn email(text: &str) -> Email {
    Email::parse(text).unwrap()
}

#[tokio::test]
async fn a_reset_is_the_same_commit_whether_or_not_anyone_has_the_address() {
    let post = post();
    post.registered("ada@example.org").await;
    post.tokens("", "").await;
    let (before, runs) = (post.world.store.commits(), post.world.hasher.runs());
    post.world.users.ask_reset(&email("Ada@example.org")).await.unwrap();
    post.world.users.ask_reset(&email("nobody@example.org")).await.unwrap();
    // One commit, no hash and no mail either way: whoever sends the mail looks the address up.
    assert_eq!((post.world.store.commits(), post.world.hasher.runs()), (before + 2, runs));
    assert!(post.mailer.sent().iter().all(|mail| !mail.subject.contains("Reset")));
    // Asked again within the minute it sends no second mail, and says the same.
    post.world.users.ask_reset(&email("ada@EXAMPLE.org")).await.unwrap();
    assert_eq!(post.world.store.commits(), before + 2);
    assert_eq!(post.tokens("ada@example.org", "Reset").await.len(), 1);
    assert!(post.mailer.sent().iter().all(|mail| mail.to == "ada@example.org"));
    let (left, _) = find::<Job>(post.world.store.as_ref(), Query::by(&JOBS, "status")).await.unwrap();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn a_reset_token_works_once_for_an_hour_and_ends_sessions() {
    let post = post();
    let ada = post.registered("ada@example.org").await;
    let users = &post.world.users;
    users.ask_reset(&email("ada@example.org")).await.unwrap();
    post.world.clock.advance(Duration::from_secs(61));
    users.ask_reset(&email("ada@example.org")).await.unwrap();
    let tokens = post.tokens("ada@example.org", "Reset").await;
    assert_eq!(tokens.len(), 2);
    assert_eq!(users.reset_password("made up", &new_password()).await, Err(ChangeError::BadToken));
    let weak = Password::parse("ada@example.org".into()).unwrap();
    assert_eq!(users.reset_password(&tokens[0], &weak).await, Err(ChangeError::WeakPassword));

    users.reset_password(&tokens[0], &new_password()).await.unwrap();

    let after = post.get(&ada.id).await;
    assert_eq!(users.verify(Some(&after), &new_password()).await, Ok(Verified::Right));
    assert_eq!((after.credentials_version, after.email_verified), (ada.credentials_version + 1, true));
    // All that were sent have ended with it.
    for used in &tokens {
        assert_eq!(users.reset_password(used, &password()).await, Err(ChangeError::BadToken));
    }
    post.world.clock.advance(Duration::from_secs(61));
    users.ask_reset(&email("ada@example.org")).await.unwrap();
    let late = post.tokens("ada@example.org", "Reset").await.pop().unwrap();
    post.world.clock.advance(Duration::from_secs(3600));
    assert_eq!(users.reset_password(&late, &password()).await, Err(ChangeError::BadToken));
}

#[tokio::test]
async fn a_token_is_for_one_purpose_and_one_address() {
    let post = post();
    let ada = post.registered("ada@example.org").await;
    let users = &post.world.users;
    let welcome = post.tokens("ada@example.org", "Welcome").await.remove(0);
    assert_eq!(users.reset_password(&welcome, &new_password()).await, Err(ChangeError::BadToken));
    users.ask_reset(&email("ada@example.org")).await.unwrap();
    let reset = post.tokens("ada@example.org", "Reset").await.remove(0);
    assert_eq!(users.verify_email(&reset).await, Err(ChangeError::BadToken));
    // With another address, tokens sent to the old one are good for nothing.
    let change = Edit { email: Some(email("new@example.org")), ..Edit::default() };
    users.edit(&ada.id, &Editor::Oneself(Some(in_a_session(password()))), &change, None).await.unwrap();
    let verify = post.tokens("new@example.org", "Verify").await.remove(0);
    users.verify_email(&verify).await.unwrap();
    assert_eq!(users.reset_password(&reset, &new_password()).await, Err(ChangeError::BadToken));
    assert_eq!(users.verify_email(&welcome).await, Err(ChangeError::BadToken));
    assert_eq!(post.get(&ada.id).await.email, "new@example.org");
}

/// Whoever once had the password, and asked for another address with it, must not have the account
/// back after its owner has taken it.
#[tokio::test]
async fn what_was_begun_with_earlier_credentials_ends_with_them() {
    let post = post();
    let ada = post.registered("ada@example.org").await;
    let users = &post.world.users;
    let move_to = |address: &str| Edit { email: Some(email(address)), ..Edit::default() };
    let oneself = |password: Password| Editor::Oneself(Some(in_a_session(password)));
    users.ask_reset(&email("ada@example.org")).await.unwrap();
    post.world.clock.advance(Duration::from_secs(61));
    users.ask_reset(&email("ada@example.org")).await.unwrap();
    let resets = post.tokens("ada@example.org", "Reset").await;
    users.edit(&ada.id, &oneself(password()), &move_to("thief@example.org"), None).await.unwrap();
    let theirs = post.tokens("thief@example.org", "Verify").await.remove(0);

    // A reset ends a change of the address that is pending.
    users.reset_password(&resets[0], &new_password()).await.unwrap();
    assert_eq!(post.get(&ada.id).await.pending_email, None);
    assert_eq!(users.verify_email(&theirs).await, Err(ChangeError::BadToken));

    // So does being shut out, which no token is a way around.
    users.edit(&ada.id, &oneself(new_password()), &move_to("other@example.org"), None).await.unwrap();
    let others = post.tokens("other@example.org", "Verify").await.remove(0);
    users.ask_reset(&email("ada@example.org")).await.unwrap();
    let reset = post.tokens("ada@example.org", "Reset").await.pop().unwrap();
    let operator = Editor::Operator(crate::audit::By::system());
    let disable = |disabled| Edit { disabled: Some(disabled), ..Edit::default() };
    users.edit(&ada.id, &operator, &disable(true), None).await.unwrap();
    assert_eq!(users.verify_email(&others).await, Err(ChangeError::BadToken));
    assert_eq!(users.reset_password(&reset, &password()).await, Err(ChangeError::BadToken));
    users.edit(&ada.id, &operator, &disable(false), None).await.unwrap();
    assert_eq!(users.verify_email(&others).await, Err(ChangeError::BadToken));
    // A mail that was sent for credentials that are no more sets none.
    assert_eq!(users.reset_password(&reset, &password()).await, Err(ChangeError::BadToken));
    assert_eq!(post.get(&ada.id).await.email, "ada@example.org");
}

#[tokio::test]
async fn nobody_asks_for_address_after_address() {
    let post = post();
    let ada = post.registered("ada@example.org").await;
    post.registered("grace@example.org").await;
    let users = &post.world.users;
    let move_to = async |address: String| {
        let edit = Edit { email: Some(email(&address)), ..Edit::default() };
        users.edit(&ada.id, &Editor::Oneself(Some(in_a_session(password()))), &edit, None).await
    };
    for n in 0..5 {
        assert_eq!(move_to("grace@example.org".to_owned()).await, Err(ChangeError::EmailTaken));
        move_to(format!("stranger{n}@example.org")).await.unwrap();
    }
    for address in ["grace@example.org", "one-more@example.org"] {
        let refused = move_to(address.to_owned()).await;
        assert!(matches!(refused, Err(ChangeError::Throttled { .. })), "{refused:?}");
    }
    // To take the change back is none.
    move_to("ada@example.org".to_owned()).await.unwrap();
}

#[tokio::test]
async fn a_use_whose_outcome_was_unknown_counts_once_and_is_no_failure() {
    for fault in [CommitFault::LostBefore, CommitFault::LostAfter] {
        let post = post();
        let ada = post.registered("ada@example.org").await;
        let users = &post.world.users;
        users.ask_reset(&email("ada@example.org")).await.unwrap();
        let reset = post.tokens("ada@example.org", "Reset").await.remove(0);
        let welcome = post.tokens("ada@example.org", "Welcome").await.remove(0);
        post.world.store.fail_commits([fault]);
        users.verify_email(&welcome).await.unwrap();
        post.world.store.fail_commits([fault]);
        users.reset_password(&reset, &new_password()).await.unwrap();
        assert_eq!(post.get(&ada.id).await.credentials_version, 1, "{fault:?}");
        post.tokens("", "").await;
        post.world.store.fail_commits([fault]);
        users.delete(&ada.id, &Editor::Oneself(Some(in_a_session(new_password()))), None).await.unwrap();
        post.tokens("", "").await;
        let told =
            |subject: &str| post.mailer.sent().iter().filter(|mail| mail.subject.contains(subject)).count();
        assert_eq!((told("password was changed"), told("was deleted")), (1, 1), "{fault:?}");
    }
}

#[tokio::test]
async fn no_token_is_kept_and_old_ones_make_room() {
    let post = post();
    let ada = post.registered("ada@example.org").await;
    for _ in 0..30 {
        post.world.clock.advance(Duration::from_secs(13 * 60));
        post.world.users.ask_reset(&email("ada@example.org")).await.unwrap();
        post.tokens("", "").await;
    }
    let store = post.world.store.as_ref();
    let kept = UserToken::all_of(store, &ada.id, Purpose::Password).await.unwrap();
    assert!((1..=20).contains(&kept.len()), "{}", kept.len());
    let (token, record) = UserToken::mint(&ada, &ada.email, Purpose::Password, ada.created_at);
    assert!(!format!("{record:?}").contains(token.expose_secret()));
    assert!(!serde_json::to_string(&record).unwrap().contains(token.expose_secret()));
}

#[tokio::test]
async fn nobody_floods_an_address_with_resets_or_keeps_its_owner_from_one() {
    let post = post();
    post.registered("ada@example.org").await;
    let users = &post.world.users;
    // Given someone who asks twice a minute for an hour, under each of her spellings, with every
    // mail sent at once,
    for n in 0..120 {
        let spelling = ["ada@example.org", "ADA@example.org", "ada@EXAMPLE.ORG"][n % 3];
        users.ask_reset(&email(spelling)).await.unwrap();
        post.tokens("", "").await;
        post.world.clock.advance(Duration::from_secs(30));
    }
    // then five mails went out, and one more each twelve minutes,
    let tokens = post.tokens("ada@example.org", "Reset").await;
    assert_eq!(tokens.len(), 9);
    // others have theirs,
    post.registered("bob@example.org").await;
    users.ask_reset(&email("bob@example.org")).await.unwrap();
    assert_eq!(post.tokens("bob@example.org", "Reset").await.len(), 1);
    // and what she has been sent is good.
    users.reset_password(&tokens[8], &new_password()).await.unwrap();
}

#[tokio::test]
async fn nobody_floods_an_address_by_verifying_it() {
    let post = post();
    let users = &post.world.users;
    let verifications = async |to: &str| post.tokens(to, "Verify").await.len();
    // One who asks on and on,
    let eve = post.registered("eve@example.org").await;
    for _ in 0..20 {
        users.ask_verification(&eve.id).await.unwrap();
        assert!(verifications("eve@example.org").await <= 5);
        post.world.clock.advance(Duration::from_secs(1));
    }
    assert_eq!(verifications("eve@example.org").await, 5);
    // and many who say that one address is theirs.
    let claim = Edit { email: Some(email("ada@example.org")), ..Edit::default() };
    for n in 0..40 {
        let one = post.registered(&format!("eve{n}@example.org")).await;
        users.edit(&one.id, &Editor::Oneself(Some(in_a_session(password()))), &claim, None).await.unwrap();
    }
    assert_eq!(verifications("ada@example.org").await, 20);
}

#[tokio::test]
async fn nobody_floods_an_address_with_what_they_do_to_an_account_of_it() {
    let post = post();
    let told =
        |subject: &str| post.mailer.sent().iter().filter(|mail| mail.subject.contains(subject)).count();
    for _ in 0..30 {
        let one = post.registered("ada@example.org").await;
        post.tokens("", "").await;
        let oneself = Editor::Oneself(Some(in_a_session(password())));
        post.world.users.delete(&one.id, &oneself, None).await.unwrap();
        post.tokens("", "").await;
    }
    assert_eq!((told("Welcome"), told("was deleted")), (20, 5));
    let bob = post.registered("bob@example.org").await;
    for version in 0..30 {
        let changed = mail::password_changed(&bob.id, version, post.world.clock.now());
        post.world.store.commit(Batch::shared().insert(&changed)).await.unwrap();
    }
    post.tokens("", "").await;
    assert_eq!(told("password was changed"), 20);
}

#[tokio::test]
async fn a_mail_that_is_sent_again_carries_the_same_id() {
    let post = post();
    post.registered("ada@example.org").await;
    post.mailer.script([MailFault::ReplyLost]);
    post.outbox.round().await.unwrap();
    post.world.clock.advance(Duration::from_secs(3600));
    post.tokens("", "").await;
    let ids: Vec<String> = post.mailer.sent().into_iter().map(|mail| mail.id).collect();
    assert_eq!(ids.len(), 2, "{ids:?}");
    assert_eq!(ids[0], ids[1]);
}

#[tokio::test]
async fn an_edit_of_an_older_version_changes_nothing() {
    let post = post();
    let ada = post.registered("ada@example.org").await;
    let rename = |text: &str| Edit { name: Some(name(text)), ..Edit::default() };
    let users = &post.world.users;
    let oneself = Editor::Oneself(None);
    users.edit(&ada.id, &oneself, &rename("One"), Some(1)).await.unwrap();
    let stale = users.edit(&ada.id, &oneself, &rename("Two"), Some(1)).await;
    assert_eq!(stale.unwrap_err(), ChangeError::Moved);
    let gone = users.delete(&ada.id, &Editor::Oneself(Some(in_a_session(password()))), Some(1)).await;
    assert_eq!(gone.unwrap_err(), ChangeError::Moved);
    // The version that it was based on is the one that it is committed against.
    post.world.store.fail_commits([CommitFault::LostAfter]);
    let Versioned { version, .. } = users.edit(&ada.id, &oneself, &rename("Three"), Some(2)).await.unwrap();
    assert_eq!(version, 3);
}

#[tokio::test]
async fn lists_are_by_the_index_that_is_asked_for() {
    let post = post();
    for (email, name, age) in
        [("a@x.example", "Cy", Some(30)), ("b@x.example", "al", None), ("c@y.example", "Bo", Some(9))]
    {
        let mut new = named(email);
        new.name = Some(super::name(name));
        new.age = age.map(|years| Age::parse(years).unwrap());
        post.world.users.register(new).await.unwrap();
        post.world.clock.advance(Duration::from_secs(1));
    }
    let names = async |filter: UserFilter| -> Vec<String> {
        let filter = UserFilter { limit: 10, ..filter };
        let (found, _) = post.world.users.list(&filter).await.unwrap();
        found.into_iter().map(|user| user.value.name).collect()
    };
    assert_eq!(names(UserFilter::default()).await, ["Cy", "al", "Bo"]);
    assert_eq!(names(UserFilter { sort: UserSort::Name, ..UserFilter::default() }).await, ["al", "Bo", "Cy"]);
    assert_eq!(names(UserFilter { sort: UserSort::Age, ..UserFilter::default() }).await, ["Bo", "Cy"]);
    let adults = UserFilter { sort: UserSort::Age, min_age: Some(18), ..UserFilter::default() };
    assert_eq!(names(adults).await, ["Cy"]);
    assert_eq!(names(UserFilter { words: "x.example c".to_owned(), ..UserFilter::default() }).await, ["Cy"]);
    assert_eq!(names(UserFilter { role: Some("customer".into()), ..UserFilter::default() }).await.len(), 3);
    // A role is the whole of its name, and no one's name finds one.
    assert_eq!(names(UserFilter { role: Some("custom".into()), ..UserFilter::default() }).await.len(), 0);
    assert_eq!(names(UserFilter { words: "customer".to_owned(), ..UserFilter::default() }).await.len(), 0);
}

#[tokio::test]
async fn of_changes_of_one_user_at_once_none_is_lost() {
    let post = post();
    let ada = post.registered("ada@example.org").await;
    let users = &post.world.users;
    let oneself = Editor::Oneself(None);
    let edits = [
        Edit { name: Some(name("Countess")), ..Edit::default() },
        Edit { age: Some(Some(Age::parse(36).unwrap())), ..Edit::default() },
        Edit { username: Some(Some(Username::parse("ada").unwrap())), ..Edit::default() },
    ];
    // Each has read the user before any of them writes.
    let all = join_all(edits.iter().map(|edit| users.edit(&ada.id, &oneself, edit, None))).await;
    assert!(all.iter().all(Result::is_ok), "{all:?}");
    let after = users.get(&ada.id).await.unwrap().unwrap();
    assert_eq!((after.value.name.as_str(), after.value.age), ("Countess", Some(36)));
    assert_eq!((after.value.username.as_deref(), after.version), (Some("ada"), 4));
}
