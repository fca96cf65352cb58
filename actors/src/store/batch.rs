//! What is committed together.

use super::{Body, Collection, Entity, Versioned};

/// One write of a batch.
#[derive(Clone, Debug)]
pub enum Write {
    /// A new record, version 1.
    Insert {
        /// Where.
        collection: &'static Collection,
        /// Its id; taken ids are a conflict.
        id: String,
        /// What is stored.
        body: Body,
    },
    /// A record that has this version gets this body and the next version.
    Replace {
        /// Where.
        collection: &'static Collection,
        /// Its id.
        id: String,
        /// The version that the decision was based on.
        version: u64,
        /// What is stored from now on.
        body: Body,
        /// What is stored at that version, if the caller knows: then it is enough to write what
        /// differs ([`difference`]).
        before: Option<Body>,
    },
    /// A record that has this version vanishes.
    Delete {
        /// Where.
        collection: &'static Collection,
        /// Its id.
        id: String,
        /// The version that the decision was based on.
        version: u64,
    },
}

impl Write {
    /// The collection written to.
    pub fn collection(&self) -> &'static Collection {
        match self {
            Self::Insert { collection, .. }
            | Self::Replace { collection, .. }
            | Self::Delete { collection, .. } => collection,
        }
    }

    /// The id written to.
    pub fn id(&self) -> &str {
        match self {
            Self::Insert { id, .. } | Self::Replace { id, .. } | Self::Delete { id, .. } => id,
        }
    }
}

/// The top-level fields in which `after` differs from `before`: what is to be set, and the names of
/// what is gone. A null and an absent field are the same.
pub fn difference(before: &Body, after: &Body) -> (Body, Vec<String>) {
    let is_there = |body: &Body, name: &str| body.get(name).is_some_and(|value| !value.is_null());
    let set = after.iter().filter(|(name, value)| !value.is_null() && before.get(*name) != Some(value));
    let gone = before.keys().filter(|name| is_there(before, name) && !is_there(after, name));
    (set.map(|(name, value)| (name.clone(), value.clone())).collect(), gone.cloned().collect())
}

/// Whether a batch may share a transaction with batches of others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sharing {
    /// It gets a transaction of its own. For batches that are large, or likely to conflict.
    #[default]
    Alone,
    /// The store may commit it together with others that arrive at the same time. It is answered
    /// for itself all the same: a conflict of another batch never shows here.
    Shared,
}

/// Writes that are committed all or not at all. A record occurs once at most.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// The writes.
    pub writes: Vec<Write>,
    /// Whether it may share a transaction.
    pub sharing: Sharing,
}

impl Batch {
    /// An empty batch that gets a transaction of its own.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty batch that may share a transaction.
    pub fn shared() -> Self {
        Self { writes: Vec::new(), sharing: Sharing::Shared }
    }

    /// Inserts a new record.
    #[must_use]
    pub fn insert<T: Entity>(mut self, entity: &T) -> Self {
        self.writes.push(Write::Insert {
            collection: T::collection(),
            id: entity.id().to_owned(),
            body: entity.body(),
        });
        self
    }

    /// Replaces the record that was read as `based_on`.
    #[must_use]
    pub fn replace<T: Entity>(mut self, entity: &T, based_on: u64) -> Self {
        self.writes.push(Write::Replace {
            collection: T::collection(),
            id: entity.id().to_owned(),
            version: based_on,
            body: entity.body(),
            before: None,
        });
        self
    }

    /// [`Self::replace`] for a caller that still has what was read: only what differs is written
    /// where the store can do that, which is much cheaper for a record with many indexes.
    #[must_use]
    pub fn change<T: Entity>(mut self, before: &Versioned<T>, after: &T) -> Self {
        self.writes.push(Write::Replace {
            collection: T::collection(),
            id: after.id().to_owned(),
            version: before.version,
            body: after.body(),
            before: Some(before.value.body()),
        });
        self
    }

    /// [`Self::change`] if there was something `before`, [`Self::insert`] otherwise.
    #[must_use]
    pub fn change_or_insert<T: Entity>(self, before: Option<&Versioned<T>>, after: &T) -> Self {
        match before {
            Some(before) => self.change(before, after),
            None => self.insert(after),
        }
    }

    /// Inserts `entity` if `based_on` is zero, which no stored record has; replaces it otherwise.
    #[must_use]
    pub fn put<T: Entity>(self, entity: &T, based_on: u64) -> Self {
        if based_on == 0 { self.insert(entity) } else { self.replace(entity, based_on) }
    }

    /// Deletes the record that was read as `record`.
    #[must_use]
    pub fn delete<T: Entity>(mut self, record: &Versioned<T>) -> Self {
        self.writes.push(Write::Delete {
            collection: T::collection(),
            id: record.value.id().to_owned(),
            version: record.version,
        });
        self
    }
}
