//! Statements of what changed.

use super::*;

#[test]
fn of_changes_what_is_not_named_stays_and_what_is_said_to_be_gone_goes() {
    let mut kept = Kept::default();
    let (nothing, gone) = (BTreeSet::new(), BTreeSet::from(["2"]));
    let first =
        [told("1", 0, -500, "Coffee", false), told("2", 0, -600, "Cake", false), told("3", 0, -7, "X", true)];
    kept.told_of(&first, changes(&nothing, 1));
    let postings = kept.told_of(&[told("4", 1, -500, "Coffee", false)], changes(&gone, 2));
    assert_eq!((postings.added, postings.modified, postings.gone.len()), (1, 0, 1));
    let left: Vec<_> = kept.transactions.values().filter_map(|t| t.value.external_id.clone()).collect();
    assert_eq!(left, ["1", "3", "4"], "a like one under another id is another one");
}

#[test]
fn of_changes_the_pending_one_that_the_provider_names_is_booked_also_with_another_amount() {
    let mut kept = Kept::default();
    let (nothing, gone) = (BTreeSet::new(), BTreeSet::from(["p1"]));
    kept.told_of(&[told("p1", 0, -500, "COFFEE*1", true)], changes(&nothing, 0));
    kept.write("t1", "food");
    let booked = BankTransaction { replaces: Some("p1".to_owned()), ..told("b1", 20, -575, "Coffee", false) };
    for postings in [1, 0] {
        let now = kept.told_of(std::slice::from_ref(&booked), changes(&gone, 20));
        assert_eq!((now.added, now.modified, now.gone.len()), (0, postings, 0));
    }
    let only = kept.only().clone();
    assert_eq!((only.amount, only.pending, only.category.as_deref()), (dollars(-575), false, Some("food")));
    assert_eq!(only.merged_from[0].rule, MergeRule::NamedByProvider);
    // And the user can part them: with the amount that it had.
    let (_, apart) = only.unmerged("apart".to_owned(), day(21)).unwrap();
    assert_eq!((apart.amount, apart.external_id.as_deref()), (dollars(-500), Some("p1")));
}

/// An account with a pending one that the user wrote on and the provider withdrew, and one that it
/// withdrew that the user did not write on.
fn withdrawn(on: i64) -> Kept {
    let mut kept = Kept::default();
    let (nothing, gone) = (BTreeSet::new(), BTreeSet::from(["p1", "p2"]));
    let pending = [told("p1", 0, -500, "COFFEE*1", true), told("p2", 0, -700, "Fuel", true)];
    kept.told_of(&pending, changes(&nothing, 0));
    kept.write("t1", "food");
    let postings = kept.told_of(&[], changes(&gone, on));
    assert_eq!((postings.modified, postings.gone.len()), (0, 1));
    kept
}

#[test]
fn of_changes_what_the_user_wrote_on_a_pending_one_waits_for_what_it_is_booked_as() {
    let nothing = BTreeSet::new();
    let named = BankTransaction { replaces: Some("p1".to_owned()), ..told("b1", 12, -575, "Coffee", false) };
    for (booked, withdrawn_on) in [(named, 12), (told("b1", 2, -500, "Coffee", false), 2)] {
        let mut kept = withdrawn(withdrawn_on);
        let postings = kept.told_of(&[booked], changes(&nothing, withdrawn_on + 1));
        assert_eq!((postings.added, postings.modified, postings.gone.len()), (0, 1, 0));
        let only = kept.only();
        assert_eq!((only.pending, only.category.as_deref(), only.withdrawn_at), (false, Some("food"), None));
    }
}

#[test]
fn of_changes_a_pending_one_that_was_withdrawn_goes_in_time_unless_it_is_told_again() {
    let nothing = BTreeSet::new();
    let mut kept = withdrawn(3);
    assert_eq!(kept.told_of(&[], changes(&nothing, 13)), Postings::default());
    assert_eq!(kept.told_of(&[], changes(&nothing, 14)).gone.len(), 1);
    assert!(kept.transactions.is_empty());
    let mut kept = withdrawn(3);
    kept.told_of(&[told("p1", 0, -500, "COFFEE*1", true)], changes(&nothing, 4));
    assert_eq!(kept.told_of(&[], changes(&nothing, 30)), Postings::default());
    assert_eq!(kept.only().category.as_deref(), Some("food"));
}

#[test]
fn what_the_user_took_apart_is_not_booked_as_what_the_provider_names() {
    let mut kept = Kept::default();
    let nothing = BTreeSet::new();
    let booked =
        |id| BankTransaction { replaces: Some("p1".to_owned()), ..told(id, 1, -500, "Coffee", false) };
    kept.told_of(&[told("p1", 0, -500, "COFFEE*1", true)], changes(&nothing, 0));
    kept.told_of(&[booked("b1")], changes(&nothing, 1));
    let apart = kept.take_apart(1);
    let told = kept.told_of(&[booked("b1"), booked("b2")], changes(&nothing, 2));
    assert_eq!((told.added, told.modified), (1, 0));
    assert_eq!(kept.transactions["apart"].value, apart);
}

#[test]
fn of_changes_a_pending_one_that_goes_as_a_like_one_is_booked_is_the_same() {
    let mut kept = Kept::default();
    let (nothing, gone) = (BTreeSet::new(), BTreeSet::from(["p1"]));
    kept.told_of(&[told("p1", 0, -500, "COFFEE*1", true)], changes(&nothing, 0));
    kept.told_of(&[told("b1", 2, -500, "Coffee", false)], changes(&gone, 2));
    assert_eq!(kept.only().merged_from[0].rule, MergeRule::PendingPosted);
}

#[test]
fn what_came_from_a_walk_that_was_cut_off_goes_if_the_whole_list_does_not_tell_of_it() {
    let mut kept = Kept::default();
    let nothing = BTreeSet::new();
    kept.told_of(&[told("1", 0, -500, "Coffee", false)], changes(&nothing, 1));
    kept.told_of(&[told("2", 0, -600, "Cake", false)], changes(&nothing, 5));
    let all = Told { provisional_since: Some(day(5)), ..whole_told(-20_000, 6) };
    let postings = kept.told_of(&[], all);
    assert_eq!(postings.gone.len(), 1);
    assert_eq!(kept.only().external_id.as_deref(), Some("1"), "what was there before stays");
}
