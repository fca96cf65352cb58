//! How an actor is asked: a bound, a deadline, and an address that outlives incarnations.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use actix::dev::ToEnvelope;
use actix::{Actor, Addr, Context, Handler, Message};
use metrics::{Counter, Histogram, counter, histogram};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError, oneshot, watch};
use tokio::time::{Instant, timeout_at};
use tracing::Instrument;

use crate::figures;

/// What an actor can be asked.
///
/// A command is sent again with the same content when an incarnation fell before it answered, so
/// handling one twice must count once (it carries its own id where it changes something).
pub trait Command: Clone + Send + 'static {
    /// The answer.
    type Reply: Send + 'static;
}

/// A command on its way, with the place its answer goes to.
pub struct Envelope<C: Command> {
    /// What is asked.
    pub command: C,
    /// Where the answer goes.
    pub reply: Reply<C::Reply>,
}

impl<C: Command> Envelope<C> {
    /// The command and the place its answer goes to. From here on it counts as being handled.
    pub fn open(self) -> (C, Reply<C::Reply>) {
        let Self { command, mut reply } = self;
        let now = std::time::Instant::now();
        reply.figures.mailbox.record(now - reply.since);
        reply.since = now;
        (command, reply)
    }
}

impl<C: Command> Message for Envelope<C> {
    type Result = ();
}

/// The place an answer goes to. Dropping it unanswered tells the caller that the outcome is
/// unknown. Until it is sent or dropped the command counts against the actor's bound.
pub struct Reply<T> {
    to: oneshot::Sender<T>,
    _counted: OwnedSemaphorePermit,
    /// When it was accepted; once it is handled, when that began.
    since: std::time::Instant,
    figures: Arc<ActorFigures>,
    span: tracing::Span,
}

/// What is measured of actors of one kind.
pub(super) struct ActorFigures {
    kind: &'static str,
    mailbox: Histogram,
    handling: Histogram,
    refused: Counter,
}

impl ActorFigures {
    pub(super) fn of(kind: &'static str) -> Arc<Self> {
        Arc::new(Self {
            kind,
            mailbox: histogram!(figures::ACTOR_MAILBOX_SECONDS, "kind" => kind),
            handling: histogram!(figures::ACTOR_HANDLING_SECONDS, "kind" => kind),
            refused: counter!(figures::ACTOR_REFUSED, "kind" => kind),
        })
    }
}

impl<T> Reply<T> {
    /// The span of whoever waits: what is done for them alone belongs in it.
    pub fn span(&self) -> tracing::Span {
        self.span.clone()
    }

    /// Answers. A caller that has gone is no error: its command stands all the same.
    pub fn send(self, answer: T) {
        self.figures.handling.record(self.since.elapsed());
        let _ = self.to.send(answer);
    }
}

/// Why a question has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// The mailbox, or the place for actors, is full. Nothing was accepted; try again later.
    #[error("too many commands are waiting")]
    Full,
    /// The actor could not be started, or fell too often. Nothing was accepted.
    #[error("the actor is unavailable for another {} ms", .retry_after.as_millis())]
    Unavailable {
        /// When to try again.
        retry_after: Duration,
    },
    /// The deadline passed, or incarnations fell, after the command was handed over. It may have
    /// counted; ask again with the same id.
    #[error("the outcome is unknown")]
    OutcomeUnknown,
    /// The actor is leaving. Nothing was accepted; a registry starts its successor.
    #[error("the actor is leaving")]
    Leaving,
}

pub(super) enum Slot<A: Actor> {
    Starting,
    Live(Addr<A>),
    Suspended(Instant),
    Left,
}

/// Why one actor did not answer.
pub(super) enum Missed {
    /// Nothing was accepted, for this reason.
    Refused(AskError),
    /// It was accepted by an actor that left without an answer: its successor may be asked again.
    Lost,
    /// It was accepted, and nobody is left to ask in time.
    Unknown,
}

/// What an actor's callers and its runner share.
pub(super) struct Shared<A: Actor> {
    pub(super) slot: watch::Sender<Slot<A>>,
    pub(super) permits: Arc<Semaphore>,
    pub(super) mailbox: usize,
    /// Questions so far, refused ones included: how a runner tells an idle actor from a quick one.
    pub(super) asked: AtomicU64,
    figures: Arc<ActorFigures>,
}

/// A handle on an actor that stays good across its incarnations. Cheap to clone.
pub struct ActorRef<A: Actor> {
    pub(super) shared: Arc<Shared<A>>,
}

impl<A: Actor> Clone for ActorRef<A> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

impl<A: Actor<Context = Context<A>>> ActorRef<A> {
    pub(super) fn new(mailbox: usize, figures: Arc<ActorFigures>) -> Self {
        Self {
            shared: Arc::new(Shared {
                slot: watch::Sender::new(Slot::Starting),
                permits: Arc::new(Semaphore::new(mailbox)),
                mailbox,
                asked: AtomicU64::new(0),
                figures,
            }),
        }
    }

