//! The accounts service: pages of a user's accounts, and the edits that a user makes.

use std::sync::Arc;

use super::account::{ACCOUNTS, Account};
use super::details::AccountType;
use crate::cluster::Clock;
use crate::store::{Batch, CommitError, Conflict, Cursor, Query, Store, StoreError, Versioned, find, load};

/// Characters that a name may have.
pub const MOST_NAME_CHARS: usize = 120;

/// A page of accounts, by id, and where the next one begins.
pub type AccountPage = (Vec<Versioned<Account>>, Option<Cursor>);

/// What a user changes of an account; `None` leaves it as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccountEdit {
    /// A name of their own, 1 to [`MOST_NAME_CHARS`] characters; `Some(None)` goes back to the
    /// provider's.
    pub account_name: Option<Option<String>>,
    /// Whether it is hidden.
    pub hidden: Option<bool>,
}

/// Why an edit was not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// The user has no account with this id.
    #[error("there is no such account")]
    NotFound,
    /// The record is not the one that the edit was based on.
    #[error("the account has changed meanwhile")]
    Changed,
    /// A text is empty or too long.
    #[error("the text is empty or too long")]
    BadName,
    /// A provider tells of this account; only its name and whether it is hidden are the user's.
    #[error("the account is synced from its provider")]
    Synced,
    /// Nothing was merged into this transaction.
    #[error("nothing was merged into this transaction")]
    NothingMerged,
    /// Nothing was changed; try again later.
    #[error("{0}")]
    Unavailable(String),
    /// It may have been changed; read, or make the same edit again.
    #[error("the outcome is unknown")]
    OutcomeUnknown,
}

impl From<StoreError> for EditError {
    fn from(error: StoreError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

impl From<CommitError> for EditError {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Conflict(_) => Self::Changed,
            CommitError::Unavailable(reason) => Self::Unavailable(reason),
            CommitError::OutcomeUnknown(_) => Self::OutcomeUnknown,
        }
    }
}

/// Reads and edits accounts. Cheap to clone.
#[derive(Clone)]
pub struct Accounts {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
}

impl Accounts {
    /// A service over this store.
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Self {
        Self { store, clock }
    }

