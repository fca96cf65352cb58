//! Bringing a database to the declared schema, and telling what it lacks.
//!
//! Who calls it: `steward migrate`, and start-up. It looks first and changes only what differs, so
//! it may be repeated, and several replicas may do it at once. It never touches a collection or an
//! index that is not declared, nor of a record more than the words that search has made of it.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use bson::raw::{RawDocument, RawDocumentBuf};
use bson::{Bson, Document, doc};
use futures_util::TryStreamExt;
use mongodb::error::{Error, ErrorKind};
use steward_actors::store::{Collection, words};

use super::failure::in_words;
use super::schema::{Wanted, create_indexes, set_validator, stored_form, wanted};
use super::{Inner, MongoStore, document};

/// Rounds of looking and changing, against others who migrate at the same time.
const ROUNDS: usize = 5;
/// What building an index may take; a large collection takes its time.
const BUILD_MILLIS: i64 = 30 * 60 * 1000;
/// Records whose words are replaced together: even those of the longest texts fit a command.
const TOGETHER: usize = 100;

/// What was done, in words, in order; empty if everything was there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// A line for each change.
    pub changes: Vec<String>,
}

/// Why the schema could not be brought about.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MigrateError {
    /// MongoDB cannot be reached.
    #[error("MongoDB cannot be reached: {0}")]
    Unavailable(String),
    /// A change was refused, for instance a unique index over records that are not unique.
    #[error("{change}: {reason}")]
    Refused {
        /// The change, as in [`Report::changes`].
        change: String,
        /// What MongoDB says.
        reason: String,
    },
}

