//! Lists: `{items, nextCursor}`, `limit`, `cursor`, and `Link: <…>; rel="next"`.
//!
//! A cursor is opaque to clients: where the last page ended, bound to the route and the filters it
//! was made for. What never happens here: a cursor that reaches the store without having been
//! checked, or one that says whose things are listed (that stays in the query).

use std::ops::Deref;

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use garde::Validate;
use serde::{Deserialize, Deserializer, Serialize};
use sha2::{Digest, Sha256};
use steward_actors::store::{Cursor, Query};
use url::form_urlencoded;
use utoipa::openapi::{ObjectBuilder, RefOr, Schema, Type};
use utoipa::{IntoParams, PartialSchema, ToSchema};

use super::problem::{FieldError, Problem};

/// How many items a page has: 1 to 100, 20 if nothing is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit(usize);

impl Default for Limit {
    fn default() -> Self {
        Self(20)
    }
}

impl Limit {
    /// Items at most.
    pub const MAX: usize = 100;

    /// The number.
    pub fn get(self) -> usize {
        self.0
    }

    /// `n` items, for routes whose default is another.
    pub fn of(n: usize) -> Self {
        Self(n.clamp(1, Self::MAX))
    }
}

impl<'de> Deserialize<'de> for Limit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let n = usize::deserialize(deserializer)?;
        if (1..=Self::MAX).contains(&n) {
            Ok(Self(n))
        } else {
            Err(serde::de::Error::custom("is not between 1 and 100"))
        }
    }
}

impl PartialSchema for Limit {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::Integer)
            .minimum(Some(1))
            .maximum(Some(Self::MAX))
            .default(Some(20.into()))
            .into()
    }
}

impl ToSchema for Limit {}

/// Which page of a list that nothing narrows.
#[derive(Deserialize, Validate, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Paging {
    #[serde(default)]
    #[garde(skip)]
    #[param(inline)]
    pub(super) limit: Limit,
    #[garde(skip)]
    #[param(inline)]
    pub(super) cursor: Option<CursorText>,
}

impl Problem {
    /// 400: the cursor is not one of this list.
    pub(super) fn bad_cursor() -> Self {
        Self::bad_request("bad_cursor", "The cursor was not made for this list").field(FieldError::new(
            "cursor",
            "invalid",
            "was not made for this list",
        ))
    }
}

/// What a cursor belongs to: the route and all of its filters, but not `limit`.
pub struct Binding([u8; 8]);

impl Binding {
    /// Bound to `route` (a constant of the route) and `filters` (whatever narrows or sorts the
    /// list: a tuple or a struct).
    pub fn new(route: &str, filters: &impl Serialize) -> Self {
        let mut hash = Sha256::new();
        hash.update(route);
        hash.update([0]);
        hash.update(serde_json::to_vec(filters).unwrap_or_default());
        Self(first_eight(hash))
    }

    /// The cursor for clients.
    fn seal(&self, cursor: &Cursor) -> String {
        let inside = serde_json::to_vec(cursor).unwrap_or_default();
        URL_SAFE_NO_PAD.encode([self.check(&inside).as_slice(), &inside].concat())
    }

    /// What the page that a client asks for comes after: what its cursor says, or nothing.
    ///
    /// # Errors
    /// 400 if the cursor was not made for this route and these filters.
    pub fn after(&self, cursor: Option<&str>) -> Result<Option<Cursor>, Problem> {
        cursor.map(|text| self.open(text)).transpose()
    }

    fn open(&self, text: &str) -> Result<Cursor, Problem> {
        if text.len() > 4096 {
            return Err(Problem::bad_cursor());
        }
        let sealed = URL_SAFE_NO_PAD.decode(text).map_err(|_| Problem::bad_cursor())?;
        let (check, inside) = sealed.split_at_checked(8).ok_or_else(Problem::bad_cursor)?;
        if check != self.check(inside) {
            return Err(Problem::bad_cursor());
        }
        let cursor: Cursor = serde_json::from_slice(inside).map_err(|_| Problem::bad_cursor())?;
        // Nothing but plain values reaches a query.
        if cursor.keys.iter().any(|key| key.is_object() || key.is_array()) {
            return Err(Problem::bad_cursor());
        }
        Ok(cursor)
    }

