//! What belongs to an account by its type. Pure.

use std::fmt;

use jiff::civil::Date;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use serde_json::Number;

use crate::money::{MAX_DIGITS, Money};

/// The types of accounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AccountType {
    /// A current account.
    Checking,
    /// A savings account.
    Savings,
    /// A credit card.
    Credit,
    /// A loan.
    Loan,
    /// Securities.
    Investment,
}

impl AccountType {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Checking, Self::Savings, Self::Credit, Self::Loan, Self::Investment];

    /// As the API and the store write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Checking => "checking",
            Self::Savings => "savings",
            Self::Credit => "credit",
            Self::Loan => "loan",
            Self::Investment => "investment",
        }
    }

    /// The type with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// The details of an account. Stored as the fields `type` and `details`; what a provider does not tell
/// is not there, as no number would be true.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", content = "details", rename_all = "snake_case", rename_all_fields = "camelCase")]
pub enum Details {
    /// A current account.
    Checking {
        /// Whether overdrafts are covered.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        overdraft_protection: Option<bool>,
        /// The ABA routing number, if there is one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        routing_number: Option<String>,
    },
    /// A savings account.
    Savings {
        /// Annual yield in percent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        apy: Option<ExactDecimal>,
    },
    /// A credit card.
    Credit {
        /// The limit.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        credit_limit: Option<Money>,
        /// What is left of it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        available_credit: Option<Money>,
        /// Annual rate in percent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        apr: Option<ExactDecimal>,
        /// When the next payment is due.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        due_date: Option<Date>,
    },
    /// A loan.
    Loan {
        /// What was borrowed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        principal: Option<Money>,
        /// Annual rate in percent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        interest_rate: Option<ExactDecimal>,
        /// Months left.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        remaining_term_months: Option<u32>,
    },
    /// Securities.
    Investment {
        /// What is held.
        holdings: Vec<Holding>,
    },
}

impl Details {
    /// The account's type.
    pub const fn account_type(&self) -> AccountType {
        match self {
            Self::Checking { .. } => AccountType::Checking,
            Self::Savings { .. } => AccountType::Savings,
            Self::Credit { .. } => AccountType::Credit,
            Self::Loan { .. } => AccountType::Loan,
            Self::Investment { .. } => AccountType::Investment,
        }
    }
}

/// What is said of an account's details: what is named is set, the rest stays. Amounts are in the
/// account's currency.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DetailsEdit {
    /// Of checking.
    pub overdraft_protection: Option<bool>,
    /// Of checking; `Some(None)` clears it.
    pub routing_number: Option<Option<String>>,
    /// Of savings.
    pub apy: Option<ExactDecimal>,
    /// Of credit.
    pub credit_limit: Option<Money>,
    /// Of credit.
    pub available_credit: Option<Money>,
    /// Of credit.
    pub apr: Option<ExactDecimal>,
    /// Of credit; `Some(None)` clears it.
    pub due_date: Option<Option<Date>>,
    /// Of loan.
    pub principal: Option<Money>,
    /// Of loan.
    pub interest_rate: Option<ExactDecimal>,
    /// Of loan.
    pub remaining_term_months: Option<u32>,
    /// Of investment: all of them.
    pub holdings: Option<Vec<Holding>>,
}

/// Why details don't fit their type. The names are those of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DetailsError {
    /// Accounts of this type need it.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// Accounts of this type have no such thing.
    #[error("accounts of this type have no {0}")]
    Foreign(&'static str),
}

impl DetailsEdit {
    /// What is named that accounts of this type have not.
    fn foreign_to(&self, kind: AccountType) -> Result<(), DetailsError> {
        use AccountType::{Checking, Credit, Investment, Loan, Savings};
        let named = [
            (Checking, "overdraftProtection", self.overdraft_protection.is_some()),
            (Checking, "routingNumber", self.routing_number.is_some()),
            (Savings, "apy", self.apy.is_some()),
            (Credit, "creditLimit", self.credit_limit.is_some()),
            (Credit, "availableCredit", self.available_credit.is_some()),
            (Credit, "apr", self.apr.is_some()),
            (Credit, "dueDate", self.due_date.is_some()),
            (Loan, "principal", self.principal.is_some()),
            (Loan, "interestRate", self.interest_rate.is_some()),
            (Loan, "remainingTermMonths", self.remaining_term_months.is_some()),
            (Investment, "holdings", self.holdings.is_some()),
        ];
        let foreign = named.into_iter().find(|(of, _, is_named)| *is_named && *of != kind);
        foreign.map_or(Ok(()), |(_, name, _)| Err(DetailsError::Foreign(name)))
    }

    /// The details of a new account of this type.
    ///
    /// # Errors
    /// [`DetailsError`].
    pub fn into_details(self, kind: AccountType) -> Result<Details, DetailsError> {
        self.foreign_to(kind)?;
        Ok(match kind {
            AccountType::Checking => Details::Checking {
                overdraft_protection: Some(self.overdraft_protection.unwrap_or_default()),
                routing_number: self.routing_number.flatten(),
            },
            AccountType::Savings => Details::Savings { apy: said(self.apy, "apy")? },
            AccountType::Credit => Details::Credit {
                credit_limit: said(self.credit_limit, "creditLimit")?,
                available_credit: said(self.available_credit, "availableCredit")?,
                apr: said(self.apr, "apr")?,
                due_date: self.due_date.flatten(),
            },
            AccountType::Loan => Details::Loan {
                principal: said(self.principal, "principal")?,
                interest_rate: said(self.interest_rate, "interestRate")?,
                remaining_term_months: said(self.remaining_term_months, "remainingTermMonths")?,
            },
            AccountType::Investment => Details::Investment { holdings: self.holdings.unwrap_or_default() },
        })
    }

