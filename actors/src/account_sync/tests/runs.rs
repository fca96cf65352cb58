//! Runs of one replica: outcomes, triggers, the schedule, falls and drains.

use super::*;
use crate::accounts::AccountEdit;
use crate::session::{Invalidation, Invalidations, Subscription, Unreached};
use crate::testing::CommitFault;

const HOUR: Duration = Duration::from_secs(3600);

/// Triggers a run that meets `fault`, and waits for its end.
async fn run_with(world: &World, connections: &Connections, id: &str, fault: BankFault) -> Run {
    let before = world.runs(id).await.len();
    world.clock.advance(Duration::from_secs(1));
    world.script([fault]);
    connections.request_sync("u1", id).await.unwrap();
    world.finished(id, before + 1).await
}

#[test]
fn every_outcome_is_told_as_it_was() {
    system(async {
        let world = World::new();
        let connections = world.replica("a");
        let linked = world.linked(&connections).await;
        let succeeded_at = linked.last_success_at;
        let limited = BankError::RateLimited { retry_after: Some(2 * HOUR) };
        let partial = Statement { partial: Some("two accounts are missing".to_owned()), ..whole(vec![]) };
        let cases = [
            (BankFault::Answers(partial), Outcome::Partial, Some(world.options.interval)),
            (BankFault::Fails(limited), Outcome::RateLimited, Some(2 * HOUR)),
            (
                BankFault::Fails(BankError::Down("503".to_owned())),
                Outcome::ProviderDown,
                Some(world.options.first_retry * 2),
            ),
            (BankFault::Fails(BankError::NeedsReauth("expired".to_owned())), Outcome::NeedsReauth, None),
        ];
        for (fault, outcome, next) in cases {
            let run = run_with(&world, &connections, &linked.id, fault).await;
            let connection = world.connection(&linked.id).await;
            assert_eq!(run.outcome, Some(outcome));
            assert!(run.reason.is_some() && run.finished_at.is_some(), "{outcome:?}");
            assert_eq!(connection.last_outcome, Some(outcome));
            assert_eq!(connection.last_success_at, succeeded_at, "{outcome:?} is no success");
            assert_eq!(connection.reason, run.reason, "{outcome:?}");
            let planned = next.map(|pause| world.clock.now().plus(pause));
            assert_eq!(connection.next_attempt_at(), planned, "{outcome:?}");
            // Until the provider that was asked too often may be asked.
            world.clock.advance(2 * HOUR);
        }
        assert_eq!(world.connection(&linked.id).await.status, ConnectionStatus::NeedsReauth);
    });
}

#[test]
fn nobody_asks_for_the_rest_of_a_history_before_the_provider_wants_to_be_asked() {
    system(async {
        // Given a history of which the provider told a part, and then wanted to be left alone,
        let world = World::new();
        let connections = world.replica("a");
        let now = world.clock.now();
        let part = Statement {
            partial: Some("transactions before 2025-03-17 are missing".to_owned()),
            told_since: Some(now.minus(24 * HOUR)),
            cut_short: Some(BankError::RateLimited { retry_after: Some(2 * HOUR) }),
            ..whole(vec![checking("x1", 100, now)])
        };
        world.script([BankFault::Answers(part)]);
        let id = world.linked(&connections).await.id;
        let first = world.runs(&id).await.remove(0);
        assert_eq!((first.outcome, first.added), (Some(Outcome::RateLimited), 1));
        assert_eq!(world.accounts_of("u1").await.len(), 1, "what was told is there");

        // when the user wants a run before that,
        world.clock.advance(HOUR);
        let wanted = connections.request_sync("u1", &id).await.unwrap();

        // then it waits, and says so, whoever looks;
        let until = Some(now.plus(2 * HOUR));
        assert_eq!((wanted.status, wanted.reason.is_some()), (RunStatus::Queued, true));
        assert_eq!(world.connection(&id).await.next_attempt_at(), until);
        assert_eq!(connections.start_due().await.unwrap(), 0);
        assert_eq!(connections.request_sync("u1", &id).await.unwrap().id, wanted.id);

        // and in time it is begun, once.
        world.clock.advance(HOUR);
        let ended = eventually(|| async {
            connections.start_due().await.unwrap();
            world.runs(&id).await.pop().filter(|run| run.status == RunStatus::Finished)
        });
        let ended = ended.await;
        assert_eq!((ended.id, ended.started_at), (wanted.id, until));
        assert_eq!((ended.outcome, ended.reason), (Some(Outcome::Complete), None));
        assert_eq!(world.bank.scripted.calls(BankCall::Statement), 2);
        assert_eq!(world.connection(&id).await.rest_until, None);
    });
}

