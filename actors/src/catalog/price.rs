//! Prices as the catalogue sorts and bounds them, whatever their currency. Pure.
//!
//! A *level* is an amount in ten-thousandths of its currency's unit, which is exact for every
//! currency of ISO 4217. A product's level is that of its cheapest variant. Levels of different
//! currencies are compared as numbers: a shop sells in one currency, or lives with that.

use rust_decimal::Decimal;

use crate::money::Money;

/// Decimals of a level.
const DECIMALS: u32 = 4;
/// A unit of a currency.
const UNIT: i64 = 10_i64.pow(DECIMALS);
/// Powers of ten of the highest bands.
const DECADES: u32 = 14;

/// The level of an amount; the highest there is for what has no level.
pub(super) fn level(price: Money) -> i64 {
    let factor = 10_i64.pow(DECIMALS.saturating_sub(price.currency.exponent()));
    price.minor.saturating_mul(factor)
}

/// Reads a bound such as `12.5`; `None` for what is no decimal number, negative, too large, or has
/// more than four decimals.
pub fn level_of_text(text: &str) -> Option<i64> {
    let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let exact = Decimal::from_str_exact(text).ok().filter(|_| plain)?.normalize();
    if exact.scale() > DECIMALS {
        return None;
    }
    exact.checked_mul(Decimal::from(UNIT))?.try_into().ok()
}

/// Where the bands of prices begin: 0, 1, 2, 5, 10, 20, 50, … units.
fn starts() -> impl Iterator<Item = i64> {
    let decades = (0..=DECADES).map(|decade| UNIT * 10_i64.pow(decade));
    std::iter::once(0).chain(decades.flat_map(|decade| [1, 2, 5].map(|n| n * decade)))
}

/// The number of the band that a level is in.
pub(super) fn band(level: i64) -> usize {
    starts().take_while(|start| *start <= level).count().saturating_sub(1)
}

/// Where a band begins and the next one does, in whole units; `None` behind the last.
pub(super) fn band_bounds(band: usize) -> (i64, Option<i64>) {
    let mut starts = starts().skip(band).map(|start| start / UNIT);
    (starts.next().unwrap_or_default(), starts.next())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::money::Currency;

    fn money(minor: i64, code: &str) -> Money {
        Money::new(minor, Currency::from_code(code).unwrap())
    }

    #[test]
    fn levels_are_the_same_for_the_same_number_in_any_currency() {
        assert_eq!(level(money(1999, "USD")), 199_900);
        assert_eq!(level(money(20, "JPY")), 200_000);
        assert_eq!(level(money(20_000, "KWD")), 200_000);
        assert_eq!(level(money(200_000, "CLF")), 200_000);
        assert_eq!(level(money(999_999_999_999_999, "JPY")), i64::MAX);
    }

    #[test]
    fn bounds_are_plain_decimals() {
        for (text, expected) in
            [("0", 0), ("12.5", 125_000), ("0.0001", 1), ("007", 70_000), ("1.50000", 15_000)]
        {
            assert_eq!(level_of_text(text), Some(expected), "{text}");
        }
        for bad in [
            "",
            "-1",
            "+1",
            "1e3",
            "1,5",
            " 1",
            "1.00001",
            "NaN",
            "0x1",
            "1_000",
            ".",
            "99999999999999999999",
        ] {
            assert_eq!(level_of_text(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn every_level_is_in_the_band_that_bounds_it(level in 0..=i64::MAX) {
            let (from, until) = band_bounds(band(level));
            prop_assert!(from <= level / UNIT);
            prop_assert!(until.is_none_or(|until| level / UNIT < until));
        }

        #[test]
        fn a_text_of_an_amount_has_its_level(minor in 0..10_i64.pow(15), code in prop::sample::select(vec!["USD", "KWD", "CLF"])) {
            let price = money(minor, code);
            prop_assert_eq!(level_of_text(&price.to_number().to_string()), Some(level(price)));
        }
    }
}
