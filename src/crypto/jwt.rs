//! Access tokens as JWTs: ES256, `at+jwt` ([RFC 9068](https://www.rfc-editor.org/rfc/rfc9068)).

use std::sync::{Arc, PoisonError, RwLock};

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, decode_header, encode};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use steward_actors::keys::{AccessToken, AccessTokens, Claims, PublicKey, SigningKey};
use steward_actors::time::Timestamp;

/// The type of access tokens (RFC 9068, 2.1).
const TYPE: &str = "at+jwt";

/// Signs and reads JWTs.
pub struct JwtTokens {
    issuer: String,
    audience: String,
    validation: Validation,
    keys: RwLock<Arc<Vec<Key>>>,
}

struct Key {
    public: PublicKey,
    signs: Option<EncodingKey>,
    signs_from: Timestamp,
    verifies: DecodingKey,
    verifies_until: Option<Timestamp>,
    /// What the header of every token signed with it is; any other is refused.
    header: Header,
}

#[derive(Serialize, Deserialize)]
struct Body {
    iss: String,
    aud: String,
    sub: String,
    sid: String,
    jti: String,
    roles: Vec<String>,
    rfn: u64,
    iat: i64,
    exp: i64,
}

impl JwtTokens {
    /// Tokens of this issuer for this audience; none can be issued before there are keys.
    pub fn new(issuer: String, audience: String) -> Self {
        let mut validation = Validation::new(Algorithm::ES256);
        validation.set_issuer(&[&issuer]);
        validation.set_audience(&[&audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        // By the store's clock, in `read`.
        validation.validate_exp = false;
        Self { issuer, audience, validation, keys: RwLock::default() }
    }

    fn keys(&self) -> Arc<Vec<Key>> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Key {
    fn new(key: SigningKey) -> Result<Self, String> {
        let verifies = DecodingKey::from_ec_components(&key.public.x, &key.public.y);
        let mut header = Header::new(Algorithm::ES256);
        header.typ = Some(TYPE.to_owned());
        header.kid = Some(key.public.kid.clone());
        Ok(Self {
            verifies: verifies.map_err(|error| error.to_string())?,
            signs: key.private.map(|der| EncodingKey::from_ec_der(der.expose_secret())),
            signs_from: key.signs_from,
            verifies_until: key.verifies_until,
            public: key.public,
            header,
        })
    }

    fn verifies_at(&self, now: Timestamp) -> bool {
        self.verifies_until.is_none_or(|until| now < until)
    }
}

impl AccessTokens for JwtTokens {
    fn take(&self, keys: Vec<SigningKey>) -> Result<(), String> {
        let keys = keys.into_iter().map(Key::new).collect::<Result<Vec<_>, _>>()?;
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
        Ok(())
    }

    fn issue(&self, claims: &Claims, now: Timestamp) -> Result<AccessToken, String> {
        let keys = self.keys();
        let signs = |key: &&Key| key.signs.is_some() && key.signs_from <= now;
        let key = keys.iter().rfind(signs).ok_or_else(|| "no key signs now".to_owned())?;
        let body = Body {
            iss: self.issuer.clone(),
            aud: self.audience.clone(),
            sub: claims.user_id.clone(),
            sid: claims.session_id.clone(),
            jti: claims.id.clone(),
            roles: claims.roles.clone(),
            rfn: claims.refresh_number,
            iat: claims.issued_at.as_millis() / 1000,
            exp: claims.expires_at.as_millis() / 1000,
        };
        let Some(signs) = &key.signs else { return Err("no key signs now".to_owned()) };
        encode(&key.header, &body, signs).map(AccessToken::new).map_err(|error| error.to_string())
    }

    fn read(&self, token: &str, now: Timestamp) -> Option<Claims> {
        let header = decode_header(token).ok()?;
        let keys = self.keys();
        // Not only the key is looked up: whatever else the header says is refused with it, so
        // neither an algorithm nor a key (jku, jwk, x5u, x5c) is ever the sender's choice.
        let key = keys.iter().find(|key| key.header == header && key.verifies_at(now))?;
        let body = decode::<Body>(token, &key.verifies, &self.validation).ok()?.claims;
        let expires_at = Timestamp::from_millis(body.exp.checked_mul(1000)?);
        (now < expires_at).then_some(Claims {
            user_id: body.sub,
            session_id: body.sid,
            id: body.jti,
            roles: body.roles,
            refresh_number: body.rfn,
            issued_at: Timestamp::from_millis(body.iat.saturating_mul(1000)),
            expires_at,
        })
    }

    fn published(&self, now: Timestamp) -> Vec<PublicKey> {
        self.keys().iter().filter(|key| key.verifies_at(now)).map(|key| key.public.clone()).collect()
    }
}

#[cfg(test)]
#[path = "jwt_tests.rs"]
mod tests;
