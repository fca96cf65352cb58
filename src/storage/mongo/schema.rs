//! What MongoDB must have for the declared collections: validators and indexes.
//!
//! Who calls it: [`super::migrate`], and `steward migrate --print` by [`script`]. Pure.

use std::fmt::Write as _;

use bson::{Bson, Document, doc};
use steward_actors::store::{Collection, Kind, words};

use super::document::{COMMIT, ID, VERSION, WORDS};
use super::transaction::{COMMITS, SENT_AT};

/// The name of the index that word search uses.
const WORD_INDEX: &str = "_words";
/// Where a validator has room for a remark: the form of the words that are stored.
const FORM: &str = "description";
/// The name of the index by which MongoDB removes what has expired.
const EXPIRY_INDEX: &str = "_expires";
/// How long the ids of commits are kept. Their outcome is asked for within seconds.
const COMMITS_KEPT_SECONDS: i64 = 3600;

/// What one collection must look like.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Wanted {
    pub(super) name: &'static str,
    pub(super) validator: Document,
    /// As `createIndexes` takes them.
    pub(super) indexes: Vec<Document>,
}

/// The declared collections, and the adapter's own.
pub(super) fn wanted(schema: &[&'static Collection]) -> Vec<Wanted> {
    let commits = Wanted {
        name: COMMITS,
        validator: json_schema(
            vec![SENT_AT],
            doc! { ID: { "bsonType": "string" }, SENT_AT: { "bsonType": "date" } },
        ),
        indexes: vec![expiry(SENT_AT, COMMITS_KEPT_SECONDS)],
    };
    schema.iter().map(|collection| of_collection(collection)).chain([commits]).collect()
}

fn of_collection(collection: &'static Collection) -> Wanted {
    let mut properties = doc! {
        ID: { "bsonType": "string" },
        VERSION: { "bsonType": "long", "minimum": 1_i64 },
        COMMIT: { "bsonType": "string" },
    };
    let mut required = vec![VERSION];
    for field in collection.fields {
        properties.insert(field.name, doc! { "bsonType": bson_type(field.kind) });
        if field.required {
            required.push(field.name);
        }
    }
    let mut indexes: Vec<Document> =
        collection.indexes.iter().map(|index| index_of(collection, index)).collect();
    if collection.is_searched() {
        properties.insert(
            WORDS,
            doc! { "bsonType": "array", "items": { "bsonType": "string" }, FORM: form_of_words(collection) },
        );
    }
    if collection.is_searched_as_a_whole() {
        indexes.push(doc! { "key": { WORDS: 1, ID: 1 }, "name": WORD_INDEX });
    }
    if let Some(field) = collection.expires {
        indexes.push(expiry(field, 0));
    }
    Wanted { name: collection.name, validator: json_schema(required, properties), indexes }
}

/// Of which fields words are made, and how.
fn form_of_words(collection: &Collection) -> String {
    let fields: Vec<&str> = collection.words.iter().copied().chain(collection.label_fields()).collect();
    format!("{}, form {}", fields.join(", "), words::FORM)
}

/// What a validator says of the words of the collection: what those are that are there, as far as
/// [`super::migrate`] has made them.
pub(super) fn stored_form(validator: &Document) -> Option<&str> {
    let properties = validator.get_document("$jsonSchema").ok()?.get_document("properties").ok()?;
    properties.get_document(WORDS).ok()?.get_str(FORM).ok()
}

fn json_schema(required: Vec<&str>, properties: Document) -> Document {
    doc! { "$jsonSchema": { "bsonType": "object", "required": required, "properties": properties } }
}

fn bson_type(kind: Kind) -> &'static str {
    match kind {
        Kind::Text => "string",
        Kind::Integer => "long",
        Kind::Boolean => "bool",
        Kind::Time => "date",
        Kind::Object => "object",
        Kind::List | Kind::Labels => "array",
    }
}

/// An index of the declared fields, in which the id is the last; it holds only the records that
/// have all fields. A unique one cannot have the id, and needs none: no two records have the same
/// place in it.
fn index_of(collection: &Collection, index: &steward_actors::store::Index) -> Document {
    let mut key: Document = index.fields.iter().map(|field| ((*field).to_owned(), Bson::Int32(1))).collect();
    if !index.unique {
        key.insert(ID, 1);
    }
    let mut wanted = doc! { "key": key, "name": index.name };
    if index.unique {
        wanted.insert("unique", true);
    }
    let optional =
        index.fields.iter().filter(|field| !collection.field(field).is_some_and(|field| field.required));
    let present: Document =
        optional.map(|field| ((*field).to_owned(), Bson::Document(doc! { "$exists": true }))).collect();
    if !present.is_empty() {
        wanted.insert("partialFilterExpression", present);
    }
    wanted
}

fn expiry(field: &str, after_seconds: i64) -> Document {
    doc! { "key": { field: 1 }, "name": EXPIRY_INDEX, "expireAfterSeconds": after_seconds }
}

/// The command that makes a collection refuse what is not as declared.
pub(super) fn set_validator(wanted: &Wanted) -> Document {
    doc! {
        "collMod": wanted.name,
        "validator": wanted.validator.clone(),
        "validationLevel": "strict",
        "validationAction": "error",
    }
}

/// The command that makes these indexes.
pub(super) fn create_indexes(collection: &str, indexes: &[Document]) -> Document {
    doc! { "createIndexes": collection, "indexes": indexes }
}

