//! Listening: from an address to a running server. Called by the composition root, and by tests on
//! port 0. Signals are the composition root's.
//!
//! One thread accepts and hands each connection to the worker thread with the fewest; actix answers
//! it there, on a stream with deadlines of its own. The workers are ours, not
//! actix-server's, so that stopping loses nothing: that one drops connections that it has accepted
//! and not yet begun with.
//!
//! Stopping goes in stages: tell every client to leave, accept no more, answer what came in,
//! end.

pub(super) mod door;
mod refusal;
pub(super) mod stream;
mod workers;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use actix_web::web::{Data, ServiceConfig};
use tokio::time::timeout;

use self::door::{Door, Stage};
use super::address::TrustedProxies;
use super::cors::Cors;
use super::fallback::Templates;
use super::frame::Frame;
use super::guard::Rules;
use super::json::BodyDeadline;
use super::limiting::Limiting;
use super::openapi;
use super::routes::{self, Served};
use crate::config;

/// How long connections that were accepted last may take to say what they want.
const SETTLE: Duration = Duration::from_millis(500);

/// A bound address that nobody is served on yet.
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    workers: usize,
    frame: Frame,
    settings: config::Http,
    served: Served,
}

impl Listener {
    /// Binds. Port 0 picks a free one.
    ///
    /// # Errors
    /// The address is taken, or not ours.
    pub fn bind(settings: &config::Http) -> io::Result<Self> {
        let socket = TcpListener::bind(&settings.bind)?;
        socket.set_nonblocking(true)?;
        let address = socket.local_addr()?;
        let public_url = match &settings.public_url {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => format!("http://{address}"),
        };
        let workers =
            settings.workers.unwrap_or_else(|| std::thread::available_parallelism().map_or(2, usize::from));
        let frame = Frame {
            public_url,
            cors: Cors::new(settings.cors_origins.clone()),
            deadline: Duration::from_secs(settings.deadline_seconds),
            door: Arc::new(Door::new(settings.max_connections.saturating_mul(workers))),
            trusted: TrustedProxies::new(&settings.trusted_proxies),
            limiting: None,
        };
        Ok(Self { socket, address, workers, frame, settings: settings.clone(), served: Served::all() })
    }

    /// Serves these contexts alone; the routes of others are as if there were none.
    #[must_use]
    pub fn serving(self, served: Served) -> Self {
        Self { served, ..self }
    }

    /// Binds the operations port, if there is to be one. Port 0 picks a free one.
    ///
    /// # Errors
    /// The address is taken, or not ours.
    pub fn bind_operations(settings: &config::Http) -> io::Result<Option<Self>> {
        let Some(bind) = &settings.operations_bind else { return Ok(None) };
        let settings = config::Http {
            bind: bind.clone(),
            public_url: None,
            cors_origins: Vec::new(),
            workers: Some(1),
            max_connections: 64,
            ..settings.clone()
        };
        Ok(Some(Self::bind(&settings)?.serving(Served::these([]))))
    }

    /// Refuses those who ask too often; `None` refuses nobody.
    #[must_use]
    pub fn limiting(mut self, limiting: Option<Arc<Limiting>>) -> Self {
        self.frame.limiting = limiting;
        self
    }

    /// The address, with the port that was picked.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where clients find it; without a slash at the end.
    pub fn public_url(&self) -> &str {
        &self.frame.public_url
    }

    /// Starts serving. `worker` runs once in each worker thread, inside its actix system, and puts
    /// there what handlers ask for ([`super::caller::Authenticator`], [`super::health::Health`],
    /// services). It accepts at once, until the [`Server`] is stopped or dropped.
    ///
    /// # Errors
    /// The system gives no threads, or the socket cannot be used.
    pub fn serve<W>(self, worker: W) -> io::Result<Server>
    where
        W: Fn(&mut ServiceConfig) + Clone + Send + 'static,
    {
        self.serve_routes(worker, routes::configure)
    }

    /// Starts serving what the operations port has. `worker` puts [`super::health::Health`] and
    /// [`super::metrics::Figures`] there.
    ///
    /// # Errors
    /// The socket cannot be used.
    pub fn serve_operations<W>(self, worker: W) -> io::Result<Server>
    where
        W: Fn(&mut ServiceConfig) + Clone + Send + 'static,
    {
        self.serve_routes(worker, |config, _| routes::operations(config))
    }

    fn serve_routes<W>(self, worker: W, routes: fn(&mut ServiceConfig, &Served)) -> io::Result<Server>
    where
        W: Fn(&mut ServiceConfig) + Clone + Send + 'static,
    {
        let Self { socket, workers, frame, settings, served, .. } = self;
        let door = frame.door.clone();
        let parts = workers::Parts {
            spans: stream::Spans {
                head: Duration::from_secs(settings.head_seconds),
                idle: Duration::from_secs(settings.idle_seconds),
            },
            body: BodyDeadline(Duration::from_secs(settings.body_seconds)),
            templates: Data::new(Templates::of(&openapi::operations(&served))),
            rules: Arc::new(Rules::of(&served)),
            served,
            routes,
            refusals: Arc::new(refusal::Refusals { public_url: frame.public_url.clone() }),
            frame: Arc::new(frame),
        };
        // Dropped on an early return, it ends the threads that have started.
        let mut server = Server { door, threads: Vec::new() };
        let mut queues = Vec::new();
        for number in 0..workers {
            let (queue, thread) = workers::start(number, parts.clone(), worker.clone())?;
            queues.push(queue);
            server.threads.push(thread);
        }
        server.threads.push(workers::accept(socket, server.door.clone(), queues)?);
        Ok(server)
    }
}

/// A running server. Dropping it ends it at once, with whatever it is at.
pub struct Server {
    door: Arc<Door>,
    threads: Vec<JoinHandle<()>>,
}

impl Server {
    /// From here on every answer tells its client to use another connection, and so, behind a
    /// balancer that sees this replica unready, another replica.
    pub fn show_everyone_out(&self) {
        self.door.go_on_to(Stage::Leaving);
    }

    /// Accepts no more, answers what came in, and ends: after `grace` at the latest.
    pub async fn stop(mut self, grace: Duration) {
        let door = self.door.clone();
        let answered = async {
            door.go_on_to(Stage::Closing);
            door.reached(Stage::Closed).await;
            if timeout(SETTLE, door.everyone_has_left()).await.is_err() {
                door.go_on_to(Stage::Finishing);
                door.everyone_has_left().await;
            }
        };
        if timeout(grace, answered).await.is_err() {
            tracing::warn!("some requests took longer to answer than the server may take to stop");
        }
        door.go_on_to(Stage::Ended);
        let threads = std::mem::take(&mut self.threads);
        let joined = tokio::task::spawn_blocking(move || {
            threads.into_iter().for_each(|thread| {
                let _ = thread.join();
            });
        });
        let _ = timeout(grace.max(SETTLE), joined).await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.door.go_on_to(Stage::Ended);
    }
}
