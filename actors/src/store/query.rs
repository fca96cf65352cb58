//! A page by a declared index. A query that no index serves cannot be written down.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Collection, Entity, PRIMARY, Record, StoreError};

/// In which order a page runs through its index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// Smallest first.
    #[default]
    Ascending,
    /// Largest first.
    Descending,
}

/// Bounds on one index field; either may be missing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Range {
    /// The smallest value that is in.
    pub from: Option<Value>,
    /// The smallest value that is out.
    pub until: Option<Value>,
}

/// Where a page ended: the sort key of its last record. The next page begins behind it, also if
/// that record has been changed or deleted since.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cursor {
    /// The values of the index fields after those fixed by equality.
    pub keys: Vec<Value>,
    /// The record's id.
    pub id: String,
}

/// A page of records.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    /// At most `limit` of them, in the index's order.
    pub records: Vec<Record>,
    /// Where the next page begins; `None` when there is none.
    pub next: Option<Cursor>,
}

/// How often labels occur.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Labels and how many records have them: the most frequent first, then by their text;
    /// [`MOST_TALLIED`] at most.
    pub labels: Vec<(String, u64)>,
    /// How many records were looked at.
    pub counted: u64,
    /// Whether these were all that the query finds.
    pub complete: bool,
}

/// Labels that a [`Tally`] has at most.
pub const MOST_TALLIED: usize = 1000;

/// Asks for a page: the leading fields of an index fixed to values, the field after them bounded,
/// sorted by what is left of the index and then by id.
#[derive(Clone, Debug)]
pub struct Query {
    /// The collection.
    pub collection: &'static Collection,
    /// The name of a declared index, or [`PRIMARY`].
    pub index: &'static str,
    /// Values for the index's leading fields.
    pub equal: Vec<Value>,
    /// Bounds on the field after those.
    pub range: Option<Range>,
    /// Words to search; each must begin a word of the record ([`super::words`]).
    pub words: Vec<String>,
    /// Labels to look up: of each of these groups, a record must have one label at least.
    pub labels: Vec<Vec<String>>,
    /// The order.
    pub order: Order,
    /// Records at most; 1 to 1,000.
    pub limit: usize,
    /// Where to begin.
    pub after: Option<Cursor>,
}

impl Query {
    /// The first 100 records by this index, ascending.
    pub fn by(collection: &'static Collection, index: &'static str) -> Self {
        debug_assert!(
            index == PRIMARY || collection.index(index).is_some(),
            "{} has no index {index}",
            collection.name
        );
        Self {
            collection,
            index,
            equal: Vec::new(),
            range: None,
            words: Vec::new(),
            labels: Vec::new(),
            order: Order::Ascending,
            limit: 100,
            after: None,
        }
    }

    /// Fixes the next leading field to `value`.
    #[must_use]
    pub fn equal(mut self, value: impl Into<Value>) -> Self {
        self.equal.push(value.into());
        self
    }

    /// Bounds the field after the fixed ones: `from` is in, `until` is out.
    #[must_use]
    pub fn range(mut self, from: Option<Value>, until: Option<Value>) -> Self {
        self.range = Some(Range { from, until });
        self
    }

    /// Only records in which each word of `text` begins a word; of more than
    /// [`super::words::MOST_ASKED`], the first. Text without a word finds all.
    #[must_use]
    pub fn words(mut self, text: &str) -> Self {
        self.words.extend(super::words::asked(text));
        self
    }

    /// Only records that have one of these labels at least; none if there are none. Asked several
    /// times, all must be so.
    #[must_use]
    pub fn labels(mut self, any_of: impl IntoIterator<Item = String>) -> Self {
        self.labels.push(any_of.into_iter().collect());
        self
    }

    /// Only records of which a label begins with `prefix`. Asked several times, all must be so.
    #[must_use]
    pub fn label_prefix(mut self, prefix: &str) -> Self {
        self.words.push(super::words::of_label(prefix));
        self
    }

    /// Whether it looks up words or labels.
    pub fn is_search(&self) -> bool {
        !self.words.is_empty() || !self.labels.is_empty()
    }

    /// Largest first.
    #[must_use]
    pub fn descending(mut self) -> Self {
        self.order = Order::Descending;
        self
    }

    /// At most `limit` records; 1 to 1,000, and the nearest of these for any other number.
    #[must_use]
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit.clamp(1, 1000);
        self
    }

    /// Begin behind `cursor`.
    #[must_use]
    pub fn after(mut self, cursor: Option<Cursor>) -> Self {
        self.after = cursor;
        self
    }

    /// Whether a record has all words and labels that are asked for.
    pub fn finds(&self, record: &Record) -> bool {
        if !self.is_search() {
            return true;
        }
        let words = super::words::of_record(self.collection, &record.body);
        let has = |label: &String| words.contains(&super::words::of_label(label));
        super::words::matches(&self.words, &words) && self.labels.iter().all(|any_of| any_of.iter().any(has))
    }

    /// The fields of the query's index, all of them.
    pub fn fields(&self) -> &'static [&'static str] {
        self.collection.index(self.index).map_or(&[], |index| index.fields)
    }

    /// The index fields that the page is sorted by: those that are not fixed.
    pub fn sort_fields(&self) -> &'static [&'static str] {
        let fields = self.fields();
        &fields[self.equal.len().min(fields.len())..]
    }

    /// The query, if it begins at the first record or behind one that its index could hold. Clients
    /// hold cursors: what they send is no claim.
    ///
    /// # Errors
    /// [`StoreError::BadCursor`].
    pub(crate) fn checked(self) -> Result<Self, StoreError> {
        let Some(after) = &self.after else { return Ok(self) };
        let fields = self.sort_fields();
        let has =
            |name: &str, key: &Value| self.collection.field(name).is_some_and(|field| field.kind.has(key));
        let all = fields.iter().zip(&after.keys).all(|(name, key)| has(name, key));
        if all && fields.len() == after.keys.len() { Ok(self) } else { Err(StoreError::BadCursor) }
    }

    /// The cursor behind a value of the queried collection, in whatever way it was found.
    pub fn behind<T: Entity>(&self, value: &T) -> Cursor {
        self.cursor(&Record { id: value.id().to_owned(), version: 0, body: value.body() })
    }

    /// The cursor behind `record`.
    pub fn cursor(&self, record: &Record) -> Cursor {
        Cursor {
            keys: self
                .sort_fields()
                .iter()
                .map(|field| record.body.get(*field).cloned().unwrap_or(Value::Null))
                .collect(),
            id: record.id.clone(),
        }
    }

    /// Makes a page of up to `limit + 1` records that were found: the extra one only tells that
    /// there is more.
    pub fn page(&self, mut records: Vec<Record>) -> Page {
        let more = records.len() > self.limit;
        records.truncate(self.limit);
        let next = records.last().filter(|_| more).map(|last| self.cursor(last));
        Page { records, next }
    }
}
