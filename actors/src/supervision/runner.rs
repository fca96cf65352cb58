//! The runner: one task per supervised actor that starts it, catches its panics, and starts it
//! again with state freshly loaded from the store.
//!
//! actix itself never does that: a panic unwinds its `Supervisor` too, and `restarting` keeps the
//! half-changed value. So the runner polls the actor's context inside `catch_unwind` and drops it
//! inside a second one.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use actix::{Actor, AsyncContext, Context};
use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};

use super::actor_ref::{ActorFigures, ActorRef, Slot};
use super::policy::{After, History, RestartPolicy};
use super::tree::{Entered, NodeState, Tree};

/// Why an actor could not be started: its state could not be loaded. It is tried again, with
/// back-off.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct StartError(pub String);

impl From<crate::store::StoreError> for StartError {
    fn from(error: crate::store::StoreError) -> Self {
        Self(error.to_string())
    }
}

/// What an actor knows of its own supervision.
#[derive(Clone)]
pub struct Lifeline {
    state: Arc<LifelineState>,
}

struct LifelineState {
    draining: Word,
    finished: Word,
    busy: AtomicUsize,
}

/// Something that is said once, and stays said. Each actor has two of them, so they are small.
#[derive(Default)]
struct Word {
    said: AtomicBool,
    told: Notify,
}

impl Word {
    fn say(&self) {
        self.said.store(true, Ordering::Release);
        self.told.notify_waiters();
    }

    fn is_said(&self) -> bool {
        self.said.load(Ordering::Acquire)
    }

    /// Resolves once it is said.
    async fn heard(&self) {
        // Whoever waits hears what is said from here on.
        let told = self.told.notified();
        if !self.is_said() {
            told.await;
        }
    }
}

impl Lifeline {
    /// A lifeline of its own, for an actor that a test runs without a runner.
    pub fn detached() -> Self {
        Self {
            state: Arc::new(LifelineState {
                draining: Word::default(),
                finished: Word::default(),
                busy: AtomicUsize::new(0),
            }),
        }
    }

    /// Whether this actor should begin nothing new: the replica is shutting down.
    pub fn is_draining(&self) -> bool {
        self.state.draining.is_said()
    }

    /// Resolves when the actor should begin nothing new.
    pub async fn draining(&self) {
        self.state.draining.heard().await;
    }

    /// While the guard lives the actor is neither sent away for idleness nor stopped by a drain
    /// before its deadline.
    #[must_use]
    pub fn busy(&self) -> BusyGuard {
        self.state.busy.fetch_add(1, Ordering::AcqRel);
        BusyGuard { state: self.state.clone() }
    }

    /// Says that this actor has nothing left to do. It leaves once its mailbox is empty; the next
    /// question to its key starts a successor.
    pub fn finish(&self) {
        self.state.finished.say();
    }

    fn is_busy(&self) -> bool {
        self.state.busy.load(Ordering::Acquire) > 0
    }

    pub(super) fn drain(&self) {
        self.state.draining.say();
    }
}

/// See [`Lifeline::busy`].
pub struct BusyGuard {
    state: Arc<LifelineState>,
}

