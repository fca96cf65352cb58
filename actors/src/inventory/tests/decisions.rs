//! The pure part: whatever is asked in whatever order, the counters, the holds and the ledger
//! agree.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::inventory::decide::{Plan, Refusal, Settlement};
use crate::inventory::shopper::Shopper;
use crate::store::{Entity, Sharing, Write};

#[derive(Clone, Debug)]
enum Asked {
    Adjust { id: u8, sku: u8, delta: i64 },
    Hold { id: u8, lines: Vec<(u8, i64)>, ttl: Option<u8> },
    Settle { id: u8, settlement: Settlement },
}

/// What is stored, as a batch changes it.
#[derive(Default)]
struct Stored {
    stocks: BTreeMap<String, Versioned<Stock>>,
    holds: BTreeMap<String, Versioned<Hold>>,
    movements: BTreeMap<String, Versioned<Movement>>,
    shoppers: BTreeMap<String, Versioned<Shopper>>,
}

impl Stored {
    fn plan(&self) -> Plan {
        let (holds, movements) = (self.holds.values().cloned(), self.movements.values().cloned());
        Plan::on(self.stocks.values().cloned(), holds, movements, self.shoppers.values().cloned())
    }

    fn apply(&mut self, batch: Batch) {
        fn put<T: Entity>(records: &mut BTreeMap<String, Versioned<T>>, write: &Write) {
            let (version, body) = match write {
                Write::Insert { body, .. } => (0, body),
                Write::Replace { version, body, .. } => (*version, body),
                Write::Delete { .. } => panic!("stock is never deleted"),
            };
            assert_eq!(records.get(write.id()).map_or(0, |record| record.version), version);
            let value = serde_json::from_value(body.clone().into()).unwrap();
            records.insert(write.id().to_owned(), Versioned { value, version: version + 1 });
        }
        for write in &batch.writes {
            match write.collection().name {
                "stock" => put(&mut self.stocks, write),
                "holds" => put(&mut self.holds, write),
                "shoppers" => put(&mut self.shoppers, write),
                _ => put(&mut self.movements, write),
            }
        }
    }

    fn check(&self) {
        for (sku, stock) in &self.stocks {
            let sum = |kinds: &[MovementKind]| -> i64 {
                let of_sku = self.movements.values().map(|m| &m.value).filter(|m| m.sku == *sku);
                of_sku.filter(|m| kinds.contains(&m.kind)).map(|m| m.delta).sum()
            };
            let live = self.holds.values().filter(|hold| hold.value.status == HoldStatus::Held);
            let held: i64 =
                live.flat_map(|h| &h.value.lines).filter(|l| l.sku == *sku).map(|l| l.quantity).sum();
            let stock = &stock.value;
            assert!(stock.available() >= 0 && stock.held() >= 0, "{stock:?}");
            assert_eq!(stock.held(), held);
            assert_eq!(stock.on_hand(), sum(&[MovementKind::Adjusted, MovementKind::Sold]));
            let available = [MovementKind::Adjusted, MovementKind::Held, MovementKind::Released];
            assert_eq!(stock.available(), sum(&available));
        }
    }
}

fn asked() -> impl Strategy<Value = Asked> {
    use Settlement::{Commit, Lapse, Release, Withdraw};
    let settlement = prop::sample::select(vec![Commit, Release, Withdraw, Lapse]);
    prop_oneof![
        (0..20u8, 0..4u8, -30..60i64).prop_map(|(id, sku, delta)| Asked::Adjust { id, sku, delta }),
        (0..20u8, prop::collection::vec((0..4u8, -1..12i64), 0..4), prop::option::of(0..5u8))
            .prop_map(|(id, lines, ttl)| Asked::Hold { id, lines, ttl }),
        (0..20u8, settlement).prop_map(|(id, settlement)| Asked::Settle { id, settlement }),
    ]
}

/// SKU 3 does not exist.
fn sku(n: u8) -> String {
    format!("sku-{n}")
}

fn ask(plan: &mut Plan, asked: &Asked, now: Timestamp) {
    match asked.clone() {
        Asked::Adjust { id, sku: n, delta } => {
            let (id, reason) = (format!("a{id}"), String::new());
            let _ = plan.adjust(&Adjustment { id, sku: sku(n), delta, reason, reference: None }, now);
        }
        Asked::Hold { id, lines, ttl } => {
            let lines = lines.into_iter().map(|(n, quantity)| HoldLine { sku: sku(n), quantity });
            let ttl = ttl.map(|ttl| Duration::from_millis(ttl.into()));
            let (id, user_id) = (format!("h{id}"), "u1".to_owned());
            let _ = plan.hold(&HoldRequest { id, user_id, lines: lines.collect(), ttl }, now);
        }
        Asked::Settle { id, settlement } => {
            let _ = plan.settle(&format!("h{id}"), settlement, now);
        }
    }
}

