//! Transactions: what a provider's tellings make of what is known. Pure.

mod changes;
mod random;

use std::collections::{BTreeMap, BTreeSet};

use super::super::postings::{Postings, Told, post};
use super::*;
use crate::accounts::{AccountType, Details, MergeRule, Transaction};
use crate::providers::BankTransaction;

const DAY: i64 = 86_400_000;

fn day(number: i64) -> Timestamp {
    Timestamp::from_millis(1_750_000_000_000 + number * DAY)
}

fn told(id: &str, on: i64, cents: i64, text: &str, pending: bool) -> BankTransaction {
    BankTransaction {
        id: id.to_owned(),
        at: day(on),
        amount: dollars(cents),
        description: text.to_owned(),
        pending,
        replaces: None,
        undated: false,
    }
}

fn account() -> Account {
    Account {
        id: "a1".to_owned(),
        user_id: "u1".to_owned(),
        connection_id: Some("c1".to_owned()),
        external_id: Some("x1".to_owned()),
        provider: "Bank".to_owned(),
        provider_name: "Checking".to_owned(),
        custom_name: None,
        hidden: false,
        balance: dollars(0),
        balance_as_of: day(0),
        last_updated: day(0),
        missing_since: None,
        command: None,
        details: Details::Checking { overdraft_protection: None, routing_number: None },
    }
}

fn whole_told(since: i64, now: i64) -> Told<'static> {
    Told {
        since: day(since),
        whole: true,
        whole_at: None,
        removed: None,
        provisional_since: None,
        now: day(now),
    }
}

/// A statement of what changed, in which these are gone.
fn changes<'a>(removed: &'a BTreeSet<&'a str>, now: i64) -> Told<'a> {
    Told { removed: Some(removed), ..whole_told(-365, now) }
}

/// An account's transactions, as the store would have them.
#[derive(Default)]
struct Kept {
    transactions: BTreeMap<String, Versioned<Transaction>>,
    made: usize,
}

impl Kept {
    /// A whole statement.
    fn told(&mut self, tellings: &[BankTransaction], since: i64, now: i64) -> Postings {
        self.told_of(tellings, whole_told(since, now))
    }

    fn told_of(&mut self, tellings: &[BankTransaction], when: Told<'_>) -> Postings {
        let known: Vec<_> = self.transactions.values().cloned().collect();
        let mut new_id = || {
            self.made += 1;
            format!("t{}", self.made)
        };
        let postings = post(&account(), &known, tellings, when, &mut new_id);
        for (transaction, version) in &postings.writes {
            let before = self.transactions.get(&transaction.id).map_or(0, |known| known.version);
            assert_eq!(before, *version);
            let kept = Versioned { value: transaction.clone(), version: version + 1 };
            self.transactions.insert(transaction.id.clone(), kept);
        }
        for gone in &postings.gone {
            assert!(self.transactions.remove(&gone.value.id).is_some());
        }
        postings
    }

    fn write(&mut self, id: &str, category: &str) {
        self.transactions.get_mut(id).unwrap().value.category = Some(category.to_owned());
    }

    /// The user takes the only one apart: what was merged into it is `apart` now.
    fn take_apart(&mut self, on: i64) -> Transaction {
        let (rest, apart) = self.only().clone().unmerged("apart".to_owned(), day(on)).unwrap();
        self.transactions.insert(rest.id.clone(), Versioned { value: rest, version: 3 });
        self.transactions.insert(apart.id.clone(), Versioned { value: apart.clone(), version: 1 });
        apart
    }

    fn only(&self) -> &Transaction {
        assert_eq!(self.transactions.len(), 1, "{:?}", self.transactions);
        &self.transactions.values().next().unwrap().value
    }
}

#[test]
fn the_kinds_are_those_of_the_sample() {
    assert_eq!(account().account_type(), AccountType::Checking);
    assert!(crate::accounts::TRANSACTIONS.mistakes().is_empty());
}

