//! The pure decisions: what a statement changes, and when a connection is asked again.

use std::collections::BTreeMap;

use super::super::merge::{MOST_ACCOUNTS, Merged};
use super::super::settle::{Known, Look, MOST_ATTEMPTS, Moment, Settled, look, period, settle, wanted};
use super::*;
use crate::providers::{BankTransaction, Changes};

const NOW: Timestamp = Timestamp::from_millis(1_750_000_000_000);

fn connection() -> Connection {
    let body = serde_json::json!({
        "id": "c1", "userId": "u1", "listedFor": "u1", "provider": "sandbox", "status": "active",
        "failures": 0, "createdAt": 0, "credential": {"keyId": "plain", "sealed": "canary"},
    });
    serde_json::from_value(body).unwrap()
}

fn counted() -> impl FnMut() -> String {
    let mut count = 0;
    move || {
        count += 1;
        format!("new{count}")
    }
}

/// What is merged while no transactions are known.
fn merge(
    connection: &Connection,
    known: &[Versioned<Account>],
    statement: &Statement,
    now: Timestamp,
    new_id: &mut dyn FnMut() -> String,
) -> Merged {
    merge::merge(connection, known, &BTreeMap::new(), statement, now, new_id)
}

fn known(statement: &Statement) -> Vec<Versioned<Account>> {
    let merged = merge(&connection(), &[], statement, NOW, &mut counted());
    merged.accounts.into_iter().map(|(value, _)| Versioned { value, version: 1 }).collect()
}

fn after(error: BankError, failures: u32, chance: f64, options: &SyncOptions) -> Option<Duration> {
    let connection = Connection { failures, ..connection() };
    let run = Run::queued("r1".to_owned(), "c1", NOW);
    let moment = Moment { now: NOW, chance };
    let settled = settle(connection, run, &Known::default(), &Err(error), moment, options, &mut counted());
    settled.connection.due_at.map(|due| due.since(NOW))
}

#[test]
fn the_same_statement_again_changes_nothing() {
    let statement = whole(vec![checking("x1", 1, NOW), credit("x2", "19.99", None, NOW)]);
    let merged = merge(&connection(), &known(&statement), &statement, NOW, &mut counted());
    assert_eq!((merged.accounts.len(), merged.added, merged.modified, merged.removed), (0, 0, 0, 0));
}

#[test]
fn a_part_of_a_run_leaves_the_cursor_and_what_is_not_whole_is_not_gone_on_with() {
    let transaction = |n: i64| BankTransaction {
        id: format!("t{n}"),
        at: NOW,
        amount: dollars(n),
        description: String::new(),
        pending: false,
        replaces: None,
        undated: false,
    };
    let account =
        BankAccount { transactions: (0..7_000).map(transaction).collect(), ..checking("x1", 1, NOW) };
    let changes = Changes { since_begin: false, removed: Vec::new(), cursor: "c2".to_owned() };
    let statement = Statement { accounts: vec![account], changes: Some(changes), ..Statement::default() };
    let before = Connection { cursor: Some("c1".to_owned()), ..connection() };
    assert_eq!(period(&before, NOW).cursor.as_deref(), Some("c1"));
    let run = Run::queued("r1".to_owned(), "c1", NOW);
    let moment = Moment { now: NOW, chance: 0.5 };
    let options = SyncOptions::default();
    let settled = settle(before, run, &Known::default(), &Ok(statement), moment, &options, &mut counted());
    assert!(settled.more && settled.transactions.len() < 7_000);
    assert_eq!(settled.connection.cursor.as_deref(), Some("c1"));
    assert_eq!(period(&settled.connection, NOW).cursor, None, "if it is cut off here, all is told again");
}

