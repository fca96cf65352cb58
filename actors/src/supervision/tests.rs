//! Supervision against an actor that does as it is told, most of it in stopped time: one thread,
//! and a clock that jumps to the next timer when nothing else is left to do.

mod bounds;
mod falls;
mod registry;
mod tasks;

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix::{Actor, ActorContext, AsyncContext, Context, Handler, WrapFuture};
use futures_util::FutureExt;
use futures_util::future::join_all;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, timeout};

use super::*;
use crate::testing::ManualClock;

/// Longer than anything here may take, in stopped time.
const LONG: Duration = Duration::from_secs(600);

/// Longer than anything may take that happens on other threads, where time goes on.
const SOON: Duration = Duration::from_secs(60);

/// Runs a test in stopped time.
fn in_stopped_time<F: Future<Output = ()>>(test: F) {
    actix_rt::System::new().block_on(async {
        tokio::time::pause();
        test.await;
    });
}

/// Lets everything run that can run without time.
async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

/// Does `work` on so many threads at once, each with a runtime of its own, until all have ended.
async fn on_threads<F, Fut>(count: u64, work: F)
where
    F: Fn(u64) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = ()>,
{
    let (working, mut ended) = mpsc::channel::<()>(1);
    let threads: Vec<_> = (0..count)
        .map(|thread| {
            let (work, working) = (work.clone(), working.clone());
            std::thread::spawn(move || {
                // Dropped also when the work panics.
                let _working = working;
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(work(thread));
            })
        })
        .collect();
    drop(working);
    assert_eq!(timeout(SOON, ended.recv()).await, Ok(None), "some thread comes to no end");
    for thread in threads {
        thread.join().unwrap();
    }
}

/// What outlives the incarnations: the store, and what they are to do wrong.
#[derive(Default)]
struct World {
    /// Marks that were committed.
    store: Mutex<BTreeSet<u64>>,
    /// Told of each.
    kept: Notify,
    loads: Mutex<Vec<Instant>>,
    failing_loads: AtomicUsize,
    panicking_loads: AtomicUsize,
    hanging_loads: AtomicUsize,
    panicking_starts: AtomicUsize,
    panicking_stops: AtomicUsize,
    stops: AtomicUsize,
}

impl World {
    fn loads(&self) -> usize {
        lock(&self.loads).len()
    }

    async fn load(self: Arc<Self>, lifeline: Lifeline) -> Result<Marker, StartError> {
        lock(&self.loads).push(Instant::now());
        if one_of(&self.hanging_loads) {
            std::future::pending::<()>().await;
        }
        assert!(!one_of(&self.panicking_loads), "a panic of the test while loading");
        if one_of(&self.failing_loads) {
            return Err(StartError("a failure of the test".to_owned()));
        }
        let known = lock(&self.store).clone();
        Ok(Marker { known, world: self, lifeline })
    }
}

fn one_of(left: &AtomicUsize) -> bool {
    left.fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| left.checked_sub(1)).is_ok()
}

/// An actor that keeps marks: in memory what it was told, in the store what it was told to keep.
struct Marker {
    known: BTreeSet<u64>,
    world: Arc<World>,
    lifeline: Lifeline,
}

impl Actor for Marker {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Self::Context) {
        assert!(!one_of(&self.world.panicking_starts), "a panic of the test in started");
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        self.world.stops.fetch_add(1, Ordering::AcqRel);
        assert!(!one_of(&self.world.panicking_stops), "a panic of the test in stopped");
    }
}

#[derive(Clone)]
enum Ask {
    /// Commits this mark.
    Keep(u64),
    /// Keeps this mark in memory only, which no actor should do.
    Forget(u64),
    /// Panics as long as there is something left, then commits the mark.
    Panic(Arc<AtomicUsize>, u64),
    /// Answers when told so, with the mailbox open meanwhile.
    Wait(Arc<Notify>, u64),
    /// The same with the mailbox shut, and a panic if there is one left.
    Block(Arc<Notify>, Arc<AtomicUsize>),
    /// Never answers, and lets go of the reply.
    Ignore,
    /// Stops the actor from inside, without an answer, as long as there is something left.
    Stop(Arc<AtomicUsize>),
    /// Commits the mark and says that nothing is left to do.
    Finish(u64),
}

impl Command for Ask {
    /// The marks that the actor knows.
    type Reply = BTreeSet<u64>;
}

impl Marker {
    fn keep(&mut self, mark: u64) -> BTreeSet<u64> {
        lock(&self.world.store).insert(mark);
        self.world.kept.notify_one();
        self.known.insert(mark);
        self.known.clone()
    }
}

impl Handler<Envelope<Ask>> for Marker {
    type Result = ();

    fn handle(&mut self, asked: Envelope<Ask>, ctx: &mut Context<Self>) {
        let Envelope { command, reply } = asked;
        match command {
            Ask::Keep(mark) => reply.send(self.keep(mark)),
            Ask::Forget(mark) => {
                self.known.insert(mark);
                reply.send(self.known.clone());
            }
            Ask::Panic(left, mark) => {
                assert!(!one_of(&left), "a panic of the test in a handler");
                reply.send(self.keep(mark));
            }
            Ask::Wait(told, mark) => {
                let known = self.keep(mark);
                let waiting = async move {
                    told.notified().await;
                    reply.send(known);
                };
                ctx.spawn(waiting.into_actor(self));
            }
            Ask::Block(told, panics) => {
                let known = self.known.clone();
                let blocking = async move {
                    told.notified().await;
                    assert!(!one_of(&panics), "a panic of the test while blocking");
                    reply.send(known);
                };
                ctx.wait(blocking.into_actor(self));
            }
            Ask::Ignore => drop(reply),
            Ask::Stop(left) if one_of(&left) => ctx.stop(),
            Ask::Stop(_) => reply.send(self.known.clone()),
            Ask::Finish(mark) => {
                self.lifeline.finish();
                reply.send(self.keep(mark));
            }
        }
    }
}

fn tree() -> Tree {
    Tree::new(Arc::new(ManualClock::default()))
}

/// One actor on this thread.
fn one(tree: &Tree, world: &Arc<World>, mailbox: usize) -> ActorRef<Marker> {
    let world = world.clone();
    spawn_here(tree, "marker", "one".to_owned(), mailbox, move |lifeline| world.clone().load(lifeline))
}

const OPTIONS: RegistryOptions = RegistryOptions {
    kind: "marker",
    mailbox: 100,
    capacity: 1_000,
    idle: Duration::from_secs(10),
    drain: Duration::from_secs(5),
};

/// Actors on these threads, all with the same world.
fn many(tree: &Tree, world: &Arc<World>, arbiters: Arbiters, options: RegistryOptions) -> Registry<Marker> {
    let world = world.clone();
    Registry::new(options, Arc::new(arbiters), tree.clone(), move |_, lifeline| world.clone().load(lifeline))
}

fn times(count: usize) -> Arc<AtomicUsize> {
    Arc::new(AtomicUsize::new(count))
}

fn marks<const N: usize>(marks: [u64; N]) -> BTreeSet<u64> {
    marks.into()
}
