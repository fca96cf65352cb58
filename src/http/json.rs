//! Bodies: [`ValidJson`], the only way in which a handler gets one.
//!
//! What never happens here: more than the limit is read, a body is decompressed, or a handler sees
//! a body that its type and its rules don't allow.

use std::time::Duration;

use actix_web::dev::Payload;
use actix_web::error::PayloadError;
use actix_web::http::header;
use actix_web::web::BytesMut;
use actix_web::{FromRequest, HttpMessage, HttpRequest};
use futures_util::future::{LocalBoxFuture, ready};
use futures_util::{FutureExt, StreamExt};
use garde::Validate;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Deserializer};
use serde_json::error::Category;
use tokio::time::timeout;

use super::fields::{self, Naming};
use super::problem::Problem;
use super::strict::Strict;

/// Bytes that a body may have where the route does not say otherwise.
pub const BODY_LIMIT: usize = 64 * 1024;

/// How long a client may take to send a body. The server puts it into each worker's `app_data`.
#[derive(Clone, Copy, Debug)]
pub(super) struct BodyDeadline(pub(super) Duration);

impl BodyDeadline {
    const DEFAULT: Self = Self(Duration::from_secs(15));
}

/// A JSON body that is well-formed, has `T`'s form and keeps `T`'s garde rules.
///
/// `T` derives `Deserialize` with `#[serde(rename_all = "camelCase", deny_unknown_fields)]`, and
/// `garde::Validate`. Answers on its own: 400 for what is no JSON or lacks a required key, 413, 415,
/// and 422 naming each field that is wrong. `LIMIT` is in bytes.
pub struct ValidJson<T, const LIMIT: usize = BODY_LIMIT>(pub T);

impl<T, const LIMIT: usize> FromRequest for ValidJson<T, LIMIT>
where
    T: DeserializeOwned + Validate<Context = ()> + 'static,
{
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let acceptable = check_head(request, LIMIT);
        let body = read(request, payload, LIMIT);
        async move {
            acceptable?;
            let body = body.await?;
            let value: T = parse(&body)?;
            value.validate().map_err(|report| fields::from_garde(Naming::Pointer, &report))?;
            Ok(Self(value))
        }
        .boxed_local()
    }
}

/// A body as [`ValidJson`] reads it, where none at all is an answer too.
pub struct OptionalJson<T>(pub Option<T>);

impl<T> FromRequest for OptionalJson<T>
where
    T: DeserializeOwned + Validate<Context = ()> + 'static,
{
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let typed = request.headers().contains_key(header::CONTENT_TYPE);
        if !typed && !request.chunked().unwrap_or(true) && announced(request).unwrap_or(0) == 0 {
            return ready(Ok(Self(None))).boxed_local();
        }
        ValidJson::<T>::from_request(request, payload)
            .map(|read| read.map(|body| Self(Some(body.0))))
            .boxed_local()
    }
}

/// For fields of which it matters whether they are there: `#[serde(default, deserialize_with =
/// "named")]` makes null a value, which only an `Option<Option<_>>` takes.
///
/// # Errors
/// Those of `T`.
pub fn named<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

fn announced(request: &HttpRequest) -> Option<usize> {
    request.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok())
}

fn check_head(request: &HttpRequest, limit: usize) -> Result<(), Problem> {
    let coded = request.headers().get(header::CONTENT_ENCODING);
    if coded.is_some_and(|coding| coding != "identity") {
        return Err(Problem::unsupported_media_type("Compressed bodies are not read."));
    }
    let json = request.mime_type().ok().flatten().is_some_and(|mime| {
        let json = mime.essence_str() == "application/json" || mime.suffix().is_some_and(|s| s == "json");
        json && mime.get_param("charset").is_none_or(|charset| charset == "utf-8")
    });
    if !json {
        return Err(Problem::unsupported_media_type("Send application/json in UTF-8."));
    }
    if announced(request).is_some_and(|length| length > limit) {
        return Err(Problem::too_large(limit));
    }
    Ok(())
}

/// Reads a body of at most `limit` bytes.
///
/// # Errors
/// 413, 408 if the client is too slow, 400 if it stops half-way.
pub fn read(
    request: &HttpRequest,
    payload: &mut Payload,
    limit: usize,
) -> impl Future<Output = Result<BytesMut, Problem>> + use<> {
    let deadline = request.app_data().copied().unwrap_or(BodyDeadline::DEFAULT);
    read_within(payload.take(), limit, deadline.0)
}

