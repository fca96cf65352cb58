//! What readers are told of an order on which very much happened.

use std::ops::RangeInclusive;

use super::world::{World, ask};
use crate::order_saga::OrderEvent;
use crate::order_saga::reading::MOST_TOLD;
use crate::store::{Batch, Store, find};

#[actix_rt::test]
async fn a_timeline_is_whole_or_says_that_it_is_not() {
    let world = World::new();
    let replica = world.replica("r1");
    let id = replica.orders.accept(ask("k", "pm_card_visa")).await.unwrap().order.value.id;
    let order = world.settled(&replica, &id).await;
    let (found, _) = find::<OrderEvent>(world.store.as_ref(), OrderEvent::behind(&id, 0)).await.unwrap();
    let last = &found.last().unwrap().value;
    let add = async |numbers: RangeInclusive<usize>| {
        let batch = numbers.fold(Batch::new(), |batch, number| {
            let id = format!("{id}:{number:06}");
            batch.insert(&OrderEvent { id, number: number as u64, ..last.clone() })
        });
        world.store.commit(batch).await.unwrap();
    };

    add(order.events as usize + 1..=2_500).await;
    let told = replica.orders.timeline(&id).await.unwrap();
    assert_eq!((told.entries.len(), told.is_whole), (2_500, true));

    add(2_501..=MOST_TOLD + 1).await;
    let told = replica.orders.timeline(&id).await.unwrap();
    assert_eq!((told.entries.len(), told.is_whole), (MOST_TOLD, false));
}
