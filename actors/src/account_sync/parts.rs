//! What account sync works with: the store, the providers, and its bounds.

use std::sync::Arc;

use super::options::{Banks, SyncOptions};
use crate::cluster::{Clock, Territory};
use crate::seal::Sealer;
use crate::session::Invalidations;
use crate::store::Store;

/// What account sync is made of.
#[derive(Clone)]
pub struct SyncParts {
    /// The store.
    pub store: Arc<dyn Store>,
    /// The present.
    pub clock: Arc<dyn Clock>,
    /// The providers that can be linked.
    pub banks: Banks,
    /// What keeps credentials secret in the store.
    pub sealer: Arc<dyn Sealer>,
    /// This replica's incarnation, which claims are made for.
    pub replica: String,
    /// Where replicas tell each other of accounts that have changed.
    pub channel: Arc<dyn Invalidations>,
    /// Which connections are this replica's to run.
    pub territory: Arc<dyn Territory>,
    /// Bounds and intervals.
    pub options: SyncOptions,
}
