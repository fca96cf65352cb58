//! The actor of one SKU: the only writer of its stock in this process, and a group committer.
//!
//! Who asks it: [`super::service::Inventory`] and [`super::bundle`]. Commands that arrive while a
//! commit is in flight wait in a queue; the next commit takes all of them, up to [`GROUP`]. A
//! bundle over several SKUs parks the queue for a moment instead.
//!
//! What never happens here: trust in being the only actor of the SKU. Another replica may have
//! one too; every commit states the version it is based on ([`super::round`]).

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use actix::fut::{ActorFutureExt, wrap_future};
use actix::{Actor, AsyncContext, Context, Handler};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};

use super::adjustment::{AdjustError, Adjusted, Adjustment};
use super::decide::Settlement;
use super::holds::{Hold, HoldError, HoldRequest, Placed};
use super::pace::Pace;
use super::pending::{Answer, Pending, Work};
use super::round::{self, Attempt, Books, End, Known};
use super::trouble::Trouble;
use crate::cluster::Clock;
use crate::store::{Store, Versioned};
use crate::supervision::{Command, Envelope, Lifeline, Reply};

/// Commands that one commit takes at most.
pub(super) const GROUP: usize = 512;
/// How long the queue waits for a bundle at most.
pub(super) const PARKED_FOR: Duration = Duration::from_secs(1);

/// Asks to hold units of this SKU alone.
#[derive(Clone)]
pub(super) struct PlaceHold(pub(super) HoldRequest);

impl Command for PlaceHold {
    type Reply = Result<Placed, HoldError>;
}

/// Asks to end a hold on this SKU alone.
#[derive(Clone)]
pub(super) struct SettleHold {
    /// As it was read just now.
    pub(super) hold: Versioned<Hold>,
    /// How it is to end.
    pub(super) settlement: Settlement,
}

impl Command for SettleHold {
    type Reply = Result<Hold, HoldError>;
}

impl Command for Adjustment {
    type Reply = Result<Adjusted, AdjustError>;
}

/// Asks to let the queue wait while a bundle is committed.
#[derive(Clone)]
pub(super) struct Park;

/// The queue waits until this is handed back or dropped, [`PARKED_FOR`] at most.
pub(super) struct Parked {
    /// The counters, as the actor knows them.
    pub(super) known: Known,
    back: oneshot::Sender<Known>,
}

impl Parked {
    /// Lets the queue go on, from these counters.
    pub(super) fn unpark(self, known: Known) {
        // If the actor has let go already, it reads them itself.
        let _ = self.back.send(known);
    }
}

impl Command for Park {
    type Reply = Result<Parked, Trouble>;
}

/// The actor of one SKU.
pub(super) struct StockActor {
    sku: String,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    lifeline: Lifeline,
    /// What is known of the store; on loan to the attempt or the bundle that is under way.
    books: Option<Books>,
    queue: VecDeque<Pending>,
    bundles: VecDeque<Reply<Result<Parked, Trouble>>>,
    /// Whether a bundle had the last turn, so that the queue has the next.
    bundle_was_last: bool,
    pace: Pace,
}

/// What is done next.
enum Turn {
    Commit(Books, Vec<Pending>),
    Park(Books, Reply<Result<Parked, Trouble>>),
}

impl StockActor {
    /// An actor that knows nothing yet: it reads the stock record with its first command, so that
    /// a store that is down makes it answer "unavailable" rather than fall.
    pub(super) fn new(sku: String, store: Arc<dyn Store>, clock: Arc<dyn Clock>, lifeline: Lifeline) -> Self {
        let books = Some(Books::of([(sku.clone(), Known::Nothing)]));
        Self {
            sku,
            store,
            clock,
            lifeline,
            books,
            queue: VecDeque::new(),
            bundles: VecDeque::new(),
            bundle_was_last: false,
            pace: Pace::default(),
        }
    }

    /// The next turn; none if one is under way or nothing waits. Bundles go before the queue, as
    /// other SKUs stand still for them, but not twice in a row.
    fn next(&mut self) -> Option<Turn> {
        self.books.as_ref()?;
        let (late, queue): (Vec<_>, _) = self.queue.drain(..).partition(Pending::is_late);
        self.queue = VecDeque::from(queue);
        for command in late {
            command.give_up("too many others want this stock");
        }
        let park = !self.bundles.is_empty() && (!self.bundle_was_last || self.queue.is_empty());
        if !park && self.queue.is_empty() {
            return None;
        }
        let books = self.books.take()?;
        self.bundle_was_last = park;
        if park && let Some(reply) = self.bundles.pop_front() {
            return Some(Turn::Park(books, reply));
        }
        let group = self.queue.len().min(GROUP);
        Some(Turn::Commit(books, self.queue.drain(..group).collect()))
    }

