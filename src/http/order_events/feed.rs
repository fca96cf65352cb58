//! A stream under way: when it reads, says that it lives, and ends.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix_web::web::{Bytes, Data};
use steward_actors::order_saga::{Orders, Watching};
use steward_actors::session::AuthError;
use steward_actors::supervision::lock;
use tokio::sync::futures::OwnedNotified;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

use super::source::Source;
use crate::http::caller::Authenticator;
use crate::http::problem::Problem;

/// Streams of one user at once, in this process.
const MOST_OF_ONE: usize = 10;
/// Streams at once, in this process.
const MOST: usize = 2000;
/// The least and the longest span between looks at the store: woken often, and not woken at all.
const PACE: Duration = Duration::from_millis(50);
const POLL: Duration = Duration::from_secs(1);
/// The span between looks at the session, and how long it may be unknown whether it still counts.
const CHECK: Duration = Duration::from_millis(300);
const UNKNOWN: Duration = Duration::from_millis(700);
/// The span after which a silent stream says that it lives.
const HEARTBEAT: Duration = Duration::from_secs(15);

type Open = Arc<Mutex<HashMap<String, usize>>>;

/// The streams of this process. What the composition root puts into `app_data`.
pub struct Streams {
    open: Open,
    draining: watch::Receiver<bool>,
}

impl Streams {
    /// None yet. When `draining` becomes true, all end.
    pub fn new(draining: watch::Receiver<bool>) -> Self {
        Self { open: Arc::default(), draining }
    }

    pub(super) fn draining(&self) -> watch::Receiver<bool> {
        self.draining.clone()
    }

    pub(super) fn open(&self, user_id: &str) -> Result<Place, Problem> {
        let mut open = lock(&self.open);
        let all: usize = open.values().sum();
        let own = open.get(user_id).copied().unwrap_or_default();
        if own >= MOST_OF_ONE || all >= MOST {
            return Err(Problem::too_many(Duration::from_secs(5)).detail("Too many streams are open."));
        }
        open.insert(user_id.to_owned(), own + 1);
        Ok(Place { open: self.open.clone(), user_id: user_id.to_owned() })
    }
}

/// A stream's place, until dropped.
pub(super) struct Place {
    open: Open,
    user_id: String,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = lock(&self.open);
        if let Some(own) = open.get_mut(&self.user_id) {
            *own -= 1;
            if *own == 0 {
                open.remove(&self.user_id);
            }
        }
    }
}

/// What a stream has from the request that opened it.
pub(super) struct Opened {
    pub(super) _place: Place,
    pub(super) watching: Watching,
    pub(super) draining: watch::Receiver<bool>,
    pub(super) authenticator: Authenticator,
    pub(super) token: String,
    /// What the caller must be permitted for as long as it lasts.
    pub(super) needs: Option<&'static str>,
}

/// A stream under way.
pub(super) struct Feed {
    opened: Opened,
    orders: Data<Orders>,
    source: Source,
    begun: bool,
    /// All that was there is sent; this tells of more.
    woken: Option<Woken>,
    ended: bool,
    /// The replica stops: what is there is sent, and no more.
    last: bool,
    read_at: Instant,
    heartbeat: Instant,
    checked: Instant,
    known_good: Instant,
}

/// Why a wait is over.
enum Waited {
    Read,
    Heartbeat,
    End,
}

type Woken = Pin<Box<OwnedNotified>>;

impl Feed {
    pub(super) fn new(opened: Opened, orders: Data<Orders>, source: Source) -> Self {
        let now = Instant::now();
        Self {
            opened,
            orders,
            source,
            begun: false,
            woken: None,
            ended: false,
            last: false,
            read_at: now,
            heartbeat: now + HEARTBEAT,
            checked: now,
            known_good: now,
        }
    }

    /// The next bytes; `None` when the stream ends.
    pub(super) async fn next(&mut self) -> Option<Bytes> {
        if !std::mem::replace(&mut self.begun, true) {
            // So that the client knows at once that it is connected.
            return Some(Bytes::from_static(b"retry: 1000\n\n"));
        }
        loop {
            if self.ended {
                return None;
            }
            if let Some(mut woken) = self.woken.take() {
                match self.wait(&mut woken).await {
                    Waited::Read => {}
                    Waited::End => return None,
                    Waited::Heartbeat => {
                        self.woken = Some(woken);
                        self.heartbeat = Instant::now() + HEARTBEAT;
                        return Some(Bytes::from_static(b": \n\n"));
                    }
                }
            }
            let framed = self.read().await;
            // Here too: a stream that has always something to send never waits.
            if !self.may_go_on().await {
                return None;
            }
            if let Some(framed) = framed {
                self.heartbeat = Instant::now() + HEARTBEAT;
                return Some(framed);
            }
        }
    }

    async fn read(&mut self) -> Option<Bytes> {
        let woken = self.opened.watching.changed();
        let read = self.source.read(&self.orders).await;
        self.read_at = Instant::now();
        match read {
            Ok(part) => {
                self.ended = part.ended || (self.last && !part.more);
                self.woken = (!part.more).then(|| Box::pin(woken));
                (!part.framed.is_empty()).then(|| part.framed.into())
            }
            Err(error) => {
                // The client loses nothing: it is read again.
                tracing::debug!(%error, "a stream could not read on");
                self.ended = self.last;
                self.woken = Some(Box::pin(woken));
                None
            }
        }
    }

    /// Waits until there may be something to read.
    async fn wait(&mut self, woken: &mut Woken) -> Waited {
        let (pace, poll) = (self.read_at + PACE, self.read_at + POLL);
        let mut draining = self.opened.draining.clone();
        let mut is_woken = false;
        loop {
            let check = self.checked + CHECK;
            tokio::select! {
                () = woken.as_mut(), if !is_woken => is_woken = true,
                () = sleep_until(pace), if is_woken => return Waited::Read,
                () = sleep_until(poll) => return Waited::Read,
                () = sleep_until(self.heartbeat) => return Waited::Heartbeat,
                () = sleep_until(check) => if !self.may_go_on().await { return Waited::End },
                // Or the composition root is gone.
                _ = draining.wait_for(|draining| *draining) => {
                    self.last = true;
                    return Waited::Read;
                }
            }
        }
    }

    /// Whether the session and the permission still stand, looked at now and then.
    async fn may_go_on(&mut self) -> bool {
        let now = Instant::now();
        if now < self.checked + CHECK {
            return true;
        }
        self.checked = now;
        let Opened { authenticator, token, needs, .. } = &self.opened;
        match timeout(CHECK, authenticator.authenticate(token)).await {
            Ok(Ok(principal)) => {
                self.known_good = now;
                needs.is_none_or(|permission| principal.may(permission))
            }
            Ok(Err(AuthError::Unauthenticated)) => false,
            Ok(Err(AuthError::Unavailable { .. })) | Err(_) => self.known_good.elapsed() < UNKNOWN,
        }
    }
}
