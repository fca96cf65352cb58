use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use steward_actors::keys::{ACCESS_LIFE, KeyMaker};

use super::*;
use crate::crypto::SystemKeys;

const NOW: Timestamp = Timestamp::from_millis(1_750_000_000_000);

/// One key's private half, to forge with.
struct Forger {
    der: Vec<u8>,
    public: PublicKey,
}

fn tokens() -> (JwtTokens, Forger) {
    let tokens = JwtTokens::new("https://id.example".to_owned(), "shop".to_owned());
    let forger = forger();
    tokens.take(vec![forger.key(0, None)]).unwrap();
    (tokens, forger)
}

fn forger_of_others() -> Forger {
    forger()
}

fn forger() -> Forger {
    let (private, public) = SystemKeys.pair().unwrap();
    Forger { der: private.expose_secret().to_vec(), public }
}

impl Forger {
    fn key(&self, signs_from: i64, verifies_until: Option<Timestamp>) -> SigningKey {
        SigningKey {
            public: self.public.clone(),
            private: Some(self.der.clone().into()),
            signs_from: Timestamp::from_millis(signs_from),
            verifies_until,
        }
    }

    /// A token with exactly this header and body, signed well.
    fn signs(&self, header: &Value, body: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", part(header), part(body));
        let key = EncodingKey::from_ec_der(&self.der);
        let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::ES256).unwrap();
        format!("{message}.{signature}")
    }

    fn header(&self) -> Value {
        json!({"alg": "ES256", "typ": "at+jwt", "kid": self.public.kid})
    }
}

fn claims() -> Claims {
    Claims {
        user_id: "u1".to_owned(),
        session_id: "s1".to_owned(),
        id: "j1".to_owned(),
        roles: vec!["customer".to_owned()],
        refresh_number: 3,
        issued_at: NOW,
        expires_at: NOW.plus(ACCESS_LIFE),
    }
}

fn body() -> Value {
    json!({
        "iss": "https://id.example", "aud": "shop", "sub": "u1", "sid": "s1", "jti": "j1",
        "roles": ["customer"], "rfn": 3, "iat": 1_750_000_000, "exp": 1_750_000_600,
    })
}

#[test]
fn a_token_says_what_it_was_issued_with_until_it_expires() {
    let (tokens, _) = tokens();
    let token = tokens.issue(&claims(), NOW).unwrap();
    assert_eq!(tokens.read(token.expose(), NOW), Some(claims()));
    assert!(tokens.read(token.expose(), NOW.plus(ACCESS_LIFE - Duration::from_millis(1))).is_some());
    assert_eq!(tokens.read(token.expose(), NOW.plus(ACCESS_LIFE)), None);
    assert!(!format!("{token:?}").contains(token.expose()));
}

#[test]
fn what_we_sign_is_what_the_rest_of_these_tests_forges() {
    let (tokens, forger) = tokens();
    assert_eq!(tokens.read(&forger.signs(&forger.header(), &body()), NOW), Some(claims()));
}

#[test]
fn any_other_header_is_refused_though_it_is_signed_well() {
    let (tokens, forger) = tokens();
    let own = json!({"kty": "EC", "crv": "P-256", "x": forger.public.x, "y": forger.public.y});
    let with = |name: &str, value: Value| {
        let mut header = forger.header();
        header[name] = value;
        header
    };
    let mut without_kid = forger.header();
    without_kid.as_object_mut().unwrap().remove("kid");
    for header in [
        without_kid,
        with("alg", json!("none")),
        with("alg", json!("HS256")),
        with("alg", json!("ES384")),
        with("alg", json!("RS256")),
        with("typ", json!("JWT")),
        with("typ", json!("at+JWT ")),
        with("kid", json!("../../etc/passwd")),
        with("kid", json!("' OR 1=1 --")),
        with("jwk", own),
        with("jku", json!("https://evil.example/jwks.json")),
        with("x5u", json!("https://evil.example/cert.pem")),
        with("x5c", json!(["AAAA"])),
        with("crit", json!(["exp"])),
        with("b64", json!(false)),
        with("zip", json!("DEF")),
        with("whatever", json!(1)),
    ] {
        assert_eq!(tokens.read(&forger.signs(&header, &body()), NOW), None, "{header}");
    }
}

