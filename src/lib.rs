//! The Steward server: adapters, HTTP, configuration and the composition root around
//! [`steward_actors`].

pub mod app;
pub mod cli;
pub mod config;
pub mod crypto;
pub mod http;
pub mod passwords;
pub mod providers;
pub mod sandbox;
pub mod storage;
pub mod telemetry;
