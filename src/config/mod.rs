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
    /// What keeps secrets secret at rest.
    #[serde(default)]
    pub secrets: Secrets,
    /// Access tokens.
    pub auth: Auth,
    /// The first admin.
    #[serde(default)]
    pub admin: Admin,
    /// How mails leave.
    pub email: Email,
    /// Who moves money.
    #[serde(default)]
    pub payments: Payments,
    /// Whose bank data is taken.
    pub simplefin: SimpleFin,
    /// Who publishes exchange rates.
    #[serde(default)]
    pub rates: Rates,
    /// Who knows addresses.
    pub geocoding: Geocoding,
    /// Banks by Plaid.
    pub plaid: Plaid,
    /// Faked providers.
    pub sandbox: Sandbox,
    /// How often clients may ask.
    pub limits: Limits,
    /// How replicas share work.
    pub cluster: Cluster,
    /// How linked connections are kept up to date.
    pub sync: Sync,
    /// What is logged, and how.
    pub log: Log,
    /// Where traces and error reports go.
    #[serde(default)]
    pub telemetry: Telemetry,
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
    /// Addresses and networks of proxies whose `X-Forwarded-For` counts.
    #[serde(deserialize_with = "load::list")]
    pub trusted_proxies: Vec<String>,
    /// Worker threads; one per processor if absent.
    pub workers: Option<usize>,
    /// Connections per worker thread; more wait.
    pub max_connections: usize,
    /// Seconds that the head of a request may take, from its first byte.
    pub head_seconds: u64,
    /// Seconds that the body of a request may take.
    pub body_seconds: u64,
    /// Seconds that a connection may ask nothing.
    pub idle_seconds: u64,
    /// Seconds until an answer must have begun.
    pub deadline_seconds: u64,
    /// Seconds in which clients are told to leave, before the server stops.
    pub drain_seconds: u64,
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

/// `[secrets]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Secrets {
    /// 32 bytes in base64, or several with commas between them: the first seals, all open. Absent:
    /// made once and kept in the store, which protects nothing from who has the store.
    pub key: Option<SecretString>,
}

/// `[auth]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Auth {
    /// Who issues access tokens (`iss`).
    pub issuer: String,
    /// For whom (`aud`).
    pub audience: String,
    /// A PEM file with the keys that sign them; absent: made and shared in the store.
    pub jwt_keys: Option<PathBuf>,
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

/// `[simplefin]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SimpleFin {
    /// Hosts that setup tokens and access URLs may name; others are refused.
    #[serde(deserialize_with = "load::list")]
    pub hosts: Vec<String>,
    /// Requests in a minute, of all replicas together.
    pub requests_per_minute: u32,
}

/// `[rates]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rates {
    /// A document in the ECB's form; absent: the sandbox's.
    pub url: Option<String>,
}

/// `[geocoding]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Geocoding {
    /// Whether the addresses of orders are looked up.
    pub enabled: bool,
    /// An endpoint in OpenCage's form; absent: the sandbox's.
    pub url: Option<String>,
    /// Its key.
    pub key: Option<SecretString>,
}

/// `[plaid]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plaid {
    /// Where it is; absent: the sandbox.
    pub url: Option<String>,
    /// Who we are there.
    pub client_id: Option<String>,
    /// Our secret.
    pub secret: Option<SecretString>,
    /// Where it sends webhooks; from `http.public_url` if absent.
    pub webhook_url: Option<String>,
    /// ISO 3166 codes of the countries whose banks can be linked.
    #[serde(deserialize_with = "load::list")]
    pub country_codes: Vec<String>,
    /// Requests in a minute, of all replicas together.
    pub requests_per_minute: u32,
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

/// `[limits]`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Whether there are any.
    pub enabled: bool,
    /// Requests of one user in a minute.
    pub user_per_minute: u32,
    /// Requests without a good token from one address in a minute.
    pub address_per_minute: u32,
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

/// How linked connections are kept up to date.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sync {
    /// Seconds from one good run to the next; a tenth more or less.
    pub interval_seconds: u64,
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

/// `[telemetry]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Telemetry {
    /// A collector that takes OTLP over HTTP; absent: spans are not sent.
    pub otlp_url: Option<String>,
    /// A webhook that gets error reports; absent: they are only logged.
    pub errors_url: Option<SecretString>,
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
    /// A `secrets.key` next to what it protects.
    pub made_up_secrets: bool,
    /// No limits on how often clients may ask.
    pub unlimited: bool,
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
