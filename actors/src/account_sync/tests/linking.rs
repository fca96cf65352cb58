//! Linking and deleting connections.

use secrecy::ExposeSecret;
use tokio::task::JoinHandle;

use super::*;
use crate::accounts::ACCOUNTS;
use crate::outbox::{Job, JobError, Jobs, Performer};
use crate::store::{Batch, Store, find};
use crate::testing::{CommitFault, WatchedStore};

fn link_in_background(connections: &Connections) -> JoinHandle<Result<Linked, LinkError>> {
    let connections = connections.clone();
    tokio::spawn(async move { connections.link(request("u1")).await })
}

#[test]
fn a_linked_banks_accounts_appear() {
    system(async {
        // Given a bank with two accounts,
        let world = World::new();
        let connections = world.replica("a");
        let as_of = world.clock.now().minus(Duration::from_secs(3600));
        let accounts = vec![checking("x1", 340_000, as_of), credit("x2", "19.99", Some("2025-06-15"), as_of)];
        world.bank.scripted.set_statement("u1", whole(accounts));

        // when it is linked,
        let connection = connections.link(request("u1")).await.unwrap().connection;
        assert_eq!(connection.status, ConnectionStatus::Active);
        let run = world.finished(&connection.id, 1).await;

        // then its accounts are there, with the time their balances are right,
        assert_eq!((run.outcome, run.added, run.modified), (Some(Outcome::Complete), 2, 0));
        let accounts = world.accounts_of("u1").await;
        assert_eq!(accounts.len(), 2);
        assert!(accounts.iter().all(|account| account.balance_as_of == as_of));
        assert!(accounts.iter().all(|account| account.connection_id.as_ref() == Some(&connection.id)));

        // and the connection says when it worked and when it will be asked again.
        let listed = connections.get("u1", &connection.id).await.unwrap().unwrap().value;
        assert_eq!(listed.institution.as_deref(), Some("Sandbox Bank"));
        assert_eq!(listed.last_success_at, Some(world.clock.now()));
        assert_eq!(listed.next_attempt_at(), Some(world.clock.now().plus(world.options.interval)));
    });
}

#[test]
fn the_first_run_is_queued_in_the_commit_that_makes_the_connection() {
    system(async {
        let world = World::new();
        let connections = world.replica("a");
        let mut held = world.bank.scripted.hold(BankCall::Statement);
        let connection = connections.link(request("u1")).await.unwrap().connection;
        assert_eq!(world.runs(&connection.id).await.len(), 1);
        held.arrived().await;
        assert_eq!(world.runs(&connection.id).await[0].status, RunStatus::Running);
        assert_eq!(world.connection(&connection.id).await.next_attempt_at(), None);
    });
}

#[test]
fn a_refused_token_and_an_unreachable_provider_leave_nothing_behind() {
    system(async {
        let world = World::new();
        let connections = world.replica("a");
        claim_fails(&world, ClaimError::Refused("used up".to_owned()));
        let refused = request("u1");
        assert_eq!(
            connections.link(refused.clone()).await.unwrap_err(),
            LinkError::Refused("used up".to_owned())
        );
        let (reason, retry_after) = ("503".to_owned(), Some(Duration::from_secs(77)));
        claim_fails(&world, ClaimError::Unavailable { reason: reason.clone(), retry_after });
        let down = request("u1");
        assert_eq!(
            connections.link(down.clone()).await.unwrap_err(),
            LinkError::ProviderUnavailable { reason, retry_after }
        );
        claim_fails(&world, ClaimError::Resting { after: Duration::from_secs(20) });
        let held = request("u1");
        let told = connections.link(held.clone()).await.unwrap_err();
        assert!(matches!(told, LinkError::ProviderUnavailable { retry_after: Some(_), .. }), "{told:?}");
        for id in [refused.id, down.id, held.id] {
            assert!(world.store.get(&CONNECTIONS, &id).await.unwrap().is_none());
        }
        assert!(connections.list("u1", 10, None).await.unwrap().0.is_empty());
    });
}

