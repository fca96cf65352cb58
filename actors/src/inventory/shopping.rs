//! Holds of shoppers: placed by a user, seen and withdrawn by that user alone.
//!
//! Who calls it: the routes. What never happens here: a hold of an order shown or ended as if it
//! were a shopper's.

use super::decide::Settlement;
use super::holds::{Hold, HoldError, HoldRequest, HoldStatus, Placed};
use super::service::Inventory;
use super::shopper::Shopper;
use super::trouble::Trouble;
use crate::store::{StoreError, Versioned, load, load_many};
use crate::time::Timestamp;

impl Inventory {
    /// Places a hold for a shopper: `request.ttl` says for how long. The same id again is the same
    /// hold, as it stands, whatever is asked for.
    ///
    /// # Errors
    /// [`HoldError`].
    pub async fn hold_for_shopper(&self, request: HoldRequest) -> Result<Placed, HoldError> {
        self.place(request).await
    }

    /// A shopper's own live holds, newest first; [`super::MOST_LIVE`] at most.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn live_holds_of(&self, user_id: &str) -> Result<Vec<Hold>, StoreError> {
        let now = self.now();
        let Some(shopper) = load::<Shopper>(self.store.as_ref(), user_id).await? else {
            return Ok(Vec::new());
        };
        let holds = load_many::<Hold>(self.store.as_ref(), &shopper.value.live(now)).await?;
        let mut live: Vec<Hold> = holds
            .into_iter()
            .map(|hold| hold.value)
            .filter(|hold| hold.lapses_at().is_some_and(|at| at > now))
            .collect();
        live.sort_by(|a, b| (b.created_at, &b.id).cmp(&(a.created_at, &a.id)));
        Ok(live)
    }

    /// A shopper's own hold, as it stands now: one whose time has come is released.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn hold_of(&self, user_id: &str, id: &str) -> Result<Option<Hold>, StoreError> {
        let now = self.now();
        let found = self.shoppers_hold(user_id, id).await?;
        Ok(found.map(|hold| match hold.value {
            hold if hold.has_lapsed(now) => Hold { status: HoldStatus::Released, ..hold },
            hold => hold,
        }))
    }

    /// Ends a shopper's own hold before its time.
    ///
    /// # Errors
    /// [`HoldError::NotFound`] also for one that has ended; [`HoldError::WrongState`] for one that
    /// an order has taken over.
    pub async fn withdraw(&self, user_id: &str, id: &str) -> Result<(), HoldError> {
        let now = self.now();
        let found = self.shoppers_hold(user_id, id).await.map_err(Trouble::from)?;
        let hold = found.ok_or(HoldError::NotFound)?;
        if hold.value.status == HoldStatus::Released || hold.value.has_lapsed(now) {
            return Err(HoldError::NotFound);
        }
        self.settle(hold, Settlement::Withdraw).await.map(drop)
    }

    /// The present, by the store's clock.
    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    async fn shoppers_hold(&self, user_id: &str, id: &str) -> Result<Option<Versioned<Hold>>, StoreError> {
        let found = load::<Hold>(self.store.as_ref(), id).await?;
        Ok(found.filter(|hold| hold.value.user_id == user_id && hold.value.is_shoppers()))
    }
}
