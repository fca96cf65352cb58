//! What bodies say of accounts that are kept by hand.

use garde::Validate;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use steward_actors::accounts::{AccountType, DetailsEdit, ExactDecimal, HandEdit, Holding};
use steward_actors::money::{Currency, Money};
use utoipa::ToSchema;

use super::json::named;
use super::problem::Problem;
use super::values::{AmountInput, CurrencyCode, DecimalInput, is_of_our_time, is_one_line};

/// The type of an account.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum TypeInput {
    Checking,
    Savings,
    Credit,
    Loan,
    Investment,
}

impl From<TypeInput> for AccountType {
    fn from(kind: TypeInput) -> Self {
        match kind {
            TypeInput::Checking => Self::Checking,
            TypeInput::Savings => Self::Savings,
            TypeInput::Credit => Self::Credit,
            TypeInput::Loan => Self::Loan,
            TypeInput::Investment => Self::Investment,
        }
    }
}

/// An account to keep by hand.
#[derive(Serialize, Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct AccountInput {
    #[garde(skip)]
    pub(super) r#type: TypeInput,
    #[garde(length(chars, min = 1, max = 120), pattern(r"\S"), custom(is_one_line))]
    #[schema(min_length = 1, max_length = 120)]
    pub(super) account_name: String,
    /// The institution; `Manual` if nothing is said.
    #[garde(length(chars, min = 1, max = 120), pattern(r"\S"), custom(is_some_line))]
    #[schema(min_length = 1, max_length = 120)]
    pub(super) provider: Option<String>,
    /// The balance now. Of credit and loan accounts, positive is owed.
    #[garde(skip)]
    pub(super) balance: AmountInput,
    /// Of the balance and of all amounts in the details; it stays.
    #[garde(skip)]
    pub(super) currency: CurrencyCode,
    #[garde(skip)]
    #[serde(default)]
    pub(super) hidden: bool,
    /// Credit needs creditLimit, availableCredit and apr; loan principal, interestRate and
    /// remainingTermMonths; savings apy.
    #[garde(dive)]
    #[serde(default)]
    pub(super) details: DetailsInput,
}

/// What is to change of an account. Only what is named changes; null clears. Synced accounts take
/// accountName and hidden only.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct AccountChange {
    /// A name of my own; null goes back to the one it came with.
    #[garde(inner(inner(length(chars, min = 1, max = 120), pattern(r"\S"), custom(is_one_line))))]
    #[serde(default, deserialize_with = "named")]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 120)]
    pub(super) account_name: Option<Option<String>>,
    #[garde(skip)]
    pub(super) hidden: Option<bool>,
    #[garde(length(chars, min = 1, max = 120), pattern(r"\S"), custom(is_some_line))]
    #[schema(min_length = 1, max_length = 120)]
    provider: Option<String>,
    /// The balance from now on, in the account's currency.
    #[garde(skip)]
    balance: Option<AmountInput>,
    #[garde(dive)]
    details: Option<DetailsInput>,
}

impl AccountChange {
    /// What only an account kept by hand takes; `None` if nothing of it is named.
    ///
    /// # Errors
    /// 422.
    pub(super) fn by_hand(&self, currency: Currency) -> Result<Option<HandEdit>, Problem> {
        if self.provider.is_none() && self.balance.is_none() && self.details.is_none() {
            return Ok(None);
        }
        let balance = self.balance.as_ref().map(|balance| balance.in_currency(currency, "/balance"));
        let details = self.details.as_ref().map(|details| details.in_currency(currency));
        Ok(Some(HandEdit {
            provider: self.provider.as_ref().map(|provider| provider.trim().to_owned()),
            balance: balance.transpose()?,
            details: details.transpose()?.unwrap_or_default(),
        }))
    }
}

fn is_some_line(text: &Option<String>, context: &()) -> garde::Result {
    text.as_deref().map_or(Ok(()), |text| is_one_line(text, context))
}

