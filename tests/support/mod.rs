//! What the process-level tests share: the real binary on free ports, and a client that speaks
//! real HTTP to it.

// Each test crate uses its share of this.
#![allow(dead_code)]

mod client;
mod databases;

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::time::{Instant, interval, timeout};

#[allow(unused_imports)]
pub use client::{Answer, Client};

pub const ADMIN_EMAIL: &str = "admin@example.com";
pub const ADMIN_PASSWORD: &str = "a-strong-test-passphrase-41";

/// For tests in which replicas die: what they leave is taken over soon.
pub const SHORT_LEASE: &[(&str, &str)] =
    &[("STEWARD__CLUSTER__LEASE_SECONDS", "3"), ("STEWARD__CLUSTER__HEARTBEAT_SECONDS", "1")];

/// What a replica is started on.
#[derive(Clone, Debug)]
pub enum Backend {
    /// The embedded store in this data directory.
    Embedded,
    /// A database of its own on the MongoDB and Redis of `scripts/services`.
    Cluster { mongodb: String, database: Database, redis: String },
    /// A database without Redis.
    MongoAlone { mongodb: String, database: Database },
}

/// The name of a database of its own, which is dropped with the last clone: a server that keeps
/// those of a whole run has more files open than it may.
#[derive(Clone, Debug)]
pub struct Database(Arc<Scratch>);

#[derive(Debug)]
struct Scratch {
    mongodb: String,
    name: String,
}

impl Database {
    fn fresh(mongodb: &str) -> Self {
        let name = format!("t{}", uuid::Uuid::new_v4().simple());
        Self(Arc::new(Scratch { mongodb: mongodb.to_owned(), name }))
    }
}

impl Deref for Database {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0.name
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // The sandbox keeps its own beside it.
        let names = vec![self.name.clone(), format!("{}_sandbox", self.name)];
        databases::drop_all(self.mongodb.clone(), names);
    }
}

impl Backend {
    /// A fresh database on the services of the environment.
    pub fn cluster() -> Self {
        let service = |name: &str| {
            std::env::var(name).unwrap_or_else(|_| {
                panic!("{name} is not set: run scripts/test, or `scripts/services start` and `eval \"$(scripts/services env)\"`")
            })
        };
        let mongodb = service("STEWARD_TEST_MONGODB_URI");
        Self::Cluster {
            database: Database::fresh(&mongodb),
            mongodb,
            redis: service("STEWARD_TEST_REDIS_URI"),
        }
    }
}

/// The binary, or another build of it (such as the one in an image) by `STEWARD_BINARY`, with
/// nothing in its environment but where its store is.
pub fn steward(data: &Path, backend: &Backend) -> Command {
    let binary = std::env::var("STEWARD_BINARY");
    let mut command = Command::new(binary.as_deref().unwrap_or(env!("CARGO_BIN_EXE_steward")));
    command.env_clear().env("STEWARD__DATA__DIR", data);
    if let Backend::Cluster { mongodb, database, .. } | Backend::MongoAlone { mongodb, database } = backend {
        command.env("STEWARD__MONGODB__URI", mongodb).env("STEWARD__MONGODB__DATABASE", &**database);
    }
    if let Backend::Cluster { database, redis, .. } = backend {
        command.env("STEWARD__REDIS__URI", redis).env("STEWARD__REDIS__PREFIX", format!("{}:", &**database));
    }
    command
}

/// A running `steward serve`, killed when dropped.
pub struct Replica {
    child: Child,
    pub url: String,
    /// Where the operations port is; empty without one.
    pub operations: String,
    pub sandbox: String,
    /// Its database stays for as long as it does.
    _backend: Backend,
}

impl Replica {
    /// Starts the real binary and waits until it listens.
    pub async fn start(data: &Path, backend: &Backend, more: &[(&str, &str)]) -> Self {
        Self::start_as(data, backend, more, &[]).await
    }

    /// The same; how it ended if it ends before it listens.
    pub async fn try_start(
        data: &Path,
        backend: &Backend,
        more: &[(&str, &str)],
    ) -> Result<Self, ExitStatus> {
        Self::try_start_as(data, backend, more, &[]).await
    }

    /// The same, with more words after `steward serve`.
    pub async fn start_as(data: &Path, backend: &Backend, more: &[(&str, &str)], words: &[&str]) -> Self {
        let started = Self::try_start_as(data, backend, more, words).await;
        started.unwrap_or_else(|status| panic!("steward ended before it listened: {status}"))
    }

