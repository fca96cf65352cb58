//! Account data in the form of the [SimpleFIN protocol](https://www.simplefin.org/protocol.html):
//! a one-time setup token is claimed for a lasting credential, which fetches accounts.

use std::time::Duration;

use async_trait::async_trait;
use secrecy::SecretString;

use crate::money::Money;
use crate::time::Timestamp;

/// What lasting access to an institution needs (SimpleFIN: the access URL). Cannot be printed.
#[derive(Clone, Debug)]
pub struct Credential(pub SecretString);

/// What a bank says of one account.
#[derive(Clone, Debug, PartialEq)]
pub struct BankAccount {
    /// The provider's id, stable for this connection.
    pub id: String,
    /// The institution, as shown to people.
    pub institution: String,
    /// The account's name at the bank.
    pub name: String,
    /// The balance. Of credit and loan accounts, positive is owed.
    pub balance: Money,
    /// As of when the balance is right, by the bank's word.
    pub balance_as_of: Timestamp,
    /// What kind of account it is, with what belongs to that kind.
    pub details: BankDetails,
    /// Its transactions in the period that [`Statement::told_since`] begins, in any order.
    pub transactions: Vec<BankTransaction>,
}

/// What a bank says of one transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BankTransaction {
    /// The provider's id, unique within the account. One that was pending may come back under
    /// another.
    pub id: String,
    /// When it was booked, or made if it is pending.
    pub at: Timestamp,
    /// Negative: it left the holder.
    pub amount: Money,
    /// The bank's text.
    pub description: String,
    /// Not booked yet.
    pub pending: bool,
}

/// The time whose transactions are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Period {
    /// Its begin.
    pub from: Timestamp,
    /// Its end: the present.
    pub until: Timestamp,
}

/// The details of an account by its kind. Rates are decimal text in percent (`19.99`), so that no
/// digit is lost.
#[derive(Clone, Debug, PartialEq)]
pub enum BankDetails {
    /// A current account.
    Checking {
        /// Whether overdrafts are covered.
        overdraft_protection: bool,
        /// The [ABA routing number](https://www.aba.com/about-us/routing-number).
        routing_number: String,
    },
    /// A savings account.
    Savings {
        /// Annual yield in percent.
        apy: String,
    },
    /// A credit card.
    Credit {
        /// The limit.
        credit_limit: Money,
        /// What is left of it.
        available_credit: Money,
        /// Annual rate in percent.
        apr: String,
        /// The next payment is due, `YYYY-MM-DD`.
        due_date: Option<String>,
    },
    /// A loan.
    Loan {
        /// What was borrowed.
        principal: Money,
        /// Annual rate in percent.
        interest_rate: String,
        /// Months left.
        remaining_term_months: u32,
    },
}

/// What one request for accounts brought.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Statement {
    /// The accounts that were told of.
    pub accounts: Vec<BankAccount>,
    /// Why the statement is not whole, in words for the user; `None` if it is whole.
    pub partial: Option<String>,
    /// From this time on the transactions of the accounts told are whole (if `partial` is `None`);
    /// `None`: nothing is said about transactions.
    pub told_since: Option<Timestamp>,
}

/// Why a setup token was not claimed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClaimError {
    /// The token is malformed, used up, or points where Steward does not go. Final.
    #[error("the setup token was refused: {0}")]
    Refused(String),
    /// The provider could not be reached; the token is not used up.
    #[error("the provider is unavailable: {0}")]
    Unavailable(String),
    /// The claim was sent and its answer lost: the token may be used up.
    #[error("the outcome of the claim is unknown: {0}")]
    OutcomeUnknown(String),
}

/// Why a request brought no statement.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BankError {
    /// The user must link again.
    #[error("access was refused: {0}")]
    NeedsReauth(String),
    /// Too many requests.
    #[error("too many requests")]
    RateLimited {
        /// When the provider wants to be asked again, if it said so.
        retry_after: Option<Duration>,
    },
    /// Not reachable, too slow, broken, or its answer makes no sense; the text is fit for users.
    #[error("the provider is down: {0}")]
    Down(String),
}

/// A provider of account data.
#[async_trait]
pub trait Bank: Send + Sync + 'static {
    /// Exchanges a setup token for a credential. `user_id` only labels the request at the sandbox,
    /// which gives the same user the same accounts.
    ///
    /// # Errors
    /// [`ClaimError`].
    async fn claim(&self, setup_token: &str, user_id: &str) -> Result<Credential, ClaimError>;

    /// Fetches the accounts and their balances, and their transactions if a period is given. A
    /// statement that could not be had back to its begin is partial.
    ///
    /// # Errors
    /// [`BankError`].
    async fn statement(
        &self,
        credential: &Credential,
        period: Option<Period>,
    ) -> Result<Statement, BankError>;

    /// Whether [`Self::revoke`] does anything.
    fn can_revoke(&self) -> bool {
        false
    }

    /// Ends the access that a credential gives. That it has ended already is no error.
    ///
    /// # Errors
    /// [`BankError`]; it may work later.
    async fn revoke(&self, _credential: &Credential) -> Result<(), BankError> {
        Ok(())
    }
}
