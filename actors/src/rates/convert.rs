//! An amount in another currency. Pure, and without binary floating point.

use rust_decimal::{Decimal, RoundingStrategy};

use crate::money::{Currency, MAX_DIGITS, Money};

/// `amount` in `to`: one unit of the base is `from_rate` of the amount's currency and `to_rate` of
/// the other. Rounded once, to the minor unit, half away from zero.
pub(super) fn convert(amount: Money, from_rate: Decimal, to: Currency, to_rate: Decimal) -> Option<Money> {
    if amount.currency == to {
        return Some(amount);
    }
    let from = Decimal::new(amount.minor, amount.currency.exponent());
    let scaled = from.checked_mul(to_rate)?.checked_mul(Decimal::from(10_i64.pow(to.exponent())))?;
    let minor =
        scaled.checked_div(from_rate)?.round_dp_with_strategy(0, RoundingStrategy::MidpointAwayFromZero);
    let minor = i64::try_from(minor).ok().filter(|minor| minor.unsigned_abs() < 10_u64.pow(MAX_DIGITS))?;
    Some(Money::new(minor, to))
}
