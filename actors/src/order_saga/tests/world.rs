//! A small world for sagas: one store, stock and a payment provider, any number of replicas.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;

use super::holds::ScriptedHolds;
use crate::cluster::Clock;
use crate::inventory::HoldStatus;
use crate::money::{Currency, Money};
use crate::order_saga::{
    AcceptOrder, Adoption, CrashPoints, EventRecord, Line, Liveness, Order, OrderEvent, OrderMails,
    OrderStatus, Orders, OrdersOptions, OrdersParts, Patience, Payment, RefundStatus, Step,
};
use crate::outbox::{Outbox, OutboxOptions, Recipient, Recipients, Waker};
use crate::providers::Payments;
use crate::store::{StoreError, find};
use crate::supervision::{Arbiters, Tree, lock};
use crate::testing::{ManualClock, MemoryStore, RecordingMailer, ScriptedPayments};
use crate::time::Timestamp;

pub(super) fn usd(minor: i64) -> Money {
    Money::new(minor, Currency::from_code("USD").unwrap())
}

pub(super) fn lines() -> Vec<Line> {
    let line = |sku: &str, quantity, cents| Line {
        sku: sku.to_owned(),
        name: format!("The {sku}"),
        quantity,
        unit_price: usd(cents),
        refunded: 0,
    };
    vec![line("a", 2, 500), line("b", 1, 1999)]
}

/// An order that was just accepted.
pub(super) fn order() -> Order {
    let at = Timestamp::from_millis(1_750_000_000_000);
    Order {
        id: "o1".to_owned(),
        user_id: "u1".to_owned(),
        command_key: "u1:k".to_owned(),
        fingerprint: "f".to_owned(),
        status: OrderStatus::Pending,
        reason: None,
        lines: lines(),
        hold_id: None,
        total: usd(2999),
        shipping_address: None,
        payment_method: "pm_card_visa".to_owned(),
        payment: Payment::default(),
        refunds_due: Vec::new(),
        shipped_at: None,
        tracking_number: None,
        delivered_at: None,
        step: Some(Step::Hold),
        waiting: None,
        stuck_since: None,
        trace: None,
        owner: Some("r1".to_owned()),
        epoch: 1,
        events: 1,
        created_at: at,
        updated_at: at,
    }
}

pub(super) fn ask(key: &str, method: &str) -> AcceptOrder {
    AcceptOrder {
        hold_id: None,
        command_key: key.to_owned(),
        fingerprint: format!("body of {key}"),
        user_id: "u1".to_owned(),
        lines: lines(),
        shipping_address: None,
        payment_method: method.to_owned(),
    }
}

/// Who lives.
#[derive(Default)]
pub(super) struct Living {
    live: Mutex<HashSet<String>>,
}

impl Living {
    pub(super) fn lives(&self, incarnation: &str, lives: bool) {
        let mut live = lock(&self.live);
        if lives {
            live.insert(incarnation.to_owned());
        } else {
            live.remove(incarnation);
        }
    }
}

#[async_trait]
impl Liveness for Living {
    fn am_live(&self) -> bool {
        true
    }

    async fn is_live(&self, incarnation: &str) -> Result<bool, StoreError> {
        Ok(lock(&self.live).contains(incarnation))
    }
}

/// A user who has deleted their account.
pub(super) const GONE: &str = "gone";

pub(super) struct Addresses;

#[async_trait]
impl Recipients for Addresses {
    async fn address(&self, user_id: &str) -> Result<Option<Recipient>, StoreError> {
        let found = Recipient { email: format!("{user_id}@example.com"), name: "Una".to_owned() };
        Ok(Some(found).filter(|_| user_id != GONE))
    }
}

/// Panics at chosen passes of a crash point: by point, passes to let through and times to panic.
#[derive(Default)]
pub(super) struct Plan {
    state: Mutex<HashMap<&'static str, (u32, u32)>>,
}

impl Plan {
    /// Panic `times` times at `point`, after letting `skip` passes through.
    pub(super) fn crash(&self, point: &'static str, skip: u32, times: u32) {
        lock(&self.state).insert(point, (skip, times));
    }

