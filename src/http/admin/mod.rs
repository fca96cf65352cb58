//! What operators see and do. Reading needs `admin:read`, acting `admin:write`; every act is in the
//! audit log, in the commit that does it where there is one.

mod actors;
mod audit;
mod flags;
mod jobs;
mod providers;
mod replicas;
mod sagas;

use utoipa_actix_web::service_config::ServiceConfig;

pub(super) fn configure(config: &mut ServiceConfig) {
    config
        .configure(actors::configure)
        .configure(replicas::configure)
        .configure(jobs::configure)
        .configure(providers::configure)
        .configure(sagas::configure)
        .configure(flags::configure)
        .configure(audit::configure);
}
