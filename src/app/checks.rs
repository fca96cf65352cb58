//! What `steward doctor` asks of the adapters: each dependency that the configuration names, by a
//! question that changes nothing.
//!
//! Who calls it: the command line. What never happens here: a charge, a mail, a migration, or a wait
//! without a deadline.

use std::fmt::Display;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use secrecy::SecretString;
use steward_actors::cluster::Clock;
use steward_actors::providers::{
    ExchangeRates, Finding, Geocoding, GeocodingError, PaymentError, Payments, PostalAddress,
};
use steward_actors::store::{Store, StoreError};
use steward_actors::time::Timestamp;
use steward_actors::users::{Password, PasswordHasher};

use super::check::Check;
use super::outside::configured_plaid;
use super::stores::OpenStore;
use crate::config::Config;
use crate::passwords::Argon2Passwords;
use crate::providers::{Courier, EcbRates, OpenCage, PlaidBank, SmtpMailer, StripePayments, Timeouts};
use crate::storage::mongo::{ConnectError, MongoStore};
use crate::storage::redis::RedisPool;

/// How far this machine's clock may be from the database's. Steward itself goes by the database's.
const SKEW: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// Bytes that must be free where data.dir is; with fewer than the second it is said.
const FREE: (u64, u64) = (64 << 20, 1 << 30);
/// How long a replica that died may hold records locked before it is worth saying.
const LOCKED: Duration = Duration::from_secs(10);

/// Looks at everything that is configured.
pub async fn checks(config: &Config) -> Vec<Check> {
    let mut checks = store(config).await;
    checks.push(redis(config).await);
    checks.extend(admin_password(config).await);
    if config.mongodb.uri.is_none() || config.runs_sandbox() {
        checks.push(disk(&config.data.dir));
    }
    checks.extend(mail(config).await);
    checks.push(payments(config).await);
    checks.extend(plaid(config).await);
    checks.extend(rates(config).await);
    checks.extend(geocoding(config).await);
    checks
}

async fn store(config: &Config) -> Vec<Check> {
    let Some(uri) = &config.mongodb.uri else {
        return vec![match OpenStore::open(config).await {
            Ok(opened) => {
                let detail = opened.in_words();
                opened.close().await;
                Check::ok("store", detail)
            }
            Err(error) => {
                Check::fail("store", error.to_string(), "stop the other process, or use another data.dir")
            }
        }];
    };
    let found = MongoStore::connect(uri, &config.mongodb.database, super::schema::SCHEMA).await;
    let store = match found {
        Ok(store) => store,
        Err(error) => return vec![unconnected(&error)],
    };
    let migrated = match store.missing().await {
        Ok(missing) if missing.is_empty() => Check::ok("store", "MongoDB, migrated"),
        Ok(missing) => Check::warn("store", missing.join("; "), "run `steward migrate`"),
        Err(error) => Check::fail("store", error.to_string(), "check what this user may do"),
    };
    let transactions = transactions(store.transaction_lifetime().await, store.ends_abandoned());
    vec![migrated, transactions, clock(&store).await]
}

fn unconnected(error: &ConnectError) -> Check {
    let remedy = match error {
        ConnectError::Uri(_) => "write mongodb.uri as mongodb://user:password@host1,host2/?replicaSet=rs0",
        ConnectError::Unreachable(_) => "check mongodb.uri, and that MongoDB runs and has a primary",
        ConnectError::NoReplicaSet | ConnectError::NotInitiated(_) => {
            "give mongod --replSet rs0, then run `steward migrate --initiate-replica-set` once"
        }
        ConnectError::TooOld(_) => "upgrade MongoDB to 6.0 or later",
    };
    Check::fail("store", error.to_string(), remedy)
}

