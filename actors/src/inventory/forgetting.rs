//! What is left of a shopper who is gone: nothing is held for them any more, and their count of live
//! holds goes. Holds that have ended stay with the movements that they explain, under an id that
//! names nobody.

use async_trait::async_trait;

use super::Inventory;
use super::holds::HoldError;
use super::shopper::Shopper;
use crate::outbox::JobError;
use crate::store::{Batch, load};
use crate::users::Belongings;

#[async_trait]
impl Belongings for Inventory {
    async fn remove(&self, user_id: &str) -> Result<(), JobError> {
        for hold in self.live_holds_of(user_id).await? {
            match self.withdraw(user_id, &hold.id).await {
                // It ended meanwhile, or an order has it, and ends it.
                Ok(()) | Err(HoldError::NotFound | HoldError::WrongState(_)) => {}
                Err(error) => return Err(JobError::Retry { reason: error.to_string(), after: None }),
            }
        }
        let Some(shopper) = load::<Shopper>(self.store.as_ref(), user_id).await? else { return Ok(()) };
        match self.store.commit(Batch::shared().delete(&shopper)).await {
            Ok(()) => Ok(()),
            Err(error) => Err(JobError::Retry { reason: error.to_string(), after: None }),
        }
    }
}
