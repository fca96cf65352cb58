//! Times, amounts and currencies as they stand in bodies, with their schemas.

use std::ops::RangeInclusive;

use jiff::civil::{Date, date};
use serde::de::{Error as _, Unexpected};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Number;
use serde_json::value::RawValue;
use steward_actors::accounts::ExactDecimal;
use steward_actors::money::{Currency, Money};
use steward_actors::text::is_control;
use steward_actors::time::Timestamp;
use utoipa::openapi::{KnownFormat, ObjectBuilder, RefOr, Schema, SchemaFormat, Type};
use utoipa::{PartialSchema, ToSchema};

use super::problem::Problem;

/// A point in time: RFC 3339 in UTC, to the millisecond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time(pub Timestamp);

impl From<Timestamp> for Time {
    fn from(at: Timestamp) -> Self {
        Self(at)
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let at = Timestamp::parse(&text);
        at.map(Self).ok_or_else(|| serde::de::Error::custom("is not an RFC 3339 time"))
    }
}

impl PartialSchema for Time {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
            .into()
    }
}

impl ToSchema for Time {}

/// An amount in an answer: the shortest exact JSON number. Its currency stands next to it as a
/// [`CurrencyCode`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Amount(pub Money);

impl From<Money> for Amount {
    fn from(money: Money) -> Self {
        Self(money)
    }
}

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.to_number().serialize(serializer)
    }
}

impl PartialSchema for Amount {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::Number)
            .description(Some("A decimal amount of the currency next to it, at most 15 digits."))
            .into()
    }
}

impl ToSchema for Amount {}

/// An amount in a request, to its last digit: a number that is read into a double has lost those
/// that no double holds. What currency it is in, and so how many decimals it may have, stands
/// elsewhere. However it was written, inside is the shortest way to write it without an exponent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AmountInput(String);

impl AmountInput {
    /// The amount in this currency; `pointer` names the field if it is none.
    ///
    /// # Errors
    /// 422.
    pub fn in_currency(&self, currency: Currency, pointer: &str) -> Result<Money, Problem> {
        Money::from_decimal_text(&self.0, currency)
            .map_err(|error| Problem::invalid_field(pointer, "amount", error.to_string()))
    }

    /// The number, for where the currency is known later.
    pub fn into_text(self) -> String {
        self.0
    }
}

impl Serialize for AmountInput {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.parse::<Number>() {
            Ok(number) => number.serialize(serializer),
            Err(_) => serializer.serialize_str(&self.0),
        }
    }
}

/// A decimal number in a request that is no amount of money: a rate in percent, a quantity. To its
/// last digit, like an [`AmountInput`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DecimalInput(AmountInput);

impl DecimalInput {
    /// The number, exactly; `pointer` names the field if it has too many digits, or is not within
    /// `range`.
    ///
    /// # Errors
    /// 422.
    pub fn within(
        &self,
        range: RangeInclusive<i32>,
        pointer: impl Into<String>,
    ) -> Result<ExactDecimal, Problem> {
        let whole = |number: i32| ExactDecimal::hundredths(number.saturating_mul(100));
        let (least, most) = (whole(*range.start()), whole(*range.end()));
        match ExactDecimal::parse(&self.0.0) {
            Err(error) => Err(Problem::invalid_field(pointer, "decimal", error.to_string())),
            Ok(number) if number < least || number > most => {
                Err(Problem::invalid_field(pointer, "range", format!("is not between {least} and {most}")))
            }
            Ok(number) => Ok(number),
        }
    }
}

impl PartialSchema for DecimalInput {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::Number)
            .description(Some("A decimal number of at most 15 digits."))
            .into()
    }
}

impl ToSchema for DecimalInput {}

/// Decimals, or zeros before the point, that no number has which means something here.
const MOST_PLACES: i64 = 40;

