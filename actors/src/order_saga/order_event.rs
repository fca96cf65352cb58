//! Events of orders, and how they are stored: a record for what was committed together, as each
//! record costs the store as much as everything that is in it.
//!
//! Who calls it: the state table makes events, the saga and commands commit them, readers find them.
//! What never happens here: an event that is changed once it is stored.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::event::Event;
use super::order::Order;
use super::state::Step;
use crate::store::{Batch, Collection, Cursor, Entity, Field, Index, Kind, PRIMARY, Query};
use crate::time::Timestamp;

/// What happened to orders; the events of an order are numbered from 1.
pub static ORDER_EVENTS: Collection = Collection {
    name: "order_events",
    fields: &[
        Field::required("id", Kind::Text),
        Field::required("orderId", Kind::Text),
        Field::required("userId", Kind::Text),
        Field::required("number", Kind::Integer),
        Field::required("at", Kind::Time),
        Field::required("attempt", Kind::Integer),
        Field::required("event", Kind::Object),
        Field::optional("then", Kind::List),
    ],
    indexes: &[
        // An order's events are a range of ids, so `id` is their unique index.
        Index::by("user", &["userId", "at"]),
        Index::by("at", &["at"]),
    ],
    words: &[],
    expires: None,
};

/// Events that a record has at most.
const MOST_TOGETHER: usize = 8;

/// One event of one order.
#[derive(Clone, Debug, PartialEq)]
pub struct OrderEvent {
    /// The order.
    pub order_id: String,
    /// Whose order it is; empty in records from before it was kept.
    pub user_id: String,
    /// 1 for the first.
    pub number: u64,
    /// When it was decided.
    pub decided_at: Timestamp,
    /// Where it stands among those of all orders: when the last event of its commit was decided; if
    /// the commit was long in coming, when that was last begun. Who follows all orders goes by it.
    pub at: Timestamp,
    /// The step that the order was at; absent for its acceptance.
    pub step: Option<Step>,
    /// How often the owner had tried that step, this time included.
    pub attempt: u32,
    /// What happened.
    pub event: Event,
}

impl OrderEvent {
    pub(super) fn new(order: &Order, at: Timestamp, attempt: u32, event: Event) -> Self {
        Self {
            order_id: order.id.clone(),
            user_id: order.user_id.clone(),
            number: order.events + 1,
            decided_at: at,
            at,
            step: order.step,
            attempt,
            event,
        }
    }

    /// `{orderId}:{number}`, the number padded so that ids sort. Unique among all orders.
    pub fn id(&self) -> String {
        id_of(&self.order_id, self.number)
    }

    /// Where a list, newest first, that ended with this event goes on: a point between records or
    /// within one.
    pub(super) fn cursor(&self) -> Cursor {
        Cursor { keys: vec![self.at.as_millis().into()], id: self.id() }
    }

    /// Whether a list, newest first, that goes on at `cursor` has not told of this event yet.
    pub(super) fn is_before(&self, cursor: &Cursor) -> bool {
        let own = self.cursor();
        let at = |cursor: &Cursor| cursor.keys.first().and_then(serde_json::Value::as_i64);
        (at(&own), own.id) < (at(cursor), cursor.id.clone())
    }
}

fn id_of(order_id: &str, number: u64) -> String {
    format!("{order_id}:{number:06}")
}

/// What one commit told of an order: its first event, and those that followed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EventRecord {
    /// The id of its first event ([`OrderEvent::id`]).
    id: String,
    order_id: String,
    #[serde(default)]
    user_id: String,
    number: u64,
    at: Timestamp,
    /// If that is not `at`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    decided_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<Step>,
    attempt: u32,
    event: Event,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    then: Vec<Next>,
}

/// An event that follows the first of a record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Next {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    decided_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    step: Option<Step>,
    attempt: u32,
    event: Event,
}

impl EventRecord {
    /// The records of `events`, which follow each other in one order and are committed now.
    fn of(events: &[OrderEvent], now: Timestamp) -> impl Iterator<Item = Self> {
        /// What is younger is found by who follows all orders anyway.
        const SOON: Duration = Duration::from_millis(250);
        let decided = events.last().map_or(now, |last| last.decided_at);
        let at = if now.since(decided) > SOON { now } else { decided };
        events.chunks(MOST_TOGETHER).filter_map(move |together| {
            let (first, rest) = together.split_first()?;
            let unless_at = |decided: Timestamp| (decided != at).then_some(decided);
            let next = |event: &OrderEvent| Next {
                decided_at: unless_at(event.decided_at),
                step: event.step,
                attempt: event.attempt,
                event: event.event.clone(),
            };
            Some(Self {
                id: first.id(),
                order_id: first.order_id.clone(),
                user_id: first.user_id.clone(),
                number: first.number,
                at,
                decided_at: unless_at(first.decided_at),
                step: first.step,
                attempt: first.attempt,
                event: first.event.clone(),
                then: rest.iter().map(next).collect(),
            })
        })
    }

