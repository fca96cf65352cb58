//! The embedded default.

use std::path::Path;
use std::sync::Arc;

use steward::storage::sqlite::{OpenError, SqliteStore};

use crate::contract::{self, Harness, SCHEMA};

fn open(directory: &Path) -> Result<SqliteStore, OpenError> {
    SqliteStore::open(&directory.join("steward.db"), SCHEMA)
}

async fn harness() -> Option<Harness> {
    let directory = tempfile::tempdir().unwrap();
    let store = Arc::new(open(directory.path()).unwrap());
    Some(Harness { keep: Some(Box::new(directory)), ..Harness::of(store) })
}

contract::suite!(harness);
