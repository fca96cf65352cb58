//! One replica: good ends, bad ends, lost replies, waits.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;

use super::world::{HoldFault, World, ask, hasty, lines, now, usd};
use crate::inventory::HoldStatus;
use crate::money::{Currency, Money};
use crate::order_saga::{
    AcceptError, AcceptOrder, Line, OrderStatus, OrdersOptions, PaymentStatus, Reason, Step, TimelineStatus,
};
use crate::outbox::{JobStatus, Jobs};
use crate::providers::{
    Intent, IntentRequest, IntentStatus, MailError, NotChargeable, PaymentError, Payments, ProviderRefund,
    RefundRequest,
};
use crate::supervision::lock;
use crate::testing::{CommitFault, MailFault, PaymentCall, PaymentFault, ScriptedPayments};

const A_WHILE: Duration = Duration::from_secs(10);

fn down() -> PaymentFault {
    PaymentFault::Fails(PaymentError::Unavailable { reason: "down".to_owned(), retry_after: None })
}

#[actix_rt::test]
async fn an_order_that_goes_well_is_confirmed_in_four_commits_and_mailed_once() {
    let world = World::new();
    let replica = world.replica("r1");
    let accepted = replica.orders.accept(ask("k", "pm_card_visa")).await.unwrap();
    assert!(!accepted.replayed);
    let id = accepted.order.value.id;

    let order = world.settled(&replica, &id).await;
    assert_eq!(world.store.commits(), 4);
    assert_eq!(order.status, OrderStatus::Confirmed);
    assert_eq!((order.total, order.payment.authorized, order.payment.captured), (usd(2999), 2999, 2999));
    assert_eq!((order.owner, order.step, order.waiting), (None, None, None));
    assert_eq!(
        world.events(&id).await,
        [
            "accepted",
            "stock_held",
            "intent_created",
            "authorized",
            "stock_committed",
            "captured",
            "confirmed"
        ]
    );
    world.check(&replica, &id).await;
    assert_eq!((world.holds.available("a"), world.holds.available("b")), (8, 9));

    world.deliver(&replica).await;
    let sent = world.mailer.sent();
    assert_eq!(sent.len(), 1);
    assert_eq!(
        (sent[0].to.as_str(), sent[0].id.as_str()),
        ("u1@example.com", format!("order_confirmation.{id}").as_str())
    );
    assert!(sent[0].text.contains("29.99 USD") && sent[0].text.contains("2 x The a (a): 10.00 USD"));
    world.until("the saga left", async || replica.orders.live() == 0).await;
}

#[actix_rt::test]
async fn the_intents_id_is_in_the_store_before_money_can_be_in_the_intent() {
    let world = World::new();
    let replica = world.replica("r1");
    let mut held = world.payments.hold(PaymentCall::Confirm);
    let id = replica.orders.accept(ask("k", "pm_card_visa")).await.unwrap().order.value.id;
    held.arrived().await;
    let intent = world.payments.intents(&id)[0].id.clone();
    assert_eq!(world.order(&replica, &id).await.payment.reference, Some(intent));
    held.release();
    world.settled(&replica, &id).await;
}

#[actix_rt::test]
async fn a_declined_card_and_one_that_needs_the_customer_are_undone() {
    let world = World::new();
    let replica = world.replica("r1");
    for (method, reason, event) in [
        ("pm_card_chargeDeclined", Reason::PaymentDeclined, "declined"),
        ("pm_card_authenticationRequired", Reason::AuthenticationRequired, "authentication_required"),
    ] {
        let id = replica.orders.accept(ask(method, method)).await.unwrap().order.value.id;
        let order = world.settled(&replica, &id).await;
        assert_eq!((order.status, order.reason), (OrderStatus::Rejected, Some(reason)));
        assert_eq!(
            world.events(&id).await,
            [
                "accepted",
                "stock_held",
                "intent_created",
                event,
                "intent_canceled",
                "stock_released",
                "rejected"
            ]
        );
        world.check(&replica, &id).await;
        assert_eq!(world.holds.status(&id), Some(HoldStatus::Released));
        assert_eq!(world.payments.ledger(&id).cancels, 1);
        assert_eq!(order.payment.status, PaymentStatus::Canceled);
    }
    assert_eq!((world.holds.available("a"), world.holds.available("b")), (10, 10));
    world.deliver(&replica).await;
    assert_eq!(world.mailer.calls(), 0);
}

#[actix_rt::test]
async fn a_method_that_the_provider_does_not_know_is_told_from_a_decline() {
    let world = World::new();
    let replica = world.replica("r1");
    let id = replica.orders.accept(ask("k", "pm_unknown")).await.unwrap().order.value.id;
    let order = world.settled(&replica, &id).await;
    assert_eq!(order.reason, Some(Reason::PaymentMethodInvalid));
    assert_eq!(world.events(&id).await, ["accepted", "stock_held", "declined", "stock_released", "rejected"]);
    let timeline = replica.orders.timeline(&id).await.unwrap().entries;
    assert_eq!(timeline[2].detail.as_deref(), Some("payment_method_invalid"));
    world.check(&replica, &id).await;
}

