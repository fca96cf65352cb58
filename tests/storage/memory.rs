//! The store in memory, which every other test stands on.

use std::sync::Arc;

use steward_actors::testing::MemoryStore;

use crate::contract::{self, Harness};

async fn harness() -> Option<Harness> {
    Some(Harness::of(Arc::new(MemoryStore::default())))
}

contract::suite!(harness);
