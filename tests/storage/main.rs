//! The storage port's contract, run over every adapter, and what is particular to each.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod contract;
#[path = "../support/databases.rs"]
mod databases;
mod memory;
mod mongo;
mod sqlite;
mod stock;