    fn go_on(&mut self, context: &mut Context<Self>) {
        match self.next() {
            None => {}
            Some(Turn::Commit(books, group)) => self.commit(books, group, context),
            Some(Turn::Park(books, reply)) => self.park(&books, reply, context),
        }
    }

    fn commit(&self, books: Books, group: Vec<Pending>, context: &mut Context<Self>) {
        let (store, clock) = (self.store.clone(), self.clock.clone());
        let contended = self.pace.is_contended();
        let attempt = async move {
            let began = Instant::now();
            let attempt = round::attempt(store.as_ref(), clock.as_ref(), contended, books, group).await;
            (attempt, began.elapsed())
        };
        context.spawn(wrap_future(attempt).map(|(attempt, took), actor: &mut Self, context| {
            actor.attempted(attempt, took, context);
        }));
    }

    fn attempted(&mut self, attempt: Attempt, took: Duration, context: &mut Context<Self>) {
        let Attempt { books, again, end } = attempt;
        let pause = match end {
            End::Done => self.pace.succeeded(took, fastrand::f64()),
            End::Conflicted => self.pace.came_too_late(took, fastrand::f64()),
            End::Down => {
                self.give_up_all();
                Duration::ZERO
            }
        };
        if matches!(books.known(&self.sku), Known::Absent) {
            // Whoever asks for things that don't exist shall not fill the registry with them.
            self.lifeline.finish();
        }
        for command in again.into_iter().rev() {
            self.queue.push_front(command);
        }
        if pause.is_zero() {
            self.books = Some(books);
            return self.go_on(context);
        }
        // The books stay on loan meanwhile, so that what arrives joins the next attempt.
        context.spawn(wrap_future(sleep(pause)).map(|(), actor: &mut Self, context| {
            actor.books = Some(books);
            actor.go_on(context);
        }));
    }

    /// The store does not answer. What waits would only wait for that, one group after the other.
    fn give_up_all(&mut self) {
        let reason = "the store does not answer";
        self.queue.drain(..).for_each(|command| command.give_up(reason));
        self.bundles.drain(..).for_each(|reply| reply.send(Err(Trouble::Unavailable(reason.to_owned()))));
    }

    fn park(&self, books: &Books, reply: Reply<Result<Parked, Trouble>>, context: &mut Context<Self>) {
        let (back, handed_back) = oneshot::channel();
        let busy = self.lifeline.busy();
        reply.send(Ok(Parked { known: books.known(&self.sku), back }));
        let parked = async move {
            let _busy = busy;
            // Dropped, or overdue: the bundle may have been committed, so nothing is known.
            timeout(PARKED_FOR, handed_back).await.ok().and_then(Result::ok).unwrap_or(Known::Nothing)
        };
        context.spawn(wrap_future(parked).map(|known, actor: &mut Self, context| {
            if matches!(known, Known::Absent) {
                actor.lifeline.finish();
            }
            actor.books = Some(Books::of([(actor.sku.clone(), known)]));
            actor.go_on(context);
        }));
    }

    fn enqueue(&mut self, work: Work, context: &mut Context<Self>) {
        self.queue.push_back(Pending::new(work));
        self.go_on(context);
    }
}

impl Actor for StockActor {
    type Context = Context<Self>;
}

impl Handler<Envelope<PlaceHold>> for StockActor {
    type Result = ();

    fn handle(&mut self, asked: Envelope<PlaceHold>, context: &mut Context<Self>) {
        let (PlaceHold(request), reply) = asked.open();
        self.enqueue(Work::Hold(request, Answer::to(|answer| reply.send(answer))), context);
    }
}

impl Handler<Envelope<SettleHold>> for StockActor {
    type Result = ();

    fn handle(&mut self, asked: Envelope<SettleHold>, context: &mut Context<Self>) {
        let (SettleHold { hold, settlement }, reply) = asked.open();
        self.enqueue(Work::Settle(hold, settlement, Answer::to(|answer| reply.send(answer))), context);
    }
}

impl Handler<Envelope<Adjustment>> for StockActor {
    type Result = ();

    fn handle(&mut self, asked: Envelope<Adjustment>, context: &mut Context<Self>) {
        let (adjustment, reply) = asked.open();
        self.enqueue(Work::Adjust(adjustment, Answer::to(|answer| reply.send(answer))), context);
    }
}

impl Handler<Envelope<Park>> for StockActor {
    type Result = ();

    fn handle(&mut self, asked: Envelope<Park>, context: &mut Context<Self>) {
        self.bundles.push_back(asked.reply);
        self.go_on(context);
    }
}
