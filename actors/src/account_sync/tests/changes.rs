//! Connections whose provider tells what changed: cursors, relinks, notices.

use secrecy::ExposeSecret;

use super::*;
use crate::accounts::{TRANSACTIONS, Transaction};
use crate::outbox::{JOBS, Job};
use crate::providers::{BankTransaction, Changes};
use crate::store::Query;

fn transaction(id: &str, cents: i64, at: Timestamp) -> BankTransaction {
    BankTransaction {
        id: id.to_owned(),
        at,
        amount: dollars(cents),
        description: format!("Payment {cents}"),
        pending: false,
        replaces: None,
        undated: false,
    }
}

fn changes(accounts: Vec<BankAccount>, since_begin: bool, removed: &[&str], cursor: &str) -> Statement {
    let removed = removed.iter().map(|&id| id.to_owned()).collect();
    let changes = Changes { since_begin, removed, cursor: cursor.to_owned() };
    Statement { accounts, changes: Some(changes), ..Statement::default() }
}

fn with(ids: impl IntoIterator<Item = usize>, account: &str, at: Timestamp) -> BankAccount {
    let transactions = ids.into_iter();
    let transactions = transactions.map(|n| transaction(&format!("{account}-{n}"), n as i64 + 1, at));
    BankAccount {
        transactions: transactions.collect(),
        name: "Everyday".to_owned(),
        ..checking(account, 1, at)
    }
}

/// Links user u1's connection again, with this token.
fn another_link(connection_id: &str, token: &str) -> RelinkRequest {
    RelinkRequest {
        user_id: "u1".to_owned(),
        connection_id: connection_id.to_owned(),
        provider: None,
        token: SecretString::from(token),
    }
}

impl World {
    async fn kept(&self) -> Vec<Transaction> {
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let query = Query::by(&TRANSACTIONS, "user").equal("u1").limit(1000).after(after);
            let (page, next) = crate::store::find::<Transaction>(self.store.as_ref(), query).await.unwrap();
            all.extend(page.into_iter().map(|found| found.value));
            after = next;
            if after.is_none() {
                return all;
            }
        }
    }

    /// Waits until a run sleeps until its bank's deadline, or until its claim is to be renewed.
    async fn waits_for_the_bank(&self) {
        eventually(|| async { (self.clock.sleepers() >= 2).then_some(()) }).await;
    }

    async fn run_again(&self, connections: &Connections, id: &str, answer: Statement) -> Run {
        self.script([BankFault::Answers(answer)]);
        let count = self.runs(id).await.len() + 1;
        connections.request_sync("u1", id).await.unwrap();
        self.finished(id, count).await
    }
}

#[test]
fn the_cursor_moves_with_what_it_stands_for_and_not_without() {
    system(async {
        let world = World::new();
        let connections = world.replica("a");
        let now = world.clock.now();
        world.script([BankFault::Answers(changes(vec![with(0..3, "x1", now)], true, &[], "c1"))]);
        let connection = world.linked(&connections).await;
        assert_eq!((connection.cursor.as_deref(), world.kept().await.len()), (Some("c1"), 3));
        let id = connection.id.as_str();

        // A statement that is not whole is taken over as far as it goes; its cursor is not.
        let half = Statement {
            partial: Some("one account is away".to_owned()),
            ..changes(vec![with(3..5, "x1", now)], false, &["x1-0"], "c2")
        };
        world.run_again(&connections, id, half).await;
        let after = world.connection(id).await;
        assert_eq!((after.cursor.as_deref(), after.last_outcome), (Some("c1"), Some(Outcome::Partial)));
        assert!(after.provisional_since.is_some(), "so the next statement is to tell all");
        assert_eq!(world.kept().await.len(), 4);

        // What was taken over of it and is told of no more goes again.
        world.clock.advance(Duration::from_secs(1));
        let all = changes(vec![with([1, 2, 3], "x1", now)], true, &[], "c3");
        let run = world.run_again(&connections, id, all).await;
        assert_eq!((run.outcome, run.removed), (Some(Outcome::Complete), 1));
        let after = world.connection(id).await;
        assert_eq!((after.cursor.as_deref(), after.provisional_since), (Some("c3"), None));
        let mut cents: Vec<_> = world.kept().await.iter().map(|kept| kept.amount.minor).collect();
        cents.sort_unstable();
        assert_eq!(cents, [2, 3, 4]);
    });
}

