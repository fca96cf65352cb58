//! What only the adapter's inside can show: query plans, faults, expiry, schema changes.

mod plans;

use std::path::{Path, PathBuf};

use rusqlite::{Connection, params_from_iter};
use serde_json::{Value, json};
use steward_actors::store::{
    Batch, Body, Collection, CommitError, Conflict, Cursor, Field, Index, Kind, Order, PRIMARY, Query,
    Sharing, Store, Write,
};
use tempfile::TempDir;

use super::find::{Statement, statement};
use super::transactions::{Transactions, sweep};
use super::writer::{Job, Work};
use super::{DEADLINE, OpenError, SqliteStore, apply, connection, schema};

static LETTERS: Collection = Collection {
    name: "letters",
    fields: &[
        Field::required("id", Kind::Text),
        Field::optional("box", Kind::Text),
        Field::optional("read", Kind::Boolean),
        Field::optional("at", Kind::Time),
        Field::optional("number", Kind::Integer),
        Field::optional("subject", Kind::Text),
        Field::optional("forgetAt", Kind::Time),
    ],
    indexes: &[
        Index::by("box", &["box", "read", "at"]),
        Index::by("at", &["at"]),
        Index::unique("number", &["box", "number"]),
    ],
    words: &["subject"],
    expires: Some("forgetAt"),
};

/// The same collection before it had any index.
static BARE_LETTERS: Collection = Collection { indexes: &[], words: &[], expires: None, ..LETTERS };

struct Database {
    directory: TempDir,
}

impl Database {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("steward.db")
    }

    fn open(&self, schema: &[&'static Collection]) -> Result<SqliteStore, OpenError> {
        SqliteStore::open(&self.path(), schema)
    }

    /// The writer's work, without its thread.
    fn transactions(&self, prepare: impl FnOnce(&Connection)) -> Transactions {
        let mut connection = connection::create(&self.path()).unwrap();
        schema::migrate(&mut connection, &[&LETTERS]).unwrap();
        prepare(&connection);
        Transactions::new(&self.path(), connection, &[&LETTERS])
    }
}

fn body(fields: Value) -> Body {
    let Value::Object(body) = fields else { panic!("a body is an object") };
    body
}

fn insert(id: &str, fields: Value) -> Write {
    Write::Insert { collection: &LETTERS, id: id.to_owned(), body: body(fields) }
}

fn replace(id: &str, version: u64, fields: Value) -> Write {
    Write::Replace { collection: &LETTERS, id: id.to_owned(), version, body: body(fields), before: None }
}

fn batch(writes: impl IntoIterator<Item = Write>) -> Batch {
    Batch { writes: writes.into_iter().collect(), sharing: Sharing::Shared }
}

/// Commits the batches as one group.
async fn group(work: &mut impl Work, batches: Vec<Batch>) -> Vec<Result<(), CommitError>> {
    let (jobs, tickets): (Vec<Job>, Vec<_>) =
        batches.into_iter().map(|batch| Job::new(apply::prepare(batch).0)).unzip();
    work.commit(jobs);
    let mut results = Vec::new();
    for ticket in tickets {
        results.push(ticket.wait(DEADLINE).await);
    }
    results
}

async fn ids(store: &SqliteStore, query: Query) -> Vec<String> {
    store.find(query).await.unwrap().records.into_iter().map(|record| record.id).collect()
}

fn plan(connection: &Connection, query: &Query, driver: Option<usize>) -> String {
    explained(connection, &statement(query, driver))
}

fn explained(connection: &Connection, statement: &Statement) -> String {
    let mut explained = connection.prepare(&format!("EXPLAIN QUERY PLAN {}", statement.sql)).unwrap();
    let rows = explained.query_map(params_from_iter(&statement.parameters), |row| row.get::<_, String>(3));
    rows.unwrap().collect::<Result<Vec<_>, _>>().unwrap().join("\n")
}

