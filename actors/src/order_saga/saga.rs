//! The saga of one order without actix: does the step, decides, commits.
//!
//! Who calls it: the actor shell, one [`Saga::advance`] at a time. What never happens here: a call
//! to the outside before the events it rests on are in the store, a commit that does not state the
//! version it is based on.

use std::sync::Arc;
use std::time::Duration;

use super::decide::{Attempt, Decision, decide, pause};
use super::event::Event;
use super::mails;
use super::order::{Order, OrderStatus};
use super::order_event::{OrderEvent, with_events};
use super::state::{Step, apply};
use super::steps::{Keys, Ports, perform};
use crate::cluster::Clock;
use crate::inventory::HoldError;
use crate::outbox::Job;
use crate::span_in_trace;
use crate::store::{Batch, CommitError, StoreError, Versioned, load};
use crate::time::Timestamp;

/// What the shell does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Go on at once.
    Go,
    /// Go on after this pause.
    Pause(Duration),
    /// The order is settled, or another incarnation owns it: leave.
    Leave,
}

pub(super) struct Saga {
    ports: Arc<Ports>,
    /// What the store is known to hold.
    stored: Versioned<Order>,
    /// That, and `unrecorded` applied to it.
    order: Order,
    unrecorded: Vec<OrderEvent>,
    /// Whether `unrecorded` must be in the store before anything else is done.
    must_record: bool,
    failed_commits: u32,
    attempts: u32,
    trying_since: Option<Timestamp>,
    keys: Keys,
    /// Whether this owner has asked for the hold: see [`Self::end_orphaned_hold`].
    asked_for_stock: bool,
}

enum Recorded {
    Yes,
    /// The store has something else that is still ours: go on from there.
    Otherwise,
    NotOurs,
    Later(Duration),
}

impl Saga {
    pub(super) fn new(ports: Arc<Ports>, stored: Versioned<Order>) -> Self {
        Self {
            ports,
            order: stored.value.clone(),
            stored,
            unrecorded: Vec::new(),
            must_record: false,
            failed_commits: 0,
            attempts: 0,
            trying_since: None,
            keys: Keys::default(),
            asked_for_stock: false,
        }
    }

    /// The order as far as the store is known to hold it.
    pub(super) fn stored(&self) -> &Versioned<Order> {
        &self.stored
    }

    /// The span of one turn: it goes on with the trace in which the order was accepted.
    pub(super) fn span(&self) -> tracing::Span {
        let step = self.order.step.map(Step::name);
        let trace = self.order.trace.as_deref();
        span_in_trace!(trace, "saga", actor = "order-saga", key = self.order.id, step)
    }

    pub(super) fn clock(&self) -> Arc<dyn Clock> {
        self.ports.clock.clone()
    }

    /// How often the present step has been tried.
    pub(super) fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Whether nothing that was done still has to be recorded: the saga may stop here.
    pub(super) fn is_at_rest(&self) -> bool {
        !self.must_record
    }

    /// Does the next step, or records what the last one came to. `look_again`: somebody may have
    /// changed the order.
    pub(super) async fn advance(&mut self, look_again: bool) -> Turn {
        let mut rest = None;
        if !self.must_record {
            if look_again
                && let Ok(Some(found)) = self.reload().await
                && found.version != self.stored.version
            {
                self.go_on_from(found);
            }
            let Some(step) = self.order.step else { return Turn::Leave };
            if self.order.owner.as_deref() != Some(self.ports.incarnation.as_str()) {
                return Turn::Leave;
            }
            rest = self.try_step(step).await;
            // An end is recorded together with what led to it.
            while let (None, Some(end @ (Step::Confirm | Step::Close))) = (rest, self.order.step) {
                rest = self.try_step(end).await;
            }
        }
        if self.must_record {
            match self.record().await {
                Recorded::Yes => {}
                Recorded::Otherwise => return Turn::Go,
                Recorded::Later(pause) => return Turn::Pause(pause),
                Recorded::NotOurs => {
                    self.end_orphaned_hold().await;
                    return Turn::Leave;
                }
            }
        }
        match rest {
            Some(pause) => Turn::Pause(pause),
            None if self.order.step.is_none() => Turn::Leave,
            None => Turn::Go,
        }
    }

    /// Does `step` and takes the order on; how long to pause if it has to be done again.
    async fn try_step(&mut self, step: Step) -> Option<Duration> {
        self.attempts += 1;
        self.asked_for_stock |= step == Step::Hold;
        let since = *self.trying_since.get_or_insert_with(|| self.ports.clock.now());
        let outcome = perform(&self.ports, &self.order, step, &mut self.keys).await;
        let now = self.ports.clock.now();
        let attempt = Attempt { number: self.attempts, since, jitter: fastrand::f64() };
        match decide(&self.order, step, &outcome, attempt, now, &self.ports.patience) {
            Decision::Happened(event) => {
                tracing::debug!(order = self.order.id, ?event, attempt = self.attempts, "an order went on");
                let went_on = self.happened(event, now);
                // Never the case while `decide` yields only what the table has; a test tries them all.
                (!went_on).then_some(self.ports.patience.longest)
            }
            Decision::Again { pause, note } => {
                if let Some(note) = note {
                    tracing::warn!(order = self.order.id, step = step.name(), ?note, "an order waits");
                    self.happened(note, now);
                }
                Some(pause)
            }
        }
    }

