//! Setup tokens, and the access that they are claimed for.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use steward_actors::cluster::Clock;
use steward_actors::hex;
use steward_actors::ids::{is_well_formed, new_id};
use steward_actors::store::{Batch, Collection, Entity, Field, Kind, Versioned, load};
use steward_actors::time::Timestamp;
use uuid::Uuid;

use crate::sandbox::World;
use crate::sandbox::answer::Answer;

/// Setup tokens that were minted; those that are words are nowhere.
pub(in crate::sandbox) static SETUP_TOKENS: Collection = Collection {
    name: "sandbox_setup_tokens",
    fields: &[Field::required("userId", Kind::Text)],
    indexes: &[],
    words: &[],
    expires: None,
};

/// What was given for claimed tokens.
pub(in crate::sandbox) static ACCESSES: Collection = Collection {
    name: "sandbox_accesses",
    fields: &[Field::required("userId", Kind::Text), Field::required("created", Kind::Time)],
    indexes: &[],
    words: &[],
    expires: None,
};

/// What a connection meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(in crate::sandbox) enum Fault {
    Slow,
    RateLimited,
    Expired,
    BrokenPages,
    Down,
    InstitutionDown,
    NotReady,
    Shuffled,
    Mutating,
    Hanging,
    Hostile,
}

impl Fault {
    pub(super) const ALL: [Self; 11] = [
        Self::Slow,
        Self::RateLimited,
        Self::Expired,
        Self::BrokenPages,
        Self::Down,
        Self::InstitutionDown,
        Self::NotReady,
        Self::Shuffled,
        Self::Mutating,
        Self::Hanging,
        Self::Hostile,
    ];

    /// What follows `public-sandbox-` in the tokens that choose it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Slow => "slow",
            Self::RateLimited => "rate-limited",
            Self::Expired => "expired",
            Self::BrokenPages => "broken-pages",
            Self::Down => "down",
            Self::InstitutionDown => "institution-down",
            Self::NotReady => "not-ready",
            Self::Shuffled => "shuffled",
            Self::Mutating => "mutating",
            Self::Hanging => "hanging",
            Self::Hostile => "hostile",
        }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SetupToken {
    id: String,
    user_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Option<Fault>,
    claimed: bool,
}

impl Entity for SetupToken {
    fn collection() -> &'static Collection {
        &SETUP_TOKENS
    }

    fn id(&self) -> &str {
        &self.id
    }
}

/// Lasting access; the id is the user name of its URL.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Access {
    id: String,
    password_digest: String,
    pub(super) user_id: String,
    pub(super) created: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) fault: Option<Fault>,
    /// How often a fault that comes in turns was met.
    pub(super) turns: u32,
}

impl Entity for Access {
    fn collection() -> &'static Collection {
        &ACCESSES
    }

    fn id(&self) -> &str {
        &self.id
    }
}

/// The words that are setup tokens, and their faults. They can be claimed again and again.
fn word(token: &str) -> Option<Option<Fault>> {
    Some(match token {
        "sandbox" => None,
        "sandbox-slow" => Some(Fault::Slow),
        "sandbox-rate-limited" => Some(Fault::RateLimited),
        "sandbox-expired" => Some(Fault::Expired),
        "sandbox-broken-pages" => Some(Fault::BrokenPages),
        "sandbox-down" => Some(Fault::Down),
        "sandbox-shuffled" => Some(Fault::Shuffled),
        "sandbox-hanging" => Some(Fault::Hanging),
        "sandbox-hostile" => Some(Fault::Hostile),
        _ => return None,
    })
}

/// A new setup token for one claim: the base64 of its claim URL.
pub(in crate::sandbox) async fn mint(
    world: &World,
    host: &str,
    user_id: &str,
    fault: Option<Fault>,
) -> Result<String, Answer> {
    if !is_well_formed(user_id) {
        return Err(Answer::invalid("parameter_invalid", Some("userId"), "The user id is malformed."));
    }
    let id = Uuid::new_v4().simple().to_string();
    let url = format!("http://{host}/simplefin/claim/{id}");
    let token = SetupToken { id, user_id: user_id.to_owned(), fault, claimed: false };
    world.store.commit(Batch::new().insert(&token)).await?;
    Ok(STANDARD.encode(url))
}

/// Exchanges a token for `username:password`. `user_id` counts for words alone.
pub(super) async fn claim(world: &World, token: &str, user_id: Option<&str>) -> Result<String, Answer> {
    let refused = || Answer::error(403, "forbidden", "This setup token is not known, or was claimed before.");
    let (batch, user_id, fault) = match word(token) {
        Some(fault) => {
            let user_id = user_id.filter(|id| is_well_formed(id)).ok_or_else(|| {
                Answer::invalid("parameter_missing", Some("user"), "A sandbox token is claimed for a user.")
            })?;
            (Batch::new(), user_id.to_owned(), fault)
        }
        None => {
            let found: Option<Versioned<SetupToken>> = load(&*world.store, token).await?;
            let Versioned { value: mut token, version } =
                found.filter(|token| !token.value.claimed).ok_or_else(refused)?;
            token.claimed = true;
            (Batch::new().replace(&token, version), token.user_id, token.fault)
        }
    };
    let password = format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
    let access = Access {
        id: new_id(),
        password_digest: hex::encode(&Sha256::digest(&password)),
        user_id,
        created: world.clock.now(),
        fault,
        turns: 0,
    };
    match world.store.commit(batch.insert(&access)).await {
        Ok(()) => Ok(format!("{}:{password}", access.id)),
        // Another claim of the same token came first.
        Err(steward_actors::store::CommitError::Conflict(_)) => Err(refused()),
        Err(error) => Err(error.into()),
    }
}

/// The access that an `Authorization: Basic` header gives.
pub(super) async fn admitted(world: &World, header: Option<&str>) -> Result<Versioned<Access>, Answer> {
    let refused = || Answer::error(403, "forbidden", "Authentication failed.");
    let credentials = header
        .and_then(|header| header.strip_prefix("Basic "))
        .and_then(|encoded| STANDARD.decode(encoded).ok())
        .and_then(|decoded| String::from_utf8(decoded).ok())
        .ok_or_else(refused)?;
    let (id, password) = credentials.split_once(':').ok_or_else(refused)?;
    let access: Option<Versioned<Access>> = load(&*world.store, id).await?;
    access
        .filter(|access| access.value.password_digest == hex::encode(&Sha256::digest(password)))
        .ok_or_else(refused)
}

/// Which turn of a fault it is, counted in the store.
pub(super) async fn next_turn(world: &World, access: Versioned<Access>) -> u32 {
    let Versioned { value: mut access, version } = access;
    let turn = access.turns;
    access.turns = turn.wrapping_add(1);
    if let Err(error) = world.store.commit(Batch::new().replace(&access, version)).await {
        tracing::debug!(%error, "a turn of the sandbox bank was not counted");
    }
    turn
}
