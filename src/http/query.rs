//! Query strings and path parameters: [`ValidQuery`], [`InPath`], [`PathId`], [`Sku`].

use std::fmt;
use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest, web};
use garde::Validate;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use steward_actors::ids;
use url::form_urlencoded;

use super::fallback;
use super::fields::{self, Naming};
use super::problem::Problem;

/// A query string that has `T`'s form and keeps `T`'s garde rules.
///
/// `T` derives `Deserialize` with `#[serde(rename_all = "camelCase", deny_unknown_fields)]`, and
/// `garde::Validate`. Don't flatten one query type into another: flattened numbers can't be read.
/// Answers on its own: 422 naming the parameter, 400 for what cannot be decoded or is missing.
pub struct ValidQuery<T>(pub T);

impl<T> FromRequest for ValidQuery<T>
where
    T: DeserializeOwned + Validate<Context = ()> + 'static,
{
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(parse(request.query_string()).map(Self))
    }
}

fn parse<T: DeserializeOwned + Validate<Context = ()>>(query: &str) -> Result<T, Problem> {
    let value: T = read(query)?;
    value.validate().map_err(|report| fields::from_garde(Naming::Parameter, &report))?;
    Ok(value)
}

fn read<T: DeserializeOwned>(query: &str) -> Result<T, Problem> {
    if !is_decodable(query) {
        return Err(Problem::bad_request("malformed_query", "The query string cannot be decoded"));
    }
    let pairs = serde_urlencoded::Deserializer::new(form_urlencoded::parse(query.as_bytes()));
    serde_path_to_error::deserialize(pairs).map_err(|error| {
        let path = error.path().clone();
        fields::from_serde(Naming::Parameter, &path, &error.into_inner().to_string())
    })
}

/// The parameters of a route that has none.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

/// Refuses whatever is asked of a route that has no parameters in its query string.
///
/// # Errors
/// As [`ValidQuery`].
pub(super) fn refuse_all(query: &str) -> Result<(), Problem> {
    read(query).map(|Nothing {}| ())
}

/// The query string's parameters as `T`, and apart from them those whose names begin with `prefix`,
/// without it.
///
/// # Errors
/// As [`ValidQuery`].
pub(super) fn split<T: DeserializeOwned + Validate<Context = ()>>(
    query: &str,
    prefix: &str,
) -> Result<(T, Vec<(String, String)>), Problem> {
    if !is_decodable(query) {
        return parse(query).map(|value| (value, Vec::new()));
    }
    let (own, rest): (Vec<_>, Vec<_>) =
        form_urlencoded::parse(query.as_bytes()).partition(|(name, _)| name.starts_with(prefix));
    let rest: String = form_urlencoded::Serializer::new(String::new()).extend_pairs(rest).finish();
    let own = own.into_iter().map(|(name, value)| (name[prefix.len()..].to_owned(), value.into_owned()));
    Ok((parse(&rest)?, own.collect()))
}

/// Whether each `%` begins two hexadecimal digits and all of it is UTF-8.
fn is_decodable(query: &str) -> bool {
    let bytes = query.as_bytes();
    let digits = |at: usize| bytes.get(at + 1..at + 3).is_some_and(|d| d.iter().all(u8::is_ascii_hexdigit));
    let whole = bytes.iter().enumerate().all(|(at, byte)| *byte != b'%' || digits(at));
    whole && percent_decoded(bytes).is_some()
}

fn percent_decoded(bytes: &[u8]) -> Option<String> {
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let [first, tail @ ..] = rest {
        match (first, tail) {
            (b'%', [high, low, after @ ..]) => {
                let digits = [*high, *low];
                decoded.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
                rest = after;
            }
            _ => {
                decoded.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8(decoded).ok()
}

/// The parameters of the path: one, or a tuple of them in the order of the route.
/// What no resource can have as its id is 404.
pub struct InPath<T>(pub T);

impl<T: DeserializeOwned + 'static> FromRequest for InPath<T> {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let found = web::Path::<T>::from_request(request, payload).into_inner();
        ready(found.map(|path| Self(path.into_inner())).map_err(|_| fallback::unmatched(request)))
    }
}

/// An id in a path: 1 to 64 of `A-Z a-z 0-9 _ -`, and no word that is a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathId(pub String);

/// Words that stand where an id could.
const RESERVED: [&str; 5] = ["me", "register", "login", "logout", "refresh"];

impl<'de> Deserialize<'de> for PathId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let id = String::deserialize(deserializer)?;
        if ids::is_well_formed(&id) && !RESERVED.contains(&id.as_str()) {
            Ok(Self(id))
        } else {
            Err(serde::de::Error::custom("no id"))
        }
    }
}

