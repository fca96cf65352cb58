//! What actix 0.13.5 really does, against plain actix: the facts that `steward_actors::supervision`
//! is built around (docs/architecture.md, "What actix does not do"). If one of these fails after an
//! update of actix, read what changed before touching the test: the design may be simpler for it,
//! or have a hole.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::cell::Cell;
use std::future::Future;
use std::process::Command;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use actix::dev::SendError;
use actix::{
    Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, MailboxError, Message,
    ResponseActFuture, Running, Supervised, Supervisor, WrapFuture,
};
use tokio::sync::Notify;

fn system<F: Future<Output = ()>>(test: F) {
    actix_rt::System::new().block_on(test);
}

/// The same in stopped time: one thread, and a clock that jumps when nothing else is left to do.
fn system_in_stopped_time<F: Future<Output = ()>>(test: F) {
    system(async {
        tokio::time::pause();
        test.await;
    });
}

/// What an actor that fell, or a test, finds afterwards.
#[derive(Default)]
struct Seen {
    started: Cell<usize>,
    restarting: Cell<usize>,
    handled: Cell<usize>,
}

fn count(cell: &Cell<usize>) {
    cell.set(cell.get() + 1);
}

/// An actor whose state can be half-changed.
struct Fragile {
    seen: Rc<Seen>,
    value: usize,
    continues_when_stopping: bool,
    panics_in_stopped: bool,
    stops_in_started: usize,
}

impl Fragile {
    fn new(seen: &Rc<Seen>) -> Self {
        Self {
            seen: seen.clone(),
            value: 0,
            continues_when_stopping: false,
            panics_in_stopped: false,
            stops_in_started: 0,
        }
    }
}

impl Actor for Fragile {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        count(&self.seen.started);
        if self.seen.started.get() <= self.stops_in_started {
            ctx.stop();
        }
    }

    fn stopping(&mut self, _: &mut Self::Context) -> Running {
        if std::mem::take(&mut self.continues_when_stopping) { Running::Continue } else { Running::Stop }
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        assert!(!self.panics_in_stopped, "a panic of the test in stopped");
    }
}

impl Supervised for Fragile {
    fn restarting(&mut self, _: &mut Self::Context) {
        count(&self.seen.restarting);
    }
}

/// Half-changes the actor and panics.
#[derive(Message)]
#[rtype(result = "()")]
struct Panic;

impl Handler<Panic> for Fragile {
    type Result = ();

    fn handle(&mut self, _: Panic, _: &mut Context<Self>) {
        self.value = 666;
        panic!("a panic of the test in a handler");
    }
}

/// Adds, and answers with the sum.
#[derive(Message)]
#[rtype(result = "usize")]
struct Add(usize);

impl Handler<Add> for Fragile {
    type Result = usize;

