//! What slows a guesser of passwords down, on all replicas together, and never the owner.
//!
//! A guess is counted on the account that it is aimed at, whether or not there is one, and on the
//! address that it comes from. A device that the account's owner has logged in from before (a
//! [`super::DeviceToken`]) is counted apart from both, so nobody who guesses elsewhere keeps the
//! owner out. A log-in that was right is taken back. What is refused here costs no hash and says
//! nothing about the account.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::hex;
use crate::limits::{Limits, Quota};

const WINDOW: Duration = Duration::from_secs(15 * 60);
/// Wrong passwords for one account, from devices that nobody knows.
pub(super) const ACCOUNT: Quota = Quota::new("login_account", 10, WINDOW);
/// Wrong passwords for one account from one device of its owner's.
const DEVICE: Quota = Quota::new("login_device", 10, WINDOW);
/// Wrong passwords from one address, for whatever accounts.
pub(super) const ADDRESS: Quota = Quota::new("login_address", 100, WINDOW);
/// Registrations from one address.
pub(super) const REGISTRATIONS: Quota = Quota::new("register_address", 1000, Duration::from_secs(3600));

/// What one attempt is counted on.
#[derive(Debug)]
pub(super) struct Attempt {
    counted: Vec<(Quota, String)>,
}

impl Attempt {
    /// Counts a log-in: `account` is the user's id, or what was given for it if that is nobody's.
    ///
    /// # Errors
    /// When to come back; then nothing is counted.
    pub(super) async fn log_in(
        limits: &dyn Limits,
        account: &str,
        device: Option<&str>,
        ip: Option<&str>,
    ) -> Result<Self, Duration> {
        let account = hex::encode(&Sha256::digest(account.as_bytes())[..16]);
        let on = match device {
            Some(device) => vec![(DEVICE, format!("{account}:{device}"))],
            None => {
                let address = ip.map(|ip| (ADDRESS, key(ip)));
                address.into_iter().chain([(ACCOUNT, account)]).collect()
            }
        };
        Self::count(limits, on).await
    }

    /// Counts a registration.
    ///
    /// # Errors
    /// When to come back.
    pub(super) async fn register(limits: &dyn Limits, ip: Option<&str>) -> Result<Self, Duration> {
        Self::count(limits, ip.map(|ip| (REGISTRATIONS, key(ip))).into_iter().collect()).await
    }

    async fn count(limits: &dyn Limits, on: Vec<(Quota, String)>) -> Result<Self, Duration> {
        let mut attempt = Self { counted: Vec::new() };
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

    /// It was right, or was not looked at.
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