    fn pass(&self, point: &'static str) {
        let mut state = lock(&self.state);
        let crash = match state.get_mut(point) {
            Some((0, times)) if *times > 0 => {
                *times -= 1;
                true
            }
            Some((skip, _)) => {
                *skip = skip.saturating_sub(1);
                false
            }
            None => false,
        };
        drop(state);
        assert!(!crash, "the test crashes at {point}");
    }

    /// Crashes that were planned and have not happened.
    pub(super) fn left(&self) -> u32 {
        lock(&self.state).values().map(|(_, times)| times).sum()
    }
}

pub(super) struct Replica {
    pub(super) orders: Orders,
    pub(super) adoption: Arc<Adoption>,
    pub(super) outbox: Arc<Outbox>,
}

pub(super) struct World {
    pub(super) clock: Arc<ManualClock>,
    pub(super) store: Arc<MemoryStore>,
    pub(super) holds: Arc<ScriptedHolds>,
    pub(super) payments: Arc<ScriptedPayments>,
    /// What the sagas call; `payments` itself unless a test puts something in between.
    pub(super) provider: Arc<dyn Payments>,
    pub(super) mailer: Arc<RecordingMailer>,
    pub(super) living: Arc<Living>,
    pub(super) plan: Arc<Plan>,
    pub(super) tree: Tree,
    arbiters: Arc<Arbiters>,
}

impl Drop for World {
    fn drop(&mut self) {
        self.arbiters.stop();
    }
}

impl World {
    /// Must be made inside an actix `System`. There are 10 of SKU a and 10 of SKU b.
    pub(super) fn new() -> Self {
        let clock = Arc::new(ManualClock::default());
        let holds = Arc::new(ScriptedHolds::default());
        holds.set("a", 10);
        holds.set("b", 10);
        let payments = Arc::new(ScriptedPayments::default());
        Self {
            store: Arc::new(MemoryStore::new(clock.clone())),
            tree: Tree::new(clock.clone()),
            clock,
            holds,
            provider: payments.clone(),
            payments,
            mailer: Arc::default(),
            living: Arc::default(),
            plan: Arc::default(),
            arbiters: Arc::new(Arbiters::start(1)),
        }
    }

    pub(super) fn replica(&self, incarnation: &str) -> Replica {
        self.replica_with(incarnation, OrdersOptions::default())
    }

    pub(super) fn replica_with(&self, incarnation: &str, options: OrdersOptions) -> Replica {
        self.living.lives(incarnation, true);
        let plan = self.plan.clone();
        let crash_points = CrashPoints::new(move |point| plan.pass(point));
        let waker = Waker::default();
        let parts = OrdersParts {
            store: self.store.clone(),
            clock: self.clock.clone(),
            holds: self.holds.clone(),
            payments: self.provider.clone(),
            outbox: waker.clone(),
            incarnation: incarnation.to_owned(),
            crash_points: crash_points.clone(),
        };
        let orders = Orders::new(parts, options, self.arbiters.clone(), self.tree.clone());
        let mails =
            OrderMails::new(self.store.clone(), Arc::new(Addresses), self.mailer.clone(), crash_points);
        let outbox = Outbox::new(
            self.store.clone(),
            self.clock.clone(),
            incarnation.to_owned(),
            waker,
            mails.performers().collect(),
            OutboxOptions::default(),
        );
        Replica {
            adoption: Arc::new(Adoption::new(orders.clone(), self.living.clone())),
            orders,
            outbox: Arc::new(outbox),
        }
    }

    /// Spins until `seen`, moving the clock on whenever somebody sleeps on it. It gives up so late that
    /// only what never comes is given up, however busy the machine.
    pub(super) async fn until(&self, what: &str, mut seen: impl AsyncFnMut() -> bool) {
        let began = Instant::now();
        while !seen().await {
            assert!(began.elapsed() < Duration::from_secs(120), "never seen: {what}");
            if self.clock.sleepers() > 0 {
                self.clock.advance(Duration::from_millis(50));
            }
            std::thread::yield_now();
            tokio::task::yield_now().await;
        }
    }