#[actix_rt::test]
async fn an_amount_that_cannot_be_charged_is_refused_before_there_is_an_order() {
    let world = World::new();
    let replica = world.replica("r1");
    let asked = |minor| {
        let mut asked = ask("k", "pm_card_visa");
        let dinars = Money::new(minor, Currency::from_code("KWD").unwrap());
        asked.lines = vec![Line { unit_price: dinars, quantity: 3, ..asked.lines[0].clone() }];
        asked
    };
    let refused = replica.orders.accept(asked(1001)).await.unwrap_err();
    assert_eq!(refused, AcceptError::NotChargeable(NotChargeable("does not end in 0".to_owned())));
    assert_eq!((world.store.commits(), world.payments.calls(PaymentCall::Create)), (0, 0));
    let order = replica.orders.accept(asked(1010)).await.unwrap().order.value;
    assert_eq!(order.total.minor, 3030);
    world.settled(&replica, &order.id).await;
}

#[actix_rt::test]
async fn out_of_stock_names_the_skus_and_never_reaches_the_provider() {
    let world = World::new();
    let replica = world.replica("r1");
    world.holds.set("a", 1);
    let id = replica.orders.accept(ask("k", "pm_card_visa")).await.unwrap().order.value.id;
    let order = world.settled(&replica, &id).await;
    assert_eq!((order.status, order.reason), (OrderStatus::Rejected, Some(Reason::OutOfStock)));
    assert_eq!(world.events(&id).await, ["accepted", "stock_refused", "rejected"]);
    assert_eq!(world.store.commits(), 2);
    assert_eq!(world.payments.calls(PaymentCall::Create), 0);
    let timeline = replica.orders.timeline(&id).await.unwrap().entries;
    assert_eq!(timeline[1].status, TimelineStatus::Refused);
    assert_eq!(timeline[1].detail.as_deref(), Some("out_of_stock: a"));
    world.check(&replica, &id).await;
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
            let (stuck, _) = replica.orders.find(crate::order_saga::unfinished(None, None)).await.unwrap();
            stuck.iter().any(|order| order.value.id == id)
        })
        .await;
    assert_eq!(world.settled(&replica, &id).await.status, OrderStatus::Confirmed);
    world.check(&replica, &id).await;
    assert!(replica.orders.find(crate::order_saga::unfinished(None, None)).await.unwrap().0.is_empty());
}

#[actix_rt::test]
async fn an_authorisation_that_is_gone_at_capture_ends_the_order_and_gives_its_stock_back() {
    for gone in [IntentStatus::Canceled, IntentStatus::Unconfirmed] {
        let world = World::new();
        let replica = world.replica("r1");
        let mut held = world.payments.hold(PaymentCall::Capture);
        let id = replica.orders.accept(ask("k", "pm_card_visa")).await.unwrap().order.value.id;
        held.arrived().await;
        assert_eq!(world.holds.status(&id), Some(HoldStatus::Committed));
        world.payments.end_authorization(&id, gone);
        held.release();

        let order = world.settled(&replica, &id).await;

        assert_eq!((order.status, order.reason), (OrderStatus::Rejected, Some(Reason::PaymentDeclined)));
        assert_eq!((order.payment.status, order.payment.authorized), (PaymentStatus::Canceled, 0));
        world.check(&replica, &id).await;
        assert_eq!((world.holds.available("a"), world.holds.available("b")), (10, 10));
        let timeline = replica.orders.timeline(&id).await.unwrap();
        assert!(timeline.entries.iter().any(|entry| entry.detail.as_deref() == Some("authorization_gone")));
    }
}

