//! The registry: key → actor. It starts an actor on first use, replaces one that left, and lets
//! idle ones go.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix::dev::ToEnvelope;
use actix::{Actor, Context, Handler};
use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::actor_ref::{ActorFigures, ActorRef, AskError, Command, Envelope, Missed, Slot};
use super::arbiters::Arbiters;
use super::policy::RestartPolicy;
use super::runner::{Lifeline, Run, StartError};
use super::tree::{Tree, lock};

/// The bounds of a registry and of its actors.
#[derive(Clone, Copy, Debug)]
pub struct RegistryOptions {
    /// What these actors are called in listings and logs.
    pub kind: &'static str,
    /// Commands that one actor may have accepted and not answered.
    pub mailbox: usize,
    /// Actors that may live at once.
    pub capacity: usize,
    /// An actor that was idle this long leaves, before it has been idle twice as long.
    pub idle: Duration,
    /// How long a leaving actor may take to finish what it has.
    pub drain: Duration,
}

type KeyedFactory<A> =
    Arc<dyn Fn(String, Lifeline) -> LocalBoxFuture<'static, Result<A, StartError>> + Send + Sync>;

/// When to ask again for an actor that is held back.
const PAUSED: Duration = Duration::from_secs(5);
/// Successors that are asked after an actor left without an answer.
const MOST_LOST: usize = 2;

/// Actors of one kind by key. Cheap to clone.
pub struct Registry<A: Actor> {
    inner: Arc<Inner<A>>,
}

struct Inner<A: Actor> {
    options: RegistryOptions,
    entries: Mutex<Entries<A>>,
    factory: KeyedFactory<A>,
    figures: Arc<ActorFigures>,
    arbiters: Arc<Arbiters>,
    tree: Tree,
    /// Actors whose runner has not ended, those that are leaving included.
    alive: watch::Sender<usize>,
}

struct Entries<A: Actor> {
    live: HashMap<String, (u64, ActorRef<A>, Lifeline)>,
    started: u64,
    closed: bool,
}

impl<A: Actor> Clone for Registry<A> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone() }
    }
}

impl<A: Actor<Context = Context<A>>> Registry<A> {
    /// An empty registry. `factory` loads the state of the actor with a key from the store; it
    /// runs on the actor's own thread, again after every fall.
    pub fn new<F, Fut>(options: RegistryOptions, arbiters: Arc<Arbiters>, tree: Tree, factory: F) -> Self
    where
        F: Fn(String, Lifeline) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<A, StartError>> + 'static,
    {
        let kind = options.kind;
        let registry = Self {
            inner: Arc::new(Inner {
                figures: ActorFigures::of(kind),
                options,
                entries: Mutex::new(Entries { live: HashMap::new(), started: 0, closed: false }),
                factory: Arc::new(move |key, lifeline| factory(key, lifeline).boxed_local()),
                arbiters,
                tree,
                alive: watch::Sender::new(0),
            }),
        };
        let inner = Arc::downgrade(&registry.inner);
        registry.inner.tree.on_pause(kind, move |key| {
            let Some(inner) = inner.upgrade() else { return };
            if let Some((_, _, lifeline)) = lock(&inner.entries).live.get(key) {
                lifeline.drain();
            }
        });
        registry
    }

    /// The actor with this key, started if need be.
    ///
    /// # Errors
    /// [`AskError::Full`] if too many live, [`AskError::Leaving`] once the registry drains,
    /// [`AskError::Unavailable`] while an operator holds it back.
    pub fn get(&self, key: &str) -> Result<ActorRef<A>, AskError> {
        if self.inner.tree.is_paused(self.inner.options.kind, key) {
            return Err(AskError::Unavailable { retry_after: PAUSED });
        }
        let mut entries = lock(&self.inner.entries);
        if let Some((_, actor, _)) = entries.live.get(key) {
            return Ok(actor.clone());
        }
        if entries.closed {
            return Err(AskError::Leaving);
        }
        if entries.live.len() >= self.inner.options.capacity {
            return Err(AskError::Full);
        }
        entries.started += 1;
        let number = entries.started;
        let actor = ActorRef::new(self.inner.options.mailbox, self.inner.figures.clone());
        let lifeline = Lifeline::detached();
        entries.live.insert(key.to_owned(), (number, actor.clone(), lifeline.clone()));
        drop(entries);
        self.start(key.to_owned(), number, actor.clone(), lifeline);
        Ok(actor)
    }

