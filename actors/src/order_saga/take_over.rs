//! An order takes a shopper's hold over.
//!
//! Who calls it: [`Orders::accept`]. The hold becomes the order's in the commit that makes the
//! order, at the version that it was read as: so one order gets it, whoever else names it, and a
//! sweep or a withdrawal at the same moment either came first or finds it taken.

use super::event::Event;
use super::order::Order;
use super::order_event::OrderEvent;
use super::orders::{AcceptError, Orders};
use super::state::apply;
use crate::inventory::{Hold, TakeError};
use crate::store::{Versioned, load};

impl Orders {
    /// Takes the order past its first step if it names a hold: what is to be committed with it, so
    /// that one order gets the hold and keeps it.
    pub(super) async fn take_hold(
        &self,
        order: &mut Order,
        events: &mut Vec<OrderEvent>,
    ) -> Result<Option<Versioned<Hold>>, AcceptError> {
        let Some(id) = order.hold_id.clone() else { return Ok(None) };
        let found = load::<Hold>(self.ports.store.as_ref(), &id).await;
        let found = found.map_err(|error| AcceptError::Unavailable(error.to_string()))?;
        let found = found.ok_or(TakeError::NotFound)?;
        let now = self.ports.clock.now();
        let taken = found.value.taken_over(&order.id, &order.user_id, &order.hold_lines(), now)?;
        let held = apply(order, Event::StockHeld, 1, now);
        events.push(held.map_err(|impossible| AcceptError::Unavailable(impossible.to_string()))?);
        Ok(Some(Versioned { value: taken, version: found.version }))
    }

    /// Why the hold that was there a moment ago is not.
    pub(super) async fn why_not_taken(&self, order: &Order) -> AcceptError {
        let found = load::<Hold>(self.ports.store.as_ref(), order.stock_hold()).await;
        let now = self.ports.clock.now();
        match found {
            Ok(None) => TakeError::NotFound.into(),
            Ok(Some(hold)) => {
                match hold.value.taken_over(&order.id, &order.user_id, &order.hold_lines(), now) {
                    Err(refused) => refused.into(),
                    Ok(_) => AcceptError::Unavailable("the hold changes all the time".to_owned()),
                }
            }
            Err(error) => AcceptError::Unavailable(error.to_string()),
        }
    }
}
