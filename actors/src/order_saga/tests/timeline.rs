//! What readers are told of an order on which very much happened.

use std::ops::RangeInclusive;

use super::world::{World, ask};
use crate::cluster::Clock;
use crate::order_saga::order_event::with_events;
use crate::order_saga::reading::MOST_TOLD;
use crate::order_saga::{EventRecord, OrderEvent};
use crate::store::{Batch, Store, find};

#[actix_rt::test]
async fn a_timeline_is_whole_or_says_that_it_is_not() {
    let world = World::new();
    let replica = world.replica("r1");
    let id = replica.orders.accept(ask("k", "pm_card_visa")).await.unwrap().order.value.id;
    let order = world.settled(&replica, &id).await;
    let (found, _) = find::<EventRecord>(world.store.as_ref(), EventRecord::behind(&id, 0)).await.unwrap();
    let last = found.into_iter().last().unwrap().value.events().last().unwrap();
    let add = async |numbers: RangeInclusive<usize>| {
        let events: Vec<OrderEvent> =
            numbers.map(|number| OrderEvent { number: number as u64, ..last.clone() }).collect();
        world.store.commit(with_events(Batch::new(), &events, world.clock.now())).await.unwrap();
    };

    add(order.events as usize + 1..=2_500).await;
    let told = replica.orders.timeline(&id).await.unwrap();
    assert_eq!((told.entries.len(), told.is_whole), (2_500, true));

    add(2_501..=MOST_TOLD + 1).await;
    let told = replica.orders.timeline(&id).await.unwrap();
    assert_eq!((told.entries.len(), told.is_whole), (MOST_TOLD, false));
}

/// What a commit told is one record, and readers may begin and end anywhere in it.
#[actix_rt::test]
async fn events_that_share_a_record_are_read_from_any_of_them_on() {
    let world = World::new();
    let replica = world.replica("r1");
    let id = replica.orders.accept(ask("k", "pm_card_visa")).await.unwrap().order.value.id;
    world.settled(&replica, &id).await;
    let query = EventRecord::behind(&id, 0);
    let (found, _) = find::<EventRecord>(world.store.as_ref(), query).await.unwrap();
    assert_eq!(found.len(), 4, "a record for each of its commits");
    for seen in 0..=7 {
        for limit in 1..=7 {
            let told = replica.orders.events_of(&id, seen, limit).await.unwrap();
            let numbers: Vec<u64> = told.iter().map(|event| event.number).collect();
            let expected: Vec<u64> = (seen + 1..=7).take(limit).collect();
            assert_eq!(numbers, expected, "{limit} behind {seen}");
        }
    }
    for user in [None, Some("u1")] {
        for limit in 1..=8 {
            let (mut numbers, mut after) = (Vec::new(), None);
            loop {
                let (page, next) = replica.orders.events(user, limit, after).await.unwrap();
                assert!(page.len() <= limit);
                numbers.extend(page.iter().map(|event| event.number));
                match next {
                    Some(next) => after = Some(next),
                    None => break,
                }
            }
            assert_eq!(numbers, [7, 6, 5, 4, 3, 2, 1], "pages of {limit}");
        }
    }
}