    /// What `work` comes to, the clock moved on whenever somebody sleeps on it.
    pub(super) async fn drive<T>(&self, work: impl Future<Output = T>) -> T {
        tokio::pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done,
                () = tokio::task::yield_now() => {}
            }
            if self.clock.sleepers() > 0 {
                self.clock.advance(Duration::from_millis(50));
            }
            std::thread::yield_now();
        }
    }

    /// The order once its saga is done.
    pub(super) async fn settled(&self, replica: &Replica, id: &str) -> Order {
        self.until("a settled order", async || {
            let order = self.order(replica, id).await;
            order.status.is_settled() && order.step.is_none()
        })
        .await;
        self.order(replica, id).await
    }

    /// The order once its saga is done, with the rounds that a replica makes all the time: a command
    /// that fell behind its commit, while the saga was leaving, is found by the next one.
    pub(super) async fn settled_by_rounds(&self, replica: &Replica, id: &str) -> Order {
        self.until("a settled order", async || {
            replica.adoption.round().await.unwrap();
            let order = self.order(replica, id).await;
            order.status.is_settled() && order.step.is_none()
        })
        .await;
        self.order(replica, id).await
    }

    pub(super) async fn order(&self, replica: &Replica, id: &str) -> Order {
        replica.orders.get(id).await.unwrap().unwrap().value
    }

    /// The order's events as stored, by name.
    pub(super) async fn events(&self, id: &str) -> Vec<String> {
        let query = EventRecord::behind(id, 0).limit(1000);
        let (found, next) = find::<EventRecord>(self.store.as_ref(), query).await.unwrap();
        assert!(next.is_none());
        let events = found.into_iter().flat_map(|record| record.value.events());
        let name = |(n, event): (u64, OrderEvent)| {
            assert_eq!(event.number, n);
            serde_json::to_value(&event.event).unwrap()["type"].as_str().unwrap().to_owned()
        };
        (1..).zip(events).map(name).collect()
    }

    /// Performs jobs until none is left, letting leases lapse.
    pub(super) async fn deliver(&self, replica: &Replica) {
        for _ in 0..10 {
            replica.outbox.round().await.unwrap();
            self.clock.advance(Duration::from_secs(61));
        }
    }

    /// Money, stock and order agree.
    pub(super) async fn check(&self, replica: &Replica, id: &str) -> Order {
        let order = self.order(replica, id).await;
        let ledger = self.payments.ledger(id);
        assert!(ledger.captures <= 1 && ledger.authorizations <= 1, "{ledger:?}");
        assert_eq!(ledger.authorized, 0, "money is left reserved");
        match order.status {
            OrderStatus::Confirmed => {
                assert_eq!((ledger.captures, ledger.captured), (1, 2999));
                assert_eq!(self.holds.status(id), Some(HoldStatus::Committed));
            }
            OrderStatus::Shipped | OrderStatus::Delivered => {
                assert_eq!(self.holds.status(id), Some(HoldStatus::Committed));
            }
            OrderStatus::Rejected | OrderStatus::Cancelled => {
                assert_eq!(ledger.captures, 0);
                assert!(matches!(
                    self.holds.status(id),
                    None | Some(HoldStatus::Released | HoldStatus::Returned)
                ));
            }
            OrderStatus::Refunded => {
                assert_eq!((ledger.captured, ledger.refunded), (2999, 2999));
                let kept = order.shipped_at.is_some();
                assert_eq!(kept, self.holds.status(id) == Some(HoldStatus::Committed), "{order:?}");
            }
            other => panic!("not settled: {other:?}"),
        }
        assert_eq!((order.payment.captured, order.payment.refunded), (ledger.captured, ledger.refunded));
        assert!(order.refunds_due.is_empty(), "{order:?}");
        let (refunds, _) = replica.orders.refunds(id, 1000, None).await.unwrap();
        let given_back = refunds.iter().filter(|refund| refund.status == RefundStatus::Succeeded);
        let given_back: i64 = given_back.map(|refund| refund.amount.minor).sum();
        assert_eq!(given_back + order.payment.refunded_elsewhere, ledger.refunded);
        assert_eq!(self.events(id).await.len() as u64, order.events);
        order
    }
}

/// Patience of seconds, so that a test sees its end.
pub(super) fn hasty() -> OrdersOptions {
    let patience =
        Patience { give_up: Duration::from_secs(20), stuck: Duration::from_secs(20), ..Patience::default() };
    OrdersOptions { patience, ..OrdersOptions::default() }
}

pub(super) fn now(world: &World) -> Timestamp {
    world.clock.now()
}
