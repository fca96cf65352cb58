//! What a provider tells of a transaction, and how like it is to one that is known. Pure.
//!
//! Who calls it: `postings`, which decides by it. What never happens here: a choice among several.

use std::time::Duration;

use jiff::civil::Date;

use super::merge::is_shown;
use crate::accounts::{Account, Transaction};
use crate::money::Money;
use crate::providers::BankTransaction;
use crate::time::Timestamp;

/// By how much the periods of runs overlap: as long as a pending transaction may take to be booked,
/// and some days.
pub(super) const OVERLAP: Duration = Duration::from_secs(14 * 24 * 3600);
/// Days after which a pending transaction may be booked.
pub(super) const BOOKED_WITHIN: i32 = 10;
/// Days that a booking may be dated before the payment.
const BOOKED_BEFORE: i32 = 1;
/// Days after which one to which a tip was added may be booked.
const TIPPED_WITHIN: i32 = 5;
/// Percent that a tip may be of what was pending.
const MOST_TIP: u64 = 30;
/// Letters and digits that are enough to know a description by, if another one has them too.
const LEAST_ALIKE: usize = 3;
/// Characters that are kept of a description.
const MOST_CHARS: usize = 200;

/// What a provider tells, in the form in which it is kept.
pub(super) struct Telling {
    pub(super) date: String,
    pub(super) amount: Money,
    pub(super) description: String,
    pub(super) pending: bool,
    /// The date is only that of its being told.
    pub(super) undated: bool,
}

impl Telling {
    pub(super) fn of(told: &BankTransaction) -> Self {
        let description = told.description.chars().filter(is_shown).take(MOST_CHARS).collect();
        let BankTransaction { amount, pending, undated, .. } = *told;
        Self { date: told.at.day(), amount, description, pending, undated }
    }

    /// How alike a known transaction of the same amount is, the least first; `None` if it is another
    /// one. The first number says by which rule.
    pub(super) fn likeness(&self, known: &Transaction) -> Option<(u8, bool, u32)> {
        let apart = days(&known.date, &self.date)?;
        let same_text = known.description == self.description;
        if known.pending == self.pending {
            return (apart == 0 && same_text).then_some((0, false, 0));
        }
        let booked = known.pending && (-BOOKED_BEFORE..=BOOKED_WITHIN).contains(&apart);
        booked.then_some((1, !same_text, apart.unsigned_abs()))
    }

    /// Whether a pending one was booked as this with a tip.
    pub(super) fn has_tip(&self, known: &Transaction) -> bool {
        let (before, after) = (known.amount.minor.unsigned_abs(), self.amount.minor.unsigned_abs());
        let soon = |apart: i32| (-BOOKED_BEFORE..=TIPPED_WITHIN).contains(&apart);
        known.pending
            && !self.pending
            && known.amount.currency == self.amount.currency
            && known.amount.minor.signum() == self.amount.minor.signum()
            && after > before
            && after.saturating_mul(100) <= before.saturating_mul(100 + MOST_TIP)
            && days(&known.date, &self.date).is_some_and(soon)
            && are_alike(&known.description, &self.description)
    }

    pub(super) fn into_new(
        self,
        account: &Account,
        external_id: &str,
        id: String,
        now: Timestamp,
    ) -> Transaction {
        Transaction {
            id,
            user_id: account.user_id.clone(),
            account_id: account.id.clone(),
            external_id: Some(external_id.to_owned()),
            date: self.date,
            amount: self.amount,
            description: self.description,
            pending: self.pending,
            category: None,
            note: None,
            merged_from: Vec::new(),
            kept_apart: false,
            withdrawn_at: None,
            command: None,
            updated_at: now,
        }
    }
}

/// Whether two descriptions are the same, or one has all of the other, but for case, spaces and signs.
fn are_alike(one: &str, other: &str) -> bool {
    let (one, other) = (folded(one), folded(other));
    let (short, long) = if one.len() <= other.len() { (one, other) } else { (other, one) };
    !short.is_empty() && (short == long || (short.chars().count() >= LEAST_ALIKE && long.contains(&short)))
}

fn folded(text: &str) -> String {
    text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// Days from one day to another; `None` for what is no day.
pub(super) fn days(from: &str, to: &str) -> Option<i32> {
    let (from, to): (Date, Date) = (from.parse().ok()?, to.parse().ok()?);
    from.until(to).ok().map(|span| span.get_days())
}
