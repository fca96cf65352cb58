//! The store in memory: the smallest right implementation of the port, and the one whose faults a
//! test can choose.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use serde_json::Value;

use super::ManualClock;
use crate::cluster::Clock;
use crate::store::{
    Batch, Body, Collection, CommitError, Conflict, Cursor, Index, Order, Page, Query, Record, Store,
    StoreError, Write, difference,
};
use crate::supervision::lock;
use crate::time::Timestamp;

/// A collection's records, and who has which key of its unique indexes.
#[derive(Default)]
struct Contents {
    records: BTreeMap<String, Record>,
    holders: HashMap<(&'static str, String), String>,
}

type Collections = HashMap<&'static str, Contents>;

/// A fault that the next commits meet, in turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitFault {
    /// Not written, and said so.
    Unavailable,
    /// Not written, but the caller is not told.
    LostBefore,
    /// Written, but the caller is not told.
    LostAfter,
}

/// A store in memory. It panics at a batch that names a record twice, which no caller may make.
pub struct MemoryStore {
    collections: Mutex<Collections>,
    clock: Arc<ManualClock>,
    faults: Mutex<VecDeque<CommitFault>>,
    down: Mutex<bool>,
    commits: Mutex<u64>,
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new(Arc::new(ManualClock::default()))
    }
}

impl MemoryStore {
    /// An empty store with this clock.
    pub fn new(clock: Arc<ManualClock>) -> Self {
        Self {
            collections: Mutex::default(),
            clock,
            faults: Mutex::default(),
            down: Mutex::default(),
            commits: Mutex::default(),
        }
    }

    /// The next commits meet these faults, one each.
    pub fn fail_commits(&self, faults: impl IntoIterator<Item = CommitFault>) {
        lock(&self.faults).extend(faults);
    }

    /// While down, every call is answered with "unavailable".
    pub fn set_down(&self, down: bool) {
        *lock(&self.down) = down;
    }

    /// How many batches were committed.
    pub fn commits(&self) -> u64 {
        *lock(&self.commits)
    }

