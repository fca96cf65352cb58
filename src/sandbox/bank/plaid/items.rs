//! Public tokens, and the items that they are exchanged for.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use steward_actors::hex;
use steward_actors::ids::{is_well_formed, new_id};
use steward_actors::store::{
    Batch, Collection, CommitError, Entity, Field, Index, Kind, Query, StoreError, Versioned, find, load,
};
use uuid::Uuid;

use super::super::access::Fault;
use crate::sandbox::World;
use crate::sandbox::answer::Answer;

/// Public tokens that were made for somebody; those that are words are nowhere.
pub(in crate::sandbox) static PUBLIC_TOKENS: Collection = Collection {
    name: "sandbox_public_tokens",
    fields: &[Field::required("userId", Kind::Text)],
    indexes: &[],
    words: &[],
    expires: None,
};

/// Items: what a user lets a client see.
pub(in crate::sandbox) static ITEMS: Collection = Collection {
    name: "sandbox_items",
    fields: &[Field::required("userId", Kind::Text), Field::optional("tokenDigest", Kind::Text)],
    indexes: &[Index::unique("token", &["tokenDigest"]), Index::by("user", &["userId"])],
    words: &[],
    expires: None,
};

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PublicToken {
    id: String,
    user_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Option<Fault>,
    used: bool,
}

impl Entity for PublicToken {
    fn collection() -> &'static Collection {
        &PUBLIC_TOKENS
    }

    fn id(&self) -> &str {
        &self.id
    }
}

/// An item.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Item {
    pub(super) id: String,
    pub(super) user_id: String,
    /// Of its access token; none once it was removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) token_digest: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) fault: Option<Fault>,
    /// How often a fault that comes in turns was met.
    pub(super) turns: u32,
}

impl Entity for Item {
    fn collection() -> &'static Collection {
        &ITEMS
    }

    fn id(&self) -> &str {
        &self.id
    }
}

impl Item {
    /// The item's own id for something of the ledger's.
    pub(super) fn own(&self, id: &str) -> String {
        hex::encode(&Sha256::digest(format!("{}/{id}", self.id))).chars().take(37).collect()
    }
}

/// A refusal in Plaid's form.
pub(super) fn refused(status: u16, kind: &str, code: &str, message: &str) -> Answer {
    let body = serde_json::json!({
        "error_type": kind, "error_code": code, "error_message": message, "display_message": null,
        "request_id": new_id(),
    });
    Answer { status, body }
}

fn word(token: &str) -> Option<Option<Fault>> {
    let fault = token.strip_prefix("public-sandbox")?;
    match fault.strip_prefix('-') {
        None => fault.is_empty().then_some(None),
        Some(name) => Fault::ALL.into_iter().find(|fault| fault.name() == name).map(Some),
    }
}

/// A new public token for one exchange.
pub(super) async fn mint(world: &World, user_id: &str, fault: Option<Fault>) -> Result<String, Answer> {
    if !is_well_formed(user_id) {
        return Err(Answer::invalid("parameter_invalid", Some("userId"), "The user id is malformed."));
    }
    let id = format!("public-one-{}", Uuid::new_v4());
    let token = PublicToken { id, user_id: user_id.to_owned(), fault, used: false };
    world.store.commit(Batch::new().insert(&token)).await?;
    Ok(token.id)
}

/// Exchanges a public token for an access token and its item's id.
pub(super) async fn exchange(world: &World, token: &str) -> Result<(String, String), Answer> {
    let bad =
        || refused(400, "INVALID_INPUT", "INVALID_PUBLIC_TOKEN", "could not find matching public token");
    let (batch, user_id, fault) = match word(token) {
        Some(fault) => (Batch::new(), format!("plaid-{}", new_id()), fault),
        None => {
            let found: Option<Versioned<PublicToken>> = load(&*world.store, token).await?;
            let Versioned { value: mut token, version } =
                found.filter(|token| !token.value.used).ok_or_else(bad)?;
            token.used = true;
            (Batch::new().replace(&token, version), token.user_id, token.fault)
        }
    };
    let access_token = format!("access-sandbox-{}-{}", Uuid::new_v4(), Uuid::new_v4().simple());
    let item = Item {
        id: format!("item-{}", new_id()),
        user_id,
        token_digest: Some(digest(&access_token)),
        fault,
        turns: 0,
    };
    match world.store.commit(batch.insert(&item)).await {
        Ok(()) => Ok((access_token, item.id)),
        Err(CommitError::Conflict(_)) => Err(bad()),
        Err(error) => Err(error.into()),
    }
}

fn digest(access_token: &str) -> String {
    hex::encode(&Sha256::digest(access_token))
}

/// The item that an access token is for.
pub(super) async fn admitted(world: &World, access_token: &str) -> Result<Versioned<Item>, Answer> {
    let query = Query::by(&ITEMS, "token").equal(digest(access_token)).limit(1);
    let (found, _) = find::<Item>(&*world.store, query).await?;
    found.into_iter().next().ok_or_else(|| {
        refused(400, "INVALID_INPUT", "INVALID_ACCESS_TOKEN", "could not find matching access token")
    })
}

/// The items of a user, removed ones too.
pub(super) async fn of_user(world: &World, user_id: &str) -> Result<Vec<Versioned<Item>>, StoreError> {
    Ok(find::<Item>(&*world.store, Query::by(&ITEMS, "user").equal(user_id).limit(100)).await?.0)
}

/// Which turn of a fault it is, counted in the store.
pub(super) async fn next_turn(world: &World, item: &Versioned<Item>) -> u32 {
    let turn = item.value.turns;
    let later = Item { turns: turn.wrapping_add(1), ..item.value.clone() };
    if let Err(error) = world.store.commit(Batch::new().replace(&later, item.version)).await {
        tracing::debug!(%error, "a turn of the sandbox bank was not counted");
    }
    turn
}