#[test]
fn what_is_told_again_is_written_once_and_changes_are_taken_over() {
    let mut kept = Kept::default();
    assert_eq!(kept.told(&[told("1", 0, -500, "Coffee", false)], -5, 1).added, 1);
    kept.write("t1", "food");
    let same = kept.told(&[told("1", 0, -500, "Coffee", false)], -5, 1);
    assert_eq!((same.writes.len(), same.gone.len()), (0, 0));
    let changed = kept.told(&[told("1", 0, -550, "Coffee and cake", false)], -5, 1);
    assert_eq!((changed.added, changed.modified), (0, 1));
    let only = kept.only();
    assert_eq!((only.amount, only.category.as_deref()), (dollars(-550), Some("food")));
}

#[test]
fn a_pending_one_that_the_bank_does_not_date_keeps_the_day_on_which_it_was_first_told_of() {
    let mut kept = Kept::default();
    let undated = |on| BankTransaction { undated: true, ..told("p1", on, -500, "Coffee", true) };
    kept.told(&[undated(0)], -5, 0);
    for now in [1, 2, 30] {
        assert_eq!(kept.told(&[undated(now)], now - 14, now), Postings::default());
    }
    assert_eq!(kept.only().date, day(0).day());
    // Once the bank says when, that counts; told both ways, it has said so.
    let dated = told("p1", -3, -500, "Coffee", true);
    for both in [[undated(31), dated.clone()], [dated, undated(31)]] {
        kept.told(&both, 17, 31);
        assert_eq!(kept.only().date, day(-3).day());
    }
    kept.told(&[told("p1", 32, -500, "Coffee", false)], 18, 32);
    assert_eq!((kept.only().date.clone(), kept.only().pending), (day(32).day(), false));
}

#[test]
fn a_pending_one_that_is_booked_under_another_id_stays_the_same_transaction() {
    let mut kept = Kept::default();
    kept.told(&[told("p1", 0, -500, "COFFEE*123", true)], -5, 0);
    kept.write("t1", "food");
    let booked = kept.told(&[told("b9", 3, -500, "Coffee Shop", false)], -5, 3);
    assert_eq!((booked.added, booked.modified, booked.gone.len()), (0, 1, 0));
    let only = kept.only();
    assert_eq!((only.id.as_str(), only.external_id.as_deref()), ("t1", Some("b9")));
    assert_eq!((only.pending, only.category.as_deref()), (false, Some("food")));
    let from = &only.merged_from[0];
    assert_eq!((from.external_id.as_str(), from.rule), ("p1", MergeRule::PendingPosted));
    // The bank still tells of the pending one for a while.
    let both = [told("p1", 0, -500, "COFFEE*123", true), told("b9", 3, -500, "Coffee Shop", false)];
    assert_eq!(kept.told(&both, -5, 3), Postings::default());
}

#[test]
fn another_payment_under_the_id_of_a_pending_one_that_was_booked_is_a_transaction_of_its_own() {
    let mut kept = Kept::default();
    let booked = told("b1", 1, -500, "Coffee", false);
    kept.told(&[told("p1", 0, -500, "COFFEE*1", true)], -5, 0);
    kept.told(std::slice::from_ref(&booked), -5, 1);
    // The bank still tells of it, in other words or booked in the same ones.
    for still in [told("p1", 0, -500, "COFFEE 1", true), told("p1", 1, -500, "COFFEE*1", false)] {
        assert_eq!(kept.told(&[booked.clone(), still], -5, 1), Postings::default());
    }
    let other = kept.told(&[booked.clone(), told("p1", 2, -7700, "Shop", true)], -5, 2);
    assert_eq!((other.added, other.modified, other.gone.len()), (1, 0, 0));
    let other = kept.told(&[booked.clone(), told("p1", 3, -7700, "Shop", false)], -5, 3);
    assert_eq!((other.added, other.modified, kept.transactions.len()), (0, 1, 2));
}