    fn handle(&mut self, Add(more): Add, _: &mut Context<Self>) -> usize {
        count(&self.seen.handled);
        self.value += more;
        self.value
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct Stop;

impl Handler<Stop> for Fragile {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Context<Self>) {
        ctx.stop();
    }
}

#[test]
fn a_panic_in_a_handler_kills_the_address_for_good_and_a_supervisor_does_not_help() {
    system(async {
        let seen = Rc::new(Seen::default());
        let addr = Supervisor::start({
            let seen = seen.clone();
            move |_| Fragile::new(&seen)
        });
        assert_eq!(addr.send(Add(1)).await, Ok(1));
        // The message that panics and those that are queued behind it are closed,
        let (panicking, queued) = (addr.send(Panic), addr.send(Add(1)));
        let (panicking, queued) = tokio::join!(panicking, queued);
        assert_eq!(panicking, Err(MailboxError::Closed));
        assert_eq!(queued, Err(MailboxError::Closed));
        // and so is everything ever after; what is sent without waiting is dropped silently.
        addr.do_send(Add(1));
        assert_eq!(addr.send(Add(1)).await, Err(MailboxError::Closed));
        assert!(!addr.connected());
        assert_eq!((seen.restarting.get(), seen.handled.get()), (0, 1));
    });
}

#[test]
fn a_stop_under_a_supervisor_restarts_with_the_same_value() {
    system(async {
        let seen = Rc::new(Seen::default());
        let addr = Supervisor::start({
            let seen = seen.clone();
            move |_| Fragile::new(&seen)
        });
        assert_eq!(addr.send(Add(41)).await, Ok(41));
        addr.send(Stop).await.unwrap();
        assert_eq!(addr.send(Add(1)).await, Ok(42), "nothing was loaded anew");
        assert_eq!((seen.restarting.get(), seen.started.get()), (1, 2));
    });
}

#[test]
fn a_supervisor_restarts_without_any_pause() {
    system(async {
        // Given an actor that stops 10,000 times as it starts, and another task on its thread,
        let seen = Rc::new(Seen::default());
        let addr = Supervisor::start({
            let seen = seen.clone();
            move |_| Fragile { stops_in_started: 10_000, ..Fragile::new(&seen) }
        });
        let restarts_before_the_other = Rc::new(Cell::new(0));
        let other = actix_rt::spawn({
            let (seen, before) = (seen.clone(), restarts_before_the_other.clone());
            async move { before.set(seen.restarting.get()) }
        });
        // then all of that happens before the other has its turn.
        assert_eq!(addr.send(Add(1)).await, Ok(1));
        other.await.unwrap();
        assert_eq!(seen.restarting.get(), 10_000);
        assert!(matches!(restarts_before_the_other.get(), 0 | 10_000), "never in between");
    });
}

#[test]
fn a_half_changed_actor_answers_if_stopping_says_continue() {
    system(async {
        let seen = Rc::new(Seen::default());
        let addr = Fragile { continues_when_stopping: true, ..Fragile::new(&seen) }.start();
        let (panicking, queued) = tokio::join!(addr.send(Panic), addr.send(Add(1)));
        assert_eq!(panicking, Err(MailboxError::Closed));
        assert_eq!(queued, Ok(667), "answered while the panic unwinds, from what it left behind");
    });
}

/// Runs one of these tests in a process of its own, with the variable that makes it do its worst.
fn worst_of(test: &str) -> std::process::Output {
    let this = std::env::current_exe().unwrap();
    Command::new(this).args([test, "--exact", "--nocapture"]).env(WORST, "1").output().unwrap()
}

const WORST: &str = "ACTIX_FACTS_WORST";

#[test]
#[cfg(unix)]
fn a_panic_in_stopped_while_a_handlers_panic_unwinds_aborts_the_process() {
    use std::os::unix::process::ExitStatusExt;

    const SIGABRT: i32 = 6;
    if std::env::var_os(WORST).is_some() {
        return system(async {
            let addr = Fragile { panics_in_stopped: true, ..Fragile::new(&Rc::default()) }.start();
            let _ = addr.send(Panic).await;
        });
    }
    let output = worst_of("a_panic_in_stopped_while_a_handlers_panic_unwinds_aborts_the_process");
    assert_eq!(output.status.signal(), Some(SIGABRT), "{output:?}");
}

#[test]
fn a_panic_that_is_caught_around_the_context_and_again_around_its_drop_does_not_abort() {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::task::Poll;

    system(async {
        // What the supervision of Steward does, at its core, against the same actor.
        let ctx = Context::<Fragile>::new();
        let addr = ctx.address();
        let actor = Fragile { panics_in_stopped: true, ..Fragile::new(&Rc::default()) };
        let mut life = Box::pin(ctx.into_future(actor));
        addr.do_send(Panic);
        let end =
            std::future::poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| life.as_mut().poll(cx))) {
                Ok(poll) => poll.map(|()| "it ended"),
                Err(_) => Poll::Ready("it fell"),
            });
        assert_eq!(end.await, "it fell");
        assert!(catch_unwind(AssertUnwindSafe(move || drop(life))).is_err());
    });
}

/// An actor whose mailbox can be held shut.
struct Slow {
    handled: Rc<Cell<usize>>,
}

impl Actor for Slow {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(1);
    }
}

/// Shuts the mailbox until told otherwise.
#[derive(Message)]
#[rtype(result = "()")]
struct Shut(Arc<Notify>);

