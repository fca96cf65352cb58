//! All writes of a batch or none, and conflicts that say what stood in the way.

use serde_json::{Value, json};
use steward_actors::store::{PRIMARY, Query, Write};

use super::Harness;
use super::fixtures::{
    PARTS, THINGS, alone, commit, conflict, delete, exists, get, ids, insert, replace, taken,
    version_conflict,
};

pub async fn a_replace_of_a_stale_version_is_a_conflict(harness: &Harness) {
    let store = harness.store.as_ref();
    commit(store, [insert(&THINGS, "a", json!({"rank": 1}))]).await;
    commit(store, [replace(&THINGS, "a", 1, json!({"rank": 2}))]).await;

    for stale in [0, 1, 3, u64::try_from(i64::MAX).unwrap()] {
        let found = conflict(store, [replace(&THINGS, "a", stale, json!({"rank": 9}))]).await;
        assert_eq!(found, version_conflict(&THINGS, "a"), "version {stale}");
    }
    assert_eq!(get(store, &THINGS, "a").await.unwrap().body["rank"], 2);
}

pub async fn a_delete_of_a_stale_version_is_a_conflict(harness: &Harness) {
    let store = harness.store.as_ref();
    commit(store, [insert(&THINGS, "a", json!({}))]).await;
    commit(store, [replace(&THINGS, "a", 1, json!({}))]).await;

    assert_eq!(conflict(store, [delete(&THINGS, "a", 1)]).await, version_conflict(&THINGS, "a"));

    assert_eq!(get(store, &THINGS, "a").await.unwrap().version, 2);
}

pub async fn a_change_of_what_is_not_there_is_a_conflict(harness: &Harness) {
    let store = harness.store.as_ref();
    let gone = version_conflict(&THINGS, "a");
    assert_eq!(conflict(store, [replace(&THINGS, "a", 1, json!({}))]).await, gone);
    assert_eq!(conflict(store, [delete(&THINGS, "a", 1)]).await, gone);

    commit(store, [insert(&THINGS, "a", json!({}))]).await;
    commit(store, [delete(&THINGS, "a", 1)]).await;

    assert_eq!(conflict(store, [replace(&THINGS, "a", 1, json!({}))]).await, gone);
    assert_eq!(conflict(store, [delete(&THINGS, "a", 1)]).await, gone);
    assert_eq!(get(store, &THINGS, "a").await, None);
}

pub async fn an_insert_of_a_taken_id_is_a_conflict_that_names_it(harness: &Harness) {
    let store = harness.store.as_ref();
    commit(store, [insert(&THINGS, "a:ü", json!({"rank": 1}))]).await;

    let found = conflict(store, [insert(&THINGS, "a:ü", json!({"rank": 2}))]).await;

    assert_eq!(found, exists(&THINGS, "a:ü"));
    assert_eq!(get(store, &THINGS, "a:ü").await.unwrap().body["rank"], 1);
}

pub async fn a_record_inserted_again_exists_rather_than_collides(harness: &Harness) {
    let store = harness.store.as_ref();
    let again = || insert(&THINGS, "a", json!({"email": "a@x", "owner": "ann", "number": 1}));
    commit(store, [again()]).await;
    assert_eq!(conflict(store, [again()]).await, exists(&THINGS, "a"));
}

pub async fn a_taken_unique_key_is_a_conflict_that_names_the_index(harness: &Harness) {
    let store = harness.store.as_ref();
    commit(store, [insert(&THINGS, "a", json!({"email": "a@x", "owner": "ann", "number": 1}))]).await;
    commit(store, [insert(&THINGS, "b", json!({"email": "b@x", "owner": "ann", "number": 2}))]).await;

    let by_insert = conflict(store, [insert(&THINGS, "c", json!({"email": "a@x"}))]).await;
    let by_replace = conflict(store, [replace(&THINGS, "b", 1, json!({"email": "a@x"}))]).await;
    let numbered = conflict(store, [insert(&THINGS, "c", json!({"owner": "ann", "number": 2}))]).await;

    assert_eq!(by_insert, taken(&THINGS, "email"));
    assert_eq!(by_replace, taken(&THINGS, "email"));
    assert_eq!(numbered, taken(&THINGS, "owner_number"));
    assert_eq!(get(store, &THINGS, "c").await, None);
    assert_eq!(get(store, &THINGS, "b").await.unwrap().version, 1);
    commit(store, [insert(&THINGS, "c", json!({"email": "A@x"}))]).await;
}

