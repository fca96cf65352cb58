//! One replica among what fails: replies that are lost, a provider or a store that is down, commits
//! of which nobody knows.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;

use super::holds::HoldFault;
use super::world::{World, ask, hasty, now};
use crate::inventory::HoldStatus;
use crate::money::{Currency, Money};
use crate::order_saga::{AcceptError, OrderStatus, Reason, Step, TimelineStatus};
use crate::providers::{
    Intent, IntentRequest, IntentStatus, NotChargeable, PaymentError, Payments, ProviderRefund, RefundRequest,
};
use crate::supervision::lock;
use crate::testing::{CommitFault, PaymentCall, PaymentFault, ScriptedPayments};

const A_WHILE: Duration = Duration::from_secs(10);

fn down() -> PaymentFault {
    PaymentFault::Fails(PaymentError::Unavailable { reason: "down".to_owned(), retry_after: None })
}

#[actix_rt::test]
async fn lost_replies_everywhere_charge_once() {
    let world = World::new();
    let replica = world.replica("r1");
    world.holds.script([HoldFault::Unavailable, HoldFault::ReplyLost, HoldFault::Unavailable]);
    for call in [PaymentCall::Create, PaymentCall::Confirm, PaymentCall::Capture] {
        world.payments.script(call, [PaymentFault::ReplyLost]);
    }
    let id = replica.orders.accept(ask("k", "pm_card_visa")).await.unwrap().order.value.id;
    let order = world.settled(&replica, &id).await;
    assert_eq!(order.status, OrderStatus::Confirmed);
    world.check(&replica, &id).await;
    let ledger = world.payments.ledger(&id);
    assert_eq!((ledger.intents, ledger.authorizations, ledger.captures), (1, 1, 1));
    // A look-up told how each of them ended; none was sent again.
    assert_eq!(world.payments.calls(PaymentCall::LookUp), 2);
    assert_eq!(world.payments.calls(PaymentCall::Confirm), 1);
    assert_eq!(world.payments.calls(PaymentCall::Capture), 1);
}

#[actix_rt::test]
async fn lost_replies_while_undoing_release_once() {
    let world = World::new();
    let replica = world.replica("r1");
    world.payments.script(PaymentCall::Confirm, [PaymentFault::ReplyLost]);
    world.payments.script(PaymentCall::Cancel, [PaymentFault::ReplyLost]);
    let id = replica.orders.accept(ask("k", "pm_card_chargeDeclined")).await.unwrap().order.value.id;
    world.settled(&replica, &id).await;
    world.check(&replica, &id).await;
    assert_eq!(world.holds.available("a"), 10);
}

/// A provider that fails at the first key of each confirmation and capture, and repeats that answer
/// to that key for ever, as Stripe does with its own errors.
#[derive(Default)]
struct KeepsItsErrors {
    inner: Arc<ScriptedPayments>,
    bad: Mutex<Vec<String>>,
}

impl KeepsItsErrors {
    fn answer(&self, key: &str, call: &str) -> Result<(), PaymentError> {
        let mut bad = lock(&self.bad);
        if !bad.iter().any(|key| key.contains(call)) {
            bad.push(key.to_owned());
        }
        if bad.iter().any(|bad| bad == key) {
            return Err(PaymentError::OutcomeUnknown("500".to_owned()));
        }
        Ok(())
    }
}

#[async_trait]
impl Payments for KeepsItsErrors {
    fn name(&self) -> &'static str {
        self.inner.name()
    }
    fn check_amount(&self, amount: Money) -> Result<(), NotChargeable> {
        self.inner.check_amount(amount)
    }
    fn check_refund(&self, amount: Money) -> Result<(), NotChargeable> {
        self.inner.check_refund(amount)
    }
    async fn create(&self, request: &IntentRequest) -> Result<Intent, PaymentError> {
        self.inner.create(request).await
    }
    async fn confirm(&self, id: &str, key: &str) -> Result<Intent, PaymentError> {
        self.answer(key, "authorize")?;
        self.inner.confirm(id, key).await
    }
    async fn capture(&self, id: &str, key: &str) -> Result<Intent, PaymentError> {
        self.answer(key, "capture")?;
        self.inner.capture(id, key).await
    }
    async fn cancel(&self, id: &str, key: &str) -> Result<Intent, PaymentError> {
        self.inner.cancel(id, key).await
    }
    async fn look_up(&self, id: &str) -> Result<Intent, PaymentError> {
        self.inner.look_up(id).await
    }
    async fn refund(&self, request: &RefundRequest) -> Result<ProviderRefund, PaymentError> {
        self.inner.refund(request).await
    }
    async fn find_refund(&self, request: &RefundRequest) -> Result<Option<ProviderRefund>, PaymentError> {
        self.inner.find_refund(request).await
    }
    async fn refunded_elsewhere(&self, intent_id: &str, currency: Currency) -> Result<Money, PaymentError> {
        self.inner.refunded_elsewhere(intent_id, currency).await
    }
}

