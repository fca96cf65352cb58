//! [Stripe's webhooks](https://docs.stripe.com/webhooks#verify-manually): whether one is genuine,
//! and what it says. Pure.
//!
//! What never happens here: a body that is read before its signature was checked.

use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use sha2::Sha256;
use steward_actors::hex;
use steward_actors::order_saga::{Claim, Notice};
use steward_actors::time::Timestamp;

/// How old a signature may be, or how far ahead of us.
const WINDOW: Duration = Duration::from_secs(300);
/// Signatures in one header that are tried: more than one while a secret is being changed.
const MOST_SIGNATURES: usize = 10;

/// Why a webhook is not taken for genuine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotGenuine {
    /// There is no signature that can be read.
    #[error("it is not signed")]
    Unsigned,
    /// It was signed too long ago, or is dated too far ahead.
    #[error("its signature is stale")]
    Stale,
    /// It is signed by somebody else, or was changed.
    #[error("its signature is wrong")]
    Wrong,
}

/// Checks that `body` was signed with `secret` within five minutes of `now`. `header` is
/// `Stripe-Signature`: `t=<seconds>,v1=<hex>`.
///
/// # Errors
/// [`NotGenuine`].
pub fn check(secret: &SecretString, header: &str, body: &[u8], now: Timestamp) -> Result<(), NotGenuine> {
    let parts = header.split(',').filter_map(|part| part.trim().split_once('='));
    let mut at = None;
    let mut signatures = Vec::new();
    for (name, value) in parts {
        match name {
            "t" if at.is_none() => at = Some(value),
            // A date that comes twice is nobody's.
            "t" => return Err(NotGenuine::Unsigned),
            "v1" if signatures.len() < MOST_SIGNATURES => signatures.push(value),
            _ => {}
        }
    }
    let at = at.filter(|at| (1..=12).contains(&at.len()) && at.bytes().all(|b| b.is_ascii_digit()));
    let at = at.ok_or(NotGenuine::Unsigned)?;
    let seconds: i64 = at.parse().map_err(|_| NotGenuine::Unsigned)?;
    if signatures.is_empty() {
        return Err(NotGenuine::Unsigned);
    }
    let signed = mac(secret, at, body);
    let genuine = |signature: &&str| {
        hex::decode::<32>(signature).is_some_and(|signature| signed.clone().verify_slice(&signature).is_ok())
    };
    if !signatures.iter().any(genuine) {
        return Err(NotGenuine::Wrong);
    }
    let apart = now.as_millis().abs_diff(seconds * 1000);
    if u128::from(apart) > WINDOW.as_millis() { Err(NotGenuine::Stale) } else { Ok(()) }
}

/// The header for `body`, as the provider makes it.
pub fn sign(secret: &SecretString, body: &[u8], now: Timestamp) -> String {
    let at = now.as_millis().div_euclid(1000).to_string();
    let signature = mac(secret, &at, body).finalize().into_bytes();
    format!("t={at},v1={}", hex::encode(&signature))
}

fn mac(secret: &SecretString, at: &str, body: &[u8]) -> Hmac<Sha256> {
    #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose_secret().as_bytes()).expect("any length");
    mac.update(at.as_bytes());
    mac.update(b".");
    mac.update(body);
    mac
}

#[derive(Deserialize)]
struct StripeEvent {
    id: String,
    #[serde(rename = "type")]
    kind: String,
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    object: Object,
}

/// An intent, or a refund or a charge of one.
#[derive(Deserialize)]
struct Object {
    id: Option<String>,
    payment_intent: Option<String>,
    #[serde(default)]
    metadata: std::collections::HashMap<String, String>,
}

