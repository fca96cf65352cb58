//! The store in memory: the smallest right implementation of the port, and the one whose faults a
//! test can choose.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use serde_json::Value;

use super::ManualClock;
use crate::cluster::Clock;
use crate::store::{
    Batch, Body, Collection, CommitError, Conflict, Cursor, Order, Page, Query, Record, Store, StoreError,
    Write, words,
};
use crate::supervision::lock;
use crate::time::Timestamp;

type Records = BTreeMap<String, Record>;

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

/// A store in memory.
pub struct MemoryStore {
    collections: Mutex<HashMap<&'static str, Records>>,
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
        let Some(records) = collections.get(collection.name) else { return Ok(Vec::new()) };
        Ok(ids.iter().filter_map(|id| records.get(id).cloned()).collect())
    }

    async fn find(&self, query: Query) -> Result<Page, StoreError> {
        self.up()?;
        let collections = lock(&self.collections);
        let mut found: Vec<Record> = collections
            .get(query.collection.name)
            .into_iter()
            .flat_map(BTreeMap::values)
            .filter(|record| fits(&query, record))
            .cloned()
            .collect();
        drop(collections);
        found.sort_by(|a, b| in_order(&query, &query.cursor(a), &query.cursor(b)));
        if let Some(after) = &query.after {
            found.retain(|record| in_order(&query, &query.cursor(record), after) == Ordering::Greater);
        }
        found.truncate(query.limit + 1);
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
        let mut changed = HashMap::new();
        for write in &batch.writes {
            let name = write.collection().name;
            let records: &mut Records =
                changed.entry(name).or_insert_with(|| collections.get(name).cloned().unwrap_or_default());
            apply(records, write)?;
        }
        for write in &batch.writes {
            check_unique(&changed[write.collection().name], write)?;
        }
        collections.extend(changed);
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
    in_index
        && equal
        && in_range
        && (query.words.is_empty()
            || words::matches(&query.words, &words::of_record(query.collection, &record.body)))
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

fn apply(records: &mut Records, write: &Write) -> Result<(), Conflict> {
    let collection = write.collection().name;
    let moved_on = || Conflict::Version { collection, id: write.id().to_owned() };
    let put = |records: &mut Records, version: u64, body: &Body| {
        let id = write.id().to_owned();
        records.insert(id.clone(), Record { id, version, body: body.clone() });
    };
    let found = records.get(write.id()).map(|record| record.version);
    match write {
        Write::Insert { id, body, .. } => {
            if found.is_some() {
                return Err(Conflict::Exists { collection, id: id.clone() });
            }
            put(records, 1, body);
        }
        Write::Replace { version, body, .. } => {
            if found != Some(*version) {
                return Err(moved_on());
            }
            put(records, version + 1, body);
        }
        Write::Delete { version, id, .. } => {
            if found != Some(*version) {
                return Err(moved_on());
            }
            records.remove(id);
        }
    }
    Ok(())
}

fn check_unique(records: &Records, write: &Write) -> Result<(), Conflict> {
    let Some(written) = records.get(write.id()) else { return Ok(()) };
    for index in write.collection().indexes.iter().filter(|index| index.unique) {
        let key = |record: &Record| -> Option<Vec<Value>> {
            index.fields.iter().map(|field| record.body.get(*field).cloned()).collect()
        };
        let Some(mine) = key(written) else { continue };
        if records.values().any(|other| other.id != written.id && key(other).as_ref() == Some(&mine)) {
            return Err(Conflict::Unique { collection: write.collection().name, index: index.name });
        }
    }
    Ok(())
}
