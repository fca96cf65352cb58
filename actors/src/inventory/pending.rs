//! Commands that wait for a commit, each with the place its own answer goes to.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;

use super::adjustment::{AdjustError, Adjusted, Adjustment};
use super::decide::{Plan, Refusal, Settlement};
use super::holds::{Hold, HoldError, HoldRequest, HoldStatus, Placed};
use super::trouble::Trouble;
use crate::store::Versioned;
use crate::time::Timestamp;

/// How long a command waits for its answer at most.
pub(super) const DEADLINE: Duration = Duration::from_secs(2);
/// How long a command waits before it is turned away: its caller waits a little longer, and so
/// hears that nothing was done, and nothing is done for callers that have gone.
const PATIENCE: Duration = DEADLINE.saturating_sub(Duration::from_millis(500));

/// What was decided, until it is committed; and where it goes then.
pub(super) struct Answer<T, E> {
    decided: Option<Result<T, Refusal<E>>>,
    to: Box<dyn FnOnce(Result<T, E>) + Send>,
}

impl<T, E: From<Trouble>> Answer<T, E> {
    pub(super) fn to(to: impl FnOnce(Result<T, E>) + Send + 'static) -> Self {
        Self { decided: None, to: Box::new(to) }
    }

    fn rests_on_stock(&self) -> bool {
        matches!(self.decided, Some(Err(Refusal::ByStock(_))))
    }

    fn give(self) {
        // Dropped undecided, it tells the caller that the outcome is unknown.
        let Some(decided) = self.decided else { return };
        (self.to)(decided.map_err(|(Refusal::ByStock(error) | Refusal::ByRecord(error))| error));
    }

    fn give_up(self, trouble: Trouble) {
        (self.to)(Err(trouble.into()));
    }
}

/// What is asked.
pub(super) enum Work {
    /// To hold units.
    Hold(HoldRequest, Answer<Placed, HoldError>),
    /// To end this hold, as it was read since the command arrived.
    Settle(Versioned<Hold>, Settlement, Answer<Hold, HoldError>),
    /// To change what is on hand.
    Adjust(Adjustment, Answer<Adjusted, AdjustError>),
}

/// The record that a command makes or ends, and is recognised by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RecordId {
    /// A hold's id.
    Hold(String),
    /// A movement's id.
    Movement(String),
}

/// A command that waits.
pub(super) struct Pending {
    work: Work,
    since: Instant,
    /// Whether an attempt may have been committed after all. Only its record, or a commit that
    /// excludes the other, can tell; to give up is to say that the outcome is unknown.
    pub(super) in_doubt: bool,
}

impl Pending {
    pub(super) fn new(work: Work) -> Self {
        Self { work, since: Instant::now(), in_doubt: false }
    }

    /// Whether it has waited for as long as it may.
    pub(super) fn is_late(&self) -> bool {
        self.since.elapsed() >= PATIENCE
    }

    pub(super) fn record(&self) -> RecordId {
        match &self.work {
            Work::Hold(request, _) => RecordId::Hold(request.id.clone()),
            Work::Settle(hold, ..) => RecordId::Hold(hold.value.id.clone()),
            Work::Adjust(adjustment, _) => RecordId::Movement(adjustment.movement_id()),
        }
    }

    /// The SKUs whose stock it is about.
    pub(super) fn skus(&self) -> BTreeSet<&str> {
        let lines = match &self.work {
            Work::Hold(request, _) => &request.lines,
            Work::Settle(hold, ..) => &hold.value.lines,
            Work::Adjust(adjustment, _) => return BTreeSet::from([adjustment.sku.as_str()]),
        };
        lines.iter().map(|line| line.sku.as_str()).collect()
    }

    /// The user whose live holds it counts among, if it is to make a shopper's hold.
    pub(super) fn shopper(&self) -> Option<&str> {
        match &self.work {
            Work::Hold(request, _) if request.ttl.is_some() => Some(&request.user_id),
            Work::Hold(..) | Work::Settle(..) | Work::Adjust(..) => None,
        }
    }

    /// The record that it brought with it.
    pub(super) fn brought(&self) -> Option<&Versioned<Hold>> {
        match &self.work {
            Work::Settle(hold, ..) => Some(hold),
            Work::Hold(..) | Work::Adjust(..) => None,
        }
    }

    /// Decides on top of what `plan` has already. A later decision takes the place of this one.
    pub(super) fn decide(&mut self, plan: &mut Plan, now: Timestamp) {
        match &mut self.work {
            Work::Hold(request, answer) => answer.decided = Some(plan.hold(request, now)),
            Work::Settle(hold, settlement, answer) => {
                answer.decided = Some(plan.settle(&hold.value.id, *settlement, now));
            }
            Work::Adjust(adjustment, answer) => answer.decided = Some(plan.adjust(adjustment, now)),
        }
    }

    /// Whether it was refused for what others change too.
    pub(super) fn is_refused_by_stock(&self) -> bool {
        match &self.work {
            Work::Hold(_, answer) => answer.rests_on_stock(),
            Work::Settle(_, _, answer) => answer.rests_on_stock(),
            Work::Adjust(_, answer) => answer.rests_on_stock(),
        }
    }

    /// Whether its answer is a live hold that was placed before: what books say of one may have
    /// been read before this command came, and somebody may have ended it in between.
    pub(super) fn found_a_live_hold(&self) -> bool {
        let Work::Hold(_, Answer { decided: Some(Ok(placed)), .. }) = &self.work else { return false };
        placed.replayed && placed.hold.status == HoldStatus::Held
    }

    /// Answers what was decided. Only for what is committed or confirmed.
    pub(super) fn answer(self) {
        match self.work {
            Work::Hold(_, answer) => answer.give(),
            Work::Settle(_, _, answer) => answer.give(),
            Work::Adjust(_, answer) => answer.give(),
        }
    }

    /// Answers that it could not be done; honestly, if it may have been.
    pub(super) fn give_up(self, reason: &str) {
        let trouble = match self.in_doubt {
            true => Trouble::OutcomeUnknown,
            false => Trouble::Unavailable(reason.to_owned()),
        };
        match self.work {
            Work::Hold(_, answer) => answer.give_up(trouble),
            Work::Settle(_, _, answer) => answer.give_up(trouble),
            Work::Adjust(_, answer) => answer.give_up(trouble),
        }
    }
}
