//! Commits whose answer is lost: none is lost, none counts twice, and what is answered is true.

use std::sync::atomic::{AtomicU64, Ordering};

use bson::{Document, doc};
use fastrand::Rng;
use serde_json::json;
use steward::storage::mongo::MongoStore;
use steward_actors::ids;
use steward_actors::store::{Batch, CommitError, Conflict, PRIMARY, Query, Store, Write};

use super::proxy::{Cut, Proxy};
use super::{Database, uri};
use crate::contract::SCHEMA;
use crate::contract::fixtures::{PARTS, THINGS, alone, commit, delete, find, get, insert, replace, shared};

/// What a commit can be made of.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Shape {
    Insert,
    Replace,
    Delete,
    Several,
    Shared,
}

const SHAPES: [Shape; 5] = [Shape::Insert, Shape::Replace, Shape::Delete, Shape::Several, Shape::Shared];

impl Shape {
    /// The commands that carry it.
    fn commands(self) -> &'static [&'static str] {
        match self {
            Self::Insert => &["insert"],
            Self::Replace => &["update"],
            Self::Delete => &["insert", "delete", "commitTransaction"],
            Self::Several | Self::Shared => &["insert", "update", "commitTransaction"],
        }
    }

    /// A batch of this shape on what [`given`] made, which moves the record from version 1.
    fn batch(self, id: &str) -> Batch {
        let changed = || replace(&THINGS, id, 1, json!({"rank": 1}));
        let part = || insert(&PARTS, id, json!({"thing": id}));
        match self {
            Self::Insert => alone([part()]),
            Self::Replace => alone([changed()]),
            Self::Delete => alone([delete(&THINGS, id, 1)]),
            Self::Several => alone([changed(), part()]),
            Self::Shared => shared([changed(), part()]),
        }
    }

    /// Whether the batch was committed, or not; half of it is a failure.
    async fn is_committed(self, store: &dyn Store, id: &str) -> bool {
        let version = async |collection| get(store, collection, id).await.map(|record| record.version);
        let mut thing = version(&THINGS).await;
        // One of unknown outcome may be committed between two reads.
        let part = loop {
            let part = version(&PARTS).await;
            let again = version(&THINGS).await;
            if again == thing {
                break part;
            }
            thing = again;
        };
        match (self, thing, part) {
            (Self::Insert, Some(1), Some(1))
            | (Self::Replace, Some(2), None)
            | (Self::Delete, None, None)
            | (Self::Several | Self::Shared, Some(2), Some(1)) => true,
            (_, Some(1), None) => false,
            (_, thing, part) => panic!("{self:?}: half or twice: {thing:?}, {part:?}"),
        }
    }
}

async fn given(store: &MongoStore, id: &str) {
    commit(store, [insert(&THINGS, id, json!({"rank": 0}))]).await;
}