#[actix_rt::test]
async fn a_call_that_did_not_count_is_sent_again_under_another_key() {
    let mut world = World::new();
    let provider = Arc::new(KeepsItsErrors { inner: world.payments.clone(), ..Default::default() });
    world.provider = provider.clone();
    let replica = world.replica("r1");
    let id = replica.orders.accept(ask("k", "pm_card_visa")).await.unwrap().order.value.id;
    assert_eq!(world.settled(&replica, &id).await.status, OrderStatus::Confirmed);
    world.check(&replica, &id).await;
    assert_eq!(lock(&provider.bad).len(), 2);
}

#[actix_rt::test]
async fn an_intent_that_is_processed_for_a_while_is_waited_for() {
    let world = World::new();
    let replica = world.replica("r1");
    world.payments.script(PaymentCall::Confirm, [PaymentFault::Processing]);
    let id = replica.orders.accept(ask("k", "pm_card_visa")).await.unwrap().order.value.id;
    world
        .until("it waits", async || {
            world.order(&replica, &id).await.waiting.is_some_and(|w| w.reason.contains("processed"))
        })
        .await;
    world.payments.settle(&id, IntentStatus::Authorized);
    assert_eq!(world.settled(&replica, &id).await.status, OrderStatus::Confirmed);
    world.check(&replica, &id).await;
}

#[actix_rt::test]
async fn a_provider_that_is_down_for_minutes_delays_an_order_with_its_reason_and_loses_none() {
    let world = World::new();
    let replica = world.replica("r1");
    world.payments.script(PaymentCall::Confirm, (0..12).map(|_| down()));
    let id = replica.orders.accept(ask("k", "pm_card_visa")).await.unwrap().order.value.id;
    let began = now(&world);

    world.until("it waits", async || world.order(&replica, &id).await.waiting.is_some()).await;
    let waiting = world.order(&replica, &id).await;
    assert!(waiting.waiting.unwrap().reason.contains("down"));
    assert_eq!((waiting.status, waiting.step), (OrderStatus::StockHeld, Some(Step::Authorize)));
    let status = replica.orders.saga_status(&id, A_WHILE).await.unwrap();
    assert_eq!(status.step, Some(Step::Authorize));

    let order = world.settled(&replica, &id).await;
    assert_eq!(order.status, OrderStatus::Confirmed);
    assert!(now(&world).since(began) >= Duration::from_secs(60));
    let timeline = replica.orders.timeline(&id).await.unwrap().entries;
    let authorize: Vec<_> = timeline.iter().filter(|entry| entry.step == "authorize").collect();
    assert_eq!(authorize.len(), 2, "one entry when it begins to wait, one when it goes on");
    assert_eq!((authorize[0].status, authorize[0].attempt), (TimelineStatus::Waiting, 3));
    assert_eq!((authorize[1].status, authorize[1].attempt), (TimelineStatus::Done, 13));
    world.check(&replica, &id).await;
}

#[actix_rt::test]
async fn a_nudge_ends_a_pause() {
    let world = World::new();
    let replica = world.replica("r1");
    let asked = Some(Duration::from_secs(200));
    let busy = PaymentError::Unavailable { reason: "busy".to_owned(), retry_after: asked };
    world.payments.script(PaymentCall::Confirm, [PaymentFault::Fails(busy)]);
    let id = replica.orders.accept(ask("k", "pm_card_visa")).await.unwrap().order.value.id;
    world.payments.until(|payments| payments.calls(PaymentCall::Confirm) == 1).await;

    replica.orders.nudge(&id, A_WHILE).await.unwrap();

    world.payments.until(|payments| payments.ledger(&id).captures == 1).await;
    assert_eq!(world.clock.sleepers(), 0, "nobody waited for the clock");
    world.settled(&replica, &id).await;
}

