//! Listening: from an address to a running server. Called by the composition root, and by tests on
//! port 0. Signals are the composition root's.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::Server;
use actix_web::http::KeepAlive;
use actix_web::middleware::{NormalizePath, from_fn};
use actix_web::web::{self, Data, ServiceConfig};
use actix_web::{App, HttpServer};

use super::cors::Cors;
use super::fallback::{self, Templates};
use super::frame::Frame;
use super::guard::{self, Rules};
use super::routes::{self, Served};
use crate::config;

/// How long a client may take to send the head of a request.
const HEAD_DEADLINE: Duration = Duration::from_secs(10);
/// How long a connection may idle.
const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// How long a client may take to close after we have.
const CLOSE_DEADLINE: Duration = Duration::from_secs(2);

/// A bound address that nobody is served on yet.
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    frame: Arc<Frame>,
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
        let address = socket.local_addr()?;
        let public_url = match &settings.public_url {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => format!("http://{address}"),
        };
        let frame = Arc::new(Frame {
            public_url,
            cors: Cors::new(settings.cors_origins.clone()),
            deadline: Duration::from_secs(settings.deadline_seconds),
        });
        Ok(Self { socket, address, frame, settings: settings.clone(), served: Served::all() })
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
    /// services). The server is a future that ends when its handle is told to stop; it begins to
    /// accept at once.
    ///
    /// # Errors
    /// The socket cannot be used.
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
        let Self { socket, frame, settings, served, .. } = self;
        let templates = Data::new(Templates::of(&served));
        let rules = Arc::new(Rules::of(&served));
        let server = HttpServer::new(move || {
            let (frame, rules) = (frame.clone(), rules.clone());
            App::new()
                .app_data(templates.clone())
                .configure(&worker)
                .configure(|config: &mut ServiceConfig| routes(config, &served))
                .default_service(web::to(fallback::answer))
                .wrap(from_fn(move |request, next| guard::check(rules.clone(), request, next)))
                .wrap(NormalizePath::trim())
                .wrap(from_fn(move |request, next| frame.clone().surround(request, next)))
        });
        let server = server
            .client_request_timeout(HEAD_DEADLINE)
            .client_disconnect_timeout(CLOSE_DEADLINE)
            .keep_alive(KeepAlive::Timeout(KEEP_ALIVE))
            .max_connections(settings.max_connections)
            .shutdown_timeout(settings.shutdown_seconds)
            .disable_signals();
        let server = match settings.workers {
            Some(workers) => server.workers(workers),
            None => server,
        };
        Ok(server.listen(socket)?.run())
    }
}
