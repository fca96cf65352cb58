//! Linking: a setup token becomes a connection. The connection is recorded before the provider is
//! asked, so that whatever happens in between the user finds out that the token may be used up.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

use super::connection::{Connection, ConnectionStatus};
use super::credential::SealedCredential;
use super::errors::LinkError;
use super::merge::short;
use super::parts::SyncParts;
use super::settle::{lost, wanted};
use super::under_way::Held;
use super::work::BACKOFF;
use crate::backoff::Backoff;
use crate::ids;
use crate::providers::{Bank, ClaimError, Credential};
use crate::store::{Batch, CommitError, Versioned, load};

/// Characters that a setup token may have.
const MOST_TOKEN_CHARS: usize = 4096;
/// Until it is looked again whether another link is done.
const SOON: Duration = Duration::from_millis(100);
/// How often a commit is tried.
const ATTEMPTS: u32 = 6;
/// How often the commit is tried that other links of the user may come before.
const CONTENDED_ATTEMPTS: u32 = 16;

/// Asks for a connection.
#[derive(Clone, Debug)]
pub struct LinkRequest {
    /// The connection's id, chosen by who asks ([`ids::new_id`], or made from an idempotency key):
    /// the same id again is the same connection.
    pub id: String,
    /// A digest of what the command says, if its id can come again with other words.
    pub command: Option<String>,
    /// The user.
    pub user_id: String,
    /// The provider, by the API's name for it.
    pub provider: String,
    /// What the provider gave the user.
    pub setup_token: SecretString,
}

/// A connection that a command made, now or when it first came.
#[derive(Clone, Debug)]
pub struct Linked {
    /// The connection as it is now.
    pub connection: Connection,
    /// The command had come before.
    pub replayed: bool,
}

impl Linked {
    fn now(connection: Connection) -> Self {
        Self { connection, replayed: false }
    }
}

/// Links. Takes as long as the provider does, [`super::SyncOptions::claim_deadline`] at most, and
/// a few commits.
pub(super) async fn link(parts: &SyncParts, request: LinkRequest) -> Result<Linked, LinkError> {
    let Some(bank) = parts.banks.get(&request.provider) else {
        return Err(LinkError::UnknownProvider(parts.banks.keys().cloned().collect()));
    };
    let token = request.setup_token.expose_secret();
    fits(token)?;
    if let Some(before) = before(parts, &request).await? {
        return Ok(before);
    }
    if let Some(before) = intend(parts, &request).await? {
        return Ok(before);
    }
    match claim(parts, bank.as_ref(), token, &request.user_id).await {
        Ok(credential) => {
            let sealed = SealedCredential::seal(parts.sealer.as_ref(), &request.id, &credential);
            if let Err(error) = &sealed {
                tracing::error!(connection_id = request.id, %error, "a claimed credential is given up");
            }
            let sealed = sealed.ok().map(|sealed| (sealed, bank.reference(&credential)));
            conclude(parts, &request.id, sealed).await.map(Linked::now)
        }
        Err(ClaimError::OutcomeUnknown(_)) => conclude(parts, &request.id, None).await.map(Linked::now),
        Err(ClaimError::Refused(reason)) => {
            withdraw(parts, &request.id).await;
            Err(LinkError::Refused(short(&reason)))
        }
        Err(ClaimError::Unavailable { reason, retry_after }) => {
            withdraw(parts, &request.id).await;
            Err(LinkError::ProviderUnavailable { reason: short(&reason), retry_after })
        }
        Err(ClaimError::Resting { after }) => {
            withdraw(parts, &request.id).await;
            Err(not_asked(after))
        }
    }
}

/// The provider is asked nothing now.
pub(super) fn not_asked(after: Duration) -> LinkError {
    let reason = "it is not asked now".to_owned();
    LinkError::ProviderUnavailable { reason, retry_after: Some(after) }
}

/// Refuses what no provider gives out.
pub(super) fn fits(token: &str) -> Result<(), LinkError> {
    if token.is_empty() || token.len() > MOST_TOKEN_CHARS {
        return Err(LinkError::Refused(format!("it must have 1 to {MOST_TOKEN_CHARS} characters")));
    }
    Ok(())
}

/// Claims a token, within the deadline.
pub(super) async fn claim(
    parts: &SyncParts,
    bank: &dyn Bank,
    token: &str,
    user_id: &str,
) -> Result<Credential, ClaimError> {
    let until = parts.clock.now().plus(parts.options.claim_deadline);
    tokio::select! {
        claimed = bank.claim(token, user_id) => claimed,
        () = parts.clock.sleep_until(until) => {
            Err(ClaimError::OutcomeUnknown("no answer in time".to_owned()))
        }
    }
}

/// What an earlier request with this id came to; one that is still on its way is waited for.
async fn before(parts: &SyncParts, request: &LinkRequest) -> Result<Option<Linked>, LinkError> {
    let until = parts.clock.now().plus(parts.options.claim_deadline);
    loop {
        let Some(found) = load::<Connection>(parts.store.as_ref(), &request.id).await? else {
            return Ok(None);
        };
        let connection = found.value;
        let is_other = connection.command.is_some() && connection.command != request.command;
        if connection.user_id != request.user_id || is_other {
            return Err(LinkError::KeyReused);
        }
        match connection.status {
            ConnectionStatus::Revoked => return Err(LinkError::DeletedSince),
            ConnectionStatus::Linking if parts.clock.now() < until => parts.clock.sleep(SOON).await,
            ConnectionStatus::Linking => return Err(LinkError::OutcomeUnknown),
            ConnectionStatus::Active | ConnectionStatus::NeedsReauth => {
                return Ok(Some(Linked { connection, replayed: true }));
            }
        }
    }
}

