//! Typed records over the untyped port.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Body, Collection, Cursor, Query, Record, Store, StoreError};

/// A type whose values are the records of one collection. Its serde form is the stored body; its
/// id is stored in the body too.
pub trait Entity: Serialize + DeserializeOwned + Send + 'static {
    /// The collection that holds them.
    fn collection() -> &'static Collection;

    /// The record's id.
    fn id(&self) -> &str;

    /// The stored body, without nulls at the top. An entity may add fields that follow from others,
    /// for indexes to find it by.
    fn body(&self) -> Body {
        fields_of(self)
    }
}

/// The fields of a record, without nulls at the top.
pub fn fields_of<T: Serialize + ?Sized>(record: &T) -> Body {
    match serde_json::to_value(record) {
        Ok(Value::Object(mut body)) => {
            body.retain(|_, value| !value.is_null());
            body
        }
        other => unreachable!("an entity is a struct of serialisable fields, not {other:?}"),
    }
}

/// A value and the version of the record it was read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versioned<T> {
    /// The value.
    pub value: T,
    /// The version it was read as.
    pub version: u64,
}

impl<T: Entity> Versioned<T> {
    pub(crate) fn read(record: Record) -> Result<Self, StoreError> {
        let Record { id, version, body } = record;
        match serde_json::from_value(Value::Object(body)) {
            Ok(value) => Ok(Self { value, version }),
            Err(error) => {
                Err(StoreError::Corrupt { collection: T::collection().name, id, reason: error.to_string() })
            }
        }
    }
}

/// One record, or `None`.
///
/// # Errors
/// [`StoreError`].
pub async fn load<T: Entity>(store: &dyn Store, id: &str) -> Result<Option<Versioned<T>>, StoreError> {
    store.get(T::collection(), id).await?.map(Versioned::read).transpose()
}

/// The records with these ids that exist, in any order; at most 1,000.
///
/// # Errors
/// [`StoreError`].
pub async fn load_many<T: Entity>(
    store: &dyn Store,
    ids: &[String],
) -> Result<Vec<Versioned<T>>, StoreError> {
    let records = store.get_many(T::collection(), ids).await?;
    records.into_iter().map(Versioned::read).collect()
}

/// A page of records, and where the next one begins.
///
/// # Errors
/// [`StoreError`]; [`StoreError::BadCursor`] for a cursor that the query cannot have made.
pub async fn find<T: Entity>(
    store: &dyn Store,
    query: Query,
) -> Result<(Vec<Versioned<T>>, Option<Cursor>), StoreError> {
    let page = store.find(query.checked()?).await?;
    let records = page.records.into_iter().map(Versioned::read).collect::<Result<_, _>>()?;
    Ok((records, page.next))
}
