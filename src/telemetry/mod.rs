//! Logs: one line an event, to standard error, for people on a terminal and as JSON elsewhere.
//! Figures: the recorder behind the names of [`steward_actors::figures`]. Traces by OTLP, and error
//! reports to a webhook, if the configuration says where to.
//!
//! Who calls it: the command line, once, before anything that logs. What never happens here: a
//! secret in a line. Secrets are typed so that they print as nothing; the panic hook below says
//! what a panic said and where, so a panic's message must not hold one either.

mod passed_on;
mod reports;
mod traces;

use std::io::{IsTerminal, stderr};
use std::panic::{self, PanicHookInfo};
use std::sync::OnceLock;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use opentelemetry_sdk::trace::SdkTracerProvider;
use secrecy::ExposeSecret;
use steward_actors::{figures, trace};
use tracing::{Level, Subscriber};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::{self, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, registry};

use crate::config::{Log, LogFormat, Telemetry};
use reports::Reports;

/// Calls each request that cannot be read an error, which anyone can send; what is refused is logged
/// where it is answered.
const CLIENTS_FAULTS: &str = "actix_http::h1::dispatcher";

/// Traces under way; dropping it sends what is left of them.
pub struct Traces(Option<SdkTracerProvider>);

impl Drop for Traces {
    fn drop(&mut self) {
        if let Some(Err(error)) = self.0.as_ref().map(SdkTracerProvider::shutdown) {
            tracing::warn!(%error, "the last spans were not sent");
        }
    }
}

/// Starts logging, tracing and error reports for the whole process, and logs panics from now on.
/// Call it outside any runtime.
///
/// # Errors
/// The filter or a URL can't be used, or logging was started before.
pub fn start(log: &Log, to: &Telemetry) -> Result<Traces, String> {
    let terminal = stderr().is_terminal();
    let format = log.format.unwrap_or(if terminal { LogFormat::Pretty } else { LogFormat::Json });
    // A layer that is not there must not be in the list: without a filter of its own it would have
    // every span made.
    let mut layers = vec![lines(&log.filter, format, terminal, stderr)?];
    let provider = match &to.otlp_url {
        Some(url) => {
            let (provider, tracer) = traces::start(url)?;
            // Spans of the store and of questions are for traces alone, and others' spans for nobody.
            let ours = filter_fn(|of| {
                let most = if of.is_span() { Level::DEBUG } else { Level::INFO };
                of.target().starts_with("steward") && *of.level() <= most
            });
            layers.push(tracing_opentelemetry::layer().with_tracer(tracer).with_filter(ours).boxed());
            Some(provider)
        }
        None => {
            trace::install(passed_on::HOOKS);
            None
        }
    };
    if let Some(url) = &to.errors_url {
        let ours = filter_fn(|of| *of.level() <= Level::INFO && of.target() != CLIENTS_FAULTS);
        layers.push(Reports::to(url.expose_secret())?.with_filter(ours).boxed());
    }
    registry().with(layers).try_init().map_err(|error| error.to_string())?;
    panic::set_hook(Box::new(log_panic));
    Ok(Traces(provider))
}

/// Upper bounds of the buckets of spans, in seconds: from a cache hit to a provider's deadline.
const SECONDS: [f64; 15] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
/// Upper bounds of the buckets of batches that shared a transaction.
const BATCHES: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

static FIGURES: OnceLock<PrometheusHandle> = OnceLock::new();