#[test]
fn any_other_body_is_refused_though_it_is_signed_well() {
    let (tokens, forger) = tokens();
    for (name, value) in [
        ("iss", json!("https://evil.example")),
        ("iss", json!(null)),
        ("aud", json!("billing")),
        ("aud", json!([])),
        ("sub", json!(null)),
        ("sub", json!({"$ne": null})),
        ("sid", json!(null)),
        ("exp", json!(null)),
        ("exp", json!("never")),
        ("exp", json!(1_750_000_000)),
        ("exp", json!(9_223_372_036_854_775_807_i64)),
        ("rfn", json!(-1)),
    ] {
        let mut body = body();
        body[name] = value;
        assert_eq!(tokens.read(&forger.signs(&forger.header(), &body), NOW), None, "{body}");
    }
}

#[test]
fn what_is_signed_by_nobody_or_by_others_is_refused() {
    let (tokens, forger) = tokens();
    let other = forger_of_others();
    let good = forger.signs(&forger.header(), &body());
    let (message, signature) = good.rsplit_once('.').unwrap();
    let unsigned = format!("{message}.");
    // Another installation's key, under its own id and under ours.
    let foreign = other.signs(&other.header(), &body());
    let injected = other.signs(&forger.header(), &body());
    // The public key as the secret of an HMAC.
    let header = json!({"alg": "HS256", "typ": "at+jwt", "kid": forger.public.kid});
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let confused = format!("{}.{}", part(&header), part(&body()));
    let secret = EncodingKey::from_secret(forger.public.x.as_bytes());
    let mac = jsonwebtoken::crypto::sign(confused.as_bytes(), &secret, Algorithm::HS256).unwrap();
    let confused = format!("{confused}.{mac}");
    let none = format!("{}.{}.", part(&json!({"alg": "none", "typ": "at+jwt"})), part(&body()));
    let padded = format!("{message}.{signature}=");
    let (head, rest) = good.split_once('.').unwrap();
    let swapped = format!("{head}.{}.{signature}", part(&json!({"sub": "admin"})));
    for bad in [
        &unsigned,
        &foreign,
        &injected,
        &confused,
        &none,
        &padded,
        &swapped,
        rest,
        "..",
        "a.b.c",
        "",
        &"a.".repeat(9),
    ] {
        assert_eq!(tokens.read(bad, NOW), None, "{bad}");
    }
    for n in 0..good.len() - 1 {
        let mut changed = good.clone();
        changed.replace_range(n..=n, if &good[n..=n] == "A" { "B" } else { "A" });
        assert_eq!(tokens.read(&changed, NOW), None, "{n}");
    }
}

#[test]
fn a_new_key_takes_over_and_the_old_one_verifies_until_its_tokens_have_expired() {
    let (old, new) = (forger(), forger());
    let tokens = JwtTokens::new("i".to_owned(), "a".to_owned());
    let switch = NOW.plus(Duration::from_secs(3600));
    let gone = switch.plus(ACCESS_LIFE);
    tokens.take(vec![old.key(0, Some(gone)), new.key(switch.as_millis(), None)]).unwrap();
    let kid = |token: &AccessToken| decode_header(token.expose()).unwrap().kid.unwrap();
    let issued_at = |now: Timestamp| {
        let claims = Claims { issued_at: now, expires_at: now.plus(ACCESS_LIFE), ..claims() };
        tokens.issue(&claims, now).unwrap()
    };
    let last = issued_at(switch.minus(Duration::from_secs(1)));
    assert_eq!(kid(&last), old.public.kid);
    let first = issued_at(switch);
    assert_eq!(kid(&first), new.public.kid);
    // Nobody who verifies is surprised: both are published long before.
    assert_eq!(tokens.published(NOW), [old.public.clone(), new.public.clone()]);
    assert!(tokens.read(last.expose(), switch.plus(ACCESS_LIFE - Duration::from_secs(2))).is_some());
    assert_eq!(tokens.published(gone), std::slice::from_ref(&new.public));
    // What the old key signs later (it was stolen, say) counts no more.
    let stolen = old.signs(
        &old.header(),
        &json!({
            "iss": "i", "aud": "a", "sub": "u", "sid": "s", "jti": "j", "roles": [], "rfn": 0, "iat": 0,
            "exp": 9_000_000_000_i64,
        }),
    );
    assert!(tokens.read(&stolen, switch).is_some());
    assert_eq!(tokens.read(&stolen, gone), None);
}

#[test]
fn nothing_is_issued_without_a_key_that_signs() {
    let tokens = JwtTokens::new("i".to_owned(), "a".to_owned());
    assert!(tokens.issue(&claims(), NOW).is_err());
    let mut verifies = forger().key(0, None);
    verifies.private = None;
    tokens.take(vec![verifies]).unwrap();
    assert!(tokens.issue(&claims(), NOW).is_err());
}
