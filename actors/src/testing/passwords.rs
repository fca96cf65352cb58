//! A password hasher that is fast and counts.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use async_trait::async_trait;
use tokio::sync::watch;

use crate::users::{HashError, Password, PasswordHash, PasswordHasher};

/// Hashes that hide nothing, made at once.
pub struct FastHasher {
    nobody: PasswordHash,
    salts: AtomicU64,
    verified: AtomicU64,
    runs: AtomicU64,
    busy: AtomicBool,
    gate: watch::Sender<Gate>,
}

/// Where passwords wait while the hasher is held.
#[derive(Default)]
struct Gate {
    held: bool,
    waiting: usize,
}

impl Default for FastHasher {
    fn default() -> Self {
        Self {
            nobody: PasswordHash::new("nobody".to_owned()),
            salts: AtomicU64::new(0),
            verified: AtomicU64::new(0),
            runs: AtomicU64::new(0),
            busy: AtomicBool::new(false),
            gate: watch::Sender::new(Gate::default()),
        }
    }
}

impl FastHasher {
    /// How many passwords were verified, rightly or not.
    pub fn verified(&self) -> u64 {
        self.verified.load(Ordering::SeqCst)
    }

    /// How often a real hasher would have run: passwords verified, and hashes made.
    pub fn runs(&self) -> u64 {
        self.runs.load(Ordering::SeqCst)
    }

    /// While busy, every call is answered with "busy".
    pub fn set_busy(&self, busy: bool) {
        self.busy.store(busy, Ordering::SeqCst);
    }

    /// From here on passwords are not verified before [`FastHasher::let_go`].
    pub fn hold(&self) {
        self.gate.send_modify(|gate| gate.held = true);
    }

    /// Verifies those that wait, and all others at once.
    pub fn let_go(&self) {
        self.gate.send_modify(|gate| gate.held = false);
    }

    /// Returns when so many passwords wait.
    pub async fn holds(&self, passwords: usize) {
        // The sender is this hasher's own.
        let _ = self.gate.subscribe().wait_for(|gate| gate.waiting >= passwords).await;
    }

    async fn pass(&self) {
        self.gate.send_modify(|gate| gate.waiting += 1);
        let _ = self.gate.subscribe().wait_for(|gate| !gate.held).await;
        self.gate.send_modify(|gate| gate.waiting -= 1);
    }

    fn ready(&self) -> Result<(), HashError> {
        if self.busy.load(Ordering::SeqCst) { Err(HashError::Busy) } else { Ok(()) }
    }
}

#[async_trait]
impl PasswordHasher for FastHasher {
    async fn hash(&self, password: &Password) -> Result<PasswordHash, HashError> {
        self.ready()?;
        self.runs.fetch_add(1, Ordering::SeqCst);
        let salt = self.salts.fetch_add(1, Ordering::SeqCst);
        Ok(PasswordHash::new(format!("{salt}${}", password.expose())))
    }

    async fn verify(&self, password: &Password, hash: &PasswordHash) -> Result<bool, HashError> {
        self.ready()?;
        self.pass().await;
        self.verified.fetch_add(1, Ordering::SeqCst);
        self.runs.fetch_add(1, Ordering::SeqCst);
        Ok(hash.expose().split_once('$').is_some_and(|(_, of)| of == password.expose()))
    }

    async fn is_guessable(&self, password: &Password, _: &[&str]) -> Result<bool, HashError> {
        self.ready()?;
        Ok(password.expose() == "password")
    }

    /// Those that begin with `old`.
    fn is_outdated(&self, hash: &PasswordHash) -> bool {
        hash.expose().starts_with("old")
    }

    fn nobody(&self) -> &PasswordHash {
        &self.nobody
    }
}
