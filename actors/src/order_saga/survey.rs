//! Unfinished orders, counted for figures and listed for operators.

use std::collections::BTreeMap;

use super::order::{ORDERS, Order, OrderStatus};
use crate::store::{Cursor, Query, Store, StoreError, Versioned, find};
use crate::time::Timestamp;

/// Reads for one page of orders of one status.
const MOST_READS: usize = 20;

/// Unfinished orders of all replicas.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// How many have each status, as far as they were counted; every status is there.
    pub by_status: Vec<(OrderStatus, usize)>,
    /// When the oldest of those counted with each status was accepted; every status is there.
    pub oldest: Vec<(OrderStatus, Option<Timestamp>)>,
    /// How many say that they are stuck, as far as they were counted.
    pub stuck: usize,
}

/// Counts unfinished orders, up to `limit` (1 to 1,000), and the stuck ones apart.
///
/// # Errors
/// [`StoreError`].
pub async fn survey(store: &dyn Store, limit: usize) -> Result<Survey, StoreError> {
    // Only unfinished orders have an owner, be it nobody.
    let (live, _) = find::<Order>(store, Query::by(&ORDERS, "owner").limit(limit)).await?;
    let mut counts: BTreeMap<&'static str, usize> = BTreeMap::new();
    for order in &live {
        *counts.entry(order.value.status.name()).or_default() += 1;
    }
    let (stuck, _) = find::<Order>(store, unfinished(None, None).limit(limit)).await?;
    Ok(Survey {
        by_status: OrderStatus::ALL
            .into_iter()
            .map(|status| (status, counts.get(status.name()).copied().unwrap_or_default()))
            .collect(),
        oldest: OrderStatus::ALL
            .into_iter()
            .map(|status| {
                let standing = live.iter().filter(|order| order.value.status == status);
                (status, standing.map(|order| order.value.created_at).min())
            })
            .collect(),
        stuck: stuck.len(),
    })
}

/// A page of what `query` finds, without the orders that have another status than the one that is
/// asked for. It reads on until the page is full; after 20 reads it is left short, and its
/// cursor leads on.
///
/// # Errors
/// [`StoreError`].
pub async fn find_standing(
    store: &dyn Store,
    query: Query,
    status: Option<OrderStatus>,
) -> Result<(Vec<Versioned<Order>>, Option<Cursor>), StoreError> {
    let (mut page, limit, mut after) = (Vec::new(), query.limit, query.after.clone());
    for _ in 0..MOST_READS {
        let next = query.clone().limit(limit - page.len()).after(after);
        let (found, more) = find::<Order>(store, next).await?;
        page.extend(
            found.into_iter().filter(|order| status.is_none_or(|status| order.value.status == status)),
        );
        after = more;
        if page.len() == limit || after.is_none() {
            break;
        }
    }
    Ok((page, after))
}

/// The query for orders that stand so, oldest first; without a status for those that are stuck,
/// longest first. `before` is when they were accepted, or got stuck, at the latest.
///
/// Orders of other statuses may be among those that it finds: [`find_standing`] leaves them out.
pub fn unfinished(status: Option<OrderStatus>, before: Option<Timestamp>) -> Query {
    let query = match status {
        Some(status) => Query::by(&ORDERS, "standing").equal(status.standing()),
        None => Query::by(&ORDERS, "stuck"),
    };
    match before {
        Some(before) => query.range(None, Some(before.as_millis().saturating_add(1).into())),
        None => query,
    }
}
