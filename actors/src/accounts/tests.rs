//! Accounts of a user: pages, edits, those kept by hand, and what goes with them.

use std::sync::Arc;
use std::time::Duration;

use super::samples::seed;
use super::*;
use crate::cluster::Clock;
use crate::money::{Currency, Money};
use crate::outbox::Performer;
use crate::session::LocalInvalidations;
use crate::store::{Batch, Query, Store, Versioned, load};
use crate::testing::{CommitFault, ManualClock, MemoryStore};

struct World {
    store: Arc<MemoryStore>,
    clock: Arc<ManualClock>,
    accounts: Accounts,
}

fn world() -> World {
    let clock = Arc::new(ManualClock::default());
    let store = Arc::new(MemoryStore::new(clock.clone()));
    let accounts = Accounts::new(store.clone(), clock.clone());
    World { store, clock, accounts }
}

impl World {
    async fn seeded(&self) -> bool {
        seed(self.store.as_ref(), self.clock.now()).await.unwrap()
    }

    async fn ids(&self, user_id: &str, of_type: Option<AccountType>) -> Vec<String> {
        let (page, _) = self.accounts.page(user_id, of_type, 100, None).await.unwrap();
        page.into_iter().map(|account| account.value.id).collect()
    }
}

#[test]
fn the_declarations_hold() {
    assert!(ACCOUNTS.mistakes().is_empty());
    assert!(SAMPLES.mistakes().is_empty());
}

