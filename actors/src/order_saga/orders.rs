//! Orders for those who ask: accept one, find its saga. Reading them is next door, in `reading.rs`.
//!
//! Who calls it: HTTP, and [`super::Adoption`]. What never happens here: an answer before the
//! commit.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use moka::sync::Cache;
use serde_json::{Map, Value};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use super::actor::{Nudge, OrderSaga, SagaStatus, Status};
use super::crash_points::CrashPoints;
use super::decide::{Attempt, Patience, pause};
use super::event::Event;
use super::hub::Hub;
use super::order::{Line, ORDERS, Order, OrderStatus, Payment};
use super::order_event::{OrderEvent, with_events};
use super::state::Step;
use super::steps::Ports;
use crate::cluster::Clock;
use crate::ids;
use crate::inventory::{Hold, Holds, TakeError};
use crate::money::{AmountError, Money};
use crate::outbox::Waker;
use crate::providers::{NotChargeable, Payments};
use crate::store::{Batch, CommitError, Query, Store, StoreError, Versioned, find};
use crate::supervision::{Arbiters, AskError, Registry, RegistryOptions, Tree};

/// How long the saga of an accepted order need not read it: it begins at once, or much later.
const ACCEPTED_JUST_NOW: Duration = Duration::from_secs(5);

/// What orders are built on.
pub struct OrdersParts {
    /// Where they are stored.
    pub store: Arc<dyn Store>,
    /// The present.
    pub clock: Arc<dyn Clock>,
    /// Stock.
    pub holds: Arc<dyn Holds>,
    /// The payment provider.
    pub payments: Arc<dyn Payments>,
    /// Wakes the outbox of this replica.
    pub outbox: Waker,
    /// This replica's incarnation: the owner of the sagas that it runs.
    pub incarnation: String,
    /// Nothing, outside tests.
    pub crash_points: CrashPoints,
}

/// Bounds.
#[derive(Clone, Copy, Debug)]
pub struct OrdersOptions {
    /// Sagas that may live in this replica at once. Further orders are refused with
    /// [`AcceptError::TooManyLive`]; orphans wait in the store.
    pub capacity: usize,
    /// Whether this replica runs sagas. One that doesn't accepts orders without an owner.
    pub runs_sagas: bool,
    /// How steps are retried.
    pub patience: Patience,
    /// After this long the outcome of a call to stock or to the payment provider is unknown,
    /// whatever deadline the call has of its own.
    pub call_deadline: Duration,
    /// How long a leaving saga may take to finish its step.
    pub drain: Duration,
}

impl Default for OrdersOptions {
    fn default() -> Self {
        Self {
            capacity: 10_000,
            runs_sagas: true,
            patience: Patience::default(),
            call_deadline: Duration::from_secs(60),
            drain: Duration::from_secs(10),
        }
    }
}

/// Asks for an order. Validated by the caller: lines, SKUs and prices are what they should be.
#[derive(Clone, Debug)]
pub struct AcceptOrder {
    /// The client's Idempotency-Key. The same key of the same user is the same command, for as
    /// long as the order is kept.
    pub command_key: String,
    /// A digest of the client's body: another one with the same key is refused.
    pub fingerprint: String,
    /// Who orders.
    pub user_id: String,
    /// What, at the server's prices: at least one, one currency, no SKU twice.
    pub lines: Vec<Line>,
    /// The shopper's hold over the same lines that the order takes over.
    pub hold_id: Option<String>,
    /// Where to.
    pub shipping_address: Option<Map<String, Value>>,
    /// The provider's name of the payment method.
    pub payment_method: String,
}

/// An accepted order.
#[derive(Clone, Debug)]
pub struct Accepted {
    /// The order.
    pub order: Versioned<Order>,
    /// Whether an earlier arrival of this command made it.
    pub replayed: bool,
}