/// Begins to measure, for the whole process. Before this nothing is kept.
///
/// # Errors
/// Something else measures already.
pub fn start_figures() -> Result<(), String> {
    let buckets = PrometheusBuilder::new()
        .set_buckets(&SECONDS)
        .and_then(|builder| {
            builder.set_buckets_for_metric(Matcher::Full(figures::STORE_SHARED.to_owned()), &BATCHES)
        })
        .map_err(|error| error.to_string())?;
    let handle = buckets.install_recorder().map_err(|error| error.to_string())?;
    figures::describe();
    metrics::gauge!(figures::BUILD, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    FIGURES.set(handle).map_err(|_| "figures were started before".to_owned())
}

/// The figures in the text format of Prometheus; empty before [`start_figures`].
pub fn figures() -> String {
    FIGURES.get().map(PrometheusHandle::render).unwrap_or_default()
}

/// Sorts what was measured into its buckets. Somebody must call it every few seconds: unsorted
/// measurements take memory.
pub fn sort_figures() {
    if let Some(handle) = FIGURES.get() {
        handle.run_upkeep();
    }
}

/// What formats and filters, writing to `writer`.
fn lines<S, W>(
    filter: &str,
    format: LogFormat,
    colours: bool,
    writer: W,
) -> Result<Box<dyn Layer<S> + Send + Sync>, String>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let mut filter = EnvFilter::try_new(filter).map_err(|error| error.to_string())?;
    if let Ok(silent) = format!("{CLIENTS_FAULTS}=off").parse() {
        filter = filter.add_directive(silent);
    }
    let lines = fmt::layer().with_writer(writer);
    Ok(match format {
        LogFormat::Pretty => lines.with_ansi(colours).with_target(false).with_filter(filter).boxed(),
        LogFormat::Json => {
            let lines = lines.json().flatten_event(true).with_current_span(true).with_span_list(true);
            lines.with_filter(filter).boxed()
        }
    })
}

fn log_panic(info: &PanicHookInfo<'_>) {
    let said = info.payload_as_str().unwrap_or("something that is no text");
    let place = info.location().map(ToString::to_string);
    let thread = std::thread::current();
    tracing::error!(panic = said, place, thread = thread.name(), "a thread panicked");
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use secrecy::SecretString;

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat, log: impl FnOnce()) -> String {
        logged_by("info", format, log)
    }

    fn logged_by(filter: &str, format: LogFormat, log: impl FnOnce()) -> String {
        let kept = Lines::default();
        let writer = kept.clone();
        let subscriber = registry().with(lines(filter, format, false, move || writer.clone()).unwrap());
        tracing::subscriber::with_default(subscriber, log);
        let bytes = kept.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_json_line_carries_the_request_it_belongs_to() {
        let lines = logged(LogFormat::Json, || {
            let span = tracing::info_span!("request", request_id = "r1");
            span.in_scope(|| tracing::warn!(status = 503, "answered"));
            tracing::debug!("not this one");
        });
        let line: serde_json::Value = serde_json::from_str(&lines).unwrap();
        assert_eq!(line["span"]["request_id"], "r1");
        assert_eq!((line["status"].as_u64(), line["level"].as_str()), (Some(503), Some("WARN")));
    }

    #[test]
    fn what_clients_send_stays_on_its_line() {
        for format in [LogFormat::Json, LogFormat::Pretty] {
            let lines =
                logged(format, || tracing::info!(given = "a\n2026 ERROR forged\u{1b}[31m", "answered"));
            assert_eq!(lines.lines().count(), 1, "{lines}");
            assert!(!lines.contains('\u{1b}'), "{lines}");
        }
    }

    #[test]
    fn what_anyone_can_send_raises_no_alert() {
        for given in ["info", "debug,actix_http=trace"] {
            let lines = logged_by(given, LogFormat::Json, || {
                tracing::error!(target: "actix_http::h1::dispatcher", "stream error: request parse error");
                tracing::error!(target: "actix_http::h1", "ours to know");
            });
            assert!(!lines.contains("parse error") && lines.contains("ours to know"), "{lines}");
        }
    }

    #[test]
    fn secrets_print_as_nothing() {
        let secret = SecretString::from("canary");
        let lines = logged(LogFormat::Json, || tracing::info!(?secret, "loaded"));
        assert!(!lines.contains("canary") && lines.contains("REDACTED"));
    }
}
