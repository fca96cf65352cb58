//! Traces that go on where nobody waits: in a later step of an order, in a job, at a provider.
//!
//! Who calls it: whoever stores work for later keeps [`current`] with it and lets the span of that
//! work [`adopt`] it; whoever calls outside sends [`current`] along. What a trace is, and where it
//! goes, is the server's business: it [`install`]s how. Before that, and in tests, there is none.
//!
//! What never happens here: a decision that depends on a trace.

use std::sync::OnceLock;

use tracing::Span;
#[doc(hidden)]
pub use tracing::{error_span, field::Empty as Unknown, info_span};

/// How the server keeps traces.
#[derive(Clone, Copy, Debug)]
pub struct Hooks {
    /// The current span as a `traceparent` ([W3C](https://www.w3.org/TR/trace-context/)).
    pub current: fn() -> Option<String>,
    /// Makes a span, which must be new, go on with this `traceparent`; without a good one a trace
    /// begins, at the latest when [`current`] is asked. The span's field `trace` says which.
    pub adopt: fn(&Span, Option<&str>),
}

static HOOKS: OnceLock<Hooks> = OnceLock::new();

/// Says how traces are kept. The first call counts.
pub fn install(hooks: Hooks) {
    let _ = HOOKS.set(hooks);
}

/// The current span as a `traceparent`, if there is a trace.
pub fn current() -> Option<String> {
    HOOKS.get().and_then(|hooks| (hooks.current)())
}

/// A new span with a field `trace` that goes on with a `traceparent`. With one it is there at any
/// level of logging, so that what is done within it can pass the trace on.
#[macro_export]
macro_rules! span_in_trace {
    ($traceparent:expr, $name:literal, $($fields:tt)*) => {{
        let traceparent: Option<&str> = $traceparent;
        let trace = $crate::trace::Unknown;
        let span = match traceparent {
            Some(_) => $crate::trace::error_span!($name, trace, $($fields)*),
            None => $crate::trace::info_span!($name, trace, $($fields)*),
        };
        $crate::trace::adopt(&span, traceparent);
        span
    }};
}

/// Makes `span`, which must be new, go on with `traceparent`.
pub fn adopt(span: &Span, traceparent: Option<&str>) {
    if let Some(hooks) = HOOKS.get() {
        (hooks.adopt)(span, traceparent);
    }
}
