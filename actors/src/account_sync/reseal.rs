//! Sealing again what an older `secrets.key` sealed, or what was stored before there was one.

use super::connection::{CONNECTIONS, Connection, ConnectionStatus};
use crate::seal::Sealer;
use crate::store::{Batch, Query, Store, StoreError, find};

/// Connections read at once.
const PAGE: usize = 200;

/// What a look at all credentials came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resealed {
    /// Sealed with the present key by this look.
    pub resealed: usize,
    /// Sealed with it before.
    pub current: usize,
    /// Changed by somebody else meanwhile; the next look finds them.
    pub left: usize,
    /// Sealed with a key that is not in `secrets.key`, or damaged: their users must link again.
    pub unreadable: usize,
}

/// Seals every connection's credential with the present key. Safe beside running replicas: a
/// record that is being changed is left to the next look.
///
/// # Errors
/// [`StoreError`]; what was sealed until then stays so.
pub async fn reseal(store: &dyn Store, sealer: &dyn Sealer) -> Result<Resealed, StoreError> {
    let mut told = Resealed::default();
    for status in [ConnectionStatus::Active, ConnectionStatus::NeedsReauth] {
        let mut after = None;
        loop {
            let query = Query::by(&CONNECTIONS, "status").equal(status.name()).limit(PAGE).after(after);
            let (page, next) = find::<Connection>(store, query).await?;
            for found in page {
                let Some(credential) = &found.value.credential else { continue };
                if credential.is_current(sealer) {
                    told.current += 1;
                    continue;
                }
                let Ok(sealed) = credential.resealed(sealer, &found.value.id) else {
                    told.unreadable += 1;
                    continue;
                };
                let connection = Connection { credential: Some(sealed), ..found.value };
                match store.commit(Batch::new().replace(&connection, found.version)).await {
                    Ok(()) => told.resealed += 1,
                    Err(_) => told.left += 1,
                }
            }
            after = next;
            if after.is_none() {
                break;
            }
        }
    }
    Ok(told)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::store::{Versioned, load};
    use crate::testing::{CommitFault, MemoryStore, WeakSealer};

    fn stored(id: &str, status: &str, credential: serde_json::Value) -> Connection {
        serde_json::from_value(json!({
            "id": id, "userId": "u1", "provider": "sandbox", "status": status, "failures": 0,
            "createdAt": 0, "credential": credential,
        }))
        .unwrap()
    }

    #[tokio::test]
    async fn every_credential_ends_under_the_present_key_and_those_of_a_lost_one_are_counted() {
        let store = MemoryStore::default();
        let sealed = |key: &str, id: &str| json!({"sealed": format!("{key}|connections/{id}/credential|00")});
        let plain = json!({"keyId": "plain", "sealed": "canary"});
        for connection in [
            stored("c1", "active", sealed("k1", "c1")),
            stored("c2", "needs_reauth", plain),
            stored("c3", "active", sealed("k2", "c3")),
            stored("c4", "active", sealed("lost", "c4")),
            stored("c5", "active", sealed("k1", "c1")),
        ] {
            store.commit(Batch::new().insert(&connection)).await.unwrap();
        }
        let sealer = WeakSealer::new(&["k2", "k1"]);
        let told = reseal(&store, &sealer).await.unwrap();
        assert_eq!(told, Resealed { resealed: 2, current: 1, left: 0, unreadable: 2 });
        let only_new = WeakSealer::new(&["k2"]);
        for id in ["c1", "c2", "c3"] {
            let Versioned { value, .. } = load::<Connection>(&store, id).await.unwrap().unwrap();
            assert!(value.credential.unwrap().open(&only_new, id).is_ok(), "{id}");
        }
        let again = reseal(&store, &sealer).await.unwrap();
        assert_eq!(again, Resealed { resealed: 0, current: 3, left: 0, unreadable: 2 });
    }

    #[tokio::test]
    async fn what_was_not_written_is_left_to_the_next_look() {
        let store = MemoryStore::default();
        let plain = json!({"keyId": "plain", "sealed": "canary"});
        store.commit(Batch::new().insert(&stored("c1", "active", plain))).await.unwrap();
        store.fail_commits([CommitFault::Unavailable]);
        let sealer = WeakSealer::default();
        assert_eq!(reseal(&store, &sealer).await.unwrap().left, 1);
        assert_eq!(reseal(&store, &sealer).await.unwrap().resealed, 1);
    }
}
