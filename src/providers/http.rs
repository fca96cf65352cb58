//! Outgoing HTTP: a deadline on every call, a bound on every answer, no redirects, no proxies.

use std::error::Error;
use std::time::{Duration, SystemTime};

use metrics::{counter, histogram};
use reqwest::header::RETRY_AFTER;
use reqwest::{Client, RequestBuilder, Response, redirect};
use steward_actors::{figures, trace};
use tracing::Instrument;

use super::public_dns::PublicDns;
use url::Url;

/// The longest that a provider can make us wait.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(24 * 3600);

/// How long a connection that is not used is kept.
const IDLE: Duration = Duration::from_secs(4);

/// How long a call may take.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// Until connected.
    pub connect: Duration,
    /// The whole call, connecting and reading included.
    pub call: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { connect: Duration::from_secs(3), call: Duration::from_secs(10) }
    }
}

/// Why an adapter could not be made: its configuration is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SetupError(pub String);

/// Whom a client believes to be who they say.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Trust {
    /// Whom the system's certificate authorities vouch for.
    System,
    /// Nobody: every https call fails. Plain http works without any authority installed.
    Nobody,
}

impl Trust {
    /// What a client of `url` needs.
    pub(super) fn of(url: &Url) -> Self {
        if url.scheme() == "http" { Self::Nobody } else { Self::System }
    }
}

/// Where a provider is, by configuration.
pub(super) fn endpoint(text: &str) -> Result<Url, SetupError> {
    Url::parse(text)
        .ok()
        .filter(|url| matches!(url.scheme(), "https" | "http") && url.has_host())
        .ok_or_else(|| SetupError(format!("{text:?} is no http(s) URL")))
}

/// A client of its own for one provider.
pub(super) fn client(timeouts: Timeouts, trust: Trust) -> Result<Client, SetupError> {
    built(timeouts, trust, None)
}

/// A client for addresses that strangers give: it connects to the public internet only.
pub(super) fn guarded_client(timeouts: Timeouts, dns: PublicDns) -> Result<Client, SetupError> {
    built(timeouts, Trust::System, Some(dns.clone())).or_else(|error| {
        // A server without a bank is better than no server.
        tracing::warn!(%error, "no bank can be reached over https");
        built(timeouts, Trust::Nobody, Some(dns))
    })
}

fn built(timeouts: Timeouts, trust: Trust, dns: Option<PublicDns>) -> Result<Client, SetupError> {
    let mut builder = match trust {
        Trust::System => Client::builder(),
        Trust::Nobody => Client::builder().tls_certs_only([]),
    };
    if let Some(dns) = dns {
        builder = builder.dns_resolver(dns);
    }
    builder
        .connect_timeout(timeouts.connect)
        // Servers close a connection that has been idle for five seconds or more; a request that meets that
        // is lost.
        .pool_idle_timeout(IDLE)
        .timeout(timeouts.call)
        .redirect(redirect::Policy::none())
        .no_proxy()
        .user_agent(concat!("steward/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| SetupError(format!("no HTTP client: {}", cause(&error))))
}

/// Sends a request and measures it, as `call` (a constant: labels must not grow) of `provider`.
///
/// # Errors
/// There was no answer.
pub(super) async fn send(
    provider: &'static str,
    call: &'static str,
    request: RequestBuilder,
) -> reqwest::Result<Response> {
    let begun = std::time::Instant::now();
    let span = tracing::info_span!("provider", provider, call);
    let sent = async {
        let request = match trace::current() {
            Some(traceparent) => request.header("traceparent", traceparent),
            None => request,
        };
        request.send().await
    };
    let answer = sent.instrument(span).await;
    let outcome = match &answer {
        Ok(response) => match response.status().as_u16() {
            429 => "rate_limited",
            ..=399 => "answered",
            400..=499 => "refused",
            _ => "failed",
        },
        Err(error) if error.is_timeout() => "timeout",
        Err(error) if error.is_connect() => "unreachable",
        Err(_) => "lost",
    };
    measured(provider, call, outcome, begun);
    answer
}

/// Tells how a call ended and how long it took.
pub(super) fn measured(
    provider: &'static str,
    call: &'static str,
    outcome: &'static str,
    begun: std::time::Instant,
) {
    histogram!(figures::PROVIDER_SECONDS, "provider" => provider, "call" => call).record(begun.elapsed());
    counter!(figures::PROVIDER_CALLS, "provider" => provider, "call" => call, "outcome" => outcome)
        .increment(1);
}

/// Why a body was not read to its end.
pub(super) enum BodyError {
    TooLarge,
    Lost(reqwest::Error),
}

/// The body, if it has at most `limit` bytes.
pub(super) async fn body(mut response: Response, limit: usize) -> Result<Vec<u8>, BodyError> {
    let over = |length: u64| length > limit as u64;
    if response.content_length().is_some_and(over) {
        return Err(BodyError::TooLarge);
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(BodyError::Lost)? {
        if over((body.len() + chunk.len()) as u64) {
            return Err(BodyError::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// After which span the provider wants to be asked again, a day at most; `None` if it does not say so.
pub(super) fn retry_after(response: &Response) -> Option<Duration> {
    let text = response.headers().get(RETRY_AFTER)?.to_str().ok()?;
    span_of(text, SystemTime::now())
}

/// What [`Retry-After`](https://www.rfc-editor.org/rfc/rfc9110#section-10.2.3) says: seconds, or a date.
fn span_of(text: &str, now: SystemTime) -> Option<Duration> {
    let text = text.trim();
    let span = if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // A number that fits nowhere is a long time.
        text.parse::<u64>().map_or(LONGEST_RETRY_AFTER, Duration::from_secs)
    } else {
        httpdate::parse_http_date(text).ok()?.duration_since(now).unwrap_or_default()
    };
    Some(span.min(LONGEST_RETRY_AFTER))
}

/// What is at the bottom of an error, in one line and without its URL, which may hold a secret.
pub(super) fn cause(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "it timed out".to_owned();
    }
    let mut deepest = error.source();
    while let Some(next) = deepest.and_then(Error::source) {
        deepest = Some(next);
    }
    deepest.map_or_else(|| "the request failed".to_owned(), ToString::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_provider_says_when_to_come_again_in_seconds_or_by_a_date_and_a_day_is_the_most() {
        // 1994-11-06T08:49:37Z.
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        let seconds = |text| span_of(text, now).map(|span| span.as_secs());
        assert_eq!(seconds("77"), Some(77));
        assert_eq!(seconds(" 0 "), Some(0));
        assert_eq!(seconds("86401"), Some(86_400));
        assert_eq!(seconds("99999999999999999999999999"), Some(86_400));
        assert_eq!(seconds("Sun, 06 Nov 1994 08:50:37 GMT"), Some(60));
        assert_eq!(seconds("Sunday, 06-Nov-94 08:50:37 GMT"), Some(60));
        assert_eq!(seconds("Sun Nov  6 08:50:37 1994"), Some(60));
        assert_eq!(seconds("Tue, 08 Nov 1994 08:49:38 GMT"), Some(86_400));
        assert_eq!(seconds("Sun, 06 Nov 1994 08:49:36 GMT"), Some(0), "it has passed");
        for nothing in ["", "-1", "+1", "1.5", "soon", "Sun, 06 Nov 1994", "Sun, 31 Feb 1994 08:49:37 GMT"] {
            assert_eq!(seconds(nothing), None, "{nothing}");
        }
    }
}
