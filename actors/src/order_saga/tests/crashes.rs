//! Every crash point, once and twice: the incarnation falls, the next one goes on from the store.

use std::collections::BTreeSet;
use std::time::Duration;

use super::world::{Replica, World, ask, usd};
use crate::audit::By;
use crate::order_saga::{CRASH_POINTS, OrderCommand, OrderStatus, Reason, RequestRefund, Share, Whose};
use crate::testing::{PaymentCall, PaymentFault};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Story {
    Good,
    LostReplies,
    Declined,
    DeclinedAndLostReplies,
    Cancelled,
    RefundedInPart,
}

impl Story {
    const ALL: [Self; 6] = [
        Self::Good,
        Self::LostReplies,
        Self::Declined,
        Self::DeclinedAndLostReplies,
        Self::Cancelled,
        Self::RefundedInPart,
    ];

    fn method(self) -> &'static str {
        match self {
            Self::Declined | Self::DeclinedAndLostReplies => "pm_card_chargeDeclined",
            _ => "pm_card_visa",
        }
    }

    fn end(self) -> OrderStatus {
        match self {
            Self::Declined | Self::DeclinedAndLostReplies => OrderStatus::Rejected,
            Self::Cancelled => OrderStatus::Refunded,
            _ => OrderStatus::Confirmed,
        }
    }

    /// What is asked of the order when it is confirmed, again until there is an answer.
    async fn ask(self, world: &World, replica: &Replica, id: &str) {
        let refund = RequestRefund {
            id: "part".to_owned(),
            fingerprint: String::new(),
            share: Share::Amount(usd(1000)),
            reason: None,
        };
        if !matches!(self, Self::Cancelled | Self::RefundedInPart) {
            return;
        }
        loop {
            let (orders, id, refund) = (replica.orders.clone(), id.to_owned(), refund.clone());
            let asking = actix_rt::spawn(async move {
                let cancel = OrderCommand::Cancel { by: Reason::RequestedByCustomer };
                match self {
                    Self::Cancelled => {
                        orders.command(&id, Whose::Anyones(&By::system()), None, &cancel).await.map(drop)
                    }
                    _ => orders
                        .request_refund(&id, Whose::Anyones(&By::system()), None, refund)
                        .await
                        .map(drop),
                }
            });
            match world.drive(asking).await {
                Ok(answer) => return answer.unwrap(),
                // It fell. One that fell behind its commit left the order without its saga.
                Err(_) => replica.orders.look_for_left_over(),
            }
            replica.adoption.round().await.unwrap();
        }
    }

    fn prepare(self, world: &World) {
        use PaymentCall::{Cancel, Capture, Confirm, Create, Refund};
        if !matches!(self, Self::Good | Self::Declined) {
            for call in [Create, Confirm, Capture, Cancel, Refund] {
                world.payments.script(call, [PaymentFault::ReplyLost]);
            }
        }
    }
}

/// The points that the saga's own incarnation can fall at.
fn saga_points() -> impl Iterator<Item = &'static str> {
    let outside = |point: &&str| ["accept.", "adopt.", "email."].iter().any(|with| point.starts_with(with));
    CRASH_POINTS.iter().copied().filter(move |point| !outside(point))
}