pub async fn a_unique_key_of_several_fields_collides_only_as_a_whole(harness: &Harness) {
    let store = harness.store.as_ref();
    commit(store, [insert(&THINGS, "a", json!({"owner": "ann", "number": 1}))]).await;
    commit(store, [insert(&THINGS, "b", json!({"owner": "ann", "number": 2}))]).await;
    commit(store, [insert(&THINGS, "c", json!({"owner": "bob", "number": 1}))]).await;
    let found = conflict(store, [insert(&THINGS, "d", json!({"owner": "bob", "number": 1}))]).await;
    assert_eq!(found, taken(&THINGS, "owner_number"));
}

pub async fn absent_and_null_unique_fields_never_collide(harness: &Harness) {
    let store = harness.store.as_ref();
    let lacking = [
        json!({}),
        json!({"email": null}),
        json!({"owner": "ann"}),
        json!({"owner": "ann", "number": null}),
        json!({"number": 1}),
    ];
    for (number, fields) in lacking.iter().enumerate() {
        commit(store, [insert(&THINGS, &format!("a{number}"), fields.clone())]).await;
        commit(store, [insert(&THINGS, &format!("b{number}"), fields.clone())]).await;
    }
    commit(store, [insert(&THINGS, "c", json!({"email": "", "owner": "", "number": 0}))]).await;
    let empty = conflict(store, [insert(&THINGS, "d", json!({"email": ""}))]).await;
    assert_eq!(empty, taken(&THINGS, "email"), "an empty text is a value");
}

pub async fn a_record_keeps_its_own_unique_key(harness: &Harness) {
    let store = harness.store.as_ref();
    commit(store, [insert(&THINGS, "a", json!({"email": "a@x", "rank": 1}))]).await;
    commit(store, [replace(&THINGS, "a", 1, json!({"email": "a@x", "rank": 2}))]).await;
    assert_eq!(get(store, &THINGS, "a").await.unwrap().body["rank"], 2);
    let found = conflict(store, [insert(&THINGS, "b", json!({"email": "a@x"}))]).await;
    assert_eq!(found, taken(&THINGS, "email"));
}

pub async fn a_unique_key_is_free_once_given_up(harness: &Harness) {
    let store = harness.store.as_ref();
    commit(store, [insert(&THINGS, "a", json!({"email": "a@x"}))]).await;
    commit(store, [insert(&THINGS, "b", json!({"email": "b@x"}))]).await;
    commit(store, [replace(&THINGS, "a", 1, json!({}))]).await;
    commit(store, [delete(&THINGS, "b", 1)]).await;
    commit(store, [insert(&THINGS, "c", json!({"email": "a@x"}))]).await;
    commit(store, [insert(&THINGS, "d", json!({"email": "b@x"}))]).await;
    assert_eq!(ids(store, Query::by(&THINGS, "email")).await, ["c", "d"]);
}

pub async fn a_unique_key_given_up_in_a_batch_can_be_taken_in_it(harness: &Harness) {
    let store = harness.store.as_ref();
    commit(store, [insert(&THINGS, "a", json!({"email": "a@x"}))]).await;
    commit(store, [insert(&THINGS, "b", json!({"email": "b@x"}))]).await;

    let take_over = [insert(&THINGS, "c", json!({"email": "a@x"})), delete(&THINGS, "a", 1)];
    commit(store, take_over).await;
    let hand_over =
        [insert(&THINGS, "d", json!({"email": "b@x"})), replace(&THINGS, "b", 1, json!({"email": "new@x"}))];
    commit(store, hand_over).await;

    assert_eq!(ids(store, Query::by(&THINGS, "email")).await, ["c", "d", "b"]);
}

pub async fn one_key_twice_in_a_batch_is_a_conflict(harness: &Harness) {
    let store = harness.store.as_ref();
    let twice = ["a", "b"].map(|id| insert(&THINGS, id, json!({"email": "one@x"})));
    assert_eq!(conflict(store, twice).await, taken(&THINGS, "email"));
    assert!(ids(store, Query::by(&THINGS, PRIMARY)).await.is_empty());
}

