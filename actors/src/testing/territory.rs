//! A territory that a test decides on.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use tokio::sync::Notify;

use crate::cluster::Territory;
use crate::supervision::lock;

/// Everything, under one epoch, until the test says otherwise. All incarnations live until it says
/// that one fell.
pub struct ScriptedTerritory {
    /// 0: nothing is had.
    epoch: AtomicU64,
    fallen: Mutex<BTreeSet<String>>,
    gained: Notify,
}

impl Default for ScriptedTerritory {
    fn default() -> Self {
        Self { epoch: AtomicU64::new(1), fallen: Mutex::default(), gained: Notify::new() }
    }
}

impl ScriptedTerritory {
    /// All slots are had from now on, under this epoch.
    pub fn gain(&self, epoch: u64) {
        self.epoch.store(epoch, Ordering::SeqCst);
        self.gained.notify_one();
    }

    /// No slot is had from now on.
    pub fn lose(&self) {
        self.epoch.store(0, Ordering::SeqCst);
    }

    /// That incarnation does not live any more.
    pub fn fell(&self, incarnation: &str) {
        lock(&self.fallen).insert(incarnation.to_owned());
    }
}

#[async_trait]
impl Territory for ScriptedTerritory {
    fn epoch_of(&self, _key: &str) -> Option<u64> {
        Some(self.epoch.load(Ordering::SeqCst)).filter(|epoch| *epoch > 0)
    }

    fn lives(&self, incarnation: &str) -> bool {
        !lock(&self.fallen).contains(incarnation)
    }

    async fn gained(&self) {
        self.gained.notified().await;
    }
}
