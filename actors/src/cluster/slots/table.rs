//! The slot table: who has which share of the long-lived work, and since which epoch. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::store::{Collection, Entity, Field, Kind};
use crate::time::Timestamp;

/// How many slots there are. Never changed while replicas run: it is part of every key's place.
pub const SLOTS: usize = 256;

/// Slot tables, one record a kind of work.
pub static SLOT_TABLES: Collection = Collection {
    name: "slots",
    fields: &[
        Field::required("id", Kind::Text),
        Field::required("slots", Kind::List),
        Field::required("movedAt", Kind::Time),
    ],
    indexes: &[],
    words: &[],
    expires: None,
};

/// The slot of a key, the same on every replica and in every version: the first byte of the key's
/// SHA-256.
pub fn slot_of(key: &str) -> usize {
    usize::from(Sha256::digest(key.as_bytes())[0])
}

/// One slot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slot {
    /// The incarnation of the replica that has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Rises each time the slot gets another owner, and never falls.
    pub epoch: u64,
}

/// All slots of one kind of work. One record, so that they move in one commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SlotTable {
    /// The kind of work.
    pub id: String,
    /// The slots, by number.
    pub slots: Vec<Slot>,
    /// When one last moved.
    pub moved_at: Timestamp,
}

impl Entity for SlotTable {
    fn collection() -> &'static Collection {
        &SLOT_TABLES
    }
    fn id(&self) -> &str {
        &self.id
    }
}

impl SlotTable {
    /// A table in which nobody has anything.
    pub fn empty(kind: &str, now: Timestamp) -> Self {
        Self { id: kind.to_owned(), slots: vec![Slot::default(); SLOTS], moved_at: now }
    }

    /// How many slots a replica has.
    pub fn share_of(&self, incarnation: &str) -> usize {
        self.slots.iter().filter(|slot| slot.owner.as_deref() == Some(incarnation)).count()
    }

    /// The slots of a replica, with their epochs.
    pub fn epochs_of(&self, incarnation: &str) -> BTreeMap<usize, u64> {
        let slots = self.slots.iter().enumerate();
        slots
            .filter(|(_, slot)| slot.owner.as_deref() == Some(incarnation))
            .map(|(number, slot)| (number, slot.epoch))
            .collect()
    }

    /// The same table, spread evenly over the replicas that live, or `None` if it is already.
    /// Shares differ by one at most, and as few slots move as that allows: those of replicas that
    /// are gone, and what some have too much.
    #[must_use]
    pub fn spread(&self, live: &BTreeSet<String>, now: Timestamp) -> Option<Self> {
        let mut quotas = self.quotas(live);
        let mut free = Vec::new();
        for (number, slot) in self.slots.iter().enumerate() {
            match slot.owner.as_ref().and_then(|owner| quotas.get_mut(owner)) {
                Some(left) if *left > 0 => *left -= 1,
                _ => free.push(number),
            }
        }
        if free.is_empty() || live.is_empty() {
            return None;
        }
        let mut takers = quotas.into_iter().filter(|(_, left)| *left > 0);
        let mut taker = takers.next();
        let mut spread = Self { moved_at: now, ..self.clone() };
        for number in free {
            let Some((owner, left)) = &mut taker else { break };
            spread.slots[number] =
                Slot { owner: Some(owner.clone()), epoch: self.slots[number].epoch.saturating_add(1) };
            *left -= 1;
            if *left == 0 {
                taker = takers.next();
            }
        }
        Some(spread)
    }

    /// How many slots each should have. What does not divide goes to those that have most already.
    fn quotas(&self, live: &BTreeSet<String>) -> BTreeMap<String, usize> {
        let mut by_share: Vec<&String> = live.iter().collect();
        by_share.sort_by_key(|id| std::cmp::Reverse(self.share_of(id)));
        let (each, over) = (SLOTS.checked_div(live.len()).unwrap_or(0), SLOTS.checked_rem(live.len()));
        let over = over.unwrap_or(0);
        let quota = |(place, id): (usize, &String)| (id.clone(), each + usize::from(place < over));
        by_share.into_iter().enumerate().map(quota).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::{btree_set, vec};
    use proptest::prelude::*;

    use super::*;

    fn now() -> Timestamp {
        Timestamp::from_millis(1)
    }

    fn set(ids: &[&str]) -> BTreeSet<String> {
        ids.iter().map(|id| (*id).to_owned()).collect()
    }

    #[test]
    fn the_declaration_holds_and_a_key_has_the_same_slot_for_ever() {
        assert!(SLOT_TABLES.mistakes().is_empty());
        // printf %s connection-1 | sha256sum
        assert_eq!(slot_of("connection-1"), usize::from(Sha256::digest(b"connection-1")[0]));
        assert_eq!((slot_of(""), slot_of("abc")), (0xe3, 0xba));
    }

    #[test]
    fn the_first_replica_gets_everything_and_a_second_one_half() {
        let alone = SlotTable::empty("sync", now()).spread(&set(&["a"]), now()).unwrap();
        assert_eq!(alone.share_of("a"), SLOTS);
        let both = alone.spread(&set(&["a", "b"]), now()).unwrap();
        assert_eq!((both.share_of("a"), both.share_of("b")), (128, 128));
        assert_eq!(both.spread(&set(&["a", "b"]), now()), None);
        let again = both.spread(&set(&["b"]), now()).unwrap();
        assert_eq!(again.share_of("b"), SLOTS);
    }

    #[test]
    fn nobody_lives_and_nothing_moves() {
        assert_eq!(SlotTable::empty("sync", now()).spread(&BTreeSet::new(), now()), None);
    }

    proptest! {
        #[test]
        fn shares_are_even_moves_are_few_and_epochs_rise_with_each_new_owner(
            histories in vec(btree_set("[a-g]", 1..7), 1..12),
        ) {
            let mut table = SlotTable::empty("sync", now());
            for live in histories {
                let before = table.clone();
                table = table.spread(&live, now()).unwrap_or(table);
                let shares: Vec<usize> = live.iter().map(|id| table.share_of(id)).collect();
                prop_assert_eq!(shares.iter().sum::<usize>(), SLOTS);
                prop_assert!(shares.iter().max().unwrap() - shares.iter().min().unwrap() <= 1);
                let mut moved = 0;
                for (old, new) in before.slots.iter().zip(&table.slots) {
                    prop_assert_eq!(new.epoch, old.epoch + u64::from(old.owner != new.owner));
                    moved += usize::from(old.owner != new.owner);
                }
                // Those of the gone, and what is above the quota.
                let orphaned = before.slots.iter().filter(|slot| {
                    slot.owner.as_ref().is_none_or(|owner| !live.contains(owner))
                }).count();
                let least = SLOTS / live.len();
                let surplus: usize = live.iter().map(|id| before.share_of(id).saturating_sub(least)).sum();
                prop_assert!(moved <= orphaned + surplus);
            }
        }
    }
}