#[actix_rt::test]
async fn an_event_that_was_long_in_coming_has_a_new_place_and_its_old_time() {
    let world = World::new();
    let replica = world.replica("r1");
    let mut held = world.payments.hold(PaymentCall::Create);
    let id = replica.orders.accept(ask("k", "pm_card_visa")).await.unwrap().order.value.id;
    held.arrived().await;
    // The stock was held before the provider was so slow.
    world.clock.advance(A_WHILE);
    held.release();
    world.settled(&replica, &id).await;
    let events = replica.orders.events_of(&id, 0, 100).await.unwrap();
    let [held, created] = [&events[1], &events[2]];
    assert_eq!((held.kind.as_str(), created.kind.as_str()), ("stock_held", "intent_created"));
    assert!(held.at.since(held.entry.at) >= A_WHILE, "{held:?}");
    assert_eq!(held.at, created.at, "both were committed then");
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
async fn an_accept_whose_outcome_stays_unknown_is_answered_so_and_the_order_still_ends_once() {
    let world = World::new();
    let replica = world.replica("r1");
    world.store.fail_commits([CommitFault::LostBefore, CommitFault::LostBefore, CommitFault::LostAfter]);
    let orders = replica.orders.clone();
    let accepting = actix_rt::spawn(async move { orders.accept(ask("k", "pm_card_visa")).await });
    world.until("an answer", async || accepting.is_finished()).await;
    assert!(matches!(accepting.await.unwrap(), Err(AcceptError::OutcomeUnknown(_))));

    replica.adoption.round().await.unwrap();
    let again = replica.orders.accept(ask("k", "pm_card_visa")).await.unwrap();
    assert!(again.replayed);
    world.settled(&replica, &again.order.value.id).await;
    world.check(&replica, &again.order.value.id).await;
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

#[actix_rt::test]
async fn the_same_command_in_parallel_makes_one_order() {
    let world = World::new();
    let replicas = [world.replica("r1"), world.replica("r2")];
    let accepts = (0..16).map(|n| replicas[n % 2].orders.accept(ask("k", "pm_card_visa")));
    let answers = futures_util::future::join_all(accepts).await;
    let answers: Vec<_> = answers.into_iter().map(Result::unwrap).collect();
    assert_eq!(answers.iter().filter(|answer| !answer.replayed).count(), 1);
    let id = &answers[0].order.value.id;
    assert!(answers.iter().all(|answer| answer.order.value.id == *id));
    world.settled(&replicas[0], id).await;
    world.check(&replicas[0], id).await;
    assert_eq!(world.payments.ledgers().len(), 1);
}

#[actix_rt::test]
async fn the_same_key_with_another_body_is_refused_and_another_users_key_is_another_key() {
    let world = World::new();
    let replica = world.replica("r1");
    let first = replica.orders.accept(ask("k", "pm_card_visa")).await.unwrap();
    let other = AcceptOrder { fingerprint: "another body".to_owned(), ..ask("k", "pm_card_visa") };
    assert_eq!(replica.orders.accept(other).await.unwrap_err(), AcceptError::KeyReused);
    let theirs = AcceptOrder { user_id: "u2".to_owned(), ..ask("k", "pm_card_visa") };
    let theirs = replica.orders.accept(theirs).await.unwrap();
    assert!(!theirs.replayed);
    assert_ne!(first.order.value.id, theirs.order.value.id);

    let id = &theirs.order.value.id;
    assert!(replica.orders.get_of("u2", id).await.unwrap().is_some());
    assert!(replica.orders.get_of("u1", id).await.unwrap().is_none());
    let (mine, _) = replica.orders.page(Some("u1"), None, 10, None).await.unwrap();
    assert_eq!(mine.iter().map(|order| &order.value.id).collect::<Vec<_>>(), [&first.order.value.id]);
}

#[actix_rt::test]
async fn what_has_no_total_is_refused_before_anything_is_stored() {
    let world = World::new();
    let replica = world.replica("r1");
    let with = |lines| AcceptOrder { lines, ..ask("k", "pm_card_visa") };
    assert_eq!(replica.orders.accept(with(Vec::new())).await.unwrap_err(), AcceptError::NothingToPay);
    let mut free = lines();
    free.iter_mut().for_each(|line| line.unit_price = usd(0));
    assert_eq!(replica.orders.accept(with(free)).await.unwrap_err(), AcceptError::NothingToPay);
    let mut huge = lines();
    huge[0].unit_price = usd(999_999_999_999_999);
    assert!(matches!(replica.orders.accept(with(huge)).await, Err(AcceptError::Total(_))));
    assert_eq!(world.store.commits(), 0);
}

#[actix_rt::test]
async fn a_full_replica_refuses_new_orders_and_still_knows_old_ones() {
    let world = World::new();
    let replica = world.replica_with("r1", OrdersOptions { capacity: 1, ..OrdersOptions::default() });
    let mut held = world.payments.hold(PaymentCall::Create);
    let id = replica.orders.accept(ask("k", "pm_card_visa")).await.unwrap().order.value.id;
    held.arrived().await;
    assert_eq!(replica.orders.accept(ask("l", "pm_card_visa")).await.unwrap_err(), AcceptError::TooManyLive);
    assert!(replica.orders.accept(ask("k", "pm_card_visa")).await.unwrap().replayed);
    held.release();
    world.settled(&replica, &id).await;
    world.until("room", async || replica.orders.live() == 0).await;
    assert!(replica.orders.accept(ask("l", "pm_card_visa")).await.is_ok());
}

#[actix_rt::test]
async fn a_message_that_may_have_gone_out_is_sent_again_under_its_id() {
    let world = World::new();
    let replica = world.replica("r1");
    world
        .mailer
        .script([MailFault::Fails(MailError::Temporary("try later".to_owned())), MailFault::ReplyLost]);
    let id = replica.orders.accept(ask("k", "pm_card_visa")).await.unwrap().order.value.id;
    world.settled(&replica, &id).await;
    world.deliver(&replica).await;
    let sent = world.mailer.sent();
    assert_eq!(sent.len(), 2);
    assert_eq!(sent[0], sent[1]);
    let jobs = Jobs::new(world.store.clone(), world.clock.clone(), Default::default(), &[]);
    for status in [JobStatus::Due, JobStatus::Running, JobStatus::Dead] {
        assert!(jobs.find(Jobs::query(Some(status))).await.unwrap().0.is_empty());
    }
}