fn transactions(lifetime: Result<Duration, StoreError>, ends_abandoned: bool) -> Check {
    let name = "mongodb transactions";
    match lifetime {
        Err(error) => Check::warn(
            name,
            format!("transactionLifetimeLimitSeconds is not told: {error}"),
            "see that it is 10 or less, or leave appName out of mongodb.uri",
        ),
        Ok(lifetime) if ends_abandoned => Check::ok(
            name,
            format!("ended by the server after {} s, by other replicas after 2 s", lifetime.as_secs()),
        ),
        Ok(lifetime) if lifetime <= LOCKED => {
            Check::ok(name, format!("ended by the server after {} s", lifetime.as_secs()))
        }
        Ok(lifetime) => Check::warn(
            name,
            format!(
                "a replica that dies inside one locks its records for {} s, as mongodb.uri has an appName",
                lifetime.as_secs()
            ),
            "leave appName out, or set the server's transactionLifetimeLimitSeconds to 10 or less",
        ),
    }
}

async fn clock(store: &MongoStore) -> Check {
    let before = SystemTime::now();
    let theirs = match store.time().await {
        Ok(theirs) => theirs.as_millis(),
        Err(error) => return Check::fail("clock", error.to_string(), "check that MongoDB answers"),
    };
    let half = before.elapsed().unwrap_or_default() / 2;
    let ours = before.duration_since(UNIX_EPOCH).unwrap_or_default() + half;
    let ours = i64::try_from(ours.as_millis()).unwrap_or(i64::MAX);
    skewed(ours.saturating_sub(theirs), half)
}

/// `ahead` is by how many milliseconds this machine's clock is before the database's, give or take
/// `uncertain`.
fn skewed(ahead: i64, uncertain: Duration) -> Check {
    let apart = Duration::from_millis(ahead.unsigned_abs()).saturating_sub(uncertain);
    let side = if ahead < 0 { "behind" } else { "ahead of" };
    let what = format!("this machine is {:.1} s {side} the database", apart.as_secs_f64());
    let remedy =
        "have both follow a time server (NTP); others judge our tokens and certificates by the clock";
    match apart {
        apart if apart >= SKEW.1 => Check::fail("clock", what, remedy),
        apart if apart >= SKEW.0 => Check::warn("clock", what, remedy),
        _ => Check::ok("clock", format!("as the database's, within {} ms", uncertain.as_millis().max(1))),
    }
}

async fn redis(config: &Config) -> Check {
    let Some(uri) = &config.redis.uri else {
        return match &config.mongodb.uri {
            Some(_) => Check::warn(
                "redis",
                "without redis.uri only one replica can run on this database",
                "set redis.uri for more than one",
            ),
            None => Check::ok("redis", "none, the embedded store is asked"),
        };
    };
    let there = match RedisPool::connect(uri, &config.redis.prefix) {
        Ok(pool) => pool.ping().await,
        Err(error) => Err(error),
    };
    match there {
        Ok(()) => Check::ok("redis", "answers"),
        Err(error) => Check::fail("redis", error.to_string(), "check redis.uri, and that Redis runs"),
    }
}

async fn admin_password(config: &Config) -> Option<Check> {
    let name = "admin.password";
    let remedy = "use a longer one that is not made of words, names and dates";
    let (email, password) = config.admin.email.as_ref().zip(config.admin.password.clone())?;
    let password = match Password::parse(password) {
        Ok(password) => password,
        Err(error) => return Some(Check::fail(name, error.to_string(), remedy)),
    };
    let judged = match Argon2Passwords::start() {
        Ok(passwords) => passwords.is_guessable(&password, &[email, "steward"]).await.map_err(in_words),
        Err(error) => Err(in_words(error)),
    };
    Some(match judged {
        Ok(false) => Check::ok(name, "is hard to guess"),
        Ok(true) => Check::fail(name, "is easy to guess", remedy),
        Err(error) => Check::warn(name, format!("could not be judged: {error}"), remedy),
    })
}

fn in_words(error: impl Display) -> String {
    error.to_string()
}

