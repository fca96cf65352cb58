//! Amounts as Stripe counts them, and which of them it moves. Pure.
//!
//! Who calls it: the adapter; and the sandbox, which charges as little and no less.

use steward_actors::money::{Currency, Money};
use steward_actors::providers::NotChargeable;

/// Twelve digits by card, whatever the currency, and less with some cards; other methods than cards, which
/// are not asked for, take eight:
/// <https://docs.stripe.com/currencies#minimum-and-maximum-charge-amounts>.
const MOST: i64 = 999_999_999_999;

/// Decimal places of the amounts that Stripe takes, where they are not ISO 4217's:
/// <https://docs.stripe.com/currencies#special-cases>.
fn exponent(currency: Currency) -> u32 {
    match currency.code() {
        "MGA" => 0,
        "ISK" | "UGX" => 2,
        _ => currency.exponent(),
    }
}

/// What amounts of a currency are a multiple of, in our minor units: of three decimals the last is
/// always 0 (<https://docs.stripe.com/currencies#three-decimal>).
fn step(currency: Currency) -> i64 {
    let (ours, theirs) = (currency.exponent(), exponent(currency));
    if theirs == 3 { 10 } else { 10i64.pow(ours.saturating_sub(theirs)) }
}

/// `money` in Stripe's units.
///
/// # Errors
/// [`NotChargeable`] if it can neither be charged nor given back.
pub(super) fn to_stripe(money: Money) -> Result<i64, NotChargeable> {
    let step = step(money.currency);
    if money.minor % step != 0 {
        let step = Money::new(step, money.currency);
        let why = format!("{money} is no multiple of {step}, and only those can be charged or given back");
        return Err(NotChargeable(why));
    }
    let (ours, theirs) = (money.currency.exponent(), exponent(money.currency));
    let unit = 10i64.pow(ours.abs_diff(theirs));
    let amount = if theirs >= ours { money.minor.checked_mul(unit) } else { Some(money.minor / unit) };
    let too_much = || {
        let most = if theirs >= ours { MOST / unit } else { MOST * unit };
        let most = Money::new(most, money.currency);
        NotChargeable(format!("{money} is more than {most}, the most that can be charged at once"))
    };
    amount.filter(|amount| *amount <= MOST).ok_or_else(too_much)
}

/// Whether `money` can be charged. What is given back has no least amount.
///
/// # Errors
/// [`NotChargeable`].
pub(super) fn check_charge(money: Money) -> Result<(), NotChargeable> {
    let least = least(money.currency.code());
    if to_stripe(money)? >= least {
        return Ok(());
    }
    // Where there is a least amount Stripe's units are ours.
    let least = Money::new(least, money.currency);
    Err(NotChargeable(format!("{money} is less than {least}, the least that can be charged")))
}

/// The least that Stripe charges in the currency with this code, in its units; 1 where it tells none:
/// <https://docs.stripe.com/currencies#minimum-and-maximum-charge-amounts>. It is told for the currency that an
/// account settles in. What is charged in another has to come to that one's least amount when it is
/// converted, which only Stripe can tell; here each charge is taken to settle in its own.
pub(crate) fn least(code: &str) -> i64 {
    match code {
        "GBP" => 30,
        "ARS" | "AUD" | "BRL" | "CAD" | "CHF" | "COP" | "EUR" | "IDR" | "ILS" | "INR" | "JPY" | "KRW"
        | "NZD" | "PHP" | "RUB" | "SGD" | "USD" | "ZAR" => 50,
        "AED" | "MYR" | "PLN" | "RON" => 200,
        "DKK" => 250,
        "NOK" | "SEK" => 300,
        "HKD" => 400,
        "MXN" | "THB" => 1000,
        "CZK" => 1500,
        "HUF" => 17_500,
        _ => 1,
    }
}

