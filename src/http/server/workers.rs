//! The threads of a server: one that accepts, and those that answer.

use std::convert::Infallible;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use actix_http::{HttpService, KeepAlive};
use actix_service::{IntoServiceFactory, Service, ServiceFactory, ServiceFactoryExt, fn_service, map_config};
use actix_web::App;
use actix_web::dev::AppConfig;
use actix_web::middleware::{NormalizePath, from_fn};
use actix_web::web::{self, Data, ServiceConfig};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::{sleep, timeout};

use super::door::{Door, Stage};
use super::refusal::Refusals;
use super::stream::{Spans, Stream};
use crate::http::fallback::{self, Templates};
use crate::http::frame::Frame;
use crate::http::guard::{self, Rules};
use crate::http::json::BodyDeadline;
use crate::http::routes::Served;

/// How long a client that is still sending may take to read an answer that ends the connection.
const LINGER: Duration = Duration::from_secs(2);
/// How long a connection may take to be made that had begun when the server stopped accepting.
const HANDSHAKE: Duration = Duration::from_millis(200);
/// How long to wait when the system can open no more files.
const EXHAUSTED: Duration = Duration::from_millis(200);

/// What each worker is made of.
#[derive(Clone)]
pub(super) struct Parts {
    pub(super) frame: Arc<Frame>,
    pub(super) spans: Spans,
    pub(super) body: BodyDeadline,
    pub(super) templates: Data<Templates>,
    pub(super) rules: Arc<Rules>,
    pub(super) served: Served,
    pub(super) routes: fn(&mut ServiceConfig, &Served),
    pub(super) refusals: Arc<Refusals>,
}

/// A connection, with what counts it for as long as it lasts.
struct Guest {
    stream: TcpStream,
    place: OwnedSemaphorePermit,
    counted: Counted,
}

/// The way to one worker.
pub(super) struct Queue {
    guests: mpsc::UnboundedSender<Guest>,
    busy_with: Arc<AtomicUsize>,
}

/// Starts one worker thread.
pub(super) fn start<W>(number: usize, parts: Parts, worker: W) -> io::Result<(Queue, JoinHandle<()>)>
where
    W: Fn(&mut ServiceConfig) + Clone + Send + 'static,
{
    // Bounded by the places of the door.
    let (guests, arriving) = mpsc::unbounded_channel();
    let thread = Builder::new().name(format!("http-{number}")).spawn(move || {
        actix_rt::System::new().block_on(answer(parts, worker, arriving));
    })?;
    Ok((Queue { guests, busy_with: Arc::default() }, thread))
}

/// Answers what arrives, until the server has ended.
async fn answer<W>(parts: Parts, worker: W, mut arriving: mpsc::UnboundedReceiver<Guest>)
where
    W: Fn(&mut ServiceConfig) + Clone + Send + 'static,
{
    let door = parts.frame.door.clone();
    let Ok(service) = factory(parts, worker).new_service(()).await else {
        tracing::error!("the routes of this worker cannot be made");
        return;
    };
    let serve = async {
        while let Some(Guest { stream, place, counted }) = arriving.recv().await {
            let Ok(stream) = tokio::net::TcpStream::from_std(stream) else { continue };
            let answered = service.call(stream);
            actix_rt::spawn(async move {
                // What goes wrong on a connection was logged where it did.
                let _ = answered.await;
                drop((counted, place));
            });
        }
        std::future::pending::<Infallible>().await
    };
    tokio::select! {
        _ = serve => {}
        () = door.reached(Stage::Ended) => {}
    }
}

/// What makes of a connection its answers.
fn factory<W>(
    parts: Parts,
    worker: W,
) -> impl ServiceFactory<
    tokio::net::TcpStream,
    Config = (),
    Response = (),
    Error = actix_http::error::DispatchError,
    InitError = (),
