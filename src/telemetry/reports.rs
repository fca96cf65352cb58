//! Error reports: panics and answers of 500 and more (503 apart, which only says "not now"), to a
//! webhook (`telemetry.errors_url`).
//!
//! Whatever is logged as an error is reported: its message, its fields, and the request, trace,
//! actor and key that it belongs to. What never happens here: a secret (none is ever a field of a
//! log line), waiting for the webhook, a queue or a rate without an end.

use std::collections::HashMap;
use std::fmt;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

/// Reports that may wait.
const QUEUE: usize = 100;
/// Characters of a value that are reported.
const LONGEST: usize = 500;
/// Values of one report.
const MOST_FIELDS: usize = 24;
/// The span in which the same error is reported once.
const QUIET: Duration = Duration::from_secs(60);
/// Reports a minute.
const RATE: usize = 30;
/// How long the webhook may take.
const DEADLINE: Duration = Duration::from_secs(5);

/// Makes reports of errors that are logged.
pub(super) struct Reports(SyncSender<Map<String, Value>>);

impl Reports {
    /// Sends reports to `url`, from a thread of its own.
    ///
    /// # Errors
    /// No client or no thread can be made.
    pub(super) fn to(url: &str) -> Result<Self, String> {
        let client = reqwest::blocking::Client::builder().timeout(DEADLINE).no_proxy();
        // Plain http works without any certificate authority installed.
        let client = if url.starts_with("https:") { client } else { client.tls_certs_only([]) };
        let url = url.to_owned();
        let (reports, queue) = sync_channel(QUEUE);
        let run = move || match client.build() {
            Ok(client) => send_all(&queue, &client, &url),
            Err(error) => tracing::warn!(%error, "errors are not reported"),
        };
        std::thread::Builder::new()
            .name("reports".to_owned())
            .spawn(run)
            .map_err(|error| format!("no thread for error reports: {error}"))?;
        Ok(Self(reports))
    }
}

/// What is known of a span.
struct Known(Map<String, Value>);

struct Fields<'a>(&'a mut Map<String, Value>);

impl Fields<'_> {
    fn put(&mut self, field: &Field, value: Value) {
        if self.0.len() < MOST_FIELDS {
            self.0.insert(field.name().to_owned(), value);
        }
    }
}

fn cut(text: &str) -> Value {
    text.chars().take(LONGEST).collect::<String>().into()
}

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, cut(&format!("{value:?}")));
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, cut(value));
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Reports {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut known = Map::new();
        attributes.record(&mut Fields(&mut known));
        span.extensions_mut().insert(Known(known));
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(Known(known)) = span.extensions_mut().get_mut::<Known>() {
            values.record(&mut Fields(known));
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        if *event.metadata().level() != Level::ERROR {
            return;
        }
        let mut fields = Map::new();
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(Known(known)) = span.extensions().get::<Known>() {
                for (name, value) in known {
                    fields.entry(name.clone()).or_insert_with(|| value.clone());
                }
            }
        }
        event.record(&mut Fields(&mut fields));
        // Full means that the webhook is slow; the log has it all the same.
        let _ = self.0.try_send(fields);
    }
}

/// What was reported lately.
#[derive(Default)]
struct Lately {
    by_error: HashMap<String, Instant>,
    kept_back: u64,
}

impl Lately {
    /// Whether this error is to be reported now.
    fn admits(&mut self, report: &Map<String, Value>, now: Instant) -> bool {
        self.by_error.retain(|_, at| now.duration_since(*at) < QUIET);
        let part = |name: &str| report.get(name).map(ToString::to_string).unwrap_or_default();
        let error = ["message", "panic", "place", "route", "kind", "code"].map(part).join("|");
        let new = !self.by_error.contains_key(&error) && self.by_error.len() < RATE;
        if new {
            self.by_error.insert(error, now);
        } else {
            self.kept_back += 1;
        }
        new
    }
}

fn send_all(queue: &Receiver<Map<String, Value>>, client: &reqwest::blocking::Client, url: &str) {
    let mut lately = Lately::default();
    while let Ok(report) = queue.recv() {
        if !lately.admits(&report, Instant::now()) {
            continue;
        }
        let kept_back = std::mem::take(&mut lately.kept_back);
        let body = json!({
            "service": "steward",
            "version": env!("CARGO_PKG_VERSION"),
            "process": std::process::id(),
            "error": report,
            "keptBack": kept_back,
        });
        let sent = client.post(url).json(&body).send();
        // The URL may hold a secret.
        if let Err(error) = sent.and_then(reqwest::blocking::Response::error_for_status) {
            tracing::warn!(error = %error.without_url(), "an error was not reported");
        }
    }
}

#[cfg(test)]
mod tests {
    use secrecy::SecretString;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    fn reported(log: impl FnOnce()) -> Vec<Map<String, Value>> {
        let (reports, queue) = sync_channel(QUEUE);
        let subscriber = tracing_subscriber::registry().with(Reports(reports));
        tracing::subscriber::with_default(subscriber, log);
        queue.try_iter().collect()
    }

    #[test]
    fn an_error_is_reported_with_its_request_and_without_secrets_and_nothing_else_is() {
        let secret = SecretString::from("canary");
        let reports = reported(|| {
            let span = tracing::info_span!("request", request_id = "r1", trace = tracing::field::Empty);
            span.record("trace", "t1");
            span.in_scope(|| {
                tracing::warn!("not this one");
                tracing::error!(status = 500, ?secret, cause = "x".repeat(10_000), "answered");
            });
        });
        assert_eq!(reports.len(), 1);
        let report = &reports[0];
        assert_eq!((&report["request_id"], &report["trace"]), (&json!("r1"), &json!("t1")));
        assert_eq!((&report["status"], &report["message"]), (&json!(500), &json!("answered")));
        let text = Value::Object(report.clone()).to_string();
        assert!(!text.contains("canary") && text.len() < 1000, "{text}");
    }

    #[test]
    fn a_flood_waits_for_nobody_and_is_cut() {
        let reports = reported(|| (0..10_000).for_each(|_| tracing::error!("again")));
        assert_eq!(reports.len(), QUEUE);
    }

    #[test]
    fn the_same_error_is_reported_once_a_minute_and_only_so_many_are() {
        let mut lately = Lately::default();
        let now = Instant::now();
        let error = |message: String| json!({"message": message}).as_object().cloned().unwrap();
        assert!(lately.admits(&error("a".into()), now));
        assert!(!lately.admits(&error("a".into()), now));
        assert_eq!(lately.kept_back, 1);
        let admitted = (0..100).filter(|n| lately.admits(&error(n.to_string()), now)).count();
        assert_eq!(admitted, RATE - 1);
        assert!(lately.admits(&error("a".into()), now + QUIET));
    }
}
