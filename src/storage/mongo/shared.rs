//! Commits that share a transaction.
//!
//! Who calls it: [`super::MongoStore`] for batches that say that they may. While one transaction is
//! being written, batches wait; then all of them go together. What it has written is made durable
//! while the next one writes. An idle store commits at once. Each batch is answered for itself: one
//! that is in the others' way is taken out and committed alone. What was written with an unknown
//! outcome is settled by its transaction, and never run again here.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex};

use metrics::histogram;
use steward_actors::figures;
use steward_actors::store::{Batch, Write};
use steward_actors::supervision::lock;
use tokio::sync::{Notify, Semaphore, mpsc, oneshot};
use tokio::time::Instant;

use super::{Inner, MOST_CALLS, NotCommitted, document};

/// Batches that share a transaction, at most.
const MOST_BATCHES: usize = 256;
/// Groups under way: one is written, the others are made durable.
const MOST_UNDER_WAY: usize = 2;
/// Bytes that share a transaction, at most, about.
const MOST_BYTES: usize = 1 << 20;
/// Attempts against other transactions on the same records, before all go alone: who is in whose way
/// is not told.
const CONTENDED_ATTEMPTS: u32 = 1;
/// Batches that are taken out of a transaction for being in the way, before all go alone.
const MOST_TAKEN_OUT: usize = 3;

/// Where batches wait.
#[derive(Clone)]
pub(super) struct Queue(mpsc::Sender<Waiting>);

struct Waiting {
    batch: Batch,
    bytes: usize,
    until: Instant,
    answer: oneshot::Sender<Result<(), NotCommitted>>,
}

/// Starts the task that commits what waits; it ends when the last queue is dropped.
pub(super) fn start(inner: Arc<Inner>) -> Queue {
    let (queue, waiting) = mpsc::channel(MOST_CALLS);
    tokio::spawn(commit_all(inner, waiting));
    Queue(queue)
}

impl Queue {
    pub(super) async fn commit(&self, batch: Batch, until: Instant) -> Result<(), NotCommitted> {
        let (answer, answered) = oneshot::channel();
        let bytes = batch.writes.iter().map(weight).sum();
        let full = |_| NotCommitted::Unreachable("too many shared commits wait".to_owned());
        self.0.try_send(Waiting { batch, bytes, until, answer }).map_err(full)?;
        let lost = || NotCommitted::Unknown("the shared commit was abandoned".to_owned());
        answered.await.unwrap_or_else(|_| Err(lost()))
    }
}

fn weight(write: &Write) -> usize {
    match write {
        Write::Insert { id, body, .. } | Write::Replace { id, body, .. } => {
            2 * id.len() + document::weight(body)
        }
        Write::Delete { id, .. } => id.len(),
    }
}

async fn commit_all(inner: Arc<Inner>, mut arriving: mpsc::Receiver<Waiting>) {
    let (mut waiting, held) = (VecDeque::new(), Held::default());
    let (pen, places) = (Arc::new(Semaphore::new(1)), Arc::new(Semaphore::new(MOST_UNDER_WAY)));
    // Neither is ever closed.
    while let (Ok(place), Ok(pen)) = (places.clone().acquire_owned().await, pen.clone().acquire_owned().await)
    {
        let group = loop {
            while let Ok(next) = arriving.try_recv() {
                waiting.push_back(next);
            }
            let group = take_group(&mut waiting, &lock(&held.records));
            if !group.is_empty() {
                break group;
            }
            tokio::select! {
                () = held.changed.notified() => {}
                next = arriving.recv() => match next {
                    Some(next) => waiting.push_back(next),
                    None if waiting.is_empty() => return,
                    None => held.changed.notified().await,
                },
            }
        };
        histogram!(figures::STORE_SHARED).record(group.len() as f64);
        let holding = held.hold(group.iter().flat_map(|waiting| touched_by(&waiting.batch)).collect());
        let (inner, mut pen) = (Arc::clone(&inner), Some(pen));
        tokio::spawn(async move {
            commit_group(&inner, group, || drop(pen.take())).await;
            drop((holding, place));
        });
    }
}