/// What a genuine webhook says; `None` if it is about something else than orders' payments, or
/// makes no sense.
pub fn read(body: &[u8]) -> Option<Notice> {
    let StripeEvent { id, kind, data: Data { object } } = serde_json::from_slice(body).ok()?;
    let claim = match kind.as_str() {
        "payment_intent.amount_capturable_updated" => Claim::Authorized,
        "payment_intent.succeeded" => Claim::Captured,
        "payment_intent.payment_failed" => Claim::Failed,
        "payment_intent.canceled" => Claim::Canceled,
        // Before version 2024-10-28 of the API, of refunds of a charge only the last one is told.
        "refund.created" | "refund.updated" | "refund.failed" | "charge.refund.updated" => Claim::Refunded,
        // A charge has its intent's metadata; a refund that was made by hand has none.
        "charge.refunded" => Claim::GivenBack,
        _ => return None,
    };
    let refund_id = object.metadata.get("refund_id").filter(|_| claim == Claim::Refunded).cloned();
    let intent_id = match claim {
        Claim::Refunded | Claim::GivenBack => object.payment_intent?,
        _ => object.id?,
    };
    let order_id = object.metadata.get("order_id")?.clone();
    let notice = Notice { id, order_id, intent_id, refund_id, claim };
    let ids = [&notice.id, &notice.order_id, &notice.intent_id];
    let sane = ids.into_iter().chain(&notice.refund_id).all(|id| steward_actors::ids::is_well_formed(id));
    sane.then_some(notice)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_750_000_000_000);
    const BODY: &[u8] = br#"{"id": "evt_1", "type": "payment_intent.succeeded",
        "data": {"object": {"id": "pi_1", "metadata": {"order_id": "o1"}}}}"#;

    fn secret() -> SecretString {
        SecretString::from("whsec_test")
    }

    #[test]
    fn what_the_provider_signs_is_genuine_for_five_minutes_either_way() {
        let header = sign(&secret(), BODY, NOW);
        for seconds in [-300i64, 0, 300] {
            let now = Timestamp::from_millis(NOW.as_millis() + seconds * 1000);
            assert_eq!(check(&secret(), &header, BODY, now), Ok(()), "{seconds}");
        }
        for seconds in [-301i64, 301] {
            let now = Timestamp::from_millis(NOW.as_millis() + seconds * 1000);
            assert_eq!(check(&secret(), &header, BODY, now), Err(NotGenuine::Stale), "{seconds}");
        }
    }

    #[test]
    fn every_flipped_bit_and_another_secret_are_noticed() {
        let header = sign(&secret(), BODY, NOW);
        for n in 0..BODY.len() {
            let mut body = BODY.to_vec();
            body[n] ^= 1;
            assert_eq!(check(&secret(), &header, &body, NOW), Err(NotGenuine::Wrong), "{n}");
        }
        let other = SecretString::from("whsec_other");
        assert_eq!(check(&other, &header, BODY, NOW), Err(NotGenuine::Wrong));
        let redated = header.replace("t=1750000000", "t=1750000001");
        assert_eq!(check(&secret(), &redated, BODY, NOW), Err(NotGenuine::Wrong));
        let cut = &header[..header.len() - 2];
        assert_eq!(check(&secret(), cut, BODY, NOW), Err(NotGenuine::Wrong));
    }

    #[test]
    fn one_of_several_signatures_is_enough_and_none_is_not() {
        let header = sign(&secret(), BODY, NOW);
        let (at, signature) = header.split_once(',').unwrap();
        let several = format!("{at},v0=abc,v1={},{signature}", "0".repeat(64));
        assert_eq!(check(&secret(), &several, BODY, NOW), Ok(()));
        for unsigned in ["", "t=1", at, "v1=00", &format!("t=x,{signature}"), &format!("{at},{header}")] {
            assert_eq!(check(&secret(), unsigned, BODY, NOW), Err(NotGenuine::Unsigned), "{unsigned}");
        }
    }

    #[test]
    fn a_refund_is_told_of_by_its_intent_and_our_id_of_it() {
        for kind in ["refund.created", "refund.updated", "refund.failed", "charge.refund.updated"] {
            let body = format!(
                r#"{{"id": "evt_1", "type": "{kind}", "data": {{"object": {{"id": "re_1", "status": "failed",
                "payment_intent": "pi_1", "metadata": {{"order_id": "o1", "refund_id": "r1"}}}}}}}}"#
            );
            let notice = read(body.as_bytes()).unwrap();
            assert_eq!((notice.order_id.as_str(), notice.intent_id.as_str()), ("o1", "pi_1"), "{kind}");
            assert_eq!((notice.refund_id.as_deref(), notice.claim), (Some("r1"), Claim::Refunded), "{kind}");
            assert_eq!(read(body.replace("r1", "../x").as_bytes()), None, "{kind}");
        }
    }

    #[test]
    fn only_what_is_about_an_orders_payment_is_read() {
        let notice = read(BODY).unwrap();
        assert_eq!((notice.order_id.as_str(), notice.claim), ("o1", Claim::Captured));
        for other in [
            "",
            "null",
            r#"{"id": "evt_1", "type": "invoice.paid", "data": {"object": {"id": "in_1"}}}"#,
            r#"{"id": "evt_1", "type": "payment_intent.succeeded", "data": {"object": {"id": "pi_1"}}}"#,
            r#"{"id": "../x", "type": "payment_intent.succeeded",
                "data": {"object": {"id": "pi_1", "metadata": {"order_id": "o1"}}}}"#,
        ] {
            assert_eq!(read(other.as_bytes()), None, "{other}");
        }
    }
}