    /// `details` with what is named here.
    ///
    /// # Errors
    /// [`DetailsError::Foreign`].
    pub fn apply(&self, details: &mut Details) -> Result<(), DetailsError> {
        fn set<T: Clone>(field: &mut T, named: Option<&T>) {
            if let Some(value) = named {
                field.clone_from(value);
            }
        }
        fn put<T: Copy>(field: &mut Option<T>, named: Option<T>) {
            *field = named.or(*field);
        }
        self.foreign_to(details.account_type())?;
        match details {
            Details::Checking { overdraft_protection, routing_number } => {
                put(overdraft_protection, self.overdraft_protection);
                set(routing_number, self.routing_number.as_ref());
            }
            Details::Savings { apy } => put(apy, self.apy),
            Details::Credit { credit_limit, available_credit, apr, due_date } => {
                put(credit_limit, self.credit_limit);
                put(available_credit, self.available_credit);
                put(apr, self.apr);
                set(due_date, self.due_date.as_ref());
            }
            Details::Loan { principal, interest_rate, remaining_term_months } => {
                put(principal, self.principal);
                put(interest_rate, self.interest_rate);
                put(remaining_term_months, self.remaining_term_months);
            }
            Details::Investment { holdings } => set(holdings, self.holdings.as_ref()),
        }
        Ok(())
    }
}

/// What accounts kept by hand have to say.
fn said<T>(named: Option<T>, name: &'static str) -> Result<Option<T>, DetailsError> {
    named.map(Some).ok_or(DetailsError::Missing(name))
}

/// A security in an investment account.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Holding {
    /// Its ticker symbol.
    pub symbol: String,
    /// How many.
    pub quantity: ExactDecimal,
    /// The price of one.
    pub price: Money,
}

/// A decimal number that is no amount of money: a rate in percent, a quantity. Exact, with at most
/// [`MAX_DIGITS`] significant digits, so that JSON readers with double precision lose nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ExactDecimal(Decimal);

/// The text is no decimal number, or has too many digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is no decimal number of at most {MAX_DIGITS} digits")]
pub struct NotExact;

impl ExactDecimal {
    /// Reads text such as `19.99`.
    ///
    /// # Errors
    /// [`NotExact`].
    pub fn parse(text: &str) -> Result<Self, NotExact> {
        let exact = Decimal::from_str_exact(text).map_err(|_| NotExact)?.normalize();
        let fits = exact.mantissa().unsigned_abs() < 10u128.pow(MAX_DIGITS) && exact.scale() <= MAX_DIGITS;
        fits.then_some(Self(exact)).ok_or(NotExact)
    }

    /// The number of an amount, to compare it with.
    pub fn of(amount: Money) -> Self {
        Self(amount.to_decimal().normalize())
    }

    /// So many hundredths: 1999 is 19.99.
    pub fn hundredths(count: i32) -> Self {
        Self(Decimal::new(i64::from(count), 2).normalize())
    }

    /// The shortest exact JSON number: `19.99`, `5`.
    pub fn to_number(self) -> Number {
        if self.0.scale() == 0
            && let Ok(whole) = i64::try_from(self.0)
        {
            return Number::from(whole);
        }
        // Up to MAX_DIGITS digits the nearest double prints back as the same decimal.
        self.0.to_string().parse::<Number>().unwrap_or_else(|_| Number::from(0))
    }
}

impl fmt::Display for ExactDecimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl TryFrom<String> for ExactDecimal {
    type Error = NotExact;
    fn try_from(text: String) -> Result<Self, NotExact> {
        Self::parse(&text)
    }
}

impl From<ExactDecimal> for String {
    fn from(exact: ExactDecimal) -> Self {
        exact.to_string()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn rates_are_printed_as_the_number_that_was_written() {
        for (text, number) in [("19.99", "19.99"), ("4.50", "4.5"), ("0", "0"), ("-0.25", "-0.25")] {
            assert_eq!(ExactDecimal::parse(text).unwrap().to_number().to_string(), number);
        }
    }

    #[test]
    fn what_is_no_short_decimal_is_refused() {
        for text in ["", "NaN", "inf", "1e3", "19,99", "1234567890.1234567", "0.0000000000000001", "9%"] {
            assert_eq!(ExactDecimal::parse(text), Err(NotExact), "{text}");
        }
    }

    #[test]
    fn every_type_has_a_name_that_reads_back() {
        for kind in AccountType::ALL {
            assert_eq!(AccountType::from_name(kind.name()), Some(kind));
        }
        assert_eq!(AccountType::from_name("yacht"), None);
    }

    proptest! {
        #[test]
        fn no_digit_is_lost(mantissa in -999_999_999_999_999i64..=999_999_999_999_999, scale in 0u32..=15) {
            let exact = ExactDecimal(Decimal::new(mantissa, scale).normalize());
            let number: Number = serde_json::from_str(&exact.to_number().to_string()).unwrap();
            let back = Decimal::from_str_exact(&number.to_string()).or_else(|_| Decimal::from_scientific(&number.to_string()));
            prop_assert_eq!(back.unwrap().normalize(), exact.0);
        }
    }
}