    /// Asks the actor with this key, started if need be.
    ///
    /// # Errors
    /// [`AskError`]; never [`AskError::Leaving`] unless the registry drains.
    pub async fn ask<C>(&self, key: &str, command: C, deadline: Duration) -> Result<C::Reply, AskError>
    where
        C: Command,
        A: Handler<Envelope<C>>,
        Context<A>: ToEnvelope<A, Envelope<C>>,
    {
        let until = Instant::now() + deadline;
        let mut lost = 0;
        loop {
            let missed = match self.get(key) {
                Ok(actor) => match actor.ask_until(command.clone(), until).await {
                    Ok(answer) => return Ok(answer),
                    Err(missed) => missed,
                },
                Err(error) if lost > 0 => {
                    tracing::debug!(key, %error, "no successor to ask again");
                    return Err(AskError::OutcomeUnknown);
                }
                Err(error) => return Err(error),
            };
            let in_time = Instant::now() < until;
            match missed {
                Missed::Lost if in_time && lost < MOST_LOST => lost += 1,
                Missed::Refused(AskError::Leaving) if in_time => {}
                Missed::Refused(error) if lost == 0 => return Err(error),
                Missed::Refused(_) | Missed::Lost | Missed::Unknown => {
                    return Err(AskError::OutcomeUnknown);
                }
            }
            tokio::task::yield_now().await;
        }
    }

    /// How many live.
    pub fn len(&self) -> usize {
        lock(&self.inner.entries).live.len()
    }

    /// Whether none lives.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Starts nothing more, tells all actors to begin nothing new, and waits until they have left
    /// or `deadline` has passed.
    pub async fn drain(&self, deadline: Duration) {
        {
            let mut entries = lock(&self.inner.entries);
            entries.closed = true;
            for (_, _, lifeline) in entries.live.values() {
                lifeline.drain();
            }
        }
        let mut alive = self.inner.alive.subscribe();
        if timeout(deadline, alive.wait_for(|alive| *alive == 0)).await.is_err() {
            tracing::warn!(kind = self.inner.options.kind, left = *alive.borrow(), "drained no further");
        }
    }

    fn start(&self, key: String, number: u64, actor: ActorRef<A>, lifeline: Lifeline) {
        self.inner.alive.send_modify(|alive| *alive += 1);
        let place = Place { inner: self.inner.clone(), key, number, actor };
        let spawned = self.inner.arbiters.spawn(move || {
            let inner = place.inner.clone();
            let leaving = {
                let (inner, key) = (inner.clone(), place.key.clone());
                Box::new(move || forget(&inner, &key, number))
            };
            let factory = {
                let (inner, key) = (inner.clone(), place.key.clone());
                Box::new(move |lifeline| (inner.factory)(key.clone(), lifeline))
            };
            let run = Run {
                actor: place.actor.clone(),
                lifeline,
                factory,
                policy: RestartPolicy::KEYED,
                idle: Some(inner.options.idle),
                drain: inner.options.drain,
                tree: inner.tree.clone(),
                kind: inner.options.kind,
                key: place.key.clone(),
                leaving: Some(leaving),
            };
            actix_rt::spawn(async move {
                run.run().await;
                drop(place);
            });
        });
        if !spawned {
            lock(&self.inner.entries).closed = true;
        }
    }
}

/// An actor's place in the registry, from its start to the end of its runner, however that comes.
struct Place<A: Actor<Context = Context<A>>> {
    inner: Arc<Inner<A>>,
    key: String,
    number: u64,
    actor: ActorRef<A>,
}

impl<A: Actor<Context = Context<A>>> Drop for Place<A> {
    fn drop(&mut self) {
        // Nothing of this is news unless the runner never ran.
        self.actor.close();
        self.actor.set(Slot::Left);
        forget(&self.inner, &self.key, self.number);
        self.inner.alive.send_modify(|alive| *alive -= 1);
    }
}

/// Drops the entry, unless a successor has taken the key already.
fn forget<A: Actor>(inner: &Inner<A>, key: &str, number: u64) {
    let mut entries = lock(&inner.entries);
    if entries.live.get(key).is_some_and(|(n, _, _)| *n == number) {
        entries.live.remove(key);
    }
}
