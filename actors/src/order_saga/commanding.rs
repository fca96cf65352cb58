//! Commands to orders that are there: cancel, ship, deliver, refund.
//!
//! Who calls it: HTTP. A command is decided on what the store shows and committed at that version,
//! whoever owns the order and whatever its saga is waiting for: the saga meets that as a conflict
//! at its next commit and goes on from there. A command that gives the saga something to do takes
//! the order over at the same time, so that it is done here and now. What never happens here: a
//! call to stock or to the payment provider.

use std::time::Duration;

use super::command::{CommandRefusal, OrderCommand, RequestRefund, decide_command};
use super::event::Event;
use super::mails;
use super::order::Order;
use super::order_event::with_events;
use super::orders::Orders;
use super::refund::{REFUNDS, Refund};
use super::state::{Impossible, apply};
use crate::audit::{AuditEntry, By};
use crate::store::{Batch, CommitError, Cursor, Query, StoreError, Versioned, find, load};
use crate::time::Timestamp;

/// How often a command is decided again because others came first.
const ATTEMPTS: u32 = 50;
/// How long a saga may take to hear that there is something to do.
const TOLD: Duration = Duration::from_secs(2);

/// Whose order it must be.
#[derive(Clone, Copy, Debug)]
pub enum Whose<'a> {
    /// This user's; another's is not there.
    Of(&'a str),
    /// Anyone's: the caller may change all. What such a caller does to another's order is in the
    /// audit log.
    Anyones(&'a By),
}

impl Whose<'_> {
    /// `batch` with what the audit log is told.
    fn audited(self, batch: Batch, order: &Order, command: &OrderCommand, now: Timestamp) -> Batch {
        match self {
            Self::Anyones(by) if by.actor() != order.user_id => {
                let target = format!("order/{}", order.id);
                batch.insert(&AuditEntry::new(by, command.act(), &target, now))
            }
            Self::Of(_) | Self::Anyones(_) => batch,
        }
    }
}

/// Why a command came to nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// There is no such order.
    #[error("there is no such order")]
    NotFound,
    /// The order is not at the version that the command is for.
    #[error("the order has moved on to version {0}")]
    MovedOn(u64),
    /// It is refused.
    #[error(transparent)]
    Refused(#[from] CommandRefusal),
    /// The id was used for a command with another body.
    #[error("the key was used for another refund")]
    KeyReused,
    /// Nothing was done; try again later.
    #[error("orders cannot be changed for now: {0}")]
    Unavailable(String),
    /// It may have been done. The same command again tells.
    #[error("the outcome is unknown: {0}")]
    OutcomeUnknown(String),
}

