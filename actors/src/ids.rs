//! Ids that Steward makes. Every id is an opaque string, in the store and outside.

use uuid::Uuid;

/// A new id: a UUIDv7 ([RFC 9562](https://www.rfc-editor.org/rfc/rfc9562#section-5.7)), so that
/// ids made one after the other sort nearly in that order and index pages stay warm.
pub fn new_id() -> String {
    Uuid::now_v7().to_string()
}

/// Whether `id` may stand in a path: 1 to 64 of `A-Z a-z 0-9 _ -`.
pub fn is_well_formed(id: &str) -> bool {
    (1..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_ids_are_well_formed_and_differ() {
        let (a, b) = (new_id(), new_id());
        assert_ne!(a, b);
        assert!(is_well_formed(&a));
    }

    #[test]
    fn ids_with_other_characters_or_lengths_are_refused() {
        for bad in ["", "a b", "a/b", "é", "$ne", &"x".repeat(65)] {
            assert!(!is_well_formed(bad), "{bad}");
        }
    }
}