>
where
    W: Fn(&mut ServiceConfig) + Clone + Send + 'static,
{
    let Parts { frame, spans, body, templates, rules, served, routes, refusals } = parts;
    let door = frame.door.clone();
    let app = App::new()
        .app_data(body)
        .app_data(templates)
        .configure(worker)
        .configure(|config: &mut ServiceConfig| routes(config, &served))
        .default_service(web::to(fallback::answer))
        .wrap(from_fn(move |request, next| guard::check(rules.clone(), request, next)))
        .wrap(NormalizePath::trim())
        .wrap(from_fn(move |request, next| frame.clone().surround(request, next)));
    let app =
        app.into_factory().map_err(|error: actix_web::Error| error.as_response_error().error_response());
    let http = HttpService::build()
        // Ours hold for every request, actix's for the first alone.
        .client_request_timeout(Duration::ZERO)
        .client_disconnect_timeout(LINGER)
        .keep_alive(KeepAlive::Timeout(spans.idle))
        .graceful_shutdown_signal(move || {
            let door = door.clone();
            async move { door.reached(Stage::Finishing).await }
        })
        .on_connect_ext(|stream: &Stream, data: &mut actix_http::Extensions| {
            data.insert(stream.progress());
        })
        .h1(map_config(app, |()| AppConfig::default()));
    fn_service(move |stream: tokio::net::TcpStream| {
        let peer = stream.peer_addr().ok();
        let stream = Stream::new(stream, spans, refusals.clone());
        async move { Ok::<_, actix_http::error::DispatchError>((stream, peer)) }
    })
    .and_then(http)
}

/// A connection that a worker is at.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Starts the thread that accepts.
pub(super) fn accept(socket: TcpListener, door: Arc<Door>, queues: Vec<Queue>) -> io::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let same = socket.try_clone()?;
    let socket = {
        let _inside = runtime.enter();
        tokio::net::TcpListener::from_std(socket)?
    };
    Builder::new().name("http-accept".to_owned()).spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = admit(&socket, &door, &queues) => {}
                () = door.reached(Stage::Closing) => {}
            }
            // Closing the socket breaks the connections that the kernel has made and nobody has
            // accepted. So first it makes no more, and those on the way get through.
            if let Err(error) = begin_no_more(&same) {
                tracing::debug!(%error, "connections may begin while the socket closes");
            }
            let _ = timeout(HANDSHAKE, admit(&socket, &door, &queues)).await;
        });
        drop(socket);
        while let Ok(place) = door.places.clone().try_acquire_owned()
            && let Ok((stream, _)) = same.accept()
        {
            hand_over(stream, place, &queues);
        }
        drop(same);
        door.go_on_to(Stage::Closed);
    })
}

async fn admit(socket: &tokio::net::TcpListener, door: &Door, queues: &[Queue]) -> Infallible {
    loop {
        let Ok(place) = door.places.clone().acquire_owned().await else {
            // Nobody closes the semaphore.
            std::future::pending::<()>().await;
            continue;
        };
        // The worker's thread drives it, not this one.
        match socket.accept().await.and_then(|(stream, _)| stream.into_std()) {
            Ok(stream) => hand_over(stream, place, queues),
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "no connection can be accepted");
                sleep(EXHAUSTED).await;
            }
        }
    }
}

/// Has the kernel overlook whoever wants to connect: they try again a second later, and find the
/// socket closed.
#[cfg(target_os = "linux")]
fn begin_no_more(socket: &TcpListener) -> io::Result<()> {
    // As classic BPF on the TCP header: load the flags; if SYN is among them drop, otherwise pass.
    let program = [(0x30, 0, 0, 13), (0x45, 0, 1, 0x02), (0x06, 0, 0, 0), (0x06, 0, 0, u32::MAX)];
    let program = program.map(|(code, yes, no, value)| socket2::SockFilter::new(code, yes, no, value));
    socket2::SockRef::from(socket).attach_filter(&program)
}

#[cfg(not(target_os = "linux"))]
fn begin_no_more(_: &TcpListener) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

fn hand_over(stream: TcpStream, place: OwnedSemaphorePermit, queues: &[Queue]) {
    // An answer is mostly one small write; waiting for more to send only delays it.
    let _ = stream.set_nodelay(true);
    let least = queues.iter().min_by_key(|queue| queue.busy_with.load(Ordering::Relaxed));
    if let (Ok(()), Some(queue)) = (stream.set_nonblocking(true), least) {
        let counted = Counted::new(&queue.busy_with);
        let _ = queue.guests.send(Guest { stream, place, counted });
    }
}
