//! Products that are changed and archived.

use futures_util::future::join_all;

use super::*;
use crate::inventory::{Adjustment, Hold, HoldError, HoldLine, HoldRequest, Holds, Inventory};
use crate::supervision::{Arbiters, Tree};

const ANY: Option<u64> = None;

fn variant(sku: &str) -> VariantChange {
    let sku = Sku::parse(sku).unwrap();
    VariantChange { sku, name: None, price: None, currency: None, attributes: None }
}

fn of_variants(variants: Vec<VariantChange>) -> ProductChange {
    ProductChange { variants, ..ProductChange::default() }
}

async fn prices(catalog: &Catalog, skus: &[&str]) -> Vec<(String, String, i64, bool)> {
    let skus: Vec<String> = skus.iter().map(|sku| (*sku).to_owned()).collect();
    let mut found: Vec<_> = catalog
        .prices(&skus)
        .await
        .unwrap()
        .into_iter()
        .map(|record| (record.sku.as_str().to_owned(), record.name, record.price.minor, record.archived))
        .collect();
    found.sort();
    found
}

#[actix_rt::test]
async fn only_what_is_named_changes_and_orders_see_it() {
    let Shop { catalog, store, .. } = shop();
    let made = create(&catalog, product("p1", "Shirt", &["s", "m"])).await;
    let change = ProductChange {
        name: Some("Tee".to_owned()),
        description: Some(None),
        variants: vec![
            VariantChange { price: Some("5.5".to_owned()), ..variant("m") },
            VariantChange { name: Some("L".to_owned()), price: Some("7".to_owned()), ..variant("l") },
        ],
        ..ProductChange::default()
    };
    let changed = catalog.change("p1", &change, ANY).await.unwrap();
    assert_eq!(changed.version, 2);
    assert_eq!((changed.value.name.as_str(), &changed.value.description), ("Tee", &None));
    assert_eq!(changed.value.attributes, made.value.attributes);
    assert_eq!(changed.value.variants[0], made.value.variants[0]);
    assert_eq!(catalog.get("p1").await.unwrap().unwrap(), changed);
    let expected = [("l", "Tee, L", 700), ("m", "Tee, size m", 550), ("s", "Tee, size s", 1999)];
    let expected = expected.map(|(sku, name, price)| (sku.to_owned(), name.to_owned(), price, false));
    assert_eq!(prices(&catalog, &["s", "m", "l"]).await, expected);
    assert!(load::<Stock>(store.as_ref(), "l").await.unwrap().is_some());
    let commits = store.commits();
    assert_eq!(catalog.change("p1", &ProductChange::default(), ANY).await.unwrap(), changed);
    assert_eq!(store.commits(), commits, "nothing to change is no commit");
}

#[actix_rt::test]
async fn a_variant_that_makes_no_sense_is_refused_by_its_place() {
    let Shop { catalog, .. } = shop();
    create(&catalog, product("p1", "Shirt", &["s", "m"])).await;
    create(&catalog, product("p2", "Cap", &["cap"])).await;
    let usd = VariantChange { name: Some("x".to_owned()), price: Some("1".to_owned()), ..variant("new") };
    let eur = Currency::from_code("EUR");
    for (variants, place, field) in [
        (vec![VariantChange { price: Some("1.005".to_owned()), ..variant("s") }], 0, "price"),
        (vec![VariantChange { price: Some("-1".to_owned()), ..variant("m") }], 1, "price"),
        (vec![VariantChange { currency: eur, ..variant("s") }], 0, "price"),
        (vec![VariantChange { currency: eur, price: Some("1".to_owned()), ..variant("s") }], 1, "currency"),
        (vec![variant("s"), variant("s")], 1, "sku"),
        (vec![VariantChange { name: None, ..usd.clone() }], 0, "name"),
        (vec![VariantChange { price: None, ..usd.clone() }], 0, "price"),
    ] {
        let refused = catalog.change("p1", &of_variants(variants.clone()), ANY).await;
        let Err(CatalogError::InvalidVariant { number, field: named, .. }) = &refused else {
            panic!("{variants:?} → {refused:?}")
        };
        assert_eq!((*number, *named), (place, field), "{variants:?}");
    }
    let taken = of_variants(vec![VariantChange { sku: Sku::parse("cap").unwrap(), ..usd }]);
    let refused = catalog.change("p1", &taken, ANY).await;
    assert_eq!(refused, Err(CatalogError::SkuTaken(Sku::parse("cap").unwrap())));
    let all_in_eur = of_variants(
        ["s", "m"]
            .map(|sku| VariantChange { currency: eur, price: Some("1".to_owned()), ..variant(sku) })
            .into(),
    );
    catalog.change("p1", &all_in_eur, ANY).await.unwrap();
    assert_eq!(catalog.get("p1").await.unwrap().unwrap().version, 2);
}

