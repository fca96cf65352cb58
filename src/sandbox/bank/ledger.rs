//! What the bank knows of a user's transactions: each change of it in order, so that Plaid's face can
//! tell what changed since, and a test can ask what is true. Users who never came by Plaid, nor were
//! given one, have no ledger: theirs is made from their id ([`super::data`]).

use jiff::ToSpan;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use steward_actors::cluster::Clock;
use steward_actors::ids::new_id;
use steward_actors::store::{
    Batch, Collection, CommitError, Cursor, Entity, Field, Index, Kind, Query, StoreError, Versioned, find,
    load,
};

use super::data::{self, KINDS};
use crate::sandbox::World;
use crate::sandbox::answer::Answer;

/// How far each ledger is.
pub(in crate::sandbox) static LEDGERS: Collection = Collection {
    name: "sandbox_ledgers",
    fields: &[Field::required("seq", Kind::Integer)],
    indexes: &[],
    words: &[],
    expires: None,
};

/// The lines of all ledgers.
pub(in crate::sandbox) static POSTINGS: Collection = Collection {
    name: "sandbox_postings",
    fields: &[
        Field::required("userId", Kind::Text),
        Field::required("changed", Kind::Integer),
        Field::required("date", Kind::Text),
    ],
    indexes: &[Index::by("changes", &["userId", "changed"]), Index::by("dates", &["userId", "date"])],
    words: &[],
    expires: None,
};

/// Lines that one commit writes.
const WRITTEN: usize = 500;
/// How often a change is tried while others change the same ledger.
const ATTEMPTS: u32 = 20;

/// How far a ledger is.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct LedgerState {
    id: String,
    /// The number of the last change.
    pub(super) seq: u64,
    /// The day until which it was made up.
    through: String,
}

impl Entity for LedgerState {
    fn collection() -> &'static Collection {
        &LEDGERS
    }

    fn id(&self) -> &str {
        &self.id
    }
}

/// A line.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::sandbox) struct Posting {
    pub(super) id: String,
    pub(super) user_id: String,
    /// `checking`, `savings` or `credit`.
    pub(super) account: String,
    /// The change that made it.
    pub(super) created: u64,
    /// The last change of it.
    pub(super) changed: u64,
    #[serde(default)]
    pub(super) removed: bool,
    pub(super) date: String,
    /// Negative: it left the holder.
    pub(super) cents: i64,
    pub(super) description: String,
    pub(super) pending: bool,
    /// The pending line that was booked as this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) replaces: Option<String>,
}

impl Entity for Posting {
    fn collection() -> &'static Collection {
        &POSTINGS
    }

    fn id(&self) -> &str {
        &self.id
    }
}

/// What is to happen to a ledger, in this order.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub(in crate::sandbox) struct Change {
    pub(in crate::sandbox) user_id: String,
    /// So many booked lines appear,
    pub(super) add: usize,
    /// spread over so many days back (1 to 700; 30 if 0),
    pub(super) days: i32,
    /// and so many pending ones, of today.
    pub(super) pending: usize,
    /// All that is pending is booked, each under another id and a day later.
    pub(super) book: bool,
    /// So many lines get another amount,
    pub(super) modify: usize,
    /// and so many vanish, the newest first.
    pub(super) remove: usize,
}

/// How far this user's ledger is; `None` if there is none.
pub(super) async fn state(
    world: &World,
    user_id: &str,
) -> Result<Option<Versioned<LedgerState>>, StoreError> {
    load(&*world.store, user_id).await
}

/// The ledger, brought up to today; made if there is none.
pub(super) async fn up_to_date(world: &World, user_id: &str) -> Result<LedgerState, Answer> {
    let today = data::today(world.clock.now());
    for _ in 0..ATTEMPTS {
        let found = state(world, user_id).await?;
        if let Some(found) = found.as_ref().filter(|found| found.value.through >= today.to_string()) {
            return Ok(found.value.clone());
        }
        match made_up_to(world, user_id, found, today).await {
            Err(CommitError::Conflict(_)) => {}
            made => return Ok(made?),
        }
    }
    Err(Answer::unavailable("The sandbox's ledger keeps changing."))
}

