//! An entry as it is stored. Pure: the present is passed in.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::ids;
use crate::store::{Collection, Entity, Field, Index, Kind};
use crate::time::Timestamp;

/// How long an entry is kept.
pub const KEPT: Duration = Duration::from_secs(400 * 24 * 3600);
/// Characters of a text that are kept.
const LONGEST: usize = 200;
/// Details that are kept.
const MOST: usize = 16;

/// The entries. Their ids sort by time, so every index has the order in which things happened.
pub static AUDIT: Collection = Collection {
    name: "audit",
    fields: &[
        Field::required("id", Kind::Text),
        Field::required("at", Kind::Time),
        Field::required("actor", Kind::Text),
        Field::required("act", Kind::Text),
        Field::required("target", Kind::Text),
        Field::optional("from", Kind::Text),
        Field::optional("requestId", Kind::Text),
        Field::required("details", Kind::Object),
        Field::required("forgetAt", Kind::Time),
    ],
    indexes: &[Index::by("actor", &["actor"]), Index::by("act", &["act"]), Index::by("target", &["target"])],
    words: &[],
    expires: Some("forgetAt"),
};

/// Whose act it is, and where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct By {
    actor: String,
    from: Option<String>,
    request_id: Option<String>,
}

impl By {
    /// A user, by a request from this address.
    pub fn user(user_id: &str, from: Option<String>, request_id: Option<String>) -> Self {
        Self { actor: user_id.to_owned(), from, request_id }
    }

    /// Whoever is at the command line of this host.
    pub fn command_line(host: &str) -> Self {
        Self { actor: "command-line".to_owned(), from: Some(host.to_owned()), request_id: None }
    }

    /// Steward itself.
    pub fn system() -> Self {
        Self { actor: "system".to_owned(), from: None, request_id: None }
    }

    /// A user's id, `command-line` or `system`.
    pub fn actor(&self) -> &str {
        &self.actor
    }
}

/// What was done: `noun.verb` in lower case, a constant of the code.
pub type Act = &'static str;

/// One value that is worth knowing. Texts are cut to 200 characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detail(Value);

impl From<&str> for Detail {
    fn from(text: &str) -> Self {
        Self(cut(text).into())
    }
}

impl From<String> for Detail {
    fn from(text: String) -> Self {
        Self::from(text.as_str())
    }
}

impl From<bool> for Detail {
    fn from(value: bool) -> Self {
        Self(value.into())
    }
}

impl From<u64> for Detail {
    fn from(value: u64) -> Self {
        Self(value.into())
    }
}

impl From<i64> for Detail {
    fn from(value: i64) -> Self {
        Self(value.into())
    }
}

fn cut(text: &str) -> String {
    text.chars().take(LONGEST).collect()
}

/// Something that was done. Insert it in the batch that does it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditEntry {
    id: String,
    at: Timestamp,
    actor: String,
    act: String,
    target: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
    details: Map<String, Value>,
    forget_at: Timestamp,
}

impl AuditEntry {
    /// `act` (`job.retry`, `user.set_roles`, …) on `target`: what it is and its id, as
    /// `job/j1` or `user/u1`.
    pub fn new(by: &By, act: Act, target: &str, now: Timestamp) -> Self {
        Self {
            id: ids::new_id(),
            at: now,
            actor: cut(&by.actor),
            act: act.to_owned(),
            target: cut(target),
            from: by.from.as_deref().map(cut),
            request_id: by.request_id.as_deref().map(cut),
            details: Map::new(),
            forget_at: now.plus(KEPT),
        }
    }

    /// Adds a detail; the seventeenth is dropped. Never a secret, nor what somebody sent as it is.
    #[must_use]
    pub fn with(mut self, name: &'static str, detail: impl Into<Detail>) -> Self {
        if self.details.len() < MOST {
            self.details.insert(name.to_owned(), detail.into().0);
        }
        self
    }

    /// When.
    pub fn at(&self) -> Timestamp {
        self.at
    }

    /// Who: a user's id, `command-line` or `system`.
    pub fn actor(&self) -> &str {
        &self.actor
    }

    /// What.
    pub fn act(&self) -> &str {
        &self.act
    }

    /// On what.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// The address or host it came from.
    pub fn from(&self) -> Option<&str> {
        self.from.as_deref()
    }

    /// The request it came by.
    pub fn request_id(&self) -> Option<&str> {
        self.request_id.as_deref()
    }

    /// What else is worth knowing.
    pub fn details(&self) -> &Map<String, Value> {
        &self.details
    }
}

impl Entity for AuditEntry {
    fn collection() -> &'static Collection {
        &AUDIT
    }
    fn id(&self) -> &str {
        &self.id
    }
}
