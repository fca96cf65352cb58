//! Account data: a one-time token is claimed for a lasting credential, which fetches accounts. Their
//! transactions come either whole, from some time on, as in the
//! [SimpleFIN protocol](https://www.simplefin.org/protocol.html), or as what changed since a cursor,
//! as in [Plaid's](https://plaid.com/docs/api/products/transactions/#transactionssync).

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
    /// Its transactions in the period that [`Statement::told_since`] begins, or those of
    /// [`Statement::changes`] that are there; in any order.
    pub transactions: Vec<BankTransaction>,
    /// These are all that the statement is to tell of this account: what is not among them is not
    /// there. `false` if one of them, or a part of their time, could not be read. That other accounts
    /// could not be read, or that the bank reports some problem, does not make it `false`.
    pub whole: bool,
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
    /// The id of the pending one that was booked as this, if the provider says so.
    pub replaces: Option<String>,
    /// The provider does not say when it was made, as it is pending: `at` is when it was told of.
    pub undated: bool,
}

/// The transactions that are wanted: of some time, or what changed in them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Period {
    /// Its begin.
    pub from: Timestamp,
    /// Its end: the present.
    pub until: Timestamp,
    /// Where the last whole statement of changes ended. A provider that tells of changes tells all
    /// that there is if there is none.
    pub cursor: Option<String>,
}

/// The details of an account by its kind. Rates are decimal text in percent (`19.99`), so that no
/// digit is lost. `None`: the provider does not say.
#[derive(Clone, Debug, PartialEq)]
pub enum BankDetails {
    /// A current account.
    Checking {
        /// Whether overdrafts are covered.
        overdraft_protection: Option<bool>,
        /// The [ABA routing number](https://www.aba.com/about-us/routing-number).
        routing_number: Option<String>,
    },
    /// A savings account.
    Savings {
        /// Annual yield in percent.
        apy: Option<String>,
    },
    /// A credit card.
    Credit {
        /// The limit.
        credit_limit: Option<Money>,
        /// What is left of it.
        available_credit: Option<Money>,
        /// Annual rate in percent.
        apr: Option<String>,
        /// The next payment is due, `YYYY-MM-DD`.
        due_date: Option<String>,
    },
    /// A loan.
    Loan {
        /// What was borrowed.
        principal: Option<Money>,
        /// Annual rate in percent.
        interest_rate: Option<String>,
        /// Months left.
        remaining_term_months: Option<u32>,
    },
    /// Securities.
    Investment,
}

/// What one request for accounts brought.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Statement {
    /// The accounts that were told of.
    pub accounts: Vec<BankAccount>,
    /// Why the statement is not whole, in words for the user; `None` if it is whole. If it is not,
    /// an account that it does not tell of may be there; of which accounts the transactions are whole,
    /// says [`BankAccount::whole`].
    pub partial: Option<String>,
    /// The accounts are all that there are, although the statement is partial: it is for their
    /// transactions.
    pub all_accounts: bool,
    /// What the bank tells and Steward never shows (accounts in points, in what is no currency), in
    /// words for the user. Nothing is missing by that: asking again would bring no more.
    pub unsupported: Option<String>,
    /// From this time on the transactions of the accounts told are whole (of those that
    /// [`BankAccount::whole`] says so of); `None`: nothing is said about transactions, but perhaps in
    /// `changes`.
    pub told_since: Option<Timestamp>,
    /// What changed in the transactions, from a provider that tells of that.
    pub changes: Option<Changes>,
    /// The rest is worth asking for after this span already.
    pub again_after: Option<Duration>,
    /// Why the rest could not be had, if the provider said so when it was asked for it; the statement is
    /// partial then. What it told before that counts.
    pub cut_short: Option<BankError>,
}

/// What changed in the transactions since a cursor; [`BankAccount::transactions`] has those that are
/// new or other than before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// There was no cursor: this is all that there is.
    pub since_begin: bool,
    /// Ids of transactions that are there no more.
    pub removed: Vec<String>,
    /// Where these changes end. Once they are taken over whole, the next statement begins here.
    pub cursor: String,
}

/// What the provider's own page needs to let a user choose a bank.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkToken {
    /// The token. It gives no access.
    pub token: String,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// Why a setup token was not claimed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClaimError {
    /// The token is malformed, used up, or points where Steward does not go. Final.
    #[error("the setup token was refused: {0}")]
    Refused(String),
    /// The provider could not be reached, or takes no claims now; the token is not used up.
    #[error("the provider is unavailable: {reason}")]
    Unavailable {
        /// What is the matter, in words that are fit for users.
        reason: String,
        /// When to try again, if anybody said so; a day at most.
        retry_after: Option<Duration>,
    },
    /// Nobody was asked: the provider was asked as often as may be. The token is not used up.
    #[error("the provider is not asked now")]
    Resting {
        /// When to try again.
        after: Duration,
    },
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
    /// Nobody was asked: the provider is left alone for a while, or was asked as often as may be.
    #[error("the provider is not asked now")]
    Resting {
        /// When to try again.
        after: Duration,
    },
    /// The provider answers, but not the institution behind it; the text is fit for users.
    #[error("the institution is down: {0}")]
    Institution(String),
    /// Not reachable, too slow, or it says itself that it is broken; the text is fit for users.
    #[error("the provider is down: {0}")]
    Down(String),
    /// It says itself that it is broken, and when to ask again; the text is fit for users.
    #[error("the provider is down: {reason}")]
    DownFor {
        /// What is the matter.
        reason: String,
        /// When the provider wants to be asked again.
        retry_after: Duration,
    },
    /// The provider answers, but with what is no good: something unreadable or too large, or a refusal
    /// that does not concern the access. The text is fit for users.
    #[error("the provider's answer is no good: {0}")]
    Unusable(String),
}

impl BankError {
    /// The provider says that it is broken, and perhaps when to ask again.
    pub fn down(reason: String, retry_after: Option<Duration>) -> Self {
        match retry_after {
            Some(retry_after) => Self::DownFor { reason, retry_after },
            None => Self::Down(reason),
        }
    }

    /// After which span to ask again, if anybody said so.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RateLimited { retry_after } => *retry_after,
            Self::Resting { after } => Some(*after),
            Self::DownFor { retry_after, .. } => Some(*retry_after),
            Self::NeedsReauth(_) | Self::Institution(_) | Self::Down(_) | Self::Unusable(_) => None,
        }
    }
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
    /// statement that could not be had back to its begin is partial, and says why
    /// ([`Statement::cut_short`]).
    ///
    /// # Errors
    /// [`BankError`].
    async fn statement(
        &self,
        credential: &Credential,
        period: Option<Period>,
    ) -> Result<Statement, BankError>;

    /// The provider's own name for what this credential gives access to, by which its webhooks call
    /// it; `None` if it sends none.
    fn reference(&self, _credential: &Credential) -> Option<String> {
        None
    }

    /// Whom behind the provider a call with this credential asks (an item, a host), if there are
    /// many: that it is not answered may be their failure alone.
    fn part(&self, credential: &Credential) -> Option<String> {
        self.reference(credential)
    }

    /// The same of a call that claims this token.
    fn part_of_token(&self, _setup_token: &str) -> Option<String> {
        None
    }

    /// What the provider's page needs for a new link, or, with a credential, to let the user in again;
    /// `None` if it has no such page.
    ///
    /// # Errors
    /// [`BankError`].
    async fn link_token(
        &self,
        _user_id: &str,
        _credential: Option<&Credential>,
    ) -> Result<Option<LinkToken>, BankError> {
        Ok(None)
    }

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
