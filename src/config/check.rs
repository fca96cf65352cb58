//! What types alone don't say: values that make no sense, and what production refuses. Pure.

use secrecy::ExposeSecret;
use tracing_subscriber::EnvFilter;
use url::{Host, Url};

use super::load::Fault;
use super::{Config, Profile};
use crate::crypto::AesSealer;
use crate::http::address::network;
use crate::storage::redis::RedisPool;

/// Something that must not run in production.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("production refuses {what}; {remedy}, or accept it with {permit} = true")]
pub struct Refusal {
    /// What it is.
    pub what: &'static str,
    /// What would do.
    pub remedy: &'static str,
    /// The key that accepts it all the same.
    pub permit: &'static str,
}

/// The `secrets.key` that `config/default.toml` shows.
const EXAMPLE_KEY: &str = "YW4gZXhhbXBsZSwgbmV2ZXIgYSByZWFsIHNlY3JldCE=";

impl Config {
    /// What of this must not run in production and isn't permitted by name; empty in other
    /// profiles.
    pub fn refusals(&self) -> Vec<Refusal> {
        if self.profile != Profile::Production {
            return Vec::new();
        }
        let faked = self.sandbox.enabled == Some(true)
            || self.sandbox.url.is_some()
            || self.payments.stripe_url.is_none()
            || self.plaid.url.as_deref().is_some_and(is_faked_plaid);
        let key = self.secrets.key.as_ref().map(|key| key.expose_secret());
        let made_up = key.is_none_or(|key| key.contains(EXAMPLE_KEY));
        let found = [
            (
                faked && !self.allow.sandbox,
                Refusal {
                    what: "providers that are faked",
                    remedy: "set payments.stripe_url and payments.stripe_key to the real ones, and plaid.url if there is one; leave [sandbox] alone",
                    permit: "allow.sandbox",
                },
            ),
            (
                self.mongodb.uri.is_none() && !self.allow.embedded_store,
                Refusal {
                    what: "the embedded store",
                    remedy: "set mongodb.uri",
                    permit: "allow.embedded_store",
                },
            ),
            (
                made_up && !self.allow.made_up_secrets,
                Refusal {
                    what: "a secrets.key that is made up",
                    remedy: "set secrets.key (openssl rand -base64 32)",
                    permit: "allow.made_up_secrets",
                },
            ),
            (
                !self.limits.enabled && !self.allow.unlimited,
                Refusal {
                    what: "clients that may ask as often as they like",
                    remedy: "set limits.enabled = true",
                    permit: "allow.unlimited",
                },
            ),
            (
                self.email.smtp_uri.is_none() && !self.allow.mail_files,
                Refusal {
                    what: "mails that go to files",
                    remedy: "set email.smtp_uri",
                    permit: "allow.mail_files",
                },
            ),
        ];
        found.into_iter().filter_map(|(refused, refusal)| refused.then_some(refusal)).collect()
    }

    /// Values that make no sense, all of them.
    pub(super) fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        let mut check = |fine: bool, key: &str, problem: &str, remedy: &str| {
            if !fine {
                faults.push(Fault {
                    key: key.to_owned(),
                    value: None,
                    origin: None,
                    problem: problem.to_owned(),
                    remedy: remedy.to_owned(),
                });
            }
        };
        const ADDRESS: (&str, &str) = ("is no address with a port", "write 127.0.0.1:8080, or [::]:8080");
        const WEB: (&str, &str) = ("is no web address", "write https://host, without a query");

