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
/// The same when the store is slow or replicas' clocks differ: looked for less often. Nobody tries
/// to commit the same for longer, and one that is tried again has a new time.
const LATE: Duration = Duration::from_secs(10);
/// The span between looks for late ones.
const LOOK_BACK: Duration = Duration::from_secs(1);
/// Without a look for so long, the store or this replica stood still: commits may have stood still
/// as well, and what they write has times of before.
const STOOD_STILL: Duration = Duration::from_millis(2500);

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
        let began = Instant::now();
        Self::Many(Many {
            user_id,
            first,
            newest,
            sent: BTreeSet::new(),
            walk: Some((first, None)),
            look_back: began,
            read_at: began,
            // Whatever interrupted the last stream may have held up commits.
            held_up: Some((first, began + LATE)),
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
    /// The end of the last read that succeeded.
    read_at: Instant,
    /// From where on late ones may still come after a standstill, and until when they are looked for.
    held_up: Option<(Timestamp, Instant)>,
}

impl Many {
    async fn read(&mut self, orders: &Orders) -> Result<Part, StoreError> {
        let (from, after) = self.walk.clone().unwrap_or_else(|| (self.begin(), None));
        let user_id = self.user_id.as_deref();
        let (page, next) = orders.events_since(user_id, from, PAGE, after).await?;
        self.mind_standstill(Instant::now());
        let framed = page.into_iter().filter_map(|event| self.take(event)).collect();
        let more = next.is_some();
        self.walk = next.map(|next| (from, Some(next)));
        self.sent = self.sent.split_off(&(self.latest(), String::new()));
        Ok(Part { framed, more, ended: false })
    }

    /// Where a walk begins.
    fn begin(&mut self) -> Timestamp {
        let now = Instant::now();
        self.held_up = self.held_up.filter(|(_, until)| now < *until);
        if now < self.look_back {
            return self.newest.minus(OUT_OF_ORDER).max(self.first);
        }
        self.look_back = now + LOOK_BACK;
        self.latest()
    }

    /// From where on events may still come.
    fn latest(&self) -> Timestamp {
        let late = self.newest.minus(LATE);
        self.held_up.map_or(late, |(from, _)| from.min(late)).max(self.first)
    }

    /// A read has come to its end at `now`.
    fn mind_standstill(&mut self, now: Instant) {
        if now.duration_since(self.read_at) > STOOD_STILL {
            // The newest that was sent is from before.
            self.held_up = Some((self.latest(), now + LATE));
        }
        self.read_at = now;
    }

    fn take(&mut self, event: EventEntry) -> Option<String> {
        let at = event.at;
        if !self.sent.insert((at, event.id.clone())) {
            return None;
        }
        self.newest = self.newest.max(at);
        Some(EventView::of(event).framed(at.as_millis()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn many() -> Many {
        match Source::many(None, Some(Timestamp::from_millis(100_000)), Timestamp::from_millis(200_000)) {
            Source::Many(many) => many,
            Source::Order(_) => unreachable!("it is of many"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_standstill_what_was_held_up_is_looked_for_as_long_as_it_may_come() {
        async fn read(many: &mut Many, newest: i64, after: u64) -> i64 {
            tokio::time::advance(Duration::from_millis(after)).await;
            many.mind_standstill(Instant::now());
            many.newest = Timestamp::from_millis(newest);
            many.begin().as_millis()
        }
        let mut many = many();
        // Resumed: all from the point on, for a while.
        assert_eq!(read(&mut many, 130_000, 0).await, 90_000);
        for n in 1..=10 {
            let from = read(&mut many, 130_000 + n * 1000, 1000).await;
            assert_eq!(from, if n < 10 { 90_000 } else { 130_000 });
        }
        assert_eq!(read(&mut many, 141_000, 50).await, 140_500);
        // The store stands still: the newest is of before, and then of after.
        assert_eq!(read(&mut many, 160_000, 14_000).await, 131_000);
        assert_eq!(read(&mut many, 161_000, 1000).await, 131_000);
        for _ in 0..9 {
            read(&mut many, 170_000, 1000).await;
        }
        assert_eq!(read(&mut many, 171_000, 1000).await, 161_000);
    }
}