#[actix_rt::test]
async fn an_incarnation_that_falls_anywhere_once_or_twice_leaves_an_order_that_ends_right() {
    let mut fell_at = BTreeSet::new();
    for point in saga_points() {
        for story in Story::ALL {
            for (skip, times) in [(0, 1), (0, 2), (1, 1), (2, 2), (3, 1), (4, 1), (5, 2)] {
                if skip > 0 && !point.starts_with("record.") {
                    continue;
                }
                let world = World::new();
                let replica = world.replica("r1");
                story.prepare(&world);
                world.plan.crash(point, skip, times);
                let id = replica.orders.accept(ask("k", story.method())).await.unwrap().order.value.id;

                world.settled(&replica, &id).await;
                story.ask(&world, &replica, &id).await;
                let order = world.settled_by_rounds(&replica, &id).await;

                let expected = story.end();
                assert_eq!(order.status, expected, "{point} {story:?} {skip} {times}");
                let part = if story == Story::RefundedInPart { 1000 } else { 0 };
                assert!(order.payment.refunded == part || expected == OrderStatus::Refunded);
                world.check(&replica, &id).await;
                if world.plan.left() < times {
                    fell_at.insert(point);
                }
                world.deliver(&replica).await;
                let confirmations = usize::from(expected == OrderStatus::Confirmed);
                let refunds = usize::from(matches!(story, Story::Cancelled | Story::RefundedInPart));
                let sent = world.mailer.sent();
                let of = |kind: &str| sent.iter().filter(|mail| mail.id.starts_with(kind)).count();
                let told = (of("order_confirmation."), of("order_refunded."), sent.len());
                let expected = (confirmations, refunds, confirmations + refunds);
                assert_eq!(told, expected, "{point} {story:?} {skip} {times}");
            }
        }
    }
    assert_eq!(fell_at, saga_points().collect(), "some points are never passed");
}

#[actix_rt::test]
async fn a_replica_that_falls_while_it_accepts_leaves_no_order_or_one_that_ends() {
    for (point, stored) in [("accept.before_commit", false), ("accept.after_commit", true)] {
        let world = World::new();
        let falls = world.replica("r1");
        world.plan.crash(point, 0, 1);
        let orders = falls.orders.clone();
        let fell = actix_rt::spawn(async move { orders.accept(ask("k", "pm_card_visa")).await }).await;
        assert!(fell.is_err());
        world.living.lives("r1", false);

        let next = world.replica("r2");
        assert_eq!(next.adoption.round().await.unwrap(), usize::from(stored), "{point}");
        let again = next.orders.accept(ask("k", "pm_card_visa")).await.unwrap();
        assert_eq!(again.replayed, stored, "{point}");
        world.settled(&next, &again.order.value.id).await;
        world.check(&next, &again.order.value.id).await;
        assert_eq!(world.payments.ledgers().len(), 1);
    }
}

#[actix_rt::test]
async fn recovery_that_falls_is_done_by_the_next_round() {
    for point in ["adopt.before_commit", "adopt.after_commit"] {
        for times in [1, 2] {
            let world = World::new();
            let dead = world.replica("r1");
            let mut held = world.payments.hold(PaymentCall::Create);
            let id = dead.orders.accept(ask("k", "pm_card_visa")).await.unwrap().order.value.id;
            held.arrived().await;
            world.living.lives("r1", false);
            world.plan.crash(point, 0, times);
            let next = world.replica("r2");
            for _ in 0..times {
                let adoption = next.adoption.clone();
                let _ = actix_rt::spawn(async move { adoption.round().await }).await;
            }
            next.adoption.round().await.unwrap();
            let order = world.settled(&next, &id).await;
            assert_eq!((order.status, order.epoch), (OrderStatus::Confirmed, 2), "{point} {times}");
            world.check(&next, &id).await;
            drop(held);
        }
    }
}

#[actix_rt::test]
async fn a_replica_that_falls_around_the_mail_sends_at_most_one_more_for_each_fall() {
    for (point, most) in [("email.before", 1), ("email.after", 1)] {
        for times in [1, 2] {
            let world = World::new();
            let replica = world.replica("r1");
            world.plan.crash(point, 0, times);
            let id = replica.orders.accept(ask("k", "pm_card_visa")).await.unwrap().order.value.id;
            world.settled(&replica, &id).await;
            for _ in 0..times {
                replica.outbox.round().await.unwrap();
                assert_eq!(replica.outbox.round().await.unwrap(), 0, "the lease stands");
                world.clock.advance(Duration::from_secs(61));
            }
            world.deliver(&replica).await;
            let sent = world.mailer.sent();
            let extra = if point == "email.after" { times as usize } else { 0 };
            assert_eq!(sent.len(), most + extra, "{point} {times}");
            assert!(sent.iter().all(|mail| mail.id == sent[0].id));
        }
    }
}
