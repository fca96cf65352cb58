//! Random batches and queries: the adapter does what the store in memory does.
//!
//! `STEWARD_TEST_SEED=n` runs the one sequence that a failure named.

use fastrand::Rng;
use serde_json::{Map, Value, json};
use steward_actors::store::{
    Batch, Collection, CommitError, Conflict, PRIMARY, Query, Range, Sharing, Store, Write,
};
use steward_actors::testing::MemoryStore;

use super::Harness;
use super::fixtures::{PARTS, THINGS, body, find, get};

const IDS: [&str; 7] = ["a", "b", "c:1", "c:2", "ä", "Z", "id-7"];
const OWNERS: [&str; 3] = ["ann", "bob", "ä"];
const TITLES: [&str; 5] = ["blue shirt", "Blue shoe", "red shirt", "", "ärger shop"];
const LABELS: [&str; 5] = ["a", "ab", "blu", "=", "ä b"];
const SEARCHES: [&str; 6] = ["blu", "shi", "shirt blue", "red", "är", "none"];

pub async fn random_batches_and_queries_do_as_in_memory(harness: &Harness) {
    let seeds = match std::env::var("STEWARD_TEST_SEED") {
        Ok(seed) => vec![seed.parse().expect("a number")],
        Err(_) => vec![1, 2, fastrand::u64(..)],
    };
    for seed in seeds {
        empty(harness.store.as_ref()).await;
        run(harness, seed).await;
    }
}

async fn empty(store: &dyn Store) {
    for collection in [&THINGS, &PARTS] {
        let found = find(store, Query::by(collection, PRIMARY).limit(1000)).await.records;
        let writes = found.into_iter().map(|record| Write::Delete {
            collection,
            id: record.id,
            version: record.version,
        });
        store.commit(super::fixtures::alone(writes)).await.unwrap();
    }
}

async fn run(harness: &Harness, seed: u64) {
    let mut rng = Rng::with_seed(seed);
    let memory = MemoryStore::default();
    let (mut committed, mut conflicts, mut hits) = (0, 0, 0);
    for step in 0..250 {
        let what = format!("seed {seed}, step {step}");
        let batch = random_batch(&mut rng, &memory).await;
        let expected = memory.commit(batch.clone()).await;
        let found = harness.store.commit(batch.clone()).await;
        match (&expected, &found) {
            (Ok(()), Ok(())) => committed += 1,
            // Which of several conflicts is named is the adapter's choice; also a single write can
            // take two unique keys that are taken.
            (Err(CommitError::Conflict(_)), Err(CommitError::Conflict(_))) if batch.writes.len() > 1 => {
                conflicts += 1;
            }
            (
                Err(CommitError::Conflict(Conflict::Unique { .. })),
                Err(CommitError::Conflict(Conflict::Unique { .. })),
            ) => conflicts += 1,
            _ => {
                assert_eq!(found, expected, "{what}: {batch:?}");
                conflicts += 1;
            }
        }
        let mut query = random_query(&mut rng);
        for _ in 0..3 {
            let expected = find(&memory, query.clone()).await;
            let found = find(harness.other.as_ref(), query.clone()).await;
            assert_eq!(found, expected, "{what}: {query:?}");
            let tally = memory.tally(query.clone(), "a").await;
            assert_eq!(harness.other.tally(query.clone(), "a").await, tally, "{what}: {query:?}");
            hits += found.records.len();
            if found.next.is_none() {
                break;
            }
            query.after = found.next;
        }
    }
    for collection in [&THINGS, &PARTS] {
        for id in IDS {
            let expected = get(&memory, collection, id).await;
            assert_eq!(get(harness.store.as_ref(), collection, id).await, expected, "seed {seed}: {id}");
        }
    }
    assert!(committed > 50 && conflicts > 50 && hits > 100, "seed {seed}: {committed}, {conflicts}, {hits}");
}

