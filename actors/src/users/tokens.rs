//! Tokens that are sent by mail: whoever has one can read the mail of an address, and may once, for
//! a while, do what it is for.
//!
//! What never happens here: a token in the store, in a job or in a log. A token is made when its
//! mail is sent; what is kept is its hash.

use std::time::Duration;

use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::values::key_of;
use super::{ChangeError, User};
use crate::hex;
use crate::store::{Collection, Entity, Field, Index, Kind, Query, Store, StoreError, Versioned, find, load};
use crate::time::Timestamp;

/// The tokens that may still be used.
pub static USER_TOKENS: Collection = Collection {
    name: "user_tokens",
    fields: &[
        Field::required("id", Kind::Text),
        Field::required("userId", Kind::Text),
        Field::required("purpose", Kind::Text),
        Field::required("email", Kind::Text),
        Field::required("expiresAt", Kind::Time),
    ],
    indexes: &[Index::by(BY_USER, &["userId", "purpose"])],
    words: &[],
    expires: Some("expiresAt"),
};

const BY_USER: &str = "user";

/// What a token is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Purpose {
    /// To set a password without the current one.
    Password,
    /// To show that an address is one's own.
    Email,
}

impl Purpose {
    const fn name(self) -> &'static str {
        match self {
            Self::Password => "password",
            Self::Email => "email",
        }
    }
}

/// A token's record.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct UserToken {
    /// SHA-256 of the token, in hex. A token has 244 random bits, so nothing slower is needed.
    id: String,
    pub(super) user_id: String,
    purpose: Purpose,
    /// The address that it was sent to.
    pub(super) email: String,
    /// What [`User::credentials_version`] was when it was made.
    #[serde(default)]
    credentials_version: u64,
    expires_at: Timestamp,
}

impl Entity for UserToken {
    fn collection() -> &'static Collection {
        &USER_TOKENS
    }

    fn id(&self) -> &str {
        &self.id
    }
}

fn hash(token: &str) -> String {
    hex::encode(&Sha256::digest(token.as_bytes()))
}

impl UserToken {
    /// A new token for the mail to `email`, and what is kept of it.
    pub(super) fn mint(
        user: &User,
        email: &str,
        purpose: Purpose,
        expires_at: Timestamp,
    ) -> (SecretString, Self) {
        let token = format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
        let kept = Self {
            id: hash(&token),
            user_id: user.id.clone(),
            purpose,
            email: email.to_owned(),
            credentials_version: user.credentials_version,
            expires_at,
        };
        (token.into(), kept)
    }

    /// Whether it was sent to this address, whatever its case.
    pub(super) fn is_for(&self, email: &str) -> bool {
        key_of(&self.email) == key_of(email)
    }

    /// Whether it may still be used for this user. One for a password ends with the credentials
    /// that it was to replace; an address is one's own whatever the password.
    pub(super) fn counts_for(&self, user: &User) -> bool {
        !user.disabled
            && (self.purpose == Purpose::Email || self.credentials_version == user.credentials_version)
    }

    /// The record of a token that someone presents.
    pub(super) async fn presented(
        store: &dyn Store,
        token: &str,
        purpose: Purpose,
        now: Timestamp,
    ) -> Result<Versioned<Self>, ChangeError> {
        let found = load::<Self>(store, &hash(token)).await?;
        found
            .filter(|found| found.value.purpose == purpose && now < found.value.expires_at)
            .ok_or(ChangeError::BadToken)
    }

    /// The user's tokens for this purpose: all of them end when one is used.
    pub(super) async fn all_of(
        store: &dyn Store,
        user_id: &str,
        purpose: Purpose,
    ) -> Result<Vec<Versioned<Self>>, StoreError> {
        let query = Query::by(&USER_TOKENS, BY_USER).equal(user_id).equal(purpose.name()).limit(5 * MOST);
        Ok(find(store, query).await?.0)
    }
}

/// Tokens that one user may have for one purpose.
pub(super) const MOST: usize = 20;
/// How long a password can be reset.
pub(super) const RESET: Duration = Duration::from_secs(3600);
/// How long a user whom someone else made can set a first password.
pub(super) const FIRST_PASSWORD: Duration = Duration::from_secs(7 * 24 * 3600);
/// How long an address can be verified.
pub(super) const VERIFICATION: Duration = Duration::from_secs(3 * 24 * 3600);
