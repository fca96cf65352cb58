//! Records as MongoDB documents, and back.
//!
//! Who calls it: the rest of this adapter. Pure. The fields of the body stand at the top level, so
//! that indexes and validators see them; names that begin with `_` are the adapter's.

use bson::raw::{RawBsonRef, RawDocument};
use bson::{Bson, DateTime, Decimal128, Document, doc};
use serde_json::{Map, Number, Value};
use steward_actors::store::{Body, Collection, Kind, Record, StoreError, difference, words};

/// The record's id.
pub(super) const ID: &str = "_id";
/// The record's version, a 64-bit integer.
pub(super) const VERSION: &str = "_version";
/// The record's words, where the collection has word search.
pub(super) const WORDS: &str = "_words";
/// The commit that wrote the record, if it wrote this record alone.
pub(super) const COMMIT: &str = "_commit";

/// The document of a record. Nulls at the top are left out: an absent field and a null one are the
/// same, and indexes hold only what is there.
pub(super) fn of_record(
    collection: &'static Collection,
    id: &str,
    version: i64,
    body: &Body,
    commit: Option<&str>,
) -> Document {
    let mut document = doc! { ID: id, VERSION: version };
    if let Some(commit) = commit {
        document.insert(COMMIT, commit);
    }
    if collection.is_searched() {
        document.insert(WORDS, words::of_record(collection, body));
    }
    for (name, value) in body.iter().filter(|(_, value)| !value.is_null()) {
        document.insert(escaped(name, true), field_value(collection, name, value));
    }
    document
}

/// The update that makes a record what [`of_record`] says: of what differs, if it is known what is
/// there. Words are made of the whole record, and a name with a point is a path to an update.
pub(super) fn update(
    collection: &'static Collection,
    id: &str,
    version: i64,
    (body, before): (&Body, Option<&Body>),
    commit: Option<&str>,
) -> Document {
    let whole = || of_record(collection, id, version, body, commit);
    let Some(before) = before.filter(|_| !collection.is_searched()) else { return whole() };
    let (set, gone) = difference(before, body);
    if set.keys().chain(&gone).any(|name| name.is_empty() || name.contains('.')) {
        return whole();
    }
    let mut fields = doc! { VERSION: version };
    if let Some(commit) = commit {
        fields.insert(COMMIT, commit);
    }
    for (name, value) in &set {
        fields.insert(escaped(name, true), field_value(collection, name, value));
    }
    let mut update = doc! { "$set": fields };
    if !gone.is_empty() {
        let gone: Document = gone.iter().map(|name| (escaped(name, true), Bson::from(""))).collect();
        update.insert("$unset", gone);
    }
    update
}

/// The value of a top-level field as it is stored: times are dates.
pub(super) fn field_value(collection: &Collection, field: &str, value: &Value) -> Bson {
    let is_time = collection.field(field).is_some_and(|field| field.kind == Kind::Time);
    match value.as_i64() {
        Some(millis) if is_time => Bson::DateTime(DateTime::from_millis(millis)),
        _ => to_bson(value),
    }
}

/// The record of a document, as the server sent it: nothing is made of what is not the record's.
pub(super) fn to_record(
    collection: &'static Collection,
    document: &RawDocument,
) -> Result<Record, StoreError> {
    let (mut id, mut version, mut body) = (None, None, Map::new());
    let corrupt = |id: Option<&str>, reason: String| StoreError::Corrupt {
        collection: collection.name,
        id: id.unwrap_or_default().to_owned(),
        reason,
    };
    for element in document {
        let (name, value) = element.map_err(|error| corrupt(id, error.to_string()))?;
        match (name.as_str(), value) {
            (ID, RawBsonRef::String(found)) => id = Some(found),
            (VERSION, RawBsonRef::Int64(found)) => version = u64::try_from(found).ok(),
            (name, _) if name.starts_with('_') => {}
            (name, value) => {
                let value = from_bson(value).map_err(|reason| corrupt(id, format!("{name}: {reason}")))?;
                body.insert(unescaped(name), value);
            }
        }
    }
    let Some(id) = id else { return Err(corrupt(None, format!("{ID} is not a string"))) };
    let version = version.ok_or_else(|| corrupt(Some(id), format!("{VERSION} is not a version")))?;
    Ok(Record { id: id.to_owned(), version, body })
}

fn to_bson(value: &Value) -> Bson {
    match value {
        Value::Null => Bson::Null,
        Value::Bool(value) => Bson::Boolean(*value),
        Value::Number(number) => number_to_bson(number),
        Value::String(text) => Bson::String(text.clone()),
        Value::Array(items) => Bson::Array(items.iter().map(to_bson).collect()),
        Value::Object(fields) => Bson::Document(
            fields.iter().map(|(name, value)| (escaped(name, false), to_bson(value))).collect(),
        ),
    }
}

fn number_to_bson(number: &Number) -> Bson {
    if let Some(integer) = number.as_i64() {
        return Bson::Int64(integer);
    }
    // Integers beyond 63 bits have no BSON integer that holds them exactly.
    match number.as_u64().and_then(|large| large.to_string().parse::<Decimal128>().ok()) {
        Some(large) => Bson::Decimal128(large),
        None => Bson::Double(number.as_f64().unwrap_or_default()),
    }
}

