//! The transaction as it is stored. Pure.

use serde::{Deserialize, Serialize};

use crate::money::Money;
use crate::store::{Body, Collection, Entity, Field, Index, Kind, fields_of};
use crate::time::Timestamp;

/// The user again of those that are pending, so that these few are found among all.
const PENDING_OF: &str = "pendingOf";

/// Transactions of all accounts.
pub static TRANSACTIONS: Collection = Collection {
    name: "transactions",
    fields: &[
        Field::required("id", Kind::Text),
        Field::required("userId", Kind::Text),
        Field::required("accountId", Kind::Text),
        Field::required("date", Kind::Text),
        Field::required("amount", Kind::Object),
        Field::required("description", Kind::Text),
        Field::required("pending", Kind::Boolean),
        Field::required("updatedAt", Kind::Time),
        Field::optional("externalId", Kind::Text),
        Field::optional("category", Kind::Text),
        Field::optional("note", Kind::Text),
        Field::optional("mergedFrom", Kind::List),
        Field::optional("command", Kind::Text),
        Field::optional("withdrawnAt", Kind::Time),
        Field::optional(PENDING_OF, Kind::Text),
    ],
    indexes: &[
        Index::by("user", &["userId", "date"]).narrow(),
        Index::by("account", &["accountId", "date"]).narrow(),
        Index::unique("external", &["accountId", "externalId"]),
        Index::by("pending", &[PENDING_OF, "date"]),
    ],
    words: &["description"],
    expires: None,
};

/// Money that came to an account or left it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Transaction {
    /// Its id.
    pub id: String,
    /// Whose account it is on.
    pub user_id: String,
    /// The account.
    pub account_id: String,
    /// The provider's id for it, unique within its account; `None` for one kept by hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    /// The day, `YYYY-MM-DD`: of the booking, or of the payment while it is pending; if the provider does not
    /// say when that was, the day on which it was first told of.
    pub date: String,
    /// Negative: it left the holder.
    pub amount: Money,
    /// What the provider, or the user of a manual account, says of it.
    pub description: String,
    /// Not booked yet.
    pub pending: bool,
    /// The user's word for its kind. No sync touches this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    /// The user's note. No sync touches this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// What this one was taken to be the same as, the latest last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub merged_from: Vec<MergedFrom>,
    /// The user took it out of another one: it is merged with nothing again, and stays when the
    /// provider does not tell of it; for some days only if it is pending.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub kept_apart: bool,
    /// Since when the provider does not tell of it any more, if it is kept all the same for a while: it
    /// is pending, and may come back as one that is booked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub withdrawn_at: Option<Timestamp>,
    /// A digest of the command that made it, to tell a repeat from another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// When it last changed here.
    pub updated_at: Timestamp,
}

/// Why two tellings of a provider were taken for one transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MergeRule {
    /// A pending one vanished, and one of the same amount was booked within some days.
    PendingPosted,
    /// The provider told of the same day, amount and description under another id.
    SameUnderAnotherId,
    /// The provider says which pending one was booked as this.
    NamedByProvider,
    /// A pending one vanished, and one of like description was booked within a few days for somewhat
    /// more, which left no choice.
    TipAdded,
}

/// A former telling of a transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MergedFrom {
    /// The id under which the provider told of it.
    pub external_id: String,
    /// Its day then.
    pub date: String,
    /// Its description then.
    pub description: String,
    /// Its amount then. Absent in old records, if it was that of the transaction when they were merged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount: Option<Money>,
    /// Whether it was pending.
    pub pending: bool,
    /// Why it was taken for the same.
    pub rule: MergeRule,
    /// When.
    pub at: Timestamp,
}

impl Entity for Transaction {
    fn collection() -> &'static Collection {
        &TRANSACTIONS
    }
    fn id(&self) -> &str {
        &self.id
    }
    fn body(&self) -> Body {
        let mut body = fields_of(self);
        if self.pending {
            body.insert(PENDING_OF.to_owned(), self.user_id.as_str().into());
        }
        body
    }
}

impl Transaction {
    /// The last telling that was merged into this one, as a transaction of its own under `id`, and
    /// this one without it. `None` if nothing was merged.
    #[must_use]
    pub fn unmerged(mut self, id: String, now: Timestamp) -> Option<(Self, Self)> {
        let former = self.merged_from.pop()?;
        self.updated_at = now;
        let apart = Self {
            id,
            external_id: Some(former.external_id),
            date: former.date,
            amount: former.amount.unwrap_or(self.amount),
            description: former.description,
            pending: former.pending,
            merged_from: Vec::new(),
            kept_apart: true,
            // It was gone when it was merged. If it was not, it is told of again.
            withdrawn_at: former.pending.then_some(now),
            category: None,
            note: None,
            command: None,
            ..self.clone()
        };
        Some((self, apart))
    }
}