pub async fn all_writes_of_a_batch_are_made(harness: &Harness) {
    let store = harness.store.as_ref();
    commit(store, ["old", "gone"].map(|id| insert(&THINGS, id, json!({"rank": 1})))).await;

    commit(
        store,
        [
            insert(&PARTS, "part", json!({"thing": "old"})),
            replace(&THINGS, "old", 1, json!({"rank": 2})),
            insert(&THINGS, "new", json!({"rank": 3})),
            delete(&THINGS, "gone", 1),
        ],
    )
    .await;

    assert_eq!(ids(store, Query::by(&THINGS, "rank")).await, ["old", "new"]);
    assert_eq!(ids(store, Query::by(&PARTS, "thing").equal("old")).await, ["part"]);
    assert_eq!(get(store, &THINGS, "old").await.unwrap().version, 2);
}

pub async fn any_conflict_undoes_all_writes_of_its_batch(harness: &Harness) {
    let store = harness.store.as_ref();
    let setup = [
        insert(&THINGS, "old", json!({"rank": 1, "email": "old@x", "title": "old"})),
        insert(&THINGS, "doomed", json!({"rank": 2})),
        insert(&PARTS, "part", json!({"serial": "s1"})),
    ];
    commit(store, setup).await;
    let good = || {
        vec![
            insert(&THINGS, "new", json!({"rank": 3, "title": "new"})),
            insert(&PARTS, "other", json!({"serial": "s2"})),
            replace(&THINGS, "old", 1, json!({"rank": 9, "email": "new@x", "title": "changed"})),
            delete(&THINGS, "doomed", 1),
        ]
    };
    let bad: [(Write, _); 5] = [
        (insert(&PARTS, "part", json!({})), exists(&PARTS, "part")),
        (replace(&PARTS, "part", 7, json!({})), version_conflict(&PARTS, "part")),
        (delete(&PARTS, "nothing", 1), version_conflict(&PARTS, "nothing")),
        (insert(&PARTS, "third", json!({"serial": "s1"})), taken(&PARTS, "serial")),
        (insert(&PARTS, "third", json!({"serial": "s2"})), taken(&PARTS, "serial")),
    ];

    for (write, expected) in bad {
        for position in 0..=good().len() {
            let mut writes = good();
            writes.insert(position, write.clone());

            assert_eq!(conflict(store, writes).await, expected, "{write:?} at {position}");

            assert_eq!(ids(store, Query::by(&THINGS, "rank")).await, ["old", "doomed"]);
            assert_eq!(ids(store, Query::by(&THINGS, PRIMARY).words("old")).await, ["old"]);
            assert!(ids(store, Query::by(&THINGS, PRIMARY).words("new")).await.is_empty());
            assert_eq!(ids(store, Query::by(&THINGS, "email").equal("old@x")).await, ["old"]);
            assert_eq!(ids(store, Query::by(&PARTS, PRIMARY)).await, ["part"]);
            for id in ["old", "doomed"] {
                assert_eq!(get(store, &THINGS, id).await.unwrap().version, 1);
            }
        }
    }
    commit(store, good()).await;
}

pub async fn an_empty_batch_is_no_error(harness: &Harness) {
    harness.store.commit(alone([])).await.unwrap();
}

pub async fn a_batch_of_hundreds_of_writes_is_one_batch(harness: &Harness) {
    let store = harness.store.as_ref();
    let write = |n: u32, fields: Value| insert(&THINGS, &format!("id-{n:04}"), fields);
    let mut many: Vec<Write> = (0..500).map(|n| write(n, json!({"owner": "ann", "number": n}))).collect();

    many.push(write(500, json!({"owner": "ann", "number": 0})));
    assert_eq!(conflict(store, many.clone()).await, taken(&THINGS, "owner_number"));
    assert!(ids(store, Query::by(&THINGS, PRIMARY)).await.is_empty());

    many.pop();
    commit(store, many).await;
    assert_eq!(ids(store, Query::by(&THINGS, "owner_number").equal("ann").limit(1000)).await.len(), 500);
}