#[actix_rt::test]
async fn patience_before_authorisation_ends_in_a_rejection_that_releases() {
    let world = World::new();
    let replica = world.replica_with("r1", hasty());
    world.payments.script(PaymentCall::Confirm, (0..200).map(|_| down()));
    let id = replica.orders.accept(ask("k", "pm_card_visa")).await.unwrap().order.value.id;
    let order = world.settled(&replica, &id).await;
    assert_eq!((order.status, order.reason), (OrderStatus::Rejected, Some(Reason::PaymentUnavailable)));
    world.check(&replica, &id).await;
    assert_eq!(world.holds.status(&id), Some(HoldStatus::Released));
}

#[actix_rt::test]
async fn a_capture_that_lasts_too_long_is_listed_as_stuck_and_done_in_the_end() {
    let world = World::new();
    let replica = world.replica_with("r1", hasty());
    world.payments.script(PaymentCall::Capture, (0..20).map(|_| down()));
    let id = replica.orders.accept(ask("k", "pm_card_visa")).await.unwrap().order.value.id;
    world
        .until("it is listed", async || {
            let (stuck, _) =
                replica.orders.find(crate::order_saga::unfinished(None, None), None).await.unwrap();
            stuck.iter().any(|order| order.value.id == id)
        })
        .await;
    assert_eq!(world.settled(&replica, &id).await.status, OrderStatus::Confirmed);
    world.check(&replica, &id).await;
    assert!(replica.orders.find(crate::order_saga::unfinished(None, None), None).await.unwrap().0.is_empty());
}

#[actix_rt::test]
async fn commits_whose_outcome_is_unknown_count_once() {
    use CommitFault::{LostAfter, LostBefore, Unavailable};
    let accepting = [vec![], vec![LostAfter], vec![LostBefore, LostBefore], vec![LostBefore, LostAfter]];
    let running = [
        vec![LostAfter; 8],
        vec![LostBefore; 5],
        vec![LostAfter, LostBefore, Unavailable, LostBefore, LostAfter, Unavailable, LostAfter],
        vec![LostBefore, LostAfter, LostBefore, LostBefore, LostAfter, LostAfter],
    ];
    for (accepting, running) in accepting.into_iter().zip(running) {
        let world = World::new();
        let replica = world.replica("r1");
        let mut held = world.payments.hold(PaymentCall::Create);
        world.store.fail_commits(accepting.clone());
        let orders = replica.orders.clone();
        let accept = actix_rt::spawn(async move { orders.accept(ask("k", "pm_card_visa")).await });
        world.until("an answer", async || accept.is_finished()).await;
        let accepted = accept.await.unwrap().unwrap();
        assert!(!accepted.replayed, "{accepting:?}");
        let id = accepted.order.value.id;
        held.arrived().await;
        world.store.fail_commits(running.clone());
        held.release();

        let order = world.settled(&replica, &id).await;

        assert_eq!(order.status, OrderStatus::Confirmed, "{running:?}");
        assert_eq!(world.events(&id).await.len(), 7, "{running:?}");
        world.check(&replica, &id).await;
        world.deliver(&replica).await;
        assert_eq!(world.mailer.sent().len(), 1, "{running:?}");
    }
}

#[actix_rt::test]
async fn a_store_that_is_down_refuses_and_later_takes_up_where_it_was() {
    let world = World::new();
    let replica = world.replica("r1");
    let mut held = world.payments.hold_reply(PaymentCall::Confirm);
    let id = replica.orders.accept(ask("k", "pm_card_visa")).await.unwrap().order.value.id;
    held.arrived().await;
    world.store.set_down(true);
    held.release();
    let refused = replica.orders.accept(ask("l", "pm_card_visa")).await;
    assert!(matches!(refused, Err(AcceptError::Unavailable(_))));
    let mut waited = 0;
    world
        .until("it tries again", async || {
            waited += 1;
            waited > 2000
        })
        .await;
    world.store.set_down(false);
    assert_eq!(world.settled(&replica, &id).await.status, OrderStatus::Confirmed);
    world.check(&replica, &id).await;
}