#[test]
fn another_payment_of_the_same_amount_under_a_former_id_is_told_by_its_words_once_it_is_booked() {
    let mut kept = Kept::default();
    let booked = told("b1", 1, -500, "Coffee", false);
    kept.told(&[told("p1", 0, -500, "COFFEE*1", true)], -5, 0);
    kept.told(std::slice::from_ref(&booked), -5, 1);
    let other = kept.told(&[booked, told("p1", 3, -500, "Shop", false)], -5, 3);
    assert_eq!((other.added, kept.transactions.len()), (1, 2));
}

/// A statement that is not whole.
fn half_told(since: i64, now: i64) -> Told<'static> {
    Told { whole: false, ..whole_told(since, now) }
}

#[test]
fn what_a_half_statement_brought_is_the_pending_one_that_the_next_whole_one_misses() {
    let mut kept = Kept::default();
    let booked = [told("b1", 9, -500, "Coffee Shop", false)];
    kept.told(&[told("p1", 0, -500, "COFFEE*123", true)], -5, 0);
    kept.told_of(&booked, half_told(-5, 9));
    assert_eq!(kept.transactions.len(), 2);
    // The user writes on the one that was there first, after both have come.
    kept.write("t1", "food");
    kept.transactions.get_mut("t1").unwrap().value.updated_at = day(10);
    let when = Told { whole_at: Some(day(0)), ..whole_told(-5, 11) };
    let postings = kept.told_of(&booked, when);
    assert_eq!((postings.added, postings.modified, postings.gone.len()), (0, 1, 1));
    let only = kept.only();
    assert_eq!((only.id.as_str(), only.external_id.as_deref()), ("t1", Some("b1")));
    assert_eq!((only.pending, only.category.as_deref()), (false, Some("food")));
    assert_eq!(only.merged_from[0].rule, MergeRule::PendingPosted);
    assert_eq!(kept.told_of(&booked, when), Postings::default());
}

#[test]
fn what_was_known_before_or_has_words_or_was_merged_is_not_the_pending_one_that_is_missing() {
    let booked = [told("b1", 1, -500, "Coffee", false)];
    let pending = [told("p1", 0, -500, "Coffee", true)];
    let both = [pending[0].clone(), booked[0].clone()];
    for case in 0..3 {
        let mut kept = Kept::default();
        match case {
            // Both were told of by a whole statement.
            0 => drop(kept.told(&both, -5, 1)),
            1 => {
                kept.told(&pending, -5, 0);
                kept.told_of(&booked, half_told(-5, 1));
                kept.write("t2", "the user's");
            }
            _ => {
                kept.told(&[told("p0", 0, -500, "Coffee", true)], -5, 0);
                kept.told(&booked, -5, 1);
                kept.told_of(&pending, half_told(-5, 1));
            }
        }
        let pending = kept.transactions.values().find(|t| t.value.pending).unwrap().value.id.clone();
        kept.write(&pending, "food");
        let when = Told { whole_at: Some(day(if case == 0 { 1 } else { 0 })), ..whole_told(-5, 2) };
        let postings = kept.told_of(&booked, when);
        assert_eq!((postings.added, postings.modified, kept.transactions.len()), (0, 0, 2), "{case}");
    }
}

#[test]
fn what_is_new_is_the_pending_one_rather_than_what_came_before() {
    let mut kept = Kept::default();
    kept.told(&[told("p1", 0, -500, "Coffee", true)], -5, 0);
    kept.told_of(&[told("b1", 1, -500, "Coffee", false)], half_told(-5, 1));
    kept.told(&[told("b1", 1, -500, "Coffee", false), told("b2", 1, -500, "Coffee", false)], -5, 2);
    assert_eq!(kept.transactions["t1"].value.external_id.as_deref(), Some("b2"));
    assert_eq!(kept.transactions["t2"].value.external_id.as_deref(), Some("b1"));
}

