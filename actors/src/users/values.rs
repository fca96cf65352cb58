//! What people write about users, parsed once, at the edge: inside, these types can't be wrong.
//!
//! Pure.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use unicode_normalization::UnicodeNormalization;

use crate::text::is_control;

/// Why a value was refused, in the words of an `errors[]` entry; the caller knows the field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct InvalidValue {
    /// Stable, snake_case.
    pub code: &'static str,
    /// One sentence for people.
    pub message: &'static str,
}

const fn invalid(code: &'static str, message: &'static str) -> InvalidValue {
    InvalidValue { code, message }
}

/// A mail address: at most 254 characters, a dot-atom of at most 64 before the `@`
/// ([RFC 5322](https://www.rfc-editor.org/rfc/rfc5322#section-3.2.3)), a host name after it. ASCII
/// only, so that no two addresses look the same; international domains come as `xn--…`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Email(String);

impl Email {
    /// Reads an address.
    ///
    /// # Errors
    /// [`InvalidValue`] with the code `invalid_email`.
    pub fn parse(text: &str) -> Result<Self, InvalidValue> {
        let wrong = invalid("invalid_email", "This is not a mail address.");
        let (local, domain) = text.rsplit_once('@').ok_or(wrong)?;
        let is_atom = |atom: &str| !atom.is_empty() && atom.bytes().all(is_atext);
        let is_label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        let good = text.len() <= 254
            && local.len() <= 64
            && local.split('.').all(is_atom)
            && domain.split('.').all(is_label);
        if good { Ok(Self(text.to_owned())) } else { Err(wrong) }
    }

    /// The address as it was written: what is shown, and where mail goes.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What makes two addresses the same: lower case.
    pub fn key(&self) -> String {
        key_of(&self.0)
    }

    /// The part before the `@`.
    pub fn local_part(&self) -> &str {
        self.0.rsplit_once('@').map_or(self.0.as_str(), |(local, _)| local)
    }
}

/// The key under which an address or a username is unique.
pub(super) fn key_of(text: &str) -> String {
    text.to_ascii_lowercase()
}

fn is_atext(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&byte)
}

/// A name to log in with: 3 to 32 of `A-Z a-z 0-9 . _ -`, beginning with a letter or digit. Never
/// mistaken for an [`Email`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Username(String);

impl Username {
    /// Reads a username.
    ///
    /// # Errors
    /// [`InvalidValue`] with the code `invalid_username`.
    pub fn parse(text: &str) -> Result<Self, InvalidValue> {
        let good = (3..=32).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
            && text.as_bytes()[0].is_ascii_alphanumeric();
        if good {
            return Ok(Self(text.to_owned()));
        }
        Err(invalid(
            "invalid_username",
            "A username has 3 to 32 letters, digits, dots, underscores or hyphens, and begins with a letter or digit.",
        ))
    }

    /// The username as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What makes two usernames the same: lower case.
    pub fn key(&self) -> String {
        key_of(&self.0)
    }
}

/// A person's name as shown: 1 to 100 characters without control characters. Space around it is
/// dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DisplayName(String);

