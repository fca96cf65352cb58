//! One page by an index: which records are in it, and in which order.

use serde_json::{Value, json};
use steward_actors::store::{PRIMARY, Query, Store, Write};

use super::Harness;
use super::fixtures::{PARTS, THINGS, commit, find, ids, insert};

async fn given(store: &dyn Store, records: &[(&str, Value)]) {
    let writes: Vec<Write> = records.iter().map(|(id, fields)| insert(&THINGS, id, fields.clone())).collect();
    commit(store, writes).await;
}

/// Checks the order in both directions.
async fn in_order(store: &dyn Store, query: Query, expected: &[&str]) {
    assert_eq!(ids(store, query.clone()).await, expected);
    let reversed: Vec<_> = expected.iter().rev().copied().collect();
    assert_eq!(ids(store, query.descending()).await, reversed);
}

pub async fn the_primary_index_runs_through_all_ids_in_order(harness: &Harness) {
    let store = harness.store.as_ref();
    given(
        store,
        &[("b", json!({})), ("B", json!({})), ("ä", json!({})), ("a", json!({})), ("a:1", json!({}))],
    )
    .await;
    commit(store, [insert(&PARTS, "part", json!({}))]).await;
    in_order(store, Query::by(&THINGS, PRIMARY), &["B", "a", "a:1", "b", "ä"]).await;
}

pub async fn ids_can_be_bounded(harness: &Harness) {
    let store = harness.store.as_ref();
    given(store, &["a", "b", "c", "d"].map(|id| (id, json!({})))).await;
    let bounded = |from: Option<&str>, until: Option<&str>| {
        Query::by(&THINGS, PRIMARY).range(from.map(Value::from), until.map(Value::from))
    };
    in_order(store, bounded(Some("b"), Some("d")), &["b", "c"]).await;
    in_order(store, bounded(Some("bb"), None), &["c", "d"]).await;
    in_order(store, bounded(None, Some("b")), &["a"]).await;
    in_order(store, bounded(None, None), &["a", "b", "c", "d"]).await;
    in_order(store, bounded(Some("c"), Some("b")), &[]).await;
}

pub async fn equality_fixes_leading_fields(harness: &Harness) {
    let store = harness.store.as_ref();
    given(
        store,
        &[
            ("1", json!({"owner": "ann", "rank": 3})),
            ("2", json!({"owner": "ann", "rank": 1})),
            ("3", json!({"owner": "bob", "rank": 2})),
            ("4", json!({"owner": "Ann", "rank": 2})),
            ("5", json!({"owner": "annn", "rank": 2})),
        ],
    )
    .await;
    in_order(store, Query::by(&THINGS, "owner_rank").equal("ann"), &["2", "1"]).await;
    in_order(store, Query::by(&THINGS, "owner_rank").equal("ann").equal(3), &["1"]).await;
    in_order(store, Query::by(&THINGS, "owner_rank"), &["4", "2", "1", "5", "3"]).await;
    in_order(store, Query::by(&THINGS, "owner_rank").equal(""), &[]).await;
}

pub async fn every_field_of_an_index_can_be_fixed(harness: &Harness) {
    let store = harness.store.as_ref();
    given(
        store,
        &[
            ("1", json!({"owner": "ann", "open": true, "at": 10})),
            ("2", json!({"owner": "ann", "open": false, "at": 10})),
            ("3", json!({"owner": "ann", "open": true, "at": 10})),
            ("4", json!({"owner": "ann", "open": true, "at": 11})),
        ],
    )
    .await;
    let by_owner = Query::by(&THINGS, "owner_open_at").equal("ann");
    in_order(store, by_owner.clone().equal(true).equal(10), &["1", "3"]).await;
    in_order(store, by_owner.clone().equal(true), &["1", "3", "4"]).await;
    in_order(store, by_owner.equal(false), &["2"]).await;
}

