//! One record at a time: what is written is what is read.

use futures_util::future::join_all;
use serde_json::{Value, json};
use steward_actors::store::{PRIMARY, Query, Record};

use super::Harness;
use super::fixtures::{PARTS, THINGS, body, commit, delete, find, get, ids, insert, replace};

pub async fn an_inserted_record_is_read_back_as_version_1(harness: &Harness) {
    let store = harness.store.as_ref();

    commit(store, [insert(&THINGS, "a", json!({"owner": "ann"}))]).await;

    let expected = Record { id: "a".to_owned(), version: 1, body: body("a", json!({"owner": "ann"})) };
    assert_eq!(get(store, &THINGS, "a").await, Some(expected));
}

pub async fn what_is_not_there_reads_as_none(harness: &Harness) {
    let store = harness.store.as_ref();
    assert_eq!(get(store, &THINGS, "a").await, None);
    commit(store, [insert(&THINGS, "a", json!({}))]).await;
    for other in ["b", "A", "a ", "", "aa"] {
        assert_eq!(get(store, &THINGS, other).await, None, "{other:?}");
    }
}

pub async fn versions_rise_by_one_with_each_replace(harness: &Harness) {
    let store = harness.store.as_ref();
    commit(store, [insert(&THINGS, "a", json!({"rank": 0}))]).await;

    for version in 1..=5_u64 {
        commit(store, [replace(&THINGS, "a", version, json!({"rank": version}))]).await;

        let found = get(store, &THINGS, "a").await.unwrap();
        assert_eq!(found.version, version + 1);
        assert_eq!(found.body, body("a", json!({"rank": version})));
    }
}

pub async fn a_replace_leaves_nothing_of_the_former_body(harness: &Harness) {
    let store = harness.store.as_ref();
    commit(store, [insert(&THINGS, "a", json!({"owner": "ann", "rank": 1, "more": {"x": 1}}))]).await;

    commit(store, [replace(&THINGS, "a", 1, json!({"note": "new"}))]).await;

    assert_eq!(get(store, &THINGS, "a").await.unwrap().body, body("a", json!({"note": "new"})));
}

pub async fn a_deleted_record_is_gone_and_its_id_is_free(harness: &Harness) {
    let store = harness.store.as_ref();
    commit(store, [insert(&THINGS, "a", json!({"rank": 1}))]).await;
    commit(store, [replace(&THINGS, "a", 1, json!({"rank": 2}))]).await;

    commit(store, [delete(&THINGS, "a", 2)]).await;

    assert_eq!(get(store, &THINGS, "a").await, None);
    assert!(ids(store, Query::by(&THINGS, "rank")).await.is_empty());
    commit(store, [insert(&THINGS, "a", json!({"rank": 3}))]).await;
    assert_eq!(get(store, &THINGS, "a").await.unwrap().version, 1);
}

pub async fn get_many_finds_those_that_exist(harness: &Harness) {
    let store = harness.store.as_ref();
    commit(store, ["a", "b", "c"].map(|id| insert(&THINGS, id, json!({"owner": id})))).await;

    let asked = ["c", "missing", "a"].map(str::to_owned);
    let mut found = store.get_many(&THINGS, &asked).await.unwrap();

    found.sort_by(|a, b| a.id.cmp(&b.id));
    let found: Vec<_> = found.iter().map(|record| (record.id.as_str(), &record.body["owner"])).collect();
    assert_eq!(found, [("a", &json!("a")), ("c", &json!("c"))]);
    assert!(store.get_many(&THINGS, &[]).await.unwrap().is_empty());
}

pub async fn lookups_at_once_each_find_what_they_ask_for(harness: &Harness) {
    let store = harness.store.as_ref();
    commit(store, (0..40).map(|n| insert(&THINGS, &format!("a{n}"), json!({"rank": n})))).await;
    let asked: Vec<Vec<String>> = (0..300)
        .map(|n| match n % 3 {
            0 => vec![format!("a{}", n % 40)],
            1 => vec![format!("missing{n}")],
            _ => vec![format!("a{}", n % 40), format!("missing{n}"), format!("a{}", (n + 1) % 40)],
        })
        .collect();
    let found = join_all(asked.iter().map(|ids| store.get_many(&THINGS, ids))).await;
    for (ids, found) in asked.iter().zip(found) {
        let mut found: Vec<String> = found.unwrap().into_iter().map(|record| record.id).collect();
        found.sort();
        let mut there: Vec<String> = ids.iter().filter(|id| id.starts_with('a')).cloned().collect();
        there.sort();
        assert_eq!(found, there);
    }
}

pub async fn get_many_takes_a_thousand_ids(harness: &Harness) {
    let store = harness.store.as_ref();
    let all: Vec<String> = (0..1000).map(|n| format!("id-{n}")).collect();
    commit(store, all.iter().step_by(10).map(|id| insert(&THINGS, id, json!({})))).await;

    let mut found: Vec<_> =
        store.get_many(&THINGS, &all).await.unwrap().into_iter().map(|record| record.id).collect();

    found.sort();
    let mut expected: Vec<_> = all.into_iter().step_by(10).collect();
    expected.sort();
    assert_eq!(found, expected);
}