/// A pending one and what it was booked as, of two accounts; told are the bookings.
fn booked(statement: impl FnOnce(Vec<BankAccount>) -> Statement) -> Settled {
    let told = |account: &str, id: &str, pending: bool| {
        let transaction = BankTransaction {
            id: id.to_owned(),
            at: NOW,
            amount: dollars(-1000),
            description: "Coffee".to_owned(),
            pending,
            replaces: None,
            undated: false,
        };
        BankAccount { transactions: vec![transaction], ..checking(account, 1, NOW) }
    };
    let since = Some(NOW.minus(Duration::from_secs(20 * 86_400)));
    let settled = |known: &Known, statement: Statement| {
        let statement = Ok(Statement { told_since: since, ..statement });
        let run = Run::queued("r1".to_owned(), "c1", NOW);
        let moment = Moment { now: NOW, chance: 0.5 };
        settle(connection(), run, known, &statement, moment, &SyncOptions::default(), &mut counted())
    };
    let first = settled(&Known::default(), whole(vec![told("x1", "p1", true), told("x2", "p2", true)]));
    let known = Known::default().after(&first);
    settled(&known, statement(vec![told("x1", "b1", false), told("x2", "b2", false)]))
}

#[test]
fn an_account_is_whole_whatever_is_wrong_with_another_and_whatever_the_bank_reports() {
    // The bank reports a problem that is not of these accounts: each is still the one that was pending.
    let partial = || Some("Connection to Other Bank may need attention".to_owned());
    let settled = booked(|accounts| Statement { partial: partial(), ..whole(accounts) });
    assert_eq!((settled.run.outcome, settled.run.added), (Some(Outcome::Partial), 0));
    assert_eq!(settled.transactions.len(), 2);
    assert!(settled.transactions.iter().all(|(one, _)| one.merged_from.len() == 1));
    assert_eq!(settled.connection.last_success_at, None);
    // Of one of them not all could be read: nothing is said of what it does not tell of.
    let settled = booked(|mut accounts| {
        accounts[0].whole = false;
        Statement { partial: partial(), ..whole(accounts) }
    });
    assert_eq!((settled.run.added, settled.run.modified, settled.gone.len()), (1, 1, 0));
}

#[test]
fn what_is_never_shown_is_told_and_holds_nothing_up() {
    let points = || Some("Miles is not shown: its currency is not supported".to_owned());
    let settled = booked(|accounts| Statement { unsupported: points(), ..whole(accounts) });
    assert_eq!((settled.run.outcome, &settled.run.reason), (Some(Outcome::Complete), &points()));
    assert_eq!((settled.connection.last_success_at, &settled.connection.reason), (Some(NOW), &points()));
    let partial = Some("one account is away".to_owned());
    let settled = booked(|accounts| Statement { unsupported: points(), partial, ..whole(accounts) });
    let reason = settled.run.reason.unwrap();
    assert!(reason.contains("one account is away") && reason.contains("Miles"), "{reason}");
}

/// A known account x1, and what is settled when y1 of the same name is told of instead. Both have had one
/// transaction, on the same day.
fn told_instead(connection: Connection, texts: [&str; 2], statement: Statement) -> Settled {
    let account = |id: &str, text: &str| {
        let transaction = BankTransaction {
            id: format!("{id}-{text}"),
            at: NOW,
            amount: dollars(-1000),
            description: text.to_owned(),
            pending: false,
            replaces: None,
            undated: false,
        };
        let name = "Checking".to_owned();
        BankAccount { name, transactions: vec![transaction], ..checking(id, 1, NOW) }
    };
    let since = Some(NOW.minus(Duration::from_secs(20 * 86_400)));
    let settled = |connection: Connection, known: &Known, statement: Statement| {
        let statement = Ok(Statement { told_since: since, ..statement });
        let run = Run::queued("r1".to_owned(), "c1", NOW);
        let moment = Moment { now: NOW, chance: 0.5 };
        settle(connection, run, known, &statement, moment, &SyncOptions::default(), &mut counted())
    };
    let first = settled(self::connection(), &Known::default(), whole(vec![account("x1", texts[0])]));
    let known = Known::default().after(&first);
    settled(connection, &known, Statement { accounts: vec![account("y1", texts[1])], ..statement })
}