#[test]
fn a_new_link_does_not_wait_because_the_former_access_was_used_too_often() {
    system(async {
        let world = World::new();
        let connections = world.replica("a");
        world.script([BankFault::Fails(BankError::RateLimited { retry_after: Some(2 * HOUR) })]);
        let id = world.linked(&connections).await.id;
        assert_eq!(world.connection(&id).await.last_outcome, Some(Outcome::RateLimited));
        world.clock.advance(Duration::from_secs(1));
        let (user_id, connection_id, token) = ("u1".to_owned(), id.clone(), SecretString::from("again"));
        connections.relink(RelinkRequest { user_id, connection_id, provider: None, token }).await.unwrap();
        assert_eq!(world.finished(&id, 2).await.outcome, Some(Outcome::Complete));
    });
}

#[test]
fn a_connection_that_needs_reauth_is_active_again_once_it_works() {
    system(async {
        let world = World::new();
        let connections = world.replica("a");
        let id = world.linked(&connections).await.id;
        let expired = BankFault::Fails(BankError::NeedsReauth("expired".to_owned()));
        run_with(&world, &connections, &id, expired).await;
        // A provider that is down meanwhile says nothing about the credential.
        let down = BankFault::Fails(BankError::Down("503".to_owned()));
        run_with(&world, &connections, &id, down).await;
        let stopped = world.connection(&id).await;
        assert_eq!((stopped.status, stopped.due_at), (ConnectionStatus::NeedsReauth, None));

        run_with(&world, &connections, &id, BankFault::None).await;

        let connection = world.connection(&id).await;
        assert_eq!((connection.status, connection.reason.clone()), (ConnectionStatus::Active, None));
        assert_eq!(connection.next_attempt_at(), Some(world.clock.now().plus(world.options.interval)));
    });
}

#[test]
fn ten_parallel_triggers_make_one_run() {
    system(async {
        let world = World::new();
        let connections = world.replica("a");
        let id = world.linked(&connections).await.id;
        world.clock.advance(Duration::from_secs(1));
        let held = world.bank.scripted.hold(BankCall::Statement);
        let triggers = (0..10).map(|_| connections.request_sync("u1", &id));
        let runs = futures_util::future::join_all(triggers).await;
        let ids: std::collections::BTreeSet<String> = runs.into_iter().map(|run| run.unwrap().id).collect();
        assert_eq!(ids.len(), 1);
        held.release();
        world.finished(&id, 2).await;
        assert_eq!(world.runs(&id).await.len(), 2);
        assert_eq!(world.bank.scripted.calls(BankCall::Statement), 2);
        // After its end a trigger makes a new one.
        let next = connections.request_sync("u1", &id).await.unwrap();
        assert!(!ids.contains(&next.id));
    });
}

#[test]
fn a_trigger_whose_commits_lose_their_answers_makes_one_run() {
    for fault in [CommitFault::LostBefore, CommitFault::LostAfter] {
        system(async move {
            let world = World::new();
            let connections = world.replica("a");
            let id = world.linked(&connections).await.id;
            world.store.fail_commits([fault; 3]);
            let run = connections.request_sync("u1", &id).await.unwrap();
            assert_eq!(world.finished(&id, 2).await.id, run.id, "{fault:?}");
            assert_eq!(world.runs(&id).await.len(), 2, "{fault:?}");
        });
    }
}

