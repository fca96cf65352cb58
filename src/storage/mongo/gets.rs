//! Lookups by id that share a query.
//!
//! Who calls it: [`super::MongoStore`], for every lookup. While as many queries of a collection are
//! under way as may be, lookups wait; then all of them go in one. An idle store is asked at once. A
//! query begins after the lookups that it serves, so each finds what it would have found alone.

use std::collections::{HashMap, VecDeque};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use steward_actors::store::{Collection, Record, StoreError};
use steward_actors::supervision::lock;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::Inner;

/// Queries of a collection that are under way before lookups wait for each other.
const MOST_UNDER_WAY: usize = 2;
/// After that a query is not waited for: its connection may be dead, and nobody been told.
const SLOW: Duration = Duration::from_millis(100);
/// Ids in one query; a lookup of more goes alone.
const MOST_IDS: usize = 500;

type Found = Result<Vec<Record>, StoreError>;

/// Looks records up. Cheap to clone.
#[derive(Clone)]
pub(super) struct Gets {
    inner: Arc<Inner>,
    queues: Arc<Mutex<HashMap<&'static str, Queue>>>,
}

/// The lookups in one collection.
#[derive(Default)]
struct Queue {
    under_way: usize,
    waiting: VecDeque<Waiting>,
}

struct Waiting {
    ids: Vec<String>,
    answer: oneshot::Sender<Found>,
}

impl Gets {
    pub(super) fn new(inner: Arc<Inner>) -> Self {
        Self { inner, queues: Arc::default() }
    }

    /// The records of `collection` with these ids. Runs on the store's runtime, to its end.
    pub(super) async fn get(&self, collection: &'static Collection, mut ids: Vec<String>) -> Found {
        ids.sort_unstable();
        ids.dedup();
        if ids.len() > MOST_IDS {
            return self.inner.by_ids(collection, &ids).await;
        }
        let answered = {
            let mut queues = lock(&self.queues);
            let queue = queues.entry(collection.name).or_default();
            if queue.under_way < MOST_UNDER_WAY {
                queue.under_way += 1;
                None
            } else {
                let (answer, answered) = oneshot::channel();
                queue.waiting.push_back(Waiting { ids: std::mem::take(&mut ids), answer });
                Some(answered)
            }
        };
        match answered {
            None => {
                let place = Place { gets: self.clone(), collection };
                self.ask(place, &ids).await
            }
            Some(answered) => {
                let lost = || StoreError::Unavailable("the shared query was abandoned".to_owned());
                answered.await.unwrap_or_else(|_| Err(lost()))
            }
        }
    }

    /// Asks for these ids, in this place; gives the place up if that takes long.
    async fn ask(&self, place: Place, ids: &[String]) -> Found {
        let mut asked = pin!(self.inner.by_ids(place.collection, ids));
        let soon = timeout(SLOW, asked.as_mut()).await;
        drop(place);
        match soon {
            Ok(found) => found,
            Err(_) => asked.await,
        }
    }

    async fn answer(&self, place: Place, group: Vec<Waiting>) {
        let collection = place.collection;
        let mut ids: Vec<String> = group.iter().flat_map(|waiting| waiting.ids.iter().cloned()).collect();
        ids.sort_unstable();
        ids.dedup();
        let found = self.ask(place, &ids).await;
        let by_id = |found: Vec<Record>| -> HashMap<String, Record> {
            found.into_iter().map(|record| (record.id.clone(), record)).collect()
        };
        let found = found.map(by_id);
        for Waiting { ids, answer } in group {
            let own = match &found {
                Ok(found) => Ok(ids.iter().filter_map(|id| found.get(id).cloned()).collect()),
                // Whose record it is, is not for the others.
                Err(StoreError::Corrupt { .. }) => self.inner.by_ids(collection, &ids).await,
                Err(error) => Err(error.clone()),
            };
            // Whoever asked may be gone.
            let _ = answer.send(own);
        }
    }
}

/// A query under way. When it ends, however it does, those that wait are asked for.
struct Place {
    gets: Gets,
    collection: &'static Collection,
}

impl Drop for Place {
    fn drop(&mut self) {
        let group = {
            let mut queues = lock(&self.gets.queues);
            let Some(queue) = queues.get_mut(self.collection.name) else { return };
            let group = take_group(&mut queue.waiting);
            if group.is_empty() {
                queue.under_way -= 1;
                return;
            }
            group
        };
        let place = Self { gets: self.gets.clone(), collection: self.collection };
        // Without a runtime nobody waits for an answer any more.
        if let Ok(handle) = Handle::try_current() {
            handle.spawn(async move { place.gets.clone().answer(place, group).await });
        }
    }
}

/// The lookups that go next: those that wait for longest.
fn take_group(waiting: &mut VecDeque<Waiting>) -> Vec<Waiting> {
    let mut ids = 0;
    let fits = |next: &&Waiting| {
        ids += next.ids.len();
        ids <= MOST_IDS
    };
    let count = waiting.iter().take_while(fits).count();
    waiting.drain(..count).collect()
}
