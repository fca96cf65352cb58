//! Several replicas over one store.

use super::*;

#[test]
fn two_replicas_that_are_triggered_at_once_make_one_run() {
    system(async {
        let world = World::new();
        let (a, b) = (world.replica("a"), world.replica("b"));
        let id = world.linked(&a).await.id;
        for round in 2..12 {
            world.clock.advance(Duration::from_secs(1));
            let (mut gate, calls) = (
                world.bank.scripted.hold(BankCall::Statement),
                world.bank.scripted.calls(BankCall::Statement),
            );
            let triggers = (0..10).map(|n| if n % 2 == 0 { &a } else { &b });
            let runs = futures_util::future::join_all(triggers.map(|one| one.request_sync("u1", &id))).await;
            let ids: std::collections::BTreeSet<String> =
                runs.into_iter().map(|run| run.unwrap().id).collect();
            assert_eq!(ids.len(), 1);
            gate.arrived().await;
            gate.release();
            world.finished(&id, round).await;
            assert_eq!(world.bank.scripted.calls(BankCall::Statement), calls + 1);
        }
        assert_eq!(world.runs(&id).await.len(), 11);
    });
}

#[test]
fn a_claimed_connection_is_left_alone_by_other_replicas() {
    system(async {
        let world = World::new();
        let (a, b) = (world.replica("a"), world.replica("b"));
        let mut held = world.bank.scripted.hold(BankCall::Statement);
        let connection = a.link(request("u1")).await.unwrap().connection;
        held.arrived().await;
        assert_eq!(b.start_due().await.unwrap(), 0);
        let joined = b.request_sync("u1", &connection.id).await.unwrap();
        assert_eq!(joined.status, RunStatus::Running);
        held.release();
        assert_eq!(world.finished(&connection.id, 1).await.attempts, 1);
        assert_eq!(world.bank.scripted.calls(BankCall::Statement), 1);
    });
}

#[test]
fn a_writer_that_was_overtaken_is_refused() {
    system(async {
        // Given a replica that stands still in the middle of a run, beyond its lease,
        let mut world = World::new();
        world.options.statement_deadline = world.options.lease * 10;
        let (stopped, other) = (world.frozen("a"), world.replica("b"));
        let now = world.clock.now();
        let late = whole(vec![checking("x1", 1, now), checking("ghost", 1, now)]);
        world.script([BankFault::Answers(late)]);
        let mut held = world.bank.scripted.hold(BankCall::Statement);
        let connection = stopped.link(request("u1")).await.unwrap().connection;
        held.arrived().await;

        // when another replica takes over and finishes,
        world.clock.advance(world.options.lease);
        world.bank.scripted.set_statement("u1", whole(vec![checking("x1", 250, now)]));
        assert_eq!(other.start_due().await.unwrap(), 1);
        let finished = world.finished(&connection.id, 1).await;
        let settled = world.connection(&connection.id).await;

        // and the first one goes on after that,
        held.release();
        stopped.drain(Duration::from_secs(10)).await;

        // then nothing of what it brings counts.
        assert_eq!(world.runs(&connection.id).await, [finished]);
        let accounts = world.accounts_of("u1").await;
        assert_eq!(accounts.len(), 1);
        assert_eq!(accounts[0].balance, dollars(250));
        assert_eq!(world.connection(&connection.id).await.due_at, settled.due_at);
    });
}

#[test]
fn a_restarted_process_takes_over_when_the_claim_of_the_dead_one_lapses() {
    system(async {
        let mut world = World::new();
        world.options.statement_deadline = world.options.lease * 10;
        let dead = world.frozen("a");
        let mut held = world.bank.scripted.hold(BankCall::Statement);
        let connection = dead.link(request("u1")).await.unwrap().connection;
        held.arrived().await;
        // A new incarnation, with a schedule that only time wakes.
        let next = world.replica("a-again");
        let schedule = world.scheduled(&next);
        world.clock.advance(world.options.lease + world.options.poll);
        next.wake();
        let run = world.finished(&connection.id, 1).await;
        assert_eq!((run.attempts, run.outcome), (2, Some(Outcome::Complete)));
        schedule.stop(Duration::from_secs(5)).await;
        drop(held);
    });
}

