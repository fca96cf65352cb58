//! Word search: the same hits in the same order on every adapter.

use serde_json::json;
use steward_actors::store::{PRIMARY, Query, Store, Write};

use super::Harness;
use super::fixtures::{THINGS, commit, delete, find, ids, insert, replace};

async fn given(store: &dyn Store, titles: &[(&str, &str)]) {
    let writes: Vec<Write> =
        titles.iter().map(|(id, title)| insert(&THINGS, id, json!({"title": title}))).collect();
    commit(store, writes).await;
}

async fn search(store: &dyn Store, text: &str) -> Vec<String> {
    ids(store, Query::by(&THINGS, PRIMARY).words(text)).await
}

pub async fn each_word_asked_for_must_begin_a_word(harness: &Harness) {
    let store = harness.store.as_ref();
    given(store, &[("1", "Blue T-Shirt, XL"), ("2", "blue shoe"), ("3", "Red shirt 2000"), ("4", "")]).await;
    assert_eq!(search(store, "blue").await, ["1", "2"]);
    assert_eq!(search(store, "sh").await, ["1", "2", "3"]);
    assert_eq!(search(store, "shirt bl").await, ["1"]);
    assert_eq!(search(store, "bl sho").await, ["2"]);
    assert_eq!(search(store, "200").await, ["3"]);
    for none in ["shirts", "hirt", "blue red", "b1", "lue"] {
        assert!(search(store, none).await.is_empty(), "{none}");
    }
}

pub async fn all_word_fields_are_searched(harness: &Harness) {
    let store = harness.store.as_ref();
    let fields = json!({"title": "blue shirt", "note": "made of wool", "label": "unsearched"});
    commit(store, [insert(&THINGS, "1", fields)]).await;
    assert_eq!(search(store, "wool").await, ["1"]);
    assert_eq!(search(store, "wool blue").await, ["1"]);
    assert!(search(store, "unsearched").await.is_empty());
}

pub async fn letter_case_does_not_matter_and_accents_do(harness: &Harness) {
    let store = harness.store.as_ref();
    given(store, &[("1", "ÄRGER Straße"), ("2", "arger"), ("3", "日本語 テスト"), ("4", "z\u{10FFFF}9")])
        .await;
    assert_eq!(search(store, "ärg").await, ["1"]);
    assert_eq!(search(store, "ARG").await, ["2"]);
    assert_eq!(search(store, "straß").await, ["1"]);
    assert_eq!(search(store, "STRASSE").await, ["1"]);
    assert_eq!(search(store, "日本").await, ["3"]);
    assert_eq!(search(store, "z").await, ["4"]);
    let long = "x".repeat(60);
    given(store, &[("5", &long)]).await;
    assert_eq!(search(store, &long).await, ["5"]);
    assert_eq!(search(store, &"x".repeat(41)).await, ["5"]);
}

pub async fn how_unicode_writes_a_word_does_not_matter(harness: &Harness) {
    let store = harness.store.as_ref();
    given(store, &[("1", "caf\u{e9}"), ("2", "Cafe\u{301}s"), ("3", "\u{ff23}afe"), ("4", "cafe")]).await;
    for cafe in ["caf\u{e9}", "cafe\u{301}", "CAFE\u{301}"] {
        assert_eq!(search(store, cafe).await, ["1", "2"], "{cafe}");
    }
    assert_eq!(search(store, "cafe").await, ["3", "4"]);
}

pub async fn all_words_of_a_long_text_are_searched(harness: &Harness) {
    let store = harness.store.as_ref();
    let long: Vec<String> = (0..600).map(|n| format!("word{n}")).collect();
    given(store, &[("1", &long.join(" ")), ("2", "word0")]).await;
    for (asked, found) in [("word599", "1"), ("word64 word65", "1"), ("word0 word1", "1")] {
        assert_eq!(search(store, asked).await, [found], "{asked}");
    }
    commit(store, [replace(&THINGS, "1", 1, json!({"title": "short"}))]).await;
    assert!(search(store, "word599").await.is_empty());
}