        let http = &self.http;
        check(is_address(&http.bind), "http.bind", ADDRESS.0, ADDRESS.1);
        let operations = http.operations_bind.as_deref().is_none_or(is_address);
        check(operations, "http.operations_bind", ADDRESS.0, ADDRESS.1);
        check(http.public_url.as_deref().is_none_or(is_web), "http.public_url", WEB.0, WEB.1);
        check(
            http.cors_origins.iter().all(|origin| is_origin(origin)),
            "http.cors_origins",
            "has something in it that is no origin",
            "write scheme and host only, such as https://app.example.org, each by name",
        );
        check(
            (1..=1024).contains(&http.workers.unwrap_or(1)),
            "http.workers",
            "is out of range",
            "use 1 to 1024",
        );
        let connections = (1..=1_000_000).contains(&http.max_connections);
        check(connections, "http.max_connections", "is out of range", "use 1 to 1000000");
        let deadline = (1..=600).contains(&http.deadline_seconds);
        check(deadline, "http.deadline_seconds", "is out of range", "use 1 to 600");
        for (key, seconds) in [
            ("http.head_seconds", http.head_seconds),
            ("http.body_seconds", http.body_seconds),
            ("http.idle_seconds", http.idle_seconds),
        ] {
            check((1..=600).contains(&seconds), key, "is out of range", "use 1 to 600");
        }
        check(
            http.trusted_proxies.iter().all(|text| network(text).is_some()),
            "http.trusted_proxies",
            "has something in it that is no address",
            "write addresses or networks, such as 10.0.0.7 or 10.0.0.0/8",
        );
        for (key, uses) in [
            ("limits.user_per_minute", self.limits.user_per_minute),
            ("limits.address_per_minute", self.limits.address_per_minute),
            ("plaid.requests_per_minute", self.plaid.requests_per_minute),
            ("simplefin.requests_per_minute", self.simplefin.requests_per_minute),
        ] {
            check((1..=1_000_000).contains(&uses), key, "is out of range", "use 1 to 1000000");
        }
        check(http.drain_seconds <= 600, "http.drain_seconds", "is out of range", "use 0 to 600");
        check(http.shutdown_seconds <= 600, "http.shutdown_seconds", "is out of range", "use 0 to 600");
        check(!self.data.dir.as_os_str().is_empty(), "data.dir", "is empty", "name a directory");

        let uri = |secret: &Option<secrecy::SecretString>, schemes: &[&str]| {
            secret
                .as_ref()
                .is_none_or(|uri| schemes.iter().any(|scheme| uri.expose_secret().starts_with(scheme)))
        };
        let mongodb = uri(&self.mongodb.uri, &["mongodb://", "mongodb+srv://"]);
        check(mongodb, "mongodb.uri", "is no MongoDB URI", "begin it with mongodb:// or mongodb+srv://");
        check(
            is_name(&self.mongodb.database),
            "mongodb.database",
            "is no name",
            "use letters, digits, _ and -",
        );
        let redis = self.redis.uri.as_ref().is_none_or(RedisPool::takes);
        check(
            redis,
            "redis.uri",
            "is no Redis URI",
            "write redis://host:port, redis+sentinel://host,host/name or redis+cluster://host,host; rediss for TLS",
        );
        let secrets = self.secrets.key.as_ref().map(AesSealer::new);
        check(
            secrets.is_none_or(|read| read.is_ok()),
            "secrets.key",
            "is no key",
            "use 32 bytes in base64 (openssl rand -base64 32); several with commas between them to change it",
        );
        const NAME: (&str, &str) =
            ("is no name", "use 1 to 200 visible characters, such as https://api.example.org");
        check(is_visible(&self.auth.issuer), "auth.issuer", NAME.0, NAME.1);
        check(is_visible(&self.auth.audience), "auth.audience", NAME.0, NAME.1);
        let smtp = uri(&self.email.smtp_uri, &["smtp://", "smtps://"]);
        check(smtp, "email.smtp_uri", "is no SMTP URI", "begin it with smtp:// or smtps://");
        check(
            self.email.from.parse::<lettre::message::Mailbox>().is_ok(),
            "email.from",
            "is no mailbox",
            "write Name <name@host>",
        );
        check(
            self.admin.email.is_some() == self.admin.password.is_some(),
            if self.admin.email.is_some() { "admin.password" } else { "admin.email" },
            "is missing while the other of the two is there",
            "set both or neither",
        );
        let stripe = self.payments.stripe_url.as_deref().is_none_or(is_web);
        check(stripe, "payments.stripe_url", WEB.0, WEB.1);
        check(
            self.payments.stripe_url.is_some() == self.payments.stripe_key.is_some(),
            if self.payments.stripe_url.is_some() { "payments.stripe_key" } else { "payments.stripe_url" },
            "is missing while the other of the two is there",
            "set both or neither",
        );
        check(
            self.simplefin.hosts.iter().all(|host| is_host(host)),
            "simplefin.hosts",
            "has something in it that is no host name",
            "write names only, such as bridge.simplefin.org, without https:// and port",
        );
        check(self.rates.url.as_deref().is_none_or(is_web), "rates.url", WEB.0, WEB.1);
        let geocoding = &self.geocoding;
        check(
            geocoding.url.as_deref().is_none_or(is_safe_web),
            "geocoding.url",
            "is no encrypted web address, and a key is sent there",
            "write https://host/path, without a query",
        );
        check(
            geocoding.url.is_some() == geocoding.key.is_some(),
            if geocoding.url.is_some() { "geocoding.key" } else { "geocoding.url" },
            "is missing while the other of the two is there",
            "set both or neither",
        );
        check(
            self.plaid.url.as_deref().is_none_or(is_safe_web),
            "plaid.url",
            "is no encrypted web address, and a secret is sent there",
            "write https://host, without a query",
        );
        let plaid = &self.plaid;
        for (key, is_there) in [
            ("plaid.url", plaid.url.is_some()),
            ("plaid.client_id", plaid.client_id.is_some()),
            ("plaid.secret", plaid.secret.is_some()),
        ] {
            let none = plaid.url.is_none() && plaid.client_id.is_none() && plaid.secret.is_none();
            check(
                none || is_there,
                key,
                "is missing while others of plaid are there",
                "set all three or none",
            );
        }
        let identified = plaid.client_id.as_deref().is_none_or(is_visible);
        check(identified, "plaid.client_id", NAME.0, "use the client_id that Plaid's dashboard shows");
        check(plaid.webhook_url.as_deref().is_none_or(is_web), "plaid.webhook_url", WEB.0, WEB.1);
        let country = |code: &String| code.len() == 2 && code.bytes().all(|b| b.is_ascii_uppercase());
        check(
            !plaid.country_codes.is_empty() && plaid.country_codes.iter().all(country),
            "plaid.country_codes",
            "has something in it that is no country",
            "write two capital letters each, such as US",
        );
        check(is_address(&self.sandbox.bind), "sandbox.bind", ADDRESS.0, ADDRESS.1);
        let webhooks = self.sandbox.webhook_url.as_deref().is_none_or(is_web);
        check(webhooks, "sandbox.webhook_url", WEB.0, WEB.1);
        check(self.sandbox.url.as_deref().is_none_or(is_web), "sandbox.url", WEB.0, WEB.1);
        let lease = (1..=300).contains(&self.cluster.lease_seconds);
        check(lease, "cluster.lease_seconds", "is out of range", "use 1 to 300");
        let interval = (5..=7 * 24 * 3600).contains(&self.sync.interval_seconds);
        check(interval, "sync.interval_seconds", "is out of range", "use 5 to 604800");
        let beat = self.cluster.heartbeat_seconds;
        check(
            beat >= 1 && beat.saturating_mul(3) <= self.cluster.lease_seconds.max(3),
            "cluster.heartbeat_seconds",
            "leaves no room for a lost heartbeat",
            "use 1 or more, and a third of cluster.lease_seconds at most",
        );
        let otlp = self.telemetry.otlp_url.as_deref().is_none_or(is_web);
        check(otlp, "telemetry.otlp_url", WEB.0, "write http://collector:4318, without /v1/traces");
        let errors = self.telemetry.errors_url.as_ref().is_none_or(|url| {
            Url::parse(url.expose_secret()).is_ok_and(|url| matches!(url.scheme(), "http" | "https"))
        });
        check(errors, "telemetry.errors_url", "is no web address", "write https://host/path");
        check(
            EnvFilter::try_new(&self.log.filter).is_ok(),
            "log.filter",
            "is no filter",
            "use error, warn, info, debug, trace, or directives such as info,steward=debug",
        );
        faults
    }
}

