//! Actors by key: starting, leaving, draining, listing.

use super::*;

#[test]
fn an_idle_actor_leaves_and_the_next_question_starts_its_successor() {
    in_stopped_time(async {
        let (tree, world) = (tree(), Arc::new(World::default()));
        let actors = many(&tree, &world, Arbiters::here(), OPTIONS);
        actors.ask("a", Ask::Keep(1), LONG).await.unwrap();
        tokio::time::sleep(OPTIONS.idle * 2 + Duration::from_secs(1)).await;
        assert_eq!((actors.len(), tree.len()), (0, 0));
        assert_eq!(world.stops.load(Ordering::Acquire), 1);
        assert_eq!(actors.ask("a", Ask::Keep(2), LONG).await, Ok(marks([1, 2])));
        assert_eq!(world.loads(), 2);
    });
}

#[test]
fn an_actor_that_is_asked_now_and_then_or_is_busy_does_not_leave() {
    in_stopped_time(async {
        let (tree, world) = (tree(), Arc::new(World::default()));
        let actors = many(&tree, &world, Arbiters::here(), OPTIONS);
        // Asked more often than it may idle, though never at the moment when somebody looks.
        for _ in 0..100 {
            actors.ask("asked", Ask::Keep(1), LONG).await.unwrap();
            tokio::time::sleep(OPTIONS.idle.mul_f64(0.7)).await;
        }
        assert_eq!(world.loads(), 1);
        // Busy with something that no command waits for.
        let actor = actors.get("asked").unwrap();
        let told = Arc::new(Notify::new());
        let waiting = actix_rt::spawn({
            let told = told.clone();
            async move { actor.ask(Ask::Wait(told, 2), LONG).await }
        });
        tokio::time::sleep(OPTIONS.idle * 5).await;
        assert_eq!((actors.len(), world.loads()), (1, 1));
        told.notify_one();
        assert!(waiting.await.unwrap().is_ok());
    });
}

#[test]
fn no_question_is_lost_when_it_meets_an_actor_that_is_leaving() {
    in_stopped_time(async {
        let (tree, world) = (tree(), Arc::new(World::default()));
        let actors = many(&tree, &world, Arbiters::here(), OPTIONS);
        // Questions that come in the very millisecond in which the actor may leave, and around it.
        for n in 0..3_000u64 {
            actors.ask("a", Ask::Keep(n), LONG).await.unwrap();
            let around = OPTIONS.idle + Duration::from_millis(n % 4) - Duration::from_millis(1);
            tokio::time::sleep(around).await;
        }
        assert_eq!(lock(&world.store).len(), 3_000);
        assert!(world.loads() > 500, "{} incarnations", world.loads());
    });
}

#[test]
fn no_question_is_lost_when_actors_leave_all_the_time_on_other_threads() {
    actix_rt::System::new().block_on(async {
        // Given actors that leave as soon as they have answered,
        let (tree, world) = (tree(), Arc::new(World::default()));
        let actors = many(&tree, &world, Arbiters::start(2), OPTIONS);
        // when six threads ask them,
        let asked = actors.clone();
        on_threads(6, move |thread| {
            let actors = asked.clone();
            async move {
                for n in 0..500 {
                    let mark = thread * 500 + n;
                    let answer = actors.ask(&format!("k{}", n % 3), Ask::Finish(mark), LONG).await;
                    assert!(answer.is_ok(), "{answer:?}");
                }
            }
        })
        .await;
        // then each was answered.
        assert_eq!(lock(&world.store).len(), 3_000);
        assert!(world.loads() > 3, "{} incarnations", world.loads());
        actors.drain(LONG).await;
        assert_eq!((actors.len(), tree.len()), (0, 0));
    });
}

#[test]
fn what_an_actor_left_unanswered_when_it_stopped_itself_is_asked_again() {
    in_stopped_time(async {
        // Given an actor that is about to stop itself, with commands behind that,
        let (tree, world) = (tree(), Arc::new(World::default()));
        let actors = many(&tree, &world, Arbiters::here(), OPTIONS);
        let told = Arc::new(Notify::new());
        let ask = |ask: Ask| {
            let actors = actors.clone();
            actix_rt::spawn(async move { actors.ask("a", ask, Duration::from_secs(2)).await })
        };
        let blocked = ask(Ask::Block(told.clone(), times(0)));
        settle().await;
        let stopping = ask(Ask::Stop(times(1)));
        settle().await;
        let behind = ask(Ask::Keep(1));
        settle().await;
        told.notify_one();
        // then all are answered by its successor, and it stopped once.
        assert!(blocked.await.unwrap().is_ok());
        assert!(stopping.await.unwrap().is_ok());
        assert_eq!(behind.await.unwrap(), Ok(marks([1])));
        assert_eq!((world.loads(), world.stops.load(Ordering::Acquire)), (2, 1));
    });
}