/// A change that is needed.
#[derive(Clone, Debug, PartialEq)]
enum Step {
    CreateCollection(&'static str),
    MakeWords(&'static str),
    SetValidator(Wanted),
    DropIndex(&'static str, String),
    CreateIndex(&'static str, Document),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CreateCollection(name) => write!(f, "create collection {name}"),
            Self::MakeWords(name) => write!(f, "make the words of {name} anew"),
            Self::SetValidator(wanted) => write!(f, "set the validator of {}", wanted.name),
            Self::DropIndex(name, index) => write!(f, "drop index {index} of {name}, which has changed"),
            Self::CreateIndex(name, index) => {
                write!(f, "create index {} of {name}", index.get_str("name").unwrap_or_default())
            }
        }
    }
}

impl MongoStore {
    /// Creates what the declared collections need: collections, validators, indexes, expiry. An
    /// index whose declaration has changed is dropped and built again, and words that are made in
    /// another way by now are made anew.
    ///
    /// # Errors
    /// [`MigrateError`]; what was done before it stays, and the next run goes on from there.
    pub async fn migrate(&self) -> Result<Report, MigrateError> {
        let inner = Arc::clone(&self.inner);
        // A caller that leaves must not end it midway, nor can a deadline: building takes its time.
        let migrating = self.handle.spawn(async move { inner.migrate().await });
        migrating.await.unwrap_or_else(|broken| Err(MigrateError::Unavailable(broken.to_string())))
    }

    /// What [`MongoStore::migrate`] would do, in words; empty if the database is as declared.
    ///
    /// # Errors
    /// [`MigrateError`].
    pub async fn missing(&self) -> Result<Vec<String>, MigrateError> {
        let inner = Arc::clone(&self.inner);
        let looking = self.handle.spawn(async move { inner.steps().await });
        let steps =
            looking.await.unwrap_or_else(|broken| Err(MigrateError::Unavailable(broken.to_string())))?;
        Ok(steps.iter().map(Step::to_string).collect())
    }
}

impl Inner {
    async fn migrate(&self) -> Result<Report, MigrateError> {
        let mut report = Report::default();
        for _ in 0..ROUNDS {
            let steps = self.steps().await?;
            if steps.is_empty() {
                return Ok(report);
            }
            for step in &steps {
                if self.take(step).await? {
                    report.changes.push(step.to_string());
                }
            }
        }
        Err(MigrateError::Refused {
            change: "migrate".to_owned(),
            reason: "something else keeps changing the schema".to_owned(),
        })
    }

    /// The changes that are needed now.
    async fn steps(&self) -> Result<Vec<Step>, MigrateError> {
        let mut found = self.database.list_collections().await.map_err(unreachable)?;
        let mut validators: HashMap<String, Option<Document>> = HashMap::new();
        while let Some(collection) = found.try_next().await.map_err(unreachable)? {
            validators.insert(collection.name, collection.options.validator);
        }
        let mut steps = Vec::new();
        for wanted in wanted(&self.schema) {
            let indexes = match validators.get(wanted.name) {
                None => {
                    steps.push(Step::CreateCollection(wanted.name));
                    steps.push(Step::SetValidator(wanted.clone()));
                    Vec::new()
                }
                Some(validator) => {
                    // Before the validator, which says that it has been done.
                    let form = stored_form(&wanted.validator);
                    if form.is_some() && form != validator.as_ref().and_then(stored_form) {
                        steps.push(Step::MakeWords(wanted.name));
                    }
                    if !validator.as_ref().is_some_and(|validator| same(validator, &wanted.validator)) {
                        steps.push(Step::SetValidator(wanted.clone()));
                    }
                    self.indexes(wanted.name).await?
                }
            };
            steps.extend(index_steps(&wanted, &indexes));
        }
        Ok(steps)
    }

    async fn indexes(&self, collection: &str) -> Result<Vec<Document>, MigrateError> {
        let command = doc! { "listIndexes": collection, "cursor": { "batchSize": 1000 } };
        let found = self.database.run_cursor_command(command).await;
        match found {
            Ok(found) => found.try_collect().await.map_err(unreachable),
            // Somebody dropped it since.
            Err(error) if code(&error) == Some(26) => Ok(Vec::new()),
            Err(error) => Err(unreachable(error)),
        }
    }

    /// Takes a step; `false` if somebody else has taken it meanwhile.
    async fn take(&self, step: &Step) -> Result<bool, MigrateError> {
        let mut command = match step {
            Step::MakeWords(name) => return self.make_words(step, name).await.map(|()| true),
            Step::CreateCollection(name) => doc! { "create": *name },
            Step::SetValidator(wanted) => set_validator(wanted),
            Step::DropIndex(name, index) => doc! { "dropIndexes": *name, "index": index },
            Step::CreateIndex(name, index) => create_indexes(name, std::slice::from_ref(index)),
        };
        command.insert("writeConcern", doc! { "w": "majority" });
        command.insert("maxTimeMS", BUILD_MILLIS);
        let Err(error) = self.database.run_command(command).await else { return Ok(true) };
        match (step, code(&error)) {
            // Exists already; is gone already; another build of it, or a build that another
            // replica's change interrupted: the next round sees what came of it.
            (Step::CreateCollection(_), Some(48))
            | (Step::DropIndex(..), Some(26 | 27))
            | (Step::CreateIndex(..), Some(85 | 86 | 117 | 276 | 285))
            | (Step::SetValidator(_), Some(26 | 117)) => Ok(false),
            (_, Some(_)) => Err(MigrateError::Refused { change: step.to_string(), reason: in_words(&error) }),
            (_, None) => Err(unreachable(error)),
        }
    }

    /// Makes the words of all records as they are made now. A record that is written meanwhile has
    /// them from who writes it.
    async fn make_words(&self, step: &Step, name: &str) -> Result<(), MigrateError> {
        let Some(collection) = self.schema.iter().copied().find(|collection| collection.name == name) else {
            return Ok(());
        };
        let documents = self.database.collection::<RawDocumentBuf>(name);
        let mut found = documents.find(doc! {}).await.map_err(unreachable)?;
        let mut updates = Vec::new();
        while found.advance().await.map_err(unreachable)? {
            updates.extend(new_words(collection, found.current()).map_err(|reason| refused(step, reason))?);
            if updates.len() == TOGETHER {
                self.update(step, name, std::mem::take(&mut updates)).await?;
            }
        }
        self.update(step, name, updates).await
    }

    async fn update(&self, step: &Step, name: &str, updates: Vec<Document>) -> Result<(), MigrateError> {
        if updates.is_empty() {
            return Ok(());
        }
        let command = doc! {
            "update": name, "updates": updates, "ordered": false, "writeConcern": { "w": "majority" },
        };
        let done = self.database.run_command(command).await.map_err(unreachable)?;
        match done.get_array("writeErrors").ok().and_then(|errors| errors.first()) {
            Some(error) => Err(refused(step, error.to_string())),
            None => Ok(()),
        }
    }
}

/// The update that gives a record the words that it should have; `None` if it has them.
fn new_words(collection: &'static Collection, document: &RawDocument) -> Result<Option<Document>, String> {
    let record = document::to_record(collection, document).map_err(|error| error.to_string())?;
    let words = words::of_record(collection, &record.body);
    let found = document.get_array(document::WORDS).into_iter().flatten();
    let found: Vec<&str> = found.filter_map(|word| word.ok()?.as_str()).collect();
    if found == words {
        return Ok(None);
    }
    let version = i64::try_from(record.version).unwrap_or(i64::MAX);
    let unchanged = doc! { document::ID: record.id, document::VERSION: version };
    Ok(Some(doc! { "q": unchanged, "u": { "$set": { document::WORDS: words } } }))
}

fn refused(step: &Step, reason: String) -> MigrateError {
    MigrateError::Refused { change: step.to_string(), reason }
}

/// What must be done to the indexes that there are.
fn index_steps(wanted: &Wanted, found: &[Document]) -> Vec<Step> {
    let mut steps = Vec::new();
    for index in &wanted.indexes {
        let name = index.get_str("name").unwrap_or_default();
        let known = found.iter().find(|found| found.get_str("name").ok() == Some(name));
        match known {
            Some(known) if same_index(known, index) => continue,
            Some(_) => steps.push(Step::DropIndex(wanted.name, name.to_owned())),
            None => {}
        }
        steps.push(Step::CreateIndex(wanted.name, index.clone()));
    }
    steps
}

/// Whether the index that is there is the declared one. MongoDB adds members of its own.
fn same_index(found: &Document, wanted: &Document) -> bool {
    let in_order = |document: &Document| -> Vec<String> {
        document.get_document("key").map(|key| key.keys().cloned().collect()).unwrap_or_default()
    };
    let member = |name: &str| match (found.get(name), wanted.get(name)) {
        (None | Some(Bson::Boolean(false)), None) => true,
        (Some(found), Some(wanted)) => plain(found) == plain(wanted),
        _ => false,
    };
    in_order(found) == in_order(wanted)
        && ["key", "unique", "partialFilterExpression", "expireAfterSeconds", "collation", "sparse"]
            .into_iter()
            .all(member)
}

fn same(found: &Document, wanted: &Document) -> bool {
    plain(&Bson::Document(found.clone())) == plain(&Bson::Document(wanted.clone()))
}

/// The value with all whole numbers of one type: MongoDB changes types as it likes.
fn plain(value: &Bson) -> Bson {
    match value {
        Bson::Int32(number) => Bson::Int64((*number).into()),
        #[expect(clippy::cast_possible_truncation, reason = "compared with what it came from")]
        Bson::Double(number) if number.fract() == 0.0 && number.abs() < 1e15 => Bson::Int64(*number as i64),
        Bson::Document(fields) => {
            Bson::Document(fields.iter().map(|(name, value)| (name.clone(), plain(value))).collect())
        }
        Bson::Array(items) => Bson::Array(items.iter().map(plain).collect()),
        other => other.clone(),
    }
}

fn code(error: &Error) -> Option<i32> {
    match error.kind.as_ref() {
        ErrorKind::Command(command) => Some(command.code),
        _ => None,
    }
}

fn unreachable(error: Error) -> MigrateError {
    MigrateError::Unavailable(in_words(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(indexes: &[Document]) -> Wanted {
        Wanted { name: "things", validator: doc! {}, indexes: indexes.to_vec() }
    }

    #[test]
    fn an_index_that_is_there_needs_nothing() {
        let wanted = given(&[doc! { "key": { "a": 1, "_id": 1 }, "name": "a" }]);
        let found = [
            doc! { "v": 2, "key": { "_id": 1 }, "name": "_id_" },
            doc! { "v": 2, "key": { "a": 1.0, "_id": 1_i64 }, "name": "a" },
            doc! { "v": 2, "key": { "own": 1 }, "name": "somebody's" },
        ];
        assert_eq!(index_steps(&wanted, &found), []);
    }

    #[test]
    fn an_index_that_differs_is_built_again() {
        let index = doc! {
            "key": { "a": 1, "b": 1 }, "name": "ab", "unique": true,
            "partialFilterExpression": { "a": { "$exists": true } },
        };
        let expected =
            [Step::DropIndex("things", "ab".to_owned()), Step::CreateIndex("things", index.clone())];
        let changes: [fn(&mut Document); 5] = [
            |found| drop(found.insert("key", doc! { "b": 1, "a": 1 })),
            |found| drop(found.remove("unique")),
            |found| drop(found.remove("partialFilterExpression")),
            |found| drop(found.insert("expireAfterSeconds", 5)),
            |found| drop(found.insert("collation", doc! { "locale": "en" })),
        ];
        for change in changes {
            let mut found = index.clone();
            change(&mut found);
            assert_eq!(index_steps(&given(std::slice::from_ref(&index)), &[found]), expected);
        }
    }
}