pub async fn words_follow_replaces_and_deletes(harness: &Harness) {
    let store = harness.store.as_ref();
    given(store, &[("1", "blue shirt"), ("2", "blue shoe")]).await;

    commit(store, [replace(&THINGS, "1", 1, json!({"title": "red shirt"}))]).await;
    assert_eq!(search(store, "blue").await, ["2"]);
    assert_eq!(search(store, "red").await, ["1"]);
    assert_eq!(search(store, "shirt").await, ["1"]);

    commit(store, [replace(&THINGS, "1", 2, json!({}))]).await;
    assert!(search(store, "shirt").await.is_empty());

    commit(store, [delete(&THINGS, "2", 1)]).await;
    assert!(search(store, "blue").await.is_empty());
    given(store, &[("2", "green")]).await;
    assert!(search(store, "blue").await.is_empty());
    assert_eq!(search(store, "green").await, ["2"]);
}

pub async fn hits_are_in_the_order_of_the_index(harness: &Harness) {
    let store = harness.store.as_ref();
    for (id, rank) in [("a", 3), ("b", 1), ("c", 2), ("d", 1)] {
        commit(store, [insert(&THINGS, id, json!({"rank": rank, "title": "blue blues bluish"}))]).await;
    }
    commit(store, [insert(&THINGS, "e", json!({"title": "blue, but without a rank"}))]).await;
    let by_rank = Query::by(&THINGS, "rank").words("blu");
    assert_eq!(ids(store, by_rank.clone()).await, ["b", "d", "c", "a"]);
    assert_eq!(ids(store, by_rank.descending()).await, ["a", "c", "d", "b"]);
    assert_eq!(search(store, "blu").await, ["a", "b", "c", "d", "e"]);
}

pub async fn words_join_with_an_index_a_range_and_a_cursor(harness: &Harness) {
    let store = harness.store.as_ref();
    let writes: Vec<Write> = (0..40)
        .map(|n| {
            let fields = json!({
                "owner": if n % 2 == 0 { "ann" } else { "bob" },
                "rank": n,
                "title": if n % 3 == 0 { "blue shirt" } else { "red shirt" },
            });
            insert(&THINGS, &format!("{n:02}"), fields)
        })
        .collect();
    commit(store, writes).await;
    let query = Query::by(&THINGS, "owner_rank")
        .equal("ann")
        .range(Some(json!(6)), Some(json!(36)))
        .words("shirt blu")
        .limit(2);

    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = find(store, query.clone().after(after)).await;
        found.extend(page.records.into_iter().map(|record| record.id));
        after = page.next;
        if after.is_none() {
            break;
        }
    }

    assert_eq!(found, ["06", "12", "18", "24", "30"]);
}

pub async fn rare_and_frequent_words_page_alike(harness: &Harness) {
    let store = harness.store.as_ref();
    for chunk in 0..3 {
        let writes: Vec<Write> = (chunk * 500..(chunk + 1) * 500)
            .map(|n| {
                let rare = if n % 150 == 0 { "rare" } else { "usual" };
                let fields = json!({"rank": n % 7, "title": format!("common {rare}")});
                insert(&THINGS, &format!("{n:04}"), fields)
            })
            .collect();
        commit(store, writes).await;
    }
    let mut expected: Vec<(i64, String)> = (0..1500).map(|n| (n % 7, format!("{n:04}"))).collect();
    expected.sort();
    let by_rank = |text: &str| Query::by(&THINGS, "rank").words(text);

    let first = find(store, by_rank("comm").limit(1000)).await;
    let second = find(store, by_rank("comm").limit(1000).after(first.next.clone())).await;
    let found: Vec<_> = first.records.into_iter().chain(second.records).map(|record| record.id).collect();
    assert_eq!(found, expected.iter().map(|(_, id)| id.clone()).collect::<Vec<_>>());
    assert_eq!(second.next, None);

    let is_rare = |id: &str| id.parse::<u32>().unwrap().is_multiple_of(150);
    let rare: Vec<_> = expected.iter().map(|(_, id)| id.clone()).filter(|id| is_rare(id)).collect();
    assert_eq!(ids(store, by_rank("rare common")).await, rare);
    let page = find(store, by_rank("rare").limit(4)).await;
    assert_eq!(ids(store, by_rank("rare").after(page.next)).await, rare[4..]);
}

pub async fn text_without_a_word_finds_all(harness: &Harness) {
    let store = harness.store.as_ref();
    given(store, &[("1", "blue"), ("2", "")]).await;
    assert_eq!(search(store, " -- ").await, ["1", "2"]);
}