/// What belongs to an account by its type: checking overdraftProtection, routingNumber; savings apy;
/// credit creditLimit, availableCredit, apr, dueDate; loan principal, interestRate,
/// remainingTermMonths; investment holdings.
#[derive(Default, Serialize, Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct DetailsInput {
    #[garde(skip)]
    overdraft_protection: Option<bool>,
    #[garde(inner(inner(length(chars, min = 1, max = 34), pattern(r"^[A-Za-z0-9 -]*$"))))]
    #[serde(default, deserialize_with = "named")]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 34)]
    routing_number: Option<Option<String>>,
    /// Percent a year.
    #[garde(skip)]
    apy: Option<DecimalInput>,
    #[garde(skip)]
    credit_limit: Option<AmountInput>,
    #[garde(skip)]
    available_credit: Option<AmountInput>,
    /// Percent a year.
    #[garde(skip)]
    apr: Option<DecimalInput>,
    #[garde(inner(inner(custom(is_of_our_time))))]
    #[serde(default, deserialize_with = "named")]
    #[schema(value_type = Option<String>, format = Date)]
    due_date: Option<Option<Date>>,
    #[garde(skip)]
    principal: Option<AmountInput>,
    /// Percent a year.
    #[garde(skip)]
    interest_rate: Option<DecimalInput>,
    #[garde(range(max = 1200))]
    #[schema(maximum = 1200)]
    remaining_term_months: Option<u32>,
    /// All of them.
    #[garde(length(max = 200), dive)]
    #[schema(max_items = 200)]
    holdings: Option<Vec<HoldingInput>>,
}

/// A security in an investment account.
#[derive(Serialize, Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct HoldingInput {
    #[garde(length(chars, min = 1, max = 20), pattern(r"^[A-Za-z0-9.:_-]+$"))]
    #[schema(min_length = 1, max_length = 20)]
    symbol: String,
    #[garde(skip)]
    quantity: DecimalInput,
    /// Of one, in the account's currency.
    #[garde(skip)]
    price: AmountInput,
}

/// Percent that a yearly rate may be.
const RATES: std::ops::RangeInclusive<i32> = -100..=1000;
/// Units of a security that may be held.
const QUANTITIES: std::ops::RangeInclusive<i32> = 0..=1_000_000;

impl DetailsInput {
    /// What it says, with amounts in this currency.
    ///
    /// # Errors
    /// 422.
    pub(super) fn in_currency(&self, currency: Currency) -> Result<DetailsEdit, Problem> {
        let rate = |number: &Option<DecimalInput>, name| percent(number.as_ref(), name);
        let amount = |amount: &Option<AmountInput>, name: &str, owed| match amount {
            None => Ok(None),
            Some(amount) => no_less(amount, currency, owed, &format!("/details/{name}")).map(Some),
        };
        let holding = |(place, held): (usize, &HoldingInput)| {
            let field = |name| format!("/details/holdings/{place}/{name}");
            Ok::<_, Problem>(Holding {
                symbol: held.symbol.clone(),
                quantity: held.quantity.within(QUANTITIES, field("quantity"))?,
                price: no_less(&held.price, currency, false, &field("price"))?,
            })
        };
        let holdings = self.holdings.as_ref();
        Ok(DetailsEdit {
            overdraft_protection: self.overdraft_protection,
            routing_number: self.routing_number.clone(),
            apy: rate(&self.apy, "apy")?,
            credit_limit: amount(&self.credit_limit, "creditLimit", false)?,
            available_credit: amount(&self.available_credit, "availableCredit", true)?,
            apr: rate(&self.apr, "apr")?,
            due_date: self.due_date,
            principal: amount(&self.principal, "principal", false)?,
            interest_rate: rate(&self.interest_rate, "interestRate")?,
            remaining_term_months: self.remaining_term_months,
            holdings: holdings.map(|all| all.iter().enumerate().map(holding).collect()).transpose()?,
        })
    }
}

fn percent(number: Option<&DecimalInput>, name: &str) -> Result<Option<ExactDecimal>, Problem> {
    number.map(|number| number.within(RATES, format!("/details/{name}"))).transpose()
}

/// An amount that may be negative only if `owed`.
fn no_less(amount: &AmountInput, currency: Currency, owed: bool, field: &str) -> Result<Money, Problem> {
    let amount = amount.in_currency(currency, field)?;
    if amount.minor < 0 && !owed {
        return Err(Problem::invalid_field(field, "range", "is less than 0"));
    }
    Ok(amount)
}
