//! Times, amounts and currencies as they stand in bodies, with their schemas.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Number;
use steward_actors::money::{Currency, Money};
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

/// An amount in a request. What currency it is in, and so how many decimals it may have, stands
/// elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AmountInput(pub Number);

impl AmountInput {
    /// The amount in this currency; `pointer` names the field if it is none.
    ///
    /// # Errors
    /// 422.
    pub fn in_currency(&self, currency: Currency, pointer: &str) -> Result<Money, Problem> {
        Money::from_number(&self.0, currency)
            .map_err(|error| Problem::invalid_field(pointer, "amount", error.to_string()))
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

/// For garde: a text of one line, without control characters.
///
/// # Errors
/// If there is one.
pub fn is_one_line(text: &str, _: &()) -> garde::Result {
    is_free_of(text, |c| c.is_control())
}

/// For garde: a text of several lines; tabs and line ends are its only control characters.
///
/// # Errors
/// If there is another one.
pub fn is_text(text: &str, _: &()) -> garde::Result {
    is_free_of(text, |c| c.is_control() && !matches!(c, '\n' | '\r' | '\t'))
}

fn is_free_of(text: &str, bad: impl Fn(char) -> bool) -> garde::Result {
    if text.contains(bad) { Err(garde::Error::new("has control characters")) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

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
    fn times_are_rfc_3339() {
        let at = Time(Timestamp::from_millis(1_750_000_000_120));
        assert_eq!(json!(at), json!("2025-06-15T15:06:40.120Z"));
        assert_eq!(serde_json::from_value::<Time>(json!("2025-06-15T15:06:40.12Z")).unwrap(), at);
        assert!(serde_json::from_value::<Time>(json!("today")).is_err());
    }
}
