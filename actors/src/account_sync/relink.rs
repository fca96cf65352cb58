//! Linking again: a connection gets another credential. Whether that is for the same accounts at the
//! provider or for the same ones under new ids, merging finds out.

use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};

use super::connection::{Connection, ConnectionStatus};
use super::credential::SealedCredential;
use super::errors::LinkError;
use super::link::{claim, fits, not_asked};
use super::merge::short;
use super::parts::SyncParts;
use super::revocation;
use super::run::{RUNS, Run};
use super::settle::{REPLY_LOST, wanted};
use super::work::{ATTEMPTS, BACKOFF};
use crate::ids;
use crate::providers::{Bank, BankError, ClaimError, LinkToken};
use crate::store::{Batch, Query, Versioned, find, load};

/// Asks for another credential for a connection.
#[derive(Clone, Debug)]
pub struct RelinkRequest {
    /// The user.
    pub user_id: String,
    /// The connection.
    pub connection_id: String,
    /// What the user takes for its provider, if they say.
    pub provider: Option<String>,
    /// What the provider gave the user.
    pub token: SecretString,
}

async fn owned(parts: &SyncParts, user_id: &str, id: &str) -> Result<Versioned<Connection>, LinkError> {
    let found = load::<Connection>(parts.store.as_ref(), id).await?;
    found.filter(|found| found.value.listed_for.as_deref() == Some(user_id)).ok_or(LinkError::NotFound)
}

fn bank(parts: &SyncParts, provider: &str) -> Result<Arc<dyn Bank>, LinkError> {
    let unknown = || LinkError::UnknownProvider(parts.banks.keys().cloned().collect());
    parts.banks.get(provider).cloned().ok_or_else(unknown)
}

/// Links again. Takes as long as the provider does, [`super::SyncOptions::claim_deadline`] at most, and
/// a few commits. A run that is under way does not count any more: it has the former credential.
pub(super) async fn relink(parts: &SyncParts, request: RelinkRequest) -> Result<Connection, LinkError> {
    let found = owned(parts, &request.user_id, &request.connection_id).await?.value;
    if request.provider.as_ref().is_some_and(|provider| *provider != found.provider) {
        return Err(LinkError::OtherProvider(found.provider));
    }
    let bank = bank(parts, &found.provider)?;
    let token = request.token.expose_secret();
    fits(token)?;
    let claimed = claim(parts, bank.as_ref(), token, &request.user_id).await;
    let (credential, reference) = match claimed {
        Ok(credential) => {
            let sealed = SealedCredential::seal(parts.sealer.as_ref(), &found.id, &credential);
            let reference = bank.reference(&credential);
            (sealed.map_err(|_| LinkError::OutcomeUnknown)?, reference)
        }
        Err(ClaimError::OutcomeUnknown(_)) => return unclear(parts, &request).await,
        Err(ClaimError::Refused(reason)) => return Err(LinkError::Refused(short(&reason))),
        Err(ClaimError::Unavailable { reason, retry_after }) => {
            return Err(LinkError::ProviderUnavailable { reason: short(&reason), retry_after });
        }
        Err(ClaimError::Resting { after }) => return Err(not_asked(after)),
    };
    let (run_id, command_id) = (ids::new_id(), ids::new_id());
    let mut last = LinkError::OutcomeUnknown;
    for attempt in 0..ATTEMPTS {
        BACKOFF.wait(attempt).await;
        let found = owned(parts, &request.user_id, &request.connection_id).await?;
        let done = load::<Run>(parts.store.as_ref(), &run_id).await?.is_some();
        if done {
            return Ok(found.value);
        }
        let now = parts.clock.now();
        let is_other = reference.is_none() || reference != found.value.reference;
        let former = Some(&found.value).filter(|_| is_other);
        let revocation = former.and_then(|former| revocation::job(&parts.banks, former, &command_id, now));
        let (connection, run) = wanted(renewed(found.value.clone(), &credential, &reference), &run_id, now);
        let mut batch = Batch::new().replace(&connection, found.version);
        let query = Query::by(&RUNS, "unfinished").equal(found.value.id.as_str()).limit(1);
        let (unfinished, _) = find::<Run>(parts.store.as_ref(), query).await?;
        // Its record is taken out, so that this one tells that the commit counted.
        batch = unfinished.iter().fold(batch, Batch::delete);
        batch = batch.insert(&run);
        batch = revocation.iter().fold(batch, Batch::insert);
        match parts.store.commit(batch).await {
            Ok(()) => return Ok(connection),
            Err(error) => last = error.into(),
        }
    }
    Err(last)
}

/// The same connection with another credential. A cursor is of one item only.
fn renewed(connection: Connection, credential: &SealedCredential, reference: &Option<String>) -> Connection {
    let same = reference.is_some() && *reference == connection.reference;
    Connection {
        status: ConnectionStatus::Active,
        credential: Some(credential.clone()),
        cursor: connection.cursor.filter(|_| same),
        reference: reference.clone(),
        reason: None,
        // What was asked too often is the former access.
        rest_until: None,
        failures: 0,
        claim: None,
        again: false,
        // Under the same name there the accounts have the same ids.
        relinked: connection.relinked || !same,
        ..connection
    }
}

/// The token may be used up, and nobody has what it was used up for.
async fn unclear(parts: &SyncParts, request: &RelinkRequest) -> Result<Connection, LinkError> {
    let mut last = LinkError::OutcomeUnknown;
    for attempt in 0..ATTEMPTS {
        BACKOFF.wait(attempt).await;
        let found = owned(parts, &request.user_id, &request.connection_id).await?;
        let connection = Connection {
            status: ConnectionStatus::NeedsReauth,
            reason: Some(REPLY_LOST.to_owned()),
            ..found.value
        };
        match parts.store.commit(Batch::new().replace(&connection, found.version)).await {
            Ok(()) => return Ok(connection),
            Err(error) => last = error.into(),
        }
    }
    Err(last)
}

/// What the provider's page needs: for a new link, or to let the user in again.
pub(super) async fn link_token(
    parts: &SyncParts,
    user_id: &str,
    connection_id: Option<&str>,
) -> Result<LinkToken, LinkError> {
    let connection = match connection_id {
        Some(id) => Some(owned(parts, user_id, id).await?.value),
        None => None,
    };
    let provider = connection.as_ref().map_or("plaid", |connection| connection.provider.as_str());
    let bank = parts.banks.get(provider).ok_or(LinkError::NoPage)?;
    let credential = match &connection {
        Some(Connection { credential: Some(sealed), id, .. }) => {
            Some(sealed.open(parts.sealer.as_ref(), id).map_err(|_| LinkError::NoPage)?)
        }
        Some(_) => return Err(LinkError::NoPage),
        None => None,
    };
    let until = parts.clock.now().plus(parts.options.claim_deadline);
    let made = tokio::select! {
        made = bank.link_token(user_id, credential.as_ref()) => made,
        () = parts.clock.sleep_until(until) => Err(BankError::Down("no answer in time".to_owned())),
    };
    match made {
        Ok(token) => token.ok_or(LinkError::NoPage),
        Err(BankError::NeedsReauth(_)) => Err(LinkError::NoPage),
        Err(error) => {
            let retry_after = error.retry_after();
            Err(LinkError::ProviderUnavailable { reason: short(&error.to_string()), retry_after })
        }
    }
}
