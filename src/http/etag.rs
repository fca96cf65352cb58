//! Entity tags ([RFC 9110, 8.8.3](https://www.rfc-editor.org/rfc/rfc9110#section-8.8.3)) of single
//! resources: the version of the record behind them, a digest of what is shown where that changes
//! without the record, or both.

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::http::header::{ETAG, HeaderName, IF_MATCH, IF_NONE_MATCH};
use actix_web::{FromRequest, HttpMessage, HttpRequest, HttpResponse};
use serde::Serialize;

use super::caller::Caller;
use super::idempotency::fingerprint;
use super::problem::{FieldError, Problem};

/// The version that a change is based on, by `If-Match`: none where the header is missing or `*`.
/// The service compares it with the store's; a tag that was never given out is no version of
/// anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IfMatch(pub Option<u64>);

impl FromRequest for IfMatch {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(if_match(request))
    }
}

fn if_match(request: &HttpRequest) -> Result<IfMatch, Problem> {
    /// No stored record has it.
    const NEVER: u64 = 0;
    let mut values = request.headers().get_all(IF_MATCH);
    let Some(value) = values.next() else { return Ok(IfMatch(None)) };
    let malformed = || {
        Problem::bad_request("malformed_header", "A header cannot be read").field(FieldError::new(
            "If-Match",
            "invalid",
            "is not `*` and not one entity tag in quotes",
        ))
    };
    let text =
        value.to_str().ok().filter(|_| values.next().is_none()).map(str::trim).ok_or_else(malformed)?;
    if text == "*" {
        return Ok(IfMatch(None));
    }
    // A weak tag never matches here (RFC 9110, 13.1.1).
    let (strong, quoted) = (!text.starts_with("W/"), text.trim_start_matches("W/"));
    let tag = quoted.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')).ok_or_else(malformed)?;
    if tag.contains('"') {
        return Err(malformed());
    }
    let (tag, fits) = match tag.split_once('-') {
        Some((version, user)) => (version, is_about(request, user)),
        // What else was shown is nothing that a change is based on.
        None => (tag.split_once('.').map_or(tag, |(version, _)| version), true),
    };
    let version = tag.parse().ok().filter(|version: &u64| strong && fits && version.to_string() == tag);
    Ok(IfMatch(Some(version.unwrap_or(NEVER))))
}

/// Whether the request is about this user: the one its path names, or its caller.
fn is_about(request: &HttpRequest, user: &str) -> bool {
    let caller = || request.extensions().get::<Caller>().map(|caller| caller.user_id.clone());
    match request.match_info().get("id") {
        Some(named) => named == user,
        None => caller().is_some_and(|caller| caller == user),
    }
}

/// The header that says which version an answer shows.
pub fn tag(version: u64) -> (HeaderName, String) {
    (ETAG, format!("\"{version}\""))
}

/// [`tag`] of a user. `/users/me` is another resource for each caller: what one of them was shown
/// must not look unchanged to the next one who uses the same browser.
pub fn tag_of_user(id: &str, version: u64) -> (HeaderName, String) {
    (ETAG, format!("\"{version}-{id}\""))
}

/// [`tag`] of a resource that shows more than its record, such as units that are available: another
/// one when that has changed, while a change is based on the version in it.
pub fn tag_of_shown(version: u64, resource: &impl Serialize) -> (HeaderName, String) {
    (ETAG, format!("\"{version}.{}\"", digest(resource)))
}

/// The tag of a resource that is shown in several ways, or changes with time, and that no change is
/// based on: of what is shown alone.
pub fn tag_of_content(resource: &impl Serialize) -> (HeaderName, String) {
    (ETAG, format!("\"{}\"", digest(resource)))
}

fn digest(resource: &impl Serialize) -> String {
    fingerprint(resource).chars().take(32).collect()
}

/// 200 with the resource after a change, and its tag.
pub fn changed(tag: (HeaderName, String), resource: &impl Serialize) -> HttpResponse {
    HttpResponse::Ok().insert_header(tag).json(resource)
}