impl Handler<Shut> for Slow {
    type Result = ();

    fn handle(&mut self, Shut(open): Shut, ctx: &mut Context<Self>) {
        ctx.wait(async move { open.notified().await }.into_actor(self));
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct Count;

impl Handler<Count> for Slow {
    type Result = ();

    fn handle(&mut self, _: Count, _: &mut Context<Self>) {
        count(&self.handled);
    }
}

async fn shut() -> (actix::Addr<Slow>, Rc<Cell<usize>>, Arc<Notify>) {
    let (handled, open) = (Rc::new(Cell::new(0)), Arc::new(Notify::new()));
    let addr = Slow { handled: handled.clone() }.start();
    addr.send(Shut(open.clone())).await.unwrap();
    (addr, handled, open)
}

async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

#[test]
fn a_mailbox_of_one_takes_a_thousand_messages_over_clones_of_its_address() {
    system(async {
        let (addr, handled, open) = shut().await;
        let sent = (0..1_000).filter(|_| addr.clone().try_send(Count).is_ok()).count();
        assert_eq!(sent, 1_000);
        open.notify_one();
        settle().await;
        assert_eq!(handled.get(), 1_000);
    });
}

#[test]
fn only_try_send_over_one_shared_address_reports_a_full_mailbox() {
    system(async {
        let (addr, _, _open) = shut().await;
        let full = (0..10).filter(|_| matches!(addr.try_send(Count), Err(SendError::Full(_)))).count();
        assert!((8..=9).contains(&full), "{full} of 10 refused");
        // do_send knows no bound at all.
        (0..1_000).for_each(|_| addr.do_send(Count));
    });
}

#[test]
fn a_message_whose_caller_has_gone_is_skipped() {
    system(async {
        let (addr, handled, open) = shut().await;
        let gone = addr.send(Count);
        drop(gone);
        addr.do_send(Count);
        open.notify_one();
        settle().await;
        assert_eq!(handled.get(), 1, "only the one that nobody waited for from the start");
    });
}

/// An actor whose handlers wait in the middle.
#[derive(Default)]
struct Account {
    balance: usize,
    order: Vec<&'static str>,
}

impl Actor for Account {
    type Context = Context<Self>;
}

/// Reads the balance, waits, and writes one more than it read.
#[derive(Message)]
#[rtype(result = "usize")]
struct Deposit(Arc<AtomicBool>);

impl Handler<Deposit> for Account {
    type Result = ResponseActFuture<Self, usize>;

    fn handle(&mut self, Deposit(done): Deposit, _: &mut Context<Self>) -> Self::Result {
        let read = self.balance;
        let waiting = async { tokio::time::sleep(Duration::from_millis(10)).await };
        Box::pin(waiting.into_actor(self).map(move |(), actor, _| {
            actor.balance = read + 1;
            done.store(true, Ordering::Release);
            actor.balance
        }))
    }
}

#[test]
fn handlers_that_wait_interleave() {
    system_in_stopped_time(async {
        let addr = Account::default().start();
        let deposits = futures_util::future::join_all((0..10).map(|_| addr.send(Deposit(Arc::default()))));
        let balances: Vec<usize> = deposits.await.into_iter().map(Result::unwrap).collect();
        assert_eq!(balances, [1; 10], "nine of ten deposits are lost");
    });
}

#[test]
fn a_handler_that_has_begun_goes_on_when_its_caller_goes() {
    system_in_stopped_time(async {
        let (addr, done) = (Account::default().start(), Arc::new(AtomicBool::new(false)));
        let asking = actix_rt::spawn({
            let (addr, done) = (addr.clone(), done.clone());
            async move { addr.send(Deposit(done)).await }
        });
        settle().await;
        asking.abort();
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(done.load(Ordering::Acquire));
    });
}

/// Starts two waits and a timer, and answers with the order in which they ended.
#[derive(Message)]
#[rtype(result = "()")]
struct WaitTwice;

impl Handler<WaitTwice> for Account {
    type Result = ();

    fn handle(&mut self, _: WaitTwice, ctx: &mut Context<Self>) {
        ctx.run_later(Duration::from_millis(1), |actor, _| actor.order.push("timer of 1 ms"));
        for wait in ["first wait", "second wait"] {
            let waiting = tokio::time::sleep(Duration::from_millis(100));
            ctx.wait(waiting.into_actor(self).map(move |(), actor, _| actor.order.push(wait)));
        }
    }
}

#[derive(Message)]
#[rtype(result = "Vec<&'static str>")]
struct Order;

impl Handler<Order> for Account {
    type Result = Vec<&'static str>;

    fn handle(&mut self, _: Order, _: &mut Context<Self>) -> Self::Result {
        self.order.push("message");
        self.order.clone()
    }
}

#[test]
fn a_wait_freezes_mailbox_and_timers_and_the_last_of_two_ends_first() {
    system_in_stopped_time(async {
        let addr = Account::default().start();
        addr.send(WaitTwice).await.unwrap();
        let order = addr.send(Order).await.unwrap();
        assert_eq!(order[..2], ["second wait", "first wait"]);
        assert!(order.contains(&"message"), "{order:?}");
        let timer = order.iter().position(|what| *what == "timer of 1 ms");
        assert!(timer.is_none_or(|at| at >= 2), "{order:?}");
    });
}

/// An actor that sends to itself.
struct Chatterbox {
    left: usize,
    said: Rc<Cell<usize>>,
}

impl Actor for Chatterbox {
    type Context = Context<Self>;
}

#[derive(Message)]
#[rtype(result = "()")]
struct Chat;

impl Handler<Chat> for Chatterbox {
    type Result = ();

    fn handle(&mut self, _: Chat, ctx: &mut Context<Self>) {
        count(&self.said);
        if self.said.get() < self.left {
            ctx.address().do_send(Chat);
        }
    }
}

#[test]
fn an_actor_that_sends_to_itself_keeps_everyone_else_on_its_thread_waiting() {
    system(async {
        const TIMES: usize = 100_000;
        let said = Rc::new(Cell::new(0));
        let addr = Chatterbox { left: TIMES, said: said.clone() }.start();
        addr.do_send(Chat);
        // Whoever runs next on this thread finds that it had not a single turn in between.
        tokio::task::yield_now().await;
        settle().await;
        let after_the_first_turn = said.get();
        assert_eq!(after_the_first_turn, TIMES);
        let turns = Rc::new(Cell::new(0));
        let addr = Chatterbox { left: 2 * TIMES, said: said.clone() }.start();
        addr.do_send(Chat);
        while said.get() < 2 * TIMES {
            count(&turns);
            tokio::task::yield_now().await;
        }
        assert!(turns.get() < 10, "{} turns during {TIMES} messages", turns.get());
    });
}

#[test]
fn an_arbiter_swallows_a_panic_and_a_panicking_factory_leaves_a_dead_address() {
    system(async {
        let arbiter = actix_rt::Arbiter::new();
        let ran = Arc::new(AtomicUsize::new(0));
        arbiter.spawn_fn(|| panic!("a panic of the test in an arbiter"));
        let addr =
            Remote::start_in_arbiter(&arbiter.handle(), |_| panic!("a panic of the test in a factory"));
        assert_eq!(addr.send(Ping).await, Err(MailboxError::Closed));
        // Nobody was told, and the thread goes on as if nothing had happened.
        let (told, done) = (ran.clone(), Arc::new(Notify::new()));
        let tell = done.clone();
        assert!(arbiter.spawn_fn(move || {
            told.fetch_add(1, Ordering::AcqRel);
            tell.notify_one();
        }));
        done.notified().await;
        assert_eq!(ran.load(Ordering::Acquire), 1);
        arbiter.stop();
    });
}

/// An actor for another thread.
struct Remote;

impl Actor for Remote {
    type Context = Context<Self>;
}

#[derive(Message)]
#[rtype(result = "()")]
struct Ping;

impl Handler<Ping> for Remote {
    type Result = ();

    fn handle(&mut self, _: Ping, _: &mut Context<Self>) {}
}
