//! Idempotent requests: <https://docs.stripe.com/api/idempotent_requests>. The kept answer commits
//! together with what it answers for.

use std::time::Duration;

use actix_web::HttpResponse;
use futures_util::stream;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use steward_actors::cluster::Clock;
use steward_actors::hex;
use steward_actors::store::{Batch, Collection, CommitError, Entity, Field, Kind, Versioned, load};
use steward_actors::supervision::lock;
use steward_actors::time::Timestamp;

use super::decide::Delivery;
use crate::sandbox::World;
use crate::sandbox::answer::Answer;
use crate::sandbox::control::Switches;

/// How long a key is remembered.
const KEPT_FOR: Duration = Duration::from_secs(24 * 3600);
/// How often a request decides again because another one came first.
const ATTEMPTS: u32 = 50;

/// Answers by the digest of their idempotency key.
pub(in crate::sandbox) static KEPT_ANSWERS: Collection = Collection {
    name: "sandbox_kept_answers",
    fields: &[Field::required("fingerprint", Kind::Text), Field::required("expiresAt", Kind::Time)],
    indexes: &[],
    words: &[],
    expires: Some("expiresAt"),
};

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct KeptAnswer {
    id: String,
    fingerprint: String,
    status: u16,
    body: Value,
    expires_at: Timestamp,
}

impl Entity for KeptAnswer {
    fn collection() -> &'static Collection {
        &KEPT_ANSWERS
    }

    fn id(&self) -> &str {
        &self.id
    }
}

/// A request that changes something.
pub(super) struct Keyed {
    /// The client's key, if it sent one.
    pub(super) key: Option<String>,
    /// Tells whether a second request with the key is the same one.
    pub(super) fingerprint: String,
}

/// What one attempt came to, to be committed.
pub(super) struct Attempt {
    pub(super) batch: Batch,
    pub(super) answer: Answer,
    pub(super) kept: bool,
    pub(super) delivery: Delivery,
    /// What is told by webhook once it is committed: types, and the objects as they stand then.
    pub(super) events: Vec<(&'static str, Value)>,
}

/// Carries the request out once, however often it comes with its key, and answers. `attempt`
/// reads and decides; it is called again if another request changed the same things first.
pub(super) async fn perform(
    world: &World,
    request: &Keyed,
    attempt: impl AsyncFn() -> Result<Attempt, Answer>,
) -> HttpResponse {
    let Some(_running) = InFlight::enter(world, request.key.as_deref()) else {
        return in_use().respond();
    };
    match commit(world, request, attempt).await {
        Ok((answer, Delivery::AtOnce)) => answer.respond(),
        Ok((answer, Delivery::Late)) => {
            tokio::time::sleep(world.options.slow).await;
            answer.respond()
        }
        Ok((_, Delivery::Never)) => hang_up(),
        Err(Outcome::Replayed(answer)) => {
            let mut response = answer.respond();
            let name = actix_web::http::header::HeaderName::from_static("idempotent-replayed");
            response.headers_mut().insert(name, actix_web::http::header::HeaderValue::from_static("true"));
            response
        }
        Err(Outcome::Refused(answer)) => answer.respond(),
    }
}

enum Outcome {
    Replayed(Answer),
    Refused(Answer),
}

impl<T: Into<Answer>> From<T> for Outcome {
    fn from(refusal: T) -> Self {
        Self::Refused(refusal.into())
    }
}

async fn commit(
    world: &World,
    request: &Keyed,
    attempt: impl AsyncFn() -> Result<Attempt, Answer>,
) -> Result<(Answer, Delivery), Outcome> {
    let now = world.clock.now();
    let mut tries = 0;
    loop {
        let mut based_on = 0;
        if let Some(key) = &request.key {
            let known: Option<Versioned<KeptAnswer>> = load(&*world.store, &key_id(key)).await?;
            if let Some(known) = known {
                based_on = known.version;
                if known.value.expires_at > now {
                    return Err(replay(request, known.value));
                }
            }
        }
        let Attempt { mut batch, answer, kept, delivery, events } = attempt().await?;
        if let Some(key) = request.key.as_ref().filter(|_| kept) {
            let kept = KeptAnswer {
                id: key_id(key),
                fingerprint: request.fingerprint.clone(),
                status: answer.status,
                body: answer.body.clone(),
                expires_at: now.plus(KEPT_FOR),
            };
            batch = batch.put(&kept, based_on);
        }
        if batch.writes.is_empty() {
            return Ok((answer, delivery));
        }
        tries += 1;
        match world.store.commit(batch).await {
            Ok(()) => {
                for (kind, object) in events {
                    tell(world, kind, object).await;
                }
                return Ok((answer, delivery));
            }
            Err(CommitError::Conflict(_)) if tries < ATTEMPTS => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Tells whoever listens.
pub(super) async fn tell(world: &World, kind: &'static str, object: Value) {
    if world.webhooks.target().is_some()
        && let Ok(switches) = Switches::load(world).await
    {
        world.webhooks.send(kind, object, switches.webhooks);
    }
}

fn replay(request: &Keyed, known: KeptAnswer) -> Outcome {
    if known.fingerprint == request.fingerprint {
        return Outcome::Replayed(Answer { status: known.status, body: known.body });
    }
    let message = "Keys for idempotent requests can only be used with the same parameters and endpoint they were \
                   first used with.";
    Outcome::Refused(Answer::error(400, "idempotency_error", message))
}

fn key_id(key: &str) -> String {
    hex::encode(&Sha256::digest(key))
}

fn in_use() -> Answer {
    let body = json!({"error": {
        "type": "invalid_request_error", "code": "idempotency_key_in_use",
        "message": "There is currently another in-progress request using this idempotency key.",
    }});
    Answer { status: 409, body }
}

/// Closes the connection without a byte: actix-http gives up on a connection whose body fails
/// before it has written the head.
fn hang_up() -> HttpResponse {
    let nothing = stream::once(async {
        Err::<actix_web::web::Bytes, _>(std::io::Error::other(
            "the sandbox hangs up, as its payment method says",
        ))
    });
    HttpResponse::Ok().streaming(nothing)
}

/// Marks a key as running in this process. Calls of other processes meet in the store.
struct InFlight<'a> {
    world: &'a World,
    key: Option<String>,
}

impl<'a> InFlight<'a> {
    fn enter(world: &'a World, key: Option<&str>) -> Option<Self> {
        if let Some(key) = key {
            let mut running = lock(&world.in_flight);
            if !running.insert(key.to_owned()) {
                return None;
            }
        }
        Some(Self { world, key: key.map(str::to_owned) })
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        if let Some(key) = &self.key {
            lock(&self.world.in_flight).remove(key);
        }
    }
}