async fn random_batch(rng: &mut Rng, memory: &MemoryStore) -> Batch {
    let mut targets: Vec<(&'static Collection, &str)> =
        [&THINGS, &PARTS].into_iter().flat_map(|collection| IDS.map(|id| (collection, id))).collect();
    rng.shuffle(&mut targets);
    targets.truncate(rng.usize(1..=3));
    let mut writes = Vec::new();
    let mut changed_keys = Vec::new();
    for (collection, id) in targets {
        let now = get(memory, collection, id).await;
        let version = match (&now, rng.u8(..) % 8) {
            (Some(_), 0) => rng.u64(0..4),
            (Some(record), _) => record.version,
            (None, _) => 1,
        };
        let mut fields = random_fields(rng, collection);
        let (id, before) = (id.to_owned(), now.clone());
        writes.push(match (&now, rng.u8(..) % 10) {
            (Some(_), 0) | (None, 0..=7) => {
                Write::Insert { collection, body: body(&id, Value::Object(fields)), id }
            }
            (_, 1) => Write::Delete { collection, id, version },
            _ => {
                // Keys that move between replaced records need an order of the writes that not
                // every database finds: one replace of a batch gives up keys, the others keep them.
                if changed_keys.contains(&collection.name) {
                    let kept = now.map(|record| record.body).unwrap_or_default();
                    for field in ["email", "owner", "number", "serial"] {
                        fields.remove(field);
                        fields.extend(kept.get(field).map(|value| (field.to_owned(), value.clone())));
                    }
                }
                changed_keys.push(collection.name);
                // Whoever knows what is there may say so, and is right.
                let known = before.filter(|before| before.version == version && rng.bool());
                let (body, before) = (body(&id, Value::Object(fields)), known.map(|known| known.body));
                Write::Replace { collection, version, body, before, id }
            }
        });
    }
    let sharing = if rng.bool() { Sharing::Alone } else { Sharing::Shared };
    Batch { writes, sharing }
}

fn random_fields(rng: &mut Rng, collection: &Collection) -> Map<String, Value> {
    let mut fields = Map::new();
    let mut set = |chance: bool, name: &str, value: Value| {
        if chance {
            fields.insert(name.to_owned(), value);
        }
    };
    if collection.name == PARTS.name {
        set(rng.bool(), "thing", json!(IDS[rng.usize(..IDS.len())]));
        set(rng.bool(), "serial", json!(rng.u8(..8).to_string()));
        return fields;
    }
    set(rng.u8(..4) > 0, "owner", json!(OWNERS[rng.usize(..OWNERS.len())]));
    set(rng.u8(..4) > 0, "rank", json!(rng.i64(-2..3)));
    set(rng.u8(..4) > 0, "open", json!(rng.bool()));
    set(rng.u8(..4) > 0, "at", json!(1_750_000_000_000 + rng.i64(0..3)));
    set(rng.bool(), "label", json!(OWNERS[rng.usize(..OWNERS.len())]));
    set(rng.bool(), "email", json!(format!("{}@x", rng.u8(..9))));
    set(rng.bool(), "number", json!(rng.i64(0..5)));
    set(rng.u8(..4) > 0, "title", json!(TITLES[rng.usize(..TITLES.len())]));
    if rng.bool() {
        set(true, "labels", json!(random_labels(rng)));
    }
    set(rng.bool(), "undeclared", json!({"deep": [rng.i64(..), null, rng.bool()]}));
    fields
}

fn random_labels(rng: &mut Rng) -> Vec<String> {
    (0..rng.usize(0..3)).map(|_| LABELS[rng.usize(..LABELS.len())].to_owned()).collect()
}

fn random_value(rng: &mut Rng, field: &str) -> Value {
    match field {
        "owner" | "label" => json!(OWNERS[rng.usize(..OWNERS.len())]),
        "open" => json!(rng.bool()),
        "at" => json!(1_750_000_000_000 + rng.i64(0..3)),
        "rank" => json!(rng.i64(-2..3)),
        "number" => json!(rng.i64(0..5)),
        "email" => json!(format!("{}@x", rng.u8(..9))),
        "serial" => json!(rng.u8(..8).to_string()),
        _ => json!(IDS[rng.usize(..IDS.len())]),
    }
}

fn random_query(rng: &mut Rng) -> Query {
    let collection = if rng.u8(..4) > 0 { &THINGS } else { &PARTS };
    let number = rng.usize(..=collection.indexes.len());
    let index = collection.indexes.get(number).map_or(PRIMARY, |index| index.name);
    let mut query = Query::by(collection, index).limit(rng.usize(1..6));
    let fields = query.fields();
    for field in &fields[..rng.usize(..=fields.len())] {
        query = query.equal(random_value(rng, field));
    }
    if rng.u8(..3) == 0 {
        let field = query.sort_fields().first().copied().unwrap_or(PRIMARY);
        let mut bound = || rng.bool().then(|| random_value(rng, field));
        query.range = Some(Range { from: bound(), until: bound() });
    }
    if !collection.words.is_empty() && rng.u8(..3) == 0 {
        query = query.words(SEARCHES[rng.usize(..SEARCHES.len())]);
    }
    if collection.label_fields().next().is_some() && rng.u8(..3) == 0 {
        query = query.labels(random_labels(rng));
    }
    if rng.bool() { query.descending() } else { query }
}
