//! Mails about a user's account, as durable jobs: what each is about, and what sends them.
//!
//! Who calls it: whoever changes a user inserts the [`Job`] in the same batch. One kind of job for
//! all of them; the templates are the files in `templates/`, subject first.
//!
//! A mail never names its reader: whoever registers chooses the name, and could choose what
//! strangers read at the head of a mail from here. What never happens here: a token before its mail
//! is sent, a link to anywhere but the configured address.

mod send;
mod templates;
mod throttle;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use send::UserMails;

use super::values::key_of;
use super::{Email, User};
use crate::hex;
use crate::outbox::Job;
use crate::store::Versioned;
use crate::time::Timestamp;

/// The kind of these jobs.
pub const USER_MAIL: &str = "user_mail";

/// What a mail is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Occasion {
    /// Someone registered: welcome, and a token to verify the address.
    Welcome,
    /// Someone was made by another and has no password yet: a token to set one.
    FirstPassword,
    /// Someone who may be a user has forgotten the password: a token to set another.
    PasswordReset,
    /// A token to verify an address.
    Verification,
    /// The password is another now.
    PasswordChanged,
    /// Told to the old address: another one waits for being verified.
    EmailChangeAsked,
    /// Told to the old address: another one is the account's now.
    EmailChanged,
    /// A refresh token came back that had been used up: its session was ended.
    RefreshReplayed,
    /// The account is gone.
    Deleted,
}

impl Occasion {
    const fn name(self) -> &'static str {
        match self {
            Self::Welcome => "welcome",
            Self::FirstPassword => "first_password",
            Self::PasswordReset => "password_reset",
            Self::Verification => "verification",
            Self::PasswordChanged => "password_changed",
            Self::EmailChangeAsked => "email_change_asked",
            Self::EmailChanged => "email_changed",
            Self::RefreshReplayed => "refresh_replayed",
            Self::Deleted => "account_deleted",
        }
    }
}

/// Whom a mail goes to.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum To {
    /// The user, by the account's address of the time of sending.
    User(String),
    /// The user, at an address that is not, or no longer, the account's.
    Address {
        /// The user's id.
        user: String,
        /// The address.
        email: String,
    },
    /// Whoever has an account with this address, if anyone has.
    Whoever(String),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Payload {
    occasion: Occasion,
    to: To,
}

fn job(occasion: Occasion, effect: &str, to: To, now: Timestamp) -> Job {
    let id = format!("{}.{effect}", occasion.name());
    Job::new(id, USER_MAIL, &Payload { occasion, to }, now)
}

/// What an address is called by where nobody is to read it; the same however it is spelled.
fn digest(email: &str) -> String {
    hex::encode(&Sha256::digest(key_of(email).as_bytes())[..16])
}

/// The mail that a user who registered gets.
pub(super) fn welcome(user: &User) -> Job {
    job(Occasion::Welcome, &user.id, To::User(user.id.clone()), user.created_at)
}

/// The mail that a user without a password gets.
pub(super) fn first_password(user: &User) -> Job {
    job(Occasion::FirstPassword, &user.id, To::User(user.id.clone()), user.created_at)
}

/// The mail for whoever has this address and forgot the password. The same job whether or not
/// anyone has the address, and all through a minute.
pub(super) fn password_reset(email: &Email, now: Timestamp) -> Job {
    let effect = format!("{}.{}", digest(email.as_str()), now.as_millis() / 60_000);
    job(Occasion::PasswordReset, &effect, To::Whoever(email.as_str().to_owned()), now)
}

/// The mail to an address that is to be verified: the same job all through a minute.
pub(super) fn verification(user: &Versioned<User>, email: &str, now: Timestamp) -> Job {
    let effect = format!("{}.{}.{}", user.value.id, user.version, now.as_millis() / 60_000);
    let to = To::Address { user: user.value.id.clone(), email: email.to_owned() };
    job(Occasion::Verification, &effect, to, now)
}

/// What a user is told whose password was changed, as of this version of the user.
pub fn password_changed(user_id: &str, version: u64, now: Timestamp) -> Job {
    job(Occasion::PasswordChanged, &format!("{user_id}.{version}"), To::User(user_id.to_owned()), now)
}

/// What the old address is told when another one takes its place.
pub(super) fn email_changed(user_id: &str, old: &str, version: u64, now: Timestamp) -> Job {
    let to = To::Address { user: user_id.to_owned(), email: old.to_owned() };
    job(Occasion::EmailChanged, &format!("{user_id}.{version}"), to, now)
}

/// What the address is told of an account that is gone.
pub(super) fn deleted(user: &User, now: Timestamp) -> Job {
    let to = To::Address { user: user.id.clone(), email: user.email.clone() };
    job(Occasion::Deleted, &user.id, to, now)
}

/// What a user is told when a refresh token that was used up came back, and its family of tokens
/// was ended: once for each family.
pub fn refresh_replayed(user_id: &str, family: &str, now: Timestamp) -> Job {
    job(Occasion::RefreshReplayed, family, To::User(user_id.to_owned()), now)
}

/// The mails about an edit, which makes `after` of `before`.
pub(super) fn of_edit(before: &Versioned<User>, after: &User, now: Timestamp) -> Vec<Job> {
    let (old, version) = (&before.value, before.version + 1);
    let mut jobs = Vec::new();
    if after.email != old.email {
        jobs.push(email_changed(&after.id, &old.email, version, now));
        let after = Versioned { value: after.clone(), version };
        jobs.push(verification(&after, &after.value.email, now));
    } else if let Some(pending) =
        after.pending_email.as_ref().filter(|_| after.pending_email != old.pending_email)
    {
        let to = To::Address { user: after.id.clone(), email: old.email.clone() };
        jobs.push(job(Occasion::EmailChangeAsked, &format!("{}.{version}", after.id), to, now));
        let after = Versioned { value: after.clone(), version };
        jobs.push(verification(&after, pending, now));
    }
    jobs
}
