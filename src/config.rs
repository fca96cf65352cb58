//! To come.

use serde::Deserialize;

/// How HTTP is served.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Http {
    /// Address and port to listen on; port 0 picks one.
    pub bind: String,
    /// Where clients find it; from `bind` if absent.
    #[serde(default)]
    pub public_url: Option<String>,
    /// Which pages may call from a browser.
    pub cors_origins: Vec<String>,
    /// Worker threads; one per processor if absent.
    #[serde(default)]
    pub workers: Option<usize>,
    /// Connections per worker thread; more wait.
    pub max_connections: usize,
    /// Seconds until an answer must have begun.
    pub deadline_seconds: u64,
    /// Seconds that running requests get when the server stops.
    pub shutdown_seconds: u64,
}