#[test]
fn a_command_that_no_actor_survives_is_not_asked_for_ever() {
    in_stopped_time(async {
        let (tree, world) = (tree(), Arc::new(World::default()));
        let actors = many(&tree, &world, Arbiters::here(), OPTIONS);
        let asked = actors.ask("a", Ask::Stop(times(usize::MAX)), LONG).await;
        assert_eq!(asked, Err(AskError::OutcomeUnknown));
        assert_eq!(world.loads(), 3);
    });
}

#[test]
fn a_drain_finishes_what_was_accepted_and_takes_nothing_new() {
    in_stopped_time(async {
        let (tree, world) = (tree(), Arc::new(World::default()));
        let actors = many(&tree, &world, Arbiters::here(), OPTIONS);
        let told = Arc::new(Notify::new());
        let ask = |ask: Ask| {
            let actors = actors.clone();
            actix_rt::spawn(async move { actors.ask("a", ask, LONG).await })
        };
        let under_way = ask(Ask::Block(told.clone(), times(0)));
        settle().await;
        let queued = ask(Ask::Keep(2));
        settle().await;

        let draining = actix_rt::spawn({
            let actors = actors.clone();
            async move { actors.drain(LONG).await }
        });
        settle().await;
        assert_eq!(tree.list(None, 10)[0].state, NodeState::Draining);
        assert_eq!(actors.ask("a", Ask::Keep(3), LONG).await, Err(AskError::Leaving));
        assert_eq!(actors.ask("b", Ask::Keep(3), LONG).await, Err(AskError::Leaving));
        // A drain is over when the last actor is gone, not when it began to leave.
        assert!(!draining.is_finished());

        told.notify_one();
        assert!(under_way.await.unwrap().is_ok());
        assert_eq!(queued.await.unwrap(), Ok(marks([2])));
        draining.await.unwrap();
        assert_eq!((tree.len(), world.stops.load(Ordering::Acquire)), (0, 1));
        assert_eq!(*lock(&world.store), marks([2]));
    });
}

#[test]
fn a_drain_waits_no_longer_than_told_and_says_that_the_outcome_is_unknown() {
    in_stopped_time(async {
        let (tree, world) = (tree(), Arc::new(World::default()));
        let actors = many(&tree, &world, Arbiters::here(), OPTIONS);
        let stuck = actix_rt::spawn({
            let actors = actors.clone();
            async move { actors.ask("a", Ask::Wait(Arc::default(), 1), LONG).await }
        });
        settle().await;
        let began = Instant::now();
        actors.drain(LONG).await;
        assert!(began.elapsed() <= OPTIONS.drain + Duration::from_millis(10), "{:?}", began.elapsed());
        assert_eq!(stuck.await.unwrap(), Err(AskError::OutcomeUnknown));
        assert!(began.elapsed() <= OPTIONS.drain + Duration::from_millis(300), "{:?}", began.elapsed());
        assert_eq!(tree.len(), 0);
    });
}

#[test]
fn a_drain_does_not_wait_for_actors_that_have_nothing_to_answer() {
    in_stopped_time(async {
        let (tree, world) = (tree(), Arc::new(World::default()));
        let actors = many(&tree, &world, Arbiters::here(), OPTIONS);
        world.failing_loads.store(6, Ordering::Release);
        assert!(actors.ask("suspended", Ask::Keep(1), LONG).await.is_err());
        world.hanging_loads.store(1, Ordering::Release);
        actors.get("loading").unwrap();
        settle().await;
        let began = Instant::now();
        actors.drain(LONG).await;
        assert_eq!((began.elapsed(), tree.len()), (Duration::ZERO, 0));
    });
}

#[test]
fn a_drain_answers_what_was_accepted_while_an_actor_loads_but_not_for_ever() {
    in_stopped_time(async {
        let (tree, world) = (tree(), Arc::new(World::default()));
        let actors = many(&tree, &world, Arbiters::here(), OPTIONS);
        // Given an actor whose store does not answer, and one that is about to load,
        world.hanging_loads.store(1, Ordering::Release);
        let mut hanging = Box::pin(actors.ask("hanging", Ask::Keep(1), LONG));
        assert_eq!((&mut hanging).now_or_never(), None);
        settle().await;
        let mut loading = Box::pin(actors.ask("loading", Ask::Keep(1), LONG));
        assert_eq!((&mut loading).now_or_never(), None);
        // when they are drained,
        let began = Instant::now();
        let (hanging, loading, ()) = tokio::join!(hanging, loading, actors.drain(LONG));
        // then the one is answered, and the other is let go in time.
        assert_eq!(loading, Ok(marks([1])));
        assert_eq!(hanging, Err(AskError::Leaving));
        assert!(began.elapsed() <= OPTIONS.drain + Duration::from_millis(10), "{:?}", began.elapsed());
    });
}