#[tokio::test]
async fn the_sample_requests_give_exactly_the_sample_accounts() {
    let world = world();
    assert!(world.seeded().await);
    assert_eq!(world.ids("user123", None).await, ["acc1", "acc2", "acc3"]);
    assert_eq!(world.ids("user123", Some(AccountType::Credit)).await, ["acc1"]);
    assert_eq!(world.ids("user123", Some(AccountType::Loan)).await, ["acc2"]);
    assert_eq!(world.ids("user123", Some(AccountType::Checking)).await, ["acc3"]);
    assert_eq!(world.ids("user123", Some(AccountType::Savings)).await, Vec::<String>::new());
    assert_eq!(world.ids("user456", None).await, ["acc4"]);
    assert_eq!(world.ids("user789", None).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_sample_account_is_stored_with_every_field_of_the_specification() {
    let world = world();
    world.seeded().await;
    let now = world.clock.now().as_millis();
    let record = world.store.get(&ACCOUNTS, "acc1").await.unwrap().unwrap();
    let expected = serde_json::json!({
        "id": "acc1", "userId": "user123", "type": "credit", "provider": "Chase",
        "providerName": "Chase Freedom", "hidden": false,
        "balance": {"minor": 120_045, "currency": "USD"},
        "balanceAsOf": now, "lastUpdated": now,
        "details": {
            "creditLimit": {"minor": 500_000, "currency": "USD"},
            "availableCredit": {"minor": 380_000, "currency": "USD"},
            "apr": "19.99", "dueDate": "2025-06-15",
        },
    });
    assert_eq!(serde_json::Value::Object(record.body), expected);
    let loan = world.store.get(&ACCOUNTS, "acc2").await.unwrap().unwrap();
    assert_eq!(loan.body["details"]["interestRate"], "4.5");
    let checking = world.store.get(&ACCOUNTS, "acc3").await.unwrap().unwrap();
    let details = serde_json::json!({"overdraftProtection": true, "routingNumber": "123456789"});
    assert_eq!(checking.body["details"], details);
}

#[tokio::test]
async fn seeding_again_restores_nothing_that_was_changed_or_deleted() {
    // Given seeded accounts of which one was renamed and one deleted,
    let world = world();
    world.seeded().await;
    let edit =
        AccountEdit { account_name: Some(Some("Holidays".to_owned())), hidden: Some(true), by_hand: None };
    world.accounts.edit("user123", "acc1", None, &edit).await.unwrap();
    let gone = world.accounts.get("user123", "acc3").await.unwrap().unwrap();
    world.store.commit(Batch::new().delete(&gone)).await.unwrap();
    // when they are seeded again,
    world.clock.advance(Duration::from_secs(60));
    assert!(!world.seeded().await);
    // then nothing has changed.
    assert_eq!(world.ids("user123", None).await, ["acc1", "acc2"]);
    let edited = world.accounts.get("user123", "acc1").await.unwrap().unwrap();
    assert_eq!((edited.value.name(), edited.value.hidden, edited.version), ("Holidays", true, 2));
}

#[tokio::test]
async fn pages_follow_one_another_and_stay_within_their_type() {
    let world = world();
    world.seeded().await;
    let (first, cursor) = world.accounts.page("user123", None, 2, None).await.unwrap();
    let (second, end) = world.accounts.page("user123", None, 2, cursor).await.unwrap();
    assert_eq!((first.len(), second.len(), end), (2, 1, None));
    assert_eq!(second[0].value.id, "acc3");
}

#[tokio::test]
async fn anothers_account_is_not_found() {
    let world = world();
    world.seeded().await;
    assert_eq!(world.accounts.get("user456", "acc1").await, Ok(None));
    let edit = AccountEdit { hidden: Some(true), ..AccountEdit::default() };
    assert_eq!(world.accounts.edit("user456", "acc1", None, &edit).await, Err(EditError::NotFound));
}

#[tokio::test]
async fn an_edit_of_an_older_version_and_a_bad_name_are_refused() {
    let world = world();
    world.seeded().await;
    let edit =
        |name: &str| AccountEdit { account_name: Some(Some(name.to_owned())), hidden: None, by_hand: None };
    world.accounts.edit("user123", "acc1", Some(1), &edit("A")).await.unwrap();
    let stale = world.accounts.edit("user123", "acc1", Some(1), &edit("B")).await;
    assert_eq!(stale, Err(EditError::Changed));
    for bad in ["", "  ", &"x".repeat(MOST_NAME_CHARS + 1)] {
        let refused = world.accounts.edit("user123", "acc1", None, &edit(bad)).await;
        assert_eq!(refused, Err(EditError::BadName));
    }
    let back = AccountEdit { account_name: Some(None), hidden: None, by_hand: None };
    let account = world.accounts.edit("user123", "acc1", None, &back).await.unwrap();
    assert_eq!(account.value.name(), "Chase Freedom");
}

fn usd(cents: i64) -> Money {
    Money::new(cents, Currency::from_code("USD").unwrap())
}

fn cash(id: &str) -> NewAccount {
    NewAccount {
        id: id.to_owned(),
        command: None,
        user_id: "u1".to_owned(),
        provider: "Manual".to_owned(),
        name: "Cash".to_owned(),
        hidden: false,
        kind: AccountType::Checking,
        balance: usd(100),
        details: DetailsEdit::default(),
    }
}

fn to_balance(cents: i64) -> AccountEdit {
    let by_hand = Some(HandEdit { balance: Some(usd(cents)), ..HandEdit::default() });
    AccountEdit { by_hand, ..AccountEdit::default() }
}

fn tram(id: &str) -> NewTransaction {
    NewTransaction {
        id: id.to_owned(),
        command: None,
        date: "2026-01-31".to_owned(),
        amount: usd(-5),
        description: "tram".to_owned(),
        pending: false,
        category: None,
        note: None,
    }
}

#[tokio::test]
async fn each_day_keeps_its_last_balance_whatever_else_changes() {
    let world = world();
    world.accounts.create(cash("a1")).await.unwrap();
    let first_day = world.clock.now().day();
    world.accounts.edit("u1", "a1", None, &to_balance(200)).await.unwrap();
    world.clock.advance(Duration::from_secs(24 * 3600));
    // A day on which only the name changes tells nothing of the balance.
    let name = AccountEdit { account_name: Some(Some("Purse".to_owned())), ..AccountEdit::default() };
    world.accounts.edit("u1", "a1", None, &name).await.unwrap();
    world.clock.advance(Duration::from_secs(24 * 3600));
    let third_day = world.clock.now().day();
    world.accounts.edit("u1", "a1", None, &to_balance(-300)).await.unwrap();
    let (days, _) = world.accounts.balances("a1", (None, None), 10, None).await.unwrap();
    let days: Vec<(String, i64)> =
        days.into_iter().map(|day| (day.value.date, day.value.balance.minor)).collect();
    assert_eq!(days, [(third_day.clone(), -300), (first_day.clone(), 200)]);
    let between = |from, to| world.accounts.balances("a1", (from, to), 10, None);
    assert_eq!(between(Some(third_day.as_str()), None).await.unwrap().0.len(), 1);
    assert_eq!(between(None, Some(first_day.as_str())).await.unwrap().0.len(), 1);
}

#[tokio::test]
async fn a_balance_and_its_day_are_committed_together() {
    let world = world();
    world.accounts.create(cash("a1")).await.unwrap();
    world.clock.advance(Duration::from_secs(24 * 3600));
    world.store.fail_commits([CommitFault::LostBefore]);
    let unknown = world.accounts.edit("u1", "a1", None, &to_balance(200)).await;
    assert_eq!(unknown, Err(EditError::OutcomeUnknown));
    let days = async || world.accounts.balances("a1", (None, None), 10, None).await.unwrap().0.len();
    let balance = async || world.accounts.get("u1", "a1").await.unwrap().unwrap().value.balance;
    assert_eq!((days().await, balance().await), (1, usd(100)));
    world.store.fail_commits([CommitFault::LostAfter]);
    let unknown = world.accounts.edit("u1", "a1", None, &to_balance(200)).await;
    assert_eq!(unknown, Err(EditError::OutcomeUnknown));
    assert_eq!((days().await, balance().await), (2, usd(200)));
}

#[tokio::test]
async fn an_account_goes_with_all_that_is_its_and_nothing_else() {
    let world = world();
    let ledger = Ledger::new(world.store.clone(), world.clock.clone());
    for account in ["a1", "a2"] {
        world.accounts.create(cash(account)).await.unwrap();
        for n in 0..3 {
            ledger.record("u1", account, tram(&format!("{account}-{n}"))).await.unwrap();
        }
    }
    world.accounts.delete("u1", "a1", None).await.unwrap();
    let left = async |account: &str| {
        let count = async |collection| {
            let query = Query::by(collection, "account").equal(account);
            world.store.find(query).await.unwrap().records.len()
        };
        (count(&TRANSACTIONS).await, count(&BALANCES).await)
    };
    assert_eq!((left("a1").await, left("a2").await), ((0, 0), (3, 1)));

    // What was left by a deletion that was cut off goes with the job, which spares the living.
    let orphan = Transaction { account_id: "a1".to_owned(), ..ledger_sample(&world, "a2-0").await };
    world.store.commit(Batch::new().insert(&Transaction { id: "late".to_owned(), ..orphan })).await.unwrap();
    let removal = AccountRemoval::new(world.store.clone());
    for account in ["a1", "a2"] {
        removal.perform(&removal::account_removal(account, world.clock.now())).await.unwrap();
    }
    assert_eq!((left("a1").await, left("a2").await), ((0, 0), (3, 1)));
}

async fn ledger_sample(world: &World, id: &str) -> Transaction {
    load::<Transaction>(world.store.as_ref(), id).await.unwrap().unwrap().value
}

#[tokio::test]
async fn what_was_merged_is_not_taken_out_while_another_transaction_has_its_id() {
    let world = world();
    let ledger = Ledger::new(world.store.clone(), world.clock.clone());
    let amount = Money::new(-1000, Currency::from_code("USD").unwrap());
    let from = MergedFrom {
        external_id: "p1".to_owned(),
        date: "2026-01-30".to_owned(),
        description: "CAFE".to_owned(),
        amount: Some(amount),
        pending: true,
        rule: MergeRule::PendingPosted,
        at: world.clock.now(),
    };
    let booked = Transaction {
        id: "t1".to_owned(),
        user_id: "u1".to_owned(),
        account_id: "a1".to_owned(),
        external_id: Some("b1".to_owned()),
        date: "2026-01-31".to_owned(),
        amount,
        description: "Cafe".to_owned(),
        pending: false,
        category: None,
        note: None,
        merged_from: vec![from],
        kept_apart: false,
        withdrawn_at: None,
        command: None,
        updated_at: world.clock.now(),
    };
    let back = Transaction {
        id: "t2".to_owned(),
        external_id: Some("p1".to_owned()),
        merged_from: Vec::new(),
        ..booked.clone()
    };
    world.store.commit(Batch::new().insert(&booked).insert(&back)).await.unwrap();
    assert_eq!(ledger.unmerge("u1", "t1", None).await, Err(EditError::FormerIsBack));
    assert_eq!(ledger_sample(&world, "t1").await, booked);
    world.store.commit(Batch::new().delete(&Versioned { value: back, version: 1 })).await.unwrap();
    let apart = ledger.unmerge("u1", "t1", None).await.unwrap().value;
    assert_eq!((apart.external_id.as_deref(), apart.pending), (Some("p1"), true));
}

#[tokio::test]
async fn who_has_too_many_accounts_makes_none_by_hand() {
    let world = world();
    let one = world.accounts.create(cash("a")).await.unwrap().account.value;
    let others = (1..MOST_ACCOUNTS).map(|n| Account { id: format!("a{n}"), ..one.clone() });
    let others: Vec<Account> = others.collect();
    world.store.commit(others.iter().fold(Batch::new(), Batch::insert)).await.unwrap();
    assert_eq!(world.accounts.create(cash("more")).await, Err(EditError::TooMany(MOST_ACCOUNTS)));
}

#[tokio::test]
async fn pages_from_memory_are_those_of_the_store() {
    let world = world();
    let told = world.accounts.clone().telling(Arc::new(LocalInvalidations::default()));
    world.seeded().await;
    for limit in 1..4 {
        for kind in AccountType::ALL.into_iter().map(Some).chain([None]) {
            let (mut from_store, mut from_memory) = (None, None);
            loop {
                let one = world.accounts.page("user123", kind, limit, from_store).await.unwrap();
                let other = told.page("user123", kind, limit, from_memory).await.unwrap();
                assert_eq!(one, other);
                (from_store, from_memory) = (one.1, other.1);
                if from_store.is_none() {
                    break;
                }
            }
        }
    }
}
