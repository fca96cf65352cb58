//! What a statement changes of an account's transactions. Pure.
//!
//! A transaction is recognised by the provider's id. One that comes under an id that is not known is
//! taken for one that is if the provider says which, or else by two rules: a pending one that is no
//! longer told of and one of the same amount that was booked within some days are the same; so are two
//! of the same day, amount and description of which the statement tells only one. Where neither finds
//! anything, a pending one is the same as one of like description that was booked soon for somewhat
//! more, a tip, if that leaves no choice. All these rules need a statement that is whole: what a half
//! one does not tell of may well be there, and nothing must go missing. So what a half one brought as
//! new is looked at again by the next whole one. What was merged with what, and why, stays with the
//! transaction, and the user can part them again.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::telling::{BOOKED_WITHIN, OVERLAP, Telling, days};
use crate::accounts::{Account, MergeRule, MergedFrom, Transaction};
use crate::providers::BankTransaction;
use crate::store::Versioned;
use crate::time::Timestamp;

/// Pending ones of one account among which tips are looked for; if more are missing, that says nothing.
const MOST_TIPPED: usize = 50;

/// What a statement changes of one account's transactions.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Postings {
    /// To write, each with the version it is based on; 0 for new ones.
    pub(super) writes: Vec<(Transaction, u64)>,
    /// Those that are there no more: pending ones that the provider no longer tells of, what it says
    /// is gone, and those that one of the writes takes over with their ids.
    pub(super) gone: Vec<Versioned<Transaction>>,
    pub(super) added: u32,
    pub(super) modified: u32,
}

/// What a statement says by not telling of a transaction.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told<'a> {
    /// Its begin.
    pub(super) since: Timestamp,
    /// It was not cut short: what it does not tell of is not there.
    pub(super) whole: bool,
    /// When the last one before it was told that was whole; what came since was compared with nothing
    /// that was missing.
    pub(super) whole_at: Option<Timestamp>,
    /// It tells only what changed: these are gone, and of others it says nothing.
    pub(super) removed: Option<&'a BTreeSet<&'a str>>,
    /// What was taken over since then came from a statement that nobody vouches for: untold, it goes.
    pub(super) provisional_since: Option<Timestamp>,
    /// The present.
    pub(super) now: Timestamp,
}

impl Told<'_> {
    /// The first day on which one that is still pending can have been made.
    fn oldest(&self) -> String {
        self.now.minus(OVERLAP).day()
    }
}

/// Takes over what a provider tells of an account's transactions. `known` are those of the account
/// that lie in the time told of, and some days before it.
pub(super) fn post(
    account: &Account,
    known: &[Versioned<Transaction>],
    told: &[BankTransaction],
    when: Told<'_>,
    new_id: &mut dyn FnMut() -> String,
) -> Postings {
    let told = distinct(told);
    let mut book = Book::open(known, &told, when);
    let mut postings = Postings::default();
    let (mut again, mut rest) = (Vec::new(), Vec::new());
    for (external_id, telling) in &told {
        let named = telling.replaces.as_deref().filter(|id| !told.contains_key(id));
        let telling = Telling::of(telling);
        if book.is_merged(external_id, &telling) {
            continue;
        }
        if let Some(before) = book.by_external.get(external_id).copied() {
            again.push((before, telling));
        } else if let Some(before) = named.and_then(|id| book.take_named(id)) {
            postings.merge(before, telling, MergeRule::NamedByProvider, external_id, when.now);
        } else if let Some((before, rule)) = book.take_same(&telling) {
            postings.merge(before, telling, rule, external_id, when.now);
        } else {
            rest.push(Rest { external_id, before: None, telling });
        }
    }
    // What is new has the first choice.
    for (before, telling) in again {
        match book.take_former(before, &telling, when) {
            Some((pending, rule)) => postings.unite(pending, before, telling, rule, when.now),
            None => {
                let external_id = before.value.external_id.as_deref().unwrap_or_default();
                rest.push(Rest { external_id, before: Some(before), telling });
            }
        }
    }
    let mut tipped = book.take_tipped(&rest, when);
    for (place, Rest { external_id, before, telling }) in rest.into_iter().enumerate() {
        let rule = MergeRule::TipAdded;
        match (tipped.remove(&place), before) {
            (Some(pending), Some(before)) => postings.unite(pending, before, telling, rule, when.now),
            (Some(pending), None) => postings.merge(pending, telling, rule, external_id, when.now),
            (None, Some(before)) => postings.update(before, telling, when.now),
            (None, None) => {
                postings.added += 1;
                postings.writes.push((telling.into_new(account, external_id, new_id(), when.now), 0));
            }
        }
    }
    for known in book.left().chain(book.apart.iter().copied()) {
        match Fate::of(&known.value, when) {
            Fate::Stays => {}
            Fate::Waits => postings.withdraw(known, when.now),
            Fate::Goes => postings.gone.push(known.clone()),
        }
    }
    postings
}