#[test]
fn a_replica_without_the_slot_makes_the_run_and_leaves_it_to_the_owner() {
    system(async {
        let world = World::new();
        let territory = Arc::new(ScriptedTerritory::default());
        territory.lose();
        let (without, owner) = (world.replica_with("a", territory), world.replica("b"));
        let connection = without.link(request("u1")).await.unwrap().connection;
        assert_eq!(without.start_due().await.unwrap(), 0);
        let queued = without.request_sync("u1", &connection.id).await.unwrap();
        assert_eq!(queued.status, RunStatus::Queued);
        assert_eq!(world.bank.scripted.calls(BankCall::Statement), 0);
        assert_eq!(owner.start_due().await.unwrap(), 1);
        assert_eq!(world.finished(&connection.id, 1).await.id, queued.id);
        assert_eq!(world.connection(&connection.id).await.epoch, 1);
    });
}

#[test]
fn what_a_dead_replica_was_at_is_resumed_before_its_claim_lapses() {
    system(async {
        // Given a replica that dies in the middle of a run,
        let mut world = World::new();
        world.options.statement_deadline = world.options.lease * 10;
        let dead = world.replica("dead");
        let mut held = world.bank.scripted.hold(BankCall::Statement);
        let connection = dead.link(request("u1")).await.unwrap().connection;
        held.arrived().await;

        // when another that believes it alive gets its slots, it waits for the claim;
        let territory = Arc::new(ScriptedTerritory::default());
        let heir = world.replica_with("heir", territory.clone());
        territory.gain(2);
        assert_eq!(heir.start_due().await.unwrap(), 0);

        // when it has seen it fall, it takes over in the same run,
        let schedule = world.scheduled(&heir);
        territory.fell("dead");
        territory.gain(3);
        let run = world.finished(&connection.id, 1).await;
        assert_eq!((run.attempts, run.outcome), (2, Some(Outcome::Complete)));
        assert_eq!(world.connection(&connection.id).await.epoch, 3);

        // and what the dead one says later does not count.
        held.release();
        dead.drain(Duration::from_secs(10)).await;
        assert_eq!(world.runs(&connection.id).await, [run]);
        schedule.stop(Duration::from_secs(5)).await;
    });
}

#[test]
fn an_owner_of_an_earlier_epoch_begins_nothing() {
    system(async {
        let world = World::new();
        let territory = Arc::new(ScriptedTerritory::default());
        let (late, owner) = (world.replica("late"), world.replica_with("owner", territory.clone()));
        territory.gain(7);
        let id = world.linked(&owner).await.id;
        world.clock.advance(world.options.interval);
        late.start_due().await.unwrap();
        late.drain(Duration::from_secs(10)).await;
        assert_eq!(world.runs(&id).await.len(), 1);
        owner.start_due().await.unwrap();
        world.finished(&id, 2).await;
        assert_eq!(world.connection(&id).await.epoch, 7);
    });
}

#[test]
fn what_the_schedule_found_is_not_acted_on_once_it_has_changed() {
    system(async {
        // Given a due connection that one replica has found,
        let world = World::new();
        let (first, second) = (world.replica("a"), world.replica("b"));
        let id = world.linked(&first).await.id;
        world.clock.advance(world.options.interval);
        let found = load::<Connection>(world.store.as_ref(), &id).await.unwrap().unwrap();
        // when the other one runs it to its end meanwhile,
        assert_eq!(second.start_due().await.unwrap(), 1);
        world.finished(&id, 2).await;
        // then the first finds out before it asks the bank.
        first.desk.note(found);
        first.actors.ask(&id, actor::Due, Duration::from_secs(5)).await.unwrap();
        first.drain(Duration::from_secs(5)).await;
        assert_eq!((world.runs(&id).await.len(), world.bank.scripted.calls(BankCall::Statement)), (2, 2));
        assert!(first.desk.take_noted(&id).is_none());
    });
}