/// What `steward migrate` does to an empty database, as a script for `mongosh`: to be read, and to
/// be run by whoever prefers that. Running it again does no harm.
pub fn script(database: &str, schema: &[&'static Collection]) -> String {
    let mut script = format!("db = db.getSiblingDB({});\n", quoted(database));
    for wanted in wanted(schema) {
        let name = quoted(wanted.name);
        let mut put = |line: std::fmt::Arguments<'_>| {
            // Writing to a string cannot fail.
            let _ = script.write_fmt(line);
        };
        put(format_args!("\n// {}\n", wanted.name));
        put(format_args!("if (!db.getCollectionNames().includes({name})) db.createCollection({name});\n"));
        put(format_args!("db.runCommand({});\n", in_js(&Bson::Document(set_validator(&wanted)), 0)));
        if !wanted.indexes.is_empty() {
            let command = create_indexes(wanted.name, &wanted.indexes);
            put(format_args!("db.runCommand({});\n", in_js(&Bson::Document(command), 0)));
        }
    }
    script
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The value as JavaScript; small documents on one line.
fn in_js(value: &Bson, depth: usize) -> String {
    let (open, parts, close) = match value {
        Bson::Document(fields) => {
            let parts: Vec<String> = fields
                .iter()
                .map(|(name, value)| format!("{}: {}", quoted(name), in_js(value, depth + 1)))
                .collect();
            ("{", parts, "}")
        }
        Bson::Array(items) => ("[", items.iter().map(|item| in_js(item, depth + 1)).collect(), "]"),
        Bson::String(text) => return quoted(text),
        other => return other.to_string(),
    };
    let flat = format!("{open} {} {close}", parts.join(", "));
    if flat.len() + 2 * depth <= 96 && !flat.contains('\n') {
        return flat;
    }
    let indent = "  ".repeat(depth + 1);
    format!("{open}\n{indent}{}\n{}{close}", parts.join(&format!(",\n{indent}")), "  ".repeat(depth))
}

#[cfg(test)]
mod tests {
    use super::*;
    use steward_actors::store::{Field, Index};

    static SESSIONS: Collection = Collection {
        name: "sessions",
        fields: &[
            Field::required("userId", Kind::Text),
            Field::optional("device", Kind::Text),
            Field::required("expiresAt", Kind::Time),
        ],
        indexes: &[
            Index::by("user_device", &["userId", "device"]),
            Index::unique("user_expiry", &["userId", "expiresAt"]),
        ],
        words: &["device"],
        expires: Some("expiresAt"),
    };

    #[test]
    fn an_index_holds_only_records_that_have_its_optional_fields_and_ends_with_the_id() {
        let wanted = wanted(&[&SESSIONS]).remove(0);
        assert_eq!(
            wanted.indexes,
            [
                doc! {
                    "key": { "userId": 1, "device": 1, "_id": 1 }, "name": "user_device",
                    "partialFilterExpression": { "device": { "$exists": true } },
                },
                doc! { "key": { "userId": 1, "expiresAt": 1 }, "name": "user_expiry", "unique": true },
                doc! { "key": { "_words": 1, "_id": 1 }, "name": "_words" },
                doc! { "key": { "expiresAt": 1 }, "name": "_expires", "expireAfterSeconds": 0_i64 },
            ]
        );
    }

    static NOTES: Collection = Collection {
        name: "notes",
        fields: &[Field::required("userId", Kind::Text), Field::required("text", Kind::Text)],
        indexes: &[Index::by("user", &["userId"]).narrow()],
        words: &["text"],
        expires: None,
    };

    #[test]
    fn what_is_searched_along_narrow_indexes_has_words_and_no_index_of_them() {
        let wanted = wanted(&[&NOTES]).remove(0);
        assert_eq!(wanted.indexes, [doc! { "key": { "userId": 1, "_id": 1 }, "name": "user" }]);
        assert!(stored_form(&wanted.validator).is_some());
    }

    #[test]
    fn the_validator_asks_for_required_fields_and_declared_types() {
        let wanted = wanted(&[&SESSIONS]).remove(0);
        let schema = wanted.validator.get_document("$jsonSchema").expect("a schema");
        let required: Vec<_> = ["_version", "userId", "expiresAt"].map(Bson::from).into();
        assert_eq!(schema.get_array("required").ok(), Some(&required));
        let properties = schema.get_document("properties").expect("properties");
        assert_eq!(properties.get_document("expiresAt").ok(), Some(&doc! { "bsonType": "date" }));
        assert_eq!(properties.get_document("device").ok(), Some(&doc! { "bsonType": "string" }));
    }

    #[test]
    fn the_validator_says_in_which_form_words_are() {
        let wanted = wanted(&[&SESSIONS]).remove(0);
        let form = format!("device, form {}", words::FORM);
        assert_eq!(stored_form(&wanted.validator), Some(form.as_str()));
    }

    #[test]
    fn the_script_names_every_collection_and_index() {
        let script = script("shop \"1\"", &[&SESSIONS]);
        for part in [
            "db.getSiblingDB(\"shop \\\"1\\\"\")",
            "db.createCollection(\"sessions\")",
            "\"collMod\": \"sessions\"",
            "{ \"key\": { \"userId\": 1, \"expiresAt\": 1 }, \"name\": \"user_expiry\", \"unique\": true }",
            "\"createIndexes\": \"_commits\"",
            "\"expireAfterSeconds\": 3600",
        ] {
            assert!(script.contains(part), "{part} is not in\n{script}");
        }
    }
}