/// Queries of every shape by one index: any number of fixed fields, with and without a range, a
/// cursor, words; both orders.
fn shapes(index: &'static str) -> Vec<Query> {
    let value = |field: &str| match field {
        "read" => json!(true),
        "at" | "number" => json!(5),
        _ => json!("a"),
    };
    let fields = LETTERS.index(index).map_or(&[][..], |index| index.fields);
    let mut shapes = Vec::new();
    for fixed in 0..=fields.len() {
        let mut query = Query::by(&LETTERS, index);
        query.equal = fields[..fixed].iter().map(|field| value(field)).collect();
        let bound = value(fields.get(fixed).unwrap_or(&PRIMARY));
        let keys = fields[fixed..].iter().map(|field| value(field)).collect();
        let cursor = Cursor { keys, id: "a".to_owned() };
        let ranges = [
            query.clone(),
            query.clone().range(Some(bound.clone()), None),
            query.clone().range(None, Some(bound.clone())),
            query.clone().range(Some(bound.clone()), Some(bound)),
        ];
        for query in ranges {
            for query in [query.clone(), query.after(Some(cursor.clone()))] {
                shapes.extend([query.clone(), query.clone().descending(), query.words("dear si")]);
            }
        }
    }
    shapes
}

#[test]
fn every_page_walks_its_index_from_where_it_begins_without_sorting() {
    let database = Database::new();
    let mut connection = connection::create(&database.path()).unwrap();
    schema::migrate(&mut connection, &[&LETTERS]).unwrap();
    let mut seen = 0;
    for index in [PRIMARY, "box", "at", "number"] {
        for query in shapes(index) {
            let plan = plan(&connection, &query, None);

            let name = match LETTERS.index(index) {
                Some(index) => schema::index_name(&LETTERS, index),
                None => schema::primary_index_name(&LETTERS),
            };
            let walk = plan.lines().next().unwrap();
            assert!(walk.contains(&format!("USING INDEX {name}")), "{query:?}\n{plan}");
            assert!(!plan.contains("TEMP B-TREE"), "{query:?}\n{plan}");
            let bounded = !query.equal.is_empty() || query.range.is_some() || query.after.is_some();
            assert!(!bounded || walk.starts_with("SEARCH t "), "{query:?}\n{plan}");
            for other in plan.lines().skip(1) {
                let checks_words = other == "SEARCH w EXISTS USING PRIMARY KEY (id=? AND word>? AND word<?)";
                assert!(checks_words, "{query:?}\n{plan}");
            }
            seen += 1;
        }
    }
    assert!(seen > 200);
}

#[test]
fn a_page_behind_a_cursor_begins_at_the_cursor() {
    let database = Database::new();
    let mut connection = connection::create(&database.path()).unwrap();
    schema::migrate(&mut connection, &[&LETTERS]).unwrap();
    for index in [PRIMARY, "box", "at", "number"] {
        for query in shapes(index).into_iter().filter(|query| query.after.is_some()) {
            let plan = plan(&connection, &query, None);
            let mut keys: Vec<String> =
                query.sort_fields().iter().map(|field| format!("f_{field}")).collect();
            if index != "number" {
                keys.push("id".to_owned());
            }
            let beyond = if query.order == Order::Ascending { '>' } else { '<' };
            let bound = match keys.as_slice() {
                // All fields of a unique index are fixed: there is one record at most.
                [] => continue,
                [key] => format!("{key}{beyond}?"),
                keys => format!("({}){beyond}({})", keys.join(","), vec!["?"; keys.len()].join(",")),
            };
            assert!(plan.lines().next().unwrap().contains(&bound), "{query:?}\n{bound}\n{plan}");
        }
    }
}

#[test]
fn a_rare_word_is_looked_up_rather_than_the_index_walked() {
    let database = Database::new();
    let mut connection = connection::create(&database.path()).unwrap();
    schema::migrate(&mut connection, &[&LETTERS]).unwrap();
    for index in [PRIMARY, "box", "at", "number"] {
        for query in shapes(index).into_iter().filter(|query| !query.words.is_empty()) {
            let plan = plan(&connection, &query, Some(0));
            let by_word = schema::words_index_name(&LETTERS);
            let by_word = format!("SEARCH w USING COVERING INDEX {by_word} (word>? AND word<?)");
            assert!(plan.contains(&by_word), "{query:?}\n{plan}");
            let by_id = format!("SEARCH t USING INDEX {} (id=?)", schema::primary_index_name(&LETTERS));
            assert!(plan.starts_with(&by_id), "{query:?}\n{plan}");
        }
    }
}

