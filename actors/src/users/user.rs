//! A user as stored.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::role::ADMIN;
use super::values::key_of;
use super::{Age, DisplayName, Email, Password, PasswordHash, Username};
use crate::store::{Body, Collection, Entity, Field, Index, Kind};
use crate::time::Timestamp;

/// The users.
pub static USERS: Collection = Collection {
    name: "users",
    fields: &[
        Field::required("id", Kind::Text),
        Field::required("email", Kind::Text),
        Field::required("emailKey", Kind::Text),
        Field::optional("username", Kind::Text),
        Field::optional("usernameKey", Kind::Text),
        Field::optional("pendingEmail", Kind::Text),
        Field::required("name", Kind::Text),
        Field::required("nameKey", Kind::Text),
        Field::optional("age", Kind::Integer),
        Field::required("roles", Kind::List),
        Field::required("roleWords", Kind::Text),
        Field::optional("admin", Kind::Boolean),
        Field::required("passwordHash", Kind::Text),
        Field::optional("credentialsVersion", Kind::Integer),
        Field::required("disabled", Kind::Boolean),
        Field::required("emailVerified", Kind::Boolean),
        Field::required("createdAt", Kind::Time),
        Field::required("updatedAt", Kind::Time),
    ],
    indexes: &[
        Index::unique(BY_EMAIL, &["emailKey"]),
        Index::unique(BY_USERNAME, &["usernameKey"]),
        // Only admins who are not disabled have the field, so this lists them and nobody else.
        Index::by(ADMINS, &["admin"]),
        Index::by(BY_NAME, &["nameKey"]),
        Index::by(BY_AGE, &["age"]),
        Index::by(BY_CREATION, &["createdAt"]),
    ],
    words: &["name", "email", "username", "roleWords"],
    expires: None,
};

pub(super) const BY_EMAIL: &str = "email";
pub(super) const BY_USERNAME: &str = "username";
pub(super) const ADMINS: &str = "admins";
pub(super) const BY_NAME: &str = "name";
pub(super) const BY_AGE: &str = "age";
pub(super) const BY_CREATION: &str = "creation";

/// The word by which users with this role are found; by its first letter, which no language writes,
/// no other search finds it, and by its last it is the beginning of no other role's.
pub(super) fn word_of_role(name: &str) -> String {
    format!("\u{281}{}0", name.replace('-', "1"))
}

/// A user's record. Not what is shown: it holds the password's hash.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct User {
    /// The user's id.
    pub id: String,
    /// The mail address as written; unique whatever its case.
    pub email: String,
    /// The name to log in with, if any; unique whatever its case.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// The address that is to be theirs once they have shown that it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pending_email: Option<String>,
    /// The name shown.
    pub name: String,
    /// Years, if known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age: Option<i64>,
    /// Names of roles.
    pub roles: Vec<String>,
    /// What the password is verified against.
    pub password_hash: PasswordHash,
    /// One more with everything that ends the user's sessions. A session that was opened under
    /// another one doesn't count, so a log-in that races a change of password leaves nothing live.
    #[serde(default)]
    pub credentials_version: u64,
    /// A disabled user can't log in, and their sessions don't count.
    pub disabled: bool,
    /// Whether the address was shown to be theirs.
    pub email_verified: bool,
    /// When the user was made.
    pub created_at: Timestamp,
    /// When the record last changed.
    pub updated_at: Timestamp,
}

impl Entity for User {
    fn collection() -> &'static Collection {
        &USERS
    }

    fn id(&self) -> &str {
        &self.id
    }

    /// The keys of the indexes are made here, from what they are keys of, so that they never
    /// differ.
    fn body(&self) -> Body {
        let mut body = match serde_json::to_value(self) {
            Ok(Value::Object(body)) => body,
            other => unreachable!("a user is a struct of serialisable fields, not {other:?}"),
        };
        body.insert("emailKey".to_owned(), key_of(&self.email).into());
        if let Some(username) = &self.username {
            body.insert("usernameKey".to_owned(), key_of(username).into());
        }
        body.insert("nameKey".to_owned(), self.name.to_lowercase().into());
        let words: Vec<String> = self.roles.iter().map(|role| word_of_role(role)).collect();
        body.insert("roleWords".to_owned(), words.join(" ").into());
        if self.is_acting_admin() {
            body.insert("admin".to_owned(), true.into());
        }
        body
    }
}