    fn happened(&mut self, event: Event, now: Timestamp) -> bool {
        let (is_note, is_repeatable) = (event.is_note(), event.is_repeatable());
        match apply(&mut self.order, event, self.attempts, now) {
            Ok(happened) => self.unrecorded.push(happened),
            Err(impossible) => {
                tracing::error!(order = self.order.id, %impossible, "an order cannot go on");
                return false;
            }
        }
        self.must_record |= !is_repeatable;
        if !is_note {
            self.start_afresh();
        }
        true
    }

    fn start_afresh(&mut self) {
        self.attempts = 0;
        self.trying_since = None;
        self.keys = Keys::default();
    }

    async fn record(&mut self) -> Recorded {
        let batch = Batch::shared().change(&self.stored, &self.order);
        let mut batch = with_events(batch, &self.unrecorded, self.ports.clock.now());
        for happened in &self.unrecorded {
            let due = self.stored.value.refund_of(&happened.event);
            batch = match (&happened.event, due) {
                (Event::RefundRequested { refund }, _) => batch.insert(&**refund),
                // A refund is written when it is asked for and when it ends.
                (Event::RefundSucceeded { reference, .. }, Some(due)) => {
                    batch.replace(&due.ended(Ok(reference), happened.decided_at), 1)
                }
                (Event::RefundFailed { reason, .. }, Some(due)) => {
                    batch.replace(&due.ended(Err(reason), happened.decided_at), 1)
                }
                (Event::RefundedElsewhere { .. }, Some(due)) => batch
                    .replace(&due.ended(Err("it was given back at the provider"), happened.decided_at), 1),
                _ => batch,
            };
        }
        let claim = |job| self.ports.outbox.claim(job, self.ports.clock.now());
        let mails: Vec<Job> = self.unrecorded.iter().filter_map(mails::job).map(claim).collect();
        batch = mails.iter().fold(batch, Batch::insert);
        self.ports.crash_points.pass("record.before_commit");
        let committed = self.ports.store.commit(batch).await;
        let found = match committed {
            Ok(()) => {
                mails.into_iter().for_each(|mail| self.ports.outbox.hand(mail));
                return self.recorded();
            }
            // Whether an unknown outcome counted shows when the same is committed again.
            Err(CommitError::Unavailable(_) | CommitError::OutcomeUnknown(_)) => return self.later(),
            Err(CommitError::Conflict(_)) => match self.reload().await {
                Ok(found) => found,
                Err(_) => return self.later(),
            },
        };
        let Some(found) = found else { return Recorded::NotOurs };
        if found.version == self.stored.version + 1 && found.value == self.order {
            // Its mails are due, or claimed with an earlier lease, which lapses.
            self.ports.outbox.wake();
            return self.recorded();
        }
        if found.version == self.stored.version {
            tracing::error!(order = self.order.id, "an order conflicts with something that is not there");
            return self.later();
        }
        let ours = found.value.owner.as_deref() == Some(self.ports.incarnation.as_str());
        self.go_on_from(found);
        if ours { Recorded::Otherwise } else { Recorded::NotOurs }
    }

    fn go_on_from(&mut self, found: Versioned<Order>) {
        self.order = found.value.clone();
        self.stored = found;
        self.unrecorded.clear();
        self.must_record = false;
        self.start_afresh();
    }

    fn recorded(&mut self) -> Recorded {
        self.ports.crash_points.pass("record.after_commit");
        self.stored = Versioned { value: self.order.clone(), version: self.stored.version + 1 };
        self.ports.hub.changed(&self.order.id, &self.order.user_id);
        self.unrecorded.clear();
        self.must_record = false;
        self.failed_commits = 0;
        Recorded::Yes
    }

    fn later(&mut self) -> Recorded {
        self.failed_commits += 1;
        let attempt =
            Attempt { number: self.failed_commits, since: self.order.updated_at, jitter: fastrand::f64() };
        Recorded::Later(pause(attempt, None, &self.ports.patience))
    }

    async fn reload(&self) -> Result<Option<Versioned<Order>>, StoreError> {
        load::<Order>(self.ports.store.as_ref(), &self.order.id).await
    }

    /// A hold that this owner asked for may have been made after the next owner was refused the
    /// same stock and rejects the order: nobody else knows of it, so it ends here. (Stock that is
    /// given back cannot be held later.)
    async fn end_orphaned_hold(&self) {
        const ATTEMPTS: u32 = 5;
        let order = &self.stored.value;
        tracing::info!(order = order.id, owner = order.owner, "another incarnation owns this order");
        let rejected = order.step == Some(Step::Close) || order.status == OrderStatus::Rejected;
        if !self.asked_for_stock || !rejected {
            return;
        }
        for number in 1..=ATTEMPTS {
            match self.ports.holds.release(order.stock_hold()).await {
                Ok(_) | Err(HoldError::NotFound | HoldError::WrongState(_)) => return,
                Err(error) => {
                    tracing::warn!(order = order.id, %error, "the hold of a rejected order was not released");
                }
            }
            let attempt = Attempt { number, since: order.updated_at, jitter: fastrand::f64() };
            self.ports.clock.sleep(pause(attempt, None, &self.ports.patience)).await;
        }
    }
}
