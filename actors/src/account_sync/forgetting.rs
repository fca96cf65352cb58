//! How the connections of a user who is gone end, with the accounts that they brought.

use async_trait::async_trait;

use super::errors::SyncError;
use super::{Connections, Disposal};
use crate::outbox::JobError;
use crate::users::Belongings;

#[async_trait]
impl Belongings for Connections {
    async fn remove(&self, user_id: &str) -> Result<(), JobError> {
        loop {
            let (page, _) = self.list(user_id, 100, None).await?;
            if page.is_empty() {
                return Ok(());
            }
            for connection in page {
                match self.delete(user_id, &connection.value.id, Disposal::DeleteAccounts).await {
                    Ok(()) | Err(SyncError::NotFound) => {}
                    Err(error) => return Err(JobError::Retry { reason: error.to_string(), after: None }),
                }
            }
        }
    }
}
