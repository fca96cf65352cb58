//! One attempt at committing a group of commands.
//!
//! Who calls it: [`super::actor`] with what is queued for one SKU, [`super::bundle`] with one
//! command over several. What never happens here: an answer before the commit, a refusal that the
//! store has not confirmed since the command arrived, a guess after an unknown outcome.
//!
//! Why a refusal that shared a commit needs no read: the commit states the version of the stock
//! record that the refusal is based on, so its success confirms that version.

use std::collections::{BTreeMap, BTreeSet};

use super::decide::Plan;
use super::holds::Hold;
use super::pending::{Pending, RecordId};
use super::records::{Movement, STOCK};
use super::shopper::Shopper;
use super::state::Stock;
use crate::cluster::Clock;
use crate::store::{CommitError, Conflict, Sharing, Store, StoreError, Versioned, load_many};
use crate::time::Timestamp;

/// Records that the store reads at once.
const MOST_READ: usize = 1000;

/// What is known of the store: the counters of some SKUs, and records of the commands in hand.
pub(super) struct Books {
    skus: Vec<String>,
    /// Counters by SKU, without those that don't exist; `None` when they must be read first.
    stocks: Option<BTreeMap<String, Versioned<Stock>>>,
    holds: BTreeMap<String, Versioned<Hold>>,
    movements: BTreeMap<String, Versioned<Movement>>,
    /// The shoppers among those who ask, as they were read for the attempt under way.
    shoppers: Vec<Versioned<Shopper>>,
}

/// Counters as the actor of a SKU knows them.
#[derive(Clone, Debug)]
pub(super) enum Known {
    /// Not at all.
    Nothing,
    /// There is no such SKU.
    Absent,
    /// As they were committed or read last.
    Stock(Versioned<Stock>),
}

impl Books {
    /// The books of these SKUs. If one of them is not known, all will be read.
    pub(super) fn of(known: impl IntoIterator<Item = (String, Known)>) -> Self {
        let mut skus = Vec::new();
        let mut stocks = Some(BTreeMap::new());
        for (sku, known) in known {
            match (known, &mut stocks) {
                (Known::Stock(stock), Some(stocks)) => drop(stocks.insert(sku.clone(), stock)),
                (Known::Nothing, stocks) => *stocks = None,
                _ => {}
            }
            skus.push(sku);
        }
        Self { skus, stocks, holds: BTreeMap::new(), movements: BTreeMap::new(), shoppers: Vec::new() }
    }

    /// What they say of one SKU.
    pub(super) fn known(&self, sku: &str) -> Known {
        let Some(stocks) = &self.stocks else { return Known::Nothing };
        stocks.get(sku).map_or(Known::Absent, |stock| Known::Stock(stock.clone()))
    }

    /// Enters a hold as it was read; whether that is news.
    fn learn_hold(&mut self, hold: Versioned<Hold>) -> bool {
        if self.holds.get(&hold.value.id).is_some_and(|known| known.version >= hold.version) {
            return false;
        }
        self.holds.insert(hold.value.id.clone(), hold);
        true
    }

    fn learn_movement(&mut self, movement: Versioned<Movement>) -> bool {
        self.movements.insert(movement.value.id.clone(), movement).is_none()
    }

    /// Forgets the records of commands that are done with.
    fn close(&mut self) {
        self.holds.clear();
        self.movements.clear();
        self.shoppers.clear();
    }

    async fn read(&mut self, store: &dyn Store) -> Result<(), StoreError> {
        self.stocks = None;
        let read = load_many::<Stock>(store, &self.skus).await?;
        self.stocks = Some(read.into_iter().map(|stock| (stock.value.sku().to_owned(), stock)).collect());
        Ok(())
    }

    /// Reads what these users hold. A list that is full may name holds that ended before their
    /// time; those go.
    async fn read_shoppers(
        &mut self,
        store: &dyn Store,
        users: Vec<String>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.shoppers.clear();
        if users.is_empty() {
            return Ok(());
        }
        self.shoppers = load_many::<Shopper>(store, &unique(users)).await?;
        let full: Vec<String> = self
            .shoppers
            .iter()
            .filter(|shopper| shopper.value.is_full(now))
            .flat_map(|shopper| shopper.value.live(now))
            .collect();
        for ids in full.chunks(MOST_READ) {
            let holds = load_many::<Hold>(store, ids).await?;
            let ended: BTreeSet<&str> = holds
                .iter()
                .filter(|hold| hold.value.lapses_at().is_none())
                .map(|hold| hold.value.id.as_str())
                .collect();
            for shopper in &mut self.shoppers {
                shopper.value.retain(|hold| !ended.contains(hold));
            }
        }
        Ok(())
    }

