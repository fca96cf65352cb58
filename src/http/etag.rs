//! Entity tags ([RFC 9110, 8.8.3](https://www.rfc-editor.org/rfc/rfc9110#section-8.8.3)) of single
//! resources: the version of the record behind them.

use actix_web::http::header::{CACHE_CONTROL, ETAG, IF_NONE_MATCH, VARY};
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;

/// 200 with the resource and its tag, or 304 if the client has this version already.
pub fn versioned(request: &HttpRequest, version: u64, resource: &impl Serialize) -> HttpResponse {
    let tag = format!("\"{version}\"");
    let known = request.headers().get_all(IF_NONE_MATCH).filter_map(|value| value.to_str().ok());
    let mut tags = known.flat_map(|value| value.split(',')).map(str::trim);
    let unchanged = tags.any(|known| known == "*" || known.trim_start_matches("W/") == tag);
    let mut response = if unchanged { HttpResponse::NotModified() } else { HttpResponse::Ok() };
    response.insert_header((ETAG, tag));
    response.insert_header((CACHE_CONTROL, "private, no-cache"));
    response.insert_header((VARY, "Authorization"));
    if unchanged { response.finish() } else { response.json(resource) }
}

#[cfg(test)]
mod tests {
    use actix_web::http::StatusCode;
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn a_known_version_is_not_sent_again() {
        let status = |known: &str| {
            let request = TestRequest::default().insert_header((IF_NONE_MATCH, known)).to_http_request();
            versioned(&request, 3, &"resource").status()
        };
        for known in ["\"3\"", "W/\"3\"", "\"1\", \"3\"", "*"] {
            assert_eq!(status(known), StatusCode::NOT_MODIFIED, "{known}");
        }
        for other in ["\"2\"", "3", ""] {
            assert_eq!(status(other), StatusCode::OK, "{other}");
        }
    }
}