    fn check(&self, inside: &[u8]) -> [u8; 8] {
        let mut hash = Sha256::new();
        hash.update(self.0);
        hash.update(inside);
        first_eight(hash)
    }
}

fn first_eight(hash: Sha256) -> [u8; 8] {
    let mut first = [0; 8];
    for (to, from) in first.iter_mut().zip(hash.finalize()) {
        *to = from;
    }
    first
}

/// What is listed, and the query for a page of it: `limit` and `cursor` of the request applied to
/// `query`.
///
/// # Errors
/// 400 if the cursor is not one of this list.
pub fn paged(query: Query, limit: Limit, cursor: Option<&str>, binding: &Binding) -> Result<Query, Problem> {
    Ok(query.limit(limit.get()).after(binding.after(cursor)?))
}

/// A page as it is sent.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Listed<T> {
    /// What was found.
    pub items: Vec<T>,
    /// Where the next page begins; null when there is none.
    #[schema(required = true)]
    pub next_cursor: Option<String>,
}

impl<T> Listed<T> {
    /// A page of `items`, behind which `next` begins the next one.
    pub fn new(items: Vec<T>, next: Option<&Cursor>, binding: &Binding) -> Self {
        Self { items, next_cursor: next.map(|cursor| binding.seal(cursor)) }
    }
}

impl<T: Serialize> Listed<T> {
    /// 200 with the `Link` header.
    pub fn respond(&self, request: &HttpRequest) -> HttpResponse {
        let mut response = HttpResponse::Ok();
        link_next(&mut response, request, self.next_cursor.as_deref());
        response.json(self)
    }
}

/// Adds `Link: <…>; rel="next"` ([RFC 8288](https://www.rfc-editor.org/rfc/rfc8288)), for lists
/// that have a form of their own.
pub fn link_next(response: &mut HttpResponseBuilder, request: &HttpRequest, cursor: Option<&str>) {
    let Some(cursor) = cursor else { return };
    let asked = form_urlencoded::parse(request.query_string().as_bytes());
    let query: String = form_urlencoded::Serializer::new(String::new())
        .extend_pairs(asked.filter(|(name, _)| name != "cursor"))
        .append_pair("cursor", cursor)
        .finish();
    response.insert_header((header::LINK, format!("<{}?{query}>; rel=\"next\"", request.path())));
}

/// The text of a cursor in a query type.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
pub struct CursorText(String);

impl Deref for CursorText {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl PartialSchema for CursorText {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some("The nextCursor of the page before, for the same filters."))
            .into()
    }
}

impl ToSchema for CursorText {}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn cursor() -> Cursor {
        Cursor { keys: vec![json!("b"), json!(3)], id: "id1".to_owned() }
    }

    #[test]
    fn a_cursor_comes_back_for_the_same_list() {
        let binding = Binding::new("users", &("q", 18));
        assert_eq!(binding.open(&binding.seal(&cursor())).unwrap(), cursor());
    }

    #[test]
    fn a_foreign_a_changed_or_an_invented_cursor_is_refused() {
        let binding = Binding::new("users", &("q", 18));
        let sealed = binding.seal(&cursor());
        let code = |binding: &Binding, text: &str| binding.open(text).unwrap_err().code().to_owned();
        assert_eq!(code(&Binding::new("users", &("q", 19)), &sealed), "bad_cursor");
        assert_eq!(code(&Binding::new("orders", &("q", 18)), &sealed), "bad_cursor");
        let changed = sealed.replace(&sealed[20..21], if &sealed[20..21] == "A" { "B" } else { "A" });
        assert_eq!(code(&binding, &changed), "bad_cursor");
        for invented in ["", "x", "!!!", "AAAAAAAAAAAAAAAA", &"A".repeat(5000)] {
            assert_eq!(code(&binding, invented), "bad_cursor");
        }
    }

    #[test]
    fn operators_never_get_in_by_a_cursor() {
        let binding = Binding::new("users", &());
        let forged = Cursor { keys: vec![json!({"$gt": ""})], id: "x".to_owned() };
        assert!(binding.open(&binding.seal(&forged)).is_err());
    }
}
