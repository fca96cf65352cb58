//! Labels: texts that are looked up whole, and counted.

use serde_json::{Value, json};
use steward_actors::store::{MOST_TALLIED, PRIMARY, Query, Store, Tally, Write};

use super::Harness;
use super::fixtures::{THINGS, commit, delete, find, ids, insert, replace};

async fn given(store: &dyn Store, records: &[(&str, &[&str])]) {
    let writes: Vec<Write> =
        records.iter().map(|(id, labels)| insert(&THINGS, id, json!({"labels": labels}))).collect();
    commit(store, writes).await;
}

fn labelled(any_of: &[&str]) -> Query {
    Query::by(&THINGS, PRIMARY).labels(any_of.iter().map(|label| (*label).to_owned()))
}

fn tally(labels: &[(&str, u64)], counted: u64, complete: bool) -> Tally {
    let labels = labels.iter().map(|(label, count)| ((*label).to_owned(), *count)).collect();
    Tally { labels, counted, complete }
}

pub async fn a_label_is_looked_up_whole_and_exactly(harness: &Harness) {
    let store = harness.store.as_ref();
    let labels =
        ["size=L", "size=l", "size=L ", "size=", "", "=", "[\"a\",\"b\"]", "ä\u{1}\u{10FFFF}", "$ne", ".*"];
    for (number, label) in labels.iter().enumerate() {
        given(store, &[(&format!("{number:02}"), &[label])]).await;
    }
    for (number, label) in labels.iter().enumerate() {
        assert_eq!(ids(store, labelled(&[label])).await, [format!("{number:02}")], "{label:?}");
    }
    assert!(ids(store, labelled(&["size"])).await.is_empty());
    assert_eq!(ids(store, Query::by(&THINGS, PRIMARY).label_prefix("size=L")).await, ["00", "02"]);
    assert_eq!(ids(store, Query::by(&THINGS, PRIMARY).label_prefix("")).await.len(), labels.len());
}

pub async fn one_label_of_each_group_is_enough(harness: &Harness) {
    let store = harness.store.as_ref();
    given(store, &[("1", &["a", "x"]), ("2", &["b", "x"]), ("3", &["b", "y"]), ("4", &[])]).await;
    assert_eq!(ids(store, labelled(&["a", "b"])).await, ["1", "2", "3"]);
    assert_eq!(ids(store, labelled(&["a", "b"]).labels(["x".to_owned()])).await, ["1", "2"]);
    assert_eq!(ids(store, labelled(&["a"]).labels(["b".to_owned()])).await, [""; 0]);
    let many: Vec<String> = (0..500).map(|n| format!("no-{n}")).chain(["y".to_owned()]).collect();
    assert_eq!(ids(store, Query::by(&THINGS, PRIMARY).labels(many)).await, ["3"]);
    // No label will do.
    assert_eq!(ids(store, labelled(&[])).await, [""; 0]);
}

pub async fn labels_follow_replaces_and_deletes(harness: &Harness) {
    let store = harness.store.as_ref();
    given(store, &[("1", &["a"]), ("2", &["a"])]).await;
    commit(store, [replace(&THINGS, "1", 1, json!({"labels": ["b", "b"]}))]).await;
    assert_eq!(ids(store, labelled(&["a"])).await, ["2"]);
    assert_eq!(ids(store, labelled(&["b"])).await, ["1"]);
    commit(store, [delete(&THINGS, "2", 1), replace(&THINGS, "1", 2, json!({}))]).await;
    assert_eq!(ids(store, labelled(&["a", "b"])).await, [""; 0]);
}

pub async fn labels_join_with_words_an_index_a_range_and_a_cursor(harness: &Harness) {
    let store = harness.store.as_ref();
    let thing = |n: usize| {
        let fields = json!({
            "owner": if n.is_multiple_of(2) { "ann" } else { "bob" }, "rank": n % 5,
            "title": if n.is_multiple_of(3) { "blue shirt" } else { "red shirt" },
            "labels": [format!("kind={}", n % 4)],
        });
        insert(&THINGS, &format!("{n:02}"), fields)
    };
    commit(store, (0..40).map(thing)).await;
    let asked = |any_of: &[&str]| {
        let by = Query::by(&THINGS, "owner_rank").equal("ann").range(Some(json!(1)), Some(json!(4)));
        by.words("shi blu").labels(any_of.iter().map(|label| (*label).to_owned()))
    };
    let mut expected: Vec<usize> =
        (0..40).filter(|n| n % 2 == 0 && n % 3 == 0 && (1..4).contains(&(n % 5)) && n % 4 == 0).collect();
    expected.sort_by_key(|n| (n % 5, *n));
    let expected: Vec<String> = expected.iter().map(|n| format!("{n:02}")).collect();
    assert!(expected.len() > 1, "{expected:?}");
    assert_eq!(ids(store, asked(&["kind=0", "kind=1"])).await, expected);
    let first = find(store, asked(&["kind=0"]).limit(1)).await;
    assert_eq!(ids(store, asked(&["kind=0"]).after(first.next)).await, expected[1..]);
}

