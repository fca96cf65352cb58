//! Refresh tokens: how they are written and recognised. Nothing of them is stored.
//!
//! `<session>.<number>.<the session token, hidden>.<code>`, the last two in hexadecimal. The code
//! authenticates the rest under a key of the family (the session), so whoever knows the key knows
//! every successor, and the same predecessor always gives the same one. The session token travels
//! inside because Steward keeps only its hash, and a refresh answers with it again.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use uuid::Uuid;

use super::SessionToken;
use crate::hex;
use crate::ids;
use crate::keys::TokenKey;

/// A refresh token. Known to its holder only; can't be printed.
#[derive(Clone)]
pub struct RefreshToken(SecretString);

/// What a genuine refresh token says.
#[derive(Debug)]
pub(super) struct Genuine {
    pub(super) session_id: String,
    pub(super) number: u64,
    pub(super) session_token: SessionToken,
}

impl RefreshToken {
    /// The token of this number.
    pub(super) fn new(key: &TokenKey, session_id: &str, number: u64, session_token: &SessionToken) -> Self {
        let hidden = hidden(key, session_id, session_token.uuid().into_bytes());
        let code = family(key, session_id).code("refresh", &[&number.to_be_bytes(), &hidden]);
        Self(format!("{session_id}.{number}.{}.{}", hex::encode(&hidden), hex::encode(&code)).into())
    }

    /// Reads what someone says is a refresh token; `None` if it is none that was given out here.
    pub(super) fn read(key: &TokenKey, text: &str) -> Option<Genuine> {
        let mut parts = text.split('.');
        let (session_id, number, hidden_token, code) =
            (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() || !ids::is_well_formed(session_id) {
            return None;
        }
        let number: u64 = number.parse().ok().filter(|read: &u64| read.to_string() == number)?;
        let hidden_token: [u8; 16] = hex::decode(hidden_token)?;
        let code: [u8; 32] = hex::decode(code)?;
        let parts: [&[u8]; 2] = [&number.to_be_bytes(), &hidden_token];
        if !family(key, session_id).is_code("refresh", &parts, &code) {
            return None;
        }
        let session_token = SessionToken::of_uuid(Uuid::from_bytes(hidden(key, session_id, hidden_token)));
        Some(Genuine { session_id: session_id.to_owned(), number, session_token })
    }

    /// The token, to be given to its holder.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl fmt::Debug for RefreshToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RefreshToken([hidden])")
    }
}

fn family(key: &TokenKey, session_id: &str) -> TokenKey {
    key.derive("refresh family", &[session_id.as_bytes()])
}

/// Hides a session token, or shows a hidden one. A session has one token and an id of its own, so
/// nothing is ever hidden twice under the same mask.
fn hidden(key: &TokenKey, session_id: &str, mut token: [u8; 16]) -> [u8; 16] {
    let mask = key.code("session token", &[session_id.as_bytes()]);
    token.iter_mut().zip(mask).for_each(|(byte, mask)| *byte ^= mask);
    token
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> TokenKey {
        TokenKey::new(vec![byte; 32].into())
    }

    #[test]
    fn a_number_has_one_token_and_it_brings_the_session_token_back() {
        let session_token = SessionToken::generate();
        let token = RefreshToken::new(&key(1), "s1", 7, &session_token);
        assert_eq!(token.expose(), RefreshToken::new(&key(1), "s1", 7, &session_token).expose());
        assert_ne!(token.expose(), RefreshToken::new(&key(1), "s1", 8, &session_token).expose());
        let genuine = RefreshToken::read(&key(1), token.expose()).unwrap();
        assert_eq!((genuine.session_id.as_str(), genuine.number), ("s1", 7));
        assert_eq!(genuine.session_token.expose(), session_token.expose());
        let shown = token.expose();
        assert!(!shown.contains(session_token.expose()));
        assert!(!shown.contains(&session_token.expose().replace('-', "")));
        assert!(!format!("{token:?}{genuine:?}").contains(&shown[8..]));
    }

    #[test]
    fn no_part_can_be_changed_and_no_other_key_reads_it() {
        let token = RefreshToken::new(&key(1), "s1", 7, &SessionToken::generate());
        let text = token.expose();
        assert!(RefreshToken::read(&key(2), text).is_none());
        for n in 0..text.len() {
            let mut changed = text.to_owned();
            changed.replace_range(n..=n, if &text[n..=n] == "1" { "2" } else { "1" });
            assert!(RefreshToken::read(&key(1), &changed).is_none(), "{n}");
        }
        let (plus, upper) = (text.replacen(".7.", ".+7.", 1), text.to_uppercase());
        let more = format!("{text}.x");
        for bad in ["", ".", "...", &text[1..], &more, &plus, &upper, &"x.".repeat(100_000)] {
            assert!(RefreshToken::read(&key(1), bad).is_none());
        }
    }
}