#[test]
fn what_a_user_wrote_on_a_pending_one_outlives_a_half_statement_at_its_booking() {
    system(async {
        let world = World::new();
        let connections = world.replica("a");
        let now = world.clock.now();
        let telling = |id: &str, pending| {
            let one = BankTransaction { pending, ..transaction(id, -500, now) };
            let account = BankAccount { transactions: vec![one], ..checking("x1", 1, now) };
            let since = now.minus(Duration::from_secs(14 * 24 * 3600));
            Statement { told_since: Some(since), ..whole(vec![account]) }
        };
        world.script([BankFault::Answers(telling("p1", true))]);
        let connection = world.linked(&connections).await;
        let pending = world.kept().await.remove(0);
        let ledger = crate::accounts::Ledger::new(world.store.clone(), world.clock.clone());
        let edit = crate::accounts::TransactionEdit { category: Some(Some("food".to_owned())), note: None };
        ledger.edit("u1", &pending.id, None, &edit).await.unwrap();
        world.clock.advance(Duration::from_secs(3600));
        let half = Statement { partial: Some("a bank is away".to_owned()), ..telling("b1", false) };
        world.run_again(&connections, &connection.id, half).await;
        world.clock.advance(Duration::from_secs(3600));
        world.run_again(&connections, &connection.id, telling("b1", false)).await;
        let kept = world.kept().await;
        assert_eq!(kept.len(), 1, "{kept:?}");
        assert_eq!((&kept[0].id, kept[0].external_id.as_deref()), (&pending.id, Some("b1")));
        assert_eq!((kept[0].pending, kept[0].category.as_deref()), (false, Some("food")));
    });
}

const DAY: Duration = Duration::from_secs(24 * 3600);

#[test]
fn a_pending_one_of_long_before_what_is_told_of_goes_when_the_bank_tells_of_it_no_more() {
    system(async {
        let world = World::new();
        let connections = world.replica("a");
        let now = world.clock.now();
        let telling = |days: u32, transactions: Vec<BankTransaction>| {
            let account = BankAccount { transactions, ..checking("x1", 1, now) };
            Statement { told_since: Some(now.minus(days * DAY)), ..whole(vec![account]) }
        };
        // Given one that was pending for forty days when it was linked,
        let pending = BankTransaction { pending: true, ..transaction("p1", -500, now.minus(40 * DAY)) };
        world.script([BankFault::Answers(telling(90, vec![pending.clone()]))]);
        let connection = world.linked(&connections).await;
        assert_eq!(world.kept().await.len(), 1);
        // then it stays while the bank tells of it, in statements that look back for two weeks,
        world.clock.advance(Duration::from_secs(1));
        let run = world.run_again(&connections, &connection.id, telling(14, vec![pending])).await;
        assert_eq!((run.added, run.modified, run.removed), (0, 0, 0));
        // and goes with the first one of another day that does not.
        world.clock.advance(DAY);
        let run = world.run_again(&connections, &connection.id, telling(14, vec![])).await;
        assert_eq!((run.removed, world.kept().await.len()), (1, 0));
    });
}

#[test]
fn a_pending_one_that_the_provider_took_back_goes_in_time_although_nothing_else_is_told() {
    system(async {
        let world = World::new();
        let connections = world.replica("a");
        let now = world.clock.now();
        let pending = BankTransaction { pending: true, ..transaction("p1", -500, now) };
        let account = || checking("x1", 1, now);
        let first = BankAccount { transactions: vec![pending], ..account() };
        world.script([BankFault::Answers(changes(vec![first], true, &[], "c1"))]);
        let connection = world.linked(&connections).await;
        let id = connection.id.as_str();
        // Given one that the user wrote on before the provider took it back,
        let ledger = crate::accounts::Ledger::new(world.store.clone(), world.clock.clone());
        let edit = crate::accounts::TransactionEdit { category: Some(Some("food".to_owned())), note: None };
        ledger.edit("u1", &world.kept().await[0].id, None, &edit).await.unwrap();
        world.clock.advance(DAY);
        world.run_again(&connections, id, changes(vec![account()], false, &["p1"], "c2")).await;
        assert_eq!(world.kept().await.len(), 1, "it may yet be booked");
        // then it waits for that as long as it may, and no longer.
        for (later, left) in [(10, 1), (1, 0)] {
            world.clock.advance(later * DAY);
            world.run_again(&connections, id, changes(vec![account()], false, &[], "c3")).await;
            assert_eq!(world.kept().await.len(), left);
        }
    });
}

