//! What a fall costs: one incarnation, and nothing else.

use super::*;

#[test]
fn a_panic_in_a_handler_costs_what_was_only_in_memory_and_the_question_reaches_the_successor() {
    in_stopped_time(async {
        let (tree, world) = (tree(), Arc::new(World::default()));
        let actor = one(&tree, &world, 10);
        actor.ask(Ask::Keep(1), LONG).await.unwrap();
        assert_eq!(actor.ask(Ask::Forget(2), LONG).await, Ok(marks([1, 2])));
        // The caller of the panicking command is answered by a fresh incarnation.
        assert_eq!(actor.ask(Ask::Panic(times(1), 3), LONG).await, Ok(marks([1, 3])));
        assert_eq!(world.loads(), 2);
        let line = tree.list(None, 10).remove(0);
        assert_eq!((line.state, line.restarts), (NodeState::Running, 1));
        assert_eq!(line.last_error.as_deref(), Some("panicked: a panic of the test in a handler"));
    });
}

#[test]
fn a_panic_in_started_costs_one_incarnation() {
    in_stopped_time(async {
        let (tree, world) = (tree(), Arc::new(World::default()));
        world.panicking_starts.store(2, Ordering::Release);
        let actor = one(&tree, &world, 10);
        assert_eq!(actor.ask(Ask::Keep(1), LONG).await, Ok(marks([1])));
        assert_eq!((world.loads(), tree.list(None, 10)[0].restarts), (3, 2));
    });
}

#[test]
fn a_panic_in_stopped_while_a_handlers_panic_unwinds_costs_one_incarnation() {
    in_stopped_time(async {
        let (tree, world) = (tree(), Arc::new(World::default()));
        world.panicking_stops.store(2, Ordering::Release);
        let actor = one(&tree, &world, 10);
        assert_eq!(actor.ask(Ask::Panic(times(2), 1), LONG).await, Ok(marks([1])));
        assert_eq!((world.loads(), world.stops.load(Ordering::Acquire)), (3, 2));
    });
}

#[test]
fn a_panic_in_stopped_when_an_actor_leaves_harms_nobody() {
    in_stopped_time(async {
        let (tree, world) = (tree(), Arc::new(World::default()));
        let actors = many(&tree, &world, Arbiters::here(), OPTIONS);
        world.panicking_stops.store(1, Ordering::Release);
        // It stops itself without an answer, and panics over that; its successor is asked.
        assert_eq!(actors.ask("a", Ask::Stop(times(1)), LONG).await, Ok(marks([])));
        assert_eq!(actors.ask("a", Ask::Keep(1), LONG).await, Ok(marks([1])));
        assert_eq!((world.loads(), world.stops.load(Ordering::Acquire)), (2, 1));
    });
}

#[test]
fn a_panic_in_a_loading_factory_is_a_fall_like_any_other() {
    in_stopped_time(async {
        let (tree, world) = (tree(), Arc::new(World::default()));
        world.panicking_loads.store(2, Ordering::Release);
        let actor = one(&tree, &world, 10);
        assert_eq!(actor.ask(Ask::Keep(1), LONG).await, Ok(marks([1])));
        assert_eq!(world.loads(), 3);
    });
}

#[test]
fn a_load_that_hangs_is_given_up_and_tried_again() {
    in_stopped_time(async {
        let (tree, world) = (tree(), Arc::new(World::default()));
        world.hanging_loads.store(1, Ordering::Release);
        let actor = one(&tree, &world, 10);
        let asked_at = Instant::now();
        assert_eq!(actor.ask(Ask::Keep(1), LONG).await, Ok(marks([1])));
        assert!(asked_at.elapsed() < Duration::from_secs(11));
        let error = tree.list(None, 10).remove(0).last_error.unwrap();
        assert!(error.contains("did not load within 10 s"), "{error}");
    });
}

#[test]
fn other_actors_and_their_questions_go_on() {
    in_stopped_time(async {
        let (tree, world) = (tree(), Arc::new(World::default()));
        let actors = many(&tree, &world, Arbiters::here(), OPTIONS);
        let told = Arc::new(Notify::new());
        let waiting = actix_rt::spawn({
            let (actors, told) = (actors.clone(), told.clone());
            async move { actors.ask("b", Ask::Wait(told, 7), LONG).await }
        });
        settle().await;
        actors.ask("a", Ask::Panic(times(1), 1), LONG).await.unwrap();
        told.notify_one();
        assert_eq!(waiting.await.unwrap(), Ok(marks([7])));
        let restarts: Vec<(String, u64)> =
            tree.list(None, 10).into_iter().map(|line| (line.key, line.restarts)).collect();
        assert_eq!(restarts, [("b".to_owned(), 0), ("a".to_owned(), 1)]);
    });
}

#[test]
fn what_waited_behind_a_panic_is_asked_again() {
    in_stopped_time(async {
        // Given an incarnation that works at something, with five commands behind it,
        let (tree, world) = (tree(), Arc::new(World::default()));
        let actor = one(&tree, &world, 10);
        let told = Arc::new(Notify::new());
        let panics = times(1);
        let asks = std::iter::once(Ask::Block(told.clone(), panics)).chain((1..=5).map(Ask::Keep));
        let asked: Vec<_> = asks
            .map(|ask| {
                let actor = actor.clone();
                actix_rt::spawn(async move { actor.ask(ask, LONG).await })
            })
            .collect();
        settle().await;
        assert_eq!(actor.waiting(), 6);
        // when it falls, and its successor comes to an end with the work,
        told.notify_one();
        settle().await;
        told.notify_one();
        // then all are answered.
        for answer in join_all(asked).await {
            assert!(answer.unwrap().is_ok());
        }
        assert_eq!(*lock(&world.store), marks([1, 2, 3, 4, 5]));
        assert_eq!(world.loads(), 2);
    });
}

