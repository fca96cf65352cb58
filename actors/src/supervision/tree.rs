//! The tree of everything that is supervised in this process, for listing and for escalation.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use tokio::sync::{Semaphore, watch};

use crate::cluster::Clock;
use crate::figures;
use crate::time::Timestamp;

/// What a supervised actor is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeState {
    /// Loading its state from the store.
    Starting,
    /// Answering.
    Running,
    /// Fell; waiting to be started again.
    Restarting,
    /// Fell too often; answers "unavailable" for a while.
    Suspended,
    /// Finishing what it has, taking nothing new.
    Draining,
}

/// One line of the listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// `inventory`, `order-saga`, …
    pub kind: &'static str,
    /// The SKU, the order's id, …
    pub key: String,
    /// What it is doing.
    pub state: NodeState,
    /// Commands accepted and not yet answered.
    pub mailbox: usize,
    /// Incarnations that fell, since it was first started.
    pub restarts: u64,
    /// Since when this incarnation lives.
    pub since: Timestamp,
    /// Why the last one fell.
    pub last_error: Option<String>,
}

/// The actors of one kind, counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// How many are in each state.
    pub states: BTreeMap<NodeState, usize>,
    /// Commands accepted and not yet answered, of all of them.
    pub waiting: usize,
    /// The same, of the one that has most.
    pub longest: usize,
}

/// Infrastructure that was given up; the replica should end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Escalation {
    /// What was given up.
    pub kind: &'static str,
    /// Why it fell last.
    pub reason: String,
}

/// Everything supervised in this process. Cheap to clone.
#[derive(Clone)]
pub struct Tree {
    inner: Arc<Inner>,
}

struct Inner {
    nodes: Mutex<BTreeMap<u64, Arc<Node>>>,
    next: AtomicU64,
    clock: Arc<dyn Clock>,
    escalation: watch::Sender<Option<Escalation>>,
    paused: Mutex<BTreeSet<(String, String)>>,
    any_paused: AtomicBool,
    dismissals: Mutex<Vec<Dismissal>>,
}

/// A kind, and how to make its actor with a key leave.
type Dismissal = (&'static str, Box<dyn Fn(&str) + Send + Sync>);

impl Tree {
    /// An empty tree. `clock` dates the listing.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            inner: Arc::new(Inner {
                nodes: Mutex::default(),
                next: AtomicU64::new(0),
                clock,
                escalation: watch::Sender::new(None),
                paused: Mutex::default(),
                any_paused: AtomicBool::new(false),
                dismissals: Mutex::default(),
            }),
        }
    }

    /// The actors that live now, oldest first: at most `limit`, of `kind` if given.
    pub fn list(&self, kind: Option<&str>, limit: usize) -> Vec<Listing> {
        let nodes = lock(&self.inner.nodes);
        let wanted = nodes.values().filter(|node| kind.is_none_or(|kind| kind == node.kind));
        wanted.take(limit).map(|node| node.listing()).collect()
    }

    /// The actor of this kind with this key, if it lives now.
    pub fn look_up(&self, kind: &str, key: &str) -> Option<Listing> {
        let nodes = lock(&self.inner.nodes);
        nodes.values().find(|node| node.kind == kind && node.key == key).map(|node| node.listing())
    }

    /// These actors (kind and key) are held back from now on, and no other. One that lives finishes
    /// what it is at and leaves.
    pub fn set_paused(&self, paused: BTreeSet<(String, String)>) {
        let new: Vec<_> = {
            let mut known = lock(&self.inner.paused);
            let new = paused.difference(&known).cloned().collect();
            self.inner.any_paused.store(!paused.is_empty(), Ordering::Release);
            *known = paused;
            new
        };
        for (kind, key) in new {
            tracing::warn!(kind, key, "an actor is paused");
            for (_, dismiss) in lock(&self.inner.dismissals).iter().filter(|(of, _)| *of == kind) {
                dismiss(&key);
            }
        }
    }

    pub(super) fn is_paused(&self, kind: &str, key: &str) -> bool {
        self.inner.any_paused.load(Ordering::Acquire)
            && lock(&self.inner.paused).iter().any(|(of, name)| of == kind && name == key)
    }

    /// How the actor of this kind with a given key is made to leave when it is paused.
    pub(super) fn on_pause(&self, kind: &'static str, dismiss: impl Fn(&str) + Send + Sync + 'static) {
        lock(&self.inner.dismissals).push((kind, Box::new(dismiss)));
    }

    /// How many of each kind and state live now, and how full their mailboxes are.
    pub fn census(&self) -> BTreeMap<&'static str, Census> {
        let mut kinds: BTreeMap<&'static str, Census> = BTreeMap::new();
        for node in lock(&self.inner.nodes).values() {
            let census = kinds.entry(node.kind).or_default();
            *census.states.entry(lock(&node.life).state).or_default() += 1;
            let waiting = node.waiting();
            census.waiting += waiting;
            census.longest = census.longest.max(waiting);
        }
        kinds
    }

    /// How many live now.
    pub fn len(&self) -> usize {
        lock(&self.inner.nodes).len()
    }

    /// Whether none lives.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Changes once, to the infrastructure that was given up.
    pub fn escalations(&self) -> watch::Receiver<Option<Escalation>> {
        self.inner.escalation.subscribe()
    }

    pub(super) fn escalate(&self, kind: &'static str, reason: String) {
        tracing::error!(kind, reason, "infrastructure was given up; this replica ends");
        self.inner.escalation.send_replace(Some(Escalation { kind, reason }));
    }

    pub(super) fn enter(
        &self,
        kind: &'static str,
        key: &str,
        mailbox: Option<(Arc<Semaphore>, usize)>,
    ) -> Entered {
        let node = Arc::new(Node {
            kind,
            key: key.to_owned(),
            mailbox,
            restarts: AtomicU64::new(0),
            clock: self.inner.clock.clone(),
            life: Mutex::new(Life {
                state: NodeState::Starting,
                since: self.inner.clock.now(),
                last_error: None,
            }),
        });
        let number = self.inner.next.fetch_add(1, Ordering::Relaxed);
        lock(&self.inner.nodes).insert(number, node.clone());
        Entered { tree: self.clone(), number, node }
    }
}

