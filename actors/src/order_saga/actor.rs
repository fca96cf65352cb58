//! The actix shell around a [`Saga`]: one turn after the other, commands in between.

use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, WrapFuture};
use tokio::sync::Notify;
use tracing::Instrument;

use super::order::{Order, Waiting};
use super::saga::{Saga, Turn};
use super::state::Step;
use super::steps::Ports;
use crate::store::{Versioned, load};
use crate::supervision::{BusyGuard, Command, Envelope, Lifeline, StartError};

/// Look at the store again, somebody may have changed the order; and try the present step now rather
/// than when the pause is over. The answer: whether it will; one that is leaving does not.
#[derive(Clone, Copy, Debug)]
pub struct Nudge;

impl Command for Nudge {
    type Reply = bool;
}

/// What is the saga doing? For operators: told from memory, so a hint and not a claim.
#[derive(Clone, Copy, Debug)]
pub struct Status;

impl Command for Status {
    type Reply = SagaStatus;
}

/// What a saga is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SagaStatus {
    /// The step it is at; `None` once it is done.
    pub step: Option<Step>,
    /// How often this owner has tried it.
    pub attempts: u32,
    /// Why it waits, if it does.
    pub waiting: Option<Waiting>,
    /// The version of the order that this is from.
    pub version: u64,
}

/// The actor of one live order.
///
/// While a turn runs the saga is away with it; commands that change the order wait for it to come
/// back, so that each of them decides on what is committed.
pub struct OrderSaga {
    saga: Option<Saga>,
    status: SagaStatus,
    nudged: Arc<Notify>,
    look_again: bool,
    lifeline: Lifeline,
    /// Held from start to end, pauses included: a waiting order must not be sent away as idle.
    busy: Option<BusyGuard>,
}

impl OrderSaga {
    pub(super) async fn load(ports: Arc<Ports>, id: &str, lifeline: Lifeline) -> Result<Self, StartError> {
        let stored: Option<Versioned<Order>> = match ports.accepted.remove(id) {
            Some(accepted) => Some(accepted),
            None => load(ports.store.as_ref(), id).await?,
        };
        let saga = stored.map(|stored| Saga::new(ports, stored));
        let status = SagaStatus { step: None, attempts: 0, waiting: None, version: 0 };
        let status = saga.as_ref().map_or(status, status_of);
        Ok(Self {
            saga,
            status,
            nudged: Arc::default(),
            look_again: false,
            busy: Some(lifeline.busy()),
            lifeline,
        })
    }

    fn turn(&mut self, context: &mut Context<Self>) {
        let Some(mut saga) = self.saga.take() else { return self.leave() };
        if self.lifeline.is_draining() && saga.is_at_rest() {
            self.saga = Some(saga);
            self.busy = None;
            return;
        }
        let span = saga.span();
        let look_again = std::mem::take(&mut self.look_again);
        let turn = async move {
            let turn = saga.advance(look_again).await;
            (saga, turn)
        };
        let turn = turn.instrument(span);
        context.spawn(turn.into_actor(self).map(|(saga, turn), actor, context| {
            actor.status = status_of(&saga);
            actor.saga = Some(saga);
            match turn {
                // Whatever it came to, it may be news to this saga what somebody else made of it.
                _ if actor.look_again => actor.turn(context),
                Turn::Go => actor.turn(context),
                Turn::Pause(pause) => actor.pause(pause, context),
                Turn::Leave => actor.leave(),
            }
        }));
    }

    fn pause(&mut self, pause: Duration, context: &mut Context<Self>) {
        let Some(clock) = self.saga.as_ref().map(Saga::clock) else { return };
        // A nudge before this pause was heeded.
        self.nudged = Arc::default();
        let (nudged, lifeline) = (self.nudged.clone(), self.lifeline.clone());
        // A pause that began in a drain is for something that must still be recorded.
        let ended_by_drain = !lifeline.is_draining();
        let paused = async move {
            tokio::select! {
                () = clock.sleep(pause) => {}
                () = nudged.notified() => {}
                () = lifeline.draining(), if ended_by_drain => {}
            }
        };
        context.spawn(paused.into_actor(self).map(|(), actor, context| actor.turn(context)));
    }

    fn leave(&mut self) {
        self.busy = None;
        self.lifeline.finish();
    }
}

fn status_of(saga: &Saga) -> SagaStatus {
    let stored = saga.stored();
    SagaStatus {
        step: stored.value.step,
        attempts: saga.attempts(),
        waiting: stored.value.waiting.clone(),
        version: stored.version,
    }
}

impl Actor for OrderSaga {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        self.turn(context);
    }
}

impl Handler<Envelope<Nudge>> for OrderSaga {
    type Result = ();

    fn handle(&mut self, envelope: Envelope<Nudge>, _: &mut Self::Context) {
        self.look_again = true;
        self.nudged.notify_one();
        envelope.reply.send(self.busy.is_some());
    }
}

impl Handler<Envelope<Status>> for OrderSaga {
    type Result = ();

    fn handle(&mut self, envelope: Envelope<Status>, _: &mut Self::Context) {
        envelope.reply.send(self.status.clone());
    }
}
