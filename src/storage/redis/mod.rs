//! Redis: what finds sessions fast, and the channel between the replicas.
//!
//! Who calls it: the session actors through their ports; the composition root makes it. Nothing in
//! Redis is the truth about anything: it may be flushed, rolled back or away, and no business data
//! is lost.
//!
//! What never happens here: a wait without a deadline, a connection tied to the thread of whoever
//! uses it, a token in the clear.

mod invalidations;
mod limits;
mod locator;
mod place;
mod subscription;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use metrics::{Counter, Histogram, counter, histogram};
use redis::{Cmd, FromRedisValue, RedisError as DriverError};
use secrecy::{ExposeSecret, SecretString};
use steward_actors::figures;
use tokio::runtime::Handle;

pub use invalidations::RedisInvalidations;
pub use limits::RedisLimits;
pub use locator::RedisLocator;

use place::{Link, Place};
use subscription::Subscription;

/// How long it may take to connect.
const CONNECT_DEADLINE: Duration = Duration::from_secs(1);
/// How long an answer may take.
const ANSWER_DEADLINE: Duration = Duration::from_millis(500);
/// How long a caller waits for a connection of the pool.
const POOL_DEADLINE: Duration = Duration::from_millis(500);
/// Connections of one process.
const CONNECTIONS: u32 = 8;

/// Why Redis did not do as asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RedisError {
    /// The URI is none that Redis can be reached by. It is not shown, for it may hold a password.
    #[error(
        "not a Redis URI (redis://[user:password@]host:port/database, redis+sentinel://host,host/name or \
         redis+cluster://host,host; rediss for TLS): {0}"
    )]
    BadUri(String),
    /// Redis can't be reached, is too slow, or refuses. It may or may not have done it.
    #[error("Redis is unavailable: {0}")]
    Unavailable(String),
}

impl From<DriverError> for RedisError {
    fn from(error: DriverError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

/// Connections to one Redis, be it a server or a cluster. Cheap to clone; works from any thread and runtime.
#[derive(Clone)]
pub struct RedisPool {
    pool: bb8::Pool<Connector>,
    place: Place,
    prefix: Arc<str>,
    failures: Arc<AtomicU64>,
    home: Handle,
}

impl RedisPool {
    /// Whether a pool can be made with this URI.
    pub fn takes(uri: &SecretString) -> bool {
        Place::read(uri.expose_secret()).is_ok()
    }

    /// Prepares connections; none is made before it is needed, so Redis may be away. They live on
    /// the runtime that this is called on, whoever uses them later. Each key and channel begins
    /// with `prefix`.
    ///
    /// # Errors
    /// [`RedisError::BadUri`].
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn connect(uri: &SecretString, prefix: &str) -> Result<Self, RedisError> {
        let bad_uri = |error: DriverError| RedisError::BadUri(error.category().to_owned());
        let place = Place::read(uri.expose_secret()).map_err(bad_uri)?;
        let home = Handle::current();
        let failures = Arc::new(AtomicU64::new(0));
        let connector = Connector { place: place.clone(), home: home.clone(), failures: failures.clone() };
        let pool = bb8::Pool::builder()
            .max_size(CONNECTIONS)
            .connection_timeout(POOL_DEADLINE)
            .build_unchecked(connector);
        Ok(Self { pool, place, prefix: prefix.into(), failures, home })
    }

    /// Whether Redis answers.
    ///
    /// # Errors
    /// [`RedisError::Unavailable`].
    pub async fn ping(&self) -> Result<(), RedisError> {
        self.query(&redis::cmd("PING")).await
    }

    /// The key or channel called `name` of this installation.
    pub fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Sends a command and waits for its answer, a second and a half at most.
    ///
    /// # Errors
    /// [`RedisError::Unavailable`].
    pub async fn query<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, RedisError> {
        let began = Instant::now();
        let answer = self.ask(command).await;
        let told = Told::get();
        told.seconds.record(began.elapsed());
        if answer.is_err() {
            told.failures.increment(1);
        }
        answer
    }

    async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, RedisError> {
        let mut connection = self.pool.get().await.map_err(|error| match error {
            bb8::RunError::User(error) => error.into(),
            bb8::RunError::TimedOut => RedisError::Unavailable("no connection in time".to_owned()),
        })?;
        // Until it has answered: a caller that goes away midway leaves a connection that may be
        // stuck.
        connection.broken = true;
        let answer = connection.to.query::<T>(command).await;
        connection.broken = answer.as_ref().is_err_and(|error| connection.to.is_broken_by(error));
        if connection.broken {
            self.failures.fetch_add(1, Ordering::AcqRel);
        }
        Ok(answer?)
    }

    /// Says something on a channel, to all who have subscribed to it.
    async fn publish(&self, channel: &str, payload: &str) -> Result<(), RedisError> {
        self.query::<i64>(&self.place.publish(channel, payload)).await.map(|_hearers| ())
    }

    async fn subscribe(&self, channel: &str) -> Result<Subscription, RedisError> {
        Ok(self.place.subscribe(channel).await?)
    }
}

/// The handles of the figures: looked up once.
struct Told {
    seconds: Histogram,
    failures: Counter,
}

impl Told {
    fn get() -> &'static Self {
        static TOLD: OnceLock<Told> = OnceLock::new();
        TOLD.get_or_init(|| Self {
            seconds: histogram!(figures::REDIS_SECONDS),
            failures: counter!(figures::REDIS_FAILURES),
        })
    }
}

/// Makes the pool's connections, each on the runtime that outlives the threads that use it: a
/// connection is driven by a task of the runtime it was made on.
struct Connector {
    place: Place,
    home: Handle,
    /// How often a connection of the pool failed.
    failures: Arc<AtomicU64>,
}

struct Connection {
    to: Link,
    /// It failed, or was left in the middle of a question.
    broken: bool,
    /// Failures of the pool's connections when this one was last known to be good.
    failures: u64,
}

impl bb8::ManageConnection for Connector {
    type Connection = Connection;
    type Error = DriverError;

    async fn connect(&self) -> Result<Connection, DriverError> {
        let (place, failures) = (self.place.clone(), self.failures.load(Ordering::Acquire));
        let made = self.home.spawn(async move { place.connect().await });
        let made = made.await.map_err(std::io::Error::other)?;
        Ok(Connection { to: made?, broken: false, failures })
    }

    /// Asked before each use, so it costs a question to Redis only if another connection has failed
    /// since: then this one is likely to have, too.
    async fn is_valid(&self, connection: &mut Connection) -> Result<(), DriverError> {
        let failures = self.failures.load(Ordering::Acquire);
        if connection.failures != failures {
            connection.to.query::<()>(&redis::cmd("PING")).await?;
            connection.failures = failures;
        }
        Ok(())
    }

    fn has_broken(&self, connection: &mut Connection) -> bool {
        connection.broken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_bad_uri_is_refused_without_being_shown() {
        let bad = SecretString::from("http://user:hunter2@example.org");
        let refused = RedisPool::connect(&bad, "steward:").map(|_| ()).unwrap_err();
        assert!(matches!(refused, RedisError::BadUri(_)));
        assert!(!refused.to_string().contains("hunter2"));
    }

    #[tokio::test]
    async fn nobody_waits_long_for_a_redis_that_is_away() {
        // Port 1 of this machine: nothing listens there.
        let uri = SecretString::from("redis://127.0.0.1:1");
        let pool = RedisPool::connect(&uri, "steward:").unwrap();
        let away = tokio::time::timeout(Duration::from_secs(5), pool.ping()).await.unwrap();
        assert!(matches!(away, Err(RedisError::Unavailable(_))));
    }
}