    async fn try_start_as(
        data: &Path,
        backend: &Backend,
        more: &[(&str, &str)],
        words: &[&str],
    ) -> Result<Self, ExitStatus> {
        let mut command = steward(data, backend);
        command
            .arg("serve")
            .args(words)
            .env("STEWARD__HTTP__BIND", "127.0.0.1:0")
            .env("STEWARD__LOG__FORMAT", "json")
            .env("STEWARD__LOG__FILTER", "info")
            .env("STEWARD__HTTP__DRAIN_SECONDS", "0")
            .env("STEWARD__LIMITS__ENABLED", "false")
            .env("STEWARD__ADMIN__EMAIL", ADMIN_EMAIL)
            .env("STEWARD__ADMIN__PASSWORD", ADMIN_PASSWORD)
            .envs(more.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().expect("the binary starts");
        let Some(listening) = listening(&mut child).await else {
            return Err(child.wait().await.expect("it can be waited for"));
        };
        let text = |name: &str| listening[name].as_str().unwrap_or_default().to_owned();
        Ok(Self {
            child,
            url: text("api"),
            operations: text("operations"),
            sandbox: text("sandbox"),
            _backend: backend.clone(),
        })
    }

    /// From now on calls to this faked provider (`payments`, `geocoding`, …) meet this fault; `up` for none.
    pub async fn set_fault(&self, provider: &str, fault: &str) {
        let faults = json!({provider: fault});
        let url = format!("{}/_sandbox/faults", self.sandbox);
        let answer = reqwest::Client::new().post(url).json(&faults).send().await;
        assert_eq!(answer.expect("an answer").status(), StatusCode::OK);
    }

    /// Ends it the hard way, at once.
    pub async fn kill(mut self) {
        self.child.kill().await.expect("the process was there");
    }

    /// How it ended, if it does by itself within `span`.
    pub async fn ended_within(&mut self, span: Duration) -> Option<ExitStatus> {
        timeout(span, self.child.wait()).await.ok().map(|ended| ended.expect("it can be waited for"))
    }

    /// Ends it the polite way and waits until it has ended; its exit status.
    pub async fn terminate(mut self) -> Option<i32> {
        let id = self.child.id().expect("the process is there").to_string();
        let sent = Command::new("kill").args(["-TERM", &id]).status().await.expect("kill runs");
        assert!(sent.success());
        let ended = timeout(Duration::from_secs(30), self.child.wait()).await.expect("it ends in 30 s");
        ended.expect("it can be waited for").code()
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id().expect("the process is there")
    }
}

/// What a process logs when it listens; nothing if it ends before.
async fn listening(child: &mut Child) -> Option<Value> {
    let mut lines = BufReader::new(child.stderr.take().expect("stderr is piped")).lines();
    let listening = timeout(Duration::from_secs(30), async {
        while let Some(line) = lines.next_line().await.expect("logs are text") {
            match serde_json::from_str::<Value>(&line) {
                Ok(event) if event["message"] == "listening" => return Some(event),
                Ok(_) => {}
                Err(_) => eprintln!("{line}"),
            }
        }
        None
    })
    .await
    .expect("steward listens within 30 s");
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    listening
}

/// A `steward sandbox` that outlives all replicas, killed when dropped.
pub struct Sandbox {
    pub url: String,
    _child: Child,
    _data: DataDir,
}

impl Sandbox {
    pub async fn start() -> Self {
        let data = DataDir::new();
        let mut command = steward(&data.path(), &Backend::Embedded);
        command
            .arg("sandbox")
            .env("STEWARD__SANDBOX__BIND", "127.0.0.1:0")
            .env("STEWARD__LOG__FORMAT", "json")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().expect("the binary starts");
        let listening = listening(&mut child).await.expect("the sandbox listens");
        let url = listening["sandbox"].as_str().expect("an address").to_owned();
        Self { url, _child: child, _data: data }
    }
}

/// What the environment asks for under this name, or else `default`.
pub fn asked<T: FromStr>(name: &str, default: T) -> T {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// An order of `quantity` units of one SKU.
pub fn order(sku: &str, quantity: i64, method: &str) -> Value {
    json!({"lines": [{"sku": sku, "quantity": quantity}], "paymentMethod": method})
}

/// Asks until `check` has something to say; panics after `deadline`.
pub async fn eventually<T, F: AsyncFnMut() -> Option<T>>(what: &str, deadline: Duration, mut check: F) -> T {
    let until = Instant::now() + deadline;
    let mut tick = interval(Duration::from_millis(50));
    loop {
        tick.tick().await;
        if let Some(found) = check().await {
            return found;
        }
        assert!(Instant::now() < until, "not within {deadline:?}: {what}");
    }
}

/// A door in front of a server: shut, it breaks what passes through and lets nobody in.
pub struct Gate {
    pub address: String,
    is_open: watch::Sender<bool>,
}

impl Gate {
    /// An open gate before the first server that `uri` names.
    pub async fn before(uri: &str) -> Self {
        let uri = url::Url::parse(uri).expect("a URI");
        let server = format!("{}:{}", uri.host_str().expect("a host"), uri.port().expect("a port"));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let (is_open, state) = watch::channel(true);
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let (server, mut state) = (server.clone(), state.clone());
                tokio::spawn(async move {
                    if !*state.borrow_and_update() {
                        return;
                    }
                    let Ok(mut upstream) = TcpStream::connect(server).await else { return };
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut client, &mut upstream) => {}
                        _ = state.wait_for(|is_open| !is_open) => {}
                    }
                });
            }
        });
        Self { address, is_open }
    }

    pub fn shut(&self) {
        self.is_open.send_replace(false);
    }

    pub fn open(&self) {
        self.is_open.send_replace(true);
    }
}

/// A data directory that vanishes with its owner.
pub struct DataDir(tempfile::TempDir);

impl DataDir {
    pub fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary directory"))
    }

    pub fn path(&self) -> PathBuf {
        self.0.path().to_owned()
    }
}