    /// Its events, oldest first.
    pub fn events(self) -> impl DoubleEndedIterator<Item = OrderEvent> {
        let Self { id: _, order_id, user_id, number, at, decided_at, step, attempt, event, then } = self;
        let first = Next { decided_at, step, attempt, event };
        let all: Vec<Next> = std::iter::once(first).chain(then).collect();
        all.into_iter().enumerate().map(move |(n, next)| OrderEvent {
            order_id: order_id.clone(),
            user_id: user_id.clone(),
            number: number + n as u64,
            decided_at: next.decided_at.unwrap_or(at),
            at,
            step: next.step,
            attempt: next.attempt,
            event: next.event,
        })
    }

    /// Finds the records with the events of an order behind event `number`, oldest first. The first
    /// ones may have events that are not behind it.
    pub fn behind(order_id: &str, number: u64) -> Query {
        // An event is in a record that begins with it or a few before it.
        let from = id_of(order_id, number.saturating_add(1).saturating_sub(MOST_TOGETHER as u64 - 1));
        // The next character after the colon: no id of this order is behind it.
        Query::by(&ORDER_EVENTS, PRIMARY).range(Some(from.into()), Some(format!("{order_id};").into()))
    }

    /// How many records [`Self::behind`] finds at most that have no event behind it.
    pub(super) const MOST_BEFORE: usize = MOST_TOGETHER - 1;
}

/// `batch` with the records of `events`: see [`EventRecord::of`].
pub(super) fn with_events(batch: Batch, events: &[OrderEvent], now: Timestamp) -> Batch {
    EventRecord::of(events, now).fold(batch, |batch, record| batch.insert(&record))
}

impl Entity for EventRecord {
    fn collection() -> &'static Collection {
        &ORDER_EVENTS
    }
    fn id(&self) -> &str {
        &self.id
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(number: u64, decided: i64) -> OrderEvent {
        let decided_at = Timestamp::from_millis(decided);
        let (order_id, user_id) = ("o".to_owned(), "u".to_owned());
        let (step, event) = (Some(Step::Hold), Event::StockHeld);
        OrderEvent { order_id, user_id, number, decided_at, at: decided_at, step, attempt: 1, event }
    }

    #[test]
    fn the_collection_is_declared_well() {
        assert_eq!(ORDER_EVENTS.mistakes(), Vec::<String>::new());
    }

    #[test]
    fn events_of_a_commit_are_one_record_and_have_the_time_of_the_last() {
        let events: Vec<OrderEvent> = (1..=11).map(|n| event(n, n as i64 * 100)).collect();
        let records: Vec<EventRecord> = EventRecord::of(&events, Timestamp::from_millis(1200)).collect();
        assert_eq!(records.iter().map(Entity::id).collect::<Vec<_>>(), ["o:000001", "o:000009"]);
        let stored: Vec<EventRecord> =
            records.iter().map(|r| serde_json::from_value(json!(r)).unwrap()).collect();
        assert_eq!(stored, records);
        let at = Timestamp::from_millis(1100);
        let told: Vec<OrderEvent> = stored.into_iter().flat_map(EventRecord::events).collect();
        assert_eq!(told, events.into_iter().map(|event| OrderEvent { at, ..event }).collect::<Vec<_>>());
    }

    #[test]
    fn a_commit_that_was_long_in_coming_has_the_time_at_which_it_was_begun() {
        let at = |now| EventRecord::of(&[event(1, 1000)], Timestamp::from_millis(now)).next().unwrap().at;
        assert_eq!(at(1250), Timestamp::from_millis(1000));
        assert_eq!(at(1251), Timestamp::from_millis(1251));
    }

    /// From before events shared records.
    #[test]
    fn a_record_of_one_event_is_read() {
        let record = json!({
            "id": "o:000002", "orderId": "o", "userId": "u", "number": 2, "at": 7, "step": "hold",
            "attempt": 1, "event": {"type": "stock_held"},
        });
        let record: EventRecord = serde_json::from_value(record).unwrap();
        assert_eq!(record.events().collect::<Vec<_>>(), [event(2, 7)]);
    }
}