fn is_renamed(settled: &Settled) -> bool {
    let written = |id: &str| settled.accounts.iter().find(|(one, _)| one.external_id.as_deref() == Some(id));
    written("y1").is_some_and(|(_, version)| *version > 0)
}

#[test]
fn an_account_that_is_told_of_instead_is_another_one_unless_two_of_three_speak_for_it() {
    let relinked = || Connection { relinked: true, ..connection() };
    let (same, other) = (["Rent", "Rent"], ["Rent", "Coffee"]);
    let partial = |all_accounts: bool| Statement {
        partial: Some("something is away".to_owned()),
        all_accounts,
        ..Statement::default()
    };
    for (connection, texts, statement, renamed) in [
        (connection(), other, whole(vec![]), false),
        (connection(), same, whole(vec![]), true),
        (connection(), same, partial(true), true),
        (connection(), same, partial(false), false),
        (relinked(), other, whole(vec![]), true),
        (relinked(), other, partial(true), true),
        (relinked(), other, partial(false), false),
        (relinked(), same, partial(false), true),
    ] {
        let case = format!("{} {texts:?} {statement:?}", connection.relinked);
        assert_eq!(is_renamed(&told_instead(connection, texts, statement)), renamed, "{case}");
    }
}

#[test]
fn a_new_link_is_remembered_until_a_statement_has_told_of_all_accounts() {
    let relinked = || Connection { relinked: true, ..connection() };
    let partial = Statement { partial: Some("something is away".to_owned()), ..Statement::default() };
    assert!(told_instead(relinked(), ["a", "b"], partial.clone()).connection.relinked);
    let all = Statement { all_accounts: true, ..partial };
    assert!(!told_instead(relinked(), ["a", "b"], all).connection.relinked);
    assert!(!told_instead(relinked(), ["a", "b"], whole(vec![])).connection.relinked);
}

#[test]
fn an_account_that_is_told_of_twice_is_taken_over_once() {
    let settled = booked(|accounts| whole([accounts.clone(), accounts].concat()));
    assert_eq!((settled.run.outcome, settled.run.added), (Some(Outcome::Partial), 2));
    assert!(settled.gone.is_empty());
}

#[test]
fn a_run_that_never_ends_waits_longer_each_time_and_what_it_stored_counts_for_it() {
    let options =
        SyncOptions { jitter: 0.0, longest_retry: Duration::from_secs(200), ..SyncOptions::default() };
    let moment = Moment { now: NOW, chance: 0.5 };
    let mut connection = connection();
    let mut waited = Vec::new();
    for _ in 0..4 {
        let run = Run { attempts: MOST_ATTEMPTS, ..Run::queued("r1".to_owned(), "c1", NOW) };
        let claim = Claim { id: "k".to_owned(), owner: "a".to_owned(), lease_until: NOW };
        let run = Some(Versioned { value: run, version: 1 });
        let lives = |_: &str| true;
        let looked = look(connection, run, (claim, 0), lives, moment, &options, &mut counted());
        let (held, run) = match looked {
            Look::Record(held, Some((run, 1))) => (held, run),
            other => panic!("{other:?}"),
        };
        assert_eq!((run.status, run.outcome, run.attempts), (RunStatus::Queued, None, 0));
        assert!(run.unfinished_of.is_some() && held.may_have_unfinished_run());
        waited.push(held.due_at.unwrap().since(NOW).as_secs());
        connection = *held;
    }
    assert_eq!(waited, [60, 120, 200, 200]);

    // A part that was stored is a way made.
    let transactions = (0..3).map(|n| BankTransaction {
        id: format!("t{n}"),
        at: NOW,
        amount: dollars(n),
        description: String::new(),
        pending: false,
        replaces: None,
        undated: false,
    });
    let account = BankAccount { transactions: transactions.collect(), ..checking("x1", 1, NOW) };
    let statement = Ok(Statement { told_since: Some(NOW), ..whole(vec![account]) });
    let options = SyncOptions { most_postings: 2, ..options };
    let run = Run { attempts: MOST_ATTEMPTS, ..Run::queued("r1".to_owned(), "c1", NOW) };
    let settled = settle(connection, run, &Known::default(), &statement, moment, &options, &mut counted());
    assert!(settled.more);
    assert_eq!((settled.run.attempts, settled.transactions.len()), (1, 2));
}