/// 200 with the resource and its tag, or 304 if the client has just that already.
pub fn versioned(
    request: &HttpRequest,
    (name, tag): (HeaderName, String),
    resource: &impl Serialize,
) -> HttpResponse {
    let known = request.headers().get_all(IF_NONE_MATCH).filter_map(|value| value.to_str().ok());
    let mut tags = known.flat_map(|value| value.split(',')).map(str::trim);
    let unchanged = tags.any(|known| known == "*" || known.trim_start_matches("W/") == tag);
    let mut response = if unchanged { HttpResponse::NotModified() } else { HttpResponse::Ok() };
    response.insert_header((name, tag));
    if unchanged { response.finish() } else { response.json(resource) }
}

#[cfg(test)]
mod tests {
    use actix_web::http::StatusCode;
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn a_change_is_based_on_one_strong_tag_or_on_none() {
        let read = |value: &str| {
            if_match(&TestRequest::default().insert_header((IF_MATCH, value)).to_http_request())
                .map_err(|problem| problem.status().as_u16())
        };
        assert_eq!(if_match(&TestRequest::default().to_http_request()).unwrap(), IfMatch(None));
        assert_eq!(read("*"), Ok(IfMatch(None)));
        assert_eq!(read("\"7\""), Ok(IfMatch(Some(7))));
        for never in ["W/\"7\"", "\"x\"", "\"07\"", "\"-7\"", "\"\""] {
            assert_eq!(read(never), Ok(IfMatch(Some(0))), "{never}");
        }
        for bad in ["7", "\"7", "\"1\", \"2\"", ""] {
            assert_eq!(read(bad), Err(400), "{bad}");
        }
    }

    #[test]
    fn what_one_user_was_shown_is_not_what_another_has() {
        let tag = |id| tag_of_user(id, 3).1;
        let told = |known: String| {
            let request = TestRequest::default().insert_header((IF_NONE_MATCH, known)).to_http_request();
            versioned(&request, tag_of_user("a-1", 3), &"resource").status()
        };
        assert_eq!((told(tag("a-1")), told(tag("b-2"))), (StatusCode::NOT_MODIFIED, StatusCode::OK));
        let based_on = |named: Option<&'static str>, tag: String| {
            let request = TestRequest::default().insert_header((IF_MATCH, tag));
            let request = match named {
                Some(id) => request.param("id", id),
                None => request,
            };
            if_match(&request.to_http_request()).unwrap()
        };
        assert_eq!(based_on(Some("a-1"), tag("a-1")), IfMatch(Some(3)));
        // Another's, and one's own from nobody.
        assert_eq!(based_on(Some("b-2"), tag("a-1")), IfMatch(Some(0)));
        assert_eq!(based_on(None, tag("a-1")), IfMatch(Some(0)));
    }

    #[test]
    fn what_is_shown_beside_a_record_changes_the_tag_and_not_what_a_change_is_based_on() {
        let tags = [tag_of_shown(3, &"5 left").1, tag_of_shown(3, &"4 left").1];
        assert_ne!(tags[0], tags[1]);
        assert_eq!(tag_of_shown(3, &"5 left").1, tags[0]);
        let told = |known: &str| {
            let request = TestRequest::default().insert_header((IF_NONE_MATCH, known)).to_http_request();
            versioned(&request, tag_of_shown(3, &"5 left"), &"resource").status()
        };
        assert_eq!((told(&tags[0]), told(&tags[1])), (StatusCode::NOT_MODIFIED, StatusCode::OK));
        assert_eq!(told("\"3\""), StatusCode::OK);
        for tag in tags {
            let request = TestRequest::default().insert_header((IF_MATCH, tag)).to_http_request();
            assert_eq!(if_match(&request).unwrap(), IfMatch(Some(3)));
        }
        assert_ne!(tag_of_content(&"5 left"), tag_of_content(&"4 left"));
    }

    #[test]
    fn a_known_version_is_not_sent_again() {
        let status = |known: &str| {
            let request = TestRequest::default().insert_header((IF_NONE_MATCH, known)).to_http_request();
            versioned(&request, tag(3), &"resource").status()
        };
        for known in ["\"3\"", "W/\"3\"", "\"1\", \"3\"", "*"] {
            assert_eq!(status(known), StatusCode::NOT_MODIFIED, "{known}");
        }
        for other in ["\"2\"", "3", ""] {
            assert_eq!(status(other), StatusCode::OK, "{other}");
        }
    }
}
