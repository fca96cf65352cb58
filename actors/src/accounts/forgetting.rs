//! How the accounts of a user who is gone go, with all that belongs to them.

use async_trait::async_trait;

use super::account::ACCOUNTS;
use super::days::BALANCES;
use super::service::Accounts;
use super::transaction::TRANSACTIONS;
use crate::outbox::JobError;
use crate::users::{Belongings, Records};

#[async_trait]
impl Belongings for Accounts {
    async fn remove(&self, user_id: &str) -> Result<(), JobError> {
        for collection in [&TRANSACTIONS, &BALANCES, &ACCOUNTS] {
            Records::new(self.store.clone(), collection, "user").remove(user_id).await?;
        }
        self.tell_of_change(user_id).await;
        Ok(())
    }
}
