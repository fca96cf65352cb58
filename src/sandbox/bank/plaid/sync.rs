//! `/transactions/sync`: what changed since a cursor, in pages that are all of one state of the ledger.

use serde_json::{Value, json};
use steward_actors::store::Versioned;

use super::super::access::Fault;
use super::super::ledger::{self, Change, Posting};
use super::items::{Item, next_turn, refused};
use crate::sandbox::World;
use crate::sandbox::answer::Answer;

/// Where a walk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    /// The change that the walk begins behind.
    from: u64,
    /// The ledger's last change when it began.
    upto: Option<u64>,
    /// The last change that was told.
    at: u64,
}

impl Place {
    fn read(cursor: &str) -> Option<Self> {
        let numbers: Option<Vec<u64>> = if cursor.is_empty() {
            Some(Vec::new())
        } else {
            cursor.split('.').map(|n| n.parse().ok()).collect()
        };
        match numbers?[..] {
            [] => Some(Self { from: 0, upto: None, at: 0 }),
            [from] => Some(Self { from, upto: None, at: from }),
            [from, upto, at] => Some(Self { from, upto: Some(upto), at }),
            _ => None,
        }
    }
}

/// One page, of `count` changes at most.
pub(super) async fn page(
    world: &World,
    item: &Versioned<Item>,
    fault: Option<Fault>,
    cursor: &str,
    count: usize,
) -> Result<Value, Answer> {
    let place = Place::read(cursor).ok_or_else(|| {
        refused(400, "INVALID_REQUEST", "INVALID_FIELD", "cursor not associated with access_token")
    })?;
    if fault == Some(Fault::Mutating) && place.upto.is_some() && next_turn(world, item).await < 2 {
        // What the first page told goes, something else changes, something is new.
        let user_id = item.value.user_id.clone();
        ledger::take_back(world, &user_id, place.from, place.at, 3).await?;
        let change = Change { user_id, add: 1, modify: 2, remove: 2, ..Change::default() };
        ledger::change(world, &change).await?;
    }
    let state = ledger::up_to_date(world, &item.value.user_id).await?;
    let upto = place.upto.unwrap_or(state.seq);
    if upto != state.seq {
        return Err(refused(
            400,
            "TRANSACTIONS_ERROR",
            "TRANSACTIONS_SYNC_MUTATION_DURING_PAGINATION",
            "Underlying transaction data changed since last page was fetched. Please restart pagination.",
        ));
    }
    // One more than asked for tells whether there are more.
    let mut found = ledger::changes(world, &item.value.user_id, place.at, upto, count + 1).await?;
    let has_more = found.len() > count;
    found.truncate(count);
    let at = found.last().map_or(upto, |last| last.changed);
    let next = if has_more { format!("{}.{upto}.{at}", place.from) } else { upto.to_string() };
    let mut page = told(&item.value, &found, place.from);
    page["next_cursor"] = next.into();
    page["has_more"] = has_more.into();
    page["transactions_update_status"] = "HISTORICAL_UPDATE_COMPLETE".into();
    if fault == Some(Fault::Shuffled) {
        shuffle(&mut page);
    }
    Ok(page)
}

fn told(item: &Item, found: &[Posting], from: u64) -> Value {
    let (mut added, mut modified, mut removed) = (Vec::new(), Vec::new(), Vec::new());
    for line in found {
        match (line.removed, line.created > from) {
            (false, true) => added.push(transaction(item, line)),
            (false, false) => modified.push(transaction(item, line)),
            (true, false) => {
                removed.push(
                    json!({"transaction_id": item.own(&line.id), "account_id": item.own(&line.account)}),
                );
            }
            // It came and went since.
            (true, true) => {}
        }
    }
    json!({"added": added, "modified": modified, "removed": removed})
}

fn transaction(item: &Item, line: &Posting) -> Value {
    // Whole cents have two decimals at most, which a double prints as they are.
    let amount = (-line.cents) as f64 / 100.0;
    json!({
        "transaction_id": item.own(&line.id), "account_id": item.own(&line.account), "amount": amount,
        "iso_currency_code": "USD", "unofficial_currency_code": null, "date": line.date,
        "authorized_date": line.date, "name": line.description, "merchant_name": null,
        "pending": line.pending, "payment_channel": "in store",
        "pending_transaction_id": line.replaces.as_deref().map(|id| item.own(id)),
    })
}

/// Any order, and some of them twice.
fn shuffle(page: &mut Value) {
    for list in ["added", "modified", "removed"] {
        let Some(list) = page[list].as_array_mut() else { continue };
        let twice: Vec<Value> = list.iter().filter(|_| fastrand::u8(..) < 64).cloned().collect();
        // A page has no more than was asked for, so those that are told twice come in its place.
        let room = 500_usize.saturating_sub(list.len());
        list.extend(twice.into_iter().take(room));
        fastrand::shuffle(list);
    }
}
