//! What the bank says of a user: made from the user's id and the date alone, so that it is the same
//! on every replica and after every restart. Pure.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp as Instant, ToSpan};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use steward_actors::time::Timestamp;

/// Days that transactions go back.
pub(super) const DAYS: i32 = 365;

/// The accounts that each user has.
pub(super) const KINDS: [&str; 3] = ["checking", "savings", "credit"];

const MERCHANTS: [&str; 8] = [
    "Corner Grocery",
    "City Transit",
    "Blue Bottle Coffee",
    "Hardware & Home",
    "Streaming Club",
    "Book Nook",
    "Green Pharmacy",
    "Pasta Fresca",
];

/// What is asked for.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wanted {
    /// Transactions posted at or after this, in Unix seconds.
    pub(super) start: Option<i64>,
    /// Transactions posted before this, in Unix seconds.
    pub(super) end: Option<i64>,
    /// Pending ones too.
    pub(super) pending: bool,
    /// No transactions at all.
    pub(super) balances_only: bool,
}

/// The accounts of a user, as [SimpleFIN](https://www.simplefin.org/protocol.html#account) shows
/// them; kind and details are in `extra`, as the protocol has none. What is owed is negative.
pub(super) fn accounts(user_id: &str, now: Timestamp, wanted: Wanted) -> Vec<Value> {
    let today = today(now);
    KINDS.map(|kind| account(user_id, kind, today, now, wanted)).into()
}

/// The bank's id for an account.
pub(super) fn account_id(user_id: &str, kind: &str) -> String {
    format!("ACT-{:012x}-{kind}", number(user_id, 1 << 48))
}

/// The last digits of an account's number.
pub(super) fn mask(user_id: &str, kind: &str) -> String {
    format!("{:04}", number(&format!("{user_id}/{kind}/mask"), 10_000))
}

/// What is on an account, in cents. On the credit card, what is owed.
pub(super) struct Balances {
    pub(super) current: i64,
    pub(super) available: i64,
    pub(super) limit: Option<i64>,
}

pub(super) fn balances(user_id: &str, kind: &str) -> Balances {
    let of = |label: &str, below: u64| number(&format!("{user_id}/{kind}/{label}"), below);
    let current = match kind {
        "checking" => signed(50_000 + of("balance", 450_000)),
        "savings" => signed(100_000 + of("balance", 2_000_000)),
        _ => signed(of("balance", 150_000)),
    };
    let limit = (kind == "credit").then(|| signed(100_000 * (2 + of("limit", 9))));
    Balances { current, available: limit.map_or(current, |limit| limit - current), limit }
}

/// What happens on an account on a day.
pub(super) struct Made {
    pub(super) cents: i64,
    pub(super) description: &'static str,
    /// The second of the day.
    second: i64,
}

pub(super) fn of_day(account: &str, day: Date) -> Option<Made> {
    let of = |label: &str, below: u64| number(&format!("{account}/{day}/{label}"), below);
    if of("any", 2) == 0 {
        return None;
    }
    let payday = day.day() == 1;
    let cents =
        if payday { signed(150_000 + of("amount", 100_000)) } else { -signed(199 + of("amount", 15_000)) };
    let merchant = MERCHANTS[usize::try_from(of("merchant", MERCHANTS.len() as u64)).unwrap_or(0)];
    let description = if payday { "Salary" } else { merchant };
    Some(Made { cents, description, second: signed(of("second", 86_400)) })
}

fn account(user_id: &str, kind: &str, today: Date, now: Timestamp, wanted: Wanted) -> Value {
    let of = |label: &str, below: u64| number(&format!("{user_id}/{kind}/{label}"), below);
    let id = account_id(user_id, kind);
    let balances = balances(user_id, kind);
    let (name, balance, available, extra) = match kind {
        "checking" => {
            let cents = balances.current;
            let routing = format!("{:09}", 100_000_000 + of("routing", 800_000_000));
            let extra = json!({"type": kind, "overdraft-protection": of("overdraft", 2) == 1, "routing-number": routing});
            ("Everyday Checking", cents, cents, extra)
        }
        "savings" => {
            let cents = balances.current;
            (
                "Rainy Day Savings",
                cents,
                cents,
                json!({"type": kind, "apy": decimal(signed(100 + of("apy", 400)))}),
            )
        }
        _ => {
            let (limit, owed) = (balances.limit.unwrap_or_default(), balances.current);
            let due = today.first_of_month().checked_add(1.month().days(14)).unwrap_or(today);
            let extra = json!({
                "type": kind, "credit-limit": decimal(limit), "available-credit": decimal(limit - owed),
                "apr": decimal(signed(1499 + of("apr", 1000))), "due-date": due.to_string(),
            });
            ("Rewards Credit Card", -owed, limit - owed, extra)
        }
    };
    let transactions = if wanted.balances_only { Vec::new() } else { transactions(&id, today, now, wanted) };
    json!({
        "org": {"domain": "sandbox.example", "name": "Sandbox Bank", "sfin-url": "https://sandbox.example/simplefin"},
        "id": id,
        "name": name,
        "currency": "USD",
        "balance": decimal(balance),
        "available-balance": decimal(available),
        "balance-date": now.as_millis().div_euclid(1000),
        "transactions": transactions,
        "extra": extra,
    })
}

