//! What a collection looks like: fields, indexes, word search, expiry. Adapters make tables,
//! validators and indexes of it; `steward migrate --print` shows it.

use serde_json::Value;

/// The name of the index that every collection has: by id.
pub const PRIMARY: &str = "id";

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A string.
    Text,
    /// A 64-bit integer.
    Integer,
    /// A boolean.
    Boolean,
    /// A [`crate::time::Timestamp`]: a number in the body, a date on MongoDB.
    Time,
    /// A JSON object.
    Object,
    /// A JSON array.
    List,
    /// A JSON array of strings, each of which can be looked up ([`super::Query::labels`]).
    Labels,
}

impl Kind {
    /// Whether `value` is one of this kind.
    pub(super) fn has(self, value: &Value) -> bool {
        match self {
            Self::Text => value.is_string(),
            Self::Integer | Self::Time => value.is_i64(),
            Self::Boolean => value.is_boolean(),
            Self::Object => value.is_object(),
            Self::List | Self::Labels => value.is_array(),
        }
    }
}

/// A top-level field of the records of a collection. Fields that are not declared are allowed;
/// those that an index names, and all times, must be declared.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Its name in the body.
    pub name: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// Whether every record has it.
    pub required: bool,
}

impl Field {
    /// A field that every record has.
    pub const fn required(name: &'static str, kind: Kind) -> Self {
        Self { name, kind, required: true }
    }

    /// A field that a record may lack.
    pub const fn optional(name: &'static str, kind: Kind) -> Self {
        Self { name, kind, required: false }
    }
}

/// An index. It holds only the records that have **all** of its fields, on every adapter, so a
/// page by an index never shows a record that lacks one.
#[derive(Clone, Copy, Debug)]
pub struct Index {
    /// Its name, unique in the collection.
    pub name: &'static str,
    /// Declared top-level fields of kind text, integer, boolean or time, in order. The record's id
    /// is the last sort key of every index, without being named.
    pub fields: &'static [&'static str],
    /// Whether two records may not have the same values.
    pub unique: bool,
    /// Whether those that have the same first value are few enough to look through: see
    /// [`Self::narrow`].
    pub narrow: bool,
}

impl Index {
    /// An index in which several records may have the same values.
    pub const fn by(name: &'static str, fields: &'static [&'static str]) -> Self {
        Self { name, fields, unique: false, narrow: false }
    }

    /// The same index, for a collection that is searched only along such ones, their first field
    /// fixed: its words need no index among all records, which costs an entry for each word.
    #[must_use]
    pub const fn narrow(self) -> Self {
        Self { narrow: true, ..self }
    }

    /// An index in which no two records have the same values.
    pub const fn unique(name: &'static str, fields: &'static [&'static str]) -> Self {
        Self { name, fields, unique: true, narrow: false }
    }
}

/// A collection of records of one kind. Declared once, as a `static`, beside its type.
#[derive(Debug)]
pub struct Collection {
    /// Its name: lower case and `_`, the plural of what it holds.
    pub name: &'static str,
    /// The declared fields.
    pub fields: &'static [Field],
    /// The declared indexes, besides [`PRIMARY`].
    pub indexes: &'static [Index],
    /// Text fields that word search looks in; empty if there is none.
    pub words: &'static [&'static str],
    /// A time field: some time after that point the record may vanish by itself. A reader must not
    /// rely on its having vanished.
    pub expires: Option<&'static str>,
}

impl Collection {
    /// The declared index with this name.
    pub fn index(&self, name: &str) -> Option<&'static Index> {
        self.indexes.iter().find(|index| index.name == name)
    }

    /// Whether its records can be looked up by words or labels.
    pub fn is_searched(&self) -> bool {
        !self.words.is_empty() || self.label_fields().next().is_some()
    }

    /// Whether its words are looked up among all records, not only along narrow indexes.
    pub fn is_searched_as_a_whole(&self) -> bool {
        self.is_searched() && !self.indexes.iter().any(|index| index.narrow)
    }

    /// The names of its fields of kind [`Kind::Labels`].
    pub fn label_fields(&self) -> impl Iterator<Item = &'static str> {
        self.fields.iter().filter(|field| field.kind == Kind::Labels).map(|field| field.name)
    }

    /// The declared field with this name.
    pub fn field(&self, name: &str) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.name == name)
    }

    /// What is wrong with the declaration; empty for a good one. Tests call it for every
    /// collection.
    pub fn mistakes(&self) -> Vec<String> {
        let mut mistakes = Vec::new();
        let mut check = |name: &str, what: &str, fits: &dyn Fn(Kind) -> bool| match self.field(name) {
            None => mistakes.push(format!("{}: {what} names {name}, which is not declared", self.name)),
            Some(field) if !fits(field.kind) => {
                mistakes.push(format!("{}: {what} names {name}, which is {:?}", self.name, field.kind));
            }
            Some(_) => {}
        };
        for index in self.indexes {
            for field in index.fields {
                check(field, index.name, &|kind| !matches!(kind, Kind::Object | Kind::List | Kind::Labels));
            }
        }
        for field in self.words {
            check(field, "word search", &|kind| kind == Kind::Text);
        }
        if let Some(field) = self.expires {
            check(field, "expiry", &|kind| kind == Kind::Time);
        }
        if self.indexes.iter().any(|index| index.name == PRIMARY) {
            mistakes.push(format!("{}: {PRIMARY} is every collection's own index", self.name));
        }
        mistakes
    }
}
