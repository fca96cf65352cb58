//! How the words of serde and garde become [`FieldError`]s: which field, by its name on the wire,
//! and what is wrong with it. Called by the extractors only. Pure.

use serde_path_to_error::{Path, Segment};

use super::problem::{FieldError, Problem};

/// Characters of a message or of a field's name that are passed on.
const MOST_WORDS: usize = 200;

/// How a place in the request is named.
#[derive(Clone, Copy)]
pub(super) enum Naming {
    /// A JSON Pointer ([RFC 6901](https://www.rfc-editor.org/rfc/rfc6901)).
    Pointer,
    /// The parameter's name.
    Parameter,
}

impl Naming {
    fn name<'a>(self, segments: impl IntoIterator<Item = &'a str>) -> String {
        let name = match self {
            Self::Parameter => segments.into_iter().next().unwrap_or_default().to_owned(),
            Self::Pointer => segments.into_iter().fold(String::new(), |pointer, segment| {
                pointer + "/" + &segment.replace('~', "~0").replace('/', "~1")
            }),
        };
        // An unknown key can be as long as the body.
        name.chars().take(MOST_WORDS).collect()
    }
}

/// What serde says of a request that is well-formed but has the wrong content.
pub(super) fn from_serde(naming: Naming, path: &Path, message: &str) -> Problem {
    let mut segments: Vec<String> = path
        .iter()
        .map_while(|segment| match segment {
            Segment::Seq { index } => Some(index.to_string()),
            Segment::Map { key } => Some(key.clone()),
            Segment::Enum { variant } => Some(variant.clone()),
            Segment::Unknown => None,
        })
        .collect();
    let quoted = |prefix: &str| message.strip_prefix(prefix)?.split('`').next().map(str::to_owned);
    let mut name = |last: Option<String>| {
        if let Some(last) = last
            && segments.last() != Some(&last)
        {
            segments.push(last);
        }
        naming.name(segments.iter().map(String::as_str))
    };
    if let Some(field) = quoted("missing field `") {
        return Problem::missing(name(Some(field)));
    }
    if let Some(field) = quoted("unknown field `") {
        return Problem::invalid_field(name(Some(field)), "unknown", "is not known here");
    }
    if let Some(field) = quoted("duplicate field `") {
        return Problem::invalid_field(name(Some(field)), "duplicate", "occurs more than once");
    }
    let code = if message.starts_with("invalid type") { "type" } else { "invalid" };
    Problem::invalid_field(name(None), code, without_rust(message))
}

/// What garde says: its paths have Rust's names, the wire has camelCase.
pub(super) fn from_garde(naming: Naming, report: &garde::Report) -> Problem {
    let errors = report.iter().map(|(path, error)| {
        let path = path.to_string().replace('[', ".").replace(']', "");
        let segments: Vec<String> = path.split('.').filter(|s| !s.is_empty()).map(camel_case).collect();
        FieldError::new(naming.name(segments.iter().map(String::as_str)), "invalid", error.message())
    });
    Problem::invalid(errors.collect())
}

/// `unit_price` as the wire has it.
pub(super) fn camel_case(name: &str) -> String {
    let mut words = name.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |name, word| {
        let mut letters = word.chars();
        let head = letters.next().map(|letter| letter.to_ascii_uppercase());
        name + &head.into_iter().chain(letters).collect::<String>()
    })
}

/// serde's sentence without the position, which the field says better, and without the names of
/// our types.
fn without_rust(message: &str) -> String {
    let message = message.split(" at line ").next().unwrap_or(message);
    let Some((what, expected)) = message.rsplit_once(", expected ") else {
        // Words of our own types; what was sent is never part of them.
        return message.chars().take(MOST_WORDS).collect();
    };
    let what = without_value(what);
    let expected = match expected.split(' ').next() {
        Some("struct" | "internally") => "an object",
        Some("tuple" | "sequence") => "an array",
        Some("enum") => "one of the values that are documented",
        Some("u8" | "u16" | "u32" | "u64" | "usize") => "a whole number that is not negative",
        Some("i8" | "i16" | "i32" | "i64" | "isize") => "a whole number",
        Some("f32" | "f64") => "a number",
        _ => expected,
    };
    format!("{what}, expected {expected}")
}

/// serde repeats the value it met. It may be a password, so only its type is passed on.
fn without_value(what: &str) -> &str {
    let end = what.find(['`', '"']).unwrap_or(what.len());
    what[..end].trim_end()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sent_is_not_repeated() {
        for (said, expected) in [
            (
                "invalid type: integer `123456789`, expected a string",
                "invalid type: integer, expected a string",
            ),
            (
                "invalid type: string \"hunter2, expected x\", expected i64",
                "invalid type: string, expected a whole number",
            ),
            (
                "invalid value: floating point `1.5`, expected u32",
                "invalid value: floating point, expected a whole number that is not negative",
            ),
        ] {
            assert_eq!(without_rust(said), expected);
        }
    }

    #[test]
    fn names_are_those_of_the_wire() {
        assert_eq!(camel_case("unit_price"), "unitPrice");
        assert_eq!(camel_case("name"), "name");
        assert_eq!(camel_case("0"), "0");
    }

    #[test]
    fn pointers_escape_what_means_something_in_them() {
        assert_eq!(Naming::Pointer.name(["a/b", "~c"]), "/a~1b/~0c");
        assert_eq!(Naming::Pointer.name([]), "");
    }

    #[test]
    fn names_of_our_types_stay_inside() {
        let said = without_rust("invalid type: integer `1`, expected struct Register at line 1 column 2");
        assert_eq!(said, "invalid type: integer, expected an object");
        let said = without_rust("invalid value: integer `-1`, expected u32 at line 1 column 2");
        assert_eq!(said, "invalid value: integer, expected a whole number that is not negative");
    }
}