#[test]
fn a_pending_one_that_is_booked_with_a_tip_stays_the_same_transaction_and_can_be_taken_apart() {
    let mut kept = Kept::default();
    kept.told(&[told("p1", 0, -1000, "TST* Joe's Bar", true)], -5, 0);
    kept.write("t1", "food");
    let booked = [told("b1", 2, -1300, "JOES BAR", false)];
    let postings = kept.told(&booked, -5, 2);
    assert_eq!((postings.added, postings.modified, postings.gone.len()), (0, 1, 0));
    let only = kept.only();
    assert_eq!((only.id.as_str(), only.pending, only.category.as_deref()), ("t1", false, Some("food")));
    assert_eq!((only.amount, only.merged_from[0].rule), (dollars(-1300), MergeRule::TipAdded));
    assert_eq!(kept.take_apart(2).amount, dollars(-1000));
    kept.told(&booked, -5, 3);
    assert_eq!(kept.transactions.len(), 2);
}

#[test]
fn a_tip_that_a_half_statement_brought_is_found_by_the_next_whole_one() {
    let mut kept = Kept::default();
    kept.told(&[told("p1", 0, -1000, "Cafe", true)], -5, 0);
    kept.write("t1", "food");
    let booked = [told("b1", 1, -1200, "Cafe", false)];
    kept.told_of(&booked, half_told(-5, 1));
    let postings = kept.told_of(&booked, Told { whole_at: Some(day(0)), ..whole_told(-5, 2) });
    assert_eq!((postings.modified, postings.gone.len()), (1, 1));
    assert_eq!((kept.only().id.as_str(), kept.only().amount), ("t1", dollars(-1200)));
}

#[test]
fn what_is_too_much_too_late_of_another_name_or_not_the_only_choice_is_no_tip() {
    let booked = |on, cents, text| told("b1", on, cents, text, false);
    let second = |cents| told("b2", 1, cents, "Cafe", false);
    for (tellings, expected) in [
        (vec![booked(1, -1301, "Cafe")], 2),
        (vec![booked(1, -999, "Cafe")], 2),
        (vec![booked(1, 1100, "Cafe")], 2),
        (vec![booked(6, -1100, "Cafe")], 2),
        (vec![booked(1, -1100, "Fuel")], 2),
        (vec![booked(1, -1100, "")], 2),
        (vec![booked(1, -1100, "Ca")], 2),
        (vec![booked(1, -1100, "Cafe"), second(-1200)], 3),
        // An exact one has the first choice.
        (vec![booked(1, -1100, "Cafe"), second(-1000)], 2),
        (vec![booked(5, -1100, "Cafe")], 1),
    ] {
        let mut kept = Kept::default();
        kept.told(&[told("p1", 0, -1000, "Cafe", true)], -5, 0);
        kept.write("t1", "food");
        kept.told(&tellings, -5, 6);
        assert_eq!(kept.transactions.len(), expected, "{tellings:?}");
    }
    // Two pending ones for one booking.
    let mut kept = Kept::default();
    kept.told(&[told("p1", 0, -1000, "Cafe", true), told("p2", 0, -1050, "Cafe", true)], -5, 0);
    kept.write("t1", "food");
    kept.write("t2", "food");
    kept.told(&[booked(1, -1100, "Cafe")], -5, 1);
    assert_eq!(kept.transactions.len(), 3);
}

#[test]
fn what_is_taken_apart_has_the_amount_that_it_was_told_with() {
    let mut kept = Kept::default();
    kept.told(&[told("p1", 0, -1000, "Cafe", true)], -5, 0);
    kept.told(&[told("b1", 1, -1000, "CAFE INC", false)], -5, 1);
    kept.told(&[told("b1", 1, -1200, "CAFE INC", false)], -5, 2);
    let (rest, apart) = kept.only().clone().unmerged("apart".to_owned(), day(2)).unwrap();
    assert_eq!((rest.amount, apart.amount), (dollars(-1200), dollars(-1000)));
}