#[test]
fn more_than_one_commit_can_take_is_written_in_several_and_counted_once() {
    system(async {
        let world = World::new();
        let connections = world.replica("a");
        let now = world.clock.now();
        world.script([BankFault::Answers(changes(vec![with(0..11_500, "x1", now)], true, &[], "c1"))]);
        let connection = connections.link(request("u1")).await.unwrap().connection;
        let run = world.finished(&connection.id, 1).await;
        assert_eq!((run.outcome, run.added, run.modified), (Some(Outcome::Complete), 11_501, 0));
        assert_eq!(world.kept().await.len(), 11_500);
        let connection = world.connection(&connection.id).await;
        assert_eq!((connection.cursor.as_deref(), connection.provisional_since), (Some("c1"), None));
    });
}

#[test]
fn all_that_is_known_is_compared_however_many_pages_it_fills() {
    system(async {
        // Given an account of more transactions than one commit writes,
        let world = World::new();
        let connections = world.replica("a");
        let now = world.clock.now();
        world.script([BankFault::Answers(changes(vec![with(0..12_000, "x1", now)], true, &[], "c1"))]);
        let connection = connections.link(request("u1")).await.unwrap().connection;
        world.finished(&connection.id, 1).await;
        world.clock.advance(Duration::from_secs(1));
        let half = Statement {
            partial: Some("one account is away".to_owned()),
            ..changes(vec![with(12_000..12_001, "x1", now)], false, &[], "c2")
        };
        world.run_again(&connections, &connection.id, half).await;
        // when all of it is told again under other ids, but for two,
        world.clock.advance(Duration::from_secs(1));
        let renamed = |one: BankTransaction| BankTransaction { id: format!("y-{}", one.id), ..one };
        let again = with(0..11_999, "x1", now);
        let transactions = again.transactions.into_iter().map(renamed).collect();
        let again = BankAccount { transactions, ..again };
        let run = world.run_again(&connections, &connection.id, changes(vec![again], true, &[], "c3")).await;
        // then each is found again, the doubtful one goes, and what was told whole once stays.
        let counts = (run.added, run.modified, run.removed);
        assert_eq!((run.outcome, counts), (Some(Outcome::Complete), (0, 11_999, 1)));
        let kept = world.kept().await;
        assert_eq!(kept.len(), 12_000);
        assert_eq!(
            kept.iter().filter(|one| one.external_id.as_ref().unwrap().starts_with("y-")).count(),
            11_999
        );
    });
}

#[test]
fn more_than_can_be_compared_is_left_out_and_said_so() {
    system(async {
        let mut world = World::new();
        world.options.most_known = 2_000;
        let connections = world.replica("a");
        let now = world.clock.now();
        world.script([BankFault::Answers(changes(vec![with(0..3_000, "x1", now)], true, &[], "c1"))]);
        let connection = world.linked(&connections).await;
        // What changed since the cursor needs little to be known.
        let later = now.plus(Duration::from_secs(30 * 24 * 3600));
        world.clock.advance(Duration::from_secs(30 * 24 * 3600));
        let next = changes(vec![with(3_000..3_001, "x1", later)], false, &["x1-0"], "c2");
        let run = world.run_again(&connections, &connection.id, next).await;
        assert_eq!((run.outcome, run.added, run.removed), (Some(Outcome::Complete), 1, 1));
        // All of it again is too much: the balance is taken over, and no more,
        let told = BankAccount { balance: dollars(77), ..with(0..10, "x1", later) };
        let run = world.run_again(&connections, &connection.id, changes(vec![told], true, &[], "c3")).await;
        let reason = run.reason.unwrap();
        assert!(reason.contains("Everyday") && reason.contains("2000 transactions"), "{reason}");
        assert_eq!((run.outcome, run.modified), (Some(Outcome::Partial), 1));
        assert_eq!(
            (world.kept().await.len(), world.accounts_of("u1").await[0].balance),
            (3_000, dollars(77))
        );
        // and the next one begins where the last whole one ended.
        let after = world.connection(&connection.id).await;
        assert_eq!((after.cursor.as_deref(), after.provisional_since), (Some("c2"), None));
    });
}