impl DisplayName {
    /// Reads a name.
    ///
    /// # Errors
    /// [`InvalidValue`] with the code `invalid_name`.
    pub fn parse(text: &str) -> Result<Self, InvalidValue> {
        let text = text.trim();
        let length = text.chars().count();
        if (1..=100).contains(&length) && !text.contains(is_control) {
            return Ok(Self(text.to_owned()));
        }
        Err(invalid("invalid_name", "A name has 1 to 100 characters and no control characters."))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// An age in years, 0 to 150.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Age(i64);

impl Age {
    /// Reads an age.
    ///
    /// # Errors
    /// [`InvalidValue`] with the code `invalid_age`.
    pub fn parse(years: i64) -> Result<Self, InvalidValue> {
        if (0..=150).contains(&years) {
            return Ok(Self(years));
        }
        Err(invalid("invalid_age", "An age is a number of years from 0 to 150."))
    }

    /// Years.
    pub fn years(self) -> i64 {
        self.0
    }
}

/// A password of 8 to 128 characters. Can't be printed.
///
/// The same keys give the same password on every device: the text is prepared as an
/// [OpaqueString](https://www.rfc-editor.org/rfc/rfc8265#section-4.2.1), composed (NFC) and with an
/// ASCII space for every other one. Unlike there, no character is refused.
#[derive(Clone)]
pub struct Password {
    prepared: SecretString,
    /// The text before, if it was another.
    sent: Option<SecretString>,
}

impl Password {
    /// Reads a password. Its characters are counted as it is prepared.
    ///
    /// # Errors
    /// [`InvalidValue`] with the code `weak_password`.
    pub fn parse(text: SecretString) -> Result<Self, InvalidValue> {
        let read = match prepared(text.expose_secret()) {
            Some(prepared) => Self { prepared, sent: Some(text) },
            None => Self { prepared: text, sent: None },
        };
        if (8..=128).contains(&read.expose().chars().count()) {
            return Ok(read);
        }
        Err(invalid("weak_password", "A password has 8 to 128 characters."))
    }

    /// The password itself, for the hasher only.
    pub fn expose(&self) -> &str {
        self.prepared.expose_secret()
    }

    /// The password as it was sent, if preparing changed it: what it was before passwords were
    /// prepared, and what a hash of that time is of.
    pub fn as_sent(&self) -> Option<Self> {
        self.sent.clone().map(|sent| Self { prepared: sent, sent: None })
    }
}

/// The text as it is hashed, if that is another.
fn prepared(text: &str) -> Option<SecretString> {
    if text.is_ascii() {
        return None;
    }
    let spaced = text.nfc().map(|c| if is_other_space(c) { ' ' } else { c });
    let prepared = SecretString::from(spaced.collect::<String>());
    (prepared.expose_secret() != text).then_some(prepared)
}

/// Whether `c` is a space (general category Zs) and not that of ASCII.
fn is_other_space(c: char) -> bool {
    matches!(c, '\u{a0}' | '\u{1680}' | '\u{2000}'..='\u{200a}' | '\u{202f}' | '\u{205f}' | '\u{3000}')
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password([hidden])")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_differ_by_their_letters_not_by_their_case() {
        let email = Email::parse("Ada.Lovelace+x@Example.ORG").unwrap();
        assert_eq!(email.as_str(), "Ada.Lovelace+x@Example.ORG");
        assert_eq!(email.key(), "ada.lovelace+x@example.org");
        assert_eq!(email.local_part(), "Ada.Lovelace+x");
    }

    #[test]
    fn what_is_not_an_address_is_refused() {
        let long = format!("{}@example.org", "a".repeat(65));
        for bad in [
            "",
            "ada",
            "@example.org",
            "ada@",
            "a b@example.org",
            "a..b@example.org",
            ".a@example.org",
            "a@b@c",
            "a@-b.org",
            "a@b..org",
            "ada@exämple.org",
            "a@b\r\nBcc: c@d",
            "a\0@b.org",
            &long,
        ] {
            assert_eq!(Email::parse(bad).map_err(|e| e.code), Err("invalid_email"), "{bad:?}");
        }
    }

    #[test]
    fn a_username_is_never_an_address() {
        assert_eq!(Username::parse("Ada_L.1").unwrap().key(), "ada_l.1");
        for bad in ["", "ab", "a@b", "_ada", "ada lovelace", "ädä", &"a".repeat(33)] {
            assert!(Username::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn names_are_trimmed_and_bounded() {
        assert_eq!(DisplayName::parse("  Ada Lovelace ").unwrap().as_str(), "Ada Lovelace");
        assert!(DisplayName::parse(&"ä".repeat(100)).is_ok());
        for bad in ["", "   ", "a\nb", "\u{202e}adA", &"ä".repeat(101)] {
            assert!(DisplayName::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn ages_are_bounded() {
        assert!(Age::parse(0).is_ok() && Age::parse(150).is_ok());
        assert!(Age::parse(-1).is_err() && Age::parse(151).is_err());
    }

    #[test]
    fn passwords_are_counted_in_characters_and_never_shown() {
        let parse = |text: &str| Password::parse(SecretString::from(text));
        assert!(parse("1234567").is_err());
        assert!(parse("pässwörd").is_ok());
        assert!(parse(&"ä".repeat(128)).is_ok());
        assert!(parse(&"a".repeat(129)).is_err());
        assert!(!format!("{:?}", parse("hunter22hunter").unwrap()).contains("hunter"));
    }

    #[test]
    fn a_password_is_the_same_however_its_characters_are_put_together() {
        let parse = |text: &str| Password::parse(SecretString::from(text));
        let composed = "p\u{e4}ssw\u{f6}rd \u{1fb}\u{ac00}";
        for other in [
            "pa\u{308}sswo\u{308}rd a\u{30a}\u{301}\u{1100}\u{1161}",
            "p\u{e4}sswo\u{308}rd \u{e5}\u{301}\u{ac00}",
            "p\u{e4}ssw\u{f6}rd\u{a0}\u{1fb}\u{ac00}",
            "p\u{e4}ssw\u{f6}rd\u{3000}\u{1fb}\u{ac00}",
        ] {
            let read = parse(other).unwrap();
            assert_eq!(read.expose(), composed, "{other:?}");
            let sent = read.as_sent().unwrap();
            assert_eq!((sent.expose(), sent.as_sent().is_none()), (other, true));
        }
        for same in [composed, "correct horse", "\u{fb01}ne letters", "p\u{e4}ssw\u{f6}rd"] {
            let read = parse(same).unwrap();
            assert_eq!((read.expose(), read.as_sent().is_none()), (same, true));
        }
        assert_ne!(
            parse("passw\u{f6}rd").unwrap().expose(),
            parse("passwo\u{308}r\u{308}d").unwrap().expose()
        );
        // Counted as it is hashed: seven characters are seven in either form.
        assert!(parse(&"a\u{308}".repeat(7)).is_err());
        assert!(parse(&"a\u{308}".repeat(128)).is_ok());
    }
}
