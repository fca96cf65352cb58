//! Runs whose commits meet what their user writes.

use super::*;
use crate::accounts::{TRANSACTIONS, Transaction};
use crate::providers::BankTransaction;
use crate::store::{Batch, CommitError, Query, Store, Write, find};
use crate::testing::AtCommit;

/// A store whose user writes a note on a transaction whenever a commit that changes more than
/// `undisturbed` of them is on its way: on the first one that it changes.
struct EditedStore {
    inner: Arc<MemoryStore>,
    undisturbed: usize,
    edits: AtomicUsize,
}

impl EditedStore {
    async fn edit(&self, id: &str) {
        let found = load::<Transaction>(self.inner.as_ref(), id).await.unwrap().unwrap();
        let edited = Transaction { note: Some("mine".to_owned()), ..found.value };
        self.inner.commit(Batch::new().replace(&edited, found.version)).await.unwrap();
        self.edits.fetch_add(1, Ordering::AcqRel);
    }
}

#[async_trait]
impl AtCommit for EditedStore {
    fn store(&self) -> &dyn Store {
        self.inner.as_ref()
    }

    async fn at_commit(&self, batch: Batch) -> Result<(), CommitError> {
        let changed = batch.writes.iter().filter_map(|write| match write {
            Write::Replace { collection, id, .. } if collection.name == TRANSACTIONS.name => Some(id.clone()),
            _ => None,
        });
        let changed: Vec<String> = changed.collect();
        if changed.len() > self.undisturbed {
            self.edit(&changed[0]).await;
        }
        self.inner.commit(batch).await
    }
}

fn statement(count: i64, cents: i64, at: Timestamp) -> Statement {
    let transaction = |n: i64| BankTransaction {
        id: format!("t{n}"),
        at,
        amount: dollars(cents + n),
        description: format!("Payment {n}"),
        pending: false,
        replaces: None,
        undated: false,
    };
    let transactions = (0..count).map(transaction).collect();
    let account = BankAccount { transactions, ..checking("x1", 1, at) };
    Statement { told_since: Some(at.minus(Duration::from_secs(86_400))), ..whole(vec![account]) }
}

#[test]
fn a_run_comes_to_its_end_although_its_user_writes_at_every_large_commit() {
    system(async {
        // Given three hundred transactions, all of which are other ones at the bank now,
        let world = World::new();
        let store =
            Arc::new(EditedStore { inner: world.store.clone(), undisturbed: 60, edits: AtomicUsize::new(0) });
        let connections = world.replica_over(store.clone(), "a");
        let now = world.clock.now();
        world.bank.scripted.set_statement("u1", statement(300, 1, now));
        let connection = world.linked(&connections).await;
        world.clock.advance(Duration::from_secs(1));
        world.bank.scripted.set_statement("u1", statement(300, 1000, now));

        // when the user writes on one at each commit of more than sixty,
        connections.request_sync("u1", &connection.id).await.unwrap();
        let run = world.finished(&connection.id, 2).await;

        // then the run has taken all of them over at its first try, each once, and no note is lost.
        assert_eq!((run.outcome, run.attempts), (Some(Outcome::Complete), 1));
        assert_eq!((run.added, run.modified), (0, 300));
        let query = Query::by(&TRANSACTIONS, "user").equal("u1").limit(1000);
        let (kept, _) = find::<Transaction>(world.store.as_ref(), query).await.unwrap();
        assert_eq!(kept.len(), 300);
        assert!(kept.iter().all(|kept| kept.value.amount.minor >= 1000));
        assert!(store.edits.load(Ordering::Acquire) > 1);
        assert!(kept.iter().any(|kept| kept.value.note.as_deref() == Some("mine")));
    });
}
