//! What orders keep of a user who is gone: what was sold, for how much, and how it was paid, under
//! an id that names nobody any more; not where it was sent.

use async_trait::async_trait;

use super::Orders;
use crate::outbox::JobError;
use crate::store::Batch;
use crate::users::Belongings;

#[async_trait]
impl Belongings for Orders {
    async fn remove(&self, user_id: &str) -> Result<(), JobError> {
        let (mut after, mut left) = (None, 0);
        loop {
            let (page, next) = self.page(Some(user_id), None, 100, after).await?;
            for found in page {
                if found.value.shipping_address.is_none() {
                    continue;
                }
                let mut order = found.value;
                order.shipping_address = None;
                let saga_is_done = order.owner.is_none();
                let batch = Batch::shared().replace(&order, found.version);
                // A saga under way has the order to itself; it ends soon.
                if !saga_is_done || self.ports.store.commit(batch).await.is_err() {
                    left += 1;
                }
            }
            match next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        match left {
            0 => Ok(()),
            _ => Err(JobError::Retry { reason: format!("{left} orders are under way"), after: None }),
        }
    }
}
