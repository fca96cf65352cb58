//! The catalogue over the store in memory.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::inventory::{Sku, Stock};
use crate::money::{Currency, Money};
use crate::store::load;
use crate::testing::{CommitFault, ManualClock, MemoryStore};

struct Shop {
    clock: Arc<ManualClock>,
    store: Arc<MemoryStore>,
    catalog: Catalog,
}

fn shop() -> Shop {
    let clock = Arc::new(ManualClock::default());
    let store = Arc::new(MemoryStore::new(clock.clone()));
    let catalog = Catalog::new(store.clone(), clock.clone());
    Shop { clock, store, catalog }
}

fn product(id: &str, name: &str, skus: &[&str]) -> NewProduct {
    let variant = |sku: &&str| Variant {
        sku: Sku::parse(*sku).unwrap(),
        name: format!("size {sku}"),
        price: Money::new(1999, Currency::from_code("USD").unwrap()),
        attributes: BTreeMap::from([("size".to_owned(), (*sku).to_owned())]),
    };
    NewProduct {
        id: id.to_owned(),
        name: name.to_owned(),
        description: Some("made of cotton".to_owned()),
        category_id: None,
        image_urls: vec!["https://shop.example/tee.png".to_owned()],
        attributes: BTreeMap::from([("colour".to_owned(), "blue".to_owned())]),
        variants: skus.iter().map(variant).collect(),
    }
}

#[test]
fn the_collections_are_declared_without_mistakes() {
    for collection in [&PRODUCTS, &SKUS] {
        assert_eq!(collection.mistakes(), Vec::<String>::new());
    }
}

#[actix_rt::test]
async fn a_product_comes_with_its_skus_and_no_stock() {
    let Shop { store, catalog, .. } = shop();
    let made = catalog.create(product("p1", "Shirt", &["tee-s", "tee-m"])).await.unwrap();
    assert_eq!(catalog.get("p1").await, Ok(Some(made)));
    for sku in ["tee-s", "tee-m"] {
        let stock = load::<Stock>(store.as_ref(), sku).await.unwrap().unwrap().value;
        assert_eq!((stock.on_hand(), stock.held(), stock.available()), (0, 0, 0));
    }
    let asked = ["tee-m", "none"].map(str::to_owned);
    let [record] = <[SkuRecord; 1]>::try_from(catalog.prices(&asked).await.unwrap()).unwrap();
    assert_eq!((record.product_id.as_str(), record.name.as_str()), ("p1", "Shirt, size tee-m"));
    assert_eq!((record.price.minor, record.archived), (1999, false));
    assert_eq!(catalog.get("p2").await, Ok(None));
}

#[actix_rt::test]
async fn the_same_command_again_makes_nothing_and_returns_the_first_ones_product() {
    let Shop { store, catalog, clock } = shop();
    let made = catalog.create(product("p1", "Shirt", &["tee"])).await.unwrap();
    clock.advance(Duration::from_secs(1));
    assert_eq!(catalog.create(product("p1", "Shirt", &["tee"])).await, Ok(made));
    assert_eq!(store.commits(), 1);
}

#[actix_rt::test]
async fn a_lost_answer_of_the_store_makes_one_product() {
    for fault in [CommitFault::LostBefore, CommitFault::LostAfter] {
        let Shop { store, catalog, .. } = shop();
        store.fail_commits([fault]);
        catalog.create(product("p1", "Shirt", &["tee"])).await.unwrap();
        assert_eq!(store.commits(), 1);
    }
}

#[actix_rt::test]
async fn what_may_have_been_made_is_never_said_not_to_be() {
    let Shop { store, catalog, .. } = shop();
    store.fail_commits([CommitFault::LostAfter, CommitFault::Unavailable]);
    let unknown = catalog.create(product("p1", "Shirt", &["tee"])).await;
    assert_eq!(unknown, Err(CatalogError::OutcomeUnknown));
    store.fail_commits([CommitFault::Unavailable]);
    let nothing = catalog.create(product("p2", "Cap", &["cap"])).await;
    assert!(matches!(nothing, Err(CatalogError::Unavailable { .. })), "{nothing:?}");
    assert_eq!(catalog.get("p2").await, Ok(None));
}

#[actix_rt::test]
async fn a_sku_belongs_to_one_product_and_a_refused_one_leaves_nothing() {
    let Shop { store, catalog, .. } = shop();
    catalog.create(product("p1", "Shirt", &["tee"])).await.unwrap();
    let taken = catalog.create(product("p2", "Other", &["new", "tee"])).await;
    assert_eq!(taken, Err(CatalogError::SkuTaken(Sku::parse("tee").unwrap())));
    let twice = catalog.create(product("p3", "Other", &["new", "new"])).await;
    assert_eq!(twice, Err(CatalogError::SkuTwice(Sku::parse("new").unwrap())));
    assert_eq!(catalog.get("p2").await, Ok(None));
    assert_eq!(load::<Stock>(store.as_ref(), "new").await, Ok(None));
    catalog.create(product("p4", "Other", &["new"])).await.unwrap();
}

#[actix_rt::test]
async fn products_are_found_by_words_and_paged_newest_first() {
    let Shop { catalog, clock, .. } = shop();
    for (n, name) in ["Blue Shirt", "Red Shirt", "Cap", "Blue Cap"].into_iter().enumerate() {
        clock.advance(Duration::from_secs(1));
        catalog.create(product(&format!("p{n}"), name, &[&format!("sku-{n}")])).await.unwrap();
    }
    let names = async |words: &str, limit, after| {
        let page = ProductPage { words: words.to_owned(), limit, after };
        let (found, next) = catalog.page(page).await.unwrap();
        (found.into_iter().map(|product| product.value.name).collect::<Vec<_>>(), next)
    };
    let (first, next) = names("", 3, None).await;
    assert_eq!(first, ["Blue Cap", "Cap", "Red Shirt"]);
    assert_eq!(names("", 3, next).await, (vec!["Blue Shirt".to_owned()], None));
    assert_eq!(names("shi blu", 10, None).await.0, ["Blue Shirt"]);
    assert_eq!(names("cotton cap", 10, None).await.0, ["Blue Cap", "Cap"]);
    assert!(names("wool", 10, None).await.0.is_empty());
}
