//! What the provider says unasked: late, in any order, any number of times.

use std::collections::BTreeMap;

use super::holds::HoldFault;
use super::world::{Replica, World, ask, usd};
use crate::audit::By;
use crate::inventory::HoldLine;
use crate::order_saga::{
    Claim, CommandError, Heed, Notice, OrderCommand, OrderStatus, OrdersOptions, Reason, Refund,
    RefundStatus, RequestRefund, Share, Step, TimelineStatus, Whose,
};
use crate::providers::{IntentStatus, PaymentError};
use crate::testing::{PaymentCall, PaymentFault};

/// What is said of a refund is said of the one that an order which is undone begins with.
fn notice(number: usize, order_id: &str, intent_id: &str, claim: Claim) -> Notice {
    Notice {
        id: format!("evt_{number}"),
        order_id: order_id.to_owned(),
        intent_id: intent_id.to_owned(),
        refund_id: (claim == Claim::Refunded).then(|| format!("{order_id}-rest")),
        claim,
    }
}

fn about(refund_id: &str, notice: Notice) -> Notice {
    Notice { refund_id: Some(refund_id.to_owned()), ..notice }
}

/// A paid order, and its intent.
async fn confirmed(world: &World, replica: &Replica, key: &str) -> (String, String) {
    let id = replica.orders.accept(ask(key, "pm_card_visa")).await.unwrap().order.value.id;
    assert_eq!(world.settled(replica, &id).await.status, OrderStatus::Confirmed);
    let intent = world.payments.intents(&id)[0].id.clone();
    (id, intent)
}

async fn command(replica: &Replica, id: &str, command: OrderCommand) {
    replica.orders.command(id, Whose::Anyones(&By::system()), None, &command).await.unwrap();
}

const CANCEL: OrderCommand = OrderCommand::Cancel { by: Reason::RequestedByCustomer };

async fn ask_back(replica: &Replica, id: &str, refund_id: &str, share: Share) {
    let ask = RequestRefund { id: refund_id.to_owned(), fingerprint: String::new(), share, reason: None };
    replica.orders.request_refund(id, Whose::Anyones(&By::system()), None, ask).await.unwrap();
}

async fn refund(replica: &Replica, id: &str, refund_id: &str) -> Refund {
    let (refunds, _) = replica.orders.refunds(id, 10, None).await.unwrap();
    refunds.into_iter().find(|refund| refund.id == refund_id).unwrap()
}

