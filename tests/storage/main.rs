//! The storage port's contract, run over every adapter, and what is particular to each.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod contract;
mod memory;
mod mongo;
mod sqlite;
mod stock;