    /// Reads the records that commands are recognised by, and returns those that were news.
    async fn look_up(
        &mut self,
        store: &dyn Store,
        records: Vec<RecordId>,
    ) -> Result<Vec<RecordId>, StoreError> {
        let (mut holds, mut movements) = (Vec::new(), Vec::new());
        for record in records {
            match record {
                RecordId::Hold(id) => holds.push(id),
                RecordId::Movement(id) => movements.push(id),
            }
        }
        let mut news = Vec::new();
        if !holds.is_empty() {
            for hold in load_many::<Hold>(store, &unique(holds)).await? {
                let id = RecordId::Hold(hold.value.id.clone());
                if self.learn_hold(hold) {
                    news.push(id);
                }
            }
        }
        if !movements.is_empty() {
            for movement in load_many::<Movement>(store, &unique(movements)).await? {
                let id = RecordId::Movement(movement.value.id.clone());
                if self.learn_movement(movement) {
                    news.push(id);
                }
            }
        }
        Ok(news)
    }

    fn plan(&self) -> Plan {
        Plan::on(
            self.stocks.iter().flat_map(BTreeMap::values).cloned(),
            self.holds.values().cloned(),
            self.movements.values().cloned(),
            self.shoppers.iter().cloned(),
        )
    }
}

fn unique(mut ids: Vec<String>) -> Vec<String> {
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// How an attempt went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// What could be decided was.
    Done,
    /// Others came first; what is left should be tried again after a pause.
    Conflicted,
    /// The store does not answer; nothing is left, all were told.
    Down,
}

/// What an attempt leaves.
pub(super) struct Attempt {
    /// What is known of the store now.
    pub(super) books: Books,
    /// Commands to be tried again, in their order.
    pub(super) again: Vec<Pending>,
    /// How it went.
    pub(super) end: End,
}

/// Commands whose commit shares a transaction, at most: more are worth one of their own.
const MOST_SHARED: usize = 16;

/// Tries to commit all of `pending` at once, and answers those that it can. All of them must have
/// arrived before it is called: its reads and its commit are what confirms their refusals.
///
/// A few commands share a transaction with whatever else is committed at the time, unless the stock
/// is `contended`: its conflicts would be in the others' way.
pub(super) async fn attempt(
    store: &dyn Store,
    clock: &dyn Clock,
    contended: bool,
    mut books: Books,
    mut pending: Vec<Pending>,
) -> Attempt {
    for hold in pending.iter().filter_map(Pending::brought) {
        books.learn_hold(hold.clone());
    }
    let sharing = match contended || pending.len() > MOST_SHARED {
        true => Sharing::Alone,
        false => Sharing::Shared,
    };
    let (again, end) = match commit(store, clock, sharing, &mut books, &mut pending).await {
        Ok(()) => finish(store, &mut books, pending).await,
        Err(error) => try_again(store, &mut books, pending, error).await,
    };
    let (late, again): (Vec<_>, Vec<_>) = again.into_iter().partition(Pending::is_late);
    for command in late {
        command.give_up("too many others change this stock at the same time");
    }
    if again.is_empty() {
        books.close();
    }
    Attempt { books, again, end }
}

/// Decides all of `pending` and commits that. When it returns `Ok`, every refusal among the
/// decisions rests on counters that the store has confirmed.
async fn commit(
    store: &dyn Store,
    clock: &dyn Clock,
    sharing: Sharing,
    books: &mut Books,
    pending: &mut [Pending],
) -> Result<(), CommitError> {
    let unread = books.stocks.is_none();
    if unread {
        read(store, books).await?;
    }
    let shoppers = pending.iter().filter_map(Pending::shopper).map(str::to_owned).collect();
    let read_shoppers = books.read_shoppers(store, shoppers, clock.now()).await;
    read_shoppers.map_err(|error| CommitError::Unavailable(error.to_string()))?;
    let mut plan = decide(clock, books, pending);
    if !unread && plan.is_empty() && pending.iter().any(Pending::is_refused_by_stock) {
        read(store, books).await?;
        plan = decide(clock, books, pending);
    }
    if !plan.is_empty() {
        store.commit(plan.batch(sharing)).await?;
        books.stocks = Some(plan.committed().map(|stock| (stock.value.sku().to_owned(), stock)).collect());
    }
    Ok(())
}

async fn read(store: &dyn Store, books: &mut Books) -> Result<(), CommitError> {
    books.read(store).await.map_err(|error| CommitError::Unavailable(error.to_string()))
}

fn decide(clock: &dyn Clock, books: &Books, pending: &mut [Pending]) -> Plan {
    let mut plan = books.plan();
    let now = clock.now();
    for command in pending {
        command.decide(&mut plan, now);
    }
    plan
}