#[actix_rt::test]
async fn there_is_an_end_to_variants_and_attributes() {
    let Shop { catalog, .. } = shop();
    let skus: Vec<String> = (0..=MOST_VARIANTS).map(|n| format!("s{n}")).collect();
    let skus: Vec<&str> = skus.iter().map(String::as_str).collect();
    let mut many = product("p1", "Shirt", &skus);
    assert_eq!(catalog.create(many.clone()).await, Err(CatalogError::TooManyVariants));
    many.variants.pop();
    for (n, variant) in many.variants.iter_mut().enumerate() {
        variant.attributes = (0..3).map(|a| (format!("a{a}"), format!("{n}"))).collect();
    }
    assert_eq!(catalog.create(many.clone()).await, Err(CatalogError::TooManyAttributes));
    many.attributes.clear();
    create(&catalog, many).await;
}

#[actix_rt::test]
async fn of_changes_based_on_one_version_one_stands() {
    let shop = shop();
    create(&shop.catalog, product("p1", "Shirt", &["tee"])).await;
    let replicas = [shop.replica(), shop.replica(), shop.replica()];
    let named = |name: &str| ProductChange { name: Some(name.to_owned()), ..ProductChange::default() };
    shop.meeting.of(3);
    let first = Some(1);
    let changes = [named("a"), named("b"), named("c")];
    let done =
        join_all(replicas.iter().zip(&changes).map(|(one, change)| one.change("p1", change, first))).await;
    assert_eq!(done.iter().filter(|done| done.is_ok()).count(), 1, "{done:?}");
    assert_eq!(done.iter().filter(|done| **done == Err(CatalogError::OtherVersion)).count(), 2, "{done:?}");
    // Without a version they all count, one after the other.
    shop.meeting.of(3);
    let changes = [named("d"), named("e"), named("f")];
    let done =
        join_all(replicas.iter().zip(&changes).map(|(one, change)| one.change("p1", change, ANY))).await;
    assert!(done.iter().all(Result::is_ok), "{done:?}");
    assert_eq!(shop.catalog.get("p1").await.unwrap().unwrap().version, 5);
}

#[actix_rt::test]
async fn of_parallel_products_with_one_sku_one_is_made() {
    let shop = shop();
    let replicas: Vec<Catalog> = (0..5).map(|_| shop.replica()).collect();
    shop.meeting.of(5);
    let made = join_all(replicas.iter().enumerate().map(|(n, one)| {
        let own = format!("own-{n}");
        one.create(product(&format!("p{n}"), "Shirt", &[own.as_str(), "tee"]))
    }))
    .await;
    let taken = Err(CatalogError::SkuTaken(Sku::parse("tee").unwrap()));
    assert_eq!(made.iter().filter(|made| made.is_ok()).count(), 1);
    assert_eq!(made.iter().filter(|made| **made == taken).count(), 4, "{made:?}");
}

