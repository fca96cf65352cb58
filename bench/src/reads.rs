//! Authenticated reads: `GET /v1/users/me` by session token and by access token, next to a bare handler
//! that answers the same bytes, asked by the same clients in the same run.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use steward::app::schema::SCHEMA;
use steward::storage::mongo::MongoStore;

use crate::Failure;
use crate::bare::{Bare, PATH};
use crate::raw::{Raw, fresh};
use crate::report::{Row, aims, table};
use crate::server::{Place, Server, cpu};
use crate::wire::Wire;

/// What is to be run.
pub struct Reads {
    pub uri: SecretString,
    pub redis: SecretString,
    pub binary: Option<PathBuf>,
    /// Connections that ask, each as soon as it is answered.
    pub connections: usize,
    pub span: Duration,
    pub rounds: usize,
}

/// What one contender did in one round.
struct Round {
    done: u64,
    took: Duration,
    cpu: Duration,
    latencies: Vec<Duration>,
}

impl Round {
    fn rate(&self) -> f64 {
        self.done as f64 / self.took.as_secs_f64().max(f64::EPSILON)
    }
}

const NAMES: [&str; 3] = ["a bare handler, the same bytes", "by session token", "by access token"];

/// Runs all of it.
pub async fn run(plan: &Reads) -> Result<String, Failure> {
    let mut text = plan.embedded().await?;
    text.push_str(&plan.on_mongo().await?);
    Ok(text)
}

impl Reads {
    async fn embedded(&self) -> Result<String, Failure> {
        let data = tempfile::tempdir()?;
        let server = Place::new(self.binary.clone(), data.path())?.start("serve").await?;
        let text = self.contend("the embedded store", &server).await?;
        server.end().await?;
        Ok(text)
    }

    async fn on_mongo(&self) -> Result<String, Failure> {
        let (data, database) = (tempfile::tempdir()?, fresh());
        MongoStore::connect(&self.uri, &database, SCHEMA).await?.migrate().await?;
        let mut place = Place::new(self.binary.clone(), data.path())?;
        place.set("MONGODB__URI", self.uri.expose_secret());
        place.set("MONGODB__DATABASE", &database);
        place.set("REDIS__URI", self.redis.expose_secret());
        place.set("REDIS__PREFIX", format!("{database}:"));
        let server = place.start("serve").await?;
        let text = self.contend("MongoDB and Redis", &server).await?;
        server.end().await?;
        Raw::connect(&self.uri, &database).await?.database.drop().await?;
        Ok(text)
    }

    async fn contend(&self, store: &str, server: &Server) -> Result<String, Failure> {
        let mut tokens = Tokens::register(server.address()).await?;
        let mut wire = Wire::connect(server.address()).await?;
        let (status, body) = wire.ask("GET", PATH, Some(&tokens.session), None, "").await?;
        if status != 200 {
            return Err(format!("the first read was answered {status}").into());
        }
        let bytes = body.len();
        let file = tempfile::NamedTempFile::new()?;
        std::fs::write(file.path(), &body)?;
        let bare = Bare::start(file.path()).await?;
        let mut rounds: [Vec<Round>; 3] = Default::default();
        // In turn, so that what else the machine does falls on all alike. The first round warms up.
        for round in 0..=self.rounds {
            tokens.refresh(server.address()).await?;
            let contenders = [
                (bare.address.as_str(), bare.pid, None),
                (server.address(), server.pid, Some(&tokens.session)),
                (server.address(), server.pid, Some(&tokens.access)),
            ];
            for (n, (address, pid, token)) in contenders.into_iter().enumerate() {
                let measured = self.storm(address, pid, token).await?;
                if round > 0 {
                    rounds[n].push(measured);
                }
            }
        }
        let rows: Vec<Row> = NAMES.iter().zip(rounds).map(|(name, rounds)| median(name, rounds)).collect();
        let title = format!(
            "reads over {store}: {} connections, {} s each, the median of {} rounds, {bytes} bytes",
            self.connections,
            self.span.as_secs(),
            self.rounds
        );
        let mut text = table(&title, &rows);
        text.push_str(&aims(&[
            ("by session token / bare", rows[1].rate() / rows[0].rate(), 0.5),
            ("by access token / bare", rows[2].rate() / rows[0].rate(), 0.5),
        ]));
        Ok(text)
    }

    async fn storm(&self, address: &str, pid: u32, token: Option<&String>) -> Result<Round, Failure> {
        let token = token.map_or_else(String::new, |token| format!("Authorization: Bearer {token}\r\n"));
        let request: Arc<[u8]> =
            format!("GET {PATH} HTTP/1.1\r\nHost: bench\r\n{token}\r\n").into_bytes().into();
        let wires = try_join_all((0..self.connections).map(|_| Wire::connect(address))).await?;
        let (before, began) = (cpu(pid), Instant::now());
        let until = began + self.span;
        let asking: Vec<_> = wires
            .into_iter()
            .map(|mut wire| {
                let request = request.clone();
                tokio::spawn(async move {
                    let mut latencies = Vec::new();
                    while Instant::now() < until {
                        let asked = Instant::now();
                        match wire.again(&request).await? {
                            200 => latencies.push(asked.elapsed()),
                            status => return Err(format!("a read was answered {status}").into()),
                        }
                    }
                    Ok::<_, Failure>(latencies)
                })
            })
            .collect();
        let mut latencies = Vec::new();
        for asked in asking {
            latencies.extend(asked.await??);
        }
        let took = began.elapsed();
        let cpu = cpu(pid).saturating_sub(before);
        latencies.sort_unstable();
        Ok(Round { done: latencies.len() as u64, took, cpu, latencies })
    }
}

/// The round with the median rate.
fn median(name: &str, mut rounds: Vec<Round>) -> Row {
    rounds.sort_by(|a, b| a.rate().total_cmp(&b.rate()));
    let rates: Vec<String> = rounds.iter().map(|round| format!("{:.0}", round.rate())).collect();
    let middle = rounds.swap_remove(rounds.len() / 2);
    let each = middle.cpu.as_secs_f64() * 1e6 / middle.done.max(1) as f64;
    Row {
        name: name.to_owned(),
        done: middle.done,
        took: middle.took,
        latencies: middle.latencies,
        remark: format!("{each:.0} µs of server CPU each; rounds {}", rates.join(" ")),
    }
}

/// What a user logs in with.
pub struct Tokens {
    pub session: String,
    access: String,
    refresh: String,
}

impl Tokens {
    /// Those of a new user.
    pub async fn register(address: &str) -> Result<Self, Failure> {
        let email = format!("reader-{}@example.com", uuid::Uuid::new_v4().simple());
        let body = json!({"email": email, "password": crate::server::ADMIN.1, "name": "A Reader"});
        Self::of(address, "/v1/users/register", &body).await
    }

    async fn refresh(&mut self, address: &str) -> Result<(), Failure> {
        *self = Self::of(address, "/v1/sessions/refresh", &json!({"refreshToken": self.refresh})).await?;
        Ok(())
    }

    /// What this route answers.
    pub async fn of(address: &str, path: &str, body: &Value) -> Result<Self, Failure> {
        let mut wire = Wire::connect(address).await?;
        let (status, answer) = wire.ask("POST", path, None, None, &body.to_string()).await?;
        if !(200..300).contains(&status) {
            return Err(format!("{path} was answered {status}").into());
        }
        let answer: Value = serde_json::from_slice(&answer)?;
        let text = |name: &str| answer[name].as_str().unwrap_or_default().to_owned();
        Ok(Self { session: text("sessionToken"), access: text("accessToken"), refresh: text("refreshToken") })
    }
}
