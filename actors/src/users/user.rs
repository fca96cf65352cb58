//! A user as stored.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::values::key_of;
use super::{Age, DisplayName, Email, Password, PasswordHash, Username, roles};
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
        Field::required("name", Kind::Text),
        Field::optional("age", Kind::Integer),
        Field::required("roles", Kind::List),
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
        // Only admins have the field, so this lists them and nobody else.
        Index::by(ADMINS, &["admin"]),
    ],
    words: &["name", "email", "username"],
    expires: None,
};

pub(super) const BY_EMAIL: &str = "email";
pub(super) const BY_USERNAME: &str = "username";
pub(super) const ADMINS: &str = "admins";

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
    /// The name shown.
    pub name: String,
    /// Years, if known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age: Option<i64>,
    /// Names of [`roles::ROLES`].
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
        if self.is_admin() {
            body.insert("admin".to_owned(), true.into());
        }
        body
    }
}

impl User {
    /// Whether the user holds the role that permits everything.
    pub fn is_admin(&self) -> bool {
        self.roles.iter().any(|role| role == roles::ADMIN)
    }

    /// A user who has just registered.
    pub(super) fn new(
        id: String,
        new: &NewUser,
        roles: &[&str],
        password_hash: PasswordHash,
        now: Timestamp,
    ) -> Self {
        Self {
            id,
            email: new.email.as_str().to_owned(),
            username: new.username.as_ref().map(|username| username.as_str().to_owned()),
            name: new.shown_name().to_owned(),
            age: new.age.map(Age::years),
            roles: roles.iter().map(|role| (*role).to_owned()).collect(),
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
        let password = key_of(self.password.expose());
        let email = self.email.key();
        password == email
            || password == key_of(self.email.local_part())
            || self.username.as_ref().is_some_and(|username| password == username.key())
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
        let mut user = User::new("u".into(), &new, &[roles::ADMIN], hash, Timestamp::default());
        assert_eq!(user.name, "Ada");
        let body = user.body();
        assert_eq!((&body["emailKey"], &body["usernameKey"]), (&"ada@example.org".into(), &"ada".into()));
        assert_eq!(body["admin"], true);
        user.roles.clear();
        user.username = None;
        assert!(!user.body().contains_key("admin") && !user.body().contains_key("usernameKey"));
    }
}