#[test]
fn what_others_keep_writing_is_written_last() {
    let told = |n: i64, cents: i64| BankTransaction {
        id: format!("t{n}"),
        at: NOW,
        amount: dollars(cents),
        description: String::new(),
        pending: false,
        replaces: None,
        undated: false,
    };
    let statement = |cents: i64| {
        let transactions = (0..4).map(|n| told(n, cents + n)).collect();
        let account = BankAccount { transactions, ..checking("x1", 1, NOW) };
        Ok(Statement { told_since: Some(NOW), ..whole(vec![account]) })
    };
    let run = || Run::queued("r1".to_owned(), "c1", NOW);
    let (moment, options) = (Moment { now: NOW, chance: 0.5 }, SyncOptions::default());
    let before = Known::default();
    let first = settle(connection(), run(), &before, &statement(1), moment, &options, &mut counted());
    let mut known = before.after(&first);
    let contested: Vec<String> = first.transactions[..2].iter().map(|(one, _)| one.id.clone()).collect();
    known.contested = contested.iter().cloned().collect();
    let options = SyncOptions { most_postings: 2, ..options };
    let settled = settle(connection(), run(), &known, &statement(10), moment, &options, &mut counted());
    assert!(settled.more && settled.transactions.iter().all(|(one, _)| !contested.contains(&one.id)));
}

#[test]
fn in_a_run_of_many_commits_a_record_goes_with_the_one_that_takes_its_id_over() {
    let told = |id: &str, cents: i64, pending: bool| BankTransaction {
        id: id.to_owned(),
        at: NOW,
        amount: dollars(cents),
        description: String::new(),
        pending,
        replaces: None,
        undated: false,
    };
    let statement = |transactions: Vec<BankTransaction>| {
        let account = BankAccount { transactions, ..checking("x1", 1, NOW) };
        Statement { told_since: Some(NOW), ..whole(vec![account]) }
    };
    let booked = vec![told("b1", -500, false), told("b2", -700, false)];
    let mut half = Statement { partial: Some("a bank is away".to_owned()), ..statement(booked.clone()) };
    half.accounts[0].whole = false;
    let others = vec![told("b3", -3, false), told("b4", -4, false)];
    let tellings = [
        statement(vec![told("p1", -500, true), told("p2", -700, true)]),
        half,
        statement([booked, others].concat()),
    ];
    let options = SyncOptions { most_postings: 1, ..SyncOptions::default() };
    let (mut connection, mut known, mut ids) = (connection(), Known::default(), counted());
    let (mut first, mut now) = (Vec::new(), NOW);
    for telling in tellings {
        for commit in 0.. {
            assert!(commit < 20, "it has no end");
            now = now.plus(Duration::from_secs(1));
            let (run, moment) = (Run::queued("r1".to_owned(), "c1", now), Moment { now, chance: 0.5 });
            let answer = Ok(telling.clone());
            let settled = settle(connection, run, &known, &answer, moment, &options, &mut ids);
            connection = settled.connection.clone();
            let more = settled.more;
            known = known.after(&settled);
            let there = known.transactions.values().flatten();
            let mut names: Vec<_> = there.filter_map(|one| one.value.external_id.as_deref()).collect();
            names.sort_unstable();
            assert!(names.windows(2).all(|two| two[0] != two[1]), "{names:?}");
            if !more {
                break;
            }
        }
        if first.is_empty() {
            first = known.transactions.values().flatten().map(|one| one.value.id.clone()).collect();
        }
    }
    let there: Vec<_> = known.transactions.values().flatten().collect();
    assert_eq!(there.len(), 4);
    for id in first {
        let kept = there.iter().find(|one| one.value.id == id).unwrap();
        assert!(!kept.value.pending && kept.value.merged_from.len() == 1);
    }
}

