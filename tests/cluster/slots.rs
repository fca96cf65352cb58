//! The slots of linked connections: shared evenly, handed over, never with a falling epoch.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::pair;
use crate::support::{Client, eventually};

/// The slots of each live replica by the store's word, with their epochs.
pub async fn slots(admin: &Client) -> BTreeMap<String, BTreeMap<u64, u64>> {
    let shown = admin.get("/v1/admin/replicas").await.expect(200);
    let live = shown["items"].as_array().unwrap().iter().filter(|replica| replica["live"] == true);
    let of = |replica: &Value| {
        let slots = replica["slots"].as_array().unwrap().iter();
        slots.map(|slot| (slot["slot"].as_u64().unwrap(), slot["epoch"].as_u64().unwrap())).collect()
    };
    live.map(|replica| (replica["id"].as_str().unwrap().to_owned(), of(replica))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slots_are_shared_evenly_and_change_hands_with_rising_epochs() {
    // Given two replicas that share the slots,
    let pair = pair().await;
    let admin = Client::admin(&pair.second.url).await;
    let shared = eventually("both have half", Duration::from_secs(10), async || {
        let slots = slots(&admin).await;
        (slots.len() == 2 && slots.values().all(|of| of.len() == 128)).then_some(slots)
    })
    .await;
    let before: BTreeMap<u64, u64> = shared.values().flatten().map(|(slot, epoch)| (*slot, *epoch)).collect();
    assert_eq!(before.len(), 256);

    // when one leaves, then the other has all of them before it can be seen that it has left,
    assert_eq!(pair.first.terminate().await, Some(0));
    let left = Instant::now();
    let (other, alone) = eventually("the other has all", Duration::from_secs(2), async || {
        let slots = slots(&admin).await;
        slots.into_iter().find(|(_, of)| of.len() == 256)
    })
    .await;
    eprintln!("handed over {:?} after the end of the process", left.elapsed());

    // and of those that moved the epoch has risen. Of the others it may have: on a machine so busy
    // that the other's lease lapsed it claimed its own anew.
    let stayed = &shared[&other];
    for (slot, epoch) in &alone {
        let least = before[slot] + u64::from(!stayed.contains_key(slot));
        assert!(*epoch >= least, "slot {slot}: {epoch} after {}", before[slot]);
    }
    let metrics = format!("{}/metrics", pair.second.url);
    eventually("the figures say so", Duration::from_secs(5), async || {
        let figures = reqwest::get(&metrics).await.unwrap().text().await.unwrap();
        let owned = "steward_slots_owned{kind=\"sync\"} 256";
        (figures.contains(owned) && figures.contains("steward_slots_moved_total")).then_some(())
    })
    .await;
}