#[tokio::test]
async fn a_fault_of_one_batch_leaves_the_others_of_its_group_alone() {
    let database = Database::new();
    let mut work = database.transactions(|connection| {
        let trigger = "CREATE TRIGGER bad BEFORE INSERT ON letters WHEN new.id = 'bad'
            BEGIN SELECT RAISE(ABORT, 'as the test wants'); END";
        connection.execute_batch(trigger).unwrap();
    });

    let batches = ["a", "bad", "b", "a"].map(|id| batch([insert(id, json!({}))])).to_vec();
    let results = group(&mut work, batches).await;

    assert_eq!(results[0], Ok(()));
    assert!(matches!(&results[1], Err(CommitError::Unavailable(text)) if text.contains("as the test wants")));
    assert_eq!(results[2], Ok(()));
    let exists = Conflict::Exists { collection: "letters", id: "a".to_owned() };
    assert_eq!(results[3], Err(exists.into()));
}

#[tokio::test]
async fn a_full_disk_is_unavailable_and_over_when_there_is_room_again() {
    let database = Database::new();
    let mut work = database.transactions(|connection| {
        let pages: i64 = connection.query_row("PRAGMA page_count", [], |row| row.get(0)).unwrap();
        connection.query_row(&format!("PRAGMA max_page_count = {}", pages + 2), [], |_| Ok(())).unwrap();
    });
    let large = || vec![batch([insert("a", json!({"subject": "x".repeat(100_000)}))])];

    let refused = group(&mut work, large()).await;
    assert!(
        matches!(&refused[0], Err(CommitError::Unavailable(text)) if text.contains("full")),
        "{refused:?}"
    );

    // The writer's next connection has room.
    assert_eq!(group(&mut work, large()).await, [Ok(())]);
}

#[tokio::test]
async fn a_database_that_another_program_holds_is_unavailable_and_free_again_after_it() {
    let database = Database::new();
    let mut work =
        database.transactions(|connection| connection.busy_timeout(std::time::Duration::ZERO).unwrap());
    let foreign = Connection::open(database.path()).unwrap();
    foreign.execute_batch("BEGIN IMMEDIATE").unwrap();
    let batches = || ["a", "b"].map(|id| batch([insert(id, json!({}))])).to_vec();

    for result in group(&mut work, batches()).await {
        assert!(matches!(&result, Err(CommitError::Unavailable(text)) if text.contains("locked")));
    }

    foreign.execute_batch("ROLLBACK").unwrap();
    assert_eq!(group(&mut work, batches()).await, [Ok(()), Ok(())]);
}

#[tokio::test]
async fn a_commit_that_fails_at_its_end_is_unknown_for_all_of_the_group() {
    let database = Database::new();
    let mut work = database.transactions(|connection| {
        let late = "CREATE TABLE owner (id TEXT PRIMARY KEY);
            CREATE TABLE owned (owner TEXT REFERENCES owner (id) DEFERRABLE INITIALLY DEFERRED);
            CREATE TRIGGER late AFTER INSERT ON letters WHEN new.id = 'late'
            BEGIN INSERT INTO owned VALUES ('nobody'); END";
        connection.execute_batch(late).unwrap();
    });

    let batches = ["a", "late", "a"].map(|id| batch([insert(id, json!({}))])).to_vec();
    for result in group(&mut work, batches).await {
        assert!(matches!(result, Err(CommitError::OutcomeUnknown(_))), "{result:?}");
    }

    assert_eq!(group(&mut work, vec![batch([insert("a", json!({}))])]).await, [Ok(())]);
}

#[tokio::test]
async fn a_database_that_vanishes_is_unavailable_rather_than_empty() {
    let database = Database::new();
    let mut work = database.transactions(|_| {});
    work.recover();
    std::fs::remove_file(database.path()).unwrap();

    let results = group(&mut work, vec![batch([insert("a", json!({}))])]).await;

    assert!(matches!(results[0], Err(CommitError::Unavailable(_))), "{results:?}");
    assert!(!database.path().exists());
}

#[tokio::test]
async fn unique_keys_that_are_swapped_in_one_batch_do_not_collide() {
    let database = Database::new();
    let store = database.open(&[&LETTERS]).unwrap();
    let numbered = |number: u8| json!({"box": "in", "number": number});
    store.commit(batch([insert("a", numbered(1)), insert("b", numbered(2))])).await.unwrap();
    store.commit(batch([replace("a", 1, numbered(2)), replace("b", 1, numbered(1))])).await.unwrap();
    assert_eq!(ids(&store, Query::by(&LETTERS, "number").equal("in")).await, ["b", "a"]);
}

