//! What a replica is to the others on its database.
//!
//! Who calls it: [`super::Steward::start`], before anything is served.

use std::time::Duration;

use steward_actors::cluster::{Lease, Membership};
use tokio::time::{Instant, sleep};

use super::ServeError;
use crate::config::Config;

/// How this replica tells others which sessions were ended.
pub(super) fn channel(config: &Config) -> String {
    match &config.redis.uri {
        Some(_) => format!("redis, prefix {}", config.redis.prefix),
        None => "no Redis".to_owned(),
    }
}

/// Waits until every other live replica on this database can be told which sessions were ended: by
/// the same Redis, or because there is no other. One that crashed lapses meanwhile.
pub(super) async fn others_hear_us(
    config: &Config,
    membership: &Membership,
    lease: Lease,
) -> Result<(), ServeError> {
    let until = Instant::now() + lease.length + lease.heartbeat;
    let me = membership.incarnation();
    let channel = channel(config);
    let alone = config.redis.uri.is_none();
    loop {
        membership.heartbeat().await?;
        let live = membership.live().await?;
        let deaf = live.into_iter().find(|other| other.id != me && (alone || other.channel != channel));
        let Some(other) = deaf else { return Ok(()) };
        if Instant::now() >= until {
            return Err(ServeError::OneRedisNeeded {
                host: other.host,
                theirs: other.channel,
                ours: channel,
            });
        }
        tracing::warn!(
            host = other.host,
            theirs = other.channel,
            ours = channel,
            "waiting for another replica to leave"
        );
        sleep(lease.heartbeat.min(Duration::from_secs(1))).await;
    }
}

/// Where this replica runs: the host's name and the process id.
pub(super) fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = if name.trim().is_empty() { "localhost" } else { name.trim() };
    format!("{name}:{}", std::process::id())
}