impl Drop for BusyGuard {
    fn drop(&mut self) {
        self.state.busy.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Loads an actor's state from the store and makes the actor.
pub(super) type Factory<A> = Box<dyn Fn(Lifeline) -> LocalBoxFuture<'static, Result<A, StartError>>>;

/// Everything a runner needs.
pub(super) struct Run<A: Actor> {
    pub(super) actor: ActorRef<A>,
    pub(super) lifeline: Lifeline,
    pub(super) factory: Factory<A>,
    pub(super) policy: RestartPolicy,
    /// Idle this long, the actor leaves; `None`: it stays.
    pub(super) idle: Option<Duration>,
    /// How long a drain waits for what is under way.
    pub(super) drain: Duration,
    pub(super) tree: Tree,
    pub(super) kind: &'static str,
    pub(super) key: String,
    /// Told when the actor takes no more commands, before it is gone.
    pub(super) leaving: Option<Box<dyn FnOnce() + Send>>,
}

/// How long an actor's state may take to load.
const START_DEADLINE: Duration = Duration::from_secs(10);

/// Starts a supervised actor on this thread, for good (until `lifeline` drains or the thread
/// ends). For the session actors, one on each HTTP thread; keyed actors come from a
/// [`super::Registry`].
pub fn spawn_here<A, F, Fut>(
    tree: &Tree,
    kind: &'static str,
    key: String,
    mailbox: usize,
    factory: F,
) -> ActorRef<A>
where
    A: Actor<Context = Context<A>>,
    F: Fn(Lifeline) -> Fut + 'static,
    Fut: Future<Output = Result<A, StartError>> + 'static,
{
    let actor = ActorRef::new(mailbox, ActorFigures::of(kind));
    let run = Run {
        actor: actor.clone(),
        lifeline: Lifeline::detached(),
        factory: Box::new(move |lifeline| factory(lifeline).boxed_local()),
        policy: RestartPolicy::KEYED,
        idle: None,
        drain: Duration::from_secs(5),
        tree: tree.clone(),
        kind,
        key,
        leaving: None,
    };
    actix_rt::spawn(run.run());
    actor
}

/// How an incarnation ended.
enum End {
    /// It fell, for this reason.
    Fell(String),
    /// It has left, and took no more commands before it went.
    Left,
}

impl<A: Actor<Context = Context<A>>> Run<A> {
    pub(super) async fn run(mut self) {
        let permits = self.actor.shared.permits.clone();
        let place = self.tree.enter(self.kind, &self.key, Some((permits, self.actor.shared.mailbox)));
        let born = Instant::now();
        let mut history = History::default();
        while let End::Fell(reason) = self.live(&place).await {
            place.fell(&reason);
            tracing::error!(kind = self.kind, key = self.key, reason, "an actor fell");
            match history.fell(&self.policy, born.elapsed(), fastrand::f64()) {
                After::Restart(pause) => {
                    place.set(NodeState::Restarting);
                    Box::pin(self.pause(pause)).await;
                }
                After::Suspend(pause) => {
                    place.set(NodeState::Suspended);
                    let asked = self.actor.asked();
                    self.actor.set(Slot::Suspended(Instant::now() + pause));
                    Box::pin(self.pause(pause)).await;
                    // What nobody asks for need not fall for ever, nor take a place for that.
                    if self.idle.is_some() && self.actor.asked() == asked {
                        break;
                    }
                    self.actor.set(Slot::Starting);
                }
                After::Escalate => {
                    self.tree.escalate(self.kind, reason);
                    break;
                }
            }
            if self.lifeline.is_draining() {
                break;
            }
        }
    }

    /// One incarnation, from loading to its end.
    async fn live(&mut self, place: &Entered) -> End {
        place.set(NodeState::Starting);
        let actor = tokio::select! {
            // Apart, so that a runner is small while its actor lives.
            made = Box::pin(self.load()) => match made {
                Ok(actor) => actor,
                Err(reason) => return End::Fell(reason),
            },
            () = self.drained_before_it_lived() => return End::Left,
        };
        let mut context = Context::<A>::new();
        // The real bound is the semaphore; the mailbox must never be what refuses.
        context.set_mailbox_capacity(self.actor.shared.mailbox.saturating_add(1));
        let address = context.address();
        let mut life = Box::pin(context.into_future(actor));
        self.actor.set(Slot::Live(address.clone()));
        place.set(NodeState::Running);
        let ended = tokio::select! {
            ended = caught_while_polled(life.as_mut()) => Some(ended),
            () = self.dismissal() => None,
        };
        let end = match ended {
            Some(Err(panic)) => End::Fell(panic),
            // It stopped itself. Its context must not be polled again.
            Some(Ok(())) => {
                self.leave();
                End::Left
            }
            None => {
                place.set(NodeState::Draining);
                self.leave();
                Box::pin(self.finish_what_is_under_way(life.as_mut())).await;
                End::Left
            }
        };
        self.actor.set(if matches!(end, End::Left) { Slot::Left } else { Slot::Starting });
        // Dropping a context runs `stopped()` (as long as it has an address), which may panic as
        // well.
        if let (End::Left, Err(panic)) = (&end, caught(move || drop(life))) {
            tracing::error!(kind = self.kind, key = self.key, panic, "an actor fell while it left");
        }
        drop(address);
        end
    }

    async fn load(&self) -> Result<A, String> {
        let making = caught(|| (self.factory)(self.lifeline.clone()))?;
        match timeout(START_DEADLINE, caught_while_polled(making)).await {
            Ok(Ok(made)) => made.map_err(|error| error.to_string()),
            Ok(Err(panic)) => Err(panic),
            Err(_deadline) => Err(format!("its state did not load within {} s", START_DEADLINE.as_secs())),
        }
    }

    /// Resolves when a drain makes the actor useless before it has loaded: nothing was accepted, or
    /// the time is up.
    async fn drained_before_it_lived(&self) {
        self.lifeline.draining().await;
        self.actor.close();
        let until = Instant::now() + self.drain;
        while self.actor.waiting() > 0 && Instant::now() < until {
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// Resolves when the actor should leave: the replica drains, the actor says that it is done,
    /// or it has been idle for long enough.
    async fn dismissal(&self) {
        let done = async {
            self.lifeline.state.finished.heard().await;
            while self.actor.waiting() > 0 {
                sleep(Duration::from_millis(5)).await;
            }
        };
        let idle = async {
            let Some(idle) = self.idle else { return std::future::pending().await };
            let mut asked = self.actor.asked();
            loop {
                sleep(idle).await;
                let now = self.actor.asked();
                if now == asked && !self.lifeline.is_busy() && self.actor.waiting() == 0 {
                    return;
                }
                asked = now;
            }
        };
        tokio::select! {
            () = self.lifeline.draining() => {}
            () = done => {}
            () = idle => {}
        }
    }

    /// Takes no more commands. What was accepted is still answered.
    fn leave(&mut self) {
        self.actor.close();
        if let Some(leaving) = self.leaving.take() {
            leaving();
        }
    }

    async fn finish_what_is_under_way<F>(&self, life: Pin<&mut F>)
    where
        F: Future<Output = ()>,
    {
        let quiet = async {
            while self.actor.waiting() > 0 || self.lifeline.is_busy() {
                sleep(Duration::from_millis(5)).await;
            }
        };
        let finish = async {
            tokio::select! {
                ended = caught_while_polled(life) => ended,
                () = quiet => Ok(()),
            }
        };
        match timeout(self.drain, finish).await {
            Ok(Ok(())) => {}
            Ok(Err(panic)) => {
                tracing::error!(kind = self.kind, key = self.key, panic, "an actor fell while it drained");
            }
            Err(_deadline) => {
                tracing::warn!(kind = self.kind, key = self.key, "stopped before it was done");
            }
        }
    }

    async fn pause(&self, pause: Duration) {
        tokio::select! {
            () = sleep(pause) => {}
            () = self.lifeline.draining() => {}
        }
    }
}

impl<A: Actor> Drop for Run<A> {
    /// However a runner ends, its thread's end included, nobody waits for its actor any more.
    fn drop(&mut self) {
        self.actor.shared.permits.close();
        self.actor.shared.slot.send_replace(Slot::Left);
        if let Some(leaving) = self.leaving.take() {
            leaving();
        }
    }
}

/// Runs `work`; a panic becomes an error.
pub(super) fn caught<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| what_panicked(panic.as_ref()))
}

/// Polls `future`; a panic, also one of its end, becomes an error.
pub(super) async fn caught_while_polled<F: Future + Unpin>(future: F) -> Result<F::Output, String> {
    let mut future = Some(future);
    let polled = std::future::poll_fn(|cx: &mut TaskContext<'_>| {
        let Some(polled) = future.as_mut() else { return Poll::Pending };
        match caught(|| Pin::new(polled).poll(cx)) {
            Ok(poll) => poll.map(Ok),
            Err(panic) => Poll::Ready(Err(panic)),
        }
    });
    let end = polled.await;
    let dropped = caught(|| drop(future.take()));
    end.and_then(|output| dropped.map(|()| output))
}

fn what_panicked(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned());
    format!("panicked: {}", text.as_deref().unwrap_or("no message"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::ManualClock;

    struct Idle;

    impl Actor for Idle {
        type Context = Context<Self>;
    }

    #[test]
    fn a_runner_is_small() {
        let run = Run {
            actor: ActorRef::new(1, ActorFigures::of("test")),
            lifeline: Lifeline::detached(),
            factory: Box::new(|_| async { Ok(Idle) }.boxed_local()),
            policy: RestartPolicy::KEYED,
            idle: None,
            drain: Duration::from_secs(1),
            tree: Tree::new(Arc::new(ManualClock::default())),
            kind: "test",
            key: String::new(),
            leaving: None,
        };
        let size = size_of_val(&run.run());
        assert!(size <= 1536, "{size} bytes for as long as an actor lives");
    }
}
