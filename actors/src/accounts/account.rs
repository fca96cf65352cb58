//! The account as it is stored. Pure.

use serde::{Deserialize, Serialize};

use super::details::{AccountType, Details};
use crate::money::Money;
use crate::store::{Collection, Entity, Field, Index, Kind};
use crate::time::Timestamp;

/// Accounts of all users.
pub static ACCOUNTS: Collection = Collection {
    name: "accounts",
    fields: &[
        Field::required("id", Kind::Text),
        Field::required("userId", Kind::Text),
        Field::required("type", Kind::Text),
        Field::required("provider", Kind::Text),
        Field::required("providerName", Kind::Text),
        Field::required("hidden", Kind::Boolean),
        Field::required("balance", Kind::Object),
        Field::required("balanceAsOf", Kind::Time),
        Field::required("lastUpdated", Kind::Time),
        Field::required("details", Kind::Object),
        Field::optional("customName", Kind::Text),
        Field::optional("connectionId", Kind::Text),
        Field::optional("externalId", Kind::Text),
        Field::optional("missingSince", Kind::Time),
        Field::optional("command", Kind::Text),
    ],
    indexes: &[
        Index::by("user", &["userId"]),
        Index::by("userType", &["userId", "type"]),
        Index::unique("external", &["connectionId", "externalId"]),
    ],
    words: &[],
    expires: None,
};

/// An account of a user, synced from a provider or kept by hand.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Account {
    /// Its id.
    pub id: String,
    /// Whose it is.
    pub user_id: String,
    /// The connection it is synced by; `None` for a manual account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection_id: Option<String>,
    /// The provider's id for it; `None` for a manual account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    /// The institution, as shown to people.
    pub provider: String,
    /// What the provider calls it.
    pub provider_name: String,
    /// What the user calls it instead. No sync touches this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub custom_name: Option<String>,
    /// Whether the user hid it. No sync touches this.
    pub hidden: bool,
    /// The balance. Of credit and loan accounts, positive is owed.
    pub balance: Money,
    /// As of when the balance is right.
    pub balance_as_of: Timestamp,
    /// When this record last changed by a sync or an edit.
    pub last_updated: Timestamp,
    /// Since when the provider's whole statements leave it out, if they do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing_since: Option<Timestamp>,
    /// A digest of the command that made it, to tell a repeat from another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// Its type, with what belongs to that type.
    #[serde(flatten)]
    pub details: Details,
}

impl Account {
    /// What it is called: by the user if they chose a name, else by the provider.
    pub fn name(&self) -> &str {
        self.custom_name.as_deref().unwrap_or(&self.provider_name)
    }

    /// Its type.
    pub const fn account_type(&self) -> AccountType {
        self.details.account_type()
    }

    /// Whether a provider tells of it.
    pub const fn is_synced(&self) -> bool {
        self.connection_id.is_some()
    }

    /// The same account, kept by hand from now on.
    #[must_use]
    pub fn into_manual(self, now: Timestamp) -> Self {
        Self { connection_id: None, external_id: None, missing_since: None, last_updated: now, ..self }
    }
}

impl Entity for Account {
    fn collection() -> &'static Collection {
        &ACCOUNTS
    }
    fn id(&self) -> &str {
        &self.id
    }
}
