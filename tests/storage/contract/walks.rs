//! Page after page: each record once, whatever happens between the pages.

use std::collections::BTreeSet;

use serde_json::json;
use steward_actors::store::{Cursor, PRIMARY, Query, Record, Store, Write};

use super::Harness;
use super::fixtures::{THINGS, commit, delete, find, get, ids, insert, replace};

/// The cursor as a client keeps it: as text.
fn kept(cursor: &Cursor) -> Cursor {
    serde_json::from_str(&serde_json::to_string(cursor).unwrap()).unwrap()
}

/// All records of a query, page by page, and how many pages there were.
async fn walk(store: &dyn Store, query: &Query) -> (Vec<Record>, usize) {
    let (mut all, mut after, mut pages) = (Vec::new(), None, 0);
    loop {
        let page = find(store, query.clone().after(after)).await;
        pages += 1;
        all.extend(page.records);
        assert!(pages <= 1000, "a walk that does not end");
        match page.next {
            Some(next) => after = Some(kept(&next)),
            None => return (all, pages),
        }
    }
}

async fn given_23(store: &dyn Store) {
    let labels = ["x", "", "ä"];
    let writes: Vec<Write> = (0..23_usize)
        .map(|n| {
            let fields = json!({
                "owner": if n % 3 == 0 { "ann" } else { "bob" },
                "rank": n / 5,
                "open": n % 2 == 0,
                "at": 1_750_000_000_000_usize - n / 4,
                "label": labels[n % 3],
                "title": if n % 2 == 0 { "blue shirt" } else { "red shoe" },
            });
            insert(&THINGS, &format!("id:{}", (n * 7) % 23), fields)
        })
        .collect();
    commit(store, writes).await;
}

pub async fn a_walk_meets_each_record_once_with_any_limit(harness: &Harness) {
    let store = harness.store.as_ref();
    given_23(store).await;
    let queries = [
        Query::by(&THINGS, PRIMARY),
        Query::by(&THINGS, PRIMARY).range(Some(json!("id:1")), Some(json!("id:3"))),
        Query::by(&THINGS, "rank"),
        Query::by(&THINGS, "rank").equal(2),
        Query::by(&THINGS, "rank").range(Some(json!(1)), Some(json!(4))),
        Query::by(&THINGS, "owner_rank"),
        Query::by(&THINGS, "owner_rank").equal("bob"),
        Query::by(&THINGS, "owner_rank").equal("bob").equal(1),
        Query::by(&THINGS, "owner_open_at"),
        Query::by(&THINGS, "owner_open_at").equal("bob"),
        Query::by(&THINGS, "owner_open_at").equal("bob").equal(true),
        Query::by(&THINGS, "owner_open_at").equal("ann").range(Some(json!(false)), Some(json!(true))),
        Query::by(&THINGS, "label"),
        Query::by(&THINGS, "at"),
        Query::by(&THINGS, PRIMARY).words("shi"),
        Query::by(&THINGS, "owner_rank").equal("bob").words("re sho"),
    ];
    for query in queries {
        let (whole, _) = walk(store, &query.clone().limit(1000)).await;
        assert!(whole.len() > 1, "{query:?}");
        for query in [query.clone(), query.descending()] {
            let (expected, pages) = walk(store, &query.clone().limit(1000)).await;
            assert_eq!(pages, 1);
            for limit in [1, 2, 3, 5, 7, 22, 23, 24] {
                let (found, pages) = walk(store, &query.clone().limit(limit)).await;
                assert_eq!(found, expected, "{query:?}, limit {limit}");
                assert_eq!(pages, expected.len().div_ceil(limit), "{query:?}, limit {limit}");
            }
        }
    }
}

pub async fn a_cursor_stands_when_its_record_is_deleted(harness: &Harness) {
    let store = harness.store.as_ref();
    commit(store, ["a", "b", "c", "d", "e"].map(|id| insert(&THINGS, id, json!({"rank": 1})))).await;
    for (query, rest) in [
        (Query::by(&THINGS, PRIMARY), ["c", "d", "e"].as_slice()),
        (Query::by(&THINGS, "rank"), &["d", "e"]),
        (Query::by(&THINGS, "rank").equal(1), &["e"]),
    ] {
        let page = find(store, query.clone().limit(2)).await;
        let last = page.records.last().unwrap();
        commit(store, [delete(&THINGS, &last.id, last.version)]).await;
        assert_eq!(ids(store, query.after(page.next)).await, rest);
    }
}