#[tokio::test]
async fn expired_records_and_their_words_go_a_bounded_number_at_a_time() {
    let database = Database::new();
    let store = database.open(&[&LETTERS]).unwrap();
    for (id, forget_at) in [("a", json!(30)), ("b", json!(10)), ("c", json!(20)), ("d", json!(null))] {
        let fields = json!({"subject": "dear", "forgetAt": forget_at});
        store.commit(batch([insert(id, fields)])).await.unwrap();
    }
    let connection = connection::reopen(&database.path()).unwrap();

    assert!(!sweep(&connection, &[&LETTERS], 30, 1).unwrap(), "there is more");
    assert_eq!(ids(&store, Query::by(&LETTERS, PRIMARY)).await, ["a", "c", "d"]);
    assert!(sweep(&connection, &[&LETTERS], 30, 5).unwrap(), "that was all");

    assert_eq!(ids(&store, Query::by(&LETTERS, PRIMARY)).await, ["a", "d"]);
    assert_eq!(words(&connection), 2);
}

#[tokio::test]
async fn a_deleted_record_leaves_no_words() {
    let database = Database::new();
    let store = database.open(&[&LETTERS]).unwrap();
    store.commit(batch([insert("a", json!({"subject": "dear sir"}))])).await.unwrap();
    let delete = Write::Delete { collection: &LETTERS, id: "a".to_owned(), version: 1 };
    store.commit(batch([delete])).await.unwrap();
    assert_eq!(words(&connection::reopen(&database.path()).unwrap()), 0);
}

fn words(connection: &Connection) -> i64 {
    let count = format!("SELECT count(*) FROM {}", schema::quoted(&schema::words_table(&LETTERS)));
    connection.query_row(&count, [], |row| row.get(0)).unwrap()
}

#[tokio::test]
async fn what_is_declared_later_is_made_at_the_next_start_and_holds_what_was_stored() {
    let database = Database::new();
    let store = database.open(&[&BARE_LETTERS]).unwrap();
    let fields = json!({"box": "in", "at": 5, "number": 1, "subject": "Dear Sir"});
    store.commit(batch([insert_bare("a", fields)])).await.unwrap();
    drop(store);

    for _ in 0..2 {
        let store = database.open(&[&LETTERS]).unwrap();
        assert_eq!(ids(&store, Query::by(&LETTERS, "at").equal(5)).await, ["a"]);
        assert_eq!(ids(&store, Query::by(&LETTERS, PRIMARY).words("sir")).await, ["a"]);
        let taken = store.commit(batch([insert("b", json!({"box": "in", "number": 1}))])).await;
        assert_eq!(taken, Err(Conflict::Unique { collection: "letters", index: "number" }.into()));
    }
}

#[tokio::test]
async fn words_that_were_made_in_another_way_are_made_anew() {
    let database = Database::new();
    let store = database.open(&[&LETTERS]).unwrap();
    store.commit(batch([insert("a", json!({"subject": "Cafe\u{301}"}))])).await.unwrap();
    drop(store);
    let table = schema::quoted(&schema::words_table(&LETTERS));
    let index = schema::quoted(&schema::words_index_name(&LETTERS));
    let before = format!(
        r#"DROP INDEX {index};
        ALTER TABLE {table} RENAME TO "letters.words(subject)";
        UPDATE "letters.words(subject)" SET word = 'cafe';
        CREATE INDEX "letters.by word(subject)" ON "letters.words(subject)" (word, id)"#
    );
    Connection::open(database.path()).unwrap().execute_batch(&before).unwrap();

    let store = database.open(&[&LETTERS]).unwrap();

    assert_eq!(ids(&store, Query::by(&LETTERS, PRIMARY).words("café")).await, ["a"]);
    let former = "SELECT count(*) FROM sqlite_schema WHERE name LIKE 'letters.%(subject)'";
    let connection = connection::reopen(&database.path()).unwrap();
    assert_eq!(connection.query_row(former, [], |row| row.get::<_, i64>(0)).unwrap(), 0);
}

fn insert_bare(id: &str, fields: Value) -> Write {
    Write::Insert { collection: &BARE_LETTERS, id: id.to_owned(), body: body(fields) }
}