impl From<StoreError> for CommandError {
    fn from(error: StoreError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

impl From<Impossible> for CommandError {
    fn from(impossible: Impossible) -> Self {
        Self::Unavailable(impossible.to_string())
    }
}

/// A refund that was asked for.
#[derive(Clone, Debug)]
pub struct RefundRequested {
    /// The refund.
    pub refund: Refund,
    /// Whether an earlier arrival of this command made it.
    pub replayed: bool,
}

impl Orders {
    /// Cancels, ships or delivers an order, once however often it is asked for; the order as it
    /// stands then. With `version`, only if the order is at that version.
    ///
    /// # Errors
    /// [`CommandError`].
    pub async fn command(
        &self,
        order_id: &str,
        whose: Whose<'_>,
        version: Option<u64>,
        command: &OrderCommand,
    ) -> Result<Versioned<Order>, CommandError> {
        let mut doubt = Doubt::default();
        for attempt in 0..ATTEMPTS {
            let found = doubt.read(self.find_order(order_id, whose).await)?;
            let events = decide_command(&found.value, command, self.ports.clock.now());
            let events = match events {
                Ok(events) if events.is_empty() => return Ok(found),
                events => doubt.read(events.map_err(CommandError::from))?,
            };
            if version.is_some_and(|version| version != found.version) {
                return doubt.read(Err(CommandError::MovedOn(found.version)));
            }
            let batch = whose.audited(Batch::shared(), &found.value, command, self.ports.clock.now());
            if let Some(done) = self.commit_command(found, events, batch, &mut doubt, attempt).await? {
                return Ok(done);
            }
        }
        Err(doubt.spent())
    }

    /// Asks for a refund, once however often with the same id.
    ///
    /// # Errors
    /// [`CommandError`].
    pub async fn request_refund(
        &self,
        order_id: &str,
        whose: Whose<'_>,
        version: Option<u64>,
        ask: RequestRefund,
    ) -> Result<RefundRequested, CommandError> {
        let mut doubt = Doubt::default();
        let command = OrderCommand::Refund(ask.clone());
        for attempt in 0..ATTEMPTS {
            let found = doubt.read(self.find_order(order_id, whose).await)?;
            let known = load::<Refund>(self.ports.store.as_ref(), &ask.id).await;
            if let Some(known) = doubt.read(known.map_err(CommandError::from))? {
                let same = known.value.fingerprint == ask.fingerprint && known.value.order_id == order_id;
                let replayed = !doubt.is_in_doubt();
                let refund = known.value;
                return if same {
                    Ok(RefundRequested { refund, replayed })
                } else {
                    Err(CommandError::KeyReused)
                };
            }
            let events = decide_command(&found.value, &command, self.ports.clock.now());
            let events = events.and_then(|events| self.if_refundable(events));
            let events = doubt.read(events.map_err(CommandError::from))?;
            if version.is_some_and(|version| version != found.version) {
                return doubt.read(Err(CommandError::MovedOn(found.version)));
            }
            let batch = whose.audited(Batch::shared(), &found.value, &command, self.ports.clock.now());
            if let Some(done) = self.commit_command(found, events, batch, &mut doubt, attempt).await? {
                let refund = done.value.refunds_due.into_iter().find(|refund| refund.id == ask.id);
                let missing = || CommandError::OutcomeUnknown("the refund is not due".to_owned());
                return Ok(RefundRequested { refund: refund.ok_or_else(missing)?, replayed: false });
            }
        }
        Err(doubt.spent())
    }

    /// `events`, if the payment provider can give back what they owe.
    fn if_refundable(&self, events: Vec<Event>) -> Result<Vec<Event>, CommandRefusal> {
        for event in &events {
            if let Event::RefundRequested { refund } = event {
                let of_lines = refund.lines.is_some();
                let checked = self.ports.payments.check_refund(refund.amount);
                checked.map_err(|why| CommandRefusal::NotRefundable { of_lines, why })?;
            }
        }
        Ok(events)
    }

    /// The refunds of an order, newest first; `limit` 1 to 1,000. Who may see the order is for the
    /// caller to ask first ([`Self::get_of`]).
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn refunds(
        &self,
        order_id: &str,
        limit: usize,
        after: Option<Cursor>,
    ) -> Result<(Vec<Refund>, Option<Cursor>), StoreError> {
        let query = Query::by(&REFUNDS, "order").equal(order_id).descending().limit(limit).after(after);
        let (found, next) = find::<Refund>(self.ports.store.as_ref(), query).await?;
        Ok((found.into_iter().map(|refund| refund.value).collect(), next))
    }

    async fn find_order(&self, order_id: &str, whose: Whose<'_>) -> Result<Versioned<Order>, CommandError> {
        let found = match whose {
            Whose::Of(user_id) => self.get_of(user_id, order_id).await?,
            Whose::Anyones(_) => self.get(order_id).await?,
        };
        found.ok_or(CommandError::NotFound)
    }

    /// Commits what follows from a command, with what `batch` has already; `None` if it has to be
    /// decided again.
    pub(super) async fn commit_command(
        &self,
        found: Versioned<Order>,
        events: Vec<Event>,
        batch: Batch,
        doubt: &mut Doubt,
        attempt: u32,
    ) -> Result<Option<Versioned<Order>>, CommandError> {
        let mut order = found.value.clone();
        let (batch, to_do) = self.batch_of(batch, &found, &mut order, events)?;
        self.ports.crash_points.pass("command.before_commit");
        let committed = self.ports.store.commit(batch).await;
        self.ports.crash_points.pass("command.after_commit");
        match committed {
            Ok(()) => {
                self.ports.hub.changed(&order.id, &order.user_id);
                if to_do {
                    self.resume(&order.id);
                }
                if order.shipped_at.is_some() {
                    self.ports.outbox.wake();
                }
                return Ok(Some(Versioned { value: order, version: found.version + 1 }));
            }
            Err(CommitError::Conflict(_)) => {}
            Err(CommitError::Unavailable(reason)) if !doubt.is_in_doubt() => {
                return Err(CommandError::Unavailable(reason));
            }
            Err(CommitError::Unavailable(reason) | CommitError::OutcomeUnknown(reason)) => {
                doubt.0 = Some(reason);
                // Should it have counted, and this replica not be told.
                self.look_for_left_over();
            }
        }
        let longest = Duration::from_millis(u64::from(2 * (attempt + 1)).min(50));
        self.ports.clock.sleep(longest.mul_f64(fastrand::f64())).await;
        Ok(None)
    }

    /// Takes `order` on, and writes that down; whether there is something for its saga to do.
    fn batch_of(
        &self,
        batch: Batch,
        found: &Versioned<Order>,
        order: &mut Order,
        events: Vec<Event>,
    ) -> Result<(Batch, bool), Impossible> {
        let now = self.ports.clock.now();
        let progress = events.iter().any(|event| !event.is_note());
        let mut happened = Vec::with_capacity(events.len() + 1);
        for event in events {
            happened.push(apply(order, event, 1, now)?);
        }
        let to_do = progress && order.step.is_some();
        let owner = self.prospective_owner();
        if to_do && order.owner.as_deref() != Some(owner) {
            happened.push(apply(order, Event::Adopted { by: owner.to_owned() }, 1, now)?);
        }
        let mut batch = with_events(batch.change(found, order), &happened, now);
        for happened in &happened {
            batch = mails::job(happened).iter().fold(batch, Batch::insert);
            if let Event::RefundRequested { refund } = &happened.event {
                batch = batch.insert(&**refund);
            }
        }
        Ok((batch, to_do))
    }

    /// Lets the saga know that there is something to do.
    pub(super) fn resume(&self, order_id: &str) {
        if !self.runs_sagas() {
            return self.look_for_left_over();
        }
        // It takes its place at once; one that is there already, or is leaving, has to be told.
        self.start(order_id);
        let (orders, id) = (self.clone(), order_id.to_owned());
        tokio::spawn(async move {
            if let Err(error) = orders.nudge(&id, TOLD).await {
                tracing::debug!(order = id, %error, "an order's saga hears of its command later");
                orders.look_for_left_over();
            }
        });
    }
}

/// Why an attempt's outcome is unknown, if one is: from then on only what shows that it counted is
/// an answer.
#[derive(Default)]
pub(super) struct Doubt(Option<String>);

impl Doubt {
    pub(super) fn is_in_doubt(&self) -> bool {
        self.0.is_some()
    }

    /// A failure after an unknown outcome says nothing about it.
    pub(super) fn read<T>(&self, found: Result<T, CommandError>) -> Result<T, CommandError> {
        found.map_err(|error| match &self.0 {
            Some(reason) => CommandError::OutcomeUnknown(format!("{reason}; then {error}")),
            None => error,
        })
    }

    pub(super) fn spent(self) -> CommandError {
        match self.0 {
            Some(reason) => CommandError::OutcomeUnknown(reason),
            None => {
                CommandError::Unavailable("too many others change this order at the same time".to_owned())
            }
        }
    }
}
