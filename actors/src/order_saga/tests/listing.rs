//! Orders found by where they stand.

use super::world::{World, order};
use crate::order_saga::{Order, OrderStatus, unfinished};
use crate::store::{Batch, Store};
use crate::time::Timestamp;

#[actix_rt::test]
async fn orders_that_pass_are_told_apart_and_pages_of_them_miss_none() {
    let world = World::new();
    let replica = world.replica("r1");
    let passing = [OrderStatus::Pending, OrderStatus::StockHeld, OrderStatus::PaymentAuthorized];
    let all = passing.into_iter().chain([OrderStatus::Confirmed]).cycle().take(40);
    let batch = all.enumerate().fold(Batch::new(), |batch, (n, status)| {
        let created_at = Timestamp::from_millis(1_750_000_000_000 + n as i64);
        let (id, command_key) = (format!("o{n:02}"), format!("u1:{n}"));
        batch.insert(&Order { id, command_key, status, created_at, owner: None, ..order() })
    });
    world.store.commit(batch).await.unwrap();

    for (n, status) in passing.into_iter().chain([OrderStatus::Confirmed]).enumerate() {
        let expected: Vec<String> = (0..10).rev().map(|turn| format!("o{:02}", turn * 4 + n)).collect();
        for user in [None, Some("u1")] {
            let (mut found, mut after) = (Vec::new(), None);
            loop {
                let (page, next) = replica.orders.page(user, Some(status), 3, after).await.unwrap();
                assert!(page.len() == 3 || next.is_none(), "{status:?}: {} on a page", page.len());
                assert!(page.iter().all(|order| order.value.status == status));
                found.extend(page.into_iter().map(|order| order.value.id));
                after = next;
                if after.is_none() {
                    break;
                }
            }
            assert_eq!(found, expected, "{status:?}");
        }
    }
    let oldest = unfinished(Some(OrderStatus::StockHeld), None).limit(1);
    let (found, _) = replica.orders.find(oldest, Some(OrderStatus::StockHeld)).await.unwrap();
    assert_eq!(found[0].value.id, "o01");
    let (none, _) = replica.orders.page(Some("u2"), Some(OrderStatus::Pending), 3, None).await.unwrap();
    assert!(none.is_empty());
}