#[test]
fn a_large_statement_waits_for_its_turn_keeps_its_claim_and_asks_again_if_there_is_none() {
    system(async {
        let mut world = World::new();
        world.options.most_known = 1_000;
        let connections = world.replica("a");
        let now = world.clock.now();
        let large = changes(vec![with(0..201, "x1", now)], true, &[], "c1");
        // Given another large one that is being taken over,
        let turn = connections.desk.large.acquire().await.unwrap();
        world.script([BankFault::Answers(large.clone()), BankFault::Answers(large)]);
        let id = connections.link(request("u1")).await.unwrap().connection.id;
        let waits = async || eventually(|| async { (world.clock.sleepers() >= 2).then_some(()) }).await;
        waits().await;
        let before = world.connection(&id).await.claim.unwrap().lease_until;
        world.clock.advance(world.options.lease / 3);
        eventually(|| async {
            let claim = world.connection(&id).await.claim?;
            (claim.lease_until > before).then_some(())
        })
        .await;
        // when its time is up, then its run waits,
        waits().await;
        world.clock.advance(world.options.statement_deadline);
        eventually(|| async { world.connection(&id).await.postponed.then_some(()) }).await;
        assert!(world.kept().await.is_empty());
        // and ends well once there is room.
        drop(turn);
        world.clock.advance(world.options.first_retry * 2);
        assert_eq!(connections.start_due().await.unwrap(), 1);
        let run = world.finished(&id, 1).await;
        assert_eq!((run.outcome, run.added), (Some(Outcome::Complete), 202));
        assert_eq!((world.runs(&id).await.len(), world.kept().await.len()), (1, 201));
    });
}

#[test]
fn a_statement_that_is_not_large_waits_for_no_large_one() {
    system(async {
        let mut world = World::new();
        world.options.most_known = 1_000;
        let connections = world.replica("a");
        let now = world.clock.now();
        let turn = connections.desk.large.acquire().await.unwrap();
        world.script([BankFault::Answers(changes(vec![with(0..200, "x1", now)], true, &[], "c1"))]);
        let connection = connections.link(request("u1")).await.unwrap().connection;
        let run = world.finished(&connection.id, 1).await;
        assert_eq!((run.outcome, run.added), (Some(Outcome::Complete), 201));
        drop(turn);
    });
}

#[test]
fn a_new_link_finds_the_accounts_and_transactions_again_under_their_new_ids() {
    system(async {
        let world = World::new();
        let connections = world.replica("a");
        let now = world.clock.now();
        world.script([BankFault::Answers(changes(vec![with(0..5, "x1", now)], true, &[], "c1"))]);
        let connection = world.linked(&connections).await;
        let id = connection.id.as_str();
        world.script([
            BankFault::Fails(BankError::NeedsReauth("log in".to_owned())),
            BankFault::Answers(changes(vec![with(0..7, "y1", now)], true, &[], "d1")),
        ]);
        connections.request_sync("u1", id).await.unwrap();
        world.finished(id, 2).await;
        assert_eq!(world.connection(id).await.status, ConnectionStatus::NeedsReauth);

        let relinked = connections.relink(another_link(id, "again")).await.unwrap();
        assert_eq!((relinked.id.as_str(), relinked.status), (id, ConnectionStatus::Active));
        assert_eq!(relinked.cursor, None, "that was of the former access");
        assert!(relinked.relinked);
        let jobs = Query::by(&JOBS, "status").equal("due");
        let (jobs, _) = crate::store::find::<Job>(world.store.as_ref(), jobs).await.unwrap();
        assert_eq!(jobs.iter().map(|job| job.value.kind()).collect::<Vec<_>>(), [BANK_REVOCATION]);
        let run = world.finished(id, 3).await;
        assert_eq!((run.outcome, run.added, run.modified), (Some(Outcome::Complete), 2, 6));
        assert_eq!((world.accounts_of("u1").await.len(), world.kept().await.len()), (1, 7));
        let after = world.connection(id).await;
        assert_eq!((after.cursor.as_deref(), after.relinked), (Some("d1"), false));
        assert_eq!(world.bank.scripted.claims().last().unwrap().0, "again");
        let credential = world.connection(id).await.credential.unwrap();
        let opened = credential.open(&WeakSealer::default(), id).unwrap();
        assert_eq!(opened.0.expose_secret(), "credential-of-u1");
    });
}

