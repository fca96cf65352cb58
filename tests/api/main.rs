//! The API as clients see it: real HTTP against a server on port 0.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod connections;
mod frame;
mod limits;
mod support;
