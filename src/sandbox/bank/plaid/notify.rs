//! [Webhooks](https://plaid.com/docs/api/webhooks/) as Plaid sends them, and the key that signs them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use secrecy::SecretSlice;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use steward_actors::cluster::Clock;
use steward_actors::keys::KeyMaker;
use steward_actors::store::{
    Batch, Collection, CommitError, Entity, PRIMARY, Query, Store, StoreError, find,
};
use steward_actors::time::Timestamp;

use super::items::{Item, of_user};
use crate::crypto::SystemKeys;
use crate::providers::sign_plaid_webhook;
use crate::sandbox::World;
use crate::sandbox::control::Switches;

/// One record: what signs webhooks. Nothing real is protected by it.
pub(in crate::sandbox) static WEBHOOK_KEYS: Collection =
    Collection { name: "sandbox_webhook_keys", fields: &[], indexes: &[], words: &[], expires: None };

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Key {
    id: String,
    private: String,
    x: String,
    y: String,
}

impl Entity for Key {
    fn collection() -> &'static Collection {
        &WEBHOOK_KEYS
    }

    fn id(&self) -> &str {
        &self.id
    }
}

/// What signs webhooks.
#[derive(Clone)]
pub(in crate::sandbox) struct Signing {
    kid: String,
    private: SecretSlice<u8>,
    x: String,
    y: String,
}

impl Signing {
    /// The key of this sandbox, made if there is none yet.
    pub(in crate::sandbox) async fn load(store: &dyn Store) -> Result<Self, StoreError> {
        let unavailable = |reason: String| StoreError::Unavailable(reason);
        for _ in 0..10 {
            let (found, _) = find::<Key>(store, Query::by(&WEBHOOK_KEYS, PRIMARY).limit(1)).await?;
            if let Some(key) = found.into_iter().next() {
                let Key { id, private, x, y } = key.value;
                let private = STANDARD.decode(private).map_err(|error| unavailable(error.to_string()))?;
                return Ok(Self { kid: id, private: private.into(), x, y });
            }
            let (private, public) = SystemKeys.pair().map_err(unavailable)?;
            let private = STANDARD.encode(secrecy::ExposeSecret::expose_secret(&private));
            // Of two sandboxes that start together, one makes it.
            let key = Key { id: "sandbox-webhooks".to_owned(), private, x: public.x, y: public.y };
            match store.commit(Batch::new().insert(&key)).await {
                Ok(()) | Err(CommitError::Conflict(_)) => {}
                Err(error) => return Err(unavailable(error.to_string())),
            }
        }
        Err(unavailable("the sandbox has no key for webhooks".to_owned()))
    }

    /// The public half, if it has this id.
    pub(super) fn public(&self, kid: &str) -> Option<Value> {
        (kid == self.kid).then(|| {
            json!({"key": {
                "alg": "ES256", "crv": "P-256", "kid": self.kid, "kty": "EC", "use": "sig", "x": self.x,
                "y": self.y, "created_at": 0, "expired_at": null,
            }, "request_id": "0"})
        })
    }

    /// What `Plaid-Verification` says of `body`.
    pub(in crate::sandbox) fn sign(&self, body: &[u8], now: Timestamp) -> Result<String, String> {
        sign_plaid_webhook(&self.kid, &self.private, body, now)
    }
}

/// Tells that the items of this user have something new.
pub(super) async fn updates(world: &World, user_id: &str) {
    let items = match of_user(world, user_id).await {
        Ok(items) => items,
        Err(error) => return tracing::debug!(%error, "the sandbox tells nobody of an update"),
    };
    for item in items.into_iter().filter(|item| item.value.token_digest.is_some()) {
        send(world, &item.value, "TRANSACTIONS", "SYNC_UPDATES_AVAILABLE").await;
    }
}

/// Sends a webhook about an item.
pub(super) async fn send(world: &World, item: &Item, kind: &str, code: &str) {
    let sending = match Switches::load(world).await {
        Ok(switches) => switches.webhooks,
        Err(error) => return tracing::debug!(%error, "the sandbox tells nobody of an update"),
    };
    let mut body = json!({
        "webhook_type": kind, "webhook_code": code, "item_id": item.id, "environment": "sandbox",
        "sent": world.clock.now().to_string(),
    });
    if code == "ERROR" {
        body["error"] = json!({"error_type": "ITEM_ERROR", "error_code": "ITEM_LOGIN_REQUIRED"});
    }
    if code == "SYNC_UPDATES_AVAILABLE" {
        body["initial_update_complete"] = true.into();
        body["historical_update_complete"] = true.into();
    }
    world.webhooks.send_of_bank(body.to_string(), sending);
}
