//! The store on a real MongoDB: `STEWARD_TEST_MONGODB_URI`, which `scripts/services` provides.

mod abandoned;
mod ambiguity;
mod initiation;
mod lookups;
mod migration;
mod outages;
mod plans;
mod proxy;
mod schema_plans;

use std::sync::Arc;

use secrecy::SecretString;
use steward::storage::mongo::{Deadlines, MongoStore};
use steward_actors::store::Collection;

use crate::contract::{self, Harness, SCHEMA};
use crate::databases;

/// The replica set's URI. Tests that need it fail without it: a skipped test proves nothing.
pub fn uri() -> String {
    std::env::var("STEWARD_TEST_MONGODB_URI").expect(
        "STEWARD_TEST_MONGODB_URI names the MongoDB to test against; \
         eval \"$(scripts/services start)\" starts one and sets it",
    )
}

/// A database of its own for one test, dropped at the test's end, however it ends.
pub struct Database {
    pub name: String,
}

impl Database {
    pub fn new() -> Self {
        Self { name: format!("steward_test_{}", steward_actors::ids::new_id().replace('-', "")) }
    }

    /// The database as one more replica sees it.
    pub async fn connect(&self, uri: &str, schema: &[&'static Collection]) -> MongoStore {
        MongoStore::connect(&SecretString::from(uri), &self.name, schema).await.unwrap()
    }

    /// The same, with other deadlines.
    pub async fn connect_within(
        &self,
        uri: &str,
        schema: &[&'static Collection],
        deadlines: Deadlines,
    ) -> MongoStore {
        MongoStore::connect_within(&SecretString::from(uri), &self.name, schema, deadlines).await.unwrap()
    }

    /// The database with the suite's collections.
    pub async fn migrated(&self) -> MongoStore {
        let store = self.connect(&uri(), SCHEMA).await;
        store.migrate().await.unwrap();
        store
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        databases::drop_all(uri(), vec![self.name.clone()]);
    }
}

async fn harness() -> Option<Harness> {
    let database = Database::new();
    let store = database.migrated().await;
    let other = database.connect(&uri(), SCHEMA).await;
    Some(Harness { store: Arc::new(store), other: Arc::new(other), keep: Some(Box::new(database)) })
}

contract::suite!(harness);
