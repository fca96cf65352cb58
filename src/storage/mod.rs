//! Adapters of the storage and session ports.

pub mod backup;
pub mod mongo;
pub mod redis;
pub mod sqlite;