/// Answers what was decided. One that was refused may have come before and counted then, so its
/// record is looked for, after the counters were confirmed: in that order, a record that is not
/// there was not made before the refusal was true. And one that found its hold alive hears so if
/// the hold is alive now.
async fn finish(store: &dyn Store, books: &mut Books, pending: Vec<Pending>) -> (Vec<Pending>, End) {
    let (open, decided): (Vec<_>, Vec<_>) =
        pending.into_iter().partition(|command| command.is_refused_by_stock() || command.found_a_live_hold());
    decided.into_iter().for_each(Pending::answer);
    if open.is_empty() {
        return (Vec::new(), End::Done);
    }
    match books.look_up(store, open.iter().map(Pending::record).collect()).await {
        Ok(news) => {
            let (again, settled): (Vec<_>, Vec<_>) =
                open.into_iter().partition(|command| news.contains(&command.record()));
            settled.into_iter().for_each(Pending::answer);
            (again, End::Done)
        }
        Err(error) => down(open, &error.to_string()),
    }
}

/// Nothing was committed, or nobody knows. Finds out what the next attempt must know.
async fn try_again(
    store: &dyn Store,
    books: &mut Books,
    mut pending: Vec<Pending>,
    error: CommitError,
) -> (Vec<Pending>, End) {
    let must_look = match error {
        CommitError::Unavailable(reason) => return down(pending, &reason),
        CommitError::Conflict(conflict) => concerns_a_command(&conflict),
        CommitError::OutcomeUnknown(reason) => {
            tracing::warn!(skus = ?books.skus, reason, "the outcome of a stock commit is unknown; looking it up");
            // Even if that commit lands later than the next attempt's reads, it does no harm: both
            // state the same version of the stock record, so one of them conflicts. And one that
            // it had accepted is refused later only if that version has been passed.
            pending.iter_mut().for_each(|command| command.in_doubt = true);
            true
        }
    };
    books.stocks = None;
    if must_look {
        let records = pending.iter().map(Pending::record).collect();
        if let Err(error) = books.look_up(store, records).await {
            return down(pending, &error.to_string());
        }
    }
    (pending, End::Conflicted)
}

/// Whether the conflict is about a command's own record, and not only about the counters.
fn concerns_a_command(conflict: &Conflict) -> bool {
    let (Conflict::Exists { collection, .. }
    | Conflict::Version { collection, .. }
    | Conflict::Unique { collection, .. }) = conflict;
    *collection != STOCK.name
}

fn down(pending: Vec<Pending>, reason: &str) -> (Vec<Pending>, End) {
    for command in pending {
        command.give_up(reason);
    }
    (Vec::new(), End::Down)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, mpsc};

    use super::*;
    use crate::inventory::decide::Settlement;
    use crate::inventory::holds::Placed;
    use crate::inventory::pending::{Answer, Work};
    use crate::inventory::{HoldError, HoldLine, HoldRequest, HoldStatus, Sku};
    use crate::store::{Batch, load};
    use crate::testing::{ManualClock, MemoryStore};

    fn hold(request: &HoldRequest) -> (Pending, mpsc::Receiver<HoldStatus>) {
        let (told, hears) = mpsc::channel();
        let answer = move |answer: Result<Placed, HoldError>| told.send(answer.unwrap().hold.status).unwrap();
        (Pending::new(Work::Hold(request.clone(), Answer::to(answer))), hears)
    }

    #[tokio::test]
    async fn a_hold_that_was_ended_since_it_was_read_is_not_told_of_as_live() {
        let clock = Arc::new(ManualClock::default());
        let store = MemoryStore::new(clock.clone());
        let tee = Stock::none_of(&Sku::parse("tee").unwrap()).adjusted(3).unwrap();
        store.commit(Batch::new().insert(&tee)).await.unwrap();
        let lines = vec![HoldLine { sku: "tee".to_owned(), quantity: 1 }];
        let request = HoldRequest { id: "h".to_owned(), user_id: "u".to_owned(), lines, ttl: None };
        let books = || Books::of([("tee".to_owned(), Known::Nothing)]);
        let attempt = async |books, pending| attempt(&store, clock.as_ref(), false, books, pending).await;

        let (place, hears) = hold(&request);
        attempt(books(), vec![place]).await;
        assert_eq!(hears.recv(), Ok(HoldStatus::Held));
        let read = load::<Hold>(&store, "h").await.unwrap().unwrap();
        let end = Work::Settle(
            read.clone(),
            Settlement::Commit,
            Answer::to(|answer: Result<Hold, HoldError>| drop(answer.unwrap())),
        );
        attempt(books(), vec![Pending::new(end)]).await;

        // These books have it from before it was sold.
        let mut stale = books();
        stale.learn_hold(read);
        let (again, hears) = hold(&request);
        let Attempt { books, again, .. } = attempt(stale, vec![again]).await;
        assert!(hears.try_recv().is_err(), "nothing is said on the word of old books");
        attempt(books, again).await;
        assert_eq!(hears.recv(), Ok(HoldStatus::Committed));
    }
}