#[tokio::test]
async fn an_index_that_is_no_longer_declared_no_longer_refuses_anything_and_no_record_is_lost() {
    let database = Database::new();
    let store = database.open(&[&LETTERS]).unwrap();
    store.commit(batch([insert("a", json!({"box": "in", "number": 1, "subject": "dear"}))])).await.unwrap();
    drop(store);

    let store = database.open(&[&BARE_LETTERS]).unwrap();
    store.commit(batch([insert_bare("b", json!({"box": "in", "number": 1}))])).await.unwrap();
    assert_eq!(ids(&store, Query::by(&BARE_LETTERS, PRIMARY)).await, ["a", "b"]);
    drop(store);

    let refused = database.open(&[&LETTERS]).map(|_| ()).unwrap_err();
    assert!(matches!(&refused, OpenError::Schema(text) if text.contains("number")), "{refused}");
    assert_eq!(
        ids(&database.open(&[&BARE_LETTERS]).unwrap(), Query::by(&BARE_LETTERS, PRIMARY)).await.len(),
        2
    );
}

#[test]
fn what_cannot_be_opened_says_why() {
    let database = Database::new();
    std::fs::write(database.path(), "this is no database, though it is long enough to look like one")
        .unwrap();
    let refused = database.open(&[&LETTERS]).map(|_| ()).unwrap_err();
    assert!(matches!(refused, OpenError::Database { .. }), "{refused}");

    let database = Database::new();
    drop(database.open(&[&LETTERS]).unwrap());
    set_format(&database.path(), 99);
    let refused = database.open(&[&LETTERS]).map(|_| ()).unwrap_err();
    assert!(matches!(refused, OpenError::Newer { found: 99 }), "{refused}");

    static MISTAKEN: Collection = Collection { fields: &[], ..LETTERS };
    let refused = Database::new().open(&[&MISTAKEN]).map(|_| ()).unwrap_err();
    assert!(matches!(&refused, OpenError::Schema(text) if text.contains("not declared")), "{refused}");
}

fn set_format(path: &Path, number: i64) {
    Connection::open(path).unwrap().pragma_update(None, "user_version", number).unwrap();
}

#[tokio::test]
async fn a_record_that_is_no_json_is_named() {
    let database = Database::new();
    let store = database.open(&[&BARE_LETTERS]).unwrap();
    store.commit(batch([insert_bare("a", json!({}))])).await.unwrap();
    let foreign = Connection::open(database.path()).unwrap();
    foreign.execute("UPDATE letters SET body = '{'", []).unwrap();

    let read = store.get(&BARE_LETTERS, "a").await.unwrap_err();

    assert_eq!(read.to_string().split(" cannot").next(), Some("letters/a"));
}

static CARDS: Collection = Collection {
    name: "cards",
    fields: &[Field::optional("at", Kind::Time), Field::optional("tags", Kind::Labels)],
    indexes: &[Index::by("at", &["at"])],
    words: &[],
    expires: None,
};

#[test]
fn labels_are_looked_up_checked_and_counted_by_an_index() {
    let database = Database::new();
    let mut connection = connection::create(&database.path()).unwrap();
    schema::migrate(&mut connection, &[&CARDS]).unwrap();
    let labels = |n: usize| (0..n).map(|n| format!("tag {n}"));
    let walk = "SEARCH t USING INDEX cards.index at(at)";
    for (count, check, look_up) in [
        (1, "SEARCH w EXISTS USING PRIMARY KEY (id=? AND word=?)", "(word=?)"),
        (2, "SEARCH w EXISTS USING PRIMARY KEY (id=? AND word=?)", "(word=?)"),
        // Each record's own entries are run through: it has fewer than are asked for.
        (500, "SEARCH w EXISTS USING PRIMARY KEY (id=?)", "(word=?)"),
    ] {
        let query = Query::by(&CARDS, "at").labels(labels(count));
        let checked = plan(&connection, &query, None);
        assert!(checked.starts_with(walk) && checked.contains(check), "{checked}");
        assert!(!checked.contains("TEMP B-TREE"), "{checked}");
        let looked_up = plan(&connection, &query, Some(0));
        let by_word = format!("SEARCH w USING COVERING INDEX {} {look_up}", schema::words_index_name(&CARDS));
        assert!(looked_up.contains(&by_word), "{looked_up}");

        for driver in [None, Some(0)] {
            let counted = explained(&connection, &super::find::tally_statement(&query, driver, "tag"));
            let entries = "SEARCH w USING PRIMARY KEY (id=? AND word>? AND word<?)";
            assert!(counted.contains(entries) && !counted.contains("SCAN w"), "{counted}");
        }
    }
}