#[test]
fn a_lost_reply_makes_a_connection_that_needs_the_user_again() {
    system(async {
        let world = World::new();
        let connections = world.replica("a");
        claim_fails(&world, ClaimError::OutcomeUnknown("reset".to_owned()));
        let connection = connections.link(request("u1")).await.unwrap().connection;
        assert_eq!(connection.status, ConnectionStatus::NeedsReauth);
        assert!(connection.reason.is_some());
        assert_eq!(connection.due_at, None);
        let (listed, _) = connections.list("u1", 10, None).await.unwrap();
        assert_eq!(listed.len(), 1);
        // A sync of it says what is to be done instead of asking the bank.
        let run = connections.request_sync("u1", &connection.id).await.unwrap();
        let run = eventually(|| async {
            let now = connections.run("u1", &connection.id, &run.id).await.unwrap().value;
            (now.status == RunStatus::Finished).then_some(now)
        });
        assert_eq!(run.await.outcome, Some(Outcome::NeedsReauth));
        assert_eq!(world.bank.scripted.calls(BankCall::Statement), 0);
    });
}

#[test]
fn a_provider_that_does_not_answer_a_claim_in_time_counts_as_a_lost_reply() {
    system(async {
        // Given a claim that hangs,
        let world = World::new();
        let connections = world.replica("a");
        let mut held = world.bank.scripted.hold(BankCall::Claim);
        let linking = link_in_background(&connections);
        held.arrived().await;
        assert!(connections.list("u1", 10, None).await.unwrap().0.is_empty());
        // when its time is up,
        world.clock.advance(world.options.claim_deadline);
        // then the user is told to link again.
        let connection = linking.await.unwrap().unwrap();
        assert_eq!(connection.connection.status, ConnectionStatus::NeedsReauth);
    });
}

#[test]
fn a_link_that_was_cut_off_shows_as_one_that_needs_the_user_again() {
    system(async {
        // Given a process that dies between its intention and the provider's answer,
        let world = World::new();
        let dying = world.replica("a");
        let mut held = world.bank.scripted.hold(BankCall::Claim);
        let asked = request("u1");
        let linking = tokio::spawn({
            let (parts, asked) = (dying.desk.parts.clone(), asked.clone());
            async move { link::link(&parts, asked).await }
        });
        held.arrived().await;
        linking.abort();
        let _ = linking.await;
        assert_eq!(world.connection(&asked.id).await.status, ConnectionStatus::Linking);

        // when nobody can conclude it any more,
        let next = world.replica("b");
        assert_eq!(next.start_due().await.unwrap(), 0);
        world.clock.advance(world.options.claim_deadline + world.options.lease);
        assert_eq!(next.start_due().await.unwrap(), 1);

        // then the user sees it.
        let shown = eventually(|| async { next.get("u1", &asked.id).await.unwrap() }).await;
        assert_eq!(shown.value.status, ConnectionStatus::NeedsReauth);
    });
}