fn is_address(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| {
        let bare_v6 = host.contains(':') && !host.starts_with('[');
        !host.is_empty() && !bare_v6 && port.parse::<u16>().is_ok()
    })
}

/// Plaid's own sandbox, or something that is not even behind TLS.
fn is_faked_plaid(url: &str) -> bool {
    !url.starts_with("https://") || url.contains("//sandbox.plaid.com")
}

fn is_web(text: &str) -> bool {
    Url::parse(text).is_ok_and(|url| {
        matches!(url.scheme(), "http" | "https")
            && url.host().is_some()
            && url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty()
    })
}

/// Encrypted, or within this machine.
fn is_safe_web(text: &str) -> bool {
    is_web(text)
        && Url::parse(text).is_ok_and(|url| {
            url.scheme() == "https"
                || match url.host() {
                    Some(Host::Domain(name)) => name == "localhost",
                    Some(Host::Ipv4(ip)) => ip.is_loopback(),
                    Some(Host::Ipv6(ip)) => ip.is_loopback(),
                    None => false,
                }
        })
}

/// A name, in the form in which URLs have it.
fn is_host(text: &str) -> bool {
    matches!(Host::parse(text), Ok(Host::Domain(name)) if name == text)
}

fn is_origin(text: &str) -> bool {
    Url::parse(text).is_ok_and(|url| is_web(text) && url.origin().ascii_serialization() == text)
}

fn is_visible(text: &str) -> bool {
    (1..=200).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
}

fn is_name(text: &str) -> bool {
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
    (1..=63).contains(&text.len()) && text.bytes().all(legal)
}