/// What Stripe's amounts of a currency are a multiple of, in its units: of three decimals the last is always 0,
/// and of two that a currency does not have by ISO 4217 both are
/// (<https://docs.stripe.com/currencies#special-cases>).
pub(crate) fn multiple(currency: Currency) -> i64 {
    let (ours, theirs) = (currency.exponent(), exponent(currency));
    if theirs == 3 { 10 } else { 10i64.pow(theirs.saturating_sub(ours)) }
}

/// An amount in Stripe's units; `None` if it is none of `currency`.
pub(super) fn from_stripe(amount: i64, currency: Currency) -> Option<Money> {
    let (ours, theirs) = (currency.exponent(), exponent(currency));
    let unit = 10i64.pow(ours.abs_diff(theirs));
    let minor = if theirs >= ours {
        Some(amount / unit).filter(|_| amount % unit == 0)
    } else {
        amount.checked_mul(unit)
    };
    minor.map(|minor| Money::new(minor, currency))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn money(minor: i64, code: &str) -> Money {
        Money::new(minor, Currency::from_code(code).unwrap())
    }

    #[test]
    fn amounts_follow_stripes_special_currencies() {
        for (minor, code, theirs) in
            [(1999, "USD", 1999), (500, "JPY", 500), (500, "ISK", 50_000), (500, "MGA", 5)]
        {
            assert_eq!(to_stripe(money(minor, code)), Ok(theirs), "{code}");
            assert_eq!(from_stripe(theirs, money(0, code).currency), Some(money(minor, code)), "{code}");
        }
        assert!(to_stripe(money(501, "MGA")).is_err());
    }

    #[test]
    fn what_stripe_cannot_charge_is_refused_and_said_why() {
        let why = |minor, code| to_stripe(money(minor, code)).unwrap_err().to_string();
        for code in ["BHD", "JOD", "KWD", "OMR", "TND"] {
            assert_eq!(to_stripe(money(5120, code)), Ok(5120), "{code}");
            assert!(why(5124, code).contains(&format!("multiple of 0.010 {code}")), "{}", why(5124, code));
        }
        assert!(why(501, "MGA").contains("multiple of 1.00 MGA"));
        assert_eq!(to_stripe(money(MOST, "USD")), Ok(MOST));
        let most = "is more than 9999999999.99 USD, the most that can be charged at once";
        assert!(why(MOST + 1, "USD").ends_with(most), "{}", why(MOST + 1, "USD"));
        assert!(why(MOST, "ISK").contains("the most that can be charged"));
    }

    #[test]
    fn what_stripe_takes_is_what_our_amounts_come_to() {
        for (code, theirs) in [("USD", 1), ("JPY", 1), ("KWD", 10), ("TND", 10), ("ISK", 100), ("MGA", 1)] {
            let (step, currency) = (multiple(money(0, code).currency), money(0, code).currency);
            assert_eq!(step, theirs, "{code}");
            for amount in 1..=3 * step {
                let ours = from_stripe(amount, currency).filter(|ours| to_stripe(*ours) == Ok(amount));
                assert_eq!(ours.is_some(), amount % step == 0, "{amount} {code}");
            }
        }
    }

    #[test]
    fn below_the_least_amount_of_its_currency_nothing_is_charged_but_any_is_given_back() {
        for (least, code) in
            [(50, "USD"), (50, "EUR"), (30, "GBP"), (50, "JPY"), (17_500, "HUF"), (1500, "CZK"), (1, "ISK")]
        {
            assert_eq!(check_charge(money(least, code)), Ok(()), "{code}");
            assert!(to_stripe(money(1, code)).is_ok(), "{code}");
        }
        let why = |minor, code| check_charge(money(minor, code)).unwrap_err().to_string();
        assert_eq!(why(49, "USD"), "0.49 USD is less than 0.50 USD, the least that can be charged");
        assert_eq!(why(49, "JPY"), "49 JPY is less than 50 JPY, the least that can be charged");
        assert!(why(5124, "KWD").contains("multiple of 0.010 KWD"));
        assert!(why(MOST + 1, "USD").contains("the most that can be charged"));
    }
}
