//! How many jobs there are, for figures.

use super::job::{JOBS, Job, JobStatus};
use crate::store::{Query, Store, StoreError, find};
use crate::time::Timestamp;

/// Jobs of all replicas.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// How many have each status, as far as they were counted.
    pub by_status: Vec<(JobStatus, usize)>,
    /// When the job that is due first is, or was, due.
    pub oldest_due: Option<Timestamp>,
}

/// Counts jobs, up to `limit` (1 to 1,000) of each status.
///
/// # Errors
/// [`StoreError`].
pub async fn survey(store: &dyn Store, limit: usize) -> Result<Survey, StoreError> {
    let mut survey = Survey::default();
    for status in [JobStatus::Due, JobStatus::Running, JobStatus::Dead] {
        let query = Query::by(&JOBS, "status").equal(status.name()).limit(limit);
        let (jobs, _) = find::<Job>(store, query).await?;
        if status == JobStatus::Due {
            survey.oldest_due = jobs.first().map(|job| job.value.due_at());
        }
        survey.by_status.push((status, jobs.len()));
    }
    Ok(survey)
}
