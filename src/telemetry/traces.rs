//! Traces: which span goes on with which, and where finished spans go.
//!
//! Spans are made by `tracing` everywhere; this joins them with traces of other processes by
//! [`traceparent`](https://www.w3.org/TR/trace-context/) and sends them by OTLP over HTTP, if
//! `telemetry.otlp_url` says where to. Without it there is [`super::passed_on`].

use opentelemetry::trace::{
    SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState, TracerProvider,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider};
use steward_actors::trace;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// Makes spans into traces from now on; what to shut down in the end.
///
/// # Errors
/// `otlp_url` can't be used.
pub(super) fn start(otlp_url: &str) -> Result<(SdkTracerProvider, SdkTracer), String> {
    let resource = Resource::builder()
        .with_service_name("steward")
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build();
    let exporter = SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(format!("{}/v1/traces", otlp_url.trim_end_matches('/')))
        .with_timeout(std::time::Duration::from_secs(5))
        .build()
        .map_err(|error| format!("telemetry.otlp_url: {error}"))?;
    let provider = SdkTracerProvider::builder()
        .with_resource(resource)
        .with_batch_exporter(exporter)
        // Whoever asks decides whether their trace is kept.
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::AlwaysOn)))
        .build();
    let tracer = provider.tracer("steward");
    trace::install(trace::Hooks { current, adopt });
    Ok((provider, tracer))
}

fn current() -> Option<String> {
    let context = Span::current().context();
    let span = context.span();
    let span = span.span_context();
    span.is_valid().then(|| to_traceparent(span))
}

pub(super) fn to_traceparent(of: &SpanContext) -> String {
    format!("00-{}-{}-{:02x}", of.trace_id(), of.span_id(), of.trace_flags().to_u8())
}

fn adopt(span: &Span, traceparent: Option<&str>) {
    if let Some(parent) = traceparent.and_then(parse) {
        // A span that has begun already keeps its own trace.
        let _ = span.set_parent(Context::new().with_remote_span_context(parent));
    }
    let context = span.context();
    let trace_id = context.span().span_context().trace_id();
    if trace_id != TraceId::INVALID {
        span.record("trace", trace_id.to_string());
    }
}

/// [Version 00](https://www.w3.org/TR/trace-context/#traceparent-header), or what later versions
/// have in common with it.
pub(super) fn parse(traceparent: &str) -> Option<SpanContext> {
    let mut parts = traceparent.trim().split('-');
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let hex = |text: &str, length| {
        text.len() == length && text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'a'..=b'f'))
    };
    let fits = hex(version, 2) && hex(trace, 32) && hex(span, 16) && hex(flags, 2);
    if !fits || version == "ff" || (version == "00" && parts.next().is_some()) {
        return None;
    }
    let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()? & 1);
    let (trace, span) = (TraceId::from_hex(trace).ok()?, SpanId::from_hex(span).ok()?);
    let context = SpanContext::new(trace, span, flags, true, TraceState::default());
    context.is_valid().then_some(context)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_parents_are_read_and_others_are_none() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let context = parse(good).unwrap();
        assert_eq!(context.trace_id().to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert!(context.is_sampled() && context.is_remote());
        assert!(parse(&good.replace("00-4", "01-4")).is_some());
        for bad in [
            "",
            "00-0-0-0",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
            &"x".repeat(10_000),
        ] {
            assert!(parse(bad).is_none(), "{bad}");
        }
    }
}