/// The shortest way to write a JSON number without an exponent; `None` if it has too many places.
fn shortest(number: &str) -> Option<String> {
    let (sign, unsigned) = number.split_at(usize::from(number.starts_with('-')));
    let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
    let (whole, decimals) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = format!("{whole}{decimals}");
    let kept = all.trim_end_matches('0');
    let digits = kept.trim_start_matches('0');
    if digits.is_empty() {
        return Some("0".to_owned());
    }
    // The number is `digits` times ten to the power of `power`.
    let shift = i64::try_from(all.len() - kept.len()).ok()? - i64::try_from(decimals.len()).ok()?;
    let power = exponent.parse::<i64>().ok()?.checked_add(shift)?;
    if !(-MOST_PLACES..=MOST_PLACES).contains(&power) {
        return None;
    }
    let places = usize::try_from(power.unsigned_abs()).ok()?;
    if power >= 0 {
        return Some(format!("{sign}{digits}{}", "0".repeat(places)));
    }
    let width = places + 1;
    let padded = format!("{digits:0>width$}");
    let (whole, decimals) = padded.split_at(padded.len() - places);
    Some(format!("{sign}{whole}.{decimals}"))
}

impl<'de> Deserialize<'de> for AmountInput {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <Box<RawValue>>::deserialize(deserializer)?;
        let other = match text.get().as_bytes().first() {
            Some(b'-' | b'0'..=b'9') => {
                return shortest(text.get()).map(Self).ok_or_else(|| D::Error::custom("has too many places"));
            }
            Some(b'"') => "a string",
            Some(b'{') => "an object",
            Some(b'[') => "an array",
            Some(b'n') => "null",
            _ => "a boolean",
        };
        Err(D::Error::invalid_type(Unexpected::Other(other), &"a number"))
    }
}

impl PartialSchema for AmountInput {
    fn schema() -> RefOr<Schema> {
        Amount::schema()
    }
}

impl ToSchema for AmountInput {}

/// A currency by its ISO 4217 code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CurrencyCode(pub Currency);

impl From<Currency> for CurrencyCode {
    fn from(currency: Currency) -> Self {
        Self(currency)
    }
}

impl PartialSchema for CurrencyCode {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .pattern(Some("^[A-Z]{3}$"))
            .description(Some("ISO 4217"))
            .into()
    }
}

impl ToSchema for CurrencyCode {}

/// For garde: a text of one line, in which something can be seen, without control characters. Nothing
/// at all is fine here.
///
/// # Errors
/// If it is blank, or has one.
pub fn is_one_line(text: &str, _: &()) -> garde::Result {
    if !text.is_empty() && text.trim().is_empty() {
        return Err(garde::Error::new("is blank"));
    }
    is_free_of(text, is_control)
}

/// For garde: a text of several lines; tabs and line ends are its only control characters.
///
/// # Errors
/// If there is another one.
pub fn is_text(text: &str, _: &()) -> garde::Result {
    is_free_of(text, |c| is_control(c) && !matches!(c, '\n' | '\r' | '\t'))
}

/// For garde: a day that a person's accounts can have something to do with.
///
/// # Errors
/// If it is before 1900 or after 2200.
pub fn is_of_our_time(day: &Date, _: &()) -> garde::Result {
    match (date(1900, 1, 1)..=date(2200, 12, 31)).contains(day) {
        true => Ok(()),
        false => Err(garde::Error::new("is not between 1900-01-01 and 2200-12-31")),
    }
}

