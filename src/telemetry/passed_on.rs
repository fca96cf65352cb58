//! Traces where no spans are sent: of a trace there is its id alone, which logs name and others are
//! told. A request that stores nothing and calls nobody has none, and pays nothing.
//!
//! Who calls it: [`steward_actors::trace`], once [`super::start`] has installed it. What never
//! happens here: a span of a trace, which only a collector could show.

use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};
use steward_actors::trace::Hooks;
use tracing::{Dispatch, Id, Span};
use tracing_subscriber::Registry;
use tracing_subscriber::registry::LookupSpan;

use super::traces::{parse, to_traceparent};

/// How traces are kept here.
pub(super) const HOOKS: Hooks = Hooks { current, adopt };

/// The trace that a span and all within it belong to, kept with the span.
struct Trace(SpanContext);

fn adopt(span: &Span, traceparent: Option<&str>) {
    let Some(parent) = traceparent.and_then(parse) else { return };
    let trace_id = parent.trace_id();
    span.with_subscriber(|(id, dispatch)| {
        let registry: &Registry = dispatch.downcast_ref()?;
        registry.span(id)?.extensions_mut().replace(Trace(parent));
        Some(())
    });
    span.record("trace", trace_id.to_string());
}

/// That of the current span, as it came; a new one if it has none.
fn current() -> Option<String> {
    let span = Span::current();
    if let Some(known) = span.with_subscriber(known).flatten() {
        return Some(to_traceparent(&known));
    }
    let begun = span.with_subscriber(begin).flatten()?;
    span.record("trace", begun.trace_id().to_string());
    Some(to_traceparent(&begun))
}

fn known((id, dispatch): (&Id, &Dispatch)) -> Option<SpanContext> {
    let registry: &Registry = dispatch.downcast_ref()?;
    let mut around = registry.span(id)?.scope();
    around.find_map(|span| span.extensions().get().map(|Trace(trace)| trace.clone()))
}

/// Begins one for all that the outermost span holds.
fn begin((id, dispatch): (&Id, &Dispatch)) -> Option<SpanContext> {
    let registry: &Registry = dispatch.downcast_ref()?;
    let outermost = registry.span(id)?.scope().last()?;
    // Random numbers, of which zero means none.
    let trace = TraceId::from(fastrand::u128(1..));
    let span = SpanId::from(fastrand::u64(1..));
    let begun = SpanContext::new(trace, span, TraceFlags::NOT_SAMPLED, false, TraceState::default());
    outermost.extensions_mut().replace(Trace(begun.clone()));
    Some(begun)
}

#[cfg(test)]
mod tests {
    use steward_actors::span_in_trace;
    use tracing::field::Empty;
    use tracing_subscriber::layer::SubscriberExt;
    use tracing_subscriber::{EnvFilter, Layer, fmt, registry};

    use super::*;

    const GIVEN: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn logging(filter: &str, test: impl FnOnce()) {
        let filter = EnvFilter::new(filter);
        let subscriber = registry().with(fmt::layer().with_writer(std::io::sink).with_filter(filter));
        tracing::subscriber::with_default(subscriber, test);
    }

    /// A new span as [`steward_actors::trace`] makes it with these hooks.
    fn request(traceparent: Option<&str>) -> Span {
        let span = span_in_trace!(traceparent, "request", id = "r1");
        adopt(&span, traceparent);
        span
    }

    #[test]
    fn a_trace_that_was_given_is_passed_on_from_within_whatever_is_logged() {
        for filter in ["info", "warn"] {
            logging(filter, || {
                let _request = request(Some(GIVEN)).entered();
                let _provider = tracing::info_span!("provider").entered();
                assert_eq!(current().as_deref(), Some(GIVEN), "{filter}");
            });
        }
    }

    #[test]
    fn a_trace_begins_once_for_all_that_a_request_does() {
        logging("info", || {
            let first = {
                let _request = request(Some("nonsense")).entered();
                let first = tracing::info_span!("provider").in_scope(current);
                assert_eq!(current(), first);
                assert!(parse(first.as_deref().unwrap()).is_some(), "{first:?}");
                first
            };
            let _other = request(None).entered();
            assert_ne!(current(), first);
        });
    }

    #[test]
    fn the_innermost_trace_counts() {
        logging("info", || {
            let _pump = tracing::info_span!("pump", trace = Empty).entered();
            assert!(current().is_some());
            let _job = request(Some(GIVEN)).entered();
            assert_eq!(current().as_deref(), Some(GIVEN));
        });
    }

    #[test]
    fn outside_of_any_span_there_is_none() {
        logging("info", || assert_eq!(current(), None));
    }
}