proptest! {
    #[test]
    fn whatever_is_asked_counters_holds_and_ledger_agree(
        groups in prop::collection::vec((prop::collection::vec(asked(), 1..6), prop::bool::weighted(0.8)), 1..40)
    ) {
        let mut stored = Stored::default();
        for n in 0..3 {
            let value = Stock::none_of(&Sku::parse(sku(n)).unwrap());
            stored.stocks.insert(sku(n), Versioned { value, version: 1 });
        }
        for (at, (group, committed)) in (0..).zip(&groups) {
            let mut plan = stored.plan();
            for asked in group {
                ask(&mut plan, asked, Timestamp::from_millis(at));
            }
            if *committed {
                let (empty, batch) = (plan.is_empty(), plan.batch(Sharing::Alone));
                prop_assert_eq!(empty, batch.writes.is_empty());
                stored.apply(batch);
                for (known, kept) in plan.committed().zip(stored.stocks.values()) {
                    prop_assert_eq!(&known, kept);
                }
            }
            stored.check();
        }
    }
}

fn ten_on_hand() -> Plan {
    let none = Stock::none_of(&Sku::parse("tee").unwrap());
    Plan::on([Versioned { value: none.adjusted(10).unwrap(), version: 3 }], [], [], [])
}

const NOW: Timestamp = Timestamp::from_millis(1000);

#[test]
fn lines_of_one_sku_are_counted_together() {
    let mut plan = ten_on_hand();
    let too_many = plan.hold(&request("h1", &[("tee", 6), ("tee", 5)]), NOW);
    assert_eq!(too_many, Err(Refusal::ByStock(HoldError::OutOfStock(vec!["tee".to_owned()]))));
    plan.hold(&request("h1", &[("tee", 5), ("tee", 5)]), NOW).unwrap();
}

#[test]
fn less_than_one_unit_is_never_in_stock() {
    for quantity in [0, -1, i64::MIN] {
        let mut plan = ten_on_hand();
        let refused = plan.hold(&request("h1", &[("tee", quantity)]), NOW);
        assert_eq!(refused, Err(Refusal::ByStock(HoldError::OutOfStock(vec!["tee".to_owned()]))));
        plan.hold(&request("h2", &[("tee", 5), ("tee", quantity)]), NOW).unwrap_err();
        assert!(plan.is_empty());
    }
}

#[test]
fn sums_that_overflow_are_refused() {
    let mut plan = ten_on_hand();
    plan.hold(&request("h1", &[("tee", i64::MAX), ("tee", i64::MAX)]), NOW).unwrap_err();
    let adjustment = |delta| Adjustment {
        id: "a1".to_owned(),
        sku: "tee".to_owned(),
        delta,
        reason: String::new(),
        reference: None,
    };
    let most = super::super::MOST_ON_HAND;
    let up = plan.adjust(&adjustment(i64::MAX), NOW);
    assert_eq!(up, Err(Refusal::ByStock(AdjustError::TooMany { most })));
    let down = plan.adjust(&adjustment(i64::MIN), NOW);
    assert_eq!(down, Err(Refusal::ByStock(AdjustError::BelowHeld { held: 0 })));
}

#[test]
fn all_short_skus_are_named_and_nothing_is_held() {
    let mut plan = ten_on_hand();
    let refused = plan.hold(&request("h1", &[("unknown", 1), ("tee", 10), ("also", 2)]), NOW);
    let short = vec!["also".to_owned(), "unknown".to_owned()];
    assert_eq!(refused, Err(Refusal::ByStock(HoldError::OutOfStock(short))));
    assert!(plan.is_empty());
}

#[test]
fn commands_of_one_group_build_on_each_other_and_each_record_is_written_once() {
    let mut plan = ten_on_hand();
    plan.hold(&request("h1", &[("tee", 10)]), NOW).unwrap();
    plan.hold(&request("h2", &[("tee", 1)]), NOW).unwrap_err();
    let again = plan.hold(&request("h1", &[("tee", 10)]), NOW).unwrap();
    assert_eq!((again.hold.status, again.replayed), (HoldStatus::Held, true));
    plan.settle("h1", Settlement::Release, NOW).unwrap();
    plan.hold(&request("h2", &[("tee", 1)]), NOW).unwrap();
    let batch = plan.batch(Sharing::Alone);
    let mut written: Vec<_> = batch.writes.iter().map(|write| write.id().to_owned()).collect();
    written.sort();
    assert_eq!(written, ["h1", "h1:held:tee", "h1:released:tee", "h2", "h2:held:tee", "tee"]);
}

#[test]
fn a_sweep_that_looked_too_early_ends_nothing() {
    let mut plan = ten_on_hand();
    let ttl = Some(Duration::from_millis(1000));
    plan.hold(&HoldRequest { ttl, ..request("shopper", &[("tee", 1)]) }, NOW).unwrap();
    plan.hold(&request("order", &[("tee", 1)]), NOW).unwrap();
    let live = Err(Refusal::ByRecord(HoldError::WrongState(HoldStatus::Held)));
    assert_eq!(plan.settle("shopper", Settlement::Lapse, Timestamp::from_millis(1999)), live);
    let ended = plan.settle("shopper", Settlement::Lapse, Timestamp::from_millis(2000)).unwrap();
    assert_eq!(ended.status, HoldStatus::Released);
    assert_eq!(plan.settle("order", Settlement::Lapse, Timestamp::from_millis(i64::MAX)), live);
}
