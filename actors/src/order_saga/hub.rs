//! Wakes those who watch orders in this replica, the moment a commit went through here.
//!
//! A hint: whoever watches reads the store, also without having been woken, so what other replicas
//! commit is seen as well.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

use crate::supervision::lock;

/// What is watched.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Watched {
    /// One order.
    Order(String),
    /// The orders of a user.
    User(String),
    /// All orders.
    All,
}

/// Who watches what. Cheap to clone.
#[derive(Clone, Default)]
pub struct Hub {
    watched: Arc<Mutex<Watchers>>,
}

/// How many watch, and how they are told.
type Watchers = HashMap<Watched, (usize, Arc<Notify>)>;

/// Somebody who watches, until dropped.
pub struct Watching {
    hub: Hub,
    what: Watched,
    changed: Arc<Notify>,
}

impl Hub {
    /// Watches from now on.
    pub fn watch(&self, what: Watched) -> Watching {
        let mut watched = lock(&self.watched);
        let (count, changed) = watched.entry(what.clone()).or_default();
        *count += 1;
        Watching { hub: self.clone(), what, changed: changed.clone() }
    }

    /// Something was committed for an order.
    pub(super) fn changed(&self, order_id: &str, user_id: &str) {
        let watched = lock(&self.watched);
        if watched.is_empty() {
            return;
        }
        for what in [Watched::Order(order_id.to_owned()), Watched::User(user_id.to_owned()), Watched::All] {
            if let Some((_, changed)) = watched.get(&what) {
                changed.notify_waiters();
            }
        }
    }
}

impl Watching {
    /// Resolves at the next commit after this was called.
    pub fn changed(&self) -> OwnedNotified {
        self.changed.clone().notified_owned()
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let mut watched = lock(&self.hub.watched);
        if let Some((count, _)) = watched.get_mut(&self.what) {
            *count -= 1;
            if *count == 0 {
                watched.remove(&self.what);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn those_who_watch_are_woken_and_nobody_is_remembered() {
        let hub = Hub::default();
        let watching = [Watched::Order("o1".into()), Watched::User("u1".into()), Watched::All];
        let watching: Vec<_> = watching.into_iter().map(|what| hub.watch(what)).collect();
        let other = hub.watch(Watched::Order("o2".into()));
        let woken: Vec<_> = watching.iter().map(Watching::changed).collect();
        let not_woken = other.changed();
        hub.changed("o1", "u1");
        for woken in woken {
            woken.await;
        }
        tokio::select! {
            biased;
            () = not_woken => panic!("another order changed"),
            () = std::future::ready(()) => {}
        }
        drop((watching, other));
        assert!(lock(&hub.watched).is_empty());
    }
}
