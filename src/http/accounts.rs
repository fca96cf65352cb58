//! Accounts, as linked connections and their runs fill them.

use utoipa_actix_web::service_config::ServiceConfig;

pub(super) fn configure(_config: &mut ServiceConfig) {}
