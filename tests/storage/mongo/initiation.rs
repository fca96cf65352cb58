//! A replica set made of fresh servers, without a database shell.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use secrecy::SecretString;
use steward::storage::mongo::{ConnectError, MongoStore, initiate};
use tokio::time::{Instant, sleep};

use super::outages::Own;
use crate::contract::SCHEMA;

/// A server that is in no replica set yet.
struct Fresh {
    process: Child,
    address: String,
    _data: tempfile::TempDir,
}

impl Fresh {
    fn start(mongod: &str) -> Self {
        let data = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let process = Command::new(mongod)
            .args(["--replSet", "fresh", "--bind_ip", "127.0.0.1", "--port", &port.to_string()])
            .args(["--wiredTigerCacheSizeGB", "0.25", "--oplogSize", "16", "--nounixsocket", "--dbpath"])
            .arg(data.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self { process, address: format!("127.0.0.1:{port}"), _data: data }
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Tries until the servers are there to be asked.
async fn patiently(uri: &SecretString) -> Result<Option<String>, ConnectError> {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        match initiate(uri).await {
            Err(ConnectError::Unreachable(_)) if Instant::now() < until => {
                sleep(Duration::from_millis(100)).await;
            }
            done => return done,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fresh_servers_become_a_replica_set_once() {
    // Given two fresh servers and one that is in a set of its own,
    let own = tokio::task::spawn_blocking(Own::start).await.unwrap();
    let mongod = own.command_line()[0].clone();
    let (first, second) = (Fresh::start(&mongod), Fresh::start(&mongod));
    let hosts = format!("{},{}", first.address, second.address);
    let uri = |text: String| SecretString::from(text);

    // when they are made a set, by two at once,
    let whole = uri(format!("mongodb://{hosts}/?replicaSet=fresh"));
    let both = tokio::join!(patiently(&whole), patiently(&whole));

    // then it is made, and made once;
    let made = [both.0.unwrap(), both.1.unwrap()];
    let told: Vec<&String> = made.iter().flatten().collect();
    assert_eq!(told.len(), 1, "{made:?}");
    assert!([&first, &second].iter().all(|server| told[0].contains(&server.address)), "{told:?}");
    assert_eq!(initiate(&whole).await, Ok(None));

    // it does what a store needs;
    let until = Instant::now() + Duration::from_secs(60);
    let store = loop {
        match MongoStore::connect(&whole, "steward_test", SCHEMA).await {
            Ok(store) => break store,
            Err(error) => assert!(Instant::now() < until, "{error}"),
        }
    };
    store.migrate().await.unwrap();

    // and what is a set already, or is not named, is left alone.
    let named = initiate(&uri(format!("mongodb://{hosts}/"))).await;
    assert!(matches!(named, Err(ConnectError::Uri(_))), "{named:?}");
    let other = uri(format!("mongodb://{}/?replicaSet=other", first.address));
    assert_eq!(initiate(&other).await, Ok(None));
}