    /// A page of a user's accounts, of one type if given, hidden ones included; at most `limit`
    /// (1 to 1,000), behind `after`. A cursor is good for the same user and type only.
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
        let query = match of_type {
            None => Query::by(&ACCOUNTS, "user").equal(user_id),
            Some(wanted) => Query::by(&ACCOUNTS, "userType").equal(user_id).equal(wanted.name()),
        };
        find(self.store.as_ref(), query.limit(limit).after(after)).await
    }

    /// An account of this user; `None` also for another's.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn get(&self, user_id: &str, id: &str) -> Result<Option<Versioned<Account>>, StoreError> {
        let found = load::<Account>(self.store.as_ref(), id).await?;
        Ok(found.filter(|account| account.value.user_id == user_id))
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
        const ATTEMPTS: usize = 5;
        if let Some(Some(name)) = &edit.account_name
            && (name.trim().is_empty() || name.chars().count() > MOST_NAME_CHARS)
        {
            return Err(EditError::BadName);
        }
        for _ in 0..ATTEMPTS {
            let found = self.get(user_id, id).await?.ok_or(EditError::NotFound)?;
            if based_on.is_some_and(|version| version != found.version) {
                return Err(EditError::Changed);
            }
            let mut account = found.value;
            if let Some(name) = &edit.account_name {
                account.custom_name = name.as_ref().map(|name| name.trim().to_owned());
            }
            account.hidden = edit.hidden.unwrap_or(account.hidden);
            account.last_updated = self.clock.now();
            match self.store.commit(Batch::shared().replace(&account, found.version)).await {
                Ok(()) => return Ok(Versioned { value: account, version: found.version + 1 }),
                Err(CommitError::Conflict(Conflict::Version { .. })) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(EditError::Unavailable("the account changes too often".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::seed;
    use super::*;
    use crate::testing::{ManualClock, MemoryStore};

    struct World {
        store: Arc<MemoryStore>,
        clock: Arc<ManualClock>,
        accounts: Accounts,
    }

    fn world() -> World {
        let clock = Arc::new(ManualClock::default());
        let store = Arc::new(MemoryStore::new(clock.clone()));
        let accounts = Accounts::new(store.clone(), clock.clone());
        World { store, clock, accounts }
    }

    impl World {
        async fn seeded(&self) -> bool {
            seed(self.store.as_ref(), self.clock.now()).await.unwrap()
        }

        async fn ids(&self, user_id: &str, of_type: Option<AccountType>) -> Vec<String> {
            let (page, _) = self.accounts.page(user_id, of_type, 100, None).await.unwrap();
            page.into_iter().map(|account| account.value.id).collect()
        }
    }

    #[test]
    fn the_declarations_hold() {
        assert!(ACCOUNTS.mistakes().is_empty());
        assert!(super::super::SAMPLES.mistakes().is_empty());
    }

    #[tokio::test]
    async fn the_sample_requests_give_exactly_the_sample_accounts() {
        let world = world();
        assert!(world.seeded().await);
        assert_eq!(world.ids("user123", None).await, ["acc1", "acc2", "acc3"]);
        assert_eq!(world.ids("user123", Some(AccountType::Credit)).await, ["acc1"]);
        assert_eq!(world.ids("user123", Some(AccountType::Loan)).await, ["acc2"]);
        assert_eq!(world.ids("user123", Some(AccountType::Checking)).await, ["acc3"]);
        assert_eq!(world.ids("user123", Some(AccountType::Savings)).await, Vec::<String>::new());
        assert_eq!(world.ids("user456", None).await, ["acc4"]);
        assert_eq!(world.ids("user789", None).await, Vec::<String>::new());
    }

    #[tokio::test]
    async fn a_sample_account_is_stored_with_every_field_of_the_specification() {
        let world = world();
        world.seeded().await;
        let now = world.clock.now().as_millis();
        let record = world.store.get(&ACCOUNTS, "acc1").await.unwrap().unwrap();
        let expected = serde_json::json!({
            "id": "acc1", "userId": "user123", "type": "credit", "provider": "Chase",
            "providerName": "Chase Freedom", "hidden": false,
            "balance": {"minor": 120_045, "currency": "USD"},
            "balanceAsOf": now, "lastUpdated": now,
            "details": {
                "creditLimit": {"minor": 500_000, "currency": "USD"},
                "availableCredit": {"minor": 380_000, "currency": "USD"},
                "apr": "19.99", "dueDate": "2025-06-15",
            },
        });
        assert_eq!(serde_json::Value::Object(record.body), expected);
        let loan = world.store.get(&ACCOUNTS, "acc2").await.unwrap().unwrap();
        assert_eq!(loan.body["details"]["interestRate"], "4.5");
        let checking = world.store.get(&ACCOUNTS, "acc3").await.unwrap().unwrap();
        let details = serde_json::json!({"overdraftProtection": true, "routingNumber": "123456789"});
        assert_eq!(checking.body["details"], details);
    }

    #[tokio::test]
    async fn seeding_again_restores_nothing_that_was_changed_or_deleted() {
        // Given seeded accounts of which one was renamed and one deleted,
        let world = world();
        world.seeded().await;
        let edit = AccountEdit { account_name: Some(Some("Holidays".to_owned())), hidden: Some(true) };
        world.accounts.edit("user123", "acc1", None, &edit).await.unwrap();
        let gone = world.accounts.get("user123", "acc3").await.unwrap().unwrap();
        world.store.commit(Batch::new().delete(&gone)).await.unwrap();
        // when they are seeded again,
        world.clock.advance(std::time::Duration::from_secs(60));
        assert!(!world.seeded().await);
        // then nothing has changed.
        assert_eq!(world.ids("user123", None).await, ["acc1", "acc2"]);
        let edited = world.accounts.get("user123", "acc1").await.unwrap().unwrap();
        assert_eq!((edited.value.name(), edited.value.hidden, edited.version), ("Holidays", true, 2));
    }

    #[tokio::test]
    async fn pages_follow_one_another_and_stay_within_their_type() {
        let world = world();
        world.seeded().await;
        let (first, cursor) = world.accounts.page("user123", None, 2, None).await.unwrap();
        let (second, end) = world.accounts.page("user123", None, 2, cursor).await.unwrap();
        assert_eq!((first.len(), second.len(), end), (2, 1, None));
        assert_eq!(second[0].value.id, "acc3");
    }

    #[tokio::test]
    async fn anothers_account_is_not_found() {
        let world = world();
        world.seeded().await;
        assert_eq!(world.accounts.get("user456", "acc1").await, Ok(None));
        let edit = AccountEdit { hidden: Some(true), ..AccountEdit::default() };
        assert_eq!(world.accounts.edit("user456", "acc1", None, &edit).await, Err(EditError::NotFound));
    }

    #[tokio::test]
    async fn an_edit_of_an_older_version_and_a_bad_name_are_refused() {
        let world = world();
        world.seeded().await;
        let edit = |name: &str| AccountEdit { account_name: Some(Some(name.to_owned())), hidden: None };
        world.accounts.edit("user123", "acc1", Some(1), &edit("A")).await.unwrap();
        let stale = world.accounts.edit("user123", "acc1", Some(1), &edit("B")).await;
        assert_eq!(stale, Err(EditError::Changed));
        for bad in ["", "  ", &"x".repeat(MOST_NAME_CHARS + 1)] {
            let refused = world.accounts.edit("user123", "acc1", None, &edit(bad)).await;
            assert_eq!(refused, Err(EditError::BadName));
        }
        let back = AccountEdit { account_name: Some(None), hidden: None };
        let account = world.accounts.edit("user123", "acc1", None, &back).await.unwrap();
        assert_eq!(account.value.name(), "Chase Freedom");
    }
}
