//! The store in memory, which every other test stands on.

use std::sync::Arc;

use serde_json::json;
use steward_actors::store::Query;
use steward_actors::testing::MemoryStore;

use crate::contract::fixtures::{PARTS, commit, conflict, delete, ids, insert, replace, taken};
use crate::contract::{self, Harness};

async fn harness() -> Option<Harness> {
    Some(Harness::of(Arc::new(MemoryStore::default())))
}

contract::suite!(harness);

#[tokio::test]
async fn unique_keys_that_are_swapped_in_one_batch_do_not_collide() {
    let store = MemoryStore::default();
    let serial = |serial: &str| json!({"serial": serial});
    commit(&store, [insert(&PARTS, "a", serial("1")), insert(&PARTS, "b", serial("2"))]).await;

    commit(&store, [replace(&PARTS, "a", 1, serial("2")), replace(&PARTS, "b", 1, serial("1"))]).await;

    assert_eq!(ids(&store, Query::by(&PARTS, "serial")).await, ["b", "a"]);
    for held in ["1", "2"] {
        assert_eq!(conflict(&store, [insert(&PARTS, "c", serial(held))]).await, taken(&PARTS, "serial"));
    }
    commit(&store, [delete(&PARTS, "a", 2), delete(&PARTS, "b", 2)]).await;
    commit(&store, [insert(&PARTS, "c", serial("1")), insert(&PARTS, "d", serial("2"))]).await;
}