#[test]
fn of_two_pending_ones_of_one_amount_each_is_booked_once() {
    let mut kept = Kept::default();
    kept.told(&[told("p1", 0, -500, "Coffee", true), told("p2", 1, -500, "Tea", true)], -5, 1);
    kept.told(&[told("b2", 2, -500, "Tea", false), told("b1", 2, -500, "Coffee", false)], -5, 2);
    let texts: Vec<_> = kept
        .transactions
        .values()
        .map(|t| (t.value.merged_from[0].description.clone(), t.value.description.clone()))
        .collect();
    assert_eq!(texts.len(), 2);
    for (before, after) in texts {
        assert_eq!(before, after);
    }
}

#[test]
fn other_amounts_later_bookings_and_what_is_still_told_are_not_merged() {
    for (telling, expected) in [
        (told("b1", 2, -499, "Coffee", false), 2),
        (told("b1", 11, -500, "Coffee", false), 2),
        (told("b1", -2, -500, "Coffee", false), 2),
        (told("b1", 10, -500, "Coffee", false), 1),
        (told("b1", -1, -500, "Coffee", false), 1),
    ] {
        let mut kept = Kept::default();
        kept.told(&[told("p1", 0, -500, "Coffee", true)], -5, 0);
        kept.write("t1", "food");
        kept.told(std::slice::from_ref(&telling), -5, 10);
        assert_eq!(kept.transactions.len(), expected, "{telling:?}");
    }
}

#[test]
fn a_pending_one_that_vanishes_goes_unless_the_user_wrote_on_it_and_then_in_time() {
    let mut kept = Kept::default();
    kept.told(&[told("p1", 0, -500, "Hotel", true), told("p2", 0, -700, "Fuel", true)], -5, 0);
    kept.write("t2", "car");
    assert_eq!(kept.told(&[], -5, 1).gone.len(), 1);
    assert_eq!(kept.only().description, "Fuel");
    kept.told(&[], -5, 10);
    assert_eq!(kept.transactions.len(), 1);
    kept.told(&[], -5, 11);
    assert_eq!(kept.transactions.len(), 0);
}

#[test]
fn a_statement_that_is_not_whole_and_one_that_begins_later_remove_nothing() {
    let mut kept = Kept::default();
    kept.told(&[told("p1", 0, -500, "Hotel", true)], -5, 0);
    let known: Vec<_> = kept.transactions.values().cloned().collect();
    let cut = Told { whole: false, ..whole_told(-5, 1) };
    assert_eq!(post(&account(), &known, &[], cut, &mut String::new), Postings::default());
    assert_eq!(kept.told(&[], 1, 2).gone.len(), 0);
}

#[test]
fn one_that_is_pending_for_longer_than_is_asked_for_goes_or_is_what_was_booked() {
    let pending = [told("p1", -16, -500, "Hotel", true)];
    let mut kept = Kept::default();
    kept.told(&pending, -365, 0);
    assert_eq!(kept.told(&[], -14, 0).gone.len(), 1);
    let mut kept = Kept::default();
    kept.told(&pending, -365, 0);
    kept.write("t1", "trip");
    kept.told(&[told("b1", -10, -500, "Hotel", false)], -14, 0);
    assert_eq!((kept.only().pending, kept.only().category.as_deref()), (false, Some("trip")));
    // What is still told of stays, however old.
    let mut kept = Kept::default();
    kept.told(&pending, -365, 0);
    assert_eq!(kept.told(&pending, -14, 0), Postings::default());
}

#[test]
fn a_pending_one_of_the_day_on_which_the_time_told_of_begins_stays() {
    let mut kept = Kept::default();
    kept.told(&[told("p1", -14, -500, "Hotel", true), told("p2", -14, -700, "Fuel", true)], -365, 0);
    kept.write("t1", "trip");
    assert_eq!(kept.told(&[], -14, 0), Postings::default());
    assert_eq!(kept.told(&[], -13, 1).gone.len(), 2);
}