/// Runs `work` eight times at once, each with a connection of its own: the driver takes half a
/// second to trust a server again, so most of the time is waiting.
async fn eightfold(database: &Database, work: impl AsyncFn(usize, Proxy, MongoStore)) {
    let worker = async |number| {
        let proxy = Proxy::start(&uri()).await;
        let through = database.connect(&proxy.uri(), SCHEMA).await;
        work(number, proxy, through).await;
    };
    futures_util::future::join_all((0..8).map(worker)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_cut_anywhere_is_settled_by_itself() {
    let database = Database::new();
    let store = database.migrated().await;
    eightfold(&database, async |_, proxy, through| {
        for shape in SHAPES {
            for command in shape.commands() {
                for cut in [Cut::Request, Cut::Reply] {
                    let id = ids::new_id();
                    given(&store, &id).await;
                    proxy.cut([(*command, cut)]);

                    let committed = through.commit(shape.batch(&id)).await;

                    assert_eq!(proxy.left(), 0, "{shape:?} does not meet {command}");
                    assert_eq!(committed, Ok(()), "{shape:?}, {cut:?} of {command}");
                    assert!(shape.is_committed(&store, &id).await, "{shape:?}, {cut:?} of {command}");
                }
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_cut_no_commit_is_lost_or_counts_twice() {
    let database = Database::new();
    let store = database.migrated().await;
    let seed = fastrand::u64(..);
    let (committed, unknown) = (AtomicU64::new(0), AtomicU64::new(0));
    eightfold(&database, async |number, proxy, through| {
        let mut rng = Rng::with_seed(seed.wrapping_add(number as u64));
        for round in 0..15 {
            let shape = SHAPES[round % SHAPES.len()];
            let id = ids::new_id();
            given(&store, &id).await;
            let names = shape.commands();
            let cuts: Vec<_> = (0..rng.usize(1..=7))
                .map(|_| {
                    let cut = if rng.u8(..3) == 0 { Cut::Request } else { Cut::Reply };
                    (names[rng.usize(..names.len())], cut)
                })
                .collect();
            proxy.cut(cuts.clone());

            let answer = through.commit(shape.batch(&id)).await;

            proxy.cut([]);
            let what = format!("seed {seed}, worker {number}, round {round}: {shape:?} with {cuts:?}");
            let is_committed = shape.is_committed(&store, &id).await;
            match answer {
                Ok(()) => {
                    committed.fetch_add(1, Ordering::SeqCst);
                    assert!(is_committed, "lost: {what}");
                }
                Err(CommitError::OutcomeUnknown(_)) => drop(unknown.fetch_add(1, Ordering::SeqCst)),
                Err(CommitError::Unavailable(_)) => assert!(!is_committed, "denied: {what}"),
                Err(CommitError::Conflict(conflict)) => panic!("{conflict}, but nobody else writes: {what}"),
            }
        }
    })
    .await;
    let committed = committed.into_inner();
    assert!(committed >= 72, "seed {seed}: {committed} of 120 committed, {unknown:?} unknown");
}

/// Three writers on one record, each with its own lost answers.
async fn increment(database: &Database, store: &MongoStore, shape: Shape) {
    let id = format!("{shape:?}");
    commit(store, [insert(&THINGS, &id, json!({"rank": 0}))]).await;
    let (acknowledged, unknown) = (AtomicU64::new(0), AtomicU64::new(0));
    let writer = async || {
        let proxy = Proxy::start(&uri()).await;
        let through = database.connect(&proxy.uri(), SCHEMA).await;
        for round in 0..24 {
            let found = get(store, &THINGS, &id).await.unwrap();
            let rank = found.body["rank"].as_u64().unwrap() + 1;
            let changed = replace(&THINGS, &id, found.version, json!({"rank": rank}));
            let noted = insert(&PARTS, &ids::new_id(), json!({"thing": id, "rank": rank}));
            let batch = match shape {
                Shape::Replace => alone([changed]),
                Shape::Shared => shared([changed, noted]),
                _ => alone([changed, noted]),
            };
            let last = if shape == Shape::Replace { "update" } else { "commitTransaction" };
            proxy.cut(std::iter::repeat_n((last, Cut::Reply), round % 4));
            match through.commit(batch).await {
                Ok(()) => drop(acknowledged.fetch_add(1, Ordering::SeqCst)),
                Err(CommitError::OutcomeUnknown(_)) => drop(unknown.fetch_add(1, Ordering::SeqCst)),
                Err(CommitError::Conflict(Conflict::Version { .. })) => {}
                Err(other) => panic!("{shape:?}: {other}"),
            }
        }
    };

    futures_util::future::join3(writer(), writer(), writer()).await;

    let rank = get(store, &THINGS, &id).await.unwrap().body["rank"].as_u64().unwrap();
    let (acknowledged, unknown) = (acknowledged.into_inner(), unknown.into_inner());
    assert!(rank >= acknowledged, "{shape:?}: {acknowledged} acknowledged, {rank} counted");
    assert!(rank <= acknowledged + unknown, "{shape:?}: {acknowledged} + {unknown}, but {rank} counted");
    assert!(acknowledged >= 20, "{shape:?}: {acknowledged} acknowledged");
    if shape != Shape::Replace {
        let noted = find(store, Query::by(&PARTS, "thing").equal(id.as_str()).limit(1000)).await.records;
        assert_eq!(noted.len() as u64, rank, "{shape:?}: each increment has its note");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_on_one_record_count_every_increment_once_whatever_is_cut() {
    let database = Database::new();
    let store = database.migrated().await;
    let shapes = [Shape::Replace, Shape::Several, Shape::Shared];
    futures_util::future::join_all(shapes.map(|shape| increment(&database, &store, shape))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_insert_that_was_seen_and_deleted_never_comes_back() {
    let database = Database::new();
    let store = database.migrated().await;
    let proxy = Proxy::start(&uri()).await;
    let through = database.connect(&proxy.uri(), SCHEMA).await;
    for _ in 0..4 {
        let id = ids::new_id();
        // Neither the driver's second attempt nor the question that follows gets an answer.
        proxy.cut([
            ("insert", Cut::Reply),
            ("insert", Cut::Reply),
            ("find", Cut::Request),
            ("find", Cut::Request),
        ]);
        let inserting = async { through.commit(alone([insert(&THINGS, &id, json!({}))])).await };
        let deleting = async {
            while get(&store, &THINGS, &id).await.is_none() {}
            commit(&store, [delete(&THINGS, &id, 1)]).await;
        };

        let (answer, ()) = futures_util::future::join(inserting, deleting).await;

        proxy.cut([]);
        assert!(matches!(answer, Ok(()) | Err(CommitError::OutcomeUnknown(_))), "{answer:?}");
        assert_eq!(get(&store, &THINGS, &id).await, None);
    }
}

async fn fail_command(client: &mongodb::Client, mode: bson::Bson, data: Option<Document>) {
    let mut command = doc! { "configureFailPoint": "failCommand", "mode": mode };
    if let Some(data) = data {
        command.insert("data", data);
    }
    client.database("admin").run_command(command).await.unwrap();
}

// The only test with `failCommand`, because MongoDB has one at a time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_the_server_fails_with_what_is_answered_is_true() {
    let database = Database::new();
    let store = database.migrated().await;
    let separator = if uri().contains('?') { "&" } else { "?" };
    let failing = format!("{}{separator}appName={}", uri(), database.name);
    let client = mongodb::Client::with_uri_str(uri()).await.unwrap();
    let concern = |code: i32| doc! { "writeConcernError": { "code": code, "errmsg": "the test's" } };
    let faults = [
        // Closed before, and a primary that steps down before.
        doc! { "closeConnection": true },
        doc! { "errorCode": 10107 },
        doc! { "errorCode": 11602 },
        doc! { "errorCode": 91 },
        // After the write was made.
        concern(91),
        concern(64),
        concern(100),
        // Others in the way; out of time; not allowed.
        doc! { "errorCode": 112, "errorLabels": ["TransientTransactionError"] },
        doc! { "errorCode": 251, "errorLabels": ["TransientTransactionError"] },
        doc! { "errorCode": 50 },
        doc! { "errorCode": 13 },
    ];
    let committed = AtomicU64::new(0);
    for fault in &faults {
        let mut data = doc! { "failCommands": ["insert", "update", "delete", "commitTransaction"] };
        data.insert("appName", &database.name);
        data.extend(fault.clone());
        let commit_one = async |through: &MongoStore, shape: Shape| {
            let id = ids::new_id();
            given(&store, &id).await;
            let answer = through.commit(shape.batch(&id)).await;
            let what = format!("{shape:?} with {fault}: {answer:?}");
            let is_committed = shape.is_committed(&store, &id).await;
            match &answer {
                Ok(()) => assert!(is_committed, "lost: {what}"),
                Err(CommitError::OutcomeUnknown(_)) => {}
                Err(CommitError::Unavailable(_)) => assert!(!is_committed, "denied: {what}"),
                Err(CommitError::Conflict(_)) => panic!("nobody else writes: {what}"),
            }
            committed.fetch_add(u64::from(answer.is_ok()), Ordering::SeqCst);
        };
        let commit_all = async || {
            let through = database.connect(&failing, SCHEMA).await;
            futures_util::future::join_all(SHAPES.map(|shape| commit_one(&through, shape))).await;
        };
        fail_command(&client, bson::bson!({ "activationProbability": 0.4 }), Some(data)).await;
        futures_util::future::join_all((0..8).map(|_| commit_all())).await;
        fail_command(&client, "off".into(), None).await;
    }
    let (committed, of) = (committed.into_inner(), faults.len() * SHAPES.len() * 8);
    assert!(committed as usize * 2 > of, "{committed} of {of} came through");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shared_commit_whose_answer_is_lost_is_settled_for_all_of_it() {
    let database = Database::new();
    let store = database.migrated().await;
    let proxy = Proxy::start(&uri()).await;
    let through = database.connect(&proxy.uri(), SCHEMA).await;
    for (round, cuts) in [1, 2, 4, 7].into_iter().enumerate() {
        proxy.cut(std::iter::repeat_n(("commitTransaction", Cut::Reply), cuts));
        let batches = (0..40).map(|n| {
            // One of them is in the others' way.
            let id = if n == 20 { "taken".to_owned() } else { format!("{round}-{n:02}") };
            through.commit(shared([insert(&THINGS, &id, json!({})), insert(&PARTS, &id, json!({}))]))
        });

        let answers = futures_util::future::join_all(batches).await;

        proxy.cut([]);
        for (n, answer) in answers.into_iter().enumerate() {
            let id = format!("{round}-{n:02}");
            match answer {
                Ok(()) if n == 20 => assert_eq!(round, 0),
                Ok(()) => assert!(get(&store, &THINGS, &id).await.is_some(), "lost: {id}"),
                Err(CommitError::OutcomeUnknown(_)) => {}
                Err(CommitError::Conflict(Conflict::Exists { id, .. })) => assert_eq!(id, "taken"),
                Err(other) => panic!("{id}: {other}"),
            }
        }
    }
    let (things, parts) = (Query::by(&THINGS, PRIMARY).limit(1000), Query::by(&PARTS, PRIMARY).limit(1000));
    let things = find(&store, things).await.records;
    assert_eq!(things.len(), find(&store, parts).await.records.len());
    assert!(things.len() > 100 && things.iter().all(|thing| thing.version == 1), "{}", things.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conflict_behind_a_lost_answer_is_named_only_if_it_is_certain() {
    let database = Database::new();
    let store = database.migrated().await;
    let proxy = Proxy::start(&uri()).await;
    let through = database.connect(&proxy.uri(), SCHEMA).await;
    for round in 0..12 {
        let id = ids::new_id();
        given(&store, &id).await;
        let stale = [replace(&THINGS, &id, 7, json!({"rank": 9}))];
        let stale: Vec<Write> = if round % 2 == 0 {
            stale.into()
        } else {
            stale.into_iter().chain([insert(&PARTS, &id, json!({}))]).collect()
        };
        proxy.cut(std::iter::repeat_n(("update", Cut::Reply), round % 3));

        let answer = through.commit(alone(stale)).await;

        proxy.cut([]);
        match answer {
            Err(CommitError::Conflict(Conflict::Version { id: named, .. })) => assert_eq!(named, id),
            Err(CommitError::OutcomeUnknown(_)) => assert!(round % 3 > 0, "no answer was lost"),
            other => panic!("round {round}: {other:?}"),
        }
        assert_eq!(get(&store, &THINGS, &id).await.unwrap().version, 1);
    }
}