pub async fn a_range_includes_from_and_excludes_until(harness: &Harness) {
    let store = harness.store.as_ref();
    given(
        store,
        &[
            ("a", json!({"rank": -1})),
            ("b", json!({"rank": 0})),
            ("c", json!({"rank": 5})),
            ("d", json!({"rank": 5})),
            ("e", json!({"rank": 6})),
            ("f", json!({})),
        ],
    )
    .await;
    let bounded = |from: Option<i64>, until: Option<i64>| {
        Query::by(&THINGS, "rank").range(from.map(Value::from), until.map(Value::from))
    };
    in_order(store, bounded(Some(0), Some(6)), &["b", "c", "d"]).await;
    in_order(store, bounded(Some(5), Some(5)), &[]).await;
    in_order(store, bounded(Some(5), None), &["c", "d", "e"]).await;
    in_order(store, bounded(None, Some(5)), &["a", "b"]).await;
    in_order(store, bounded(None, None), &["a", "b", "c", "d", "e"]).await;
    in_order(store, bounded(Some(i64::MIN), Some(i64::MAX)), &["a", "b", "c", "d", "e"]).await;
}

pub async fn a_range_bounds_the_field_after_the_fixed_ones(harness: &Harness) {
    let store = harness.store.as_ref();
    given(
        store,
        &[
            ("1", json!({"owner": "ann", "open": true, "at": 10})),
            ("2", json!({"owner": "ann", "open": true, "at": 20})),
            ("3", json!({"owner": "ann", "open": true, "at": 30})),
            ("4", json!({"owner": "ann", "open": false, "at": 20})),
            ("5", json!({"owner": "bob", "open": true, "at": 20})),
        ],
    )
    .await;
    let open = Query::by(&THINGS, "owner_open_at").equal("ann").equal(true);
    in_order(store, open.clone().range(Some(json!(20)), None), &["2", "3"]).await;
    in_order(store, open.range(Some(json!(11)), Some(json!(30))), &["2"]).await;
    let owners = Query::by(&THINGS, "owner_open_at").range(Some(json!("b")), Some(json!("c")));
    in_order(store, owners, &["5"]).await;
}

pub async fn a_range_bounds_ids_when_all_fields_are_fixed(harness: &Harness) {
    let store = harness.store.as_ref();
    given(store, &["a", "b", "c"].map(|id| (id, json!({"rank": 1})))).await;
    given(store, &[("bb", json!({"rank": 2}))]).await;
    let query = Query::by(&THINGS, "rank").equal(1).range(Some(json!("b")), Some(json!("d")));
    in_order(store, query, &["b", "c"]).await;
}

pub async fn ties_are_broken_by_id_in_both_orders(harness: &Harness) {
    let store = harness.store.as_ref();
    for id in ["m", "z", "a", "Z", "ä"] {
        given(store, &[(id, json!({"owner": "ann", "rank": 1}))]).await;
    }
    given(store, &[("zz", json!({"owner": "ann", "rank": 0}))]).await;
    in_order(store, Query::by(&THINGS, "owner_rank").equal("ann"), &["zz", "Z", "a", "m", "z", "ä"]).await;
    in_order(store, Query::by(&THINGS, "rank").equal(1), &["Z", "a", "m", "z", "ä"]).await;
}

pub async fn texts_are_in_the_order_of_their_bytes(harness: &Harness) {
    let store = harness.store.as_ref();
    let mut labels = [
        "", "\0", " ", "1", "10", "2", "A", "B", "a", "a\0", "a\0b", "a:b", "aa", "b", "ä", "é", "日本",
        "\u{ffff}", "🦀",
    ];
    for (number, label) in labels.iter().rev().enumerate() {
        given(store, &[(&format!("{number:02}"), json!({"label": label}))]).await;
    }

    let found = find(store, Query::by(&THINGS, "label")).await.records;

    labels.sort_unstable();
    let found: Vec<_> = found.iter().map(|record| record.body["label"].as_str().unwrap()).collect();
    assert_eq!(found, labels);
    for label in labels {
        let found = find(store, Query::by(&THINGS, "label").equal(label)).await.records;
        assert_eq!(found.len(), 1, "{label:?}");
        assert_eq!(found[0].body["label"], label);
    }
}