pub async fn any_body_comes_back_exactly(harness: &Harness) {
    let store = harness.store.as_ref();
    let bodies = [
        json!({}),
        json!({"undeclared": 1, "Ünïcode näme": "ß", "with space": true}),
        json!({"rank": i64::MIN, "number": i64::MAX}),
        json!({"free": [i64::MIN, i64::MAX, 0, -1, 4_294_967_296_i64]}),
        json!({"free": [19.99, 0.5, -4.25]}),
        json!({"details": {}, "tags": []}),
        json!({"details": {"a": [], "b": {}, "c": {"d": {"e": [[[]], [{}]]}}}}),
        json!({"tags": [null, true, false, "", {"x": null}, [1, "1", 1.5]]}),
        json!({"title": "", "note": "line\nbreak \"quoted\" \\ \t \u{7f} nul:\0.", "label": "日本語 🦀 e\u{301}"}),
        json!({"owner": "'; DROP TABLE contract_things; --", "label": "$ne", "note": "{\"$gt\":\"\"}"}),
        json!({"free": "2025-06-15T15:06:40.120Z", "oid": "507f1f77bcf86cd799439011"}),
    ];

    for (number, fields) in bodies.into_iter().enumerate() {
        let id = format!("body-{number}");
        commit(store, [insert(&THINGS, &id, fields.clone())]).await;
        let found = get(store, &THINGS, &id).await.unwrap();
        assert_eq!(found.body, body(&id, fields.clone()), "as inserted, by get");

        commit(store, [replace(&THINGS, &id, 1, fields.clone())]).await;
        let query = Query::by(&THINGS, PRIMARY).range(Some(json!(id)), Some(json!(format!("{id}\0"))));
        let found = find(store, query).await.records;
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].body, body(&id, fields), "as replaced, by find");
    }
}

pub async fn a_large_body_comes_back_exactly(harness: &Harness) {
    let store = harness.store.as_ref();
    let lines: Vec<Value> = (0..2000).map(|n| json!({"sku": format!("sku-{n}"), "quantity": n})).collect();
    let fields = json!({"tags": lines, "note": "ä".repeat(100_000)});

    commit(store, [insert(&THINGS, "large", fields.clone())]).await;

    assert_eq!(get(store, &THINGS, "large").await.unwrap().body, body("large", fields));
}

pub async fn times_come_back_to_the_millisecond(harness: &Harness) {
    let store = harness.store.as_ref();
    for millis in [0_i64, 1, -1, -62_135_596_800_000, 1_750_000_000_123, 253_402_300_799_999] {
        let id = millis.to_string();
        let fields = json!({"at": millis, "details": {"at": millis}, "tags": [millis]});
        commit(store, [insert(&THINGS, &id, fields.clone())]).await;
        assert_eq!(get(store, &THINGS, &id).await.unwrap().body, body(&id, fields), "{millis}");
    }
}

pub async fn ids_are_opaque_strings(harness: &Harness) {
    let store = harness.store.as_ref();
    let mut opaque: Vec<String> = [
        "1",
        "01",
        "1.0",
        "true",
        "null",
        "a:b",
        "a:b:c",
        "a/b",
        "a.b",
        "$a",
        "_id",
        "A",
        "a",
        " a",
        "a ",
        "ä",
        "日本:語",
        "🦀",
        "'",
        "\"",
        "%",
        "*",
        "507f1f77bcf86cd799439011",
        "01982f5e-7c6a-7e43-9a3e-0b1c2d3e4f50",
    ]
    .map(str::to_owned)
    .to_vec();
    opaque.push("x".repeat(200));

    for id in &opaque {
        commit(store, [insert(&THINGS, id, json!({"owner": id}))]).await;
        commit(store, [replace(&THINGS, id, 1, json!({"owner": id, "rank": 1}))]).await;
    }

    for id in &opaque {
        let found = get(store, &THINGS, id).await.unwrap();
        assert_eq!((found.id.as_str(), found.version), (id.as_str(), 2));
        assert_eq!(found.body, body(id, json!({"owner": id, "rank": 1})));
    }
    assert_eq!(store.get_many(&THINGS, &opaque).await.unwrap().len(), opaque.len());
    opaque.sort();
    assert_eq!(ids(store, Query::by(&THINGS, PRIMARY)).await, opaque);
    assert_eq!(ids(store, Query::by(&THINGS, "rank").equal(1)).await, opaque);
    for id in &opaque {
        commit(store, [delete(&THINGS, id, 2)]).await;
    }
    assert!(ids(store, Query::by(&THINGS, PRIMARY)).await.is_empty());
}

pub async fn collections_are_apart(harness: &Harness) {
    let store = harness.store.as_ref();
    commit(store, [insert(&THINGS, "a", json!({"owner": "things"}))]).await;
    assert_eq!(get(store, &PARTS, "a").await, None);

    commit(store, [insert(&PARTS, "a", json!({"thing": "parts"}))]).await;
    commit(store, [delete(&THINGS, "a", 1)]).await;

    assert_eq!(get(store, &PARTS, "a").await.unwrap().body["thing"], "parts");
}

pub async fn an_acknowledged_commit_is_seen_at_once_by_every_handle(harness: &Harness) {
    let (store, other) = (harness.store.as_ref(), harness.other.as_ref());
    commit(store, [insert(&THINGS, "a", json!({"rank": 0}))]).await;

    for version in 1..=50_u64 {
        let (writer, reader) = if version % 2 == 0 { (store, other) } else { (other, store) };
        commit(writer, [replace(&THINGS, "a", version, json!({"rank": version}))]).await;

        for handle in [reader, writer] {
            assert_eq!(get(handle, &THINGS, "a").await.unwrap().version, version + 1);
            assert_eq!(ids(handle, Query::by(&THINGS, "rank").equal(version)).await, ["a"]);
        }
    }
}

pub async fn the_stores_time_never_goes_back(harness: &Harness) {
    let mut latest = harness.store.time().await.unwrap();
    for round in 0..40 {
        let handle = if round % 2 == 0 { &harness.other } else { &harness.store };
        let time = handle.time().await.unwrap();
        assert!(time >= latest, "{time} came after {latest}");
        latest = time;
    }
}
