//! A connection: a user's link to an institution through a provider. Pure.

use serde::{Deserialize, Serialize};

use super::credential::SealedCredential;
use super::run::Outcome;
use crate::store::{Collection, Entity, Field, Index, Kind};
use crate::time::Timestamp;

/// Connections of all users.
pub static CONNECTIONS: Collection = Collection {
    name: "connections",
    fields: &[
        Field::required("id", Kind::Text),
        Field::required("userId", Kind::Text),
        Field::required("provider", Kind::Text),
        Field::required("status", Kind::Text),
        Field::required("failures", Kind::Integer),
        Field::required("createdAt", Kind::Time),
        Field::optional("listedFor", Kind::Text),
        Field::optional("dueAt", Kind::Time),
        Field::optional("lastSuccessAt", Kind::Time),
        Field::optional("forgetAt", Kind::Time),
        Field::optional("credential", Kind::Object),
        Field::optional("claim", Kind::Object),
        Field::optional("reference", Kind::Text),
        Field::optional("cursor", Kind::Text),
        Field::optional("provisionalSince", Kind::Time),
        Field::optional("restUntil", Kind::Time),
    ],
    indexes: &[
        Index::by("listed", &["listedFor"]),
        Index::by("due", &["dueAt"]),
        Index::by("status", &["status"]),
        Index::by("reference", &["provider", "reference"]),
        Index::by("freshness", &["status", "lastSuccessAt"]),
    ],
    words: &[],
    expires: Some("forgetAt"),
};

/// Where a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConnectionStatus {
    /// The setup token is being claimed. Not shown to anyone yet.
    Linking,
    /// It is synced on a schedule.
    Active,
    /// The provider wants the user again. Synced only on demand; one good run makes it active.
    NeedsReauth,
    /// Deleted; its credential is gone. Not shown to anyone any more.
    Revoked,
}

impl ConnectionStatus {
    /// As the API writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Linking => "linking",
            Self::Active => "active",
            Self::NeedsReauth => "needs_reauth",
            Self::Revoked => "revoked",
        }
    }
}

/// What becomes of the accounts of a connection that is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Disposal {
    /// They stay, as manual ones.
    #[default]
    KeepAccounts,
    /// They are deleted too.
    DeleteAccounts,
}

/// Who runs a connection now. The record's version is the fence; the claim says whom it is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Claim {
    /// New with each claim, so that its maker recognises it when a commit's answer was lost.
    pub id: String,
    /// The incarnation of the replica.
    pub owner: String,
    /// When it lapses, by the store's clock.
    pub lease_until: Timestamp,
}

/// A connection.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Connection {
    /// Its id.
    pub id: String,
    /// Whose it is.
    pub user_id: String,
    /// The user again while it is shown to them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listed_for: Option<String>,
    /// The provider, by the API's name for it.
    pub provider: String,
    /// The institution, once a statement has named it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub institution: Option<String>,
    /// Where it stands.
    pub status: ConnectionStatus,
    /// What the provider wants to see; `None` if it was never had, or is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<SealedCredential>,
    /// The provider's own name for it, by which its webhooks call it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// Where the last whole statement of changes ended; `None`: the next one tells all that there is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// Since when transactions were taken over from a statement of changes that was not taken over
    /// to its end. The next one tells all that there is, and what it does not tell of of these goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provisional_since: Option<Timestamp>,
    /// Something new was told of while a run was under way: another one is due at its end.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub again: bool,
    /// It was linked again, and no statement since then has told of all accounts: known ones may yet be
    /// told of under other ids.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub relinked: bool,
    /// A run was made and waits until the provider may be asked, or until it is tried again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub postponed: bool,
    /// How the last run ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_outcome: Option<Outcome>,
    /// Why it is not active, why its last run was not complete, why the present one waits, or what the last
    /// one brought that is never shown; in words for the user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When the last complete run ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_success_at: Option<Timestamp>,
    /// When somebody should look at it: the next attempt, or the end of a claim that may have
    /// been abandoned by then. Absent: nobody has to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_at: Option<Timestamp>,
    /// Before this the provider does not want to be asked, by its own word (`Retry-After`): whoever wants
    /// a run, none begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rest_until: Option<Timestamp>,
    /// Failures since the last run that brought a statement, the provider's and our own. A statement that
    /// ended where the provider wanted to be asked less often counts as one.
    pub failures: u32,
    /// The epoch of its slot under which a run was last begun. It only rises.
    #[serde(default)]
    pub epoch: u64,
    /// Who runs it now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim: Option<Claim>,
    /// A digest of the command that made it, if that can come again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// The command that revoked it, so that it is recognised when it comes again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_by: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When a revoked connection's record may vanish.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forget_at: Option<Timestamp>,
}

impl Connection {
    /// When the next attempt is planned; `None` while one is under way, or if none is planned.
    pub fn next_attempt_at(&self) -> Option<Timestamp> {
        if self.claim.is_some() { None } else { self.due_at }
    }

    /// Whether an unfinished run is likely, so that it is worth looking for one before another is made.
    pub(super) fn may_have_unfinished_run(&self) -> bool {
        self.postponed || self.claim.is_some() || self.last_outcome.is_none()
    }

    /// Whether it is shown to its user.
    pub fn is_listed(&self) -> bool {
        self.listed_for.is_some()
    }

    /// Whether somebody else's claim stands at `now`. `lives` says of an incarnation whether it does:
    /// the claim of a dead one has fallen with it.
    pub fn is_claimed_by_another(&self, owner: &str, now: Timestamp, lives: impl Fn(&str) -> bool) -> bool {
        let stands = |claim: &Claim| claim.owner != owner && now < claim.lease_until && lives(&claim.owner);
        self.claim.as_ref().is_some_and(stands)
    }

    /// Whether this is the claim that stands in the record.
    pub fn is_claimed_as(&self, claim_id: &str) -> bool {
        self.claim.as_ref().is_some_and(|claim| claim.id == claim_id)
    }
}

impl Entity for Connection {
    fn collection() -> &'static Collection {
        &CONNECTIONS
    }
    fn id(&self) -> &str {
        &self.id
    }
}
