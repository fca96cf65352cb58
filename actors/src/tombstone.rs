//! What is remembered of a record that was deleted while the command that made it may come again: a
//! repeat must not make it anew.
//!
//! Who calls it: whoever deletes such a record, in the commit that deletes it; and whoever makes one,
//! when there is none with the command's id. What never happens here: a write.

use std::marker::PhantomData;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::store::{Collection, Entity, Field, Kind, Store, StoreError, load};
use crate::time::Timestamp;

/// For how long: a key of a command is kept for 24 hours.
const REMEMBERED: Duration = Duration::from_secs(25 * 3600);

const FIELDS: &[Field] = &[Field::required("id", Kind::Text), Field::required("forgetAt", Kind::Time)];

/// The collection with this name, for the tombstones of one kind of record.
pub(crate) const fn tombstones(name: &'static str) -> Collection {
    Collection { name, fields: FIELDS, indexes: &[], words: &[], expires: Some("forgetAt") }
}

/// A record that a command may have made.
pub(crate) trait Made: Entity {
    /// Where its tombstones are.
    fn tombstones() -> &'static Collection;

    /// Whether a command made it that can come again.
    fn can_come_again(&self) -> bool;
}

/// A record that is no more.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", bound = "")]
pub(crate) struct Tombstone<T> {
    id: String,
    forget_at: Timestamp,
    #[serde(skip)]
    of: PhantomData<fn() -> T>,
}

impl<T: Made> Tombstone<T> {
    /// What is remembered of a record that is deleted now; `None` if no command can make it again.
    pub(crate) fn of(record: &T, now: Timestamp) -> Option<Self> {
        let id = record.can_come_again().then(|| record.id().to_owned())?;
        Some(Self { id, forget_at: now.plus(REMEMBERED), of: PhantomData })
    }

    /// Whether there is one of the record with this id.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) async fn is_there(store: &dyn Store, id: &str) -> Result<bool, StoreError> {
        Ok(load::<Self>(store, id).await?.is_some())
    }
}

impl<T: Made> Entity for Tombstone<T> {
    fn collection() -> &'static Collection {
        T::tombstones()
    }

    fn id(&self) -> &str {
        &self.id
    }
}
