//! The accounts service: pages of a user's accounts, those kept by hand, and the edits that a user
//! makes.

use std::sync::Arc;

use super::account::{ACCOUNTS, Account};
use super::days::{BALANCES, DayBalance, day_balances};
use super::details::{AccountType, DetailsEdit};
use super::errors::EditError;
use super::removal::{account_removal, sweep};
use crate::cluster::Clock;
use crate::copies::Listings;
use crate::money::Money;
use crate::session::{Invalidation, Invalidations, LocalInvalidations};
use crate::store::{Batch, CommitError, Conflict, Cursor, Query, Store, StoreError, Versioned, find, load};
use crate::tombstone::Tombstone;

/// Characters that a name may have.
pub const MOST_NAME_CHARS: usize = 120;
/// A user who has this many accounts makes none by hand any more.
pub const MOST_ACCOUNTS: usize = 1000;
/// How often a change that meets another one is decided again.
const ATTEMPTS: usize = 5;
/// Accounts that lists in memory hold, all users together.
const LISTED: u64 = 100_000;
/// Accounts that a list in memory has at most.
const LONGEST_LIST: usize = 100;

/// A page of accounts, by id, and where the next one begins.
pub type AccountPage = (Vec<Versioned<Account>>, Option<Cursor>);

/// A page of the history of a balance, newest first, and where the next one begins.
pub type BalancePage = (Vec<Versioned<DayBalance>>, Option<Cursor>);

/// An account to keep by hand. Amounts in the details are in the balance's currency.
#[derive(Clone, Debug, PartialEq)]
pub struct NewAccount {
    /// Its id, chosen by who asks: the same id again is the same account.
    pub id: String,
    /// A digest of what the command says, if its id can come again with other words.
    pub command: Option<String>,
    /// Whose it is.
    pub user_id: String,
    /// The institution, as shown to people.
    pub provider: String,
    /// What it is called, 1 to [`MOST_NAME_CHARS`] characters.
    pub name: String,
    /// Whether it is hidden.
    pub hidden: bool,
    /// Its type.
    pub kind: AccountType,
    /// The balance now. Of credit and loan accounts, positive is owed.
    pub balance: Money,
    /// What belongs to its type.
    pub details: DetailsEdit,
}

/// An account that a command made, now or when it first came.
#[derive(Clone, Debug, PartialEq)]
pub struct MadeAccount {
    /// The account as it is now.
    pub account: Versioned<Account>,
    /// The command had come before.
    pub replayed: bool,
}

/// What a user changes of an account; `None` leaves it as it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AccountEdit {
    /// A name of their own, 1 to [`MOST_NAME_CHARS`] characters; `Some(None)` goes back to the one
    /// it came with.
    pub account_name: Option<Option<String>>,
    /// Whether it is hidden.
    pub hidden: Option<bool>,
    /// Only of accounts kept by hand.
    pub by_hand: Option<HandEdit>,
}

/// What a user changes only of an account kept by hand.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HandEdit {
    /// The institution.
    pub provider: Option<String>,
    /// The balance from now on, in the account's currency.
    pub balance: Option<Money>,
    /// What belongs to its type.
    pub details: DetailsEdit,
}

/// Reads and edits accounts. Cheap to clone.
#[derive(Clone)]
pub struct Accounts {
    pub(super) store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    channel: Arc<dyn Invalidations>,
    lists: Option<Arc<Listings<Account>>>,
}

impl Accounts {
    /// A service over this store that keeps nothing in memory.
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Self {
        Self { store, clock, channel: Arc::new(LocalInvalidations::default()), lists: None }
    }

    /// The same, with lists in memory, and telling other replicas of changes. Whoever else changes
    /// accounts calls [`tell_of_change`].
    #[must_use]
    pub fn telling(self, channel: Arc<dyn Invalidations>) -> Self {
        let lists = Some(Arc::new(Listings::new(LISTED, LONGEST_LIST, channel.as_ref())));
        Self { channel, lists, ..self }
    }

