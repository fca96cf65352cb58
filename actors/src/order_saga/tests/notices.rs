//! What the provider says unasked: late, in any order, any number of times.

use std::collections::BTreeMap;

use super::world::{Replica, World, ask};
use crate::audit::By;
use crate::order_saga::{Claim, Heed, Notice, OrderCommand, OrderStatus, Reason, Whose};
use crate::providers::{IntentStatus, PaymentError};
use crate::testing::{PaymentCall, PaymentFault};

fn notice(number: usize, order_id: &str, intent_id: &str, claim: Claim) -> Notice {
    Notice {
        id: format!("evt_{number}"),
        order_id: order_id.to_owned(),
        intent_id: intent_id.to_owned(),
        claim,
    }
}

/// Orders that ended in every way, and what is said of them, true or not.
async fn many(world: &World, replica: &Replica, orders: usize) -> (Vec<String>, Vec<Notice>) {
    use Claim::{Authorized, Canceled, Captured, Failed, Refunded};
    let (mut ids, mut notices) = (Vec::new(), Vec::new());
    for n in 0..orders {
        world.holds.set("a", 1000);
        world.holds.set("b", 1000);
        let method = if n % 3 == 0 { "pm_card_chargeDeclined" } else { "pm_card_visa" };
        let id = replica.orders.accept(ask(&format!("k{n}"), method)).await.unwrap().order.value.id;
        world.settled(replica, &id).await;
        if n % 3 == 1 {
            let cancel = OrderCommand::Cancel { by: Reason::RequestedByShop };
            replica.orders.command(&id, Whose::Anyones(&By::system()), None, &cancel).await.unwrap();
            world.settled(replica, &id).await;
        }
        // Of some that were declined the money is taken all the same.
        if n % 6 == 0 {
            world.payments.charge_late(&id);
        }
        let intent = world.payments.intents(&id)[0].id.clone();
        for claim in [Authorized, Captured, Failed, Canceled, Refunded] {
            notices.push(notice(notices.len(), &id, &intent, claim));
            // About an intent that is none of the order's, and an order that is not there.
            notices.push(notice(notices.len(), &id, "pi_other", claim));
            notices.push(notice(notices.len(), "nobody", &intent, claim));
        }
        ids.push(id);
    }
    (ids, notices)
}

async fn ends(world: &World, replica: &Replica, ids: &[String]) -> Vec<(OrderStatus, i64, i64)> {
    let mut ends = Vec::new();
    for id in ids {
        let order = world.settled(replica, id).await;
        let ledger = world.payments.ledger(id);
        assert_eq!((order.payment.captured, order.payment.refunded), (ledger.captured, ledger.refunded));
        ends.push((order.status, ledger.captured, ledger.refunded));
    }
    ends
}

/// Orders of one run: each is told of by 15 notices. `scripts/chaos` asks for more by
/// `STEWARD_CHAOS`.
fn scale() -> usize {
    if std::env::var_os("STEWARD_CHAOS").is_some() { 672 } else { 72 }
}

#[actix_rt::test]
async fn notices_commute_and_their_copies_change_nothing() {
    let mut all: BTreeMap<u64, _> = BTreeMap::new();
    let orders = scale();
    let random = fastrand::u64(1..);
    // In order, in an order that was chosen once, and in one that is new each time.
    for seed in [0, 1, random] {
        eprintln!("seed {seed}");
        let world = World::new();
        let replica = world.replica("r1");
        let (ids, mut notices) = many(&world, &replica, orders).await;
        if seed > 0 {
            let mut random = fastrand::Rng::with_seed(seed);
            let copied = notices.iter().flat_map(|notice| vec![notice.clone(); random.usize(1..=5)]);
            notices = copied.collect();
            random.shuffle(&mut notices);
        }
        let mut looked_up = 0;
        for notice in &notices {
            if replica.orders.notice(notice).await.unwrap() == Heed::LookUp {
                looked_up += 1;
            }
        }
        assert_eq!(looked_up, orders / 6, "each late charge once");
        all.insert(seed, ends(&world, &replica, &ids).await);
    }
    let in_order = &all[&0];
    assert_eq!(in_order.iter().filter(|(status, ..)| *status == OrderStatus::Refunded).count(), orders / 2);
    assert!(all.values().all(|ends| ends == in_order), "{all:?}");
}