/// Where `dir` is, or will be.
fn disk(dir: &Path) -> Check {
    let name = "data.dir, space";
    let absolute = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
    let nearest = absolute.ancestors().find(|dir| dir.exists()).unwrap_or(Path::new("/"));
    match rustix::fs::statvfs(nearest) {
        Ok(found) => room(found.f_bavail.saturating_mul(found.f_frsize)),
        Err(error) => Check::warn(name, format!("{}: {error}", nearest.display()), "check data.dir"),
    }
}

fn room(free: u64) -> Check {
    let name = "data.dir, space";
    let what = format!("{} MiB are free", free >> 20);
    let remedy = "free some, or set data.dir to a larger disk; the store stops when it is full";
    match free {
        free if free < FREE.0 => Check::fail(name, what, remedy),
        free if free < FREE.1 => Check::warn(name, what, remedy),
        _ => Check::ok(name, what),
    }
}

async fn mail(config: &Config) -> Option<Check> {
    let uri = config.email.smtp_uri.as_ref()?;
    let remedy =
        "check email.smtp_uri (host, port, user, password), and that the server lets this machine in";
    let greeted = match SmtpMailer::new(uri, &config.email.from, Duration::from_secs(10)) {
        Ok(mailer) => mailer.greet().await,
        Err(error) => Err(error.to_string()),
    };
    Some(match greeted {
        Ok(()) => Check::ok("email.smtp_uri", "the mail server lets us in"),
        Err(error) => Check::fail("email.smtp_uri", error, remedy),
    })
}

async fn payments(config: &Config) -> Check {
    let sandbox = || Some((config.sandbox.url.clone()?, SecretString::from("sk_sandbox")));
    let configured = config.payments.stripe_url.clone().zip(config.payments.stripe_key.clone());
    let real = configured.is_some();
    let name = if real || config.sandbox.url.is_none() { "payments.stripe_url" } else { "sandbox.url" };
    let Some((url, key)) = configured.or_else(sandbox) else {
        return match config.runs_sandbox() {
            true => Check::ok(name, "the sandbox, inside the process: no money moves"),
            false => Check::fail(
                name,
                "there is no payment provider",
                "set payments.stripe_url and payments.stripe_key, or use the sandbox",
            ),
        };
    };
    let provider = match StripePayments::new(&url, key, Timeouts::default()) {
        Ok(provider) => provider,
        Err(error) => return Check::fail(name, error.to_string(), "write https://api.stripe.com"),
    };
    match provider.look_up("pi_steward_doctor").await {
        // Nobody has it, says who knows us.
        Ok(_) | Err(PaymentError::Refused(_)) if real && config.payments.webhook_secret.is_none() => {
            Check::warn(
                "payments.webhook_secret",
                "is not set, so the provider's webhooks are refused and payments are only asked after",
                "set it to the signing secret of the endpoint /v1/webhooks/stripe",
            )
        }
        Ok(_) | Err(PaymentError::Refused(_)) => Check::ok(name, "answers and knows our key"),
        Err(error) => Check::fail(name, error.to_string(), format!("check {name}, its key and the network")),
    }
}

/// This machine's time: nothing is kept that would have to go by the store's.
struct WallClock;

#[async_trait]
impl Clock for WallClock {
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    async fn sleep_until(&self, at: Timestamp) {
        tokio::time::sleep(at.since(self.now())).await;
    }
}