/// Records the intention to claim a token, unless the user has as many connections as may be, those
/// included that are still being linked.
async fn intend(parts: &SyncParts, request: &LinkRequest) -> Result<Option<Linked>, LinkError> {
    let now = parts.clock.now();
    let connection = Connection {
        id: request.id.clone(),
        user_id: request.user_id.clone(),
        listed_for: None,
        provider: request.provider.clone(),
        institution: None,
        status: ConnectionStatus::Linking,
        credential: None,
        reference: None,
        cursor: None,
        provisional_since: None,
        again: false,
        relinked: false,
        postponed: false,
        last_outcome: None,
        reason: None,
        last_success_at: None,
        // If nobody has concluded by then, nobody will.
        due_at: Some(now.plus(parts.options.claim_deadline + parts.options.lease)),
        rest_until: None,
        failures: 0,
        epoch: 0,
        claim: None,
        command: request.command.clone(),
        revoked_by: None,
        created_at: now,
        forget_at: None,
    };
    let (store, most) = (parts.store.as_ref(), parts.options.most_connections);
    let mut last = LinkError::OutcomeUnknown;
    for attempt in 0..CONTENDED_ATTEMPTS {
        Backoff::CONTENTION.wait(attempt).await;
        // The same command may be what came before.
        if attempt > 0
            && let Some(before) = before(parts, request).await?
        {
            return Ok(Some(before));
        }
        let held = Held::by(store, &request.user_id, most).await?;
        if held.count() >= most {
            return Err(LinkError::TooMany(most));
        }
        match store.commit(held.begin(Batch::new().insert(&connection), &connection, now)).await {
            Ok(()) => return Ok(None),
            Err(error @ CommitError::Conflict(_)) => last = error.into(),
            Err(error) => return Err(error.into()),
        }
    }
    Err(last)
}

/// Makes a connection of the intention: with a credential an active one whose first run is queued,
/// without one that needs the user again.
async fn conclude(
    parts: &SyncParts,
    id: &str,
    claimed: Option<(SealedCredential, Option<String>)>,
) -> Result<Connection, LinkError> {
    let store = parts.store.as_ref();
    let run_id = ids::new_id();
    let mut last = LinkError::OutcomeUnknown;
    for attempt in 0..ATTEMPTS {
        BACKOFF.wait(attempt).await;
        let (concluded, batch) = match load::<Connection>(store, id).await {
            Ok(Some(Versioned { value, version })) => match (value.status, claimed.clone()) {
                (ConnectionStatus::Linking | ConnectionStatus::NeedsReauth, Some(claimed))
                    if value.credential.is_none() =>
                {
                    let now = parts.clock.now();
                    let (active, run) = wanted(linked(value, claimed), &run_id, now);
                    let batch = Batch::new().replace(&active, version).insert(&run);
                    (active, batch)
                }
                (ConnectionStatus::Linking, None) => {
                    let lost = lost(value);
                    let batch = Batch::new().replace(&lost, version);
                    (lost, batch)
                }
                // An earlier attempt counted although its answer was lost.
                (ConnectionStatus::Active | ConnectionStatus::NeedsReauth, _) => return Ok(value),
                (ConnectionStatus::Linking | ConnectionStatus::Revoked, _) => {
                    return Err(LinkError::OutcomeUnknown);
                }
            },
            Ok(None) => return Err(LinkError::OutcomeUnknown),
            Err(error) => {
                last = error.into();
                continue;
            }
        };
        match store.commit(batch).await {
            Ok(()) => return Ok(concluded),
            Err(error) => last = error.into(),
        }
    }
    tracing::error!(connection_id = id, error = %last, "a claimed credential could not be stored");
    // The token is used up, so "nothing was made" would be wrong.
    Err(LinkError::OutcomeUnknown)
}

fn linked(connection: Connection, (credential, reference): (SealedCredential, Option<String>)) -> Connection {
    Connection {
        status: ConnectionStatus::Active,
        listed_for: Some(connection.user_id.clone()),
        credential: Some(credential),
        reference,
        reason: None,
        ..connection
    }
}

/// Takes the intention back: the token was not claimed.
async fn withdraw(parts: &SyncParts, id: &str) {
    let store = parts.store.as_ref();
    for attempt in 0..ATTEMPTS {
        BACKOFF.wait(attempt).await;
        let left = match load::<Connection>(store, id).await {
            Ok(Some(found)) if found.value.credential.is_none() => {
                store.commit(Batch::new().delete(&found)).await.map_err(|error| error.to_string())
            }
            Ok(_) => Ok(()),
            Err(error) => Err(error.to_string()),
        };
        match left {
            Ok(()) => return,
            Err(error) if attempt + 1 == ATTEMPTS => {
                tracing::warn!(connection_id = id, error, "a refused link could not be taken back");
            }
            Err(_) => {}
        }
    }
}
