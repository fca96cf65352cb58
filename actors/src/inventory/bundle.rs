//! Commands over several SKUs: one actor in each replica takes all that wait at once.
//!
//! Who asks it: [`super::service::Inventory`]. Bundles that wait together are committed together,
//! up to [`GROUP`] in one transaction. Their SKUs' actors are asked to park their queues meanwhile;
//! what waits there is decided afterwards, so nobody is refused for units that a bundle then does
//! not take. Groups under way at the same time have no SKU in common, so none waits for another,
//! and a bundle never overtakes an earlier one that shares a SKU with it.
//!
//! What never happens here: reliance on the parking. Other replicas don't park, and an actor lets
//! go after a second; the commit states the version of each stock record all the same.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use actix::fut::{ActorFutureExt, wrap_future};
use actix::{Actor, AsyncContext, Context, Handler};
use futures_util::future::join_all;
use tokio::time::{Instant, sleep};

use super::actor::{PARKED_FOR, Park, Parked, PlaceHold, SettleHold, StockActor};
use super::pace::Pace;
use super::pending::{Answer, Pending, Work};
use super::round::{self, Books, End};
use super::trouble::Trouble;
use crate::cluster::Clock;
use crate::store::Store;
use crate::supervision::{Envelope, Registry};

/// Groups that are under way at once: a SKU that is slow to park holds up its own group only.
const GROUPS: usize = 4;
/// Bundles that one commit takes at most.
const GROUP: usize = 256;
/// SKUs of one group at most, unless a single bundle has more.
const MOST_SKUS: usize = 200;
/// How long stock counts as contended after a conflict with another replica.
const CONTENDED_FOR: Duration = Duration::from_secs(5);
/// How long a group waits for its SKUs. Those that came are parked meanwhile.
const PARKING: Duration = Duration::from_millis(500);

/// The actor of all bundles of this replica.
pub(super) struct BundleActor {
    parts: Parts,
    waiting: VecDeque<Pending>,
    /// The SKUs of the groups under way.
    in_hand: BTreeSet<String>,
    groups: usize,
    /// When another replica was met last.
    conflicted: Option<Instant>,
}

#[derive(Clone)]
struct Parts {
    registry: Registry<StockActor>,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
}

impl BundleActor {
    pub(super) fn new(registry: Registry<StockActor>, store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Self {
        let parts = Parts { registry, store, clock };
        Self { parts, waiting: VecDeque::new(), in_hand: BTreeSet::new(), groups: 0, conflicted: None }
    }

    fn enqueue(&mut self, work: Work, context: &mut Context<Self>) {
        self.waiting.push_back(Pending::new(work));
        self.go_on(context);
    }

    fn go_on(&mut self, context: &mut Context<Self>) {
        while self.groups < GROUPS {
            let group = take(&mut self.waiting, &self.in_hand, Pending::skus);
            if group.is_empty() {
                return;
            }
            let skus: BTreeSet<String> = group.iter().flat_map(Pending::skus).map(str::to_owned).collect();
            self.in_hand.extend(skus.iter().cloned());
            self.groups += 1;
            let parts = self.parts.clone();
            let contended = self.conflicted.is_some_and(|at| at.elapsed() < CONTENDED_FOR);
            let run = async move {
                let done = run(&parts, contended, &skus, group).await;
                (skus, done)
            };
            context.spawn(wrap_future(run).map(|(skus, (again, conflicted)), actor: &mut Self, context| {
                if conflicted {
                    actor.conflicted = Some(Instant::now());
                }
                actor.groups -= 1;
                actor.in_hand.retain(|sku| !skus.contains(sku));
                for bundle in again.into_iter().rev() {
                    actor.waiting.push_front(bundle);
                }
                actor.go_on(context);
            }));
        }
    }
}

impl Actor for BundleActor {
    type Context = Context<Self>;
}

impl Handler<Envelope<PlaceHold>> for BundleActor {
    type Result = ();

    fn handle(&mut self, asked: Envelope<PlaceHold>, context: &mut Context<Self>) {
        let Envelope { command: PlaceHold(request), reply } = asked;
        self.enqueue(Work::Hold(request, Answer::to(|answer| reply.send(answer))), context);
    }
}

impl Handler<Envelope<SettleHold>> for BundleActor {
    type Result = ();

