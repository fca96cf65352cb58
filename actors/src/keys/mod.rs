//! The keys that tokens are made with: made once, shared by all replicas through the store, sealed
//! there, and replaced on schedule without logging anyone out.
//!
//! Who calls it: the composition root starts [`Keys`] and supervises [`Keys::run`]; sessions issue
//! and read tokens with what it provides. What never happens here: a private key stored in the
//! clear, a key that signs before every replica and every reader of the JWKS can know it, a key
//! that goes while tokens made with it live.

mod access;
mod record;
mod schedule;
mod service;
mod token_key;

pub use access::{ACCESS_LIFE, AccessToken, AccessTokens, Claims};
pub use record::{KEYS, LOCAL_SECRETS, PublicKey, local_secret};
pub use schedule::{PUBLISHED_AHEAD, ROTATED_EVERY, SigningKey};
pub use service::{KeyMaker, Keys, KeysError, KeysParts};
pub use token_key::TokenKey;

#[cfg(test)]
mod tests;
