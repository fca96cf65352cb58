//! The sample accounts that `steward seed` loads: those of the personal-finance specification (S1
//! in docs/requirements.md).

use jiff::civil::date;
use serde::{Deserialize, Serialize};

use super::account::Account;
use super::details::{Details, ExactDecimal};
use crate::money::{Currency, Money};
use crate::store::{Batch, Collection, CommitError, Conflict, Entity, Field, Kind, Store, StoreError, load};
use crate::time::Timestamp;

/// What was seeded, so that nothing is seeded twice.
pub static SAMPLES: Collection = Collection {
    name: "samples",
    fields: &[Field::required("id", Kind::Text), Field::required("seededAt", Kind::Time)],
    indexes: &[],
    words: &[],
    expires: None,
};

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Seeded {
    id: String,
    seeded_at: Timestamp,
}

impl Entity for Seeded {
    fn collection() -> &'static Collection {
        &SAMPLES
    }
    fn id(&self) -> &str {
        &self.id
    }
}

/// Why the sample accounts were not loaded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SampleError {
    /// The store could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store did not take them. Seeding again is safe.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

/// Loads the sample accounts of user123 and user456, once: whoever runs it again, or at the same
/// time, changes nothing and brings nothing back that was edited or deleted since. Returns whether
/// this call loaded them.
///
/// # Errors
/// [`SampleError`].
pub async fn seed(store: &dyn Store, now: Timestamp) -> Result<bool, SampleError> {
    let mark = Seeded { id: "accounts".to_owned(), seeded_at: now };
    if load::<Seeded>(store, &mark.id).await?.is_some() {
        return Ok(false);
    }
    let batch = accounts(now).iter().fold(Batch::new().insert(&mark), Batch::insert);
    match store.commit(batch).await {
        Ok(()) => Ok(true),
        Err(CommitError::Conflict(Conflict::Exists { collection, .. })) if collection == SAMPLES.name => {
            Ok(false)
        }
        Err(error) => Err(error.into()),
    }
}

fn accounts(now: Timestamp) -> Vec<Account> {
    let account = |id: &str, user: &str, provider: &str, name: &str, balance, details| Account {
        id: id.to_owned(),
        user_id: user.to_owned(),
        connection_id: None,
        external_id: None,
        provider: provider.to_owned(),
        provider_name: name.to_owned(),
        custom_name: None,
        hidden: false,
        balance,
        balance_as_of: now,
        last_updated: now,
        missing_since: None,
        command: None,
        details,
    };
    let Some(usd) = Currency::from_code("USD") else { unreachable!("USD is a currency") };
    let percent = ExactDecimal::hundredths;
    let dollars = |cents: i64| Money::new(cents, usd);
    vec![
        account(
            "acc1",
            "user123",
            "Chase",
            "Chase Freedom",
            dollars(120_045),
            Details::Credit {
                credit_limit: Some(dollars(500_000)),
                available_credit: Some(dollars(380_000)),
                apr: Some(percent(1999)),
                due_date: Some(date(2025, 6, 15)),
            },
        ),
        account(
            "acc2",
            "user123",
            "SoFi",
            "Student Loan",
            dollars(800_000),
            Details::Loan {
                principal: Some(dollars(1_000_000)),
                interest_rate: Some(percent(450)),
                remaining_term_months: Some(12),
            },
        ),
        account(
            "acc3",
            "user123",
            "Wells Fargo",
            "Wells Fargo Checking",
            dollars(340_000),
            Details::Checking {
                overdraft_protection: Some(true),
                routing_number: Some("123456789".to_owned()),
            },
        ),
        account(
            "acc4",
            "user456",
            "Amex",
            "Amex Gold",
            dollars(250_000),
            Details::Credit {
                credit_limit: Some(dollars(1_000_000)),
                available_credit: Some(dollars(750_000)),
                apr: Some(percent(2399)),
                due_date: Some(date(2025, 6, 10)),
            },
        ),
    ]
}
