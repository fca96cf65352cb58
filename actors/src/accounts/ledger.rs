//! The ledger service: pages of transactions, and what a user does with them.

use std::sync::Arc;

use super::account::Account;
use super::details::ExactDecimal;
use super::errors::EditError;
use super::removal::sweep;
use super::transaction::{TRANSACTIONS, Transaction};
use crate::cluster::Clock;
use crate::ids;
use crate::money::Money;
use crate::store::{Batch, CommitError, Conflict, Cursor, Query, Store, StoreError, Versioned, find, load};

/// Characters that a category may have.
pub const MOST_CATEGORY_CHARS: usize = 60;
/// Characters that a note or a description may have.
pub const MOST_NOTE_CHARS: usize = 500;
/// Records that one page reads at most, to find those that its filters let through.
const MOST_READ: usize = 2000;
/// Records read at once.
const READ: usize = 200;
/// How often a change that meets another one is decided again.
const ATTEMPTS: usize = 5;

/// A page of transactions, newest first, and where the next one begins.
pub type TransactionPage = (Vec<Versioned<Transaction>>, Option<Cursor>);

/// Whose transactions, and which of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TransactionFilter {
    /// Only those of this account.
    pub account_id: Option<String>,
    /// Only those of this day or later, `YYYY-MM-DD`.
    pub from: Option<String>,
    /// Only those of this day or earlier, `YYYY-MM-DD`.
    pub to: Option<String>,
    /// Each of these words begins a word of the description.
    pub words: String,
    /// Only those of at least this amount, in the transaction's own currency.
    pub min_amount: Option<ExactDecimal>,
    /// Only those of at most this amount.
    pub max_amount: Option<ExactDecimal>,
    /// Only those that are pending, or only those that are not.
    pub pending: Option<bool>,
}

/// What a user changes of a transaction; `None` leaves it, `Some(None)` clears it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TransactionEdit {
    /// 1 to [`MOST_CATEGORY_CHARS`] characters.
    pub category: Option<Option<String>>,
    /// 1 to [`MOST_NOTE_CHARS`] characters.
    pub note: Option<Option<String>>,
}

/// A transaction that a user writes down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTransaction {
    /// Its id, chosen by who asks: the same id again is the same transaction.
    pub id: String,
    /// A digest of what the command says, if its id can come again with other words.
    pub command: Option<String>,
    /// The day, `YYYY-MM-DD`.
    pub date: String,
    /// In the account's currency; negative leaves the holder.
    pub amount: Money,
    /// What it was.
    pub description: String,
    /// Not booked yet.
    pub pending: bool,
    /// The user's word for its kind.
    pub category: Option<String>,
    /// A note.
    pub note: Option<String>,
}

/// A transaction that a command wrote down, now or when it first came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// The transaction as it is now.
    pub transaction: Versioned<Transaction>,
    /// The command had come before.
    pub replayed: bool,
}

/// Reads and edits transactions. Cheap to clone.
#[derive(Clone)]
pub struct Ledger {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
}

impl TransactionFilter {
    fn lets_through(&self, transaction: &Transaction) -> bool {
        let amount = ExactDecimal::of(transaction.amount);
        self.min_amount.is_none_or(|least| amount >= least)
            && self.max_amount.is_none_or(|most| amount <= most)
            && self.pending.is_none_or(|pending| transaction.pending == pending)
    }

    fn query(&self, user_id: &str) -> Query {
        let query = match &self.account_id {
            Some(account_id) => Query::by(&TRANSACTIONS, "account").equal(account_id.as_str()),
            None => Query::by(&TRANSACTIONS, "user").equal(user_id),
        };
        // Days sort as text, and "~" is behind every day's last character.
        let until = self.to.as_ref().map(|day| format!("{day}~").into());
        let from = self.from.as_ref().map(|day| day.as_str().into());
        let bounded = if from.is_some() || until.is_some() { query.range(from, until) } else { query };
        bounded.words(&self.words).descending()
    }
}

impl Ledger {
    /// A service over this store.
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Self {
        Self { store, clock }
    }