pub async fn a_cursor_stands_when_its_record_is_changed(harness: &Harness) {
    let store = harness.store.as_ref();
    for (id, rank) in [("a", 1), ("b", 2), ("c", 2), ("d", 3)] {
        commit(store, [insert(&THINGS, id, json!({"rank": rank}))]).await;
    }
    let query = Query::by(&THINGS, "rank").limit(2);
    let page = find(store, query.clone()).await;
    assert_eq!(page.records.last().unwrap().id, "b");

    commit(store, [replace(&THINGS, "b", 1, json!({"rank": 0}))]).await;
    assert_eq!(ids(store, query.clone().after(page.next.clone())).await, ["c", "d"]);

    commit(store, [replace(&THINGS, "b", 2, json!({}))]).await;
    assert_eq!(ids(store, query.clone().after(page.next.clone())).await, ["c", "d"]);

    commit(store, [replace(&THINGS, "b", 3, json!({"rank": 9}))]).await;
    assert_eq!(ids(store, query.limit(9).after(page.next)).await, ["c", "d", "b"]);
}

pub async fn a_cursor_stands_when_its_unique_key_is_taken_over(harness: &Harness) {
    let store = harness.store.as_ref();
    let person = |id: &str, email: &str| insert(&THINGS, id, json!({"email": email}));
    for (descending, former, rest) in [(false, "1", "3"), (true, "3", "1")] {
        commit(store, [person("1", "1@x"), person("b", "2@x"), person("3", "3@x")]).await;
        let query = Query::by(&THINGS, "email").limit(2);
        let query = if descending { query.descending() } else { query };
        let page = find(store, query.clone()).await;
        assert_eq!(page.records.iter().map(|record| record.id.as_str()).collect::<Vec<_>>(), [former, "b"]);

        commit(store, [delete(&THINGS, "b", 1), person("a", "2@x")]).await;
        let taken_over = if descending { vec!["a", rest] } else { vec![rest] };
        assert_eq!(ids(store, query.clone().after(page.next.clone())).await, taken_over);

        commit(store, [delete(&THINGS, "a", 1), person("c", "2@x")]).await;
        let taken_over = if descending { vec![rest] } else { vec!["c", rest] };
        assert_eq!(ids(store, query.after(page.next)).await, taken_over);

        commit(store, ["1", "c", "3"].map(|id| delete(&THINGS, id, 1))).await;
    }
}

pub async fn a_walk_meets_what_stays_once_whatever_else_changes(harness: &Harness) {
    let store = harness.store.as_ref();
    for (round, descending) in [false, true].into_iter().enumerate() {
        let owner = format!("owner-{round}");
        let id = |kind: &str, n: usize| format!("{owner}:{n:03}:{kind}");
        let fields = |rank: usize| json!({"owner": owner, "rank": rank});
        let mut writes = Vec::new();
        for n in 0..30 {
            writes.push(insert(&THINGS, &id("stays", n), fields(n / 3)));
            writes.push(insert(&THINGS, &id("goes", n), fields(n / 3)));
            writes.push(insert(&THINGS, &id("moves", n), fields(n / 3)));
        }
        commit(store, writes).await;
        let mut query = Query::by(&THINGS, "owner_rank").equal(owner.as_str()).limit(4);
        if descending {
            query = query.descending();
        }

        let mut met: Vec<String> = Vec::new();
        let mut after = None;
        for n in 0..1000 {
            let page = find(store, query.clone().after(after)).await;
            met.extend(page.records.into_iter().map(|record| record.id));
            let Some(next) = page.next else { break };
            after = Some(kept(&next));
            if n < 30 {
                let moving = get(store, &THINGS, &id("moves", n)).await.unwrap();
                let between = [
                    delete(&THINGS, &id("goes", n), 1),
                    replace(&THINGS, &moving.id, moving.version, fields((n * 7) % 10)),
                    insert(&THINGS, &id("comes", n), fields((n * 3) % 10)),
                ];
                commit(store, between).await;
            }
        }

        let stayed: Vec<_> = met.iter().filter(|id| id.ends_with("stays")).collect();
        assert_eq!(stayed.len(), 30, "each that stays is met once");
        assert_eq!(stayed.iter().collect::<BTreeSet<_>>().len(), 30);
        let mut in_order: Vec<_> = stayed.clone();
        in_order.sort();
        if descending {
            in_order.reverse();
        }
        assert_eq!(stayed, in_order);
    }
}
