//! Whether this replica should get requests, from what is known already.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use steward_actors::cluster::{MAX_UNCERTAINTY, Membership, StoreClock};
use steward_actors::supervision::Watchdog;
use tokio::sync::watch;
use tokio::time::timeout;

use super::share::Share;
use crate::http::health::{Condition, Part, Readiness};
use crate::storage::redis::RedisPool;

/// How long Redis may take to say that it is there.
const PING: Duration = Duration::from_millis(300);

/// Who knows how this replica is.
#[derive(Clone)]
pub(super) struct ReplicaReadiness {
    pub(super) membership: Arc<Membership>,
    pub(super) clock: Arc<StoreClock>,
    pub(super) watchdog: Arc<Watchdog>,
    pub(super) redis: Option<RedisPool>,
    pub(super) draining: watch::Receiver<bool>,
    pub(super) share: Share,
}

#[async_trait(?Send)]
impl Readiness for ReplicaReadiness {
    async fn condition(&self) -> Condition {
        let part = |name: &str, ok: bool, wrong: &str| Part {
            name: name.to_owned(),
            ok,
            detail: (!ok).then(|| wrong.to_owned()),
        };
        let serving = !*self.draining.borrow();
        let uncertainty = self.clock.uncertainty();
        let mut dependencies = vec![
            part("store", self.membership.am_live(), "takes no heartbeat from this replica"),
            part("clock", uncertainty <= MAX_UNCERTAINTY, "the offset to the store's clock is uncertain"),
        ];
        if let Some(redis) = &self.redis {
            // Without Redis the store answers, more slowly: worth knowing, no reason to refuse.
            let there = matches!(timeout(PING, redis.ping()).await, Ok(Ok(())));
            let detail = (!there).then(|| "does not answer; the store is asked instead".to_owned());
            dependencies.push(Part { name: "redis".to_owned(), ok: true, detail });
        }
        let turning = !self.watchdog.is_stuck();
        let role = |name: &str| match (serving, turning) {
            (false, _) => part(name, false, "is draining"),
            (_, false) => part(name, false, "an actor thread gives no sign of life"),
            (true, true) => part(name, true, ""),
        };
        Condition { roles: self.share.roles().map(role).collect(), dependencies }
    }
}