#[test]
fn of_two_tellings_under_one_id_the_same_one_counts_in_any_order() {
    let mut tellings = [
        told("1", 0, -900, "Rent", true),
        told("1", 0, -500, "Coffee", false),
        told("1", 0, -700, "Coffee", false),
        told("1", 0, -500, "Tea", false),
    ];
    let mut kept = Kept::default();
    for _ in 0..tellings.len() {
        tellings.rotate_left(1);
        kept.told(&tellings, -5, 1);
        let only = kept.only();
        assert_eq!((only.amount, only.description.as_str()), (dollars(-500), "Tea"));
    }
}

#[test]
fn booked_ones_are_never_removed() {
    let mut kept = Kept::default();
    kept.told(&[told("1", 0, -500, "Rent", false)], -5, 0);
    assert_eq!(kept.told(&[], -5, 1), Postings::default());
}

#[test]
fn after_a_new_link_the_same_transactions_under_new_ids_are_the_same() {
    let mut kept = Kept::default();
    let days = [
        told("o1", 0, -500, "Rent", false),
        told("o2", 0, -300, "Coffee", false),
        told("o3", 0, -300, "Coffee", false),
    ];
    kept.told(&days, -5, 1);
    let again = [
        told("n1", 0, -500, "Rent", false),
        told("n2", 0, -300, "Coffee", false),
        told("n3", 0, -300, "Coffee", false),
    ];
    let relinked = kept.told(&again, -5, 1);
    assert_eq!((relinked.added, relinked.modified, kept.transactions.len()), (0, 3, 3));
    assert_eq!(kept.told(&again, -5, 1), Postings::default());
}

#[test]
fn what_the_user_took_apart_stays_apart() {
    let mut kept = Kept::default();
    kept.told(&[told("p1", 0, -500, "Coffee", true)], -5, 0);
    kept.told(&[told("b1", 1, -500, "Other coffee", false)], -5, 1);
    let apart = kept.take_apart(1);
    assert_eq!(
        (apart.external_id.as_deref(), apart.pending, apart.date.as_str()),
        (Some("p1"), true, day(0).day().as_str())
    );
    for _ in 0..2 {
        assert_eq!(kept.told(&[told("b1", 1, -500, "Other coffee", false)], -5, 2), Postings::default());
        assert_eq!(kept.transactions.len(), 2);
    }
}

#[test]
fn a_pending_one_that_the_user_took_apart_goes_some_days_later_if_it_is_not_told_again() {
    let nothing = BTreeSet::new();
    let booked = [told("b1", 1, -500, "Other coffee", false)];
    for when in [whole_told(-5, 1), changes(&nothing, 1)] {
        let mut kept = Kept::default();
        kept.told(&[told("p1", 0, -500, "Coffee", true)], -5, 0);
        kept.told(&booked, -5, 1);
        kept.take_apart(9);
        assert_eq!(kept.told_of(&booked, Told { now: day(19), ..when }), Postings::default());
        assert_eq!(kept.told_of(&booked, Told { now: day(20), ..when }).gone.len(), 1);
        assert_eq!(kept.only().external_id.as_deref(), Some("b1"));
    }
}

#[test]
fn a_pending_one_that_the_user_took_apart_stays_while_it_is_told_of() {
    let mut kept = Kept::default();
    let both = [told("p1", 0, -500, "Coffee", true), told("b1", 1, -500, "Other coffee", false)];
    kept.told(&both[..1], -5, 0);
    kept.told(&both[1..], -5, 1);
    kept.take_apart(1);
    kept.told(&both, -5, 2);
    assert_eq!(kept.told(&both, -5, 30), Postings::default());
    assert_eq!(kept.transactions["apart"].value.withdrawn_at, None);
}