#[test]
fn the_same_id_again_is_the_same_connection_and_claims_nothing() {
    system(async {
        let world = World::new();
        let connections = world.replica("a");
        let asked = LinkRequest { command: Some("digest".to_owned()), ..request("u1") };
        // Also while the first is still on its way.
        let mut held = world.bank.scripted.hold(BankCall::Claim);
        let both = [asked.clone(), asked.clone()].map(|asked| {
            let connections = connections.clone();
            tokio::spawn(async move { connections.link(asked).await.unwrap() })
        });
        held.arrived().await;
        // The deadline of the claim, and the other one's next look.
        eventually(|| async { (world.clock.sleepers() >= 2).then_some(()) }).await;
        held.release();
        let mut replayed = Vec::new();
        let mut both = Vec::from(both);
        while !both.iter().all(JoinHandle::is_finished) {
            world.clock.advance(Duration::from_millis(100));
            tokio::task::yield_now().await;
        }
        for linked in both.drain(..) {
            let linked = linked.await.unwrap();
            assert_eq!(linked.connection.id, asked.id);
            replayed.push(linked.replayed);
        }
        replayed.sort_unstable();
        assert_eq!(replayed, [false, true]);
        let again = connections.link(asked.clone()).await.unwrap();
        assert_eq!((again.connection.id, again.replayed), (asked.id.clone(), true));
        assert_eq!(world.bank.scripted.calls(BankCall::Claim), 1);
        assert_eq!(connections.list("u1", 10, None).await.unwrap().0.len(), 1);

        // Other words, or another user, are another command;
        let other = LinkRequest { command: Some("another".to_owned()), ..asked.clone() };
        assert_eq!(connections.link(other).await.unwrap_err(), LinkError::KeyReused);
        let stranger = LinkRequest { user_id: "u2".to_owned(), ..asked.clone() };
        assert_eq!(connections.link(stranger).await.unwrap_err(), LinkError::KeyReused);
        // and what was deleted since is not made anew.
        connections.delete("u1", &asked.id, Disposal::KeepAccounts).await.unwrap();
        assert_eq!(connections.link(asked).await.unwrap_err(), LinkError::DeletedSince);
        assert_eq!(world.bank.scripted.calls(BankCall::Claim), 1);
    });
}

#[test]
fn a_claimed_credential_survives_commits_whose_answers_are_lost() {
    for fault in [CommitFault::LostBefore, CommitFault::LostAfter, CommitFault::Unavailable] {
        system(async move {
            let world = World::new();
            let connections = world.replica("a");
            let mut held = world.bank.scripted.hold(BankCall::Claim);
            let linking = link_in_background(&connections);
            held.arrived().await;
            world.store.fail_commits([fault]);
            held.release();
            let connection = linking.await.unwrap().unwrap().connection;
            assert_eq!(connection.status, ConnectionStatus::Active, "{fault:?}");
            world.finished(&connection.id, 1).await;
            assert_eq!(world.runs(&connection.id).await.len(), 1, "{fault:?}");
        });
    }
}

#[test]
fn unknown_providers_empty_tokens_and_too_many_connections_are_refused() {
    system(async {
        let mut world = World::new();
        world.options.most_connections = 1;
        let connections = world.replica("a");
        let unknown = LinkRequest { provider: "piggy".to_owned(), ..request("u1") };
        let known = vec!["sandbox".to_owned()];
        assert_eq!(connections.link(unknown).await.unwrap_err(), LinkError::UnknownProvider(known));
        let empty = LinkRequest { setup_token: SecretString::from(""), ..request("u1") };
        assert!(matches!(connections.link(empty).await.unwrap_err(), LinkError::Refused(_)));
        connections.link(request("u1")).await.unwrap();
        assert_eq!(connections.link(request("u1")).await.unwrap_err(), LinkError::TooMany(1));
        connections.link(request("u2")).await.unwrap();
    });
}

#[test]
fn links_that_come_at_once_are_no_more_than_may_be_and_no_token_is_claimed_for_nothing() {
    system(async {
        // Given a user who may have three connections, and a provider that takes its time,
        let mut world = World::new();
        world.options.most_connections = 3;
        let connections = world.replica_over(Arc::new(WatchedStore::new(world.store.clone())), "a");
        let held: Vec<_> = (0..10).map(|_| world.bank.scripted.hold(BankCall::Claim)).collect();
        // when they link ten at once,
        let linking: Vec<_> = (0..10).map(|_| link_in_background(&connections)).collect();
        // then seven are refused while three are under way, and the provider never hears of them.
        let done = || linking.iter().filter(|link| link.is_finished()).count();
        eventually(|| async { (done() == 7).then_some(()) }).await;
        eventually(|| async { (world.bank.scripted.calls(BankCall::Claim) == 3).then_some(()) }).await;
        for held in held {
            held.release();
        }
        let mut refused = 0;
        for link in linking {
            match link.await.unwrap() {
                Ok(linked) => assert_eq!(linked.connection.status, ConnectionStatus::Active),
                Err(error) => {
                    assert_eq!(error, LinkError::TooMany(3));
                    refused += 1;
                }
            }
        }
        assert_eq!((refused, world.bank.scripted.calls(BankCall::Claim)), (7, 3));
        assert_eq!(connections.list("u1", 10, None).await.unwrap().0.len(), 3);
    });
}

