//! Money: integer minor units with an [ISO 4217](https://www.iso.org/iso-4217-currency-codes.html)
//! currency. The one module that converts between them and the decimal numbers of the API.
//!
//! Pure. No binary floating point takes part in any sum; a JSON number is read and written by its
//! shortest decimal form, which up to [`MAX_DIGITS`] significant digits is exact.

use std::fmt;

use iso_currency::Currency as Iso;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use serde_json::Number;

/// Significant decimal digits that an amount may have, so that JSON readers with double precision
/// lose nothing.
pub const MAX_DIGITS: u32 = 15;

const MAX_MINOR: i64 = 10i64.pow(MAX_DIGITS) - 1;

/// A currency by its ISO 4217 code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Currency(Iso);

impl Currency {
    /// The currency with this three-letter code, in capitals; `None` if there is none, or if it is
    /// no currency one can pay in (precious metals and test codes have no minor unit).
    pub fn from_code(code: &str) -> Option<Self> {
        let iso = Iso::from_code(code)?;
        iso.exponent().is_some().then_some(Self(iso))
    }

    /// Three capital letters.
    pub fn code(self) -> &'static str {
        self.0.code()
    }

    /// Decimal places of the minor unit: 2 for USD, 0 for JPY, 3 for KWD.
    pub fn exponent(self) -> u32 {
        self.0.exponent().map_or(0, u32::from)
    }
}

impl TryFrom<String> for Currency {
    type Error = String;
    fn try_from(code: String) -> Result<Self, String> {
        Self::from_code(&code).ok_or_else(|| format!("{code:?} is no ISO 4217 currency"))
    }
}

impl From<Currency> for String {
    fn from(currency: Currency) -> Self {
        currency.code().to_owned()
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// Why a number is no amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AmountError {
    /// More decimals than the currency has.
    #[error("has more decimals than the currency ({0})")]
    TooManyDecimals(u32),
    /// More than [`MAX_DIGITS`] significant digits in minor units.
    #[error("has more than 15 digits")]
    TooLarge,
    /// Two amounts of different currencies in one sum.
    #[error("is in another currency")]
    OtherCurrency,
}

/// An amount of one currency. Negative amounts are legal; what may be negative is for the user of
/// the type to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Money {
    /// Minor units: cents for USD.
    pub minor: i64,
    /// The currency these are minor units of.
    pub currency: Currency,
}

impl Money {
    /// `minor` minor units.
    pub const fn new(minor: i64, currency: Currency) -> Self {
        Self { minor, currency }
    }

    /// Reads a JSON number such as `1200.45`.
    ///
    /// # Errors
    /// [`AmountError::TooManyDecimals`], [`AmountError::TooLarge`].
    pub fn from_number(number: &Number, currency: Currency) -> Result<Self, AmountError> {
        Self::from_decimal_text(&number.to_string(), currency)
    }

    /// Reads decimal text such as `1200.45`, as providers send it: digits on both sides of a point, if
    /// there is one, perhaps a minus before and an exponent behind.
    ///
    /// # Errors
    /// [`AmountError::TooManyDecimals`], [`AmountError::TooLarge`] (also for text that is no
    /// decimal number).
    pub fn from_decimal_text(text: &str, currency: Currency) -> Result<Self, AmountError> {
        if !is_decimal(text) {
            return Err(AmountError::TooLarge);
        }
        let exact = Decimal::from_str_exact(text)
            .or_else(|_| Decimal::from_scientific(text))
            .map_err(|_| AmountError::TooLarge)?
            .normalize();
        let exponent = currency.exponent();
        if exact.scale() > exponent {
            return Err(AmountError::TooManyDecimals(exponent));
        }
        let minor = exact
            .checked_mul(Decimal::from(10i64.pow(exponent)))
            .and_then(|m| i64::try_from(m).ok())
            .filter(|m| (-MAX_MINOR..=MAX_MINOR).contains(m))
            .ok_or(AmountError::TooLarge)?;
        Ok(Self::new(minor, currency))
    }

    /// The shortest exact JSON number: `8000`, `1200.45`.
    pub fn to_number(self) -> Number {
        let exact = Decimal::new(self.minor, self.currency.exponent()).normalize();
        if exact.scale() == 0
            && let Ok(whole) = i64::try_from(exact)
        {
            return Number::from(whole);
        }
        // Up to MAX_DIGITS digits the nearest double prints back as the same decimal.
        exact.to_string().parse::<Number>().unwrap_or_else(|_| Number::from(self.minor))
    }

