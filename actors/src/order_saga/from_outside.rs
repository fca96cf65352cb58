//! What an operator does to an order beside the replicas, from the command line. Nothing is done
//! here but a commit: the order is left to nobody, so that adoption finds it at once, and whoever
//! was at it meets a conflict.

use super::command::{OrderCommand, decide_command};
use super::commanding::CommandError;
use super::event::Event;
use super::order::{Order, Reason};
use super::order_event::with_events;
use super::retry::RetryError;
use super::state::apply;
use crate::audit::{AuditEntry, By};
use crate::store::{Batch, Store, Versioned, load};
use crate::time::Timestamp;

/// Has the order's step tried again, by whoever adopts it.
///
/// # Errors
/// [`RetryError`].
pub async fn retry_from_outside(
    store: &dyn Store,
    order_id: &str,
    by: &By,
    now: Timestamp,
) -> Result<(), RetryError> {
    let Versioned { value: mut order, version } =
        load::<Order>(store, order_id).await?.ok_or(RetryError::NotFound)?;
    let (Some(step), Some(_)) = (order.step, &order.owner) else { return Err(RetryError::Settled) };
    let entry =
        AuditEntry::new(by, "saga.retry", &format!("order/{order_id}"), now).with("step", step.name());
    let left = apply(&mut order, Event::Adopted { by: String::new() }, 0, now);
    let left = left.map_err(|_| RetryError::Settled)?;
    let batch = with_events(Batch::new().replace(&order, version), &[left], now);
    store.commit(batch.insert(&entry)).await?;
    Ok(())
}

/// Has the order undone, by whoever adopts it; once however often it is asked for.
///
/// # Errors
/// [`CommandError`]; a conflict, as unavailable, says that its owner is at it just now.
pub async fn cancel_from_outside(
    store: &dyn Store,
    order_id: &str,
    by: &By,
    now: Timestamp,
) -> Result<(), CommandError> {
    let found = load::<Order>(store, order_id).await?.ok_or(CommandError::NotFound)?;
    let Versioned { value: mut order, version } = found;
    let cancel = OrderCommand::Cancel { by: Reason::RequestedByShop };
    let mut events = decide_command(&order, &cancel, now)?;
    if events.is_empty() {
        return Ok(());
    }
    events.push(Event::Adopted { by: String::new() });
    let mut happened = Vec::with_capacity(events.len());
    for event in events {
        happened.push(apply(&mut order, event, 1, now)?);
    }
    let entry = AuditEntry::new(by, cancel.act(), &format!("order/{order_id}"), now);
    let batch = with_events(Batch::new().replace(&order, version), &happened, now);
    store.commit(batch.insert(&entry)).await.map_err(|error| CommandError::Unavailable(error.to_string()))
}