async fn read_within(mut payload: Payload, limit: usize, deadline: Duration) -> Result<BytesMut, Problem> {
    let all = async {
        let mut body = BytesMut::new();
        while let Some(chunk) = payload.next().await {
            let chunk = chunk.map_err(|error| match error {
                PayloadError::Overflow => Problem::too_large(limit),
                _ => Problem::bad_request("incomplete_body", "The body could not be read to its end"),
            })?;
            if body.len() + chunk.len() > limit {
                return Err(Problem::too_large(limit));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    };
    timeout(deadline, all).await.unwrap_or_else(|_| {
        let late = actix_web::http::StatusCode::REQUEST_TIMEOUT;
        Err(Problem::new(late, "body_too_slow", "The body took too long to arrive"))
    })
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let mut track = serde_path_to_error::Track::new();
    let parsed = T::deserialize(serde_path_to_error::Deserializer::new(Strict(&mut json), &mut track));
    let error = match parsed {
        Ok(value) => match json.end() {
            Ok(()) => return Ok(value),
            Err(trailing) => trailing,
        },
        Err(error) => error,
    };
    if error.classify() != Category::Data {
        return Err(malformed(&error));
    }
    // A wrong value in a body that breaks off later is no JSON in the first place.
    if let Err(error) = serde_json::from_slice::<IgnoredAny>(body) {
        return Err(malformed(&error));
    }
    Err(fields::from_serde(Naming::Pointer, &track.path(), &error.to_string()))
}

fn malformed(error: &serde_json::Error) -> Problem {
    Problem::bad_request("malformed_json", "The body is not valid JSON").detail(format!("{error}."))
}

#[cfg(test)]
mod tests {
    use actix_web::web::Bytes;
    use futures_util::stream;
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    struct Order {
        lines: Vec<Line>,
        #[serde(default)]
        _note: Option<String>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    struct Line {
        #[serde(rename = "quantity")]
        _quantity: u32,
    }

    fn refused(body: &str) -> (u16, String, String) {
        let problem = parse::<Order>(body.as_bytes()).map(|order| order.lines.len()).unwrap_err();
        let field = problem.errors().first().map(|e| format!("{} {}", e.field, e.code)).unwrap_or_default();
        (problem.status().as_u16(), problem.code().to_owned(), field)
    }

    fn is(status: u16, code: &str, field: &str) -> (u16, String, String) {
        (status, code.to_owned(), field.to_owned())
    }

    #[test]
    fn each_mistake_has_its_status_and_its_field() {
        assert_eq!(refused(""), is(400, "malformed_json", ""));
        assert_eq!(refused("{\"lines\": ["), is(400, "malformed_json", ""));
        assert_eq!(refused("{\"lines\": []} x"), is(400, "malformed_json", ""));
        assert_eq!(refused("{}"), is(400, "missing_field", "/lines missing"));
        assert_eq!(refused("{\"lines\": [{}]}"), is(400, "missing_field", "/lines/0/quantity missing"));
        assert_eq!(
            refused("{\"lines\": [{\"quantity\": \"1\"}]}"),
            is(422, "invalid_fields", "/lines/0/quantity type")
        );
        assert_eq!(
            refused("{\"lines\": [{\"quantity\": -1}]}"),
            is(422, "invalid_fields", "/lines/0/quantity invalid")
        );
        assert_eq!(
            refused("{\"lines\": [], \"role\": \"admin\"}"),
            is(422, "invalid_fields", "/role unknown")
        );
        assert_eq!(refused("{\"lines\": [], \"lines\": []}"), is(422, "invalid_fields", "/lines duplicate"));
    }

    #[test]
    fn a_wrong_value_in_a_broken_document_is_a_broken_document() {
        assert_eq!(refused("{\"lines\": 1, oops"), is(400, "malformed_json", ""));
    }

    fn sent(chunks: impl futures_util::Stream<Item = Result<Bytes, PayloadError>> + 'static) -> Payload {
        Payload::from(Box::pin(chunks) as std::pin::Pin<Box<dyn futures_util::Stream<Item = _>>>)
    }

    #[actix_rt::test]
    async fn a_body_that_stalls_breaks_off_or_never_ends_is_given_up() {
        let code = |read: Result<BytesMut, Problem>| {
            let problem = read.unwrap_err();
            (problem.status().as_u16(), problem.code().to_owned())
        };
        let stalled = sent(stream::pending());
        let late = read_within(stalled, 10, Duration::ZERO).await;
        assert_eq!(code(late), (408, "body_too_slow".to_owned()));

        let cut = sent(stream::iter([Ok(Bytes::from("{")), Err(PayloadError::Incomplete(None))]));
        assert_eq!(
            code(read_within(cut, 10, Duration::from_secs(5)).await),
            (400, "incomplete_body".to_owned())
        );

        let soon = Duration::from_secs(5);
        let endless = sent(stream::repeat_with(|| Ok(Bytes::from("abc"))));
        assert_eq!(code(read_within(endless, 10, soon).await), (413, "body_too_large".to_owned()));

        let fits = sent(stream::iter([Ok(Bytes::from("abcde")), Ok(Bytes::from("fghij"))]));
        assert_eq!(read_within(fits, 10, soon).await.unwrap(), "abcdefghij");
    }

    #[test]
    fn deep_nesting_is_refused_without_a_deep_stack() {
        let deep = format!("{{\"lines\": {}", "[".repeat(50_000));
        assert_eq!(refused(&deep).0, 400);
    }
}
