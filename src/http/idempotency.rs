//! `Idempotency-Key`
//! ([draft-ietf-httpapi-idempotency-key-header](https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/)):
//! the client's name for a command, so that sending it again counts once.
//!
//! Who calls it: handlers of commands. What never happens here: keeping keys. A command's id lives
//! in the record that it makes.

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderName, LOCATION};
use actix_web::{FromRequest, HttpRequest, HttpResponse, HttpResponseBuilder};
use serde::Serialize;
use sha2::{Digest, Sha256};
use steward_actors::{hex, ids};

use super::problem::{FieldError, Problem};

const HEADER: &str = "Idempotency-Key";
const LONGEST: usize = 255;

/// Says that an earlier arrival of the command made the record.
const REPLAYED: (HeaderName, &str) = (HeaderName::from_static("idempotency-replayed"), "true");

/// The key of a command that must have one: bare or quoted, 1 to 255 visible characters.
/// Missing: 400 `idempotency_key_required`.
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    /// The key of this user's command: the same text from another user is another key.
    pub fn of(&self, user_id: &str) -> String {
        format!("{user_id}:{}", self.0)
    }

    /// An id made of this user's key and `scope` (the method and path): the same again for the
    /// same command, 64 hexadecimal digits.
    pub fn command_id(&self, user_id: &str, scope: &str) -> String {
        hex::encode(
            &Sha256::new_with_prefix(self.of(user_id)).chain_update([0]).chain_update(scope).finalize(),
        )
    }
}

impl FromRequest for IdempotencyKey {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(read(request))
    }
}

/// What a command is to make that may do without a key: its id, and the [`fingerprint`] of what is
/// `said`. Without a key the id is a new one, and there is no fingerprint.
///
/// # Errors
/// 400 if the header cannot be read.
pub fn optional(
    request: &HttpRequest,
    user_id: &str,
    scope: &str,
    said: &impl Serialize,
) -> Result<(String, Option<String>), Problem> {
    if !request.headers().contains_key(HEADER) {
        return Ok((ids::new_id(), None));
    }
    Ok((read(request)?.command_id(user_id, scope), Some(fingerprint(said))))
}

/// The beginning of an answer to a command: where what it made is, and whether an earlier arrival of the
/// command has made it.
pub fn respond(status: StatusCode, location: String, replayed: bool) -> HttpResponseBuilder {
    let mut response = HttpResponse::build(status);
    response.insert_header((LOCATION, location));
    if replayed {
        response.insert_header(REPLAYED);
    }
    response
}

fn read(request: &HttpRequest) -> Result<IdempotencyKey, Problem> {
    let mut values = request.headers().get_all(HEADER);
    let Some(value) = values.next() else {
        return Err(Problem::bad_request(
            "idempotency_key_required",
            "This command needs an Idempotency-Key",
        )
        .field(FieldError::new(HEADER, "missing", "is required")));
    };
    let key = value.to_str().ok().map(str::trim).map(|key| {
        let inside = key.strip_prefix('"').and_then(|key| key.strip_suffix('"'));
        inside.unwrap_or(key)
    });
    match (key, values.next()) {
        (Some(key), None)
            if (1..=LONGEST).contains(&key.len())
                && key.bytes().all(|b| b == b' ' || b.is_ascii_graphic()) =>
        {
            Ok(IdempotencyKey(key.to_owned()))
        }
        _ => Err(Problem::bad_request("malformed_header", "A header cannot be read").field(FieldError::new(
            HEADER,
            "invalid",
            "is not one key of 1 to 255 visible characters",
        ))),
    }
}

/// A digest of what a command says, to tell a repeat from another command with the same key.
pub fn fingerprint(command: &impl Serialize) -> String {
    hex::encode(&Sha256::digest(serde_json::to_vec(command).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn key(value: &str) -> Result<String, String> {
        let request = TestRequest::default().insert_header((HEADER, value)).to_http_request();
        read(&request).map(|key| key.0).map_err(|problem| problem.code().to_owned())
    }

    #[test]
    fn keys_are_bare_or_quoted() {
        assert_eq!(key("abc-1"), Ok("abc-1".to_owned()));
        assert_eq!(key("\"abc-1\""), Ok("abc-1".to_owned()));
    }

    #[test]
    fn empty_long_and_unprintable_keys_are_refused() {
        for bad in ["", "\"\"", &"x".repeat(256), "\u{e9}"] {
            assert_eq!(key(bad), Err("malformed_header".to_owned()), "{bad}");
        }
        let none = TestRequest::default().to_http_request();
        assert_eq!(
            read(&none).err().map(|p| p.code().to_owned()),
            Some("idempotency_key_required".to_owned())
        );
    }

    #[test]
    fn one_text_is_another_key_for_another_user_or_path() {
        let key = IdempotencyKey("k".to_owned());
        assert_eq!(key.command_id("u", "a"), key.command_id("u", "a"));
        assert_ne!(key.command_id("u", "a"), key.command_id("v", "a"));
        assert_ne!(key.command_id("u", "a"), key.command_id("u", "b"));
    }
}