#[test]
fn a_later_as_of_is_written_but_is_no_modification() {
    let before = known(&whole(vec![checking("x1", 1, NOW)]));
    let later = NOW.plus(Duration::from_secs(60));
    let merged = merge(&connection(), &before, &whole(vec![checking("x1", 1, later)]), later, &mut counted());
    assert_eq!((merged.modified, merged.accounts.len()), (0, 1));
    let (account, version) = &merged.accounts[0];
    assert_eq!((account.balance_as_of, account.last_updated, *version), (later, later, 1));
}

#[test]
fn a_balance_of_before_the_one_that_is_known_is_no_news() {
    let before = known(&whole(vec![checking("x1", 50, NOW), credit("x2", "19.99", None, NOW)]));
    let earlier = NOW.minus(Duration::from_secs(5 * 86_400));
    let told = vec![checking("x1", 5, earlier), credit("x2", "24.99", None, earlier)];
    let merged = merge(&connection(), &before, &whole(told.clone()), NOW, &mut counted());
    assert_eq!((merged.modified, merged.accounts.len(), merged.partial), (0, 0, None));
    // Its name is, whenever it was told.
    let renamed = BankAccount { name: "Checking Plus".to_owned(), ..told[0].clone() };
    let merged = merge(&connection(), &before, &whole(vec![renamed, told[1].clone()]), NOW, &mut counted());
    let (account, _) = &merged.accounts[0];
    assert_eq!((merged.modified, account.provider_name.as_str()), (1, "Checking Plus"));
    assert_eq!((account.balance, account.balance_as_of), (dollars(50), NOW));
    // At the same time the later telling counts.
    let same = vec![checking("x1", 51, NOW), credit("x2", "19.99", None, NOW)];
    assert_eq!(merge(&connection(), &before, &whole(same), NOW, &mut counted()).modified, 1);
}

#[test]
fn no_balance_is_as_of_a_time_to_come() {
    let future = NOW.plus(Duration::from_secs(86_400));
    assert_eq!(known(&whole(vec![checking("x1", 1, future)]))[0].value.balance_as_of, NOW);
}

#[test]
fn an_account_that_a_whole_statement_leaves_out_is_kept_and_counted_once() {
    let before = known(&whole(vec![checking("x1", 1, NOW), checking("x2", 2, NOW)]));
    let merged = merge(&connection(), &before, &whole(vec![checking("x1", 1, NOW)]), NOW, &mut counted());
    assert_eq!((merged.removed, merged.accounts.len()), (1, 1));
    assert_eq!(merged.accounts[0].0.missing_since, Some(NOW));
    // A second time it is no news, and when it is back it is an account like any other.
    let gone = vec![Versioned { value: merged.accounts[0].0.clone(), version: 2 }];
    assert_eq!(merge(&connection(), &gone, &whole(vec![]), NOW, &mut counted()).removed, 0);
    let back = merge(&connection(), &gone, &whole(vec![checking("x2", 2, NOW)]), NOW, &mut counted());
    assert_eq!(back.accounts[0].0.missing_since, None);
}

#[test]
fn a_statement_that_is_not_whole_removes_nothing() {
    let before = known(&whole(vec![checking("x1", 1, NOW), checking("x2", 2, NOW)]));
    let partial = Statement { partial: Some("one institution is away".to_owned()), ..Statement::default() };
    let merged = merge(&connection(), &before, &partial, NOW, &mut counted());
    assert_eq!((merged.removed, merged.accounts.len()), (0, 0));
    assert_eq!(merged.partial.as_deref(), Some("one institution is away"));
}