#[test]
fn a_connection_linked_to_another_bank_says_which_accounts_are_told_of_no_more() {
    system(async {
        // Given a connection with an account,
        let world = World::new();
        let connections = world.replica("a");
        let now = world.clock.now();
        world.script([BankFault::Answers(changes(vec![with(0..1, "x1", now)], true, &[], "c1"))]);
        let connection = world.linked(&connections).await;
        let id = connection.id.as_str();
        // when it is linked again, to another bank with one of the same name,
        world.clock.advance(Duration::from_secs(1));
        let other = BankAccount { institution: "Other Bank".to_owned(), ..with(0..1, "y1", now) };
        world.script([BankFault::Answers(changes(vec![other], true, &[], "d1"))]);
        connections.relink(another_link(id, "other")).await.unwrap();
        let run = world.finished(id, 2).await;
        // then both are there, and both count, and it is told of the former that it is missing.
        assert_eq!((run.outcome, run.removed), (Some(Outcome::Complete), 1));
        let missing = |account: &Account| (account.provider.clone(), account.missing_since);
        let mut accounts: Vec<_> = world.accounts_of("u1").await.iter().map(missing).collect();
        accounts.sort();
        let since = Some(world.clock.now());
        assert_eq!(accounts, [("Other Bank".to_owned(), None), ("Sandbox Bank".to_owned(), since)]);
        let usd = Currency::from_code("USD").unwrap();
        let worth = world.accounts.worth("u1").await.unwrap().in_currency(usd, None);
        assert_eq!((worth.total, worth.accounts, worth.missing), (Some(dollars(2)), 2, 1));
    });
}

#[test]
fn a_run_under_way_while_it_is_linked_again_does_not_count() {
    system(async {
        let world = World::new();
        let connections = world.replica("a");
        let now = world.clock.now();
        let connection = world.linked(&connections).await;
        let id = connection.id.as_str();
        let mut held = world.bank.scripted.hold(BankCall::Statement);
        world.script([
            BankFault::Answers(changes(vec![with(0..5, "x1", now)], true, &[], "of the former access")),
            BankFault::Answers(changes(vec![with(0..5, "x1", now)], true, &[], "c1")),
        ]);
        connections.request_sync("u1", id).await.unwrap();
        held.arrived().await;
        connections.relink(another_link(id, "again")).await.unwrap();
        held.release();
        world.finished(id, 2).await;
        assert_eq!(world.connection(id).await.cursor.as_deref(), Some("c1"));
        assert_eq!(world.kept().await.len(), 5);
    });
}

#[test]
fn a_bank_that_takes_its_time_keeps_a_new_link_waiting_for_no_longer_than_its_claim() {
    system(async {
        let world = World::new();
        let connections = world.replica("a");
        let connection = world.linked(&connections).await;
        let id = connection.id.as_str();
        let mut held = world.bank.scripted.hold(BankCall::Statement);
        connections.request_sync("u1", id).await.unwrap();
        held.arrived().await;
        connections.relink(another_link(id, "again")).await.unwrap();
        world.waits_for_the_bank().await;
        world.clock.advance(world.options.lease / 2);
        assert_eq!(world.finished(id, 2).await.outcome, Some(Outcome::Complete));
        held.release();
    });
}