/// Why there is no order.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AcceptError {
    /// The key was used for a command with another body.
    #[error("the key was used for another order")]
    KeyReused,
    /// The lines have no total that can be paid: none or zero.
    #[error("there is nothing to pay")]
    NothingToPay,
    /// The lines have no total: several currencies, or too large.
    #[error("the total {0}")]
    Total(#[from] AmountError),
    /// The payment provider cannot charge the total.
    #[error("the total {0}")]
    NotChargeable(#[from] NotChargeable),
    /// The hold cannot be taken over. Nothing was accepted.
    #[error("the hold cannot be taken over: {0}")]
    Hold(#[from] TakeError),
    /// Nothing was accepted: as many sagas live as may. Try again later.
    #[error("too many orders are under way")]
    TooManyLive,
    /// Nothing was accepted: the store is unavailable. Try again later.
    #[error("orders cannot be accepted for now: {0}")]
    Unavailable(String),
    /// The order may have been accepted. The same command again tells.
    #[error("the outcome is unknown: {0}")]
    OutcomeUnknown(String),
}

/// The orders. Cheap to clone.
#[derive(Clone)]
pub struct Orders {
    pub(super) ports: Arc<Ports>,
    registry: Registry<OrderSaga>,
    pub(super) options: OrdersOptions,
    recovery: Arc<Recovery>,
}

/// What adoption must know of the rest.
#[derive(Default)]
struct Recovery {
    wake: Notify,
    left_over: AtomicBool,
    draining: AtomicBool,
}

impl Orders {
    /// Orders whose sagas live on `arbiters` and show in `tree` as `order-saga`.
    pub fn new(parts: OrdersParts, options: OrdersOptions, arbiters: Arc<Arbiters>, tree: Tree) -> Self {
        let ports = Arc::new(Ports {
            store: parts.store,
            clock: parts.clock,
            holds: parts.holds,
            payments: parts.payments,
            outbox: parts.outbox,
            crash_points: parts.crash_points,
            incarnation: parts.incarnation,
            hub: Hub::default(),
            accepted: Cache::builder()
                .max_capacity(options.capacity as u64)
                .time_to_live(ACCEPTED_JUST_NOW)
                .build(),
            patience: options.patience,
            call_deadline: options.call_deadline,
        });
        let bounds = RegistryOptions {
            kind: "order-saga",
            mailbox: 16,
            capacity: options.capacity,
            // A saga is busy for as long as it lives.
            idle: Duration::from_secs(60),
            drain: options.drain,
        };
        let of_saga = ports.clone();
        let registry = Registry::new(bounds, arbiters, tree, move |id, lifeline| {
            let ports = of_saga.clone();
            async move { OrderSaga::load(ports, &id, lifeline).await }
        });
        Self { ports, registry, options, recovery: Arc::default() }
    }

    /// Accepts an order and starts its saga. When this returns, the order survives everything.
    ///
    /// # Errors
    /// [`AcceptError`].
    pub async fn accept(&self, ask: AcceptOrder) -> Result<Accepted, AcceptError> {
        let fingerprint = ask.fingerprint.clone();
        let (user_id, command_key) = (ask.user_id.clone(), ask.command_key.clone());
        let (mut order, mut events) = match self.draft(ask) {
            Ok(drafted) => drafted,
            // It may have been worth something when it was ordered first.
            Err(refused) => {
                let earlier = self.earlier(&user_id, &command_key, &fingerprint).await?;
                return earlier.ok_or(refused);
            }
        };
        if self.options.runs_sagas && self.room() == 0 {
            // A command that comes again is known by its record, room or not.
            return match self.by_command(&order.command_key).await {
                Ok(Some(earlier)) => replay(earlier, &fingerprint),
                Ok(None) => Err(AcceptError::TooManyLive),
                Err(error) => Err(AcceptError::Unavailable(error.to_string())),
            };
        }
        let taken = match self.take_hold(&mut order, &mut events).await {
            Ok(taken) => taken,
            Err(refused) => {
                // A command that came before has the hold already.
                return match self.by_command(&order.command_key).await {
                    Ok(Some(earlier)) => replay(earlier, &fingerprint),
                    Ok(None) => Err(refused),
                    Err(error) => Err(AcceptError::Unavailable(error.to_string())),
                };
            }
        };
        self.ports.crash_points.pass("accept.before_commit");
        let committed = self.commit_new(&order, &events, taken.as_ref()).await;
        self.ports.crash_points.pass("accept.after_commit");
        match committed {
            Ok(()) => {
                self.ports.hub.changed(&order.id, &order.user_id);
                if self.options.runs_sagas {
                    let stored = Versioned { value: order.clone(), version: 1 };
                    self.ports.accepted.insert(order.id.clone(), stored);
                }
                self.start(&order.id);
                Ok(Accepted { order: Versioned { value: order, version: 1 }, replayed: false })
            }
            Err(CommitError::Conflict(_)) => match self.by_command(&order.command_key).await {
                Ok(Some(found)) if found.value.id == order.id => {
                    self.start(&order.id);
                    Ok(Accepted { order: found, replayed: false })
                }
                Ok(Some(earlier)) => replay(earlier, &fingerprint),
                // The hold moved on between the read and the commit: to its end, or to another.
                Ok(None) if taken.is_some() => Err(self.why_not_taken(&order).await),
                Ok(None) => Err(AcceptError::OutcomeUnknown("the order cannot be found".to_owned())),
                Err(error) => Err(AcceptError::OutcomeUnknown(error.to_string())),
            },
            Err(CommitError::Unavailable(reason)) => Err(AcceptError::Unavailable(reason)),
            Err(CommitError::OutcomeUnknown(reason)) => {
                self.look_for_left_over();
                Err(AcceptError::OutcomeUnknown(reason))
            }
        }
    }

    /// The order that an earlier arrival of this command made.
    ///
    /// # Errors
    /// [`AcceptError::KeyReused`], [`AcceptError::Unavailable`].
    pub async fn earlier(
        &self,
        user_id: &str,
        command_key: &str,
        fingerprint: &str,
    ) -> Result<Option<Accepted>, AcceptError> {
        match self.by_command(&of_user(user_id, command_key)).await {
            Ok(Some(earlier)) => replay(earlier, fingerprint).map(Some),
            Ok(None) => Ok(None),
            Err(error) => Err(AcceptError::Unavailable(error.to_string())),
        }
    }

    fn draft(&self, ask: AcceptOrder) -> Result<(Order, Vec<OrderEvent>), AcceptError> {
        let now = self.ports.clock.now();
        let mut total: Option<Money> = None;
        for line in &ask.lines {
            let line = line.total()?;
            total = Some(total.map_or(Ok(line), |sum| sum.plus(line))?);
        }
        let total = total.filter(|total| total.minor > 0).ok_or(AcceptError::NothingToPay)?;
        self.ports.payments.check_amount(total)?;
        let owner = self.prospective_owner().to_owned();
        let mut order = Order {
            id: ids::new_id(),
            command_key: of_user(&ask.user_id, &ask.command_key),
            fingerprint: ask.fingerprint,
            user_id: ask.user_id,
            status: OrderStatus::Pending,
            reason: None,
            lines: ask.lines,
            hold_id: ask.hold_id,
            total,
            shipping_address: ask.shipping_address,
            payment_method: ask.payment_method,
            payment: Payment { provider: self.ports.payments.name().to_owned(), ..Payment::default() },
            refunds_due: Vec::new(),
            shipped_at: None,
            tracking_number: None,
            delivered_at: None,
            step: None,
            waiting: None,
            stuck_since: None,
            trace: crate::trace::current(),
            owner: Some(owner),
            epoch: 1,
            events: 0,
            created_at: now,
            updated_at: now,
        };
        let event = OrderEvent::new(&order, now, 1, Event::Accepted);
        order.events = event.number;
        order.step = Some(Step::Hold);
        Ok((order, vec![event]))
    }

    /// Commits a new order; an unknown outcome is cleared up by committing the same again.
    async fn commit_new(
        &self,
        order: &Order,
        events: &[OrderEvent],
        taken: Option<&Versioned<Hold>>,
    ) -> Result<(), CommitError> {
        const ATTEMPTS: u32 = 3;
        let batch = with_events(Batch::shared().insert(order), events, self.ports.clock.now());
        let batch = taken.into_iter().fold(batch, |batch, hold| batch.replace(&hold.value, hold.version));
        let mut unknown = None;
        for number in 1..=ATTEMPTS {
            match (self.ports.store.commit(batch.clone()).await, &unknown) {
                (Err(CommitError::OutcomeUnknown(reason)), _) => unknown = Some(reason),
                // An earlier attempt may have counted.
                (Err(CommitError::Unavailable(_)), Some(_)) => {}
                (done, _) => return done,
            }
            if number < ATTEMPTS {
                let attempt = Attempt { number, since: order.created_at, jitter: fastrand::f64() };
                self.ports.clock.sleep(pause(attempt, None, &self.options.patience)).await;
            }
        }
        Err(CommitError::OutcomeUnknown(unknown.unwrap_or_default()))
    }

    async fn by_command(&self, command_key: &str) -> Result<Option<Versioned<Order>>, StoreError> {
        let query = Query::by(&ORDERS, "command").equal(command_key).limit(1);
        let (found, _) = find::<Order>(self.ports.store.as_ref(), query).await?;
        Ok(found.into_iter().next())
    }

    /// Makes the order's saga, which this replica must own, look at the store and try its step at
    /// once.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn nudge(&self, order_id: &str, deadline: Duration) -> Result<(), AskError> {
        let until = Instant::now() + deadline;
        // One that is leaving makes room for the next.
        while !self.registry.ask(order_id, Nudge, until.saturating_duration_since(Instant::now())).await? {
            sleep(Duration::from_millis(2)).await;
        }
        Ok(())
    }

    /// What the order's saga in this replica is doing.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn saga_status(&self, order_id: &str, deadline: Duration) -> Result<SagaStatus, AskError> {
        self.registry.ask(order_id, Status, deadline).await
    }

    /// Sagas that live in this replica.
    pub fn live(&self) -> usize {
        self.registry.len()
    }

    /// Lets all sagas finish their step, begins none, and waits for that, `deadline` at most.
    pub async fn drain(&self, deadline: Duration) {
        self.recovery.draining.store(true, Ordering::Release);
        self.registry.drain(deadline).await;
    }

    /// Whether this replica begins nothing any more.
    pub(super) fn is_draining(&self) -> bool {
        self.recovery.draining.load(Ordering::Acquire)
    }

    pub(super) fn room(&self) -> usize {
        self.options.capacity.saturating_sub(self.registry.len())
    }

    pub(super) fn runs_sagas(&self) -> bool {
        self.options.runs_sagas
    }

    /// Whom an order that this replica accepts or takes over names as its owner.
    pub(super) fn prospective_owner(&self) -> &str {
        if self.options.runs_sagas { &self.ports.incarnation } else { "" }
    }

    /// Starts the saga of an order that names this incarnation as its owner. If there is no room,
    /// adoption starts it later.
    pub(super) fn start(&self, order_id: &str) {
        if !self.options.runs_sagas {
            self.recovery.wake.notify_one();
        } else if let Err(error) = self.registry.get(order_id) {
            tracing::debug!(order = order_id, %error, "an order's saga starts later");
            self.ports.accepted.invalidate(order_id);
            self.look_for_left_over();
        }
    }

    /// Whether the saga lives, could be started, or is held back: whether others may be started.
    pub(super) fn ensure_started(&self, order_id: &str) -> bool {
        !matches!(self.registry.get(order_id), Err(AskError::Full | AskError::Leaving))
    }

    pub(super) fn look_for_left_over(&self) {
        self.recovery.left_over.store(true, Ordering::Release);
        self.recovery.wake.notify_one();
    }

    pub(super) fn take_left_over(&self) -> bool {
        self.recovery.left_over.swap(false, Ordering::AcqRel)
    }

    pub(super) async fn woken(&self) {
        self.recovery.wake.notified().await;
    }
}

/// A user's id has no colon, so two users never make the same key.
fn of_user(user_id: &str, command_key: &str) -> String {
    format!("{user_id}:{command_key}")
}

fn replay(earlier: Versioned<Order>, fingerprint: &str) -> Result<Accepted, AcceptError> {
    if earlier.value.fingerprint != fingerprint {
        return Err(AcceptError::KeyReused);
    }
    Ok(Accepted { order: earlier, replayed: true })
}