    /// A page of a user's transactions, newest first, at most `limit` (1 to 1,000), behind `after`.
    /// A page may have fewer although there are more: then there is a cursor. A cursor is good for
    /// the same user and filter only.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn page(
        &self,
        user_id: &str,
        filter: &TransactionFilter,
        limit: usize,
        after: Option<Cursor>,
    ) -> Result<TransactionPage, StoreError> {
        let (mut page, mut after, mut read) = (Vec::new(), after, 0);
        loop {
            let query = filter.query(user_id).limit(READ).after(after);
            let (found, next) = find::<Transaction>(self.store.as_ref(), query.clone()).await?;
            read += found.len();
            let last = found.len();
            for (place, transaction) in found.into_iter().enumerate() {
                if transaction.value.user_id != user_id || !filter.lets_through(&transaction.value) {
                    continue;
                }
                page.push(transaction);
                if page.len() == limit {
                    let more = next.is_some() || place + 1 < last;
                    let cursor = page.last().filter(|_| more).map(|last| query.behind(&last.value));
                    return Ok((page, cursor));
                }
            }
            if next.is_none() || read >= MOST_READ {
                return Ok((page, next));
            }
            after = next;
        }
    }

    /// A transaction of this user; `None` also for another's.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn get(&self, user_id: &str, id: &str) -> Result<Option<Versioned<Transaction>>, StoreError> {
        let found = load::<Transaction>(self.store.as_ref(), id).await?;
        Ok(found.filter(|transaction| transaction.value.user_id == user_id))
    }

    /// Writes down a transaction on an account that is kept by hand. The account's balance stays:
    /// it is what its user says it is.
    ///
    /// # Errors
    /// [`EditError::NotFound`] for an account that the user has not, [`EditError::Synced`] for one
    /// that a provider tells of, [`EditError::KeyReused`] if its id was made by another command.
    pub async fn record(
        &self,
        user_id: &str,
        account_id: &str,
        new: NewTransaction,
    ) -> Result<Recorded, EditError> {
        let account = load::<Account>(self.store.as_ref(), account_id).await?;
        let account =
            account.filter(|account| account.value.user_id == user_id).ok_or(EditError::NotFound)?;
        if account.value.connection_id.is_some() {
            return Err(EditError::Synced);
        }
        let transaction = Transaction {
            id: new.id,
            user_id: user_id.to_owned(),
            account_id: account_id.to_owned(),
            external_id: None,
            date: new.date,
            amount: new.amount,
            description: new.description,
            pending: new.pending,
            category: new.category,
            note: new.note,
            merged_from: Vec::new(),
            kept_apart: false,
            withdrawn_at: None,
            command: new.command,
            updated_at: self.clock.now(),
        };
        match self.store.commit(Batch::shared().insert(&transaction)).await {
            Ok(()) => {}
            Err(CommitError::Conflict(Conflict::Exists { .. })) => return self.recorded(&transaction).await,
            Err(error) => return Err(error.into()),
        }
        // The account may have gone in between, and what swept after it may have been too early.
        if load::<Account>(self.store.as_ref(), account_id).await?.is_none() {
            sweep(self.store.as_ref(), account_id).await?;
            return Err(EditError::NotFound);
        }
        Ok(Recorded { transaction: Versioned { value: transaction, version: 1 }, replayed: false })
    }

    /// What was made under this id before.
    async fn recorded(&self, again: &Transaction) -> Result<Recorded, EditError> {
        let first = load::<Transaction>(self.store.as_ref(), &again.id).await?.ok_or(EditError::Changed)?;
        let same = first.value.user_id == again.user_id
            && first.value.account_id == again.account_id
            && first.value.command == again.command;
        if same { Ok(Recorded { transaction: first, replayed: true }) } else { Err(EditError::KeyReused) }
    }

    /// Changes what is the user's to change. With `based_on` only that version is changed; without
    /// it the latest is.
    ///
    /// # Errors
    /// [`EditError`].
    pub async fn edit(
        &self,
        user_id: &str,
        id: &str,
        based_on: Option<u64>,
        edit: &TransactionEdit,
    ) -> Result<Versioned<Transaction>, EditError> {
        let fits = |text: &Option<Option<String>>, most| match text {
            Some(Some(text)) => !text.trim().is_empty() && text.chars().count() <= most,
            _ => true,
        };
        if !fits(&edit.category, MOST_CATEGORY_CHARS) || !fits(&edit.note, MOST_NOTE_CHARS) {
            return Err(EditError::BadName);
        }
        for _ in 0..ATTEMPTS {
            let found = self.based_on(user_id, id, based_on).await?;
            let mut transaction = found.value;
            if let Some(category) = &edit.category {
                transaction.category = category.as_ref().map(|text| text.trim().to_owned());
            }
            if let Some(note) = &edit.note {
                transaction.note.clone_from(note);
            }
            transaction.updated_at = self.clock.now();
            match self.store.commit(Batch::shared().replace(&transaction, found.version)).await {
                Ok(()) => return Ok(Versioned { value: transaction, version: found.version + 1 }),
                Err(CommitError::Conflict(Conflict::Version { .. })) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(EditError::Unavailable("the transaction changes too often".to_owned()))
    }

    /// Takes the last telling that was merged into this transaction out of it again. The two are
    /// never merged again. Returns the one that was taken out.
    ///
    /// # Errors
    /// [`EditError::NothingMerged`] if nothing is in it, [`EditError::FormerIsBack`] if the provider
    /// tells of a transaction of its own under the id that it would have.
    pub async fn unmerge(
        &self,
        user_id: &str,
        id: &str,
        based_on: Option<u64>,
    ) -> Result<Versioned<Transaction>, EditError> {
        for _ in 0..ATTEMPTS {
            let found = self.based_on(user_id, id, based_on).await?;
            let parted = found.value.unmerged(ids::new_id(), self.clock.now());
            let (rest, apart) = parted.ok_or(EditError::NothingMerged)?;
            let batch = Batch::new().replace(&rest, found.version).insert(&apart);
            match self.store.commit(batch).await {
                Ok(()) => return Ok(Versioned { value: apart, version: 1 }),
                Err(CommitError::Conflict(Conflict::Version { .. })) => {}
                Err(CommitError::Conflict(Conflict::Unique { .. })) => return Err(EditError::FormerIsBack),
                Err(error) => return Err(error.into()),
            }
        }
        Err(EditError::Unavailable("the transaction changes too often".to_owned()))
    }

    async fn based_on(
        &self,
        user_id: &str,
        id: &str,
        based_on: Option<u64>,
    ) -> Result<Versioned<Transaction>, EditError> {
        let found = self.get(user_id, id).await?.ok_or(EditError::NotFound)?;
        if based_on.is_some_and(|version| version != found.version) {
            return Err(EditError::Changed);
        }
        Ok(found)
    }
}