async fn made_up_to(
    world: &World,
    user_id: &str,
    found: Option<Versioned<LedgerState>>,
    today: Date,
) -> Result<LedgerState, CommitError> {
    let (mut state, version) = match found {
        Some(found) => (found.value, found.version),
        None => (LedgerState { id: user_id.to_owned(), seq: 0, through: String::new() }, 0),
    };
    let through: Option<Date> = state.through.parse().ok();
    let first = through.unwrap_or_else(|| today.checked_sub(data::DAYS.days()).unwrap_or(today));
    let mut writes: Vec<(Posting, u64)> = Vec::new();
    for kind in KINDS {
        let account = data::account_id(user_id, kind);
        let mut day = first;
        while day <= today {
            if let Some(made) = data::of_day(&account, day) {
                let pending_id = format!("PND-{account}-{day}");
                let was_pending = through == Some(day);
                if was_pending && day < today {
                    let pending: Option<Versioned<Posting>> = load(&*world.store, &pending_id)
                        .await
                        .map_err(|e| CommitError::Unavailable(e.to_string()))?;
                    if let Some(pending) = pending.filter(|pending| !pending.value.removed) {
                        state.seq += 1;
                        writes.push((
                            Posting { removed: true, changed: state.seq, ..pending.value },
                            pending.version,
                        ));
                    }
                }
                if day < today || !was_pending {
                    state.seq += 1;
                    let pending = day == today;
                    let id = if pending { pending_id.clone() } else { format!("TRN-{account}-{day}") };
                    let posting = Posting {
                        id,
                        user_id: user_id.to_owned(),
                        account: kind.to_owned(),
                        created: state.seq,
                        changed: state.seq,
                        removed: false,
                        date: day.to_string(),
                        cents: made.cents,
                        description: made.description.to_owned(),
                        pending,
                        replaces: was_pending.then_some(pending_id).filter(|_| !pending),
                    };
                    writes.push((posting, 0));
                }
            }
            let Ok(next) = day.tomorrow() else { break };
            day = next;
        }
    }
    state.through = today.to_string();
    let batch = Batch::new().put(&state, version);
    let batch = writes.iter().fold(batch, |batch, (posting, version)| batch.put(posting, *version));
    world.store.commit(batch).await?;
    Ok(state)
}

/// Changes a ledger. What was answered before is never half done: each commit raises `seq`.
pub(in crate::sandbox) async fn change(world: &World, asked: &Change) -> Result<u64, Answer> {
    up_to_date(world, &asked.user_id).await?;
    let today = data::today(world.clock.now());
    let days = if asked.days <= 0 { 30 } else { asked.days.min(700) };
    let mut left = asked.add;
    let mut number = 0_usize;
    while left > 0 {
        let now = left.min(WRITTEN);
        let lines = (number..number + now).map(|n| {
            let back = 1 + i32::try_from(n % usize::try_from(days).unwrap_or(1)).unwrap_or(0);
            let date = today.checked_sub(back.days()).unwrap_or(today);
            line(&asked.user_id, n, date, false)
        });
        insert(world, &asked.user_id, lines.collect()).await?;
        (number, left) = (number + now, left - now);
    }
    if asked.pending > 0 {
        let lines = (0..asked.pending.min(WRITTEN)).map(|n| line(&asked.user_id, n, today, true)).collect();
        insert(world, &asked.user_id, lines).await?;
    }
    if asked.book {
        book(world, &asked.user_id).await?;
    }
    let newest = newest(world, &asked.user_id, asked.modify + asked.remove).await?;
    let (modified, removed) = newest.split_at(asked.modify.min(newest.len()));
    let modified = modified.iter().map(|found| {
        let cents = found.value.cents - 1;
        (Posting { cents, ..found.value.clone() }, found.version)
    });
    let removed =
        removed.iter().map(|found| (Posting { removed: true, ..found.value.clone() }, found.version));
    let writes: Vec<_> = modified.chain(removed).collect();
    for writes in writes.chunks(WRITTEN) {
        write(world, &asked.user_id, writes.to_vec()).await?;
    }
    let state = state(world, &asked.user_id).await?;
    Ok(state.map_or(0, |state| state.value.seq))
}

/// A line that no other is like.
fn line(user_id: &str, n: usize, date: Date, pending: bool) -> Posting {
    let id = format!("LNE-{}", new_id());
    Posting {
        description: format!("Payment {}", &id[4..]),
        id,
        user_id: user_id.to_owned(),
        account: KINDS[n % KINDS.len()].to_owned(),
        created: 0,
        changed: 0,
        removed: false,
        date: date.to_string(),
        cents: -199 - i64::try_from(n % 5000).unwrap_or(0),
        pending,
        replaces: None,
    }
}

