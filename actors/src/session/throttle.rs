//! What slows a guesser of passwords down, on all replicas together, and never the owner.
//!
//! A guess is counted on the account that it is aimed at, whether or not there is one, and on the
//! address that it comes from. A device that the account's owner has logged in from before (a
//! [`super::DeviceToken`]) is counted apart from both, so nobody who guesses elsewhere keeps the
//! owner out; all of them together are counted, too. A log-in that was right is taken back. What is
//! refused here costs no hash and says nothing about the account.
//!
//! Until it is known whether a log-in is right it counts as a guess. So that many right ones at once
//! are not refused for each other, they wait in turn.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;
use sha2::{Digest, Sha256};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::errors::LogInError;
use crate::hex;
use crate::limits::{Limits, Quota};

const WINDOW: Duration = Duration::from_secs(15 * 60);
/// Wrong passwords for one account, from devices that nobody knows.
pub(super) const ACCOUNT: Quota = Quota::new("login_account", 10, WINDOW);
/// Wrong passwords for one account from one device of its owner's.
const DEVICE: Quota = Quota::new("login_device", 10, WINDOW);
/// Wrong passwords for one account from all devices of its owner's together: whoever once had the
/// password may have made any number of them.
pub(super) const DEVICES: Quota = Quota::new("login_devices", 30, WINDOW);
/// Wrong passwords from one address, for whatever accounts.
pub(super) const ADDRESS: Quota = Quota::new("login_address", 100, WINDOW);
/// Registrations from one address.
pub(super) const REGISTRATIONS: Quota = Quota::new("register_address", 1000, Duration::from_secs(3600));

/// Log-ins of one account that this process verifies at once. On three replicas they are fewer than
/// [`ACCOUNT`] lets pass, and a hash is not made sooner for more of them.
const AT_ONCE: usize = 3;
/// How long a log-in waits for those before it.
const TURN_DEADLINE: Duration = Duration::from_secs(2);
/// Accounts whose turns are remembered; those of a forgotten one begin anew.
const MOST_TURNS: u64 = 10_000;

/// Whose turn it is at each account, and apart from that at each of its owner's devices.
#[derive(Clone)]
pub(super) struct Turns(Cache<String, Arc<Semaphore>>);

impl Turns {
    pub(super) fn new() -> Self {
        Self(Cache::builder().max_capacity(MOST_TURNS).time_to_idle(WINDOW).build())
    }

    async fn wait(&self, at: &str) -> Result<OwnedSemaphorePermit, LogInError> {
        let turns = self.0.get_with(at.to_owned(), || Arc::new(Semaphore::new(AT_ONCE)));
        match timeout(TURN_DEADLINE, turns.acquire_owned()).await {
            Ok(Ok(turn)) => Ok(turn),
            // It is never closed, so this is the deadline.
            _ => Err(LogInError::Busy),
        }
    }
}

/// What one attempt is counted on.
#[derive(Debug)]
pub(super) struct Attempt {
    counted: Vec<(Quota, String)>,
    /// Until it is known how the attempt ended.
    _turn: Option<OwnedSemaphorePermit>,
}

impl Attempt {
    /// Waits for those before it, and counts a log-in: `account` is the user's id, or what was given
    /// for it if that is nobody's.
    ///
    /// # Errors
    /// [`LogInError::Throttled`]; [`LogInError::Busy`] if those before it took too long. Then nothing
    /// is counted.
    pub(super) async fn log_in(
        limits: &dyn Limits,
        turns: &Turns,
        account: &str,
        device: Option<&str>,
        ip: Option<&str>,
    ) -> Result<Self, LogInError> {
        let account = hex::encode(&Sha256::digest(account.as_bytes())[..16]);
        let (at, on) = match device {
            Some(device) => {
                let at = format!("{account}:{device}");
                (at.clone(), vec![(DEVICE, at), (DEVICES, account)])
            }
            None => {
                let address = ip.map(|ip| (ADDRESS, key(ip)));
                (account.clone(), address.into_iter().chain([(ACCOUNT, account)]).collect())
            }
        };
        let turn = turns.wait(&at).await?;
        let counted = Self::count(limits, on).await;
        let counted = counted.map_err(|retry_after| LogInError::Throttled { retry_after })?;
        Ok(Self { _turn: Some(turn), ..counted })
    }

    /// Counts a registration.
    ///
    /// # Errors
    /// When to come back.
    pub(super) async fn register(limits: &dyn Limits, ip: Option<&str>) -> Result<Self, Duration> {
        Self::count(limits, ip.map(|ip| (REGISTRATIONS, key(ip))).into_iter().collect()).await
    }

    async fn count(limits: &dyn Limits, on: Vec<(Quota, String)>) -> Result<Self, Duration> {
        let mut attempt = Self { counted: Vec::new(), _turn: None };
        for (quota, key) in on {
            let decision = limits.take(&quota, &key).await;
            if !decision.allowed {
                attempt.take_back(limits).await;
                return Err(decision.retry_after);
            }
            attempt.counted.push((quota, key));
        }
        Ok(attempt)
    }

    /// It was right, or was not looked at. Whoever waits is next once it is given back.
    pub(super) async fn take_back(self, limits: &dyn Limits) {
        for (quota, key) in &self.counted {
            limits.give_back(quota, key).await;
        }
    }
}

/// What an address is counted by: who has one of version 6 has 2^64 of them.
fn key(ip: &str) -> String {
    match ip.parse().map(|ip: IpAddr| ip.to_canonical()) {
        Ok(IpAddr::V6(ip)) => Ipv6Addr::from(u128::from(ip) >> 64 << 64).to_string(),
        Ok(ip) => ip.to_string(),
        Err(_) => ip.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_of_version_6_is_one_address() {
        assert_eq!(key("2001:db8:1:2:3::4"), key("2001:db8:1:2:ffff::"));
        assert_ne!(key("2001:db8:1:2::"), key("2001:db8:1:3::"));
        assert_eq!(key("::ffff:192.0.2.1"), "192.0.2.1");
    }
}
