//! Cryptography by aws-lc, which TLS uses too: sealing at rest, and the keys and signatures of
//! access tokens.
//!
//! Who calls it: the composition root gives it to [`steward_actors::keys`] and to sessions through
//! their ports. What never happens here: I/O, an algorithm that a token's sender chose, a key that
//! could be printed.

mod jwt;
mod keys;
mod seal;

pub use jwt::JwtTokens;
pub use keys::{SystemKeys, from_pem};
pub use seal::{AesSealer, BadSecretsKey, new_secrets_key};