pub async fn rare_and_frequent_labels_page_alike(harness: &Harness) {
    let store = harness.store.as_ref();
    for chunk in 0..3 {
        let writes: Vec<Write> = (chunk * 500..(chunk + 1) * 500)
            .map(|n: usize| {
                let rare = if n.is_multiple_of(150) { "rare" } else { "usual" };
                insert(&THINGS, &format!("{n:04}"), json!({"rank": n % 7, "labels": ["common", rare]}))
            })
            .collect();
        commit(store, writes).await;
    }
    let mut expected: Vec<(usize, String)> = (0..1500).map(|n| (n % 7, format!("{n:04}"))).collect();
    expected.sort();
    let by_rank = |label: &str| Query::by(&THINGS, "rank").labels([label.to_owned(), "nobody's".to_owned()]);

    let first = find(store, by_rank("common").limit(1000)).await;
    let second = find(store, by_rank("common").limit(1000).after(first.next.clone())).await;
    let found: Vec<_> = first.records.into_iter().chain(second.records).map(|record| record.id).collect();
    assert_eq!(found, expected.iter().map(|(_, id)| id.clone()).collect::<Vec<_>>());

    let is_rare = |id: &str| id.parse::<u32>().unwrap().is_multiple_of(150);
    let rare: Vec<_> = expected.iter().map(|(_, id)| id.clone()).filter(|id| is_rare(id)).collect();
    assert_eq!(ids(store, by_rank("rare")).await, rare);
    assert_eq!(
        ids(store, by_rank("rare").labels(["common".to_owned()]).descending()).await.len(),
        rare.len()
    );

    let counted = store.tally(by_rank("common").limit(1000), "").await.unwrap();
    assert_eq!((counted.counted, counted.complete, counted.labels.len()), (1000, false, 3));
    assert_eq!(counted.labels[0], ("common".to_owned(), 1000));
}

pub async fn labels_and_words_are_apart(harness: &Harness) {
    let store = harness.store.as_ref();
    commit(store, [insert(&THINGS, "1", json!({"title": "blue", "labels": ["red"]}))]).await;
    assert_eq!(ids(store, labelled(&["blue"])).await, [""; 0]);
    assert_eq!(ids(store, Query::by(&THINGS, PRIMARY).words("red")).await, [""; 0]);
    assert_eq!(ids(store, labelled(&["red"]).words("blue")).await, ["1"]);
    let counted = store.tally(Query::by(&THINGS, PRIMARY), "").await.unwrap();
    assert_eq!(counted, tally(&[("red", 1)], 1, true));
}

pub async fn a_tally_counts_the_labels_of_what_a_query_finds(harness: &Harness) {
    let store = harness.store.as_ref();
    let thing =
        |id: &str, rank: i64, labels: Value| insert(&THINGS, id, json!({"rank": rank, "labels": labels}));
    commit(
        store,
        [
            thing("1", 1, json!(["k=a", "k=b", "other"])),
            thing("2", 2, json!(["k=a", "k=a"])),
            thing("3", 3, json!(["k=b", "k=a", "kk"])),
            thing("4", 9, json!(["k=z"])),
        ],
    )
    .await;
    let below_nine = Query::by(&THINGS, "rank").range(None, Some(json!(9)));
    let counted = store.tally(below_nine.clone(), "k=").await.unwrap();
    assert_eq!(counted, tally(&[("k=a", 3), ("k=b", 2)], 3, true));
    let of_b = store.tally(below_nine.clone().labels(["k=b".to_owned()]), "k=").await.unwrap();
    assert_eq!(of_b, tally(&[("k=a", 2), ("k=b", 2)], 2, true));
    let none = store.tally(below_nine.labels(["no".to_owned()]), "k=").await.unwrap();
    assert_eq!(none, tally(&[], 0, true));
    assert_eq!(store.tally(Query::by(&THINGS, "rank"), "%_$").await.unwrap(), tally(&[], 4, true));
}

pub async fn a_tally_is_bounded_and_says_so(harness: &Harness) {
    let store = harness.store.as_ref();
    for (id, of) in [("1", 0..600), ("2", 400..1100), ("3", 0..1)] {
        let labels: Vec<String> = of.map(|n| format!("n{n:04}")).collect();
        commit(store, [insert(&THINGS, id, json!({"labels": labels}))]).await;
    }
    let by_id = Query::by(&THINGS, PRIMARY);
    let all = store.tally(by_id.clone(), "n").await.unwrap();
    assert_eq!((all.labels.len(), all.counted, all.complete), (MOST_TALLIED, 3, true));
    assert_eq!(all.labels[0], ("n0000".to_owned(), 2), "the most frequent come first, then by text");
    assert_eq!(all.labels[201], ("n0001".to_owned(), 1));
    let two = store.tally(by_id.clone().limit(2), "n").await.unwrap();
    assert_eq!((two.counted, two.complete), (2, false));
    assert_eq!(two.labels[0], ("n0400".to_owned(), 2));
    let last = store.tally(by_id.descending().limit(1), "n").await.unwrap();
    assert_eq!(last, tally(&[("n0000", 1)], 1, false));
}
