//! Categories: what may be in what, also when several change it at once.

use futures_util::future::join_all;

use super::*;

const ANY: Option<u64> = None;

fn into(parent: Option<&str>) -> CategoryChange {
    CategoryChange { name: None, parent_id: Some(parent.map(str::to_owned)) }
}

fn renamed(name: &str) -> CategoryChange {
    CategoryChange { name: Some(name.to_owned()), parent_id: None }
}

async fn parents(catalog: &Catalog) -> BTreeMap<String, Option<String>> {
    let (found, _) = catalog.categories(None, 1000, None).await.unwrap();
    found.into_iter().map(|found| (found.id.clone(), found.parent_id().map(str::to_owned))).collect()
}

/// Nobody is in itself, nobody is too deep, every parent is there, and the count is right.
async fn is_sound(shop: &Shop) {
    let parents = parents(&shop.catalog).await;
    for id in parents.keys() {
        let (mut at, mut depth) = (id, 1);
        while let Some(parent) = &parents[at] {
            assert!(parents.contains_key(parent), "{at} is in {parent}, which is not there");
            (at, depth) = (parent, depth + 1);
            assert!(depth <= MOST_DEPTH, "{id} is {depth} deep or in itself");
        }
    }
    let record = load::<category::TreeRecord>(shop.store.as_ref(), "tree").await.unwrap();
    assert_eq!(record.map_or(0, |record| record.value.categories), parents.len() as u64);
}

#[actix_rt::test]
async fn a_tree_grows_is_renamed_moved_and_cut() {
    let shop = shop();
    let catalog = &shop.catalog;
    category(catalog, "a", None).await.unwrap();
    category(catalog, "b", Some("a")).await.unwrap();
    category(catalog, "c", Some("b")).await.unwrap();
    let moved = catalog.change_category("c", into(Some("a")), ANY).await.unwrap();
    assert_eq!((moved.parent_id(), moved.revision), (Some("a"), 2));
    let same = catalog.change_category("c", into(Some("a")), ANY).await.unwrap();
    assert_eq!(same.revision, 2, "nothing changed");
    assert_eq!(catalog.delete_category("a", ANY).await, Err(CatalogError::HasChildren));
    catalog.delete_category("c", ANY).await.unwrap();
    assert_eq!(catalog.delete_category("c", ANY).await, Err(CatalogError::NotFound));
    assert_eq!(catalog.change_category("b", into(None), ANY).await.unwrap().parent_id(), None);
    let (children, _) = catalog.categories(Some("a"), 10, None).await.unwrap();
    assert!(children.is_empty());
    catalog.delete_category("a", ANY).await.unwrap();
    is_sound(&shop).await;
    assert_eq!(catalog.category("b").await.unwrap().unwrap().name, "b");
}

#[actix_rt::test]
async fn a_command_that_comes_again_does_not_make_anew_what_was_deleted() {
    let shop = shop();
    let catalog = &shop.catalog;
    let new = NewCategory {
        id: "a".to_owned(),
        command: Some("what it said".to_owned()),
        name: "A".to_owned(),
        parent_id: None,
    };
    assert!(!catalog.create_category(new.clone()).await.unwrap().replayed);
    assert!(catalog.create_category(new.clone()).await.unwrap().replayed);
    catalog.delete_category("a", ANY).await.unwrap();
    assert_eq!(catalog.create_category(new).await, Err(CatalogError::DeletedSince));
    // Of one that no command is known by nothing is kept.
    category(catalog, "b", None).await.unwrap();
    catalog.delete_category("b", ANY).await.unwrap();
    category(catalog, "b", None).await.unwrap();
    is_sound(&shop).await;
}

#[actix_rt::test]
async fn nothing_goes_where_it_cannot_be() {
    let shop = shop();
    let catalog = &shop.catalog;
    assert_eq!(category(catalog, "x", Some("none")).await, Err(CatalogError::UnknownCategory));
    let mut parent = None;
    for depth in 1..=MOST_DEPTH {
        let id = format!("d{depth}");
        category(catalog, &id, parent.as_deref()).await.unwrap();
        parent = Some(id);
    }
    assert_eq!(category(catalog, "deeper", parent.as_deref()).await, Err(CatalogError::TooDeep));
    assert_eq!(catalog.change_category("d1", into(Some("d1")), ANY).await, Err(CatalogError::Circle));
    assert_eq!(catalog.change_category("d1", into(Some("d8")), ANY).await, Err(CatalogError::Circle));
    assert_eq!(
        catalog.change_category("d1", into(Some("no")), ANY).await,
        Err(CatalogError::UnknownCategory)
    );
    category(catalog, "top", None).await.unwrap();
    category(catalog, "below", Some("top")).await.unwrap();
    // What is in it moves with it.
    assert_eq!(catalog.change_category("top", into(Some("d7")), ANY).await, Err(CatalogError::TooDeep));
    catalog.change_category("top", into(Some("d6")), ANY).await.unwrap();
    is_sound(&shop).await;
}