pub async fn integers_are_in_numeric_order(harness: &Harness) {
    let store = harness.store.as_ref();
    let ranks = [
        ("a", i64::MIN),
        ("b", -9_007_199_254_740_993),
        ("c", -10),
        ("d", -9),
        ("e", 0),
        ("f", 9),
        ("g", 10),
        ("h", 9_007_199_254_740_992),
        ("i", 9_007_199_254_740_993),
        ("j", i64::MAX),
    ];
    for (id, rank) in ranks.iter().rev() {
        given(store, &[(id, json!({"rank": rank}))]).await;
    }
    in_order(store, Query::by(&THINGS, "rank"), &ranks.map(|(id, _)| id)).await;
    for (id, rank) in ranks {
        in_order(store, Query::by(&THINGS, "rank").equal(rank), &[id]).await;
    }
}

pub async fn times_are_in_order(harness: &Harness) {
    let store = harness.store.as_ref();
    let times = [("a", -5_i64), ("b", 0), ("c", 1_750_000_000_123), ("d", 1_750_000_000_124)];
    for (id, at) in times.iter().rev() {
        given(store, &[(id, json!({"at": at}))]).await;
    }
    in_order(store, Query::by(&THINGS, "at"), &["a", "b", "c", "d"]).await;
    in_order(store, Query::by(&THINGS, "at").equal(1_750_000_000_123_i64), &["c"]).await;
    let until = Query::by(&THINGS, "at").range(None, Some(json!(1_750_000_000_124_i64)));
    in_order(store, until, &["a", "b", "c"]).await;
}

pub async fn false_comes_before_true(harness: &Harness) {
    let store = harness.store.as_ref();
    given(
        store,
        &[
            ("a", json!({"owner": "ann", "open": true, "at": 1})),
            ("b", json!({"owner": "ann", "open": false, "at": 2})),
        ],
    )
    .await;
    in_order(store, Query::by(&THINGS, "owner_open_at").equal("ann"), &["b", "a"]).await;
}

pub async fn a_record_without_a_field_of_an_index_is_not_in_it(harness: &Harness) {
    let store = harness.store.as_ref();
    given(
        store,
        &[
            ("1", json!({"owner": "ann", "rank": 1})),
            ("2", json!({"owner": "ann"})),
            ("3", json!({"owner": "ann", "rank": null})),
            ("4", json!({"rank": 1})),
            ("5", json!({})),
        ],
    )
    .await;
    in_order(store, Query::by(&THINGS, "owner_rank"), &["1"]).await;
    in_order(store, Query::by(&THINGS, "owner_rank").equal("ann"), &["1"]).await;
    in_order(store, Query::by(&THINGS, "owner_open_at").equal("ann"), &[]).await;
    in_order(store, Query::by(&THINGS, "rank"), &["1", "4"]).await;
    in_order(store, Query::by(&THINGS, PRIMARY), &["1", "2", "3", "4", "5"]).await;
}

pub async fn a_page_that_ends_with_the_last_record_has_no_next(harness: &Harness) {
    let store = harness.store.as_ref();
    given(store, &["a", "b", "c"].map(|id| (id, json!({"rank": 1})))).await;
    for index in [PRIMARY, "rank"] {
        for (limit, more) in [(1, true), (2, true), (3, false), (4, false), (1000, false)] {
            let page = find(store, Query::by(&THINGS, index).limit(limit)).await;
            assert_eq!(page.records.len(), limit.min(3));
            assert_eq!(page.next.is_some(), more, "{index}, limit {limit}");
        }
    }
}

pub async fn nothing_found_is_an_empty_page(harness: &Harness) {
    let store = harness.store.as_ref();
    for query in [
        Query::by(&THINGS, PRIMARY),
        Query::by(&THINGS, "rank").equal(1),
        Query::by(&THINGS, PRIMARY).words("none"),
    ] {
        let page = find(store, query).await;
        assert!(page.records.is_empty());
        assert_eq!(page.next, None);
    }
}
