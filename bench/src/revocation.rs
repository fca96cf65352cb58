//! How soon a session that was ended on one replica is refused by all: three real processes on one
//! MongoDB and one Redis, all of which remember the token.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use steward::app::schema::SCHEMA;
use steward::storage::mongo::MongoStore;

use crate::Failure;
use crate::bare::PATH;
use crate::raw::{Raw, fresh};
use crate::reads::Tokens;
use crate::report::{Row, table};
use crate::server::{ADMIN, Place, Server};
use crate::wire::Wire;

/// What is to be run.
pub struct Revocation {
    pub uri: SecretString,
    pub redis: SecretString,
    pub binary: Option<PathBuf>,
    /// Sessions that are ended.
    pub sessions: usize,
}

const REPLICAS: usize = 3;
/// After this long it is no longer waited for.
const PATIENCE: Duration = Duration::from_secs(15);

/// Runs it.
pub async fn run(plan: &Revocation) -> Result<String, Failure> {
    let database = fresh();
    MongoStore::connect(&plan.uri, &database, SCHEMA).await?.migrate().await?;
    let data: Vec<_> = (0..REPLICAS).map(|_| tempfile::tempdir()).collect::<Result<_, _>>()?;
    let mut servers = Vec::new();
    for data in &data {
        let mut place = Place::new(plan.binary.clone(), data.path())?;
        place.set("MONGODB__URI", plan.uri.expose_secret());
        place.set("MONGODB__DATABASE", &database);
        place.set("REDIS__URI", plan.redis.expose_secret());
        place.set("REDIS__PREFIX", format!("{database}:"));
        servers.push(place.start("serve").await?);
    }
    let body = json!({"email": "reader@example.com", "password": ADMIN.1});
    Tokens::of(servers[0].address(), "/v1/users/register", &body).await?;
    let (mut answered, mut everywhere) = (Vec::new(), Vec::new());
    let began = Instant::now();
    for n in 0..plan.sessions {
        let (answer, others) = one(&servers, n % REPLICAS).await?;
        answered.push(answer);
        everywhere.push(others);
    }
    let took = began.elapsed();
    for server in servers {
        server.end().await?;
    }
    Raw::connect(&plan.uri, &database).await?.database.drop().await?;
    let row = |name: &str, mut latencies: Vec<Duration>| {
        latencies.sort_unstable();
        Row { name: name.to_owned(), done: latencies.len() as u64, took, latencies, remark: String::new() }
    };
    let rows =
        [row("logging out, until 204", answered), row("from 204 until refused everywhere", everywhere)];
    Ok(table(&format!("revocation: {} sessions on {REPLICAS} processes", plan.sessions), &rows))
}

/// Ends one session at a replica that all have heard of; how long that took, and then the others.
async fn one(servers: &[Server], at: usize) -> Result<(Duration, Duration), Failure> {
    let body = json!({"email": "reader@example.com", "password": ADMIN.1});
    let tokens = Tokens::of(servers[at].address(), "/v1/users/login", &body).await?;
    // Each replica has several threads, each of which remembers for itself.
    let mut wires = Vec::new();
    for server in servers {
        for _ in 0..4 {
            let mut wire = Wire::connect(server.address()).await?;
            let (status, _) = wire.ask("GET", PATH, Some(&tokens.session), None, "").await?;
            if status != 200 {
                return Err(format!("a live session was answered {status}").into());
            }
            wires.push(wire);
        }
    }
    let began = Instant::now();
    let mut ending = Wire::connect(servers[at].address()).await?;
    let (status, _) = ending.ask("POST", "/v1/users/logout", Some(&tokens.session), None, "").await?;
    if status != 204 {
        return Err(format!("logging out was answered {status}").into());
    }
    let told = Instant::now();
    let until_refused = wires.into_iter().map(|mut wire| {
        let token = tokens.session.clone();
        async move {
            while told.elapsed() < PATIENCE {
                match wire.ask("GET", PATH, Some(&token), None, "").await? {
                    (401, _) => return Ok::<_, Failure>(told.elapsed()),
                    (200, _) => {}
                    (status, _) => return Err(format!("an ended session was answered {status}").into()),
                }
            }
            Err("a session that was ended is still good".into())
        }
    });
    let refused = try_join_all(until_refused).await?;
    Ok((told - began, refused.into_iter().max().unwrap_or_default()))
}