#[test]
fn there_are_no_more_actors_than_there_is_room_for() {
    in_stopped_time(async {
        let (tree, world) = (tree(), Arc::new(World::default()));
        let options = RegistryOptions { capacity: 2, ..OPTIONS };
        let actors = many(&tree, &world, Arbiters::here(), options);
        actors.ask("a", Ask::Keep(1), LONG).await.unwrap();
        actors.ask("b", Ask::Keep(1), LONG).await.unwrap();
        assert_eq!(actors.ask("c", Ask::Keep(1), LONG).await, Err(AskError::Full));
        tokio::time::sleep(OPTIONS.idle * 3).await;
        assert!(actors.ask("c", Ask::Keep(1), LONG).await.is_ok());
    });
}

#[test]
fn actors_of_a_thread_that_ended_leave_nobody_waiting() {
    actix_rt::System::new().block_on(async {
        let (tree, world) = (tree(), Arc::new(World::default()));
        let arbiters = Arc::new(Arbiters::start(1));
        let actors = Registry::new(OPTIONS, arbiters.clone(), tree.clone(), {
            let world = world.clone();
            move |_, lifeline| world.clone().load(lifeline)
        });
        let actor = actors.get("a").unwrap();
        let told = Arc::new(Notify::new());
        let waiting = tokio::spawn({
            let (actor, told) = (actor.clone(), told.clone());
            async move { actor.ask(Ask::Wait(told, 1), LONG).await }
        });
        timeout(SOON, world.kept.notified()).await.unwrap();
        arbiters.stop();
        // Its deadline would tell it the same, but later.
        assert_eq!(timeout(SOON, waiting).await.unwrap().unwrap(), Err(AskError::OutcomeUnknown));
        assert_eq!(actor.ask(Ask::Keep(2), LONG).await, Err(AskError::Leaving));
        actors.drain(LONG).await;
        assert!(actors.is_empty() && tree.is_empty());
    });
}

#[test]
fn the_listing_shows_what_lives_and_forgets_what_left() {
    in_stopped_time(async {
        let (tree, world) = (tree(), Arc::new(World::default()));
        let session = one(&tree, &world, 5);
        let actors = many(&tree, &world, Arbiters::here(), RegistryOptions { kind: "other", ..OPTIONS });
        actors.ask("a", Ask::Panic(times(1), 1), LONG).await.unwrap();
        session.ask(Ask::Keep(1), LONG).await.unwrap();
        let waiting = actix_rt::spawn({
            let actors = actors.clone();
            async move { actors.ask("a", Ask::Wait(Arc::default(), 1), Duration::from_secs(1)).await }
        });
        settle().await;
        let lines = tree.list(Some("other"), 10);
        assert_eq!(lines.len(), 1);
        let line = &lines[0];
        assert_eq!((line.kind, line.key.as_str(), line.mailbox, line.restarts), ("other", "a", 1, 1));
        assert_eq!(line.state, NodeState::Running);
        assert_eq!((tree.list(None, 10).len(), tree.list(None, 1).len()), (2, 1));
        assert!(waiting.await.unwrap().is_err());
        actors.drain(LONG).await;
        assert_eq!(tree.list(None, 10).into_iter().map(|line| line.key).collect::<Vec<_>>(), ["one"]);
    });
}

#[test]
fn a_paused_actor_finishes_what_it_is_at_and_answers_nobody_until_it_is_resumed() {
    in_stopped_time(async {
        // Given an actor in the middle of something, and another,
        let (tree, world) = (tree(), Arc::new(World::default()));
        let actors = many(&tree, &world, Arbiters::here(), OPTIONS);
        let told = Arc::new(Notify::new());
        let under_way = actix_rt::spawn({
            let (actors, told) = (actors.clone(), told.clone());
            async move { actors.ask("a", Ask::Wait(told, 1), LONG).await }
        });
        actors.ask("b", Ask::Keep(2), LONG).await.unwrap();
        settle().await;

        // when it is paused,
        let paused = [(OPTIONS.kind.to_owned(), "a".to_owned())];
        tree.set_paused(paused.into());
        settle().await;

        // then nobody else is let in, what is under way is finished, and the other is asked as ever;
        let refused = actors.ask("a", Ask::Keep(3), LONG).await;
        assert!(matches!(refused, Err(AskError::Unavailable { .. })), "{refused:?}");
        told.notify_one();
        assert!(under_way.await.unwrap().is_ok());
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(tree.look_up(OPTIONS.kind, "a"), None);
        actors.ask("b", Ask::Keep(4), LONG).await.unwrap();

        // when it is resumed, it works with what was kept.
        tree.set_paused(BTreeSet::new());
        assert!(actors.ask("a", Ask::Keep(5), LONG).await.unwrap().contains(&2));
    });
}
