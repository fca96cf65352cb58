//! Which links of a user are under way. The record is written by each commit that begins one, so that of
//! those that were decided on the same count one alone is committed: the bound of a user's connections
//! holds before any token is claimed, however many links come at once.
//!
//! Who calls it: linking. What never happens here: a commit.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::connection::{CONNECTIONS, Connection, ConnectionStatus};
use crate::store::{
    Batch, Collection, Entity, Field, Kind, Query, Store, StoreError, Versioned, find, load, load_many,
};
use crate::time::Timestamp;

/// The links under way, by user.
pub static LINKS_UNDER_WAY: Collection = Collection {
    name: "links_under_way",
    fields: &[
        Field::required("id", Kind::Text),
        Field::required("connections", Kind::List),
        Field::required("forgetAt", Kind::Time),
    ],
    indexes: &[],
    words: &[],
    expires: Some("forgetAt"),
};

/// Far longer than a link is under way.
const REMEMBERED: Duration = Duration::from_secs(24 * 3600);

/// The links of a user that were under way when the latest of them began.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct UnderWay {
    /// The user's id.
    id: String,
    /// The ids of the connections.
    connections: Vec<String>,
    /// When nobody needs it any more.
    forget_at: Timestamp,
}

impl Entity for UnderWay {
    fn collection() -> &'static Collection {
        &LINKS_UNDER_WAY
    }

    fn id(&self) -> &str {
        &self.id
    }
}

/// The connections that a user has or is about to have.
pub(super) struct Held {
    user_id: String,
    before: Option<Versioned<UnderWay>>,
    linking: BTreeSet<String>,
    listed: usize,
}

impl Held {
    /// Reads them; `most` (1 to 1,000) of those that are listed.
    pub(super) async fn by(store: &dyn Store, user_id: &str, most: usize) -> Result<Self, StoreError> {
        // The record first: a link that begins after this changes it.
        let before = load::<UnderWay>(store, user_id).await?;
        let ids = before.as_ref().map_or(&[][..], |before| before.value.connections.as_slice());
        let begun = match ids {
            [] => Vec::new(),
            ids => load_many::<Connection>(store, ids).await?,
        };
        let still = begun.into_iter().filter(|begun| begun.value.status == ConnectionStatus::Linking);
        let mut linking: BTreeSet<String> = still.map(|begun| begun.value.id).collect();
        let query = Query::by(&CONNECTIONS, "listed").equal(user_id).limit(most);
        let (listed, _) = find::<Connection>(store, query).await?;
        for done in &listed {
            linking.remove(&done.value.id);
        }
        Ok(Self { user_id: user_id.to_owned(), before, linking, listed: listed.len() })
    }

    /// How many they are.
    pub(super) fn count(&self) -> usize {
        self.listed + self.linking.len()
    }

    /// Adds to a batch that begins the link of `connection` what makes it conflict if another link
    /// of the user has begun since this was read.
    pub(super) fn begin(self, batch: Batch, connection: &Connection, now: Timestamp) -> Batch {
        let connections = self.linking.into_iter().chain([connection.id.clone()]).collect();
        let under_way = UnderWay { id: self.user_id, connections, forget_at: now.plus(REMEMBERED) };
        batch.change_or_insert(self.before.as_ref(), &under_way)
    }
}
