//! A bounded queue between callers, who never wait to get in, and the store's threads.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use steward_actors::supervision::lock;

/// A queue that is bounded by the number and the weight of what waits in it.
pub(super) struct Queue<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
    most: usize,
    heaviest: usize,
}

struct State<T> {
    waiting: VecDeque<(T, usize)>,
    weight: usize,
    open: bool,
}

/// Why a job did not get in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    #[error("too much is waiting")]
    Full,
    #[error("it has been closed")]
    Closed,
}

/// What a thread found in the queue.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken<T> {
    Jobs(Vec<T>),
    /// Nothing came in time.
    Nothing,
    /// It is closed, and empty.
    Closed,
}

impl<T> Queue<T> {
    /// A queue for at most `most` jobs that weigh at most `heaviest` together.
    pub(super) fn new(most: usize, heaviest: usize) -> Self {
        let state = State { waiting: VecDeque::new(), weight: 0, open: true };
        Self { state: Mutex::new(state), changed: Condvar::new(), most, heaviest }
    }

    /// Gets a job in, or says at once why not. A job that is too heavy for the whole queue gets
    /// in when it is empty.
    pub(super) fn push(&self, job: T, weight: usize) -> Result<(), Refused> {
        let mut state = lock(&self.state);
        if !state.open {
            return Err(Refused::Closed);
        }
        let too_heavy = state.weight + weight > self.heaviest && !state.waiting.is_empty();
        if too_heavy || state.waiting.len() >= self.most {
            return Err(Refused::Full);
        }
        state.waiting.push_back((job, weight));
        state.weight += weight;
        drop(state);
        self.changed.notify_one();
        Ok(())
    }

    /// Waits up to `wait` for jobs and takes all that are there, up to `most` and, but for the
    /// first, `heaviest`.
    pub(super) fn take(&self, most: usize, heaviest: usize, wait: Duration) -> Taken<T> {
        let until = Instant::now() + wait;
        let mut state = lock(&self.state);
        while state.waiting.is_empty() {
            if !state.open {
                return Taken::Closed;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Taken::Nothing;
            }
            let woken = self.changed.wait_timeout(state, left);
            // Poisoned or not, as in `lock`.
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        let (mut jobs, mut sum) = (Vec::new(), 0);
        while let Some((_, weight)) = state.waiting.front() {
            if jobs.len() >= most || (sum + weight > heaviest && !jobs.is_empty()) {
                break;
            }
            let Some((job, weight)) = state.waiting.pop_front() else { break };
            sum += weight;
            state.weight -= weight;
            jobs.push(job);
        }
        Taken::Jobs(jobs)
    }

    /// Nothing gets in any more; what is there can still be taken.
    pub(super) fn close(&self) {
        lock(&self.state).open = false;
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::ZERO;

    #[test]
    fn a_full_queue_refuses_at_once_by_number_and_by_weight() {
        let queue = Queue::new(2, 10);
        assert_eq!(queue.push('a', 100), Ok(()), "the first gets in whatever it weighs");
        assert_eq!(queue.push('b', 1), Err(Refused::Full));
        assert_eq!(queue.take(9, 9, SOON), Taken::Jobs(vec!['a']));
        assert_eq!((queue.push('c', 1), queue.push('d', 9)), (Ok(()), Ok(())));
        assert_eq!(queue.push('e', 0), Err(Refused::Full));
    }

    #[test]
    fn what_is_taken_together_is_bounded() {
        let queue = Queue::new(9, 99);
        for (job, weight) in [('a', 5), ('b', 1), ('c', 1), ('d', 1)] {
            queue.push(job, weight).unwrap();
        }
        assert_eq!(queue.take(9, 4, SOON), Taken::Jobs(vec!['a']));
        assert_eq!(queue.take(2, 4, SOON), Taken::Jobs(vec!['b', 'c']));
        assert_eq!(queue.take(9, 4, SOON), Taken::Jobs(vec!['d']));
        assert_eq!(queue.take(9, 4, SOON), Taken::Nothing);
    }

    #[test]
    fn a_closed_queue_lets_nothing_in_and_everything_out() {
        let queue = Queue::new(9, 99);
        queue.push('a', 1).unwrap();
        queue.close();
        assert_eq!(queue.push('b', 1), Err(Refused::Closed));
        assert_eq!(queue.take(9, 9, SOON), Taken::Jobs(vec!['a']));
        assert_eq!(queue.take(9, 9, Duration::from_secs(60)), Taken::Closed);
    }
}
