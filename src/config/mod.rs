//! Configuration: compiled-in defaults, a file, the environment; typed, checked as a whole, and
//! refused with the key, its value and what would do.
//!
//! Who calls it: the command line loads it, the composition root reads it; a part of the server is
//! given the struct of its concern and nothing else. What never happens here: a secret in an error
//! or a listing, or a key that is read past these types.

mod check;
mod load;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use secrecy::SecretString;
use serde::Deserialize;

pub use check::Refusal;
pub use load::{Effective, Fault, Loaded, Origin, load, load_from_process};

/// All of it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// How strict to be.
    pub profile: Profile,
    /// How HTTP is served.
    pub http: Http,
    /// Where files go.
    pub data: Data,
    /// The store for production.
    pub mongodb: Mongodb,
    /// Where session tokens are looked up first.
    pub redis: Redis,
    /// The first admin.
    #[serde(default)]
    pub admin: Admin,
    /// How mails leave.
    pub email: Email,
    /// Who moves money.
    #[serde(default)]
    pub payments: Payments,
    /// Faked providers.
    pub sandbox: Sandbox,
    /// How replicas share work.
    pub cluster: Cluster,
    /// What is logged, and how.
    pub log: Log,
    /// What production accepts all the same.
    pub allow: Allow,
}

/// How strict to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// One machine; what is missing is made up.
    Local,
    /// Shared, but nobody's money.
    Development,
    /// Nothing embedded, faked or made up.
    Production,
}

/// `[http]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Http {
    /// Address and port to listen on; port 0 picks one.
    pub bind: String,
    /// Address and port for probes and figures only; none if absent.
    pub operations_bind: Option<String>,
    /// Where clients find it; from `bind` if absent.
    pub public_url: Option<String>,
    /// Pages from these origins may call from a browser.
    #[serde(deserialize_with = "load::list")]
    pub cors_origins: Vec<String>,
    /// Worker threads; one per processor if absent.
    pub workers: Option<usize>,
    /// Connections per worker thread; more wait.
    pub max_connections: usize,
    /// Seconds until an answer must have begun.
    pub deadline_seconds: u64,
    /// Seconds that running requests get when the server stops.
    pub shutdown_seconds: u64,
}

/// `[data]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Data {
    /// The embedded store, the sandbox's state, mails.
    pub dir: PathBuf,
}

/// `[mongodb]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mongodb {
    /// Absent: the embedded store.
    pub uri: Option<SecretString>,
    /// The database's name.
    pub database: String,
}

/// `[redis]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Redis {
    /// Absent: the store is asked.
    pub uri: Option<SecretString>,
    /// Begins every key.
    pub prefix: String,
}

/// `[admin]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Admin {
    /// Absent: made up, in the local profile only.
    pub email: Option<String>,
    /// Absent: made up, in the local profile only.
    pub password: Option<SecretString>,
}

/// `[email]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Email {
    /// `smtp://` or `smtps://`; absent: files.
    pub smtp_uri: Option<SecretString>,
    /// A mailbox, such as `Steward <steward@example.org>`.
    pub from: String,
    /// Where files go; `<data.dir>/outbox` if absent.
    pub dir: Option<PathBuf>,
}

/// `[payments]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Payments {
    /// A server with Stripe's API; absent: the sandbox.
    pub stripe_url: Option<String>,
    /// Its secret key.
    pub stripe_key: Option<SecretString>,
    /// What its webhooks are signed with; absent: the sandbox's.
    pub webhook_secret: Option<SecretString>,
}

/// `[sandbox]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sandbox {
    /// Absent: except in production. Read [`Config::runs_sandbox`] instead.
    pub enabled: Option<bool>,
    /// Where it listens.
    pub bind: String,
    /// One that runs elsewhere.
    pub url: Option<String>,
    /// Whether it tells of payments by webhook.
    pub webhooks: bool,
    /// Where to; absent: to the server that it runs in.
    pub webhook_url: Option<String>,
}

/// `[cluster]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cluster {
    /// Seconds without a heartbeat after which a replica's work is taken over.
    pub lease_seconds: u64,
    /// Seconds between heartbeats.
    pub heartbeat_seconds: u64,
}

/// `[log]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// Absent: by whether a terminal reads it.
    pub format: Option<LogFormat>,
    /// A level, or directives.
    pub filter: String,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    Pretty,
    /// One object a line.
    Json,
}

/// `[allow]`: what production accepts all the same.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Allow {
    /// Faked providers.
    pub sandbox: bool,
    /// The store inside the process.
    pub embedded_store: bool,
    /// Mails as files.
    pub mail_files: bool,
}

impl Config {
    /// Whether providers are faked inside this process.
    pub fn runs_sandbox(&self) -> bool {
        let wanted = self.sandbox.enabled.unwrap_or(self.profile != Profile::Production);
        wanted && self.sandbox.url.is_none()
    }

    /// Where mails go as files.
    pub fn mail_dir(&self) -> PathBuf {
        self.email.dir.clone().unwrap_or_else(|| self.data.dir.join("outbox"))
    }
}