fn is_free_of(text: &str, bad: impl Fn(char) -> bool) -> garde::Result {
    if text.contains(bad) { Err(garde::Error::new("has control characters")) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_can_be_seen_and_does_not_seem_to_be_another() {
        for fine in ["", "x", "Frauenplan 1", "שלום", "日本", " x "] {
            assert!(is_one_line(fine, &()).is_ok(), "{fine:?}");
        }
        for bad in [" ", "\u{a0}", "\n", "a\nb", "a\u{0}", "\u{202e}gpj.exe", "\u{2066}x"] {
            assert!(is_one_line(bad, &()).is_err(), "{bad:?}");
        }
        assert!(is_text("a\n\tb\r\n", &()).is_ok());
        assert!(is_text("a\u{202e}", &()).is_err());
    }

    #[test]
    fn amounts_are_the_shortest_exact_numbers() {
        let usd = Currency::from_code("USD").unwrap();
        let body = json!([Amount(Money::new(120_045, usd)), Amount(Money::new(800_000, usd))]);
        assert_eq!(body.to_string(), "[1200.45,8000]");
    }

    #[test]
    fn an_amount_with_more_decimals_than_its_currency_names_the_field() {
        let input: AmountInput = serde_json::from_str("1.005").unwrap();
        let problem = input.in_currency(Currency::from_code("USD").unwrap(), "/price").unwrap_err();
        assert_eq!((problem.status().as_u16(), problem.errors()[0].field.as_str()), (422, "/price"));
    }

    #[test]
    fn what_is_no_number_is_named_for_what_it_is() {
        for (text, what) in
            [("\"1\"", "a string"), ("null", "null"), ("[1]", "an array"), ("true", "a boolean")]
        {
            let refused = serde_json::from_str::<AmountInput>(text).unwrap_err().to_string();
            assert!(refused.starts_with(&format!("invalid type: {what}, expected a number")), "{refused}");
        }
    }

    proptest! {
        // Whatever is written is either taken as exactly that, or refused.
        #[test]
        fn no_amount_is_rounded(whole in 0_u64..1_000_000, decimals in "[0-9]{0,25}", negative: bool) {
            let point = if decimals.is_empty() { "" } else { "." };
            let text = format!("{}{whole}{point}{decimals}", if negative { "-" } else { "" });
            let input: AmountInput = serde_json::from_str(&text).unwrap();
            let kept = decimals.trim_end_matches('0');
            match input.in_currency(Currency::from_code("USD").unwrap(), "/price") {
                Ok(money) => {
                    prop_assert!(kept.len() <= 2, "{text} became {money:?}");
                    let cents: i64 = format!("{kept:0<2}").parse().unwrap();
                    let minor = i64::try_from(whole).unwrap() * 100 + cents;
                    prop_assert_eq!(money.minor, if negative { -minor } else { minor });
                }
                Err(problem) => {
                    prop_assert!(kept.len() > 2, "{text} was refused");
                    prop_assert_eq!(problem.status().as_u16(), 422);
                    prop_assert_eq!(problem.errors()[0].field.as_str(), "/price");
                }
            }
        }
    }

    #[test]
    fn digits_that_no_double_holds_are_refused_and_not_lost() {
        let usd = Currency::from_code("USD").unwrap();
        let read = |text: &str| {
            let input: AmountInput = serde_json::from_str(text).unwrap();
            input.in_currency(usd, "/price").map(|money| money.minor).map_err(|p| p.status().as_u16())
        };
        assert_eq!(read("12.500000000000000001"), Err(422));
        assert_eq!(read("0.300000000000000000000000000000000000001"), Err(422));
        assert_eq!(read("1234567890123456"), Err(422));
        assert_eq!(read("1000000000000000000000000"), Err(422));
        assert_eq!(read("12.500000000000000000"), Ok(1250));
        assert_eq!(read("-0.01"), Ok(-1));
    }

    #[test]
    fn a_number_is_the_same_however_it_is_written() {
        let zeros = "0".repeat(60);
        let read = |text: &str| serde_json::from_str::<AmountInput>(text).map(AmountInput::into_text);
        for (written, shortest) in [
            ("1", "1"),
            ("1.0", "1"),
            ("10e-1", "1"),
            ("0.1E+1", "1"),
            ("12.50", "12.5"),
            ("1.25e1", "12.5"),
            ("-0.010", "-0.01"),
            ("1e-2", "0.01"),
            ("120", "120"),
            ("1.2e2", "120"),
            ("-0.0", "0"),
            ("0e99999999999999999999", "0"),
            (&format!("0.3{zeros}"), "0.3"),
            (&format!("0.{zeros}3e61"), "3"),
        ] {
            assert_eq!(read(written).unwrap(), shortest, "{written}");
        }
        for endless in
            ["1e400", "1e-400", "1e99999999999999999999", &format!("0.{zeros}1"), &format!("1{zeros}")]
        {
            assert!(read(endless).is_err(), "{endless}");
        }
        let shown = |text: &str| serde_json::to_string(&serde_json::from_str::<AmountInput>(text).unwrap());
        assert_eq!(shown("1.00").unwrap(), "1");
        assert_eq!(shown("1250e-2").unwrap(), "12.5");
    }

    #[test]
    fn times_are_rfc_3339() {
        let at = Time(Timestamp::from_millis(1_750_000_000_120));
        assert_eq!(json!(at), json!("2025-06-15T15:06:40.120Z"));
        assert_eq!(serde_json::from_value::<Time>(json!("2025-06-15T15:06:40.12Z")).unwrap(), at);
        assert!(serde_json::from_value::<Time>(json!("today")).is_err());
    }
}
