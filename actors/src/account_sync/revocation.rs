//! Telling a provider that an access has ended: a job, committed with the deletion that wiped the
//! credential from its connection. It carries the credential, sealed, and goes when it is done.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use super::connection::Connection;
use super::credential::SealedCredential;
use super::options::Banks;
use crate::outbox::{Job, JobError, Performer};
use crate::providers::BankError;
use crate::seal::Sealer;
use crate::time::Timestamp;

/// The kind of these jobs.
pub const BANK_REVOCATION: &str = "bank_revocation";
/// How long a provider may take.
const DEADLINE: Duration = Duration::from_secs(15);

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Payload {
    provider: String,
    connection_id: String,
    credential: SealedCredential,
}

/// The job that ends the access of `connection`, if its provider can be told. `cause` names the
/// command for which it ends.
pub(super) fn job(banks: &Banks, connection: &Connection, cause: &str, now: Timestamp) -> Option<Job> {
    banks.get(&connection.provider).filter(|bank| bank.can_revoke())?;
    let payload = Payload {
        provider: connection.provider.clone(),
        connection_id: connection.id.clone(),
        credential: connection.credential.clone()?,
    };
    Some(Job::new(format!("{BANK_REVOCATION}.{cause}"), BANK_REVOCATION, &payload, now))
}

/// The credential that a job carries, and whose it was; `None` if it is no job of this kind.
pub(super) fn credential(job: &Job) -> Option<(String, SealedCredential)> {
    let payload = Some(job).filter(|job| job.kind() == BANK_REVOCATION)?.payload::<Payload>().ok()?;
    Some((payload.connection_id, payload.credential))
}

/// The same job with its credential sealed otherwise; `None` if it is no job of this kind.
pub(super) fn with_credential(job: &Job, credential: SealedCredential) -> Option<Job> {
    let payload = Some(job).filter(|job| job.kind() == BANK_REVOCATION)?.payload::<Payload>().ok()?;
    Some(job.with_payload(&Payload { credential, ..payload }))
}

/// Tells providers.
pub struct Revocations {
    banks: Banks,
    sealer: Arc<dyn Sealer>,
}

impl Revocations {
    /// Tells these providers; `sealer` opens the credentials.
    pub fn new(banks: Banks, sealer: Arc<dyn Sealer>) -> Self {
        Self { banks, sealer }
    }
}

#[async_trait]
impl Performer for Revocations {
    fn kind(&self) -> &'static str {
        BANK_REVOCATION
    }

    fn shown(&self) -> &'static [&'static str] {
        &["provider", "connectionId"]
    }

    async fn perform(&self, job: &Job) -> Result<(), JobError> {
        let Payload { provider, connection_id, credential } = job.payload()?;
        let Some(bank) = self.banks.get(&provider) else {
            let reason = format!("{provider} is not configured here");
            return Err(JobError::Retry { reason, after: None });
        };
        let opened = credential.open(self.sealer.as_ref(), &connection_id);
        let credential = opened.map_err(|error| JobError::Permanent(error.to_string()))?;
        match timeout(DEADLINE, bank.revoke(&credential)).await {
            // Access that is refused has ended.
            Ok(Ok(()) | Err(BankError::NeedsReauth(_))) => Ok(()),
            Ok(Err(BankError::RateLimited { retry_after })) => Err(JobError::Retry {
                reason: "the provider wants to be asked less often".to_owned(),
                after: retry_after,
            }),
            Ok(Err(error)) => Err(JobError::Retry { reason: error.to_string(), after: error.retry_after() }),
            Err(_) => Err(JobError::Retry { reason: "no answer in time".to_owned(), after: None }),
        }
    }
}
