//! An accepted connection with deadlines of its own, around what actix reads and writes.
//!
//! actix bounds the head of a connection's first request only, and bounds no write. Here every head
//! has a deadline, an idle connection ends, and a peer that takes nothing for long is given up.
//! While a request is being answered there is no deadline for reading: its body is bounded by
//! [`crate::http::json`], its answer by the frame, and a stream may be open for hours.
//!
//! What actix refuses by itself, before any handler (a head that cannot be parsed, or is too
//! large), leaves it as a bare status line; [`super::refusal`] gives it the form of every problem.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use actix_web::web::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep, sleep_until};

use super::refusal::Refusals;

/// How long a peer may take nothing of what is written to it.
const STALL: Duration = Duration::from_secs(30);
/// What actix's own keep-alive timer is given before ours ends the connection.
const SLACK: Duration = Duration::from_secs(1);

/// How long the client of a connection may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spans {
    /// For the head of a request, from its first byte; for the first one from the connecting.
    pub(super) head: Duration,
    /// Between two requests.
    pub(super) idle: Duration,
}

/// Where a connection is.
#[derive(Clone, Copy, Debug)]
enum Phase {
    /// A request's head is awaited; `begun` says whether any of it has come.
    Head { until: Instant, begun: bool },
    /// A request is with its handler, or its answer is on the way out.
    Answering,
    /// The answer is whole, and not yet written to its end.
    Flushing { last: bool },
    /// Nothing is asked, and after the last answer nothing can be: what still comes is thrown away.
    Idle { until: Instant, last: bool },
}

/// What the frame tells of the request that a connection is at.
#[derive(Debug)]
pub(in crate::http) struct Progress(Cell<Phase>);

impl Progress {
    fn new(until: Instant) -> Rc<Self> {
        Rc::new(Self(Cell::new(Phase::Head { until, begun: false })))
    }

    /// A request's head is complete.
    pub(in crate::http) fn asked(&self) {
        self.0.set(Phase::Answering);
    }

    /// The answer is whole, or given up; the last one if the connection closes with it.
    pub(in crate::http) fn answered(&self, last: bool) {
        self.0.set(Phase::Flushing { last });
    }

    fn heard(&self, until: Instant) {
        match self.0.get() {
            Phase::Idle { last: false, .. } => self.0.set(Phase::Head { until, begun: true }),
            Phase::Head { until, .. } => self.0.set(Phase::Head { until, begun: true }),
            Phase::Answering | Phase::Flushing { .. } | Phase::Idle { last: true, .. } => {}
        }
    }

    fn flushed(&self, idle_until: Instant) {
        if let Phase::Flushing { last } = self.0.get() {
            self.0.set(Phase::Idle { until: idle_until, last });
        }
    }

    fn read_until(&self) -> Option<Instant> {
        match self.0.get() {
            Phase::Head { until, .. } | Phase::Idle { until, .. } => Some(until),
            Phase::Answering | Phase::Flushing { .. } => None,
        }
    }

    /// Whether what is written now can be no answer of the frame.
    fn is_unasked(&self) -> bool {
        matches!(self.0.get(), Phase::Head { .. } | Phase::Idle { last: false, .. })
    }

    fn head_has_begun(&self) -> bool {
        matches!(self.0.get(), Phase::Head { begun: true, .. })
    }
}

/// An accepted connection.
pub(super) struct Stream {
    io: TcpStream,
    progress: Rc<Progress>,
    spans: Spans,
    refusals: Arc<Refusals>,
    reading: Pin<Box<Sleep>>,
    stalled: Option<Pin<Box<Sleep>>>,
    /// What this end answers by itself, as far as it is not written.
    own: Bytes,
    ended: bool,
}

impl Stream {
    pub(super) fn new(io: TcpStream, spans: Spans, refusals: Arc<Refusals>) -> Self {
        let until = Instant::now() + spans.head;
        Self {
            io,
            progress: Progress::new(until),
            spans,
            refusals,
            reading: Box::pin(sleep_until(until)),
            stalled: None,
            own: Bytes::new(),
            ended: false,
        }
    }

    pub(super) fn progress(&self) -> Rc<Progress> {
        self.progress.clone()
    }

    /// Ready when what is awaited is late. The timer may be set to an earlier time than is meant:
    /// most deadlines are met, so it is only moved when it fires.
    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(until) = self.progress.read_until() else { return Poll::Pending };
        if self.reading.deadline() > until {
            self.reading.as_mut().reset(until);
        }
        loop {
            ready!(self.reading.as_mut().poll(cx));
            if Instant::now() >= until {
                return Poll::Ready(());
            }
            self.reading.as_mut().reset(until);
        }
    }

    fn poll_own(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.own.is_empty() {
            let written = Pin::new(&mut self.io).poll_write(cx, &self.own);
            let written = ready!(self.unless_stalled(cx, written))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            let _written = self.own.split_to(written);
        }
        Poll::Ready(Ok(()))
    }

    fn unless_stalled<T>(&mut self, cx: &mut Context<'_>, poll: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if poll.is_ready() {
            self.stalled = None;
            return poll;
        }
        let timer = self.stalled.get_or_insert_with(|| Box::pin(sleep(STALL)));
        timer.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.ended {
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.io).poll_read(cx, buffer);
        match read {
            Poll::Ready(Ok(())) if buffer.filled().len() > before => {
                this.progress.heard(Instant::now() + this.spans.head);
                read
            }
            Poll::Ready(_) => read,
            Poll::Pending => {
                ready!(this.poll_late(cx));
                if this.progress.head_has_begun() {
                    this.own = this.refusals.head_too_slow();
                }
                // To actix this is a client that has closed: it closes too.
                this.ended = true;
                Poll::Ready(Ok(()))
            }
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if this.progress.is_unasked()
            && let Some(own) = this.refusals.instead_of(bytes)
        {
            this.own = own;
            // actix may drop the connection right after this.
            return match this.poll_own(cx) {
                Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                _ => Poll::Ready(Ok(bytes.len())),
            };
        }
        ready!(this.poll_own(cx))?;
        let written = Pin::new(&mut this.io).poll_write(cx, bytes);
        this.unless_stalled(cx, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        ready!(this.poll_own(cx))?;
        // actix flushes when all that it had is written.
        this.progress.flushed(Instant::now() + this.spans.idle + SLACK);
        Pin::new(&mut this.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        ready!(this.poll_own(cx))?;
        Pin::new(&mut this.io).poll_shutdown(cx)
    }
}
