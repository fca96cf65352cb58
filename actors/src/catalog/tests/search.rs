//! Which products are found, in which order, and what is counted over them.

use std::collections::BTreeSet;

use super::*;
use crate::store::{Batch, Cursor, Write};

fn all() -> ProductSearch {
    ProductSearch {
        words: String::new(),
        category: None,
        min_price: None,
        max_price: None,
        in_stock: None,
        attributes: BTreeMap::new(),
        sort: Sort::Newest,
        limit: 100,
        after: None,
    }
}

/// Where a page's products go: ids without the `p`.
async fn ids(catalog: &Catalog, search: &ProductSearch) -> Vec<String> {
    let page = catalog.search(search).await.unwrap();
    assert!(page.next.is_none() || page.products.len() == search.limit);
    page.products.into_iter().map(|product| product.value.id).collect()
}

/// All pages of so many.
async fn walk(catalog: &Catalog, search: &ProductSearch, limit: usize) -> Vec<String> {
    let (mut found, mut after) = (Vec::new(), None);
    for _ in 0..200 {
        let page = catalog.search(&ProductSearch { limit, after, ..search.clone() }).await.unwrap();
        found.extend(page.products.into_iter().map(|product| product.value.id));
        match page.next {
            Some(next) => after = Some(next),
            None => return found,
        }
    }
    panic!("a walk that does not end: {search:?}")
}

async fn made(shop: &Shop, id: &str, name: &str, price: i64, more: impl FnOnce(&mut NewProduct)) {
    shop.clock.advance(Duration::from_secs(1));
    let mut new = product(id, name, &[&format!("sku-{id}")]);
    new.description = None;
    new.attributes.clear();
    new.variants[0].attributes.clear();
    new.variants[0].price.minor = price;
    more(&mut new);
    create(&shop.catalog, new).await;
}

/// As much is on hand of the product's SKU.
async fn stocked(shop: &Shop, id: &str, units: i64) {
    let sku = format!("sku-{id}");
    let found = load::<Stock>(shop.store.as_ref(), &sku).await.unwrap().unwrap();
    let body = serde_json::json!({"sku": sku, "onHand": units, "held": 0});
    let stock: Stock = serde_json::from_value(body).unwrap();
    shop.store.commit(Batch::new().replace(&stock, found.version)).await.unwrap();
}

fn words(text: &str) -> ProductSearch {
    ProductSearch { words: text.to_owned(), sort: Sort::Relevance, ..all() }
}

#[actix_rt::test]
async fn what_is_called_so_comes_before_what_is_named_so_and_that_before_the_rest() {
    let shop = shop();
    let told = |text: &str| {
        let text = text.to_owned();
        move |new: &mut NewProduct| new.description = Some(text)
    };
    made(&shop, "p1", "Blue shirt", 1, |_| {}).await;
    made(&shop, "p2", "Shirt stand", 1, told("holds a blue one")).await;
    made(&shop, "p3", "Shirt, blue", 1, |_| {}).await;
    made(&shop, "p4", "Blueberry shirts and more", 1, |_| {}).await;
    made(&shop, "p5", "Cap", 1, told("like a blue shirt")).await;
    made(&shop, "p6", "Cap", 1, told("red")).await;
    let expected = ["p3", "p1", "p4", "p5", "p2"];
    for limit in 1..=6 {
        assert_eq!(walk(&shop.catalog, &words("shirt blue"), limit).await, expected, "{limit}");
    }
    assert_eq!(
        ids(&shop.catalog, &ProductSearch { sort: Sort::Newest, ..words("shirt blue") }).await,
        ["p5", "p4", "p3", "p2", "p1"]
    );
    assert_eq!(ids(&shop.catalog, &words("wool")).await, [""; 0]);
    for nothing in ["", " -- ", ".*", "$", "\u{0}"] {
        assert_eq!(
            ids(&shop.catalog, &words(nothing)).await,
            ["p6", "p5", "p4", "p3", "p2", "p1"],
            "{nothing:?}"
        );
    }
}

#[actix_rt::test]
async fn all_words_of_a_description_are_searched_however_unicode_writes_them() {
    let shop = shop();
    let told: String =
        (0..200).map(|n| format!("word{n} ")).collect::<String>() + "cre\u{300}me bru\u{302}le\u{301}e";
    made(&shop, "p1", "Cafe\u{301}", 1, move |new| new.description = Some(told)).await;
    made(&shop, "p2", "Caf\u{e9}", 1, |_| {}).await;
    for (asked, expected) in [
        ("word199", vec!["p1"]),
        ("cr\u{e8}me", vec!["p1"]),
        ("BRU\u{302}LE\u{301}E", vec!["p1"]),
        ("caf\u{e9}", vec!["p2", "p1"]),
        ("cafe\u{301}", vec!["p2", "p1"]),
        ("cafe", vec![]),
    ] {
        for sort in [Sort::Relevance, Sort::Newest] {
            let search = ProductSearch { sort, ..words(asked) };
            assert_eq!(ids(&shop.catalog, &search).await, expected, "{asked} {sort:?}");
        }
    }
}

