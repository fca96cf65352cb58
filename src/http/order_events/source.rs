//! What a stream of events reads from the store, a bounded part at a time.

use std::collections::BTreeSet;
use std::time::Duration;

use steward_actors::order_saga::{EventEntry, Orders};
use steward_actors::store::{Cursor, StoreError};
use steward_actors::time::Timestamp;
use tokio::time::Instant;

use super::view::EventView;

/// Events that are read at once.
const PAGE: usize = 200;
/// An event's time is that of its decision, and it is there once that is committed: orders that are
/// decided together show up this far out of order.
const OUT_OF_ORDER: Duration = Duration::from_millis(500);
/// The same when the store is slow or replicas' clocks differ: looked for less often.
const LATE: Duration = Duration::from_secs(10);
/// The span between looks for late ones.
const LOOK_BACK: Duration = Duration::from_secs(1);

/// What a stream reads.
pub(super) enum Source {
    Order(OfOrder),
    Many(Many),
}

/// A part of what is new.
pub(super) struct Part {
    /// As it is sent; empty if there is nothing new.
    pub(super) framed: String,
    /// Whether more is there already.
    pub(super) more: bool,
    /// Whether nothing will ever follow.
    pub(super) ended: bool,
}

impl Source {
    /// One order, behind event number `seen`, until nothing follows any more.
    pub(super) fn order(id: String, seen: u64) -> Self {
        Self::Order(OfOrder { id, seen, looked_at: false })
    }

    /// The orders of a user, or of everybody, from `now` on or behind that point.
    pub(super) fn many(user_id: Option<String>, behind: Option<Timestamp>, now: Timestamp) -> Self {
        let newest = behind.map_or(now, |behind| behind.min(now));
        let first = if behind.is_some() { newest.minus(LATE) } else { newest };
        Self::Many(Many {
            user_id,
            first,
            newest,
            sent: BTreeSet::new(),
            walk: Some((first, None)),
            look_back: Instant::now(),
        })
    }

    /// What is new.
    pub(super) async fn read(&mut self, orders: &Orders) -> Result<Part, StoreError> {
        match self {
            Self::Order(order) => order.read(orders).await,
            Self::Many(many) => many.read(orders).await,
        }
    }
}

/// The events of one order, in their order: their numbers have no gaps.
pub(super) struct OfOrder {
    id: String,
    seen: u64,
    /// Whether the order itself was looked at behind `seen`.
    looked_at: bool,
}

impl OfOrder {
    async fn read(&mut self, orders: &Orders) -> Result<Part, StoreError> {
        let page = orders.events_of(&self.id, self.seen, PAGE).await?;
        let mut framed = String::new();
        for event in page {
            self.looked_at = false;
            self.seen = event.number;
            framed.push_str(&EventView::of(event).framed(self.seen));
        }
        if self.looked_at {
            return Ok(Part { framed, more: false, ended: false });
        }
        let order = orders.get(&self.id).await?.map(|order| order.value);
        let more = order.as_ref().is_some_and(|order| order.events > self.seen);
        let ended = order.is_none_or(|order| order.status.is_terminal() && order.step.is_none()) && !more;
        self.looked_at = !more;
        Ok(Part { framed, more, ended })
    }
}

/// The events of many orders, by time. What is sent is remembered for as long as it is found again.
pub(super) struct Many {
    user_id: Option<String>,
    /// Nothing before this is sent.
    first: Timestamp,
    /// The youngest that was sent.
    newest: Timestamp,
    sent: BTreeSet<(Timestamp, String)>,
    /// Where a walk through the index that is not at its end began and goes on.
    walk: Option<(Timestamp, Option<Cursor>)>,
    look_back: Instant,
}

impl Many {
    async fn read(&mut self, orders: &Orders) -> Result<Part, StoreError> {
        let (from, after) = self.walk.clone().unwrap_or_else(|| (self.begin(), None));
        let user_id = self.user_id.as_deref();
        let (page, next) = orders.events_since(user_id, from, PAGE, after).await?;
        let framed = page.into_iter().filter_map(|event| self.take(event)).collect();
        let more = next.is_some();
        self.walk = next.map(|next| (from, Some(next)));
        self.sent = self.sent.split_off(&(self.newest.minus(LATE), String::new()));
        Ok(Part { framed, more, ended: false })
    }

    fn begin(&mut self) -> Timestamp {
        let now = Instant::now();
        let overlap = if now >= self.look_back { LATE } else { OUT_OF_ORDER };
        if overlap == LATE {
            self.look_back = now + LOOK_BACK;
        }
        self.newest.minus(overlap).max(self.first)
    }

    fn take(&mut self, event: EventEntry) -> Option<String> {
        let at = event.entry.at;
        if !self.sent.insert((at, event.id.clone())) {
            return None;
        }
        self.newest = self.newest.max(at);
        Some(EventView::of(event).framed(at.as_millis()))
    }
}
