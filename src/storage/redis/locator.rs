//! Where sessions are looked up before the store is asked: `{prefix}session:{hash of the token}`
//! holds the session's id and vanishes when the session ends.

use std::time::Duration;

use async_trait::async_trait;
use steward_actors::session::{LocatorError, SessionLocator, TokenHash};

use super::{RedisError, RedisPool};

/// The locator in Redis.
pub struct RedisLocator {
    pool: RedisPool,
}

impl RedisLocator {
    /// The locator of this installation.
    pub fn new(pool: RedisPool) -> Self {
        Self { pool }
    }

    fn key(&self, token: &TokenHash) -> String {
        self.pool.key(&format!("session:{token}"))
    }
}

fn away(error: RedisError) -> LocatorError {
    LocatorError(error.to_string())
}

#[async_trait]
impl SessionLocator for RedisLocator {
    async fn get(&self, token: &TokenHash) -> Result<Option<String>, LocatorError> {
        self.pool.query(redis::cmd("GET").arg(self.key(token))).await.map_err(away)
    }

    async fn put(&self, token: &TokenHash, session_id: &str, ttl: Duration) -> Result<(), LocatorError> {
        let millis = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).max(1);
        let mut set = redis::cmd("SET");
        set.arg(self.key(token)).arg(session_id).arg("PX").arg(millis);
        self.pool.query(&set).await.map_err(away)
    }

    async fn forget(&self, token: &TokenHash) -> Result<(), LocatorError> {
        self.pool.query(redis::cmd("DEL").arg(self.key(token))).await.map_err(away)
    }
}