#[test]
fn a_providers_garbage_becomes_a_partial_result_with_a_readable_reason() {
    let bad = vec![
        checking("x1", 1, NOW),
        checking("x1", 2, NOW),
        credit("x2", "lots", None, NOW),
        credit("x3", "19.99", Some("soon"), NOW),
        BankAccount { name: "evil\u{1b}[2J".repeat(100), ..checking("x4", 1, NOW) },
    ];
    let merged = merge(&connection(), &[], &whole(bad), NOW, &mut counted());
    assert_eq!(merged.added, 2);
    let reason = merged.partial.unwrap();
    for said in ["told of twice", "annual rate is no decimal number", "due date is no date"] {
        assert!(reason.contains(said), "{reason}");
    }
    assert_eq!(merged.accounts[0].0.balance, dollars(1));
    let name = &merged.accounts[1].0.provider_name;
    assert!(name.chars().count() <= 120 && !name.contains('\u{1b}'));
}

#[test]
fn a_provider_cannot_make_more_accounts_than_a_connection_may_have() {
    let many = |from: usize| whole((from..from + 400).map(|n| checking(&format!("x{n}"), 1, NOW)).collect());
    let first = known(&many(0));
    let merged = merge(&connection(), &first, &many(400), NOW, &mut counted());
    assert_eq!(first.len() + merged.accounts.len(), MOST_ACCOUNTS);
    assert_eq!(merged.partial.as_deref(), Some("more than 500 accounts; 300 are left out"));
}

#[test]
fn pauses_double_with_each_failure_up_to_the_longest_and_are_spread() {
    let options = SyncOptions::default();
    let down = || BankError::Down("503".to_owned());
    let minutes = |failures| after(down(), failures, 0.5, &options).unwrap().as_secs() / 60;
    assert_eq!([0, 1, 2, 3].map(minutes), [1, 2, 4, 8]);
    assert_eq!(minutes(u32::MAX), 6 * 60);
    let (least, most) = (after(down(), 0, 0.0, &options), after(down(), 0, 1.0, &options));
    assert_eq!(least, Some(Duration::from_secs(54)));
    assert_eq!(most, Some(Duration::from_secs(66)));
}

/// What is settled on a history of which the provider told the last 90 days, before this was in the way.
fn cut_short(connection: Connection, by: BankError) -> Settled {
    let transaction = |n: i64| BankTransaction {
        id: format!("t{n}"),
        at: NOW,
        amount: dollars(n),
        description: String::new(),
        pending: false,
        replaces: None,
        undated: false,
    };
    let account = BankAccount { transactions: (0..2).map(transaction).collect(), ..checking("x1", 1, NOW) };
    let statement = Statement {
        partial: Some("transactions before 2025-03-17 are missing".to_owned()),
        told_since: Some(NOW.minus(Duration::from_secs(90 * 86_400))),
        cut_short: Some(by),
        ..whole(vec![account])
    };
    let (run, moment) = (Run::queued("r1".to_owned(), "c1", NOW), Moment { now: NOW, chance: 0.5 });
    let options = SyncOptions::default();
    settle(connection, run, &Known::default(), &Ok(statement), moment, &options, &mut counted())
}