async fn insert(world: &World, user_id: &str, lines: Vec<Posting>) -> Result<(), Answer> {
    write(world, user_id, lines.into_iter().map(|line| (line, 0)).collect()).await
}

async fn book(world: &World, user_id: &str) -> Result<(), Answer> {
    let pending = newest(world, user_id, WRITTEN).await?;
    let mut writes = Vec::new();
    for found in pending.into_iter().filter(|found| found.value.pending) {
        let date: Date = found.value.date.parse().unwrap_or_default();
        let booked = Posting {
            id: format!("BKD-{}", new_id()),
            date: date.tomorrow().unwrap_or(date).to_string(),
            pending: false,
            replaces: Some(found.value.id.clone()),
            created: 0,
            ..found.value.clone()
        };
        writes.push((Posting { removed: true, ..found.value }, found.version));
        writes.push((booked, 0));
    }
    for writes in writes.chunks(WRITTEN) {
        write(world, user_id, writes.to_vec()).await?;
    }
    Ok(())
}

/// Writes lines with the next numbers, at the versions that they are based on.
async fn write(world: &World, user_id: &str, lines: Vec<(Posting, u64)>) -> Result<(), Answer> {
    let mut last = Answer::unavailable("The sandbox's ledger keeps changing.");
    for _ in 0..ATTEMPTS {
        let Some(Versioned { value: mut state, version }) = state(world, user_id).await? else {
            return Err(Answer::missing("ledger", user_id));
        };
        let mut batch = Batch::new();
        for (line, version) in &lines {
            state.seq += 1;
            let created = if *version == 0 { state.seq } else { line.created };
            batch = batch.put(&Posting { created, changed: state.seq, ..line.clone() }, *version);
        }
        match world.store.commit(batch.put(&state, version)).await {
            Ok(()) => return Ok(()),
            Err(error @ CommitError::Conflict(_)) => last = error.into(),
            Err(error) => return Err(error.into()),
        }
    }
    Err(last)
}

/// The lines that changed last and are there, the newest first.
async fn newest(world: &World, user_id: &str, most: usize) -> Result<Vec<Versioned<Posting>>, StoreError> {
    let (mut found, mut after) = (Vec::new(), None);
    while found.len() < most {
        let query = Query::by(&POSTINGS, "changes").equal(user_id).descending().limit(WRITTEN).after(after);
        let (page, next) = find::<Posting>(&*world.store, query).await?;
        found.extend(page.into_iter().filter(|posting| !posting.value.removed));
        after = next;
        if after.is_none() {
            break;
        }
    }
    found.truncate(most);
    Ok(found)
}

/// The next `limit` (1 to 1,000) lines that changed after change `after`, up to change `upto`.
pub(super) async fn changes(
    world: &World,
    user_id: &str,
    after: u64,
    upto: u64,
    limit: usize,
) -> Result<Vec<Posting>, StoreError> {
    let query = Query::by(&POSTINGS, "changes").equal(user_id);
    let query = query.range(Some((after + 1).into()), Some((upto + 1).into())).limit(limit);
    let (page, _) = find::<Posting>(&*world.store, query).await?;
    Ok(page.into_iter().map(|posting| posting.value).collect())
}

/// Takes `count` (1 to 1,000) of the lines away that changed after change `after`, up to change `upto`.
pub(super) async fn take_back(
    world: &World,
    user_id: &str,
    after: u64,
    upto: u64,
    count: usize,
) -> Result<(), Answer> {
    let query = Query::by(&POSTINGS, "changes").equal(user_id);
    let query = query.range(Some((after + 1).into()), Some((upto + 1).into())).limit(count);
    let (found, _) = find::<Posting>(&*world.store, query).await?;
    let gone = found.into_iter().map(|found| (Posting { removed: true, ..found.value }, found.version));
    write(world, user_id, gone.collect()).await
}

/// A page of the lines that are there, by day from `from` (inclusive) until `until` (exclusive).
pub(in crate::sandbox) async fn lines(
    world: &World,
    user_id: &str,
    from: Option<&str>,
    until: Option<&str>,
    after: Option<Cursor>,
) -> Result<(Vec<Posting>, Option<Cursor>), StoreError> {
    let query = Query::by(&POSTINGS, "dates").equal(user_id);
    let query = query.range(from.map(Into::into), until.map(Into::into)).limit(1000).after(after);
    let (page, next) = find::<Posting>(&*world.store, query).await?;
    Ok((page.into_iter().map(|posting| posting.value).filter(|posting| !posting.removed).collect(), next))
}