#[test]
fn a_link_that_is_refused_takes_nobodys_place() {
    system(async {
        let mut world = World::new();
        world.options.most_connections = 1;
        let connections = world.replica("a");
        claim_fails(&world, ClaimError::Refused("used up".to_owned()));
        let refused = connections.link(request("u1")).await.unwrap_err();
        assert_eq!(refused, LinkError::Refused("used up".to_owned()));
        let connection = connections.link(request("u1")).await.unwrap().connection;
        assert_eq!(connections.link(request("u1")).await.unwrap_err(), LinkError::TooMany(1));
        connections.delete("u1", &connection.id, Disposal::KeepAccounts).await.unwrap();
        connections.link(request("u1")).await.unwrap();
    });
}

#[test]
fn anothers_connection_is_not_found_by_any_way() {
    system(async {
        let world = World::new();
        let connections = world.replica("a");
        let connection = world.linked(&connections).await;
        let run = world.runs(&connection.id).await.remove(0);
        let id = connection.id.as_str();
        assert!(connections.get("u2", id).await.unwrap().is_none());
        assert!(connections.list("u2", 10, None).await.unwrap().0.is_empty());
        assert_eq!(connections.request_sync("u2", id).await, Err(SyncError::NotFound));
        assert_eq!(connections.runs("u2", id, 10, None).await, Ok(None));
        assert_eq!(connections.run("u2", id, &run.id).await, Err(SyncError::NotFound));
        assert_eq!(connections.delete("u2", id, Disposal::DeleteAccounts).await, Err(SyncError::NotFound));
        // Nor is a run of another connection of one's own.
        let other = connections.link(request("u2")).await.unwrap().connection;
        assert_eq!(connections.run("u2", &other.id, &run.id).await, Err(SyncError::NotFound));
    });
}

#[test]
fn deleting_wipes_the_credential_and_keeps_the_accounts_as_manual_ones() {
    system(async {
        let world = World::new();
        let connections = world.replica("a");
        let now = world.clock.now();
        world.bank.scripted.set_statement("u1", whole(vec![checking("x1", 1, now)]));
        let connection = world.linked(&connections).await;
        let stored = world.connection(&connection.id).await.credential.unwrap();
        let opened = stored.open(&WeakSealer::default(), &connection.id).unwrap();
        assert_eq!(opened.0.expose_secret(), "credential-of-u1");

        connections.delete("u1", &connection.id, Disposal::KeepAccounts).await.unwrap();

        assert!(world.connection(&connection.id).await.credential.is_none());
        assert!(connections.get("u1", &connection.id).await.unwrap().is_none());
        let again = connections.delete("u1", &connection.id, Disposal::KeepAccounts).await;
        assert_eq!(again, Err(SyncError::NotFound));
        let account = world.accounts_of("u1").await.remove(0);
        assert_eq!((account.connection_id, account.external_id), (None, None));
        // Nothing is ever due again.
        world.clock.advance(world.options.interval * 2);
        assert_eq!(connections.start_due().await.unwrap(), 0);
    });
}