#[actix_rt::test]
async fn a_product_that_was_labelled_in_another_way_is_found_and_once() {
    let shop = shop();
    made(&shop, "p1", "Caf\u{e9}", 1, |_| {}).await;
    made(&shop, "p2", "Cafe\u{301} noir", 1, |_| {}).await;
    let stored = shop.store.get(&PRODUCTS, "p2").await.unwrap().unwrap();
    let mut body = stored.body;
    body["labels"] = serde_json::json!(["+band=0", "-name=cafe noir", "-word=cafe", "-word=noir"]);
    let write =
        Write::Replace { collection: &PRODUCTS, id: stored.id, version: stored.version, body, before: None };
    shop.store.commit(Batch { writes: vec![write], ..Batch::default() }).await.unwrap();
    for limit in 1..=3 {
        assert_eq!(walk(&shop.catalog, &words("caf\u{e9}"), limit).await, ["p1", "p2"], "{limit}");
        assert_eq!(walk(&shop.catalog, &words("noir"), limit).await, ["p2"], "{limit}");
    }
}

#[actix_rt::test]
async fn prices_bound_and_sort_by_the_cheapest_variant() {
    let shop = shop();
    for (id, price) in [("p1", 1000), ("p2", 500), ("p3", 2000), ("p4", 1000), ("p5", 0)] {
        made(&shop, id, "Thing", price, |new| {
            let mut dear = new.variants[0].clone();
            dear.sku = Sku::parse(format!("dear-{id}")).unwrap();
            dear.price.minor = 999_999;
            new.variants.push(dear);
        })
        .await;
    }
    let sorted = |sort| ProductSearch { sort, ..all() };
    assert_eq!(walk(&shop.catalog, &sorted(Sort::Cheapest), 2).await, ["p5", "p2", "p1", "p4", "p3"]);
    assert_eq!(walk(&shop.catalog, &sorted(Sort::Dearest), 2).await, ["p3", "p4", "p1", "p2", "p5"]);
    for sort in [Sort::Cheapest, Sort::Dearest, Sort::Newest] {
        let within = |min: &str, max: &str| ProductSearch {
            min_price: level_of_text(min),
            max_price: level_of_text(max),
            ..sorted(sort)
        };
        for (min, max, expected) in [
            ("5", "10", vec!["p1", "p2", "p4"]),
            ("5.0001", "9.9999", vec![]),
            ("", "0", vec!["p5"]),
            ("10.01", "", vec!["p3"]),
            ("20", "20", vec!["p3"]),
            ("10", "5", vec![]),
        ] {
            let mut found = walk(&shop.catalog, &within(min, max), 1).await;
            found.sort();
            assert_eq!(found, expected, "{min} {max} {sort:?}");
        }
    }
}

#[actix_rt::test]
async fn a_category_is_searched_with_all_that_is_in_it() {
    let shop = shop();
    for (id, parent) in
        [("clothes", None), ("shirts", Some("clothes")), ("tees", Some("shirts")), ("toys", None)]
    {
        category(&shop.catalog, id, parent).await.unwrap();
    }
    for (id, within) in [("p1", "clothes"), ("p2", "tees"), ("p3", "toys"), ("p4", "shirts")] {
        made(&shop, id, "Thing", 1, |new| new.category_id = Some(within.to_owned())).await;
    }
    made(&shop, "p5", "Thing", 1, |_| {}).await;
    let within = |category: &str| ProductSearch { category: Some(category.to_owned()), ..all() };
    assert_eq!(ids(&shop.catalog, &within("clothes")).await, ["p4", "p2", "p1"]);
    assert_eq!(ids(&shop.catalog, &within("tees")).await, ["p2"]);
    assert_eq!(ids(&shop.catalog, &within("none")).await, [""; 0]);
    // A moved category takes its products along, at once.
    let to_toys = CategoryChange { name: None, parent_id: Some(Some("toys".to_owned())) };
    shop.catalog.change_category("shirts", to_toys, None).await.unwrap();
    assert_eq!(ids(&shop.catalog, &within("clothes")).await, ["p1"]);
    assert_eq!(ids(&shop.catalog, &within("toys")).await, ["p4", "p3", "p2"]);
    let counted = shop.catalog.facets(&all()).await.unwrap().categories;
    let counted: Vec<(&str, u64)> = counted.iter().map(|found| (found.id.as_str(), found.count)).collect();
    assert_eq!(counted, [("clothes", 1), ("shirts", 2), ("tees", 1), ("toys", 3)]);
}