#[test]
fn a_relink_whose_token_is_refused_changes_nothing_and_one_whose_answer_is_lost_says_so() {
    system(async {
        let world = World::new();
        let connections = world.replica("a");
        let connection = world.linked(&connections).await;
        let ask = |provider: Option<&str>, user: &str| RelinkRequest {
            user_id: user.to_owned(),
            provider: provider.map(str::to_owned),
            ..another_link(&connection.id, "again")
        };
        let before = connections.get("u1", &connection.id).await.unwrap().unwrap().version;
        claim_fails(&world, ClaimError::Refused("used".to_owned()));
        let refused = connections.relink(ask(None, "u1")).await.unwrap_err();
        assert_eq!(refused, LinkError::Refused("used".to_owned()));
        let other = connections.relink(ask(Some("piggy"), "u1")).await.unwrap_err();
        assert_eq!(other, LinkError::OtherProvider("sandbox".to_owned()));
        assert_eq!(connections.relink(ask(None, "u2")).await.unwrap_err(), LinkError::NotFound);
        assert_eq!(connections.get("u1", &connection.id).await.unwrap().unwrap().version, before);
        claim_fails(&world, ClaimError::OutcomeUnknown("x".to_owned()));
        let lost = connections.relink(ask(None, "u1")).await.unwrap();
        assert_eq!(lost.status, ConnectionStatus::NeedsReauth);
        assert!(lost.reason.unwrap().contains("link again"));
    });
}

#[test]
fn a_notice_is_heeded_once_joins_what_is_queued_and_follows_what_is_running() {
    system(async {
        let world = World::new();
        let connections = world.replica("a");
        let mut connection = world.linked(&connections).await;
        let id = connection.id.clone();
        connection.reference = Some("item-1".to_owned());
        let version = connections.get("u1", &id).await.unwrap().unwrap().version;
        let batch = crate::store::Batch::new().replace(&connection, version);
        crate::store::Store::commit(world.store.as_ref(), batch).await.unwrap();

        let unknown = connections.noticed("sandbox", "item-2", "n0").await.unwrap();
        assert_eq!(unknown, Heeded::Unknown);
        assert_eq!(connections.noticed("sandbox", "item-1", "n1").await.unwrap(), Heeded::Wanted);
        world.finished(&id, 2).await;
        assert_eq!(connections.noticed("sandbox", "item-1", "n1").await.unwrap(), Heeded::Repeated);
        assert_eq!(world.runs(&id).await.len(), 2);

        // One that is running has perhaps looked already.
        let mut held = world.bank.scripted.hold(BankCall::Statement);
        connections.request_sync("u1", &id).await.unwrap();
        held.arrived().await;
        for notice in ["n2", "n3", "n2"] {
            connections.noticed("sandbox", "item-1", notice).await.unwrap();
        }
        held.release();
        let schedule = world.scheduled(&connections);
        world.finished(&id, 3).await;
        connections.wake();
        world.finished(&id, 4).await;
        assert_eq!(world.runs(&id).await.len(), 4, "one more for both");
        assert!(!world.connection(&id).await.again);
        schedule.stop(Duration::from_secs(5)).await;
    });
}

#[test]
fn a_claim_is_renewed_while_the_bank_takes_its_time() {
    system(async {
        let world = World::new();
        let connections = world.replica("a");
        let mut held = world.bank.scripted.hold(BankCall::Statement);
        let connection = connections.link(request("u1")).await.unwrap().connection;
        held.arrived().await;
        let until = world.connection(&connection.id).await.claim.unwrap().lease_until;
        for _ in 0..10 {
            world.waits_for_the_bank().await;
            world.clock.advance(world.options.lease / 2);
            let now = world.clock.now();
            eventually(|| async {
                let claim = world.connection(&connection.id).await.claim.unwrap();
                (claim.lease_until > now).then_some(())
            })
            .await;
        }
        assert!(world.clock.now() > until);
        held.release();
        let run = world.finished(&connection.id, 1).await;
        assert_eq!((run.outcome, run.attempts), (Some(Outcome::Complete), 1));
    });
}
