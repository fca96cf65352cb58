//! How an actor is asked: a bound, a deadline, and an address that outlives incarnations.

use std::sync::Arc;
use std::time::Duration;

use actix::dev::ToEnvelope;
use actix::{Actor, Addr, Context, Handler, Message};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError, oneshot, watch};
use tokio::time::{Instant, timeout_at};

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

impl<C: Command> Message for Envelope<C> {
    type Result = ();
}

/// The place an answer goes to. Dropping it unanswered tells the caller that the outcome is
/// unknown. Until it is sent or dropped the command counts against the actor's bound.
pub struct Reply<T> {
    to: oneshot::Sender<T>,
    _counted: OwnedSemaphorePermit,
}

impl<T> Reply<T> {
    /// Answers. A caller that has gone is no error: its command stands all the same.
    pub fn send(self, answer: T) {
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
}

/// What an actor's callers and its runner share.
pub(super) struct Shared<A: Actor> {
    pub(super) slot: watch::Sender<Slot<A>>,
    pub(super) permits: Arc<Semaphore>,
    pub(super) mailbox: usize,
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
    pub(super) fn new(mailbox: usize) -> Self {
        Self {
            shared: Arc::new(Shared {
                slot: watch::Sender::new(Slot::Starting),
                permits: Arc::new(Semaphore::new(mailbox)),
                mailbox,
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
        const ATTEMPTS: usize = 3;
        let until = Instant::now() + deadline;
        let mut handed_over = false;
        for _ in 0..ATTEMPTS {
            let counted = self.shared.permits.clone().try_acquire_owned().map_err(|error| match error {
                TryAcquireError::NoPermits => AskError::Full,
                TryAcquireError::Closed => AskError::Leaving,
            });
            let counted = match counted {
                Err(_) if handed_over => return Err(AskError::OutcomeUnknown),
                other => other?,
            };
            let address = match self.address(until).await {
                Err(_) if handed_over => return Err(AskError::OutcomeUnknown),
                other => other?,
            };
            let (to, answer) = oneshot::channel();
            let reply = Reply { to, _counted: counted };
            if address.try_send(Envelope { command: command.clone(), reply }).is_err() {
                // This incarnation has just fallen; the runner is about to say so.
                self.wait_for_another(&address, until).await;
                continue;
            }
            handed_over = true;
            match timeout_at(until, answer).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(_fell)) => self.wait_for_another(&address, until).await,
                Err(_deadline) => return Err(AskError::OutcomeUnknown),
            }
        }
        Err(if handed_over {
            AskError::OutcomeUnknown
        } else {
            AskError::Unavailable { retry_after: Duration::from_secs(1) }
        })
    }

    /// Commands accepted and not yet answered.
    pub fn waiting(&self) -> usize {
        self.shared.mailbox.saturating_sub(self.shared.permits.available_permits())
    }

    async fn address(&self, until: Instant) -> Result<Addr<A>, AskError> {
        let mut slot = self.shared.slot.subscribe();
        loop {
            match &*slot.borrow_and_update() {
                Slot::Live(address) => return Ok(address.clone()),
                Slot::Suspended(until) => {
                    return Err(AskError::Unavailable {
                        retry_after: until.saturating_duration_since(Instant::now()),
                    });
                }
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

    async fn wait_for_another(&self, fallen: &Addr<A>, until: Instant) {
        let mut slot = self.shared.slot.subscribe();
        let other = |slot: &Slot<A>| !matches!(slot, Slot::Live(address) if address == fallen);
        let _ = timeout_at(until, slot.wait_for(other)).await;
    }
}