impl fmt::Display for PathId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A stock keeping unit's name in a path: 1 to 64 of `A-Z a-z 0-9 . _ -`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sku(pub String);

impl Sku {
    /// Whether `text` may name a stock keeping unit.
    pub fn is_well_formed(text: &str) -> bool {
        let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        // In a path the two dots mean something else.
        (1..=64).contains(&text.len()) && text.bytes().all(legal) && text != "." && text != ".."
    }
}

impl<'de> Deserialize<'de> for Sku {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if Self::is_well_formed(&text) { Ok(Self(text)) } else { Err(serde::de::Error::custom("no SKU")) }
    }
}

impl fmt::Display for Sku {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// For garde: the name of a stock keeping unit in a body.
///
/// # Errors
/// If it is none.
pub fn is_sku(text: &str, _: &()) -> garde::Result {
    match Sku::is_well_formed(text) {
        true => Ok(()),
        false => Err(garde::Error::new("is not 1 to 64 of A-Z a-z 0-9 . _ -")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize, Validate)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    struct Filter {
        #[garde(range(max = 150))]
        min_age: Option<u32>,
        #[garde(skip)]
        sort: Option<Sort>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "camelCase")]
    enum Sort {
        Name,
    }

    fn refused(query: &str) -> (u16, String) {
        let problem = parse::<Filter>(query).unwrap_err();
        (problem.status().as_u16(), problem.errors().first().map(|e| e.field.clone()).unwrap_or_default())
    }

    #[test]
    fn dots_that_mean_something_in_a_path_are_no_skus() {
        for (text, fine) in
            [("a.b", true), ("...", true), (".", false), ("..", false), ("", false), ("a/b", false)]
        {
            assert_eq!(Sku::is_well_formed(text), fine, "{text}");
        }
    }

    #[test]
    fn each_mistake_names_its_parameter() {
        let fine = parse::<Filter>("minAge=18&sort=name").unwrap();
        assert!(matches!(fine, Filter { min_age: Some(18), sort: Some(Sort::Name) }));
        for bad in ["minAge=x", "minAge=", "minAge=-1", "minAge=151", "minAge=1&minAge=2", "minAge=1.5"] {
            assert_eq!(refused(bad), (422, "minAge".to_owned()), "{bad}");
        }
        assert_eq!(refused("sort=yacht"), (422, "sort".to_owned()));
        assert_eq!(refused("role=admin"), (422, "role".to_owned()));
        assert_eq!(refused("min_age=1"), (422, "min_age".to_owned()));
    }

    #[test]
    fn a_route_without_parameters_refuses_each() {
        assert!(refuse_all("").is_ok() && refuse_all("&").is_ok());
        for query in ["x=1", "x", "x=1&y=2"] {
            let problem = refuse_all(query).unwrap_err();
            let error = &problem.errors()[0];
            assert_eq!((problem.status().as_u16(), error.field.as_str()), (422, "x"), "{query}");
        }
        assert_eq!(refuse_all("x=%").unwrap_err().status().as_u16(), 400);
    }

    #[test]
    fn what_cannot_be_decoded_is_a_bad_request() {
        for bad in ["sort=%", "sort=%zz", "sort=%ff", "%C3=1", "sort=%+1"] {
            assert_eq!(refused(bad).0, 400, "{bad}");
        }
    }

    #[test]
    fn words_that_are_routes_are_no_ids() {
        let id = |text: &str| serde_json::from_value::<PathId>(text.into());
        assert!(id("acc1").is_ok());
        for bad in ["me", "login", "a.b", "", "a b"] {
            assert!(id(bad).is_err(), "{bad}");
        }
        assert!(Sku::is_well_formed("a.b"));
        assert!(!Sku::is_well_formed("a b"));
    }
}
