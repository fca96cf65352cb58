//! A payment provider that is away for minutes, on a clock that the test moves.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;

use super::world::{World, ask};
use crate::cluster::Clock;
use crate::money::{Currency, Money};
use crate::order_saga::{OrderStatus, TimelineStatus};
use crate::providers::{
    Breaker, BreakerOptions, GuardedPayments, Intent, IntentRequest, NotChargeable, PaymentError, Payments,
    ProviderRefund, RefundRequest,
};
use crate::testing::ScriptedPayments;

const ORDERS: usize = 40;

/// The way to the provider, which may be shut.
struct Way {
    to: Arc<ScriptedPayments>,
    shut: AtomicBool,
}

impl Way {
    fn pass(&self) -> Result<&ScriptedPayments, PaymentError> {
        if self.shut.load(Ordering::SeqCst) {
            return Err(PaymentError::Unavailable { reason: "nobody listens".to_owned(), retry_after: None });
        }
        Ok(&self.to)
    }
}

#[async_trait]
impl Payments for Way {
    fn name(&self) -> &'static str {
        self.to.name()
    }

    fn check_amount(&self, amount: Money) -> Result<(), NotChargeable> {
        self.to.check_amount(amount)
    }

    fn check_refund(&self, amount: Money) -> Result<(), NotChargeable> {
        self.to.check_refund(amount)
    }

    async fn create(&self, request: &IntentRequest) -> Result<Intent, PaymentError> {
        self.pass()?.create(request).await
    }

    async fn confirm(&self, id: &str, key: &str) -> Result<Intent, PaymentError> {
        self.pass()?.confirm(id, key).await
    }

    async fn capture(&self, id: &str, key: &str) -> Result<Intent, PaymentError> {
        self.pass()?.capture(id, key).await
    }

    async fn cancel(&self, id: &str, key: &str) -> Result<Intent, PaymentError> {
        self.pass()?.cancel(id, key).await
    }

    async fn look_up(&self, id: &str) -> Result<Intent, PaymentError> {
        self.pass()?.look_up(id).await
    }

    async fn refund(&self, request: &RefundRequest) -> Result<ProviderRefund, PaymentError> {
        self.pass()?.refund(request).await
    }

    async fn find_refund(&self, request: &RefundRequest) -> Result<Option<ProviderRefund>, PaymentError> {
        self.pass()?.find_refund(request).await
    }

    async fn refunded_elsewhere(&self, intent_id: &str, currency: Currency) -> Result<Money, PaymentError> {
        self.pass()?.refunded_elsewhere(intent_id, currency).await
    }
}

#[actix_rt::test]
async fn a_provider_that_is_away_for_ten_minutes_loses_no_order_and_charges_each_once() {
    // Given a provider that nobody reaches, behind its breaker,
    let mut world = World::new();
    world.holds.set("a", 1000);
    world.holds.set("b", 1000);
    let way = Arc::new(Way { to: world.payments.clone(), shut: AtomicBool::new(true) });
    let breaker = Breaker::new("stripe", BreakerOptions::default(), world.clock.clone());
    world.provider = Arc::new(GuardedPayments::new(way.clone(), breaker));
    let replica = world.replica("r1");

    // orders are accepted, wait, and say for what,
    let mut ids = Vec::new();
    for n in 0..ORDERS {
        ids.push(replica.orders.accept(ask(&format!("k{n}"), "pm_card_visa")).await.unwrap().order.value.id);
    }
    let began = world.clock.now();
    world.until("ten minutes are over", async || world.clock.now().since(began).as_secs() >= 600).await;
    for id in &ids {
        let order = world.order(&replica, id).await;
        assert!(order.waiting.is_some() && order.stuck_since.is_none(), "{order:?}");
        let timeline = replica.orders.timeline(id).await.unwrap().entries;
        let waits: Vec<_> = timeline.iter().filter(|entry| entry.status == TimelineStatus::Waiting).collect();
        assert_eq!(waits.len(), 1, "a wait is told once: {timeline:?}");
        assert!(waits[0].detail.is_some(), "{timeline:?}");
    }
    assert_eq!(world.payments.ledgers().len(), 0);

    // and when it is back all are finished within five minutes, each charged once.
    way.shut.store(false, Ordering::SeqCst);
    let back = world.clock.now();
    for id in &ids {
        assert_eq!(world.settled(&replica, id).await.status, OrderStatus::Confirmed);
        world.check(&replica, id).await;
    }
    assert!(world.clock.now().since(back) <= Duration::from_secs(300));
    assert_eq!(world.payments.ledgers().len(), ORDERS);
}