/// The name of a collection, and the id of a record in it.
type Touched = (&'static str, String);

fn touched_by(batch: &Batch) -> impl Iterator<Item = Touched> {
    batch.writes.iter().map(|write| (write.collection().name, write.id().to_owned()))
}

/// The records of the groups that are under way.
#[derive(Clone, Default)]
struct Held {
    records: Arc<Mutex<HashSet<Touched>>>,
    changed: Arc<Notify>,
}

impl Held {
    fn hold(&self, records: Vec<Touched>) -> Holding {
        lock(&self.records).extend(records.iter().cloned());
        Holding { held: self.clone(), records }
    }
}

/// What a group that is under way touches, until dropped.
struct Holding {
    held: Held,
    records: Vec<Touched>,
}

impl Drop for Holding {
    fn drop(&mut self) {
        let mut held = lock(&self.held.records);
        for record in &self.records {
            held.remove(record);
        }
        drop(held);
        self.held.changed.notify_one();
    }
}

/// The batches that go next: the longest wait first, no record twice and none that is held. What
/// touches a record that one before it touches stays, and what comes behind that on the same record
/// stays behind it.
fn take_group(waiting: &mut VecDeque<Waiting>, held: &HashSet<Touched>) -> Vec<Waiting> {
    let (mut group, mut left, mut bytes) = (Vec::new(), VecDeque::new(), 0);
    let mut touched: HashSet<Touched> = HashSet::new();
    for next in waiting.drain(..) {
        let records: Vec<Touched> = touched_by(&next.batch).collect();
        let fits = group.len() < MOST_BATCHES && (group.is_empty() || bytes + next.bytes <= MOST_BYTES);
        let apart = records.iter().all(|record| !touched.contains(record) && !held.contains(record));
        touched.extend(records);
        if fits && apart {
            bytes += next.bytes;
            group.push(next);
        } else {
            left.push_back(next);
        }
    }
    *waiting = left;
    group
}

/// `written` is called when the group is written and only its commit is left to wait for.
async fn commit_group(inner: &Arc<Inner>, mut group: Vec<Waiting>, mut written: impl FnMut()) {
    for _ in 0..MOST_TAKEN_OUT {
        group = answer_late(group);
        if group.len() < 2 {
            break;
        }
        let writes: Vec<&Write> = group.iter().flat_map(|waiting| &waiting.batch.writes).collect();
        let until = group.iter().map(|waiting| waiting.until).min().unwrap_or_else(Instant::now);
        match inner.transact(&writes, CONTENDED_ATTEMPTS, until, &mut written).await {
            Err(NotCommitted::Conflict(position, _)) => {
                commit_alone(inner, group.remove(owner(&group, position)));
            }
            Err(NotCommitted::Refused(_)) => break,
            committed => {
                for waiting in group {
                    // Whoever asked may be gone.
                    let _ = waiting.answer.send(committed.clone());
                }
                return;
            }
        }
    }
    // A batch that is the only one is not worth another task: the next ones wait for it, and go
    // together then.
    if group.len() == 1
        && let Some(Waiting { batch, until, answer, .. }) = group.pop()
    {
        let writes: Vec<&Write> = batch.writes.iter().collect();
        let _ = answer.send(inner.commit(&writes, until).await);
        return;
    }
    for waiting in group {
        commit_alone(inner, waiting);
    }
}

/// Which batch of the group the write at this position of all writes belongs to.
fn owner(group: &[Waiting], mut position: usize) -> usize {
    for (number, waiting) in group.iter().enumerate() {
        match position.checked_sub(waiting.batch.writes.len()) {
            Some(rest) => position = rest,
            None => return number,
        }
    }
    0
}

/// Those that may still be sent; the others have waited too long and are told so.
fn answer_late(group: Vec<Waiting>) -> Vec<Waiting> {
    let now = Instant::now();
    let (late, intime): (Vec<_>, Vec<_>) = group.into_iter().partition(|waiting| waiting.until <= now);
    for waiting in late {
        let reason = "the commits before it took too long".to_owned();
        let _ = waiting.answer.send(Err(NotCommitted::Unreachable(reason)));
    }
    intime
}

/// Commits it in a task of its own, so that the next ones don't wait for it. There are never more
/// of them than callers.
fn commit_alone(inner: &Arc<Inner>, waiting: Waiting) {
    let inner = Arc::clone(inner);
    tokio::spawn(async move {
        let writes: Vec<&Write> = waiting.batch.writes.iter().collect();
        let _ = waiting.answer.send(inner.commit(&writes, waiting.until).await);
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use steward_actors::store::Collection;

    static THINGS: Collection =
        Collection { name: "things", fields: &[], indexes: &[], words: &[], expires: None };

    fn waiting(ids: &[&str], bytes: usize) -> Waiting {
        let writes = ids.iter().map(|id| Write::Insert {
            collection: &THINGS,
            id: (*id).to_owned(),
            body: json!({}).as_object().cloned().unwrap_or_default(),
        });
        let batch = Batch { writes: writes.collect(), ..Batch::shared() };
        Waiting { batch, bytes, until: Instant::now(), answer: oneshot::channel().0 }
    }

    fn ids(group: &[Waiting]) -> Vec<&str> {
        group.iter().map(|waiting| waiting.batch.writes[0].id()).collect()
    }

    #[test]
    fn no_record_is_twice_in_a_group_and_order_on_a_record_is_kept() {
        let mut queue: VecDeque<_> =
            [&["a"][..], &["b", "a"], &["c"], &["b"], &["d"]].map(|ids| waiting(ids, 1)).into();
        assert_eq!(ids(&take_group(&mut queue, &HashSet::new())), ["a", "c", "d"]);
        // The second waits for the first, and so the fourth for the second.
        assert_eq!(ids(&take_group(&mut queue, &HashSet::new())), ["b"]);
        assert_eq!(ids(&take_group(&mut queue, &HashSet::new())), ["b"]);
        assert!(queue.is_empty());
    }

    #[test]
    fn what_touches_a_held_record_waits_and_so_does_what_comes_behind_it() {
        let mut queue: VecDeque<_> =
            [&["a"][..], &["b", "a"], &["c"], &["b"]].map(|ids| waiting(ids, 1)).into();
        let held = Held::default();
        let holding = held.hold(vec![("things", "a".to_owned())]);
        assert_eq!(ids(&take_group(&mut queue, &lock(&held.records))), ["c"]);
        assert!(take_group(&mut queue, &lock(&held.records)).is_empty());
        drop(holding);
        assert_eq!(ids(&take_group(&mut queue, &lock(&held.records))), ["a"]);
    }

    #[test]
    fn a_group_is_bounded_in_batches_and_bytes() {
        let names: Vec<String> = (0..600).map(|n| n.to_string()).collect();
        let mut queue: VecDeque<_> = names.iter().map(|id| waiting(&[id], 1)).collect();
        let sizes: Vec<_> =
            std::iter::from_fn(|| Some(take_group(&mut queue, &HashSet::new()).len()).filter(|n| *n > 0))
                .collect();
        assert_eq!(sizes, [256, 256, 88]);

        let mut queue: VecDeque<_> = ["a", "b", "c"].map(|id| waiting(&[id], MOST_BYTES * 2 / 5)).into();
        queue.push_back(waiting(&["d"], 3 * MOST_BYTES));
        assert_eq!(ids(&take_group(&mut queue, &HashSet::new())), ["a", "b"]);
        assert_eq!(ids(&take_group(&mut queue, &HashSet::new())), ["c"]);
        assert_eq!(ids(&take_group(&mut queue, &HashSet::new())), ["d"], "one that is too large goes alone");
    }

    #[test]
    fn a_write_is_traced_to_its_batch() {
        let group = [waiting(&["a", "b"], 1), waiting(&["c"], 1), waiting(&["d", "e"], 1)];
        let owners: Vec<_> = (0..5).map(|position| owner(&group, position)).collect();
        assert_eq!(owners, [0, 0, 1, 2, 2]);
    }
}