/// What is told, if by the first rules it is nothing that is missing.
struct Rest<'a> {
    external_id: &'a str,
    /// What is known under this id.
    before: Option<&'a Versioned<Transaction>>,
    telling: Telling,
}

/// By id. Pages that overlap tell of some twice: a booked one counts more than a pending one, then one
/// that is dated, then the later one, then the one of the larger amount, so that in any order the same one
/// counts.
fn distinct(told: &[BankTransaction]) -> BTreeMap<&str, &BankTransaction> {
    let mut distinct: BTreeMap<&str, &BankTransaction> = BTreeMap::new();
    for telling in told {
        let place = distinct.entry(telling.id.as_str()).or_insert(telling);
        if weight(telling) > weight(place) {
            *place = telling;
        }
    }
    distinct
}

/// What tells which of two tellings counts.
fn weight(telling: &BankTransaction) -> (Reverse<bool>, Reverse<bool>, Timestamp, i64, &str) {
    let BankTransaction { pending, undated, at, amount, description, .. } = telling;
    (Reverse(*pending), Reverse(*undated), *at, amount.minor, description.as_str())
}

/// What is known of the account, by the ways in which it is looked up.
struct Book<'a> {
    by_external: HashMap<&'a str, &'a Versioned<Transaction>>,
    /// Tellings that were merged into others, by their ids, each with what it was merged into.
    former: HashMap<&'a str, Vec<(&'a MergedFrom, &'a Transaction)>>,
    /// By amount: known, of the time told of or pending for too long, and yet not told of under their ids.
    untold: BTreeMap<i64, Vec<&'a Versioned<Transaction>>>,
    /// Likewise untold, but taken apart by the user: the same as nothing else.
    apart: Vec<&'a Versioned<Transaction>>,
    taken: BTreeSet<&'a str>,
}

impl<'a> Book<'a> {
    fn open(
        known: &'a [Versioned<Transaction>],
        told: &BTreeMap<&str, &BankTransaction>,
        when: Told<'_>,
    ) -> Self {
        let (since, oldest) = (when.since.day(), when.oldest());
        let mut book = Self {
            by_external: HashMap::new(),
            former: HashMap::new(),
            untold: BTreeMap::new(),
            apart: Vec::new(),
            taken: BTreeSet::new(),
        };
        for transaction in known {
            let Some(external_id) = transaction.value.external_id.as_deref() else { continue };
            book.by_external.insert(external_id, transaction);
            for from in &transaction.value.merged_from {
                book.former.entry(&from.external_id).or_default().push((from, &transaction.value));
            }
            let is_missing = match when.removed {
                Some(removed) => removed.contains(external_id),
                // One that is pending for so long is not asked for any more, and would stay for ever.
                None => {
                    let is_old = transaction.value.pending && transaction.value.date < oldest;
                    when.whole && (is_old || transaction.value.date >= since)
                }
            };
            let can_be_missed = when.whole || when.removed.is_some();
            let is_missing = is_missing || (can_be_missed && transaction.value.withdrawn_at.is_some());
            if !is_missing || told.contains_key(external_id) {
                continue;
            }
            if !transaction.value.kept_apart {
                book.untold.entry(transaction.value.amount.minor).or_default().push(transaction);
            } else if transaction.value.pending {
                book.apart.push(transaction);
            }
        }
        // What the user took apart is told under its own id again.
        book.former.retain(|id, _| !book.by_external.contains_key(id));
        book
    }