#[actix_rt::test]
async fn an_archived_product_is_not_sold_and_keeps_its_skus() {
    let Shop { catalog, .. } = shop();
    create(&catalog, product("p1", "Shirt", &["tee"])).await;
    assert_eq!(catalog.archive("p1", Some(7)).await, Err(CatalogError::OtherVersion));
    catalog.archive("p1", Some(1)).await.unwrap();
    assert!(catalog.get("p1").await.unwrap().unwrap().value.archived);
    assert_eq!(
        prices(&catalog, &["tee"]).await[0],
        ("tee".to_owned(), "Shirt, size tee".to_owned(), 1999, true)
    );
    assert_eq!(catalog.archive("p1", ANY).await, Err(CatalogError::NotFound));
    assert_eq!(catalog.change("p1", &ProductChange::default(), ANY).await, Err(CatalogError::Archived));
    let again = catalog.create(product("p2", "Shirt", &["tee"])).await;
    assert_eq!(again, Err(CatalogError::SkuTaken(Sku::parse("tee").unwrap())));
}

#[actix_rt::test]
async fn a_lost_answer_never_makes_a_change_look_refused() {
    let Shop { catalog, store, .. } = shop();
    create(&catalog, product("p1", "Shirt", &["tee"])).await;
    let named = ProductChange { name: Some("Tee".to_owned()), ..ProductChange::default() };
    store.fail_commits([CommitFault::LostAfter]);
    let changed = catalog.change("p1", &named, ANY).await.unwrap();
    assert_eq!((changed.version, changed.value.name.as_str()), (2, "Tee"));
    store.fail_commits([CommitFault::LostAfter]);
    let named = ProductChange { name: Some("Top".to_owned()), ..ProductChange::default() };
    let unknown = catalog.change("p1", &named, Some(2)).await;
    assert_eq!(unknown, Err(CatalogError::OutcomeUnknown));
    store.fail_commits([CommitFault::LostAfter]);
    assert_eq!(catalog.archive("p1", ANY).await, Err(CatalogError::OutcomeUnknown));
}

async fn hold(inventory: &Inventory, id: &str) -> Result<Hold, HoldError> {
    let lines = vec![HoldLine { sku: "tee".to_owned(), quantity: 1 }];
    let request = HoldRequest { id: id.to_owned(), user_id: "u".to_owned(), lines, ttl: None };
    inventory.hold(request).await
}

#[actix_rt::test]
async fn what_is_held_is_not_archived_and_what_is_archived_is_not_held() {
    let shop = shop();
    create(&shop.catalog, product("p1", "Shirt", &["other", "tee"])).await;
    let tree = Tree::new(shop.clock.clone());
    let inventory = Inventory::new(
        shop.meeting.clone(),
        shop.clock.clone(),
        Arc::new(Arbiters::start(1)),
        tree,
        Inventory::OPTIONS,
    );
    let delivery = Adjustment {
        id: "d".to_owned(),
        sku: "tee".to_owned(),
        delta: 10,
        reason: "received".to_owned(),
        reference: None,
    };
    inventory.adjust(delivery).await.unwrap();
    hold(&inventory, "h1").await.unwrap();
    let held = shop.catalog.archive("p1", ANY).await;
    assert_eq!(held, Err(CatalogError::StockHeld(vec!["tee".to_owned()])));
    inventory.release("h1").await.unwrap();

    // A hold and the end of the product, decided on the same stock record: one of them stands.
    shop.meeting.of(2);
    let done = tokio::join!(hold(&inventory, "h2"), shop.catalog.archive("p1", ANY));
    match done {
        (Ok(_), Err(CatalogError::StockHeld(_))) => {
            inventory.release("h2").await.unwrap();
            shop.catalog.archive("p1", ANY).await.unwrap();
        }
        (Err(HoldError::OutOfStock(_)), Ok(())) => {}
        other => panic!("{other:?}"),
    }
    assert!(matches!(hold(&inventory, "h3").await, Err(HoldError::OutOfStock(_))));
    let product = shop.catalog.get("p1").await.unwrap().unwrap();
    let available = shop.catalog.available(&[product]).await.unwrap();
    assert_eq!(available["tee"], 0, "nobody can order it");
}