#[test]
fn what_was_told_before_the_provider_wanted_to_be_asked_less_is_kept_and_the_rest_waits_for_its_time() {
    let limited =
        |seconds: Option<u64>| BankError::RateLimited { retry_after: seconds.map(Duration::from_secs) };
    let of = |connection: Connection, by: BankError| {
        let settled = cut_short(connection, by);
        assert_eq!((settled.more, settled.accounts.len(), settled.transactions.len()), (false, 1, 2));
        assert_eq!((settled.run.added, settled.connection.last_success_at), (3, None));
        assert_eq!(settled.run.outcome, settled.connection.last_outcome);
        assert!(settled.run.reason.as_ref().is_some_and(|reason| reason.contains("are missing")));
        assert_eq!(settled.run.reason, settled.connection.reason);
        settled
    };
    let waits = |settled: &Settled| settled.connection.due_at.unwrap().since(NOW).as_secs();
    // It says when: not before that, however short our own pause is, and whatever is new meanwhile.
    for again in [false, true] {
        let settled = of(Connection { again, ..connection() }, limited(Some(7200)));
        assert_eq!((settled.run.outcome, waits(&settled)), (Some(Outcome::RateLimited), 7200));
        assert_eq!(settled.connection.rest_until, settled.connection.due_at);
        assert!(!settled.connection.again);
    }
    // It does not say when, or soon: each time longer, as after any failure.
    for (failures, said, seconds) in [(0, None, 60), (1, None, 120), (2, Some(5), 240)] {
        let settled = of(Connection { failures, ..connection() }, limited(said));
        assert_eq!((settled.run.outcome, waits(&settled)), (Some(Outcome::RateLimited), seconds));
        assert_eq!(settled.connection.failures, failures + 1);
    }
    // Whatever else was in the way is a gap, and is asked for again in its time.
    let interval = SyncOptions::default().interval.as_secs();
    let (late, day) = (BankError::Down("it did not answer".to_owned()), Duration::from_secs(86_400));
    for (by, seconds) in [
        (late, interval),
        (BankError::Resting { after: day }, interval),
        (BankError::down("status 503".to_owned(), Some(day)), 86_400),
    ] {
        let settled = of(Connection { failures: 3, ..connection() }, by.clone());
        let told = (settled.run.outcome, waits(&settled), settled.connection.failures);
        assert_eq!(told, (Some(Outcome::Partial), seconds, 0), "{by:?}");
    }
}

#[test]
fn of_a_list_of_changes_that_was_cut_short_the_cursor_stays_where_it_was() {
    let account = BankAccount { whole: false, ..checking("x1", 1, NOW) };
    let changes = Changes { since_begin: true, removed: Vec::new(), cursor: String::new() };
    let statement = Statement {
        partial: Some("some transactions are missing".to_owned()),
        changes: Some(changes),
        cut_short: Some(BankError::RateLimited { retry_after: None }),
        ..whole(vec![account])
    };
    let (run, moment) = (Run::queued("r1".to_owned(), "c1", NOW), Moment { now: NOW, chance: 0.5 });
    let options = SyncOptions::default();
    let settled =
        settle(connection(), run, &Known::default(), &Ok(statement), moment, &options, &mut counted());
    assert_eq!((settled.run.outcome, settled.connection.cursor), (Some(Outcome::RateLimited), None));
    assert_eq!(settled.connection.provisional_since, Some(NOW));
}

#[test]
fn whoever_wants_a_run_before_the_provider_wants_to_be_asked_waits_until_then() {
    let until = NOW.plus(Duration::from_secs(7200));
    let resting = Connection { rest_until: Some(until), due_at: Some(until), ..connection() };
    let (due, run) = wanted(resting, "r1", NOW.plus(Duration::from_secs(60)));
    assert_eq!((due.due_at, due.may_have_unfinished_run()), (Some(until), true));
    assert!(run.status == RunStatus::Queued && run.reason.is_some());
    let look_at = |connection: &Connection, now: Timestamp| {
        let claim = Claim { id: "k".to_owned(), owner: "a".to_owned(), lease_until: now };
        let run = Some(Versioned { value: run.clone(), version: 1 });
        let moment = Moment { now, chance: 0.5 };
        let options = SyncOptions::default();
        look(connection.clone(), run, (claim, 0), |_| true, moment, &options, &mut counted())
    };
    let early = until.minus(Duration::from_millis(1));
    assert!(matches!(look_at(&due, early), Look::Nothing));
    // One that was left due all the same is put off, and is not looked at on and on.
    let Look::Record(put_off, None) = look_at(&Connection { due_at: Some(NOW), ..due.clone() }, early) else {
        panic!("it is not put off");
    };
    assert_eq!(put_off.due_at, Some(until));
    let Look::Begin(_, begun, 1) = look_at(&due, until) else { panic!("it is not begun in its time") };
    assert_eq!((begun.id.as_str(), begun.reason.as_deref()), ("r1", None));
    assert_eq!(wanted(due, "r2", until).0.due_at, Some(until));
}

