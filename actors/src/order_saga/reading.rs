//! Orders and what happened to them, for those who read.
//!
//! Who calls it: HTTP, and the rest of the saga's ways from outside. What never happens here: a write, an
//! order shown to somebody else than its user where the user is named.

use super::hub::{Watched, Watching};
use super::order::{ORDERS, Order, OrderStatus};
use super::order_event::{EventRecord, ORDER_EVENTS, OrderEvent};
use super::orders::Orders;
use super::survey::find_standing;
use super::timeline::{EventEntry, Timeline, entry};
use crate::store::{Cursor, Query, StoreError, Versioned, find, load};
use crate::time::Timestamp;

/// Events that a timeline tells of at most: an order has a dozen, and two more for each refund.
pub(super) const MOST_TOLD: usize = 10_000;
/// Records of events that are read at once for it.
const PAGE: usize = 1000;

impl Orders {
    /// The order with this id, whosever it is.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn get(&self, order_id: &str) -> Result<Option<Versioned<Order>>, StoreError> {
        load(self.ports.store.as_ref(), order_id).await
    }

    /// The order with this id if it is this user's.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn get_of(
        &self,
        user_id: &str,
        order_id: &str,
    ) -> Result<Option<Versioned<Order>>, StoreError> {
        let found = self.get(order_id).await?;
        Ok(found.filter(|order| order.value.user_id == user_id))
    }

    /// Orders, newest first: this user's or everybody's, of one status or of any; `limit` 1 to
    /// 1,000.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn page(
        &self,
        user_id: Option<&str>,
        status: Option<OrderStatus>,
        limit: usize,
        after: Option<Cursor>,
    ) -> Result<(Vec<Versioned<Order>>, Option<Cursor>), StoreError> {
        let standing = status.map(OrderStatus::standing);
        let query = match (user_id, standing) {
            (Some(user), None) => Query::by(&ORDERS, "user").equal(user),
            (Some(user), Some(standing)) => Query::by(&ORDERS, "userStanding").equal(user).equal(standing),
            (None, None) => Query::by(&ORDERS, "created"),
            (None, Some(standing)) => Query::by(&ORDERS, "standing").equal(standing),
        };
        self.find(query.descending().limit(limit).after(after), status).await
    }

    /// A page of orders of one status or of any, whosever they are: see [`find_standing`].
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn find(
        &self,
        query: Query,
        status: Option<OrderStatus>,
    ) -> Result<(Vec<Versioned<Order>>, Option<Cursor>), StoreError> {
        find_standing(self.ports.store.as_ref(), query, status).await
    }

    /// Watches from now on: a hint, see [`super::hub::Hub`].
    pub fn watch(&self, what: Watched) -> Watching {
        self.ports.hub.watch(what)
    }

    /// The present, by the store's clock.
    pub fn now(&self) -> Timestamp {
        self.ports.clock.now()
    }

    /// What happened to an order behind event `number`, oldest first; `limit` 1 to 900.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn events_of(
        &self,
        order_id: &str,
        number: u64,
        limit: usize,
    ) -> Result<Vec<EventEntry>, StoreError> {
        let query = EventRecord::behind(order_id, number).limit(limit + EventRecord::MOST_BEFORE);
        let (found, _) = find::<EventRecord>(self.ports.store.as_ref(), query).await?;
        let events = found.into_iter().flat_map(|record| record.value.events());
        Ok(events.filter(|event| event.number > number).take(limit).map(EventEntry::of).collect())
    }

    /// What happened to the orders of a user, or of everybody, at `since` or later, oldest first: what
    /// `limit` commits told, 1 to 1,000. An event of another replica may show up later than younger
    /// ones.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn events_since(
        &self,
        user_id: Option<&str>,
        since: Timestamp,
        limit: usize,
        after: Option<Cursor>,
    ) -> Result<(Vec<EventEntry>, Option<Cursor>), StoreError> {
        let query = events_query(user_id).range(Some(since.as_millis().into()), None);
        let query = query.limit(limit).after(after);
        let (found, next) = find::<EventRecord>(self.ports.store.as_ref(), query).await?;
        let events = found.into_iter().flat_map(|record| record.value.events());
        Ok((events.map(EventEntry::of).collect(), next))
    }

    /// What happened to the orders of a user, or of everybody, newest first; `limit` 1 to 1,000.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn events(
        &self,
        user_id: Option<&str>,
        limit: usize,
        after: Option<Cursor>,
    ) -> Result<(Vec<EventEntry>, Option<Cursor>), StoreError> {
        let query = events_query(user_id).descending().limit(limit).after(after.clone());
        let (found, mut next) = find::<EventRecord>(self.ports.store.as_ref(), query).await?;
        let events = found.into_iter().flat_map(|record| record.value.events().rev());
        // The last page may have ended within a record, which is then found again.
        let told = |event: &OrderEvent| after.as_ref().is_some_and(|after| !event.is_before(after));
        let mut events: Vec<OrderEvent> = events.skip_while(told).collect();
        if events.len() > limit {
            events.truncate(limit);
            next = events.last().map(OrderEvent::cursor);
        }
        Ok((events.into_iter().map(EventEntry::of).collect(), next))
    }

    /// What happened to an order. Who may see the order is for the caller to ask first
    /// ([`Self::get_of`]).
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn timeline(&self, order_id: &str) -> Result<Timeline, StoreError> {
        let (mut entries, mut after) = (Vec::new(), None);
        loop {
            let query = EventRecord::behind(order_id, 0).limit(PAGE).after(after);
            let (found, next) = find::<EventRecord>(self.ports.store.as_ref(), query).await?;
            let events = found.into_iter().flat_map(|record| record.value.events());
            entries.extend(events.map(|event| entry(&event)));
            if next.is_none() || entries.len() >= MOST_TOLD {
                let is_whole = next.is_none() && entries.len() <= MOST_TOLD;
                entries.truncate(MOST_TOLD);
                return Ok(Timeline { entries, is_whole });
            }
            after = next;
        }
    }
}

fn events_query(user_id: Option<&str>) -> Query {
    match user_id {
        Some(user_id) => Query::by(&ORDER_EVENTS, "user").equal(user_id),
        None => Query::by(&ORDER_EVENTS, "at"),
    }
}