#[test]
fn a_run_that_panics_is_resumed_and_finished_once() {
    system(async {
        // Given a bank whose answer panics twice,
        let world = World::new();
        let connections = world.replica("a");
        let now = world.clock.now();
        world.bank.scripted.set_statement("u1", whole(vec![checking("x1", 1, now)]));
        world.bank.panics.store(2, Ordering::Release);
        // when it is linked,
        let connection = connections.link(request("u1")).await.unwrap().connection;
        // then the same run comes to its end, at its third attempt.
        let run = world.finished(&connection.id, 1).await;
        assert_eq!((run.attempts, run.outcome, run.added), (3, Some(Outcome::Complete), 1));
        assert_eq!(world.runs(&connection.id).await.len(), 1);
        assert_eq!(world.accounts_of("u1").await.len(), 1);
    });
}

#[test]
fn a_run_that_always_panics_waits_and_is_neither_a_success_nor_the_providers_fault() {
    system(async {
        // Given a run that is cut off as often as may be,
        let world = World::new();
        let connections = world.replica("a");
        world.bank.panics.store(5, Ordering::Release);
        let id = connections.link(request("u1")).await.unwrap().connection.id;
        // then it has not ended: it says why it waits, and for how long.
        let waiting = eventually(|| async {
            let run = world.runs(&id).await.remove(0);
            (run.status == RunStatus::Queued && run.reason.is_some()).then_some(run)
        });
        let waiting = waiting.await;
        assert_eq!((waiting.outcome, waiting.finished_at), (None, None));
        let connection = world.connection(&id).await;
        assert_eq!((connection.last_outcome, connection.last_success_at), (None, None));
        assert_eq!((&connection.reason, connection.status), (&waiting.reason, ConnectionStatus::Active));
        let next = world.clock.now().plus(world.options.first_retry);
        assert_eq!(connection.next_attempt_at(), Some(next));
        assert_eq!(connections.start_due().await.unwrap(), 0);

        // When it is time it is tried again, and ends as it does.
        world.clock.advance(world.options.first_retry);
        assert_eq!(connections.start_due().await.unwrap(), 1);
        let run = world.finished(&id, 1).await;
        assert_eq!((run.id, run.outcome, run.reason), (waiting.id, Some(Outcome::Complete), None));
        assert_eq!(world.connection(&id).await.reason, None);
    });
}

#[test]
fn a_provider_that_does_not_answer_in_time_is_down() {
    system(async {
        let world = World::new();
        let connections = world.replica("a");
        let mut held = world.bank.scripted.hold(BankCall::Statement);
        let connection = connections.link(request("u1")).await.unwrap().connection;
        held.arrived().await;
        world.clock.advance(world.options.statement_deadline);
        let run = world.finished(&connection.id, 1).await;
        assert_eq!(run.outcome, Some(Outcome::ProviderDown));
        assert_eq!(run.reason.as_deref(), Some("no answer within 300 s"));
    });
}

#[test]
fn a_result_counts_once_when_the_commits_answer_is_lost() {
    for fault in [CommitFault::LostBefore, CommitFault::LostAfter, CommitFault::Unavailable] {
        system(async move {
            let world = World::new();
            let connections = world.replica("a");
            let now = world.clock.now();
            world.bank.scripted.set_statement("u1", whole(vec![checking("x1", 1, now)]));
            let mut held = world.bank.scripted.hold(BankCall::Statement);
            let connection = connections.link(request("u1")).await.unwrap().connection;
            held.arrived().await;
            world.store.fail_commits([fault]);
            held.release();
            let run = world.finished(&connection.id, 1).await;
            assert_eq!((run.outcome, run.added, run.attempts), (Some(Outcome::Complete), 1, 1), "{fault:?}");
            assert_eq!(world.accounts_of("u1").await.len(), 1, "{fault:?}");
        });
    }
}