    fn up(&self) -> Result<(), StoreError> {
        if *lock(&self.down) {
            return Err(StoreError::Unavailable("switched off by the test".to_owned()));
        }
        Ok(())
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn get_many(
        &self,
        collection: &'static Collection,
        ids: &[String],
    ) -> Result<Vec<Record>, StoreError> {
        self.up()?;
        let collections = lock(&self.collections);
        let Some(contents) = collections.get(collection.name) else { return Ok(Vec::new()) };
        Ok(ids.iter().filter_map(|id| contents.records.get(id).cloned()).collect())
    }

    async fn find(&self, query: Query) -> Result<Page, StoreError> {
        self.up()?;
        let collections = lock(&self.collections);
        let mut found: Vec<(Cursor, &Record)> = collections
            .get(query.collection.name)
            .into_iter()
            .flat_map(|contents| contents.records.values())
            .filter(|record| fits(&query, record))
            .map(|record| (query.cursor(record), record))
            .collect();
        found.sort_by(|(a, _), (b, _)| in_order(&query, a, b));
        if let Some(after) = &query.after {
            found.retain(|(cursor, _)| in_order(&query, cursor, after) == Ordering::Greater);
        }
        let found = found.into_iter().take(query.limit + 1).map(|(_, record)| record.clone()).collect();
        Ok(query.page(found))
    }

    async fn commit(&self, batch: Batch) -> Result<(), CommitError> {
        self.up().map_err(|error| CommitError::Unavailable(error.to_string()))?;
        let fault = lock(&self.faults).pop_front();
        match fault {
            Some(CommitFault::Unavailable) => {
                return Err(CommitError::Unavailable("a fault of the test".to_owned()));
            }
            Some(CommitFault::LostBefore) => {
                return Err(CommitError::OutcomeUnknown("a fault of the test".to_owned()));
            }
            Some(CommitFault::LostAfter) | None => {}
        }
        let mut collections = lock(&self.collections);
        check(&collections, &batch)?;
        for write in batch.writes {
            collections.entry(write.collection().name).or_default().apply(write);
        }
        *lock(&self.commits) += 1;
        match fault {
            Some(_) => Err(CommitError::OutcomeUnknown("a fault of the test".to_owned())),
            None => Ok(()),
        }
    }

    async fn time(&self) -> Result<Timestamp, StoreError> {
        self.up()?;
        Ok(self.clock.now())
    }
}

fn fits(query: &Query, record: &Record) -> bool {
    let fields = query.fields();
    let value = |field: &str| record.body.get(field).filter(|value| !value.is_null());
    let in_index = fields.iter().all(|field| value(field).is_some());
    let equal = fields.iter().zip(&query.equal).all(|(field, wanted)| value(field) == Some(wanted));
    let in_range = query.range.as_ref().is_none_or(|range| {
        let id = Value::String(record.id.clone());
        let value = match query.sort_fields().first() {
            Some(field) => value(field).cloned().unwrap_or(Value::Null),
            None => id,
        };
        range.from.as_ref().is_none_or(|from| compare(&value, from) != Ordering::Less)
            && range.until.as_ref().is_none_or(|until| compare(&value, until) == Ordering::Less)
    });
    in_index && equal && in_range && query.finds(record)
}

fn in_order(query: &Query, a: &Cursor, b: &Cursor) -> Ordering {
    let by_keys = a.keys.iter().zip(&b.keys).map(|(a, b)| compare(a, b)).find(|order| order.is_ne());
    let order = by_keys.unwrap_or_else(|| a.id.cmp(&b.id));
    match query.order {
        Order::Ascending => order,
        Order::Descending => order.reverse(),
    }
}

fn compare(a: &Value, b: &Value) -> Ordering {
    match (a, b) {
        (Value::String(a), Value::String(b)) => a.cmp(b),
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (Value::Number(a), Value::Number(b)) => a.as_i64().cmp(&b.as_i64()),
        _ => Ordering::Equal,
    }
}

/// Whether the batch can be applied as a whole; changes nothing.
fn check(collections: &Collections, batch: &Batch) -> Result<(), Conflict> {
    let mut named = HashSet::new();
    for write in &batch.writes {
        let collection = write.collection().name;
        assert!(named.insert((collection, write.id())), "{collection}/{} is twice in a batch", write.id());
        let found = collections.get(collection).and_then(|contents| contents.records.get(write.id()));
        match write {
            Write::Insert { id, .. } if found.is_some() => {
                return Err(Conflict::Exists { collection, id: id.clone() });
            }
            Write::Replace { id, version, .. } | Write::Delete { id, version, .. }
                if found.map(|record| record.version) != Some(*version) =>
            {
                return Err(Conflict::Version { collection, id: id.clone() });
            }
            _ => {}
        }
    }
    let mut claimed = HashSet::new();
    for write in &batch.writes {
        let (Write::Insert { body, .. } | Write::Replace { body, .. }) = write else { continue };
        let collection = write.collection().name;
        for (index, key) in unique_keys(write.collection(), body) {
            let holder = collections
                .get(collection)
                .and_then(|contents| contents.holders.get(&(index.name, key.clone())));
            // A holder that the batch names gives its key up, or claims it anew below.
            let held = holder.is_some_and(|holder| !named.contains(&(collection, holder.as_str())));
            if held || !claimed.insert((collection, index.name, key)) {
                return Err(Conflict::Unique { collection, index: index.name });
            }
        }
    }
    Ok(())
}

impl Contents {
    fn apply(&mut self, write: Write) {
        let collection = write.collection();
        let old = self.records.remove(write.id());
        if let Some(old) = &old {
            for (index, key) in unique_keys(collection, &old.body) {
                let key = (index.name, key);
                // Another write of the batch may have taken the key over already.
                if self.holders.get(&key) == Some(&old.id) {
                    self.holders.remove(&key);
                }
            }
        }
        let (id, version, body) = match write {
            Write::Insert { id, body, .. } => (id, 1, body),
            Write::Replace { id, version, body, before: None, .. } => (id, version + 1, body),
            // As a database does it that writes what differs: a caller that is wrong about what
            // was there is found out.
            Write::Replace { id, version, body, before: Some(before), .. } => {
                let (set, gone) = difference(&before, &body);
                let mut body = old.map(|old| old.body).unwrap_or_default();
                body.extend(set);
                body.retain(|name, _| !gone.contains(name));
                (id, version + 1, body)
            }
            Write::Delete { .. } => return,
        };
        for (index, key) in unique_keys(collection, &body) {
            self.holders.insert((index.name, key), id.clone());
        }
        self.records.insert(id.clone(), Record { id, version, body });
    }
}

/// The record's keys in the unique indexes that it is in.
fn unique_keys(
    collection: &'static Collection,
    body: &Body,
) -> impl Iterator<Item = (&'static Index, String)> {
    collection.indexes.iter().filter(|index| index.unique).filter_map(|index| {
        let value = |field: &&str| body.get(*field).filter(|value| !value.is_null()).cloned();
        let key: Option<Vec<Value>> = index.fields.iter().map(value).collect();
        Some((index, Value::Array(key?).to_string()))
    })
}