    /// The exact decimal: `1200.45`. For comparisons, not for sums.
    pub fn to_decimal(self) -> Decimal {
        Decimal::new(self.minor, self.currency.exponent())
    }

    /// The sum.
    ///
    /// # Errors
    /// [`AmountError::OtherCurrency`], [`AmountError::TooLarge`].
    pub fn plus(self, other: Self) -> Result<Self, AmountError> {
        if self.currency != other.currency {
            return Err(AmountError::OtherCurrency);
        }
        self.checked(self.minor.checked_add(other.minor))
    }

    /// `count` times this.
    ///
    /// # Errors
    /// [`AmountError::TooLarge`].
    pub fn times(self, count: i64) -> Result<Self, AmountError> {
        self.checked(self.minor.checked_mul(count))
    }

    fn checked(self, minor: Option<i64>) -> Result<Self, AmountError> {
        minor
            .filter(|m| (-MAX_MINOR..=MAX_MINOR).contains(m))
            .map(|minor| Self::new(minor, self.currency))
            .ok_or(AmountError::TooLarge)
    }
}

/// Whether text is a number as JSON writes them, leading zeros aside. What reads it would also take
/// `1_000`, `.5` and `+5`: what a provider means by those is anyone's guess.
fn is_decimal(text: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let (number, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    digits(whole.strip_prefix('-').unwrap_or(whole))
        && digits(fraction)
        && digits(exponent.strip_prefix(['+', '-']).unwrap_or(exponent))
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = Decimal::new(self.minor, self.currency.exponent());
        write!(f, "{exact} {}", self.currency)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn currency(code: &str) -> Currency {
        Currency::from_code(code).unwrap()
    }

    fn read(json: &str, code: &str) -> Result<i64, AmountError> {
        let number: Number = serde_json::from_str(json).unwrap();
        Money::from_number(&number, currency(code)).map(|m| m.minor)
    }

    #[test]
    fn reads_decimals_by_the_currency() {
        assert_eq!(read("1200.45", "USD"), Ok(120_045));
        assert_eq!(read("8000", "USD"), Ok(800_000));
        assert_eq!(read("1e3", "JPY"), Ok(1000));
        assert_eq!(read("0.005", "KWD"), Ok(5));
        assert_eq!(read("1.005", "USD"), Err(AmountError::TooManyDecimals(2)));
        assert_eq!(read("1.5", "JPY"), Err(AmountError::TooManyDecimals(0)));
        assert_eq!(read("1e300", "USD"), Err(AmountError::TooLarge));
        assert_eq!(read("99999999999999.99", "USD"), Err(AmountError::TooLarge));
    }

    #[test]
    fn text_is_read_only_if_it_is_a_plain_number() {
        let read = |text: &str| Money::from_decimal_text(text, currency("USD")).map(|money| money.minor);
        for (text, minor) in
            [("5", 500), ("-0.50", -50), ("007.5", 750), ("12.50", 1250), ("1e2", 10_000), ("5E-1", 50)]
        {
            assert_eq!(read(text), Ok(minor), "{text}");
        }
        for text in [
            "", "-", ".", ".5", "5.", "+5", "--5", "1_000", "1,5", " 5", "5 ", "0x5", "NaN", "1e", "1e1.5",
            "٥",
        ] {
            assert_eq!(read(text), Err(AmountError::TooLarge), "{text}");
        }
    }

    #[test]
    fn writes_the_shortest_exact_number() {
        let usd = currency("USD");
        assert_eq!(Money::new(120_045, usd).to_number().to_string(), "1200.45");
        assert_eq!(Money::new(800_000, usd).to_number().to_string(), "8000");
        assert_eq!(Money::new(-10, usd).to_number().to_string(), "-0.1");
    }

    #[test]
    fn unknown_and_unpayable_currencies_are_refused() {
        assert!(Currency::from_code("usd").is_none());
        assert!(Currency::from_code("ABC").is_none());
        assert!(Currency::from_code("XXX").is_none());
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(minor in -MAX_MINOR..=MAX_MINOR, code in prop::sample::select(vec!["USD", "JPY", "KWD"])) {
            let money = Money::new(minor, currency(code));
            let text = serde_json::to_string(&money.to_number()).unwrap();
            let back: Number = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(Money::from_number(&back, money.currency), Ok(money));
        }

        #[test]
        fn sums_never_wrap(a in any::<i64>(), b in any::<i64>()) {
            let usd = currency("USD");
            if let Ok(sum) = Money::new(a, usd).plus(Money::new(b, usd)) {
                prop_assert_eq!(i128::from(sum.minor), i128::from(a) + i128::from(b));
            }
        }
    }
}
