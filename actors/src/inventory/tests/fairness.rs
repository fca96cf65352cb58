//! Replicas on one SKU of which one always comes first.

use futures_util::future::join_all;

use super::*;

/// The store as an unlucky replica sees it: before each of its next commits another is quicker.
struct Unlucky {
    store: Arc<Gate>,
    rival: Inventory,
    left: Mutex<usize>,
    met: Mutex<usize>,
}

#[async_trait]
impl AtCommit for Unlucky {
    fn store(&self) -> &dyn Store {
        self.store.as_ref()
    }

    async fn at_commit(&self, batch: Batch) -> Result<(), CommitError> {
        let late = {
            let mut left = lock(&self.left);
            let late = *left > 0;
            *left = left.saturating_sub(1);
            late
        };
        if late {
            let number = {
                let mut met = lock(&self.met);
                *met += 1;
                *met
            };
            hold(&self.rival, &format!("rival-{number}"), &[("tee", 1)]).await.unwrap();
        }
        self.store.commit(batch).await
    }
}

/// A shop, and a replica that comes too late so many times.
async fn unlucky(defeats: usize) -> (Shop, Arc<Unlucky>, Inventory) {
    let shop = Shop::with(&[("tee", 100_000), ("cap", 100)]).await;
    let (store, rival) = (shop.store.clone(), shop.replica());
    let store = Arc::new(Unlucky { store, rival, left: Mutex::new(defeats), met: Mutex::new(0) });
    let (clock, arbiters, tree) = (shop.clock.clone(), shop.arbiters.clone(), shop.tree.clone());
    let replica = Inventory::new(store.clone(), clock, arbiters, tree, Inventory::OPTIONS);
    (shop, store, replica)
}

#[actix_rt::test]
async fn a_replica_that_comes_too_late_many_times_still_serves_its_buyers() {
    let (shop, store, replica) = unlucky(12).await;
    let singles: &[(&str, i64)] = &[("tee", 1)];
    let bundles: &[(&str, i64)] = &[("tee", 1), ("cap", 1)];
    let buyers = (0..10).map(|n| {
        let (replica, wanted) = (replica.clone(), [singles, bundles][n % 2]);
        async move { hold(&replica, &format!("order-{n}"), wanted).await }
    });
    for answer in join_all(buyers).await {
        answer.unwrap();
    }
    assert_eq!(*lock(&store.met), 12);
    assert_eq!((shop.stock("tee").await.held(), shop.stock("cap").await.held()), (22, 5));
    shop.check().await;
}

#[actix_rt::test]
async fn a_replica_that_never_comes_first_says_so_and_refuses_nobody_for_stock() {
    let (shop, store, replica) = unlucky(usize::MAX).await;
    let answer = hold(&replica, "order", &[("tee", 1)]).await;
    assert!(matches!(answer, Err(HoldError::Unavailable { .. } | HoldError::OutcomeUnknown)), "{answer:?}");
    *lock(&store.left) = 0;
    hold(&replica, "order", &[("tee", 1)]).await.unwrap();
    let rivals = i64::try_from(*lock(&store.met)).unwrap();
    assert_eq!(shop.stock("tee").await.held(), rivals + 1);
    shop.check().await;
}

#[actix_rt::test]
async fn what_waited_too_long_is_turned_away_undone_and_may_be_asked_for_again() {
    // Given a commit that hangs, and commands that wait behind it,
    let shop = Shop::with(&[("tee", 100)]).await;
    let replica = shop.replica();
    shop.store.close();
    let first = hold_in_background(&replica, "first".to_owned(), &[("tee", 1)]);
    shop.store.arrived(1).await;
    let behind: Vec<_> =
        (0..5).map(|n| hold_in_background(&replica, format!("behind-{n}"), &[("tee", 1)])).collect();

    // when it is let through after their callers' time,
    let told = join_all(behind).await;
    shop.store.let_through(1000);

    // then nobody was left without an answer, and what nobody waits for any more is not done;
    for answer in told {
        let answer = answer.unwrap();
        assert!(
            matches!(answer, Err(HoldError::Unavailable { .. } | HoldError::OutcomeUnknown)),
            "{answer:?}"
        );
    }
    assert_eq!(first.await.unwrap().unwrap_err(), HoldError::OutcomeUnknown);
    let again = hold(&replica, "behind-0", &[("tee", 1)]).await.unwrap();
    assert_eq!(shop.stock("tee").await.held(), 2);

    // asked for again with its id, the one that was done is found, and the others are done once.
    assert_eq!(hold(&replica, "first", &[("tee", 1)]).await.unwrap().id, "first");
    assert_eq!(hold(&replica, "behind-0", &[("tee", 1)]).await.unwrap(), again);
    assert_eq!(shop.stock("tee").await.held(), 2);
    shop.check().await;
}