/// A place in the tree; leaving is dropping it.
pub(super) struct Entered {
    tree: Tree,
    number: u64,
    node: Arc<Node>,
}

impl Entered {
    pub(super) fn set(&self, state: NodeState) {
        let mut life = lock(&self.node.life);
        if state == NodeState::Running {
            life.since = self.node.clock.now();
        }
        life.state = state;
    }

    pub(super) fn fell(&self, reason: &str) {
        self.node.restarts.fetch_add(1, Ordering::Relaxed);
        metrics::counter!(figures::ACTOR_RESTARTS, "kind" => self.node.kind).increment(1);
        lock(&self.node.life).last_error = Some(reason.to_owned());
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        lock(&self.tree.inner.nodes).remove(&self.number);
    }
}

struct Node {
    kind: &'static str,
    key: String,
    mailbox: Option<(Arc<Semaphore>, usize)>,
    restarts: AtomicU64,
    clock: Arc<dyn Clock>,
    life: Mutex<Life>,
}

struct Life {
    state: NodeState,
    since: Timestamp,
    last_error: Option<String>,
}

impl NodeState {
    /// Every state.
    pub const ALL: [Self; 5] =
        [Self::Starting, Self::Running, Self::Restarting, Self::Suspended, Self::Draining];

    /// Its name in listings.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Restarting => "restarting",
            Self::Suspended => "suspended",
            Self::Draining => "draining",
        }
    }
}

impl Node {
    fn waiting(&self) -> usize {
        self.mailbox.as_ref().map_or(0, |(permits, all)| all.saturating_sub(permits.available_permits()))
    }

    fn listing(&self) -> Listing {
        let life = lock(&self.life);
        Listing {
            kind: self.kind,
            key: self.key.clone(),
            state: life.state,
            mailbox: self.waiting(),
            restarts: self.restarts.load(Ordering::Relaxed),
            since: life.since,
            last_error: life.last_error.clone(),
        }
    }
}

/// Takes the lock, also when it is poisoned, that is, when somebody panicked while holding it.
///
/// That is right because what these mutexes guard is replaced whole, or changed in steps between
/// which nothing can panic: a panic leaves nothing half-changed. To refuse would pass one panic on to
/// everybody who comes after. A mutex under which other code is called half-way through a change is
/// not for this.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
