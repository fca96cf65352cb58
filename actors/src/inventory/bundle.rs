//! One command over several SKUs, in one transaction.
//!
//! Who calls it: [`super::service::Inventory`], in the task of whoever asks. The actors of the
//! SKUs are asked in the SKUs' order to park their queues, so two bundles never wait for each
//! other; what waits meanwhile is decided afterwards, so nobody is refused for units that the
//! bundle then does not take. If this task is dropped midway, what the actors were lent is dropped
//! with it, and they read their counters again.
//!
//! What never happens here: reliance on the parking. Other replicas don't park, and an actor lets
//! go after a second; the commit states the version of each stock record all the same.

use std::collections::BTreeSet;

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

use super::actor::{PARKED_FOR, Park, Parked, StockActor};
use super::holds::HoldError;
use super::pace::Pace;
use super::pending::{Answer, Pending, Trouble, Work};
use super::round::{self, Books, End};
use super::service::DEADLINE;
use crate::cluster::Clock;
use crate::store::Store;
use crate::supervision::{AskError, Registry};

/// Does `work` on all of `skus` at once.
pub(super) async fn run<T: Send + 'static>(
    registry: &Registry<StockActor>,
    store: &dyn Store,
    clock: &dyn Clock,
    skus: BTreeSet<String>,
    work: impl FnOnce(Answer<T, HoldError>) -> Work,
) -> Result<T, HoldError> {
    let parked = park(registry, skus).await?;
    let (tell, told) = oneshot::channel();
    let answer = Answer::to(move |answer| drop(tell.send(answer)));
    let books = Books::of(parked.iter().map(|(sku, parked)| (sku.clone(), parked.known.clone())));
    let books = commit(store, clock, books, Pending::new(work(answer))).await;
    for (sku, parked) in parked {
        parked.unpark(books.known(&sku));
    }
    told.await.unwrap_or(Err(HoldError::OutcomeUnknown))
}

/// Parks the SKUs one after the other, in their order. The first of them lets go a second after it
/// was parked, so the last must be parked well before.
async fn park(
    registry: &Registry<StockActor>,
    skus: BTreeSet<String>,
) -> Result<Vec<(String, Parked)>, HoldError> {
    let until = Instant::now() + DEADLINE / 2;
    let mut parked = Vec::with_capacity(skus.len());
    for sku in skus {
        let left = until.saturating_duration_since(Instant::now());
        let one = match registry.ask(&sku, Park, left).await {
            Ok(answer) => answer?,
            Err(AskError::OutcomeUnknown) => {
                return Err(Trouble::Unavailable(format!("too much is going on with {sku}")).into());
            }
            Err(other) => return Err(Trouble::from(other).into()),
        };
        parked.push((sku, one));
    }
    Ok(parked)
}

async fn commit(store: &dyn Store, clock: &dyn Clock, mut books: Books, command: Pending) -> Books {
    let until = Instant::now() + PARKED_FOR;
    let mut pace = Pace::default();
    let mut group = vec![command];
    loop {
        let began = Instant::now();
        let attempt = round::attempt(store, clock, books, group).await;
        (books, group) = (attempt.books, attempt.again);
        if group.is_empty() {
            return books;
        }
        if Instant::now() >= until {
            group
                .into_iter()
                .for_each(|command| command.give_up("others change this stock at the same time"));
            return books;
        }
        if attempt.end == End::Conflicted {
            sleep(pace.came_too_late(began.elapsed(), fastrand::f64())).await;
        }
    }
}