#[test]
fn what_the_user_chose_survives_a_sync_even_one_that_is_under_way() {
    system(async {
        // Given an account and a run that is waiting for the bank,
        let world = World::new();
        let connections = world.replica("a");
        let now = world.clock.now();
        world.bank.scripted.set_statement("u1", whole(vec![checking("x1", 100, now)]));
        let connection = world.linked(&connections).await;
        let account = world.accounts_of("u1").await.remove(0);
        world.clock.advance(HOUR);
        let mut renamed_there = checking("x1", 250, world.clock.now());
        renamed_there.name = "Checking Plus".to_owned();
        world.bank.scripted.set_statement("u1", whole(vec![renamed_there]));
        let mut held = world.bank.scripted.hold(BankCall::Statement);
        connections.request_sync("u1", &connection.id).await.unwrap();
        held.arrived().await;

        // when the user renames and hides it meanwhile,
        let edit =
            AccountEdit { account_name: Some(Some("Rent".to_owned())), hidden: Some(true), by_hand: None };
        world.accounts.edit("u1", &account.id, None, &edit).await.unwrap();
        held.release();
        let run = world.finished(&connection.id, 2).await;

        // then both the user's choice and the bank's news are there.
        assert_eq!((run.added, run.modified), (0, 1));
        let account = world.accounts_of("u1").await.remove(0);
        assert_eq!((account.name(), account.hidden), ("Rent", true));
        assert_eq!((account.provider_name.as_str(), account.balance), ("Checking Plus", dollars(250)));
        assert_eq!(account.balance_as_of, world.clock.now());
    });
}

/// A channel of a process that has committed and not come to tell of it.
#[derive(Default)]
struct SilentChannel(LocalInvalidations);

#[async_trait]
impl Invalidations for SilentChannel {
    async fn publish(&self, _: Invalidation) -> Result<(), Unreached> {
        Ok(())
    }

    fn hear(&self, what: Invalidation) {
        self.0.hear(what);
    }

    fn subscribe(&self) -> Subscription {
        self.0.subscribe()
    }
}

#[test]
fn whoever_is_shown_that_a_run_has_ended_finds_its_accounts() {
    for way in ["run", "runs", "connection", "connections"] {
        system(async move {
            // Given a list of no accounts in memory, and a run that brings one,
            let world = World::new();
            let channel = Arc::new(SilentChannel::default());
            let accounts = Accounts::new(world.store.clone(), world.clock.clone()).telling(channel.clone());
            let connections = world.replica_of(SyncParts { channel, ..world.parts("a") });
            let now = world.clock.now();
            world.bank.scripted.set_statement("u1", whole(vec![checking("x1", 1, now)]));
            let mut held = world.bank.scripted.hold(BankCall::Statement);
            let id = connections.link(request("u1")).await.unwrap().connection.id;
            held.arrived().await;
            assert_eq!(accounts.page("u1", None, 100, None).await.unwrap().0.len(), 0);
            held.release();
            let run = world.finished(&id, 1).await;

            // when its end is seen before anyone was told of it,
            match way {
                "run" => assert!(connections.run("u1", &id, &run.id).await.is_ok()),
                "runs" => assert!(connections.runs("u1", &id, 10, None).await.is_ok()),
                "connection" => assert!(connections.get("u1", &id).await.is_ok()),
                _ => assert!(connections.list("u1", 10, None).await.is_ok()),
            }

            // then the account is.
            assert_eq!(accounts.page("u1", None, 100, None).await.unwrap().0.len(), 1, "{way}");
        });
    }
}

#[test]
fn the_schedule_asks_again_when_the_interval_has_passed_and_not_before() {
    system(async {
        let world = World::new();
        let connections = world.replica("a");
        let id = world.linked(&connections).await.id;
        let schedule = world.scheduled(&connections);
        for round in 2..5 {
            // A second before its time nothing is due, however often the schedule looks.
            world.clock.advance(world.options.interval - Duration::from_secs(1));
            assert_eq!(connections.start_due().await.unwrap(), 0);
            assert_eq!(world.runs(&id).await.len(), round - 1);
            world.clock.advance(Duration::from_secs(1));
            connections.wake();
            let run = world.finished(&id, round).await;
            assert_eq!(run.queued_at, world.clock.now());
        }
        schedule.stop(Duration::from_secs(5)).await;
    });
}

