//! What operators' routes ask, and the loops that keep their switches known.

use actix_web::web::{Data, ServiceConfig};
use std::sync::Arc;
use steward_actors::audit::AuditLog;
use steward_actors::cluster::StoreClock;
use steward_actors::flags::Flags;
use steward_actors::outbox::Jobs;
use steward_actors::pauses::Pauses;
use steward_actors::providers::Breaker;
use steward_actors::supervision::{InfrastructureTask, Tree, supervise_task};

use super::Parts;

/// One for all worker threads.
#[derive(Clone)]
pub(super) struct Operations {
    jobs: Jobs,
    audit: AuditLog,
    flags: Flags,
    pauses: Pauses,
    tree: Tree,
    clock: Arc<StoreClock>,
}

impl Operations {
    pub(super) fn new(parts: &Parts, jobs: Jobs, providers: Vec<Breaker>) -> Self {
        Self {
            jobs,
            audit: AuditLog::new(parts.store.clone()),
            flags: Flags::new(parts.store.clone(), parts.clock.clone()),
            pauses: Pauses::new(parts.store.clone(), parts.clock.clone(), parts.tree.clone()).over(providers),
            tree: parts.tree.clone(),
            clock: parts.clock.clone(),
        }
    }

    /// Keeps flags and pauses known.
    pub(super) fn start(&self) -> [InfrastructureTask; 2] {
        let (flags, pauses) = (self.flags.clone(), self.pauses.clone());
        [
            supervise_task(&self.tree, "flags", move |stop| {
                let flags = flags.clone();
                async move { flags.refresh(stop).await }
            }),
            supervise_task(&self.tree, "pauses", move |stop| {
                let pauses = pauses.clone();
                async move { pauses.refresh(stop).await }
            }),
        ]
    }

    pub(super) fn configure(&self, app: &mut ServiceConfig) {
        app.app_data(Data::new(self.jobs.clone()))
            .app_data(Data::new(self.audit.clone()))
            .app_data(Data::new(self.flags.clone()))
            .app_data(Data::new(self.pauses.clone()))
            .app_data(Data::new(self.tree.clone()))
            .app_data(Data::from(self.clock.clone()));
    }
}
