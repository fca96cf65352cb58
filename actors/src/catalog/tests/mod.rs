//! The catalogue over the store in memory.

mod changes;
mod search;
mod tree;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;

use super::*;
use crate::inventory::{LapsedHolds, Sku, Stock};
use crate::money::{Currency, Money};
use crate::store::{Batch, CommitError, Store, StoreError, Versioned, load};
use crate::testing::{AtCommit, CommitFault, ManualClock, MemoryStore, WatchedStore};

struct Shop {
    clock: Arc<ManualClock>,
    store: Arc<MemoryStore>,
    meeting: Arc<Meeting>,
    catalog: Catalog,
}

impl Shop {
    /// The catalogue as another replica has it.
    fn replica(&self) -> Catalog {
        Catalog::new(self.meeting.clone(), self.clock.clone(), Arc::new(NoHolds))
    }
}

fn shop() -> Shop {
    let clock = Arc::new(ManualClock::default());
    let store = Arc::new(MemoryStore::new(clock.clone()));
    let meeting = Arc::new(Meeting {
        read: WatchedStore::new(store.clone()),
        written: store.clone(),
        missing: watch::Sender::new(0),
    });
    let catalog = Catalog::new(meeting.clone(), clock.clone(), Arc::new(NoHolds));
    Shop { clock, store, meeting, catalog }
}

/// Nothing is held that could lapse.
struct NoHolds;

#[async_trait]
impl LapsedHolds for NoHolds {
    async fn end_lapsed(&self) -> Result<usize, StoreError> {
        Ok(0)
    }
}

/// The store in memory, at which several commits can be made to meet: each was decided before any
/// of them was made.
struct Meeting {
    read: WatchedStore,
    written: Arc<MemoryStore>,
    missing: watch::Sender<usize>,
}

impl Meeting {
    /// The next `commits` wait for each other.
    fn of(&self, commits: usize) {
        self.missing.send_replace(commits);
    }
}

#[async_trait]
impl AtCommit for Meeting {
    fn store(&self) -> &dyn Store {
        &self.read
    }

    async fn at_commit(&self, batch: Batch) -> Result<(), CommitError> {
        self.missing.send_modify(|missing| *missing = missing.saturating_sub(1));
        let _ = self.missing.subscribe().wait_for(|missing| *missing == 0).await;
        self.written.commit(batch).await
    }
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
        command: None,
        name: name.to_owned(),
        description: Some("made of cotton".to_owned()),
        category_id: None,
        image_urls: vec!["https://shop.example/tee.png".to_owned()],
        attributes: BTreeMap::from([("colour".to_owned(), "blue".to_owned())]),
        variants: skus.iter().map(variant).collect(),
    }
}

async fn create(catalog: &Catalog, new: NewProduct) -> Versioned<Product> {
    let made = catalog.create(new).await.unwrap();
    assert!(!made.replayed);
    made.value
}

/// A category without a command to be recognised by.
async fn category(catalog: &Catalog, id: &str, parent: Option<&str>) -> Result<Category, CatalogError> {
    let (id, parent_id) = (id.to_owned(), parent.map(str::to_owned));
    let new = NewCategory { id: id.clone(), command: None, name: id, parent_id };
    catalog.create_category(new).await.map(|made| made.value)
}

#[test]
fn the_collections_are_declared_without_mistakes() {
    for collection in [&PRODUCTS, &SKUS, &CATEGORIES, &CATEGORY_TREE, &DELETED_CATEGORIES] {
        assert_eq!(collection.mistakes(), Vec::<String>::new());
    }
}

#[actix_rt::test]
async fn a_product_comes_with_its_skus_and_no_stock() {
    let Shop { store, catalog, .. } = shop();
    let made = create(&catalog, product("p1", "Shirt", &["tee-s", "tee-m"])).await;
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
    let Shop { store, catalog, clock, .. } = shop();
    let made = create(&catalog, product("p1", "Shirt", &["tee"])).await;
    clock.advance(Duration::from_secs(1));
    let again = catalog.create(product("p1", "Shirt", &["tee"])).await;
    assert_eq!(again, Ok(Made { value: made, replayed: true }));
    assert_eq!(store.commits(), 1);
    let other = NewProduct { command: Some("other".to_owned()), ..product("p1", "Shirt", &["tee"]) };
    assert_eq!(catalog.create(other).await, Err(CatalogError::KeyReused));
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
    store.fail_commits([CommitFault::LostBefore, CommitFault::Unavailable]);
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
    assert!(matches!(twice, Err(CatalogError::InvalidVariant { number: 1, field: "sku", .. })), "{twice:?}");
    assert_eq!(catalog.get("p2").await, Ok(None));
    assert_eq!(load::<Stock>(store.as_ref(), "new").await, Ok(None));
    catalog.create(product("p4", "Other", &["new"])).await.unwrap();
}