    /// A page of a user's accounts, of one type if given, hidden ones included; at most `limit`
    /// (1 to 1,000), behind `after`. A cursor is good for the same user and type only. From memory
    /// where that is as good as the store: at once after a change through this replica, within a
    /// second after one through another.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn page(
        &self,
        user_id: &str,
        of_type: Option<AccountType>,
        limit: usize,
        after: Option<Cursor>,
    ) -> Result<AccountPage, StoreError> {
        let all = Query::by(&ACCOUNTS, "user").equal(user_id);
        let query = match of_type {
            None => all.clone(),
            Some(wanted) => Query::by(&ACCOUNTS, "userType").equal(user_id).equal(wanted.name()),
        };
        let query = query.limit(limit).after(after);
        if let Some(lists) = &self.lists
            && let Some(list) = lists.get(self.store.as_ref(), user_id, all).await?
        {
            return Ok(page_of(&list, of_type, limit, query.checked()?.after.as_ref()));
        }
        find(self.store.as_ref(), query).await
    }

    /// An account of this user; `None` also for another's.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn get(&self, user_id: &str, id: &str) -> Result<Option<Versioned<Account>>, StoreError> {
        let found = load::<Account>(self.store.as_ref(), id).await?;
        Ok(found.filter(|account| account.value.user_id == user_id))
    }

    /// A page of an account's balances by day, newest first; a day of which nothing was told has
    /// none. `from` and `to` are days, `YYYY-MM-DD`, both included; `limit` is 1 to 1,000.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn balances(
        &self,
        account_id: &str,
        (from, to): (Option<&str>, Option<&str>),
        limit: usize,
        after: Option<Cursor>,
    ) -> Result<BalancePage, StoreError> {
        // Days sort as text, and "~" is behind every day's last character.
        let until = to.map(|day| format!("{day}~").into());
        let query = Query::by(&BALANCES, "account").equal(account_id).range(from.map(Into::into), until);
        find(self.store.as_ref(), query.descending().limit(limit).after(after)).await
    }

    /// A page of the balances by day of all of a user's accounts, by account and day; `limit` is 1 to 1,000.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn balances_of_user(
        &self,
        user_id: &str,
        limit: usize,
        after: Option<Cursor>,
    ) -> Result<BalancePage, StoreError> {
        let query = Query::by(&BALANCES, "user").equal(user_id).limit(limit).after(after);
        find(self.store.as_ref(), query).await
    }

    /// Makes an account that is kept by hand.
    ///
    /// # Errors
    /// [`EditError`]; [`EditError::KeyReused`] if its id was made by another command,
    /// [`EditError::DeletedSince`] if it was made by this one, and is no more.
    pub async fn create(&self, new: NewAccount) -> Result<MadeAccount, EditError> {
        if !is_name(&new.name) {
            return Err(EditError::BadName);
        }
        let now = self.clock.now();
        let account = Account {
            id: new.id,
            user_id: new.user_id,
            connection_id: None,
            external_id: None,
            provider: new.provider,
            provider_name: new.name.trim().to_owned(),
            custom_name: None,
            hidden: new.hidden,
            balance: new.balance,
            balance_as_of: now,
            last_updated: now,
            missing_since: None,
            command: new.command,
            details: new.details.into_details(new.kind)?,
        };
        if account.command.is_some()
            && let Some(before) = self.made_before(&account).await?
        {
            return Ok(before);
        }
        let query = Query::by(&ACCOUNTS, "user").equal(account.user_id.as_str()).limit(MOST_ACCOUNTS);
        if self.store.find(query).await?.records.len() >= MOST_ACCOUNTS {
            return Err(EditError::TooMany(MOST_ACCOUNTS));
        }
        let batch = Batch::shared().insert(&account).insert(&DayBalance::of(&account));
        match self.store.commit(batch).await {
            Ok(()) => {}
            Err(CommitError::Conflict(Conflict::Exists { .. })) => {
                return self.made_before(&account).await?.ok_or(EditError::Changed);
            }
            Err(error) => return Err(error.into()),
        }
        self.tell_of_change(&account.user_id).await;
        Ok(MadeAccount { account: Versioned { value: account, version: 1 }, replayed: false })
    }

    async fn made_before(&self, account: &Account) -> Result<Option<MadeAccount>, EditError> {
        match load::<Account>(self.store.as_ref(), &account.id).await? {
            None => match Tombstone::<Account>::is_there(self.store.as_ref(), &account.id).await? {
                false => Ok(None),
                true => Err(EditError::DeletedSince),
            },
            Some(first)
                if first.value.user_id == account.user_id && first.value.command == account.command =>
            {
                Ok(Some(MadeAccount { account: first, replayed: true }))
            }
            Some(_) => Err(EditError::KeyReused),
        }
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
        edit: &AccountEdit,
    ) -> Result<Versioned<Account>, EditError> {
        if edit.account_name.as_ref().is_some_and(|name| name.as_deref().is_some_and(|name| !is_name(name))) {
            return Err(EditError::BadName);
        }
        for _ in 0..ATTEMPTS {
            let found = self.based_on(user_id, id, based_on).await?;
            let account = edit.apply(found.value, self.clock.now())?;
            let told = edit.by_hand.as_ref().and_then(|edit| edit.balance).map(|_| &account);
            let told = told.into_iter().map(|account| (account, false));
            let days = day_balances(self.store.as_ref(), told).await?;
            let batch = Batch::shared().replace(&account, found.version);
            let batch =
                days.iter().fold(batch, |batch, (day, known)| batch.change_or_insert(known.as_ref(), day));
            match self.store.commit(batch).await {
                Ok(()) => {
                    self.tell_of_change(user_id).await;
                    return Ok(Versioned { value: account, version: found.version + 1 });
                }
                Err(CommitError::Conflict(Conflict::Version { .. } | Conflict::Exists { .. })) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(EditError::Unavailable("the account changes too often".to_owned()))
    }

    /// Deletes an account that is kept by hand, with its transactions and the history of its
    /// balance. With `based_on` only that version is deleted.
    ///
    /// # Errors
    /// [`EditError`]; [`EditError::Synced`] for one that a provider tells of.
    pub async fn delete(&self, user_id: &str, id: &str, based_on: Option<u64>) -> Result<(), EditError> {
        for _ in 0..ATTEMPTS {
            let found = self.based_on(user_id, id, based_on).await?;
            if found.value.is_synced() {
                return Err(EditError::Synced);
            }
            let now = self.clock.now();
            let batch = Batch::new().delete(&found).insert(&account_removal(id, now));
            let batch = Tombstone::of(&found.value, now).iter().fold(batch, Batch::insert);
            match self.store.commit(batch).await {
                Ok(()) => {
                    self.tell_of_change(user_id).await;
                    // It is gone; what cannot be swept now, the job will sweep.
                    if let Err(error) = sweep(self.store.as_ref(), id).await {
                        tracing::warn!(account_id = id, %error, "what goes with a deleted account goes later");
                    }
                    return Ok(());
                }
                Err(CommitError::Conflict(Conflict::Version { .. })) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(EditError::Unavailable("the account changes too often".to_owned()))
    }

    pub(super) async fn tell_of_change(&self, user_id: &str) {
        tell_of_change(self.channel.as_ref(), user_id).await;
    }

    async fn based_on(
        &self,
        user_id: &str,
        id: &str,
        based_on: Option<u64>,
    ) -> Result<Versioned<Account>, EditError> {
        let found = self.get(user_id, id).await?.ok_or(EditError::NotFound)?;
        if based_on.is_some_and(|version| version != found.version) {
            return Err(EditError::Changed);
        }
        Ok(found)
    }
}

impl AccountEdit {
    fn apply(&self, mut account: Account, now: crate::time::Timestamp) -> Result<Account, EditError> {
        if let Some(name) = &self.account_name {
            account.custom_name = name.as_ref().map(|name| name.trim().to_owned());
        }
        account.hidden = self.hidden.unwrap_or(account.hidden);
        account.last_updated = now;
        let Some(edit) = &self.by_hand else { return Ok(account) };
        if account.is_synced() {
            return Err(EditError::Synced);
        }
        if let Some(provider) = &edit.provider {
            account.provider.clone_from(provider);
        }
        if let Some(balance) = edit.balance {
            account.balance = balance;
            account.balance_as_of = now;
        }
        edit.details.apply(&mut account.details)?;
        Ok(account)
    }
}

/// Tells the replicas that an account of this user was made, changed or deleted. To be called after
/// the commit and before anyone is told of it.
pub async fn tell_of_change(channel: &dyn Invalidations, user_id: &str) {
    if let Err(error) = channel.publish(another_list(user_id)).await {
        tracing::warn!(%error, "other replicas hear of a change later");
    }
}

/// Drops this process's copies of what accounts this user has. To be called before anyone is told here of
/// what was committed with accounts: whoever committed it may not have come to tell of it yet.
pub fn forget_copies(channel: &dyn Invalidations, user_id: &str) {
    channel.hear(another_list(user_id));
}

fn another_list(user_id: &str) -> Invalidation {
    Invalidation::Listing { collection: ACCOUNTS.name.to_owned(), owner: user_id.to_owned() }
}

fn is_name(name: &str) -> bool {
    !name.trim().is_empty() && name.chars().count() <= MOST_NAME_CHARS
}

/// A page of a whole list, as the store would find it: by id.
fn page_of(
    list: &[Versioned<Account>],
    of_type: Option<AccountType>,
    limit: usize,
    after: Option<&Cursor>,
) -> AccountPage {
    let behind = |account: &&Versioned<Account>| after.is_none_or(|after| account.value.id > after.id);
    let wanted =
        |account: &&Versioned<Account>| of_type.is_none_or(|kind| account.value.account_type() == kind);
    let mut rest = list.iter().filter(behind).filter(wanted);
    let page: Vec<Versioned<Account>> = rest.by_ref().take(limit).cloned().collect();
    let more = rest.next().is_some();
    let next = page.last().filter(|_| more);
    let next = next.map(|last| Cursor { keys: Vec::new(), id: last.value.id.clone() });
    (page, next)
}