#[test]
fn a_store_that_is_down_delays_a_scheduled_run_and_loses_none() {
    system(async {
        let world = World::new();
        let connections = world.replica("a");
        let id = world.linked(&connections).await.id;
        world.clock.advance(world.options.interval);
        world.store.set_down(true);
        assert!(connections.start_due().await.is_err());
        world.store.set_down(false);
        assert_eq!(connections.start_due().await.unwrap(), 1);
        assert_eq!(world.finished(&id, 2).await.outcome, Some(Outcome::Complete));
    });
}

#[test]
fn more_connections_than_slots_are_all_synced_and_never_more_at_once() {
    system(async {
        // Given twenty connections that are due, and two slots,
        let mut world = World::new();
        world.options.concurrency = 2;
        let connections = world.replica("a");
        let mut ids = Vec::new();
        for n in 0..20 {
            ids.push(connections.link(request(&format!("u{n}"))).await.unwrap().connection.id);
        }
        for id in &ids {
            world.finished(id, 1).await;
        }
        world.clock.advance(world.options.interval);
        // when the first two hang,
        let mut first = world.bank.scripted.hold(BankCall::Statement);
        let mut second = world.bank.scripted.hold(BankCall::Statement);
        let schedule = world.scheduled(&connections);
        connections.wake();
        first.arrived().await;
        second.arrived().await;
        // then no third is asked, however often it is looked what is due;
        connections.start_due().await.unwrap();
        tokio::task::yield_now().await;
        assert_eq!(world.bank.scripted.calls(BankCall::Statement), 22);
        // and when they are done the others follow without the clock's help.
        first.release();
        second.release();
        for id in &ids {
            world.finished(id, 2).await;
        }
        schedule.stop(Duration::from_secs(5)).await;
    });
}

#[test]
fn a_drain_lets_the_run_under_way_finish_and_begins_no_other() {
    system(async {
        let world = World::new();
        let connections = world.replica("a");
        let id = world.linked(&connections).await.id;
        let mut held = world.bank.scripted.hold(BankCall::Statement);
        connections.request_sync("u1", &id).await.unwrap();
        held.arrived().await;
        let draining = tokio::spawn({
            let connections = connections.clone();
            async move { connections.drain(Duration::from_secs(10)).await }
        });
        eventually(|| async { connections.request_sync("u1", &id).await.is_err().then_some(()) }).await;
        held.release();
        draining.await.unwrap();
        let runs = world.runs(&id).await;
        assert!(runs.iter().all(|run| run.outcome == Some(Outcome::Complete)), "{runs:?}");
        assert_eq!(runs.len(), 2);
    });
}

#[test]
fn a_run_that_a_drain_cuts_off_is_resumed_by_the_next_replica() {
    system(async {
        // Given a run under way in a replica that shuts down without patience,
        let mut world = World::new();
        world.options.drain = Duration::from_millis(1);
        let leaving = world.replica("a");
        let id = world.linked(&leaving).await.id;
        let mut held = world.bank.scripted.hold(BankCall::Statement);
        let run = leaving.request_sync("u1", &id).await.unwrap();
        held.arrived().await;
        leaving.drain(Duration::from_secs(10)).await;
        drop(held);
        assert_eq!(world.runs(&id).await[1].status, RunStatus::Running);

        // when its claim has lapsed,
        let next = world.replica("b");
        assert_eq!(next.start_due().await.unwrap(), 0);
        world.clock.advance(world.options.lease);
        assert_eq!(next.start_due().await.unwrap(), 1);

        // then the next replica finishes the same run.
        let finished = world.finished(&id, 2).await;
        assert_eq!((finished.id, finished.attempts), (run.id, 2));
        assert_eq!(finished.outcome, Some(Outcome::Complete));
    });
}