impl User {
    /// Whether the user holds the role that permits everything.
    pub fn is_admin(&self) -> bool {
        self.roles.iter().any(|role| role == ADMIN)
    }

    /// Whether the user may do everything now.
    pub fn is_acting_admin(&self) -> bool {
        self.is_admin() && !self.disabled
    }

    /// Ends all of the user's sessions, with the commit of this record. What else was begun with
    /// the credentials of until now ends too: a change of the address that is not verified yet, or
    /// whoever asked for it could still take the account away from its owner.
    pub(crate) fn end_sessions(&mut self) {
        self.credentials_version += 1;
        self.pending_email = None;
    }

    /// A user who has just been made.
    pub(super) fn new(
        id: String,
        new: &NewUser,
        roles: &[String],
        password_hash: PasswordHash,
        now: Timestamp,
    ) -> Self {
        Self {
            id,
            email: new.email.as_str().to_owned(),
            username: new.username.as_ref().map(|username| username.as_str().to_owned()),
            pending_email: None,
            name: new.shown_name().to_owned(),
            age: new.age.map(Age::years),
            roles: roles.to_vec(),
            password_hash,
            credentials_version: 0,
            disabled: false,
            email_verified: false,
            created_at: now,
            updated_at: now,
        }
    }
}

/// What someone who registers says.
#[derive(Clone, Debug)]
pub struct NewUser {
    /// The mail address.
    pub email: Email,
    /// The password.
    pub password: Password,
    /// A name to log in with besides the address.
    pub username: Option<Username>,
    /// The name shown; by default the username, without one the address up to the `@`.
    pub name: Option<DisplayName>,
    /// Years.
    pub age: Option<Age>,
}

impl NewUser {
    /// A user with an address and a password only.
    pub fn new(email: Email, password: Password) -> Self {
        Self { email, password, username: None, name: None, age: None }
    }

    fn shown_name(&self) -> &str {
        self.name
            .as_ref()
            .map(DisplayName::as_str)
            .or_else(|| self.username.as_ref().map(Username::as_str))
            .unwrap_or_else(|| self.email.local_part())
    }

    /// Whether the password is one of the other things said here: the first guesses anyone makes.
    pub(super) fn password_is_known(&self) -> bool {
        Self::is_known(&self.password, self.email.as_str(), self.username.as_ref().map(Username::as_str))
    }

    /// Whether the password is the address, the part of it before the `@`, or the username.
    pub(super) fn is_known(password: &Password, email: &str, username: Option<&str>) -> bool {
        let password = key_of(password.expose());
        let local = email.rsplit_once('@').map(|(local, _)| local);
        [Some(email), local, username].into_iter().flatten().any(|known| password == key_of(known))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_collection_is_declared_well() {
        assert!(USERS.mistakes().is_empty(), "{:?}", USERS.mistakes());
    }

    #[test]
    fn a_user_that_is_printed_does_not_show_its_hash() {
        let email = Email::parse("ada@example.org").unwrap();
        let password = Password::parse("correct horse".into()).unwrap();
        let hash = PasswordHash::new("$argon2id$secret".to_owned());
        let user = User::new("u".into(), &NewUser::new(email, password), &[], hash, Timestamp::default());
        assert!(!format!("{user:?}").contains("argon2"));
        assert_eq!(user.body()["passwordHash"], "$argon2id$secret");
    }

    #[test]
    fn keys_follow_what_they_are_keys_of() {
        let mut new = NewUser::new(
            Email::parse("Ada@Example.org").unwrap(),
            Password::parse("correct horse".into()).unwrap(),
        );
        new.username = Some(Username::parse("Ada").unwrap());
        let hash = PasswordHash::new(String::new());
        let mut user = User::new("u".into(), &new, &[ADMIN.to_owned()], hash, Timestamp::default());
        assert_eq!(user.name, "Ada");
        let body = user.body();
        assert_eq!((&body["emailKey"], &body["usernameKey"]), (&"ada@example.org".into(), &"ada".into()));
        assert_eq!(body["admin"], true);
        user.roles.clear();
        user.username = None;
        assert!(!user.body().contains_key("admin") && !user.body().contains_key("usernameKey"));
    }
}