    /// Asks, and waits for the answer until `deadline` from now. If an incarnation falls before
    /// it answers, its successor is asked again, within the same deadline.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn ask<C>(&self, command: C, deadline: Duration) -> Result<C::Reply, AskError>
    where
        C: Command,
        A: Handler<Envelope<C>>,
        Context<A>: ToEnvelope<A, Envelope<C>>,
    {
        self.ask_until(command, Instant::now() + deadline).await.map_err(|missed| match missed {
            Missed::Refused(error) => error,
            Missed::Lost | Missed::Unknown => AskError::OutcomeUnknown,
        })
    }

    pub(super) async fn ask_until<C>(&self, command: C, until: Instant) -> Result<C::Reply, Missed>
    where
        C: Command,
        A: Handler<Envelope<C>>,
        Context<A>: ToEnvelope<A, Envelope<C>>,
    {
        const ATTEMPTS: usize = 3;
        self.shared.asked.fetch_add(1, Ordering::Relaxed);
        let mut handed_over = false;
        let asking = tracing::debug_span!("ask", actor = self.shared.figures.kind);
        let refused = |error, handed_over| match error {
            AskError::Leaving if handed_over => Missed::Lost,
            _ if handed_over => Missed::Unknown,
            error => Missed::Refused(error),
        };
        for _ in 0..ATTEMPTS {
            let counted = self.count().map_err(|error| refused(error, handed_over))?;
            let address = self.address(until).await.map_err(|error| refused(error, handed_over))?;
            let (to, answer) = oneshot::channel();
            let figures = self.shared.figures.clone();
            let reply = Reply {
                to,
                _counted: counted,
                since: std::time::Instant::now(),
                figures,
                span: asking.clone(),
            };
            if address.try_send(Envelope { command: command.clone(), reply }).is_err() {
                // This incarnation has just fallen; the runner is about to say so.
                self.has_fallen(&address, until).await;
                continue;
            }
            handed_over = true;
            match timeout_at(until, answer).instrument(asking.clone()).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(_dropped)) if self.has_fallen(&address, until).await => {}
                // The actor lives and dropped the reply on purpose, or there is no time left.
                Ok(Err(_)) | Err(_) => return Err(Missed::Unknown),
            }
        }
        let error = AskError::Unavailable { retry_after: Duration::from_secs(1) };
        Err(refused(error, handed_over))
    }

    /// Commands accepted and not yet answered.
    pub fn waiting(&self) -> usize {
        self.shared.mailbox.saturating_sub(self.shared.permits.available_permits())
    }

    /// Questions so far.
    pub(super) fn asked(&self) -> u64 {
        self.shared.asked.load(Ordering::Relaxed)
    }

    /// Takes no more commands. What was accepted is still answered.
    pub(super) fn close(&self) {
        self.shared.permits.close();
    }

    pub(super) fn set(&self, slot: Slot<A>) {
        self.shared.slot.send_replace(slot);
    }

    fn count(&self) -> Result<OwnedSemaphorePermit, AskError> {
        self.shared.permits.clone().try_acquire_owned().map_err(|error| match error {
            TryAcquireError::NoPermits => {
                self.shared.figures.refused.increment(1);
                AskError::Full
            }
            TryAcquireError::Closed => AskError::Leaving,
        })
    }

    async fn address(&self, until: Instant) -> Result<Addr<A>, AskError> {
        let mut slot = self.shared.slot.subscribe();
        loop {
            match &*slot.borrow_and_update() {
                Slot::Live(address) => return Ok(address.clone()),
                Slot::Suspended(until) => {
                    let retry_after = until.saturating_duration_since(Instant::now());
                    // Whoever comes back as told waits for the start that is about to be made.
                    if !retry_after.is_zero() {
                        return Err(AskError::Unavailable { retry_after });
                    }
                }
                Slot::Left => return Err(AskError::Leaving),
                Slot::Starting => {}
            }
            match timeout_at(until, slot.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Err(AskError::Leaving),
                Err(_deadline) => {
                    return Err(AskError::Unavailable { retry_after: Duration::from_secs(1) });
                }
            }
        }
    }

    /// Whether this incarnation is gone. A fall is announced a moment after its replies drop.
    async fn has_fallen(&self, asked: &Addr<A>, until: Instant) -> bool {
        const MOMENT: Duration = Duration::from_millis(250);
        let mut slot = self.shared.slot.subscribe();
        let gone = |slot: &Slot<A>| !matches!(slot, Slot::Live(address) if address == asked);
        timeout_at(until.min(Instant::now() + MOMENT), slot.wait_for(gone)).await.is_ok()
    }
}
