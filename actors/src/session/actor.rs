//! The actix shell: one actor per HTTP worker thread, the only user of its cache.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, WrapFuture};
use metrics::{Counter, counter};

use tracing::Instrument;

use super::cache::{Cache, Loaded};
use super::errors::AuthError;
use super::load::{Loader, Presented};
use super::{Principal, Subscription, TokenHash};
use crate::cluster::Clock;
use crate::figures;
use crate::supervision::{Command, Envelope, Reply};

/// Asks who calls with the token that is kept as this.
#[derive(Clone)]
pub(super) struct Authenticate {
    pub(super) token: TokenHash,
    /// The token itself, if it is an access token: it has to be read once.
    pub(super) access: Option<String>,
}

impl Command for Authenticate {
    type Reply = Result<Principal, AuthError>;
}

/// A load under way: of this token, begun at this generation of the cache. Whoever asks after an
/// invalidation must not be answered by a load that began before it.
type Flight = (TokenHash, u64);

/// Answers who is calling. Made by [`super::Sessions::on_this_thread`].
pub struct SessionActor {
    cache: Cache,
    loader: Arc<Loader>,
    clock: Arc<dyn Clock>,
    invalidations: Subscription,
    flights: HashMap<Flight, Vec<Reply<Result<Principal, AuthError>>>>,
    being_seen: HashSet<String>,
    hits: Counter,
    misses: Counter,
}

impl Actor for SessionActor {
    type Context = Context<Self>;
}

impl SessionActor {
    pub(super) fn new(
        capacity: usize,
        loader: Arc<Loader>,
        clock: Arc<dyn Clock>,
        invalidations: Subscription,
    ) -> Self {
        Self {
            cache: Cache::new(capacity),
            loader,
            clock,
            invalidations,
            flights: HashMap::new(),
            being_seen: HashSet::new(),
            hits: counter!(figures::SESSION_CHECKS, "found" => "cache"),
            misses: counter!(figures::SESSION_CHECKS, "found" => "load"),
        }
    }

    /// Takes in all invalidations that have come in; whether the cache may be used.
    fn catch_up(&mut self) -> bool {
        // Asked before the messages are taken: see `Subscription::is_trusted`.
        let trusted = self.invalidations.is_trusted();
        while let Some(what) = self.invalidations.pending() {
            self.cache.invalidate(&what);
        }
        trusted
    }

    fn landed(&mut self, flight: Flight, found: Result<Loaded, AuthError>, ctx: &mut Context<Self>) {
        let (token, generation) = flight;
        let trusted = self.catch_up();
        let waiting = self.flights.remove(&flight).unwrap_or_default();
        let now = self.clock.now();
        let answer = found.map(|loaded| {
            let principal = loaded.principal.clone();
            if now >= loaded.seen_until {
                self.see(principal.session_id.clone(), ctx);
            }
            if trusted {
                self.cache.admit(token, loaded, generation, now);
            }
            principal
        });
        for reply in waiting {
            reply.send(answer.clone());
        }
    }

    fn see(&mut self, session_id: String, ctx: &mut Context<Self>) {
        if !self.being_seen.insert(session_id.clone()) {
            return;
        }
        let loader = self.loader.clone();
        let seen = async move {
            loader.seen(&session_id).await;
            session_id
        };
        ctx.spawn(seen.into_actor(self).map(|session_id, actor, _| {
            actor.being_seen.remove(&session_id);
        }));
    }
}

impl Handler<Envelope<Authenticate>> for SessionActor {
    type Result = ();

    fn handle(&mut self, envelope: Envelope<Authenticate>, ctx: &mut Self::Context) {
        let (Authenticate { token, access }, reply) = envelope.open();
        let trusted = self.catch_up();
        if trusted && let Some(hit) = self.cache.look_up(&token, self.clock.now()) {
            if hit.unseen {
                self.see(hit.principal.session_id.clone(), ctx);
            }
            self.hits.increment(1);
            reply.send(Ok(hit.principal));
            return;
        }
        self.misses.increment(1);
        let presented = match access {
            None => Presented::Session(token),
            Some(text) => match self.loader.read(&text) {
                Some(claims) => Presented::Access(claims),
                None => return reply.send(Err(AuthError::Unauthenticated)),
            },
        };
        let flight = (token, self.cache.generation());
        let reply_span = reply.span();
        let waiting = self.flights.entry(flight).or_default();
        waiting.push(reply);
        if waiting.len() > 1 {
            return;
        }
        let loader = self.loader.clone();
        let load = async move { loader.load(presented).await }.instrument(reply_span);
        ctx.spawn(load.into_actor(self).map(move |found, actor, ctx| actor.landed(flight, found, ctx)));
    }
}