#[test]
fn after_a_failure_what_is_new_waits_only_as_long_as_the_provider_wants() {
    let options = SyncOptions { jitter: 0.0, ..SyncOptions::default() };
    let due = |status: ConnectionStatus, error: BankError| {
        let connection = Connection { again: true, status, ..connection() };
        let (run, moment) = (Run::queued("r1".to_owned(), "c1", NOW), Moment { now: NOW, chance: 0.5 });
        let answer = Err(error);
        let settled = settle(connection, run, &Known::default(), &answer, moment, &options, &mut counted());
        settled.connection.due_at.unwrap().since(NOW).as_secs()
    };
    let limited =
        |seconds: Option<u64>| BankError::RateLimited { retry_after: seconds.map(Duration::from_secs) };
    for status in [ConnectionStatus::Active, ConnectionStatus::NeedsReauth] {
        assert_eq!(due(status, BankError::Down("late".to_owned())), 0);
        assert_eq!(due(status, BankError::NeedsReauth("expired".to_owned())), 0);
        assert_eq!(due(status, BankError::down("503".to_owned(), Some(Duration::from_secs(30)))), 30);
        assert_eq!(due(status, limited(Some(7200))), 7200);
        assert_eq!(due(status, limited(None)), 60);
    }
}

#[test]
fn retry_after_is_honoured_unless_it_is_shorter_or_absurd() {
    let options = SyncOptions::default();
    let pause = |retry_after| after(BankError::RateLimited { retry_after }, 0, 0.5, &options).unwrap();
    assert_eq!(pause(None), Duration::from_secs(60));
    assert_eq!(pause(Some(Duration::from_secs(5))), Duration::from_secs(60));
    assert_eq!(pause(Some(Duration::from_secs(7200))), Duration::from_secs(7200));
    assert_eq!(pause(Some(Duration::from_secs(u64::MAX))), Duration::from_secs(86_400));
    let of_a_503 = |span| after(BankError::down("503".to_owned(), Some(span)), 0, 0.5, &options).unwrap();
    assert_eq!(of_a_503(Duration::from_secs(5)), Duration::from_secs(60));
    assert_eq!(of_a_503(Duration::from_secs(7200)), Duration::from_secs(7200));
    assert_eq!(of_a_503(Duration::from_secs(u64::MAX)), Duration::from_secs(86_400));
}

#[test]
fn an_answer_that_is_no_good_is_the_providers_failure_with_its_reason() {
    let options = SyncOptions::default();
    let run = Run::queued("r1".to_owned(), "c1", NOW);
    let no_good = Err(BankError::Unusable("the bank's answer is not JSON".to_owned()));
    let moment = Moment { now: NOW, chance: 0.5 };
    let settled = settle(connection(), run, &Known::default(), &no_good, moment, &options, &mut counted());
    assert_eq!(settled.run.outcome, Some(Outcome::ProviderDown));
    assert_eq!(settled.run.reason.as_deref(), Some("the bank's answer is not JSON"));
    assert_eq!(settled.connection.due_at, Some(NOW.plus(Duration::from_secs(60))));
}

#[test]
fn a_connection_prints_without_its_credential() {
    let connection = connection();
    assert!(
        connection
            .credential
            .as_ref()
            .is_some_and(|sealed| sealed.open(&WeakSealer::default(), "c1").is_ok())
    );
    assert!(!format!("{connection:?}").contains("canary"));
}

#[test]
fn a_providers_text_commands_no_screen_and_turns_no_line() {
    assert_eq!(merge::short("a\u{0}b\u{202e}c\u{1b}[31m\u{2066}d"), "abc[31md");
}