    fn handle(&mut self, asked: Envelope<SettleHold>, context: &mut Context<Self>) {
        let Envelope { command: SettleHold { hold, settlement }, reply } = asked;
        self.enqueue(Work::Settle(hold, settlement, Answer::to(|answer| reply.send(answer))), context);
    }
}

/// Takes what can go now, the longest wait first. What has to stay keeps its SKUs from those
/// behind it.
fn take<T>(
    waiting: &mut VecDeque<T>,
    in_hand: &BTreeSet<String>,
    skus_of: impl Fn(&T) -> BTreeSet<&str>,
) -> Vec<T> {
    let mut spoken_for = in_hand.clone();
    let (mut group, mut left, mut skus) = (Vec::new(), VecDeque::new(), BTreeSet::<String>::new());
    for next in waiting.drain(..) {
        let its = skus_of(&next);
        let more = its.iter().filter(|sku| !skus.contains(**sku)).count();
        let fits = group.is_empty() || (group.len() < GROUP && skus.len() + more <= MOST_SKUS);
        let goes = fits && !its.iter().any(|sku| spoken_for.contains(*sku));
        let those = if goes { &mut skus } else { &mut spoken_for };
        those.extend(its.into_iter().map(str::to_owned));
        if goes {
            group.push(next);
        } else {
            left.push_back(next);
        }
    }
    *waiting = left;
    group
}

/// Parks the SKUs, commits the group, lets the SKUs go on; what is to be tried again, and whether
/// others were in the way.
async fn run(
    parts: &Parts,
    contended: bool,
    skus: &BTreeSet<String>,
    group: Vec<Pending>,
) -> (Vec<Pending>, bool) {
    let mut parked = BTreeMap::new();
    let mut busy = BTreeMap::new();
    for (sku, answer) in skus.iter().zip(join_all(skus.iter().map(|sku| park(parts, sku))).await) {
        match answer {
            Ok(one) => drop(parked.insert(sku.clone(), one)),
            Err(reason) => drop(busy.insert(sku.clone(), reason)),
        }
    }
    let mut able = Vec::new();
    for bundle in group {
        let reason = bundle.skus().into_iter().find_map(|sku| busy.get(sku));
        let late = bundle.is_late().then_some("too many bundles wait");
        match reason.map(String::as_str).or(late) {
            Some(reason) => bundle.give_up(reason),
            None => able.push(bundle),
        }
    }
    let known = parked.iter().map(|(sku, parked): (&String, &Parked)| (sku.clone(), parked.known.clone()));
    let (store, clock) = (parts.store.as_ref(), parts.clock.as_ref());
    let (books, again, conflicted) = commit(store, clock, contended, Books::of(known), able).await;
    for (sku, parked) in parked {
        parked.unpark(books.known(&sku));
    }
    (again, conflicted)
}

async fn park(parts: &Parts, sku: &str) -> Result<Parked, String> {
    match parts.registry.ask(sku, Park, PARKING).await {
        Ok(Ok(parked)) => Ok(parked),
        Ok(Err(Trouble::Unavailable(reason))) => Err(reason),
        Ok(Err(Trouble::OutcomeUnknown)) | Err(_) => Err(format!("too much is going on with {sku}")),
    }
}

async fn commit(
    store: &dyn Store,
    clock: &dyn Clock,
    contended: bool,
    mut books: Books,
    mut commands: Vec<Pending>,
) -> (Books, Vec<Pending>, bool) {
    let until = Instant::now() + PARKED_FOR;
    let (mut pace, mut conflicted) = (Pace::default(), false);
    while !commands.is_empty() && Instant::now() < until {
        let began = Instant::now();
        let attempt = round::attempt(store, clock, contended || conflicted, books, commands).await;
        (books, commands) = (attempt.books, attempt.again);
        conflicted |= attempt.end == End::Conflicted;
        if attempt.end == End::Conflicted && !commands.is_empty() {
            sleep(pace.came_too_late(began.elapsed(), fastrand::f64())).await;
        }
    }
    (books, commands, conflicted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::round::Known;
    use crate::inventory::{HoldLine, HoldRequest, Sku, Stock};
    use crate::store::Batch;
    use crate::testing::{CommitFault, ManualClock, MemoryStore};

    type Bundle = (usize, BTreeSet<String>);

    fn queue(bundles: &[&[&str]]) -> VecDeque<Bundle> {
        let skus = |skus: &&[&str]| skus.iter().map(|sku| (*sku).to_owned()).collect();
        bundles.iter().map(skus).enumerate().collect()
    }

    fn taken(waiting: &mut VecDeque<Bundle>, in_hand: &[&str]) -> Vec<usize> {
        let in_hand = in_hand.iter().map(|sku| (*sku).to_owned()).collect();
        take(waiting, &in_hand, |bundle| bundle.1.iter().map(String::as_str).collect())
            .into_iter()
            .map(|bundle| bundle.0)
            .collect()
    }

    #[test]
    fn bundles_that_share_skus_go_together() {
        let mut waiting = queue(&[&["a", "b"], &["b", "c"], &["d", "e"]]);
        assert_eq!(taken(&mut waiting, &[]), [0, 1, 2]);
        assert!(waiting.is_empty());
    }

    #[test]
    fn what_waits_for_a_sku_is_not_overtaken_on_any_of_its_skus() {
        let mut waiting = queue(&[&["a", "b"], &["b", "c"], &["c", "d"], &["e", "f"]]);
        assert_eq!(taken(&mut waiting, &["a"]), [3], "1 waits behind 0, and 2 behind 1");
        assert_eq!(taken(&mut waiting, &["e", "f"]), [0, 1, 2]);
    }

    #[test]
    fn a_group_is_bounded_in_bundles_and_skus_and_one_that_is_too_large_goes_alone() {
        let many: Vec<&[&str]> = (0..GROUP + 5).map(|_| ["a", "b"].as_slice()).collect();
        let mut waiting = queue(&many);
        assert_eq!(taken(&mut waiting, &[]).len(), GROUP);
        assert_eq!(taken(&mut waiting, &[]), [GROUP, GROUP + 1, GROUP + 2, GROUP + 3, GROUP + 4]);

        let names: Vec<String> = (0..=MOST_SKUS).map(|n| format!("sku-{n:03}")).collect();
        let large: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut waiting = queue(&[&large, &["x", "y"], &large[..2]]);
        assert_eq!(taken(&mut waiting, &[]), [0]);
        assert_eq!(taken(&mut waiting, &large), [1]);
        assert_eq!(taken(&mut waiting, &[]), [2]);
    }

    fn hold(id: &str, skus: [&str; 2]) -> Pending {
        let lines = skus.map(|sku| HoldLine { sku: sku.to_owned(), quantity: 1 }).to_vec();
        let request = HoldRequest { id: id.to_owned(), user_id: "u".to_owned(), lines, ttl: None };
        Pending::new(Work::Hold(request, Answer::to(drop)))
    }

    #[tokio::test(start_paused = true)]
    async fn commands_with_one_id_are_tried_again_each_for_its_own_skus() {
        let store = MemoryStore::default();
        let skus = ["cap", "cup", "mug", "tee"];
        for sku in skus {
            let stock = Stock::none_of(&Sku::parse(sku).unwrap()).adjusted(1).unwrap();
            store.commit(Batch::new().insert(&stock)).await.unwrap();
        }
        // More than there can be attempts until the SKUs are let go.
        store.fail_commits([CommitFault::LostBefore; 5000]);
        let books = Books::of(skus.map(|sku| (sku.to_owned(), Known::Nothing)));
        let group = vec![hold("one", ["cap", "tee"]), hold("one", ["cup", "mug"])];
        let (_, again, _) = commit(&store, &ManualClock::default(), false, books, group).await;
        let again: Vec<_> = again.iter().map(Pending::skus).collect();
        assert_eq!(again, [BTreeSet::from(["cap", "tee"]), BTreeSet::from(["cup", "mug"])]);
    }
}
