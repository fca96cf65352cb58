//! More than one redis-server: a cluster, and a primary that a sentinel watches.

use std::process::{Child, Command};
use std::time::{Duration, Instant};

use secrecy::SecretString;
use tempfile::TempDir;

use crate::redis_server::{RedisServer, ask, free_port, launch, try_ask};

/// How many slots a cluster has.
const SLOTS: usize = 16_384;
/// For what servers agree about among themselves.
const AGREED: Duration = Duration::from_secs(30);

/// Three primaries, and copies of some of them.
pub struct RedisCluster {
    nodes: Vec<RedisServer>,
}

impl RedisCluster {
    pub fn start() -> Self {
        let cluster = Self { nodes: (0..3).map(|_| node()).collect() };
        for (n, node) in cluster.nodes.iter().enumerate() {
            let (first, last) = (n * SLOTS / 3, (n + 1) * SLOTS / 3 - 1);
            node.ask::<()>(&["CLUSTER", "ADDSLOTSRANGE", &first.to_string(), &last.to_string()]);
            node.ask::<()>(&["CLUSTER", "SET-CONFIG-EPOCH", &(n + 1).to_string()]);
            cluster.introduce(node);
        }
        cluster.wait_until_all_know();
        cluster
    }

    /// Gives the node that has `key` a copy that can take its place; which one it is.
    pub fn copy_owner_of(&mut self, key: &str) -> usize {
        let slot: usize = self.nodes[0].ask(&["CLUSTER", "KEYSLOT", key]);
        let owner = (0..3).find(|n| slot < (n + 1) * SLOTS / 3).unwrap();
        let copy = node();
        self.introduce(&copy);
        self.nodes.push(copy);
        self.wait_until_all_know();
        let id: String = self.nodes[owner].ask(&["CLUSTER", "MYID"]);
        self.nodes[3].ask::<()>(&["CLUSTER", "REPLICATE", &id]);
        until("the copy is one", || has_line(&self.nodes[3], "master_link_status:up"));
        until("the others know of it", || {
            self.nodes.iter().all(|node| node.ask::<String>(&["CLUSTER", "NODES"]).contains("slave"))
        });
        owner
    }

    pub fn uri(&self) -> SecretString {
        let hosts: Vec<_> = self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.port())).collect();
        format!("redis+cluster://{}", hosts.join(",")).into()
    }

    pub fn kill(&mut self, node: usize) {
        self.nodes[node].kill();
    }

    /// How many keys each primary has.
    pub fn keys(&self) -> Vec<usize> {
        self.nodes.iter().take(3).map(|node| node.ask(&["DBSIZE"])).collect()
    }

    fn introduce(&self, node: &RedisServer) {
        let first = &self.nodes[0];
        if first.port() != node.port() {
            let bus = bus_of(first);
            node.ask::<()>(&["CLUSTER", "MEET", "127.0.0.1", &first.port().to_string(), &bus]);
        }
    }

    fn wait_until_all_know(&self) {
        let known = format!("cluster_known_nodes:{}", self.nodes.len());
        until("the cluster is one", || {
            self.nodes.iter().all(|node| {
                let info: String = node.ask(&["CLUSTER", "INFO"]);
                info.contains("cluster_state:ok") && info.contains(&known)
            })
        });
    }
}

fn node() -> RedisServer {
    let bus = free_port().to_string();
    let words = ["--cluster-enabled", "yes", "--cluster-node-timeout", "1000", "--cluster-port", &bus];
    RedisServer::start_with(&words)
}

fn bus_of(node: &RedisServer) -> String {
    node.ask::<Vec<String>>(&["CONFIG", "GET", "cluster-port"]).remove(1)
}

/// A primary, its copy, and a sentinel that knows them as `main`.
pub struct WatchedRedis {
    primary: RedisServer,
    _copy: RedisServer,
    sentinel: Child,
    port: u16,
    _dir: TempDir,
}

impl WatchedRedis {
    pub fn start() -> Self {
        let primary = RedisServer::start();
        let port = primary.port().to_string();
        let copy = RedisServer::start_with(&["--replicaof", "127.0.0.1", &port]);
        until("the copy is one", || has_line(&copy, "master_link_status:up"));
        let (dir, sentinel_port) = (tempfile::tempdir().unwrap(), free_port());
        let file = dir.path().join("sentinel.conf");
        let text = format!(
            "port {sentinel_port}\nbind 127.0.0.1\ndir {}\nsentinel monitor main 127.0.0.1 {port} 1\n\
             sentinel down-after-milliseconds main 500\nsentinel failover-timeout main 3000\n",
            dir.path().display()
        );
        std::fs::write(&file, text).unwrap();
        let mut command = Command::new("redis-server");
        command.arg(&file).arg("--sentinel");
        let sentinel = launch(command, "+monitor master main");
        let watched = Self { primary, _copy: copy, sentinel, port: sentinel_port, _dir: dir };
        until("the sentinel knows of the copy", || {
            let copies: Vec<redis::Value> = ask(watched.port, &["SENTINEL", "REPLICAS", "main"]);
            !copies.is_empty()
        });
        watched
    }

    pub fn uri(&self) -> SecretString {
        // The first one is not there; the second one is asked then.
        format!("redis+sentinel://127.0.0.1:1,127.0.0.1:{}/main", self.port).into()
    }

    pub fn kill_primary(&mut self) {
        self.primary.kill();
    }

    /// Has primary and copy change places.
    pub fn fail_over(&self) {
        // It refuses until it has heard enough of the copy.
        until("the sentinel begins", || try_ask::<()>(self.port, &["SENTINEL", "FAILOVER", "main"]).is_ok());
        until("the former primary is a copy", || has_line(&self.primary, "role:slave"));
    }
}

impl Drop for WatchedRedis {
    fn drop(&mut self) {
        let _ = self.sentinel.kill();
        let _ = self.sentinel.wait();
    }
}

fn has_line(server: &RedisServer, line: &str) -> bool {
    server.ask::<String>(&["INFO", "replication"]).lines().any(|found| found == line)
}

/// Servers of others have no events to wait for: asks until it is so.
fn until(what: &str, so: impl Fn() -> bool) {
    let began = Instant::now();
    while !so() {
        assert!(began.elapsed() < AGREED, "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