#[actix_rt::test]
async fn money_that_is_taken_late_is_refunded_once_and_only_if_it_was() {
    let world = World::new();
    let replica = world.replica("r1");
    let id = replica.orders.accept(ask("k", "pm_card_chargeDeclined")).await.unwrap().order.value.id;
    assert_eq!(world.settled(&replica, &id).await.status, OrderStatus::Rejected);
    let intent = world.payments.intents(&id)[0].id.clone();
    // It was not: the provider's own word is what counts.
    let said = notice(1, &id, &intent, Claim::Captured);
    assert_eq!(replica.orders.notice(&said).await.unwrap(), Heed::Nothing);
    assert_eq!(world.order(&replica, &id).await.status, OrderStatus::Rejected);

    world.payments.charge_late(&id);
    // While the provider cannot be asked, it should say so again.
    let down = PaymentError::Unavailable { reason: "down".to_owned(), retry_after: None };
    world.payments.script(PaymentCall::LookUp, [PaymentFault::Fails(down)]);
    assert!(replica.orders.notice(&said).await.is_err());
    for _ in 0..3 {
        replica.orders.notice(&said).await.unwrap();
    }
    let order = world.settled(&replica, &id).await;
    assert_eq!((order.status, order.reason), (OrderStatus::Refunded, Some(Reason::PaymentDeclined)));
    world.check(&replica, &id).await;
    assert_eq!(world.payments.ledger(&id).refunds, 1);
}

#[actix_rt::test]
async fn a_copy_of_a_notice_has_no_effect_while_the_order_waits_on() {
    let world = World::new();
    let replica = world.replica("r1");
    world.payments.script(PaymentCall::Confirm, [PaymentFault::Processing]);
    let id = replica.orders.accept(ask("k", "pm_card_visa")).await.unwrap().order.value.id;
    world.until("it waits", async || world.order(&replica, &id).await.waiting.is_some()).await;
    let intent = world.payments.intents(&id)[0].id.clone();
    // The provider is at it still, so there is something to hurry for all the time.
    let said = notice(1, &id, &intent, Claim::Authorized);
    assert_eq!(replica.orders.notice(&said).await.unwrap(), Heed::Hurry);
    for _ in 0..3 {
        assert_eq!(replica.orders.notice(&said).await.unwrap(), Heed::Nothing);
    }
    let another = notice(2, &id, &intent, Claim::Authorized);
    assert_eq!(replica.orders.notice(&another).await.unwrap(), Heed::Hurry);
}

#[actix_rt::test]
async fn a_notice_ends_a_wait() {
    let world = World::new();
    let replica = world.replica("r1");
    world.payments.script(PaymentCall::Confirm, [PaymentFault::Processing]);
    let id = replica.orders.accept(ask("k", "pm_card_visa")).await.unwrap().order.value.id;
    world.until("it waits", async || world.order(&replica, &id).await.waiting.is_some()).await;
    world.payments.settle(&id, IntentStatus::Authorized);
    let intent = world.payments.intents(&id)[0].id.clone();
    let said = notice(1, &id, &intent, Claim::Authorized);
    assert_eq!(replica.orders.notice(&said).await.unwrap(), Heed::Hurry);
    // Nobody moves the clock.
    world.payments.until(|payments| payments.ledger(&id).captures == 1).await;
    assert_eq!(replica.orders.notice(&said).await.unwrap(), Heed::Nothing);
    world.settled(&replica, &id).await;
    world.check(&replica, &id).await;
}