async fn plaid(config: &Config) -> Option<Check> {
    let settings = configured_plaid(config)?;
    let remedy =
        "check plaid.url, plaid.client_id and plaid.secret (each environment has its own), and the network";
    let courier = Courier::free("plaid");
    let made = PlaidBank::new(settings, Arc::new(WallClock), Timeouts::default(), courier);
    let greeted = match made {
        Ok(plaid) => plaid.greet().await.map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    Some(match greeted {
        Ok(()) => Check::ok("plaid.url", "answers and lets us in"),
        Err(error) => Check::fail("plaid.url", error, remedy),
    })
}

async fn rates(config: &Config) -> Option<Check> {
    let url = config.rates.url.as_ref()?;
    let latest = match EcbRates::new(url, Timeouts::default()) {
        Ok(publisher) => publisher.latest().await.map_err(in_words),
        Err(error) => Err(in_words(error)),
    };
    Some(match latest {
        Ok(rates) => Check::ok("rates.url", format!("{} rates of {}", rates.rates.len(), rates.date)),
        Err(error) => Check::fail("rates.url", error, "check rates.url and the network"),
    })
}

async fn geocoding(config: &Config) -> Option<Check> {
    let asked = config.geocoding.enabled.then_some(&config.geocoding)?;
    let (url, key) = asked.url.clone().zip(asked.key.clone())?;
    let remedy =
        "check geocoding.url, its key and what was paid for; meanwhile addresses are taken unchecked";
    let provider = match OpenCage::new(&url, key, Timeouts::default()) {
        Ok(provider) => Arc::new(provider),
        Err(error) => return Some(Check::fail("geocoding.url", error.to_string(), remedy)),
    };
    let known = PostalAddress {
        street: "10 Downing Street".to_owned(),
        city: "London".to_owned(),
        region: None,
        postal_code: "SW1A 2AA".to_owned(),
        country: "GB".to_owned(),
    };
    Some(match provider.look_up(&known).await {
        Ok(Finding::Known) => Check::ok("geocoding.url", "answers and knows our key"),
        Ok(Finding::Unknown) => {
            Check::fail("geocoding.url", "does not know an address that everybody does", remedy)
        }
        // The check is optional, and so is whoever makes it.
        Err(error @ GeocodingError::Spent { .. }) => Check::warn("geocoding.url", error.to_string(), remedy),
        Err(error) => Check::fail("geocoding.url", error.to_string(), remedy),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::Verdict;

    fn grade(check: &Check) -> &'static str {
        match &check.verdict {
            Verdict::Ok(_) => "ok",
            Verdict::Warn { .. } => "warn",
            Verdict::Fail { .. } => "fail",
        }
    }

    #[test]
    fn a_clock_that_is_off_is_told_with_its_side_and_a_slow_answer_is_no_skew() {
        let certain = Duration::from_millis(1);
        for (ahead, uncertain, expected, said) in [
            (0, certain, "ok", "within"),
            (-900, certain, "ok", "within"),
            (5_000, certain, "warn", "ahead of"),
            (-5_000, certain, "warn", "behind"),
            (5_000, Duration::from_secs(5), "ok", "within"),
            (600_000, certain, "fail", "ahead of"),
            (i64::MIN, certain, "fail", "behind"),
        ] {
            let check = skewed(ahead, uncertain);
            assert_eq!(grade(&check), expected, "{ahead} {check:?}");
            assert!(format!("{check:?}").contains(said), "{check:?}");
        }
    }

    #[test]
    fn a_disk_that_is_nearly_full_fails() {
        for (free, expected) in [(0, "fail"), (63 << 20, "fail"), (64 << 20, "warn"), (1 << 30, "ok")] {
            assert_eq!(grade(&room(free)), expected, "{free}");
        }
        assert_ne!(grade(&disk(Path::new("/"))), "");
    }

    #[test]
    fn long_locks_are_told_unless_replicas_end_them() {
        let seconds = |seconds| Ok(Duration::from_secs(seconds));
        assert_eq!(grade(&transactions(seconds(60), true)), "ok");
        assert_eq!(grade(&transactions(seconds(5), false)), "ok");
        assert_eq!(grade(&transactions(seconds(60), false)), "warn");
        let untold = StoreError::Unavailable("not authorized".to_owned());
        assert_eq!(grade(&transactions(Err(untold), false)), "warn");
    }

    #[test]
    fn a_server_without_replica_set_is_told_how_to_become_one() {
        let check = unconnected(&ConnectError::NoReplicaSet);
        assert!(matches!(&check.verdict, Verdict::Fail { remedy, .. } if remedy.contains("--replSet")));
    }
}