    /// Whether this tells once more of what was merged already. Under the same id something else may
    /// be told: banks use those of pending ones again.
    fn is_merged(&self, external_id: &str, telling: &Telling) -> bool {
        self.former.get(external_id).into_iter().flatten().any(|(from, into)| {
            let is_alike = from.description == telling.description || (from.pending && telling.pending);
            is_alike && from.amount.unwrap_or(into.amount) == telling.amount
        })
    }

    /// The known transaction that this telling is the same as, each at most once.
    fn take_same(&mut self, telling: &Telling) -> Option<(&'a Versioned<Transaction>, MergeRule)> {
        self.take_same_of(telling, |_| true)
    }

    /// The pending one that was booked as what is known by its own id already.
    fn take_former(
        &mut self,
        booked: &Versioned<Transaction>,
        telling: &Telling,
        when: Told<'_>,
    ) -> Option<(&'a Versioned<Transaction>, MergeRule)> {
        let booked = Some(&booked.value).filter(|booked| came_late(booked, when))?;
        self.take_same_of(telling, |known| known.pending && !telling.pending && is_older(known, booked))
    }

    /// The pending ones to which tips were added before they were booked as these, by their places in
    /// `rest`. Each must be the only choice of the other.
    fn take_tipped(
        &mut self,
        rest: &[Rest<'_>],
        when: Told<'_>,
    ) -> HashMap<usize, &'a Versioned<Transaction>> {
        let left: Vec<_> = self.left().filter(|known| known.value.pending).take(MOST_TIPPED + 1).collect();
        if left.len() > MOST_TIPPED {
            return HashMap::new();
        }
        let mut choices = vec![Vec::new(); left.len()];
        let booked = rest.iter().enumerate().filter(|(_, Rest { before, telling, .. })| {
            !telling.pending && before.is_none_or(|before| came_late(&before.value, when))
        });
        for (place, Rest { before, telling, .. }) in booked {
            let fits = |pending: &Transaction| {
                telling.has_tip(pending) && before.is_none_or(|before| is_older(pending, &before.value))
            };
            let likely: Vec<usize> = (0..left.len()).filter(|&n| fits(&left[n].value)).collect();
            for &n in &likely {
                choices[n].push((place, likely.len()));
            }
        }
        let mut tipped = HashMap::new();
        for (known, choices) in left.into_iter().zip(choices) {
            if let [(place, 1)] = choices[..] {
                self.taken.insert(known.value.id.as_str());
                tipped.insert(place, known);
            }
        }
        tipped
    }

    fn take_same_of(
        &mut self,
        telling: &Telling,
        fits: impl Fn(&Transaction) -> bool,
    ) -> Option<(&'a Versioned<Transaction>, MergeRule)> {
        let untold = self.untold.get(&telling.amount.minor)?;
        let free = untold.iter().copied().filter(|known| !self.taken.contains(known.value.id.as_str()));
        let same = free
            .filter(|known| known.value.amount == telling.amount && fits(&known.value))
            .filter_map(|known| Some((telling.likeness(&known.value)?, known)))
            .min_by(|(a, one), (b, other)| a.cmp(b).then_with(|| one.value.id.cmp(&other.value.id)));
        let ((rule, ..), known) = same?;
        self.taken.insert(known.value.id.as_str());
        Some((known, if rule == 0 { MergeRule::SameUnderAnotherId } else { MergeRule::PendingPosted }))
    }

    /// The pending one that the provider calls this.
    fn take_named(&mut self, external_id: &str) -> Option<&'a Versioned<Transaction>> {
        let known = *self.by_external.get(external_id)?;
        let free = known.value.pending && !known.value.kept_apart;
        (free && self.taken.insert(known.value.id.as_str())).then_some(known)
    }

    /// What is told of no more, and is the same as nothing that is.
    fn left(&self) -> impl Iterator<Item = &'a Versioned<Transaction>> + use<'_, 'a> {
        let untold = self.untold.values().flatten().copied();
        untold.filter(|known| !self.taken.contains(known.value.id.as_str()))
    }
}

/// What becomes of a transaction that is told of no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Stays,
    /// It is kept for some days: what is booked as it may come yet.
    Waits,
    Goes,
}