fn from_bson(value: RawBsonRef<'_>) -> Result<Value, String> {
    Ok(match value {
        RawBsonRef::Null => Value::Null,
        RawBsonRef::Boolean(value) => Value::Bool(value),
        RawBsonRef::Int32(number) => number.into(),
        RawBsonRef::Int64(number) => number.into(),
        RawBsonRef::Double(number) => {
            Number::from_f64(number).map(Value::Number).ok_or("not a finite number")?
        }
        RawBsonRef::Decimal128(number) => match number.to_string().parse::<u64>() {
            Ok(number) => number.into(),
            Err(_) => return Err(format!("{number} is a decimal")),
        },
        RawBsonRef::DateTime(at) => at.timestamp_millis().into(),
        RawBsonRef::String(text) => Value::String(text.to_owned()),
        RawBsonRef::Array(items) => Value::Array(
            items.into_iter().map(|item| from_bson(item.map_err(unreadable)?)).collect::<Result<_, _>>()?,
        ),
        RawBsonRef::Document(fields) => Value::Object(
            fields
                .iter()
                .map(|field| {
                    let (name, value) = field.map_err(unreadable)?;
                    Ok((unescaped(name.as_str()), from_bson(value)?))
                })
                .collect::<Result<_, String>>()?,
        ),
        other => return Err(format!("a {:?} has no place in a body", other.element_type())),
    })
}

fn unreadable(error: bson::error::Error) -> String {
    error.to_string()
}

/// A field name that MongoDB takes for nothing but a name: NUL, which ends names in BSON, and a
/// leading `$`, which marks operators, are escaped by `\`; at the top also a leading `_`.
fn escaped(name: &str, top: bool) -> String {
    let marked = name.starts_with('$') || (top && name.starts_with('_'));
    if !marked && !name.contains(['\\', '\0']) {
        return name.to_owned();
    }
    let mark = if marked { "\\" } else { "" };
    format!("{mark}{}", name.replace('\\', "\\\\").replace('\0', "\\0"))
}

fn unescaped(name: &str) -> String {
    if !name.contains('\\') {
        return name.to_owned();
    }
    let mut plain = String::with_capacity(name.len());
    let mut chars = name.chars();
    while let Some(c) = chars.next() {
        plain.push(match c {
            '\\' => match chars.next() {
                Some('0') => '\0',
                Some(other) => other,
                None => '\\',
            },
            other => other,
        });
    }
    plain
}

/// About how many bytes a value takes: enough to bound what is sent together.
pub(super) fn weight(body: &Body) -> usize {
    body.iter().map(|(name, value)| name.len() + 8 + value_weight(value)).sum()
}

fn value_weight(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 8,
        Value::String(text) => text.len() + 8,
        Value::Array(items) => items.iter().map(|item| 8 + value_weight(item)).sum(),
        Value::Object(fields) => weight(fields),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::raw::RawDocumentBuf;
    use serde_json::json;
    use steward_actors::store::Field;

    static THINGS: Collection = Collection {
        name: "things",
        fields: &[Field::optional("at", Kind::Time), Field::optional("title", Kind::Text)],
        indexes: &[],
        words: &["title"],
        expires: None,
    };

    fn body(value: Value) -> Body {
        let Value::Object(body) = value else { panic!("an object") };
        body
    }

    fn raw(document: &Document) -> RawDocumentBuf {
        RawDocumentBuf::try_from(document).expect("BSON")
    }

    #[test]
    fn a_body_comes_back_exactly_whatever_its_names() {
        let given = body(json!({
            "_id": 1, "_version": 2, "_words": 3, "$set": {"$inc": 1, "_x": 2, "a.b": 3, "": 4},
            "a\0b": "c\0d", "\\": 5, "\\0": 6, "_\\": 7, "\\_": 8, "nested": {"a\0": [{"$or": null}]},
            "large": u64::MAX, "small": i64::MIN, "half": 0.5, "one": 1.0,
        }));
        let document = of_record(&THINGS, "id", 3, &given, Some("c"));
        let record = to_record(&THINGS, &raw(&document)).expect("a record");
        assert_eq!(record, Record { id: "id".to_owned(), version: 3, body: given });
    }

    #[test]
    fn no_stored_name_is_an_operator() {
        let given = body(json!({"$set": {"$inc": {"$x": 1}}, "_id": "mine"}));
        let document = of_record(&THINGS, "id", 1, &given, None);
        assert_eq!(document.get_str(ID).ok(), Some("id"));
        assert!(!document.to_string().contains("\"$"), "{document}");
    }

    #[test]
    fn declared_times_are_dates_and_nulls_are_left_out() {
        let given = body(json!({"at": 5, "other": 5, "none": null, "title": "Blue Shirt"}));
        let document = of_record(&THINGS, "id", 1, &given, None);
        assert_eq!(document.get("at"), Some(&Bson::DateTime(DateTime::from_millis(5))));
        assert_eq!(document.get("other"), Some(&Bson::Int64(5)));
        assert_eq!(document.get("none"), None);
        assert_eq!(document.get_array(WORDS).expect("words").len(), 2);
        assert_eq!(to_record(&THINGS, &raw(&document)).expect("a record").body["at"], 5);
    }

    #[test]
    fn a_document_that_is_no_record_is_corrupt() {
        for document in [
            doc! { ID: "a" },
            doc! { ID: "a", VERSION: 1_i32 },
            doc! { ID: "a", VERSION: -1_i64 },
            doc! { ID: 5, VERSION: 1_i64 },
            doc! { ID: "a", VERSION: 1_i64, "x": f64::NAN },
            doc! { ID: "a", VERSION: 1_i64, "x": bson::oid::ObjectId::new() },
        ] {
            assert!(matches!(to_record(&THINGS, &raw(&document)), Err(StoreError::Corrupt { .. })));
        }
    }
}