/// About one transaction every second day; today's are pending.
fn transactions(account: &str, today: Date, now: Timestamp, wanted: Wanted) -> Vec<Value> {
    let mut transactions = Vec::new();
    for back in 0..DAYS {
        let Ok(day) = today.checked_sub(back.days()) else { break };
        let pending = back == 0;
        let Some(made) = of_day(account, day).filter(|_| !pending || wanted.pending) else { continue };
        let posted = unix_seconds(day) + made.second;
        let outside =
            wanted.start.is_some_and(|start| posted < start) || wanted.end.is_some_and(|end| posted >= end);
        if outside || posted * 1000 > now.as_millis() {
            continue;
        }
        transactions.push(json!({
            "id": format!("TRN-{account}-{day}"),
            "posted": if pending { 0 } else { posted },
            "transacted_at": posted,
            "amount": decimal(made.cents),
            "description": made.description,
            "pending": pending,
        }));
    }
    transactions
}

/// A number below `below` that is always the same for `label`.
fn number(label: &str, below: u64) -> u64 {
    let digest = Sha256::digest(label);
    let first = digest.iter().take(8).fold(0u64, |number, byte| number << 8 | u64::from(*byte));
    first % below
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Cents as decimal text.
pub(super) fn decimal(cents: i64) -> String {
    let sign = if cents < 0 { "-" } else { "" };
    format!("{sign}{}.{:02}", cents.unsigned_abs() / 100, cents.unsigned_abs() % 100)
}

pub(super) fn today(now: Timestamp) -> Date {
    let now = Instant::from_millisecond(now.as_millis()).unwrap_or_default();
    now.to_zoned(TimeZone::UTC).date()
}

/// When a day begins, in Unix seconds.
pub(super) fn unix_seconds(day: Date) -> i64 {
    day.to_zoned(TimeZone::UTC).map_or(0, |midnight| midnight.timestamp().as_second())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: Timestamp = Timestamp::from_millis(1_750_000_000_000);

    #[test]
    fn a_user_has_the_same_three_accounts_each_time_and_another_user_has_others() {
        let all = Wanted { pending: true, ..Wanted::default() };
        let first = accounts("u1", NOON, all);
        assert_eq!(first, accounts("u1", NOON, all));
        assert_eq!(first.len(), 3);
        assert_ne!(first[0]["id"], accounts("u2", NOON, all)[0]["id"]);
        assert_eq!(first[2]["extra"]["due-date"], "2025-07-15");
    }

    #[test]
    fn transactions_cover_a_year_and_keep_their_ids_as_days_go_by() {
        let ids = |now: Timestamp| -> Vec<String> {
            let all = accounts("u1", now, Wanted::default());
            let list = all[0]["transactions"].as_array().unwrap();
            list.iter().map(|transaction| transaction["id"].as_str().unwrap().to_owned()).collect()
        };
        let (today, tomorrow) = (ids(NOON), ids(NOON.plus(std::time::Duration::from_secs(86_400))));
        assert!(today.len() > 100, "{}", today.len());
        let kept = today.iter().filter(|id| tomorrow.contains(id)).count();
        assert!(kept >= today.len() - 1);
    }

    #[test]
    fn a_start_date_leaves_out_what_is_older() {
        let start = NOON.as_millis() / 1000 - 30 * 86_400;
        let recent = accounts("u1", NOON, Wanted { start: Some(start), ..Wanted::default() });
        for transaction in recent.iter().flat_map(|account| account["transactions"].as_array().unwrap()) {
            assert!(transaction["posted"].as_i64().unwrap() >= start);
        }
    }

    #[test]
    fn amounts_are_exact_text() {
        assert_eq!(decimal(-5), "-0.05");
        assert_eq!(decimal(120_045), "1200.45");
    }
}
