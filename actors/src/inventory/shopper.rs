//! What a shopper holds at the moment. Pure.
//!
//! The record changes in the same commit as the hold that it counts, so two requests on two
//! replicas cannot both take a user's last place.

use serde::{Deserialize, Serialize};

use crate::store::{Collection, Entity, Field, Kind};
use crate::time::Timestamp;

/// Holds of one user that may be live at once.
pub const MOST_LIVE: usize = 20;

/// One record for each user who ever held something; the user's id is the id.
pub static SHOPPERS: Collection = Collection {
    name: "shoppers",
    fields: &[Field::required("userId", Kind::Text), Field::required("live", Kind::List)],
    indexes: &[],
    words: &[],
    expires: None,
};

/// Which holds of a user may be live.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Shopper {
    user_id: String,
    /// No more than [`MOST_LIVE`]; those that ended early stay until they are asked about.
    live: Vec<Live>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Live {
    hold_id: String,
    /// A number inside a list is a number on every adapter.
    expires_at: Timestamp,
}

impl Shopper {
    /// A user who holds nothing yet.
    pub(super) fn new(user_id: &str) -> Self {
        Self { user_id: user_id.to_owned(), live: Vec::new() }
    }

    /// The holds whose time has not come.
    pub(super) fn live(&self, now: Timestamp) -> Vec<String> {
        self.live.iter().filter(|live| live.expires_at > now).map(|live| live.hold_id.clone()).collect()
    }

    /// Whether no other hold fits, unless some of these ended early.
    pub(super) fn is_full(&self, now: Timestamp) -> bool {
        self.live(now).len() >= MOST_LIVE
    }

    /// Keeps those that `keep` says are live.
    pub(super) fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        self.live.retain(|live| keep(&live.hold_id));
    }

    /// With one hold more; `None` if it is one too many.
    pub(super) fn with(&self, hold_id: &str, expires_at: Timestamp, now: Timestamp) -> Option<Self> {
        if self.is_full(now) {
            return None;
        }
        let mut with = self.clone();
        with.live.retain(|live| live.expires_at > now);
        with.live.push(Live { hold_id: hold_id.to_owned(), expires_at });
        Some(with)
    }
}

impl Entity for Shopper {
    fn collection() -> &'static Collection {
        &SHOPPERS
    }

    fn id(&self) -> &str {
        &self.user_id
    }
}