#[actix_rt::test]
async fn attributes_of_products_and_variants_are_found_whole() {
    let shop = shop();
    let with = |own: &'static [(&'static str, &'static str)],
                of_variant: &'static [(&'static str, &'static str)]| {
        move |new: &mut NewProduct| {
            let map = |pairs: &[(&str, &str)]| {
                pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
            };
            new.attributes = map(own);
            new.variants[0].attributes = map(of_variant);
        }
    };
    made(&shop, "p1", "Thing", 1, with(&[("colour", "blue")], &[("size", "M")])).await;
    made(&shop, "p2", "Thing", 1, with(&[("colour", "red")], &[("size", "M")])).await;
    made(&shop, "p3", "Thing", 1, with(&[("colour", "blue"), ("a.b", ".*")], &[])).await;
    let asked = |pairs: &[(&str, &[&str])]| {
        let value = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect::<BTreeSet<_>>();
        let attributes = pairs.iter().map(|(name, values)| ((*name).to_owned(), value(values))).collect();
        ProductSearch { attributes, ..all() }
    };
    for (pairs, expected) in [
        (&[("colour", &["blue"][..])][..], vec!["p3", "p1"]),
        (&[("colour", &["blue", "red"])], vec!["p3", "p2", "p1"]),
        (&[("colour", &["blue"]), ("size", &["M"])], vec!["p1"]),
        (&[("colour", &["blu"])], vec![]),
        (&[("a.b", &[".*"])], vec!["p3"]),
        (&[("size", &[".*"])], vec![]),
    ] {
        assert_eq!(ids(&shop.catalog, &asked(pairs)).await, expected, "{pairs:?}");
    }
    let facets = shop.catalog.facets(&asked(&[("colour", &["blue"])])).await.unwrap();
    assert_eq!((facets.counted, facets.complete), (2, true));
    let told: Vec<(&str, &str, u64)> = facets
        .attributes
        .iter()
        .flat_map(|found| {
            found.values.iter().map(|value| (found.name.as_str(), value.value.as_str(), value.count))
        })
        .collect();
    assert_eq!(told, [("a.b", ".*", 1), ("colour", "blue", 2), ("size", "M", 1)]);
    assert_eq!(facets.prices, [PriceFacet { from: 0, until: Some(1), count: 2 }]);
}

#[actix_rt::test]
async fn stock_is_asked_when_the_page_is_read_and_a_page_reads_so_much_and_no_more() {
    let shop = shop();
    for n in 0..12 {
        made(&shop, &format!("p{n:02}"), "Thing", 1, |_| {}).await;
    }
    for id in ["p01", "p05", "p11"] {
        stocked(&shop, id, 3).await;
    }
    let asked = |in_stock| ProductSearch { in_stock: Some(in_stock), ..all() };
    assert_eq!(walk(&shop.catalog, &asked(true), 2).await, ["p11", "p05", "p01"]);
    assert_eq!(walk(&shop.catalog, &asked(false), 4).await.len(), 9);
    stocked(&shop, "p05", 0).await;
    assert_eq!(ids(&shop.catalog, &asked(true)).await, ["p11", "p01"]);

    let mut batch = Batch::new();
    let some = shop.catalog.get("p00").await.unwrap().unwrap().value;
    for n in 0..crate::catalog::search::MOST_EXAMINED + 20 {
        batch = batch.insert(&Product { id: format!("a{n:04}"), ..some.clone() });
    }
    shop.store.commit(batch).await.unwrap();
    let oldest = ProductSearch { sort: Sort::Cheapest, limit: 5, ..asked(true) };
    let first = shop.catalog.search(&oldest).await.unwrap();
    assert!(first.products.is_empty() && first.next.is_some(), "it stops looking, and says where");
    assert_eq!(walk(&shop.catalog, &oldest, 5).await, ["p01", "p11"]);
}

#[actix_rt::test]
async fn archived_products_are_not_found_and_invented_cursors_are_refused() {
    let shop = shop();
    for id in ["p1", "p2"] {
        made(&shop, id, "Blue shirt", 1, |_| {}).await;
    }
    shop.catalog.archive("p1", None).await.unwrap();
    for sort in [Sort::Relevance, Sort::Newest, Sort::Cheapest, Sort::Dearest] {
        assert_eq!(ids(&shop.catalog, &ProductSearch { sort, ..words("blue") }).await, ["p2"]);
        for keys in
            [vec![], vec![9.into()], vec!["x".into()], vec![0.into()], vec![0.into(), "x".into(), 1.into()]]
        {
            let after = Some(Cursor { keys, id: "p1".to_owned() });
            let found = shop.catalog.search(&ProductSearch { sort, after, ..words("blue") }).await;
            assert_eq!(found.err(), Some(StoreError::BadCursor), "{sort:?}");
        }
    }
}
