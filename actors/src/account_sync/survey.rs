//! How connections are, for figures.

use super::connection::{CONNECTIONS, Connection, ConnectionStatus};
use crate::store::{Query, Store, StoreError, find};
use crate::time::Timestamp;

/// Connections of all users.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// How many have each status, as far as they were counted.
    pub by_status: Vec<(ConnectionStatus, usize)>,
    /// The last success of the active connection whose last success is longest ago.
    pub stalest: Option<Timestamp>,
}

/// Counts connections, up to `limit` (1 to 1,000) of each status.
///
/// # Errors
/// [`StoreError`].
pub async fn survey(store: &dyn Store, limit: usize) -> Result<Survey, StoreError> {
    let mut survey = Survey::default();
    for status in [ConnectionStatus::Linking, ConnectionStatus::Active, ConnectionStatus::NeedsReauth] {
        let query = Query::by(&CONNECTIONS, "status").equal(status.name()).limit(limit);
        survey.by_status.push((status, find::<Connection>(store, query).await?.0.len()));
    }
    let active = Query::by(&CONNECTIONS, "freshness").equal(ConnectionStatus::Active.name()).limit(1);
    let (stalest, _) = find::<Connection>(store, active).await?;
    survey.stalest = stalest.first().and_then(|connection| connection.value.last_success_at);
    Ok(survey)
}