#[test]
fn a_deletion_leaves_a_job_that_ends_the_access_at_the_provider() {
    system(async {
        let world = World::new();
        let connections = world.replica("a");
        let connection = world.linked(&connections).await;
        connections.delete("u1", &connection.id, Disposal::KeepAccounts).await.unwrap();
        let (jobs, _) = find::<Job>(world.store.as_ref(), Jobs::query(None)).await.unwrap();
        let [job] = &jobs[..] else { panic!("{jobs:?}") };
        let secret = "credential-of-u1";
        assert!(!serde_json::to_string(&job.value).unwrap().contains(secret), "it is sealed there too");

        let banks = Banks::from([("sandbox".to_owned(), world.bank.clone() as Arc<dyn Bank>)]);
        let revocations = Revocations::new(banks, Arc::new(WeakSealer::default()));
        let late = Duration::from_secs(7);
        for (fault, retried) in [
            (BankError::Down("gone".to_owned()), Some(None)),
            (BankError::RateLimited { retry_after: Some(late) }, Some(Some(late))),
            (BankError::down("gone".to_owned(), Some(late)), Some(Some(late))),
            (BankError::Resting { after: late }, Some(Some(late))),
            (BankError::NeedsReauth("unknown".to_owned()), None),
        ] {
            world.bank.scripted.script(BankCall::Revoke, [BankFault::Fails(fault)]);
            let told = match revocations.perform(&job.value).await {
                Ok(()) => None,
                Err(JobError::Retry { after, .. }) => Some(after),
                Err(error) => panic!("{error}"),
            };
            assert_eq!(told, retried);
        }
        revocations.perform(&job.value).await.unwrap();
        assert_eq!(world.bank.scripted.revoked(), [secret]);
    });
}

#[test]
fn a_run_seals_with_the_present_key_what_was_stored_in_the_open() {
    system(async {
        let world = World::new();
        let connections = world.replica("a");
        let mut connection = world.linked(&connections).await;
        let plain = r#"{"keyId":"plain","sealed":"credential-of-u1"}"#;
        connection.credential = Some(serde_json::from_str(plain).unwrap());
        let version = connections.get("u1", &connection.id).await.unwrap().unwrap().version;
        world.store.commit(Batch::new().replace(&connection, version)).await.unwrap();

        connections.request_sync("u1", &connection.id).await.unwrap();
        let run = world.finished(&connection.id, 2).await;

        assert_eq!(run.outcome, Some(Outcome::Complete));
        let credential = world.connection(&connection.id).await.credential.unwrap();
        assert!(credential.is_current(&WeakSealer::default()));
    });
}

#[test]
fn a_credential_moved_to_another_connection_is_worth_nothing_there() {
    system(async {
        let world = World::new();
        let connections = world.replica("a");
        let (one, mut other) = (world.linked(&connections).await, world.linked(&connections).await);
        let asked = world.bank.scripted.calls(BankCall::Statement);
        other.credential = one.credential;
        let version = connections.get("u1", &other.id).await.unwrap().unwrap().version;
        world.store.commit(Batch::new().replace(&other, version)).await.unwrap();

        connections.request_sync("u1", &other.id).await.unwrap();

        assert_eq!(world.finished(&other.id, 2).await.outcome, Some(Outcome::NeedsReauth));
        assert_eq!(world.bank.scripted.calls(BankCall::Statement), asked);
    });
}

#[test]
fn deleting_with_the_accounts_deletes_them_and_a_run_under_way_does_not_bring_them_back() {
    system(async {
        // Given a connection with an account and a run under way,
        let world = World::new();
        let connections = world.replica("a");
        let now = world.clock.now();
        world.bank.scripted.set_statement("u1", whole(vec![checking("x1", 1, now)]));
        let connection = world.linked(&connections).await;
        let mut held = world.bank.scripted.hold(BankCall::Statement);
        connections.request_sync("u1", &connection.id).await.unwrap();
        held.arrived().await;
        // when it is deleted and the bank answers after that,
        connections.delete("u1", &connection.id, Disposal::DeleteAccounts).await.unwrap();
        held.release();
        connections.drain(Duration::from_secs(10)).await;
        // then nothing has come back.
        assert!(world.accounts_of("u1").await.is_empty());
        assert!(world.store.get(&ACCOUNTS, "x1").await.unwrap().is_none());
        let runs = world.runs(&connection.id).await;
        assert!(runs.iter().all(|run| run.status == RunStatus::Finished), "{runs:?}");
        assert_eq!(world.connection(&connection.id).await.status, ConnectionStatus::Revoked);
    });
}
