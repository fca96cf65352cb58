//! One request and its answer on their connection: tells the connection when they begin and end,
//! and sees to it that a body which nobody read does not keep it open.
//!
//! Called by the frame. actix closes a connection after an answer to a request whose body has not
//! come to its end, within a bounded time, but only while somebody holds the body: a dropped one
//! that has no length it reads on for as long as the client sends. So the answer holds it.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{Payload, ServiceRequest};
use actix_web::error::PayloadError;
use actix_web::http::ConnectionType;
use actix_web::web::Bytes;
use actix_web::{HttpMessage, HttpResponse};
use futures_util::Stream;
use tokio::time::timeout;

use super::server::stream::Progress;

/// Bytes of a body that are read after its answer is known, to keep the connection.
const REST: usize = 64 * 1024;
/// How long that may take.
const REST_DEADLINE: Duration = Duration::from_millis(50);

/// A request that is being answered.
#[derive(Clone)]
pub(super) struct Exchange {
    progress: Option<Rc<Progress>>,
    body: Option<Rc<RefCell<Body>>>,
}

struct Body {
    payload: Payload,
    /// Nothing more comes of it.
    ended: bool,
    /// It ended because it cannot be read on, as when the size of a chunk is none.
    broken: bool,
}

impl Body {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, PayloadError>>> {
        let next = Pin::new(&mut self.payload).poll_next(cx);
        self.broken |= matches!(next, Poll::Ready(Some(Err(_))));
        // actix is silent about a broken body from here on. It has given up the connection too, and
        // sends only what it is given at once: nobody may wait for more.
        self.ended |= self.broken || matches!(next, Poll::Ready(None));
        next
    }

    /// Reads what nobody wants; ready when that is all, too much, or broken.
    fn poll_rest(&mut self, cx: &mut Context<'_>, left: &mut usize) -> Poll<()> {
        while !self.ended {
            let Some(Ok(piece)) = ready!(self.poll(cx)) else { break };
            let Some(still) = left.checked_sub(piece.len()) else { break };
            *left = still;
        }
        Poll::Ready(())
    }
}

/// What the handler reads the body from.
struct Reader(Rc<RefCell<Body>>);

impl Stream for Reader {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.borrow_mut().poll(cx)
    }
}

impl Exchange {
    /// The head of this request has come.
    pub(super) fn begin(request: &mut ServiceRequest) -> Self {
        let progress = request.conn_data::<Rc<Progress>>().cloned();
        if let Some(progress) = &progress {
            progress.asked();
        }
        let body = match request.take_payload() {
            Payload::None => None,
            payload => {
                let body = Rc::new(RefCell::new(Body { payload, ended: false, broken: false }));
                let reader: Pin<Box<dyn Stream<Item = _>>> = Box::pin(Reader(body.clone()));
                request.set_payload(Payload::from(reader));
                Some(body)
            }
        };
        Self { progress, body }
    }

    /// Reads the little that a handler has left of the body. What most clients send has come by
    /// now, so that refusing it costs them no new connection.
    pub(super) async fn finish_body(&self) {
        let Some(body) = self.body.as_ref().filter(|body| !body.borrow().ended) else { return };
        let mut left = REST;
        let rest = poll_fn(|cx| body.borrow_mut().poll_rest(cx, &mut left));
        let _ = timeout(REST_DEADLINE, rest).await;
    }

    /// The answer, which closes the connection if `last`, or if the body has not come to its end or
    /// is broken.
    pub(super) fn answer(&self, last: bool, mut response: HttpResponse) -> HttpResponse {
        let unread = self.body.clone().filter(|body| !body.borrow().ended);
        let broken = self.body.as_ref().is_some_and(|body| body.borrow().broken);
        let last = last || broken || unread.is_some();
        if last {
            response.head_mut().set_connection_type(ConnectionType::Close);
        }
        let progress = self.progress.clone();
        response.map_body(|_, body| BoxBody::new(Answer { body, progress, last, _unread: unread }))
    }
}

/// The body of an answer, which tells its connection when it has ended or was given up.
struct Answer {
    body: BoxBody,
    progress: Option<Rc<Progress>>,
    last: bool,
    _unread: Option<Rc<RefCell<Body>>>,
}

impl MessageBody for Answer {
    type Error = Box<dyn std::error::Error>;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.body).poll_next(cx)
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if let Some(progress) = &self.progress {
            progress.answered(self.last);
        }
    }
}