impl Fate {
    /// Pending ones go, and so does what is said to be gone. A pending one that the user wrote
    /// something on, or took apart, stays until it cannot be booked any more.
    fn of(known: &Transaction, when: Told<'_>) -> Self {
        let is_said = when.removed.is_some();
        let written = is_written(known);
        // Of its first day a statement may tell a part.
        if !is_said && known.pending && known.date == when.since.day() && known.date >= when.oldest() {
            return Self::Stays;
        }
        if known.pending && (written || known.kept_apart) {
            // Who says that one is gone may say later which one was booked as it. And what the user
            // has just taken apart is not to be gone at once.
            let withdrawn = known.withdrawn_at.unwrap_or(when.now).day();
            let from_then = is_said || known.kept_apart;
            let since = if from_then { withdrawn.max(known.date.clone()) } else { known.date.clone() };
            let too_late = days(&since, &when.now.day()).is_none_or(|days| days > BOOKED_WITHIN);
            return if too_late { Self::Goes } else { Self::Waits };
        }
        let doubtful = when.provisional_since.is_some_and(|since| known.updated_at >= since);
        if is_said || known.pending || (doubtful && !written) { Self::Goes } else { Self::Stays }
    }
}

/// Whether this booked one came in a statement that could not tell that a pending one was gone. One of
/// the two records goes if they are the same, so the user must not have written on this one.
fn came_late(booked: &Transaction, when: Told<'_>) -> bool {
    when.whole_at.is_none_or(|whole_at| booked.updated_at > whole_at)
        && !booked.pending
        && !booked.kept_apart
        && booked.merged_from.is_empty()
        && !is_written(booked)
}

/// Whether the pending one was there first. One that the user wrote on has changed since it came.
fn is_older(pending: &Transaction, booked: &Transaction) -> bool {
    booked.updated_at > pending.updated_at || is_written(pending)
}

/// Whether the user wrote something on it.
fn is_written(known: &Transaction) -> bool {
    known.category.is_some() || known.note.is_some()
}

impl Postings {
    fn update(&mut self, before: &Versioned<Transaction>, telling: Telling, now: Timestamp) {
        let Telling { date, amount, description, pending, undated } = telling;
        // It is no younger for being told of again.
        let date = if undated && before.value.pending { before.value.date.clone() } else { date };
        let told = Transaction { date, amount, description, pending, ..before.value.clone() };
        let new = Transaction { withdrawn_at: None, ..told };
        if new != before.value {
            self.modified += 1;
            self.writes.push((Transaction { updated_at: now, ..new }, before.version));
        }
    }

    fn merge(
        &mut self,
        before: &Versioned<Transaction>,
        telling: Telling,
        rule: MergeRule,
        external_id: &str,
        now: Timestamp,
    ) {
        let mut new = before.value.clone();
        let amount = std::mem::replace(&mut new.amount, telling.amount);
        new.merged_from.push(MergedFrom {
            external_id: new.external_id.replace(external_id.to_owned()).unwrap_or_default(),
            date: std::mem::replace(&mut new.date, telling.date),
            description: std::mem::replace(&mut new.description, telling.description),
            amount: Some(amount),
            pending: std::mem::replace(&mut new.pending, telling.pending),
            rule,
            at: now,
        });
        new.withdrawn_at = None;
        new.updated_at = now;
        self.modified += 1;
        self.writes.push((new, before.version));
    }

    /// Notes that it is told of no more. Nobody sees that, so it counts as no change.
    fn withdraw(&mut self, before: &Versioned<Transaction>, now: Timestamp) {
        if before.value.withdrawn_at.is_none() {
            self.writes
                .push((Transaction { withdrawn_at: Some(now), ..before.value.clone() }, before.version));
        }
    }

    /// Merges two that are known: the pending one stays, as it is older and the user may have written
    /// on it.
    fn unite(
        &mut self,
        pending: &Versioned<Transaction>,
        booked: &Versioned<Transaction>,
        telling: Telling,
        rule: MergeRule,
        now: Timestamp,
    ) {
        let external_id = booked.value.external_id.as_deref().unwrap_or_default();
        self.merge(pending, telling, rule, external_id, now);
        self.gone.push(booked.clone());
    }
}