/// Orders that ended in every way, and what is said of them, true or not.
async fn many(world: &World, replica: &Replica, orders: usize) -> (Vec<String>, Vec<Notice>) {
    use Claim::{Authorized, Canceled, Captured, Failed, GivenBack, Refunded};
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
        for claim in [Authorized, Captured, Failed, Canceled, Refunded, GivenBack] {
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

/// Orders of one run: each is told of by 18 notices. `scripts/chaos` asks for more by
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

#[actix_rt::test]
async fn a_notice_ends_a_wait_in_another_replica() {
    for runs_sagas in [true, false] {
        let world = World::new();
        let owner = world.replica("r1");
        let other = world.replica_with("r2", OrdersOptions { runs_sagas, ..OrdersOptions::default() });
        world.payments.script(PaymentCall::Confirm, [PaymentFault::Processing]);
        let id = owner.orders.accept(ask("k", "pm_card_visa")).await.unwrap().order.value.id;
        world.until("it waits", async || world.order(&owner, &id).await.waiting.is_some()).await;
        world.payments.settle(&id, IntentStatus::Authorized);
        let intent = world.payments.intents(&id)[0].id.clone();
        let said = notice(1, &id, &intent, Claim::Authorized);
        assert_eq!(other.orders.notice(&said).await.unwrap(), Heed::Hurry);
        if !runs_sagas {
            // It is left to those who run them.
            assert_eq!(owner.adoption.round().await.unwrap(), 1);
        }
        // Nobody moves the clock.
        world.payments.until(|payments| payments.ledger(&id).captures == 1).await;
        assert_eq!(other.orders.notice(&said).await.unwrap(), Heed::Nothing);
        let order = world.settled(&owner, &id).await;
        assert_eq!((order.status, order.epoch), (OrderStatus::Confirmed, if runs_sagas { 2 } else { 3 }));
        // Whoever had it before finds that out and leaves.
        let gone = async || owner.orders.live() + other.orders.live() == 0;
        world.until("both leave", gone).await;
        assert_eq!(world.check(&owner, &id).await, order);
    }
}

#[actix_rt::test]
async fn a_refund_that_fails_after_all_is_made_again_once_and_only_if_it_did() {
    let world = World::new();
    let replica = world.replica("r1");
    let (id, intent) = confirmed(&world, &replica, "k").await;
    command(&replica, &id, CANCEL).await;
    let before = world.settled(&replica, &id).await;
    let (other, _) = confirmed(&world, &replica, "other").await;
    let rest = format!("{id}-rest");
    let said = notice(1, &id, &intent, Claim::Refunded);
    // It did not: the provider's own word is what counts.
    assert_eq!(replica.orders.notice(&said).await.unwrap(), Heed::Nothing);

    world.payments.fail_refund(&id, &rest);
    // Nor does it count for a refund that is not there, or another order.
    let forged = [
        about("none", said.clone()),
        about(&rest, notice(2, &other, &intent, Claim::Refunded)),
        about(&rest, notice(3, &other, &world.payments.intents(&other)[0].id, Claim::Refunded)),
        Notice { refund_id: None, ..said.clone() },
    ];
    for notice in &forged {
        assert_eq!(replica.orders.notice(notice).await.unwrap(), Heed::Nothing, "{notice:?}");
    }
    // While the provider cannot be asked, it should say so again.
    let down = PaymentError::Unavailable { reason: "down".to_owned(), retry_after: None };
    world.payments.script(PaymentCall::FindRefund, [PaymentFault::Fails(down)]);
    assert!(replica.orders.notice(&said).await.is_err());
    assert_eq!(world.order(&replica, &id).await, before);

    assert_eq!(replica.orders.notice(&said).await.unwrap(), Heed::LookUpRefund);
    // It is told by two events, and each comes again.
    let updated = notice(4, &id, &intent, Claim::Refunded);
    for copy in [&said, &updated, &said, &updated] {
        assert_eq!(replica.orders.notice(copy).await.unwrap(), Heed::Nothing);
    }
    let order = world.settled(&replica, &id).await;
    assert_eq!((order.status, order.reason), (OrderStatus::Refunded, before.reason));
    world.check(&replica, &id).await;
    let ledger = world.payments.ledger(&id);
    assert_eq!((ledger.refunds, ledger.refunded), (2, 2999));
    let failed = refund(&replica, &id, &rest).await;
    assert_eq!(failed.status, RefundStatus::Failed);
    assert!(failed.failure.is_some() && failed.reference.is_some(), "{failed:?}");
    // Stock came back when the order was cancelled, and not again. The other order has its own.
    assert_eq!((world.holds.available("a"), world.holds.available("b")), (8, 9));
    let timeline = replica.orders.timeline(&id).await.unwrap();
    let told = timeline.entries.iter().filter(|entry| entry.status == TimelineStatus::Failed);
    let told: Vec<_> = told.map(|entry| (entry.step, entry.detail.clone())).collect();
    assert_eq!(told, [("refund", failed.failure)]);
    // The mail about the first had not gone out yet.
    world.deliver(&replica).await;
    let sent = world.mailer.sent();
    let sent: Vec<_> = sent.iter().filter(|mail| mail.id.starts_with("order_refunded.")).collect();
    assert_eq!(sent.len(), 1, "{sent:?}");
    assert_eq!(sent[0].id, format!("order_refunded.{id}-rest-2"));

    // If it fails once more, somebody has to see to it: nothing is tried any more.
    let second = format!("{id}-rest-2");
    world.payments.fail_refund(&id, &second);
    let said = about(&second, notice(5, &id, &intent, Claim::Refunded));
    assert_eq!(replica.orders.notice(&said).await.unwrap(), Heed::LookUpRefund);
    world.until("it is listed", async || world.order(&replica, &id).await.stuck_since.is_some()).await;
    assert_eq!(world.order(&replica, &id).await.status, OrderStatus::Refunding);
    assert_eq!(world.payments.ledger(&id).refunds, 2);

    // What they give back by hand ends it, heard of or not.
    world.payments.refund_by_hand(&id, 2999);
    let order = world.settled(&replica, &id).await;
    assert_eq!((order.status, order.payment.refunded), (OrderStatus::Refunded, 2999));
    world.check(&replica, &id).await;
}

#[actix_rt::test]
async fn a_part_that_fails_after_all_can_be_asked_for_again() {
    let world = World::new();
    let replica = world.replica("r1");
    let (id, intent) = confirmed(&world, &replica, "k").await;
    let unit = || Share::Lines(vec![HoldLine { sku: "a".to_owned(), quantity: 1 }]);
    ask_back(&replica, &id, "one", unit()).await;
    world.settled(&replica, &id).await;
    world.payments.fail_refund(&id, "one");
    let said = about("one", notice(1, &id, &intent, Claim::Refunded));
    assert_eq!(replica.orders.notice(&said).await.unwrap(), Heed::LookUpRefund);
    assert_eq!(replica.orders.notice(&said).await.unwrap(), Heed::Nothing);
    let order = world.check(&replica, &id).await;
    assert_eq!((order.status, order.step, &order.owner), (OrderStatus::Confirmed, None, &None));
    assert_eq!((order.payment.refunded, order.lines[0].refunded), (0, 0));
    assert_eq!(refund(&replica, &id, "one").await.status, RefundStatus::Failed);

    // Another comes back while the next one is under way.
    ask_back(&replica, &id, "two", unit()).await;
    world.settled(&replica, &id).await;
    let mut held = world.payments.hold(PaymentCall::Refund);
    ask_back(&replica, &id, "three", Share::Amount(usd(700))).await;
    held.arrived().await;
    world.payments.fail_refund(&id, "two");
    let said = about("two", notice(2, &id, &intent, Claim::Refunded));
    assert_eq!(replica.orders.notice(&said).await.unwrap(), Heed::LookUpRefund);
    assert_eq!(world.order(&replica, &id).await.step, Some(Step::Refund));
    held.release();
    let order = world.settled(&replica, &id).await;
    assert_eq!((order.status, order.payment.refunded), (OrderStatus::Confirmed, 700));
    world.check(&replica, &id).await;
    assert_eq!(world.payments.ledger(&id).refunds, 3);
}

#[actix_rt::test]
async fn all_of_an_order_is_refunded_again_by_itself_only_if_its_goods_are_with_the_shop() {
    for shipped in [false, true] {
        let world = World::new();
        let replica = world.replica("r1");
        let (id, intent) = confirmed(&world, &replica, "k").await;
        if shipped {
            command(&replica, &id, OrderCommand::Ship { tracking_number: None }).await;
        }
        ask_back(&replica, &id, "all", Share::Rest).await;
        assert_eq!(world.settled(&replica, &id).await.status, OrderStatus::Refunded);
        world.payments.fail_refund(&id, "all");
        let said = about("all", notice(1, &id, &intent, Claim::Refunded));
        assert_eq!(replica.orders.notice(&said).await.unwrap(), Heed::LookUpRefund);
        let order = world.settled(&replica, &id).await;
        let (status, refunded) =
            if shipped { (OrderStatus::Shipped, 0) } else { (OrderStatus::Refunded, 2999) };
        assert_eq!((order.status, order.payment.refunded), (status, refunded));
        world.check(&replica, &id).await;
    }
}

#[actix_rt::test]
async fn a_refund_that_fails_before_that_can_be_recorded_should_be_told_of_again() {
    let world = World::new();
    let replica = world.replica("r1");
    let (id, intent) = confirmed(&world, &replica, "k").await;
    let said = notice(1, &id, &intent, Claim::Refunded);
    let mut held = world.payments.hold_reply(PaymentCall::Refund);
    world.holds.script([HoldFault::Unavailable; 5]);
    command(&replica, &id, CANCEL).await;
    held.arrived().await;
    world.payments.fail_refund(&id, &format!("{id}-rest"));
    // The saga has yet to hear that it succeeded.
    let refused = replica.orders.notice(&said).await;
    assert!(matches!(refused, Err(CommandError::Unavailable(_))), "{refused:?}");
    held.release();
    let stock = async || world.order(&replica, &id).await.step == Some(Step::ReleaseStock);
    world.until("stock is asked for", stock).await;
    // The way back to the refund leads through the end.
    let refused = replica.orders.notice(&said).await;
    assert!(matches!(refused, Err(CommandError::Unavailable(_))), "{refused:?}");
    assert_eq!(world.settled(&replica, &id).await.status, OrderStatus::Refunded);
    assert_eq!(world.payments.ledger(&id).refunded, 0);

    assert_eq!(replica.orders.notice(&said).await.unwrap(), Heed::LookUpRefund);
    assert_eq!(world.settled(&replica, &id).await.status, OrderStatus::Refunded);
    world.check(&replica, &id).await;
    assert_eq!((world.holds.available("a"), world.holds.available("b")), (10, 10));
}

/// Somebody gives money back at the provider, and the provider says so.
#[actix_rt::test]
async fn what_was_refunded_by_hand_counts_once_and_only_if_it_was() {
    for shipped in [false, true] {
        let world = World::new();
        let replica = world.replica("r1");
        let (id, intent) = confirmed(&world, &replica, "k").await;
        let at_rest = if shipped { OrderStatus::Shipped } else { OrderStatus::Confirmed };
        if shipped {
            command(&replica, &id, OrderCommand::Ship { tracking_number: None }).await;
        }
        let said = notice(1, &id, &intent, Claim::GivenBack);
        assert_eq!(replica.orders.notice(&said).await.unwrap(), Heed::Nothing, "nothing was");
        // A refund of ours is told of in the same words.
        ask_back(&replica, &id, "ours", Share::Amount(usd(99))).await;
        world.settled(&replica, &id).await;
        assert_eq!(replica.orders.notice(&said).await.unwrap(), Heed::Nothing, "it was ours");

        world.payments.refund_by_hand(&id, 1000);
        let down = PaymentError::Unavailable { reason: "down".to_owned(), retry_after: None };
        world.payments.script(PaymentCall::RefundedElsewhere, [PaymentFault::Fails(down)]);
        assert!(replica.orders.notice(&said).await.is_err(), "it should be said again");
        assert_eq!(replica.orders.notice(&said).await.unwrap(), Heed::LookElsewhere);
        for again in [said, notice(2, &id, &intent, Claim::GivenBack)] {
            assert_eq!(replica.orders.notice(&again).await.unwrap(), Heed::Nothing);
        }
        let order = world.check(&replica, &id).await;
        assert_eq!((order.status, order.step, order.payment.refunded), (at_rest, None, 1099));
        assert_eq!(order.left_to_refund(), usd(1900));

        // All that is left, too: the order ends, and goods that are there come back.
        world.payments.refund_by_hand(&id, 1900);
        let said = notice(3, &id, &intent, Claim::GivenBack);
        assert_eq!(replica.orders.notice(&said).await.unwrap(), Heed::LookElsewhere);
        let order = world.settled(&replica, &id).await;
        assert_eq!((order.status, order.payment.refunded), (OrderStatus::Refunded, 2999));
        world.check(&replica, &id).await;
        assert_eq!(world.holds.available("a"), if shipped { 8 } else { 10 });
        let timeline = replica.orders.timeline(&id).await.unwrap().entries;
        let told = timeline
            .iter()
            .filter(|entry| entry.detail.as_ref().is_some_and(|d| d.contains("at the provider")));
        assert_eq!(told.count(), 2);
    }
}

/// The provider does not say so, or not yet: a refund of ours meets it.
#[actix_rt::test]
async fn an_order_of_which_money_was_refunded_by_hand_is_undone_all_the_same() {
    for by_hand in [1000, 2999] {
        let world = World::new();
        let replica = world.replica("r1");
        let (id, intent) = confirmed(&world, &replica, "k").await;
        world.payments.refund_by_hand(&id, by_hand);
        command(&replica, &id, CANCEL).await;
        let order = world.settled(&replica, &id).await;
        assert_eq!((order.status, order.payment.refunded), (OrderStatus::Refunded, 2999), "{by_hand}");
        world.check(&replica, &id).await;
        assert_eq!(world.payments.ledger(&id).refunded, 2999);
        assert_eq!((world.holds.available("a"), world.holds.available("b")), (10, 10));
        assert_eq!(refund(&replica, &id, &format!("{id}-rest")).await.status, RefundStatus::Failed);
        let said = notice(1, &id, &intent, Claim::GivenBack);
        assert_eq!(replica.orders.notice(&said).await.unwrap(), Heed::Nothing);
    }
}

#[actix_rt::test]
async fn refunds_that_too_little_is_left_for_end_as_failed() {
    let world = World::new();
    let replica = world.replica("r1");
    let (id, intent) = confirmed(&world, &replica, "k").await;
    world.payments.refund_by_hand(&id, 1000);
    ask_back(&replica, &id, "one", Share::Amount(usd(2500))).await;
    let order = world.settled(&replica, &id).await;
    assert_eq!((order.status, order.payment.refunded), (OrderStatus::Confirmed, 1000));
    assert_eq!(refund(&replica, &id, "one").await.status, RefundStatus::Failed);
    world.check(&replica, &id).await;

    // All is given back by hand while two of ours are under way; the provider says so first.
    let mut held = world.payments.hold(PaymentCall::Refund);
    ask_back(&replica, &id, "two", Share::Amount(usd(500))).await;
    held.arrived().await;
    ask_back(&replica, &id, "three", Share::Amount(usd(600))).await;
    world.payments.refund_by_hand(&id, 1999);
    let said = notice(1, &id, &intent, Claim::GivenBack);
    assert_eq!(replica.orders.notice(&said).await.unwrap(), Heed::LookElsewhere);
    held.release();
    let order = world.settled(&replica, &id).await;
    assert_eq!((order.status, order.payment.refunded), (OrderStatus::Refunded, 2999));
    world.check(&replica, &id).await;
    for id_of in ["two", "three"] {
        assert_eq!(refund(&replica, &id, id_of).await.status, RefundStatus::Failed);
    }
    assert_eq!(world.payments.ledger(&id).refunded, 2999);
}
