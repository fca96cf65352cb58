//! Keys as stored.

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use crate::seal::Sealed;
use crate::store::{
    Batch, Collection, CommitError, Conflict, Entity, Field, Index, Kind, Store, StoreError, load,
};
use crate::time::Timestamp;

/// The keys.
pub static KEYS: Collection = Collection {
    name: "keys",
    fields: &[
        Field::required("id", Kind::Text),
        Field::required("purpose", Kind::Text),
        Field::required("number", Kind::Integer),
        Field::optional("public", Kind::Object),
        Field::required("secret", Kind::Text),
        Field::required("createdAt", Kind::Time),
        Field::required("signsFrom", Kind::Time),
    ],
    indexes: &[Index::by(BY_NUMBER, &["purpose", "number"])],
    words: &[],
    expires: None,
};

pub(super) const BY_NUMBER: &str = "number";

/// What a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Purpose {
    /// Signs access tokens: ES256, and others can verify.
    Signing,
    /// Authenticates what only Steward reads back: refresh and device tokens.
    Tokens,
}

/// The public half of a signing key: a point on P-256, its coordinates as 32 bytes in base64url
/// ([RFC 7518, 6.2.1](https://www.rfc-editor.org/rfc/rfc7518#section-6.2.1)).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublicKey {
    /// The key's id: its thumbprint ([RFC 7638](https://www.rfc-editor.org/rfc/rfc7638)), so that
    /// keys of two installations never share one.
    pub kid: String,
    /// The first coordinate.
    pub x: String,
    /// The second coordinate.
    pub y: String,
}

/// A key's record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Key {
    /// Purpose and number, so that of two replicas that make the same key one does.
    pub(super) id: String,
    pub(super) purpose: Purpose,
    pub(super) number: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) public: Option<PublicKey>,
    /// PKCS #8 of a signing key, 32 random bytes otherwise; sealed as [`Key::place`].
    pub(super) secret: Sealed,
    pub(super) created_at: Timestamp,
    /// When it begins to sign.
    pub(super) signs_from: Timestamp,
}

impl Key {
    pub(super) fn id_of(purpose: Purpose, number: u64) -> String {
        match purpose {
            Purpose::Signing => format!("signing-{number}"),
            Purpose::Tokens => format!("tokens-{number}"),
        }
    }

    /// What its secret is sealed as.
    pub(super) fn place(id: &str) -> String {
        format!("keys/{id}")
    }
}

impl Entity for Key {
    fn collection() -> &'static Collection {
        &KEYS
    }

    fn id(&self) -> &str {
        &self.id
    }
}

/// What stands in for `secrets.key` where nobody set one. Never in production.
pub static LOCAL_SECRETS: Collection = Collection {
    name: "local_secrets",
    fields: &[Field::required("id", Kind::Text), Field::required("secret", Kind::Text)],
    indexes: &[],
    words: &[],
    expires: None,
};

#[derive(Serialize, Deserialize)]
struct LocalSecret {
    id: String,
    secret: String,
}

impl Entity for LocalSecret {
    fn collection() -> &'static Collection {
        &LOCAL_SECRETS
    }

    fn id(&self) -> &str {
        &self.id
    }
}

/// The `secrets.key` that was made here once; `made` if there is none yet. Of two replicas that make
/// one at the same time both get the same.
///
/// # Errors
/// [`StoreError`].
pub async fn local_secret(store: &dyn Store, made: SecretString) -> Result<SecretString, StoreError> {
    const ID: &str = "secrets.key";
    let new = LocalSecret { id: ID.to_owned(), secret: made.expose_secret().to_owned() };
    let mut reason = String::new();
    for _ in 0..3 {
        if let Some(found) = load::<LocalSecret>(store, ID).await? {
            return Ok(found.value.secret.into());
        }
        match store.commit(Batch::new().insert(&new)).await {
            Ok(()) | Err(CommitError::Conflict(Conflict::Exists { .. })) => {}
            Err(error) => reason = error.to_string(),
        }
    }
    Err(StoreError::Unavailable(reason))
}