#[test]
fn failing_loads_are_spaced_ever_wider() {
    in_stopped_time(async {
        let (tree, world) = (tree(), Arc::new(World::default()));
        world.failing_loads.store(5, Ordering::Release);
        let actor = one(&tree, &world, 10);
        actor.ask(Ask::Keep(1), LONG).await.unwrap();
        let loads = lock(&world.loads).clone();
        let pauses: Vec<Duration> = loads.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert_eq!(pauses.len(), 5);
        assert!(pauses[0] < Duration::from_millis(2), "the first restart is at once: {pauses:?}");
        for (pause, most) in pauses[1..].iter().zip([50, 100, 200, 400]) {
            let most = Duration::from_millis(most);
            assert!(*pause >= most / 2 && *pause <= most + Duration::from_millis(2), "{pauses:?}");
        }
    });
}

#[test]
fn a_key_that_falls_too_often_is_unavailable_for_a_while_and_comes_back() {
    in_stopped_time(async {
        let (tree, world) = (tree(), Arc::new(World::default()));
        let actors = many(&tree, &world, Arbiters::here(), OPTIONS);
        world.failing_loads.store(6, Ordering::Release);
        let refused = actors.ask("a", Ask::Keep(1), LONG).await;
        let Err(AskError::Unavailable { retry_after }) = refused else { panic!("{refused:?}") };
        assert!(retry_after > Duration::from_secs(50) && retry_after <= Duration::from_secs(60));
        assert_eq!(tree.list(None, 10)[0].state, NodeState::Suspended);
        // Meanwhile it answers so at once, and other keys are as ever.
        let asked_at = Instant::now();
        assert!(matches!(actors.ask("a", Ask::Keep(1), LONG).await, Err(AskError::Unavailable { .. })));
        assert_eq!(asked_at.elapsed(), Duration::ZERO);
        assert_eq!(actors.ask("b", Ask::Keep(2), LONG).await, Ok(marks([2])));
        // Whoever comes back as told is answered.
        tokio::time::sleep(retry_after).await;
        assert_eq!(actors.ask("a", Ask::Keep(1), LONG).await, Ok(marks([1, 2])));
        assert_eq!(world.loads(), 8);
    });
}

#[test]
fn a_suspended_key_that_nobody_asks_for_takes_no_place() {
    in_stopped_time(async {
        let (tree, world) = (tree(), Arc::new(World::default()));
        let actors = many(&tree, &world, Arbiters::here(), OPTIONS);
        world.failing_loads.store(usize::MAX, Ordering::Release);
        assert!(actors.ask("a", Ask::Keep(1), LONG).await.is_err());
        assert_eq!((actors.len(), tree.len()), (1, 1));
        tokio::time::sleep(Duration::from_secs(61)).await;
        settle().await;
        assert_eq!((actors.len(), tree.len(), world.loads()), (0, 0, 6));
    });
}

#[test]
fn with_a_panic_in_one_of_a_hundred_commands_all_are_answered_and_no_actor_is_dead() {
    in_stopped_time(async {
        const COMMANDS: u64 = 10_000;
        // Given 40 actors, and callers who repeat what was not answered, as they are told,
        let (tree, world) = (tree(), Arc::new(World::default()));
        let options = RegistryOptions { idle: LONG * 10, ..OPTIONS };
        let actors = many(&tree, &world, Arbiters::here(), options);
        let began = Instant::now();
        let asks = (0..COMMANDS).map(|n| {
            let actors = actors.clone();
            actix_rt::spawn(async move {
                let ask = Ask::Panic(times(usize::from(n % 100 == 0)), n);
                let key = format!("k{}", n % 40 + n / 100 % 2);
                loop {
                    match actors.ask(&key, ask.clone(), LONG).await {
                        Ok(_) => return,
                        Err(AskError::Unavailable { retry_after }) => tokio::time::sleep(retry_after).await,
                        Err(AskError::Full | AskError::OutcomeUnknown) => {
                            tokio::time::sleep(Duration::from_millis(10)).await;
                        }
                        Err(AskError::Leaving) => panic!("nobody drains"),
                    }
                }
            })
        });
        // when a hundred of ten thousand commands panic,
        for answered in join_all(asks).await {
            answered.unwrap();
        }
        // then each was answered, each counted, and each actor answers.
        assert_eq!(lock(&world.store).len() as u64, COMMANDS);
        let lines = tree.list(None, 100);
        assert!(lines.iter().all(|line| line.state == NodeState::Running), "{lines:?}");
        assert_eq!(lines.iter().map(|line| line.restarts).sum::<u64>(), 100);
        for line in lines {
            assert!(actors.ask(&line.key, Ask::Keep(0), LONG).await.is_ok());
        }
        assert!(began.elapsed() < Duration::from_secs(1000), "{:?}", began.elapsed());
    });
}
