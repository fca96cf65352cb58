//! Supervised loops.

use tokio::sync::watch;

use super::*;

async fn until_stopped(mut stop: watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

#[test]
fn a_loop_that_panics_or_ends_by_itself_is_started_again() {
    in_stopped_time(async {
        let (tree, lives) = (tree(), times(0));
        let task = supervise_task(&tree, "loop", {
            let lives = lives.clone();
            move |stop| {
                let life = lives.fetch_add(1, Ordering::AcqRel);
                assert!(life != 0, "a panic of the test in making the loop");
                async move {
                    match life {
                        1 => panic!("a panic of the test in the loop"),
                        2 => {}
                        _ => until_stopped(stop).await,
                    }
                }
            }
        });
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(lives.load(Ordering::Acquire), 4);
        let line = tree.list(Some("loop"), 1).remove(0);
        assert_eq!((line.state, line.restarts), (NodeState::Running, 3));
        assert_eq!(line.last_error.as_deref(), Some("it ended by itself"));
        task.stop(LONG).await;
        assert!(tree.is_empty());
        assert_eq!(*tree.escalations().borrow(), None);
    });
}

#[test]
fn a_loop_that_falls_too_often_brings_the_replica_down() {
    in_stopped_time(async {
        let (tree, lives) = (tree(), times(0));
        let mut escalations = tree.escalations();
        let _task = supervise_task(&tree, "loop", {
            let lives = lives.clone();
            move |_| {
                lives.fetch_add(1, Ordering::AcqRel);
                async { panic!("a panic of the test") }
            }
        });
        let escalation = escalations.wait_for(Option::is_some).await.unwrap().clone().unwrap();
        assert_eq!(escalation.kind, "loop");
        assert_eq!(escalation.reason, "panicked: a panic of the test");
        assert_eq!(lives.load(Ordering::Acquire), 6);
    });
}

#[test]
fn a_loop_is_stopped_also_between_two_lives_and_when_it_does_not_listen() {
    in_stopped_time(async {
        let tree = tree();
        let between = supervise_task(&tree, "between", |_| async { panic!("a panic of the test") });
        // After four falls its pauses are longer than any of these waits.
        tokio::time::sleep(Duration::from_millis(150)).await;
        let began = Instant::now();
        between.stop(LONG).await;
        assert_eq!(began.elapsed(), Duration::ZERO);

        let held = Arc::new(());
        let deaf = supervise_task(&tree, "deaf", {
            let held = held.clone();
            move |_| {
                let held = held.clone();
                async move {
                    std::future::pending::<()>().await;
                    drop(held);
                }
            }
        });
        settle().await;
        assert_eq!(Arc::strong_count(&held), 3);
        deaf.stop(Duration::from_secs(2)).await;
        settle().await;
        assert_eq!(Arc::strong_count(&held), 1, "it is cut off");
        assert!(tree.is_empty());
    });
}

#[test]
fn a_loop_whose_owner_is_gone_ends_and_brings_nothing_down() {
    in_stopped_time(async {
        let tree = tree();
        drop(supervise_task(&tree, "loop", until_stopped));
        settle().await;
        assert!(tree.is_empty());
        assert_eq!(*tree.escalations().borrow(), None);
    });
}
