//! Supervised tasks: infrastructure that is a loop rather than an actor (heartbeat, outbox,
//! schedules). A panic restarts the loop; too many end the replica.

use std::future::Future;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::policy::{After, History, RestartPolicy};
use super::runner::{caught, caught_while_polled};
use super::tree::{NodeState, Tree};

/// A supervised loop that runs until it is stopped, or until this is dropped.
pub struct InfrastructureTask {
    kind: &'static str,
    stop: watch::Sender<bool>,
    ended: JoinHandle<()>,
}

impl InfrastructureTask {
    /// Tells the loop to stop and waits until it has; after `deadline` it is cut off.
    pub async fn stop(mut self, deadline: Duration) {
        self.stop.send_replace(true);
        if timeout(deadline, &mut self.ended).await.is_err() {
            tracing::warn!(kind = self.kind, "stopped before it was done");
            self.ended.abort();
        }
    }
}

/// Runs `make(stop)` on the runtime it is called on. The future it makes should run until `stop`
/// becomes true and then return. A panic, or a return before that, starts it again; after more
/// falls than [`RestartPolicy::INFRASTRUCTURE`] allows the tree escalates.
pub fn supervise_task<F, Fut>(tree: &Tree, kind: &'static str, make: F) -> InfrastructureTask
where
    F: Fn(watch::Receiver<bool>) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let (stop, mut stopping) = watch::channel(false);
    let tree = tree.clone();
    let ended = tokio::spawn(async move {
        let place = tree.enter(kind, "", None);
        let born = Instant::now();
        let mut history = History::default();
        loop {
            place.set(NodeState::Running);
            let end = match caught(|| make(stopping.clone())) {
                Ok(made) => caught_while_polled(made.boxed()).await,
                Err(panic) => Err(panic),
            };
            if is_stopped(&stopping) {
                return;
            }
            let reason = end.err().unwrap_or_else(|| "it ended by itself".to_owned());
            place.fell(&reason);
            tracing::error!(kind, reason, "an infrastructure task fell");
            match history.fell(&RestartPolicy::INFRASTRUCTURE, born.elapsed(), fastrand::f64()) {
                After::Restart(pause) | After::Suspend(pause) => {
                    place.set(NodeState::Restarting);
                    tokio::select! {
                        () = sleep(pause) => {}
                        _ = stopping.wait_for(|stop| *stop) => return,
                    }
                }
                After::Escalate => {
                    tree.escalate(kind, reason);
                    return;
                }
            }
        }
    });
    InfrastructureTask { kind, stop, ended }
}

/// Told to stop, or nobody is left who could tell.
fn is_stopped(stopping: &watch::Receiver<bool>) -> bool {
    *stopping.borrow() || stopping.has_changed().is_err()
}
