//! Bounds and deadlines of a question.

use super::*;

#[test]
fn a_full_mailbox_refuses_at_once_and_takes_again_what_it_has_room_for() {
    in_stopped_time(async {
        let (tree, world) = (tree(), Arc::new(World::default()));
        let actor = one(&tree, &world, 3);
        let told = Arc::new(Notify::new());
        let waiting: Vec<_> = (0..3)
            .map(|mark| {
                let (actor, ask) = (actor.clone(), Ask::Wait(told.clone(), mark));
                actix_rt::spawn(async move { actor.ask(ask, LONG).await })
            })
            .collect();
        settle().await;
        // What is being worked at counts too, not only what is queued.
        assert_eq!((actor.waiting(), tree.list(None, 10)[0].mailbox), (3, 3));
        let asked_at = Instant::now();
        assert_eq!(actor.ask(Ask::Keep(9), LONG).await, Err(AskError::Full));
        assert_eq!(asked_at.elapsed(), Duration::ZERO);
        told.notify_waiters();
        for answer in join_all(waiting).await {
            assert!(answer.unwrap().is_ok());
        }
        assert!(actor.ask(Ask::Keep(9), LONG).await.is_ok());
        assert_eq!(actor.waiting(), 0);
    });
}

#[test]
fn a_bound_holds_for_callers_on_many_threads() {
    actix_rt::System::new().block_on(async {
        // Given an actor with room for eight, all of whose answers wait,
        let (tree, world) = (tree(), Arc::new(World::default()));
        let options = RegistryOptions { mailbox: 8, ..OPTIONS };
        let actors = many(&tree, &world, Arbiters::start(1), options);
        let told = Arc::new(Notify::new());
        let (tell, mut answers) = mpsc::unbounded_channel();
        // when four threads ask two hundred times,
        let going = told.clone();
        let asking = on_threads(4, move |thread| {
            let (actors, told, tell) = (actors.clone(), going.clone(), tell.clone());
            async move {
                join_all((0..50).map(|n| {
                    let ask = actors.ask("a", Ask::Wait(told.clone(), thread * 50 + n), LONG);
                    let tell = &tell;
                    async move { tell.send(ask.await).unwrap() }
                }))
                .await;
            }
        });
        let answered = async {
            // then all but eight are refused,
            for _ in 0..192 {
                assert_eq!(answers.recv().await, Some(Err(AskError::Full)));
            }
            // which are answered one by one,
            for _ in 0..8 {
                told.notify_one();
                assert!(matches!(answers.recv().await, Some(Ok(_))));
            }
        };
        tokio::join!(asking, answered);
        // and only those eight were committed.
        assert_eq!(lock(&world.store).len(), 8);
    });
}

#[test]
fn past_its_deadline_a_commands_outcome_is_unknown_although_it_counted() {
    in_stopped_time(async {
        let (tree, world) = (tree(), Arc::new(World::default()));
        let actor = one(&tree, &world, 10);
        let deadline = Duration::from_secs(3);
        let asked_at = Instant::now();
        let answer = actor.ask(Ask::Wait(Arc::default(), 1), deadline).await;
        assert_eq!(answer, Err(AskError::OutcomeUnknown));
        assert!(asked_at.elapsed() >= deadline && asked_at.elapsed() < deadline + Duration::from_millis(10));
        assert_eq!(*lock(&world.store), marks([1]));
    });
}

#[test]
fn before_an_actor_has_started_a_deadline_means_that_nothing_was_accepted() {
    in_stopped_time(async {
        let (tree, world) = (tree(), Arc::new(World::default()));
        world.hanging_loads.store(1, Ordering::Release);
        let actor = one(&tree, &world, 10);
        let answer = actor.ask(Ask::Keep(1), Duration::from_secs(3)).await;
        assert!(matches!(answer, Err(AskError::Unavailable { .. })), "{answer:?}");
        assert_eq!(actor.waiting(), 0);
    });
}

#[test]
fn a_reply_that_is_dropped_on_purpose_needs_no_deadline() {
    in_stopped_time(async {
        let (tree, world) = (tree(), Arc::new(World::default()));
        let actor = one(&tree, &world, 10);
        let asked_at = Instant::now();
        assert_eq!(actor.ask(Ask::Ignore, LONG).await, Err(AskError::OutcomeUnknown));
        assert!(asked_at.elapsed() < Duration::from_secs(1));
        assert_eq!(world.loads(), 1);
    });
}

#[test]
fn a_command_whose_caller_has_gone_counts_all_the_same() {
    in_stopped_time(async {
        // Given a command that waits behind another,
        let (tree, world) = (tree(), Arc::new(World::default()));
        let actor = one(&tree, &world, 10);
        let told = Arc::new(Notify::new());
        let (first, second) = (actor.clone(), actor.clone());
        let blocking = Ask::Block(told.clone(), times(0));
        let blocked = actix_rt::spawn(async move { first.ask(blocking, LONG).await });
        settle().await;
        let gone = actix_rt::spawn(async move { second.ask(Ask::Keep(5), LONG).await });
        settle().await;
        // when its caller goes,
        gone.abort();
        settle().await;
        told.notify_one();
        blocked.await.unwrap().unwrap();
        settle().await;
        // then it was done nevertheless: plain actix would have skipped it.
        assert_eq!(*lock(&world.store), marks([5]));
        assert_eq!(actor.waiting(), 0);
    });
}

#[test]
fn a_command_that_always_panics_is_tried_three_times_and_not_for_ever() {
    in_stopped_time(async {
        let (tree, world) = (tree(), Arc::new(World::default()));
        let actor = one(&tree, &world, 10);
        let answer = actor.ask(Ask::Panic(times(usize::MAX), 1), LONG).await;
        assert_eq!(answer, Err(AskError::OutcomeUnknown));
        assert_eq!(actor.ask(Ask::Keep(2), LONG).await, Ok(marks([2])));
        assert_eq!(world.loads(), 4);
    });
}
