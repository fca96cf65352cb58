//! Adapters of the storage and session ports.

pub mod mongo;
pub mod redis;
pub mod sqlite;
