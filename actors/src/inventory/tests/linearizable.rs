//! Histories of what clients were told, checked against stock as one would write it on paper.
//!
//! Two replicas on one store, clients that ask both, commits that give way to each other. Whatever
//! was answered must fit **some** order in which each command took effect at once, between its
//! being asked and its being answered: refusals, bundles and repeats included.

use std::collections::{BTreeMap, HashSet};

use fastrand::Rng;
use futures_util::future::join_all;
use stateright::semantics::SequentialSpec;

use super::*;

const HISTORIES: u64 = 200;
/// Histories that may be made again, as the machine stood still for longer than commands wait.
const STANDSTILLS: usize = 10;
const MOST_CLIENTS: usize = 5;
const COMMANDS: usize = 8;

type Wanted = Vec<(&'static str, i64)>;

#[derive(Clone, Debug)]
enum Asked {
    Hold(String, Wanted),
    Commit(String),
    Release(String),
    Adjust(String, &'static str, i64),
    Read(&'static str),
}

#[derive(Clone, Debug, PartialEq)]
enum Told {
    Hold(HoldStatus),
    OutOfStock(Vec<String>),
    NotFound,
    WrongState(HoldStatus),
    Adjusted(i64),
    BelowHeld(i64),
    Stock { on_hand: i64, held: i64 },
}

/// Stock on paper.
#[derive(Clone, Debug, Default)]
struct Paper {
    stock: BTreeMap<&'static str, (i64, i64)>,
    holds: BTreeMap<String, (Wanted, HoldStatus)>,
    adjusted: BTreeMap<(String, &'static str), i64>,
}

impl Paper {
    fn hold(&mut self, id: &str, wanted: &Wanted) -> Told {
        if let Some((_, status)) = self.holds.get(id) {
            return Told::Hold(*status);
        }
        let free = |sku: &str| self.stock.get(sku).map_or(0, |(on_hand, held)| on_hand - held);
        let mut short: Vec<String> =
            wanted.iter().filter(|(sku, n)| free(sku) < *n).map(|(sku, _)| (*sku).to_owned()).collect();
        if !short.is_empty() {
            short.sort();
            return Told::OutOfStock(short);
        }
        for (sku, units) in wanted {
            self.stock.entry(sku).or_default().1 += units;
        }
        self.holds.insert(id.to_owned(), (wanted.clone(), HoldStatus::Held));
        Told::Hold(HoldStatus::Held)
    }

    fn end(&mut self, id: &str, to: HoldStatus) -> Told {
        let Some((wanted, status)) = self.holds.get_mut(id) else { return Told::NotFound };
        if *status == HoldStatus::Held {
            for (sku, units) in wanted.iter() {
                let stock = self.stock.entry(sku).or_default();
                stock.1 -= units;
                if to == HoldStatus::Committed {
                    stock.0 -= units;
                }
            }
            *status = to;
        }
        if *status == to { Told::Hold(to) } else { Told::WrongState(*status) }
    }

    fn adjust(&mut self, id: &str, sku: &'static str, delta: i64) -> Told {
        if let Some(delta) = self.adjusted.get(&(id.to_owned(), sku)) {
            return Told::Adjusted(*delta);
        }
        let stock = self.stock.entry(sku).or_default();
        if stock.0 + delta < stock.1 {
            return Told::BelowHeld(stock.1);
        }
        stock.0 += delta;
        self.adjusted.insert((id.to_owned(), sku), delta);
        Told::Adjusted(delta)
    }
}

impl SequentialSpec for Paper {
    type Op = Asked;
    type Ret = Told;

    fn invoke(&mut self, asked: &Asked) -> Told {
        match asked {
            Asked::Hold(id, wanted) => self.hold(id, wanted),
            Asked::Commit(id) => self.end(id, HoldStatus::Committed),
            Asked::Release(id) => self.end(id, HoldStatus::Released),
            Asked::Adjust(id, sku, delta) => self.adjust(id, sku, *delta),
            Asked::Read(sku) => {
                let (on_hand, held) = self.stock.get(sku).copied().unwrap_or_default();
                Told::Stock { on_hand, held }
            }
        }
    }
}

/// One command of a client: what it asked and was told, and when, on a clock that ticks with each.
#[derive(Debug)]
struct Call {
    asked: Asked,
    told: Told,
    begun: usize,
    ended: usize,
}

/// What clients asked and were told, each client's calls in their order.
#[derive(Debug, Default)]
struct History {
    clock: usize,
    clients: BTreeMap<usize, Vec<Call>>,
}

impl History {
    fn tick(&mut self) -> usize {
        self.clock += 1;
        self.clock
    }

    /// Whether some order of all calls explains what was told, in which no call comes before one
    /// that had ended when it begun. What has been tried and led nowhere, the calls made so far and
    /// the state they led to, is not tried again: without that, a history in which much happens at
    /// once takes hours.
    fn is_linearizable(&self, paper: &Paper) -> bool {
        let calls: Vec<&[Call]> = self.clients.values().map(Vec::as_slice).collect();
        let mut left: Vec<(Vec<usize>, Paper)> = vec![(vec![0; calls.len()], paper.clone())];
        let mut tried = HashSet::new();
        while let Some((made, paper)) = left.pop() {
            if made.iter().zip(&calls).all(|(made, calls)| *made == calls.len()) {
                return true;
            }
            let next = |client: usize| calls[client].get(made[client]);
            let first_end = (0..calls.len()).filter_map(next).map(|call| call.ended).min();
            for client in 0..calls.len() {
                let Some(call) = next(client).filter(|call| first_end.is_none_or(|end| call.begun < end))
                else {
                    continue;
                };
                let mut after = paper.clone();
                if after.invoke(&call.asked) != call.told {
                    continue;
                }
                let mut made = made.clone();
                made[client] += 1;
                if tried.insert(format!("{made:?} {after:?}")) {
                    left.push((made, after));
                }
            }
        }
        false
    }
}

/// A command was not answered in its time.
struct Standstill;

async fn ask(replica: &Inventory, asked: &Asked) -> Result<Told, Standstill> {
    let of_hold = |answer: Result<Hold, HoldError>| match answer {
        Ok(hold) => Ok(Told::Hold(hold.status)),
        Err(HoldError::OutOfStock(skus)) => Ok(Told::OutOfStock(skus)),
        Err(HoldError::NotFound) => Ok(Told::NotFound),
        Err(HoldError::WrongState(status)) => Ok(Told::WrongState(status)),
        Err(HoldError::Unavailable { .. } | HoldError::OutcomeUnknown) => Err(Standstill),
        Err(other) => panic!("{asked:?}: {other:?}"),
    };
    match asked {
        Asked::Hold(id, wanted) => of_hold(hold(replica, id, wanted).await),
        Asked::Commit(id) => of_hold(replica.commit(id).await),
        Asked::Release(id) => of_hold(replica.release(id).await),
        Asked::Adjust(id, sku, delta) => match adjust(replica, id, sku, *delta).await {
            Ok(adjusted) => Ok(Told::Adjusted(adjusted.movement.delta)),
            Err(AdjustError::BelowHeld { held }) => Ok(Told::BelowHeld(held)),
            Err(AdjustError::Unavailable { .. } | AdjustError::OutcomeUnknown) => Err(Standstill),
            Err(other) => panic!("{asked:?}: {other:?}"),
        },
        Asked::Read(sku) => {
            let stock = replica.stock(sku).await.unwrap().unwrap().value;
            Ok(Told::Stock { on_hand: stock.on_hand(), held: stock.held() })
        }
    }
}

/// Few units and few ids, so that clients meet.
fn any(random: &mut Rng) -> Asked {
    let id = format!("h{}", random.u8(0..8));
    let sku = ["tee", "cap"][random.usize(0..2)];
    match random.u8(0..10) {
        0..=1 => Asked::Hold(id, vec![(sku, random.i64(1..3))]),
        2..=4 => Asked::Hold(id, vec![("tee", 1), ("cap", random.i64(1..3))]),
        5 => Asked::Commit(id),
        6..=7 => Asked::Release(id),
        8 => Asked::Adjust(format!("a{}", random.u8(0..6)), sku, random.i64(-2..3)),
        _ => Asked::Read(sku),
    }
}

async fn client(
    number: usize,
    seed: u64,
    replicas: &[Inventory; 2],
    history: &Mutex<History>,
) -> Result<(), Standstill> {
    let mut random = Rng::with_seed(seed);
    for _ in 0..COMMANDS {
        let (asked, replica) = (any(&mut random), &replicas[random.usize(0..2)]);
        let begun = lock(history).tick();
        let told = ask(replica, &asked).await?;
        let mut history = lock(history);
        let ended = history.tick();
        history.clients.entry(number).or_default().push(Call { asked, told, begun, ended });
    }
    Ok(())
}

async fn history(seed: u64) -> Result<History, Standstill> {
    let shop = Shop::with(&[("tee", 3), ("cap", 2)]).await;
    shop.store.dawdle(usize::try_from(seed % 5).unwrap());
    let replicas = [shop.replica(), shop.replica()];
    let history = Mutex::new(History::default());
    let clients = 2 + usize::try_from(seed).unwrap() % (MOST_CLIENTS - 1);
    let asking = (0..clients).map(|n| client(n, seed * 100 + n as u64, &replicas, &history));
    let asked = join_all(asking).await;
    shop.check().await;
    shop.arbiters.stop();
    asked.into_iter().collect::<Result<(), Standstill>>()?;
    Ok(history.into_inner().unwrap())
}

#[actix_rt::test]
async fn what_clients_are_told_fits_one_order_of_events() {
    let stock = BTreeMap::from([("tee", (3, 0)), ("cap", (2, 0))]);
    let paper = Paper { stock, ..Paper::default() };
    let (mut refused, mut bundled, mut standstills) = (0, 0, 0);
    let mut seeds: Vec<u64> = (0..HISTORIES).collect();
    while let Some(seed) = seeds.pop() {
        let Ok(history) = history(seed).await else {
            standstills += 1;
            assert!(standstills <= STANDSTILLS, "commands are not answered in time again and again");
            seeds.push(seed);
            continue;
        };
        assert!(history.is_linearizable(&paper), "history {seed}: {history:#?}");
        let told = format!("{history:?}");
        refused += told.matches("OutOfStock").count();
        bundled += told.matches("(\"tee\", 1), (\"cap\"").count();
    }
    // The histories are worth the name.
    assert!(refused > 500 && bundled > 500, "{refused} refusals, {bundled} bundles");
}

#[test]
fn a_history_that_no_order_explains_is_found_out() {
    let paper = Paper { stock: BTreeMap::from([("tee", (1, 0))]), ..Paper::default() };
    let hold = |id: &str| Asked::Hold(id.to_owned(), vec![("tee", 1)]);
    let held = || Told::Hold(HoldStatus::Held);
    let none = || Told::OutOfStock(vec!["tee".to_owned()]);
    let history = |calls: Vec<(usize, Asked, Told, usize, usize)>| {
        let mut history = History::default();
        for (client, asked, told, begun, ended) in calls {
            history.clients.entry(client).or_default().push(Call { asked, told, begun, ended });
        }
        history
    };
    // One unit is held once, and somebody is refused: in either order when they overlap,
    let overlap = history(vec![(0, hold("a"), none(), 1, 3), (1, hold("b"), held(), 2, 4)]);
    assert!(overlap.is_linearizable(&paper));
    // not twice,
    let twice = history(vec![(0, hold("a"), held(), 1, 3), (1, hold("b"), held(), 2, 4)]);
    assert!(!twice.is_linearizable(&paper));
    // and nobody is refused for what comes later.
    let too_early = history(vec![(0, hold("a"), none(), 1, 2), (1, hold("b"), held(), 3, 4)]);
    assert!(!too_early.is_linearizable(&paper));
}
