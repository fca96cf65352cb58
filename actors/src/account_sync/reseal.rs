//! Sealing again what an older `secrets.key` sealed, or what was stored before there was one.

use super::connection::{CONNECTIONS, Connection, ConnectionStatus};
use super::credential::SealedCredential;
use super::revocation;
use crate::outbox::{JOBS, Job, JobStatus};
use crate::seal::Sealer;
use crate::store::{Batch, Query, Store, StoreError, find};

/// Records read at once.
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

/// Seals every credential with the present key: those of connections, and those that wait to be
/// revoked. Safe beside running replicas: a record that is being changed is left to the next look.
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
                let Some(sealed) = told.again(credential, sealer, &found.value.id) else { continue };
                let connection = Connection { credential: Some(sealed), ..found.value };
                told.commit(store, Batch::new().replace(&connection, found.version)).await;
            }
            after = next;
            if after.is_none() {
                break;
            }
        }
    }
    for status in [JobStatus::Due, JobStatus::Dead, JobStatus::Running] {
        let mut after = None;
        loop {
            let query = Query::by(&JOBS, "status").equal(status.name()).limit(PAGE).after(after);
            let (page, next) = find::<Job>(store, query).await?;
            for found in page {
                let Some((connection_id, credential)) = revocation::credential(&found.value) else {
                    continue;
                };
                let Some(sealed) = told.again(&credential, sealer, &connection_id) else { continue };
                if status == JobStatus::Running {
                    // Whoever is at it ends it at the version that they know.
                    told.left += 1;
                    continue;
                }
                let Some(job) = revocation::with_credential(&found.value, sealed) else { continue };
                told.commit(store, Batch::new().replace(&job, found.version)).await;
            }
            after = next;
            if after.is_none() {
                break;
            }
        }
    }
    Ok(told)
}

impl Resealed {
    /// The credential under the present key, unless it is sealed with that, or does not open.
    fn again(
        &mut self,
        credential: &SealedCredential,
        sealer: &dyn Sealer,
        connection_id: &str,
    ) -> Option<SealedCredential> {
        if credential.is_current(sealer) {
            self.current += 1;
            return None;
        }
        let sealed = credential.resealed(sealer, connection_id).ok();
        self.unreadable += usize::from(sealed.is_none());
        sealed
    }

    async fn commit(&mut self, store: &dyn Store, batch: Batch) {
        match store.commit(batch).await {
            Ok(()) => self.resealed += 1,
            Err(_) => self.left += 1,
        }
    }
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
    async fn what_waits_to_be_revoked_is_sealed_again_too_and_what_is_being_revoked_is_left() {
        let store = MemoryStore::default();
        for (n, status) in ["due", "dead", "running"].into_iter().enumerate() {
            let job = json!({
                "id": format!("j{n}"), "kind": "bank_revocation", "status": status, "dueAt": 0, "attempts": 0,
                "createdAt": 0, "payload": {
                    "provider": "sandbox", "connectionId": "c1",
                    "credential": {"sealed": "k1|connections/c1/credential|00"},
                },
            });
            let job: Job = serde_json::from_value(job).unwrap();
            store.commit(Batch::new().insert(&job)).await.unwrap();
        }
        let mail = Job::new("mail".to_owned(), "order_mail", &json!({"orderId": "o1"}), Default::default());
        store.commit(Batch::new().insert(&mail)).await.unwrap();
        let sealer = WeakSealer::new(&["k2", "k1"]);
        let told = reseal(&store, &sealer).await.unwrap();
        assert_eq!(told, Resealed { resealed: 2, current: 0, left: 1, unreadable: 0 });
        for id in ["j0", "j1"] {
            let job = load::<Job>(&store, id).await.unwrap().unwrap().value;
            let (connection_id, credential) = revocation::credential(&job).unwrap();
            assert!(credential.open(&WeakSealer::new(&["k2"]), &connection_id).is_ok(), "{id}");
        }
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
