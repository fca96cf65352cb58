//! What is refused before there is a request that a handler could answer: a head that cannot be
//! read, is too large, or takes too long. Whole answers, as they go out on the wire.

use std::fmt::Write;

use actix_web::http::StatusCode;
use actix_web::web::Bytes;

use crate::http::problem::Problem;
use crate::http::request_id::RequestId;

/// Makes them.
#[derive(Debug)]
pub(super) struct Refusals {
    /// Without a slash at the end.
    pub(super) public_url: String,
}

impl Refusals {
    /// 408, for a head that took too long.
    pub(super) fn head_too_slow(&self) -> Bytes {
        self.render(&Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            "head_too_slow",
            "The head of the request took too long to arrive",
        ))
    }

    /// The answer that goes out instead of one that actix makes by itself; none for anything else
    /// that it writes.
    pub(super) fn instead_of(&self, bytes: &[u8]) -> Option<Bytes> {
        let status = bytes.strip_prefix(b"HTTP/1.1 ").or_else(|| bytes.strip_prefix(b"HTTP/1.0 "))?;
        let problem = match status.get(..3)? {
            b"400" => Problem::bad_request("malformed_request", "The head of the request cannot be read"),
            b"431" => Problem::new(
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "head_too_large",
                "The head of the request is too large",
            ),
            _ => return None,
        };
        Some(self.render(&problem))
    }

    fn render(&self, problem: &Problem) -> Bytes {
        let id = RequestId::fresh();
        tracing::info!(request_id = id.0, code = problem.code(), "refused before it was a request");
        let (headers, body) = problem.document(&self.public_url, "", &id.0);
        let status = problem.status();
        let mut head =
            format!("HTTP/1.1 {} {}\r\n", status.as_u16(), status.canonical_reason().unwrap_or(""));
        for (name, value) in headers {
            // Writing to a string cannot fail.
            let _ = write!(head, "{name}: {value}\r\n");
        }
        let _ = write!(
            head,
            "x-request-id: {}\r\nx-content-type-options: nosniff\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            id.0,
            body.len()
        );
        let mut whole = head.into_bytes();
        whole.extend_from_slice(&body);
        Bytes::from(whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_actix_makes_by_itself_is_replaced() {
        let refusals = Refusals { public_url: "https://api.example".into() };
        let told = |bytes: &[u8]| {
            let own = refusals.instead_of(bytes)?;
            Some(String::from_utf8(own.to_vec()).unwrap())
        };
        let bad = told(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").unwrap();
        assert!(bad.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{bad}");
        assert!(bad.contains("\r\nconnection: close\r\n") && bad.contains("application/problem+json"));
        assert!(bad.contains("https://api.example/problems/malformed_request"));
        assert!(
            told(b"HTTP/1.1 431 Request Header Fields Too Large\r\n").unwrap().contains("head_too_large")
        );
        for other in ["HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 200 OK\r\n", "data: 400", "HTTP/1.1 40", ""]
        {
            assert_eq!(told(other.as_bytes()), None, "{other}");
        }
    }
}