#[actix_rt::test]
async fn a_change_is_based_on_the_revision_that_is_named() {
    let shop = shop();
    let catalog = &shop.catalog;
    category(catalog, "a", None).await.unwrap();
    let first = Some(1);
    catalog.change_category("a", renamed("b"), first).await.unwrap();
    assert_eq!(catalog.change_category("a", renamed("c"), first).await, Err(CatalogError::OtherVersion));
    assert_eq!(catalog.delete_category("a", first).await, Err(CatalogError::OtherVersion));
    let in_a = NewProduct { category_id: Some("a".to_owned()), ..product("p1", "Shirt", &["tee"]) };
    create(catalog, in_a).await;
    // A product in it is no change of what clients see of it.
    catalog.change_category("a", renamed("c"), Some(2)).await.unwrap();
}

#[actix_rt::test]
async fn a_category_in_use_stays() {
    let shop = shop();
    let catalog = &shop.catalog;
    category(catalog, "a", None).await.unwrap();
    category(catalog, "b", None).await.unwrap();
    let lost = NewProduct { category_id: Some("no".to_owned()), ..product("p0", "Shirt", &["no"]) };
    assert_eq!(catalog.create(lost).await, Err(CatalogError::UnknownCategory));
    let in_a = NewProduct { category_id: Some("a".to_owned()), ..product("p1", "Shirt", &["tee"]) };
    create(catalog, in_a).await;
    assert_eq!(catalog.delete_category("a", ANY).await, Err(CatalogError::InUse));
    let to_b = ProductChange { category_id: Some(Some("b".to_owned())), ..ProductChange::default() };
    catalog.change("p1", &to_b, ANY).await.unwrap();
    catalog.delete_category("a", ANY).await.unwrap();
    assert_eq!(catalog.delete_category("b", ANY).await, Err(CatalogError::InUse));
    catalog.archive("p1", ANY).await.unwrap();
    catalog.delete_category("b", ANY).await.unwrap();
    assert_eq!(catalog.get("p1").await.unwrap().unwrap().value.category_id, None);
    is_sound(&shop).await;
}

#[actix_rt::test]
async fn two_moves_into_each_other_never_both_stand() {
    let shop = shop();
    for id in ["a", "b", "c"] {
        category(&shop.catalog, id, None).await.unwrap();
    }
    // Each replica by itself finds its move sound.
    let (one, two, three) = (shop.replica(), shop.replica(), shop.replica());
    let moves = [(&one, "a", "b"), (&two, "b", "c"), (&three, "c", "a")];
    let moves = moves.map(|(replica, id, to)| replica.change_category(id, into(Some(to)), ANY));
    shop.meeting.of(3);
    let done = join_all(moves).await;
    assert_eq!(done.iter().filter(|done| done.is_ok()).count(), 2, "{done:?}");
    assert!(done.contains(&Err(CatalogError::Circle)), "{done:?}");
    is_sound(&shop).await;
}

#[actix_rt::test]
async fn a_category_is_not_deleted_under_what_is_put_in_it() {
    for child in [true, false] {
        let shop = shop();
        category(&shop.catalog, "a", None).await.unwrap();
        let (one, two) = (shop.replica(), shop.replica());
        let put = async {
            if child {
                category(&one, "b", Some("a")).await.map(drop)
            } else {
                let new = NewProduct { category_id: Some("a".to_owned()), ..product("p1", "Tee", &["tee"]) };
                one.create(new).await.map(drop)
            }
        };
        shop.meeting.of(2);
        let done = tokio::join!(put, two.delete_category("a", ANY));
        let is_there = shop.catalog.category("a").await.unwrap().is_some();
        match &done {
            (Ok(()), Err(CatalogError::HasChildren | CatalogError::InUse)) => assert!(is_there),
            (Err(CatalogError::UnknownCategory), Ok(())) => assert!(!is_there),
            other => panic!("{other:?}"),
        }
        is_sound(&shop).await;
    }
}

#[actix_rt::test]
async fn many_products_join_a_category_at_once_and_all_are_counted() {
    let shop = shop();
    category(&shop.catalog, "a", None).await.unwrap();
    let replicas = [shop.replica(), shop.replica()];
    let made = join_all((0..20).map(|n| {
        let new = NewProduct {
            category_id: Some("a".to_owned()),
            ..product(&format!("p{n}"), "Tee", &[&format!("tee-{n}")])
        };
        replicas[n % 2].create(new)
    }))
    .await;
    assert!(made.iter().all(Result::is_ok), "{made:?}");
    assert_eq!(shop.catalog.category("a").await.unwrap().unwrap().products, 20);
}

#[actix_rt::test]
async fn there_is_an_end_to_categories() {
    let shop = shop();
    let mut batch = Batch::new().insert(&category::TreeRecord::of(MOST_CATEGORIES - 1));
    for n in 1..MOST_CATEGORIES {
        batch = batch.insert(&Category::new(format!("c{n}"), "x".to_owned(), None));
    }
    shop.store.commit(batch).await.unwrap();
    category(&shop.catalog, "last", None).await.unwrap();
    assert_eq!(category(&shop.catalog, "more", None).await, Err(CatalogError::TooManyCategories));
    is_sound(&shop).await;
}
