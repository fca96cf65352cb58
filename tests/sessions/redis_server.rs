//! A redis-server of one test's own, to be flushed, stopped, killed and rolled back.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use secrecy::SecretString;
use tempfile::TempDir;

/// A running redis-server; killed when dropped.
pub struct RedisServer {
    port: u16,
    dir: TempDir,
    child: Child,
}

impl RedisServer {
    /// Starts one that keeps nothing but what it is told to save.
    pub fn start() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let dir = tempfile::tempdir().unwrap();
        let child = run(port, &dir);
        Self { port, dir, child }
    }

    pub fn uri(&self) -> SecretString {
        format!("redis://127.0.0.1:{}", self.port).into()
    }

    pub fn uri_of(&self, user: &str, password: &str) -> SecretString {
        format!("redis://{user}:{password}@127.0.0.1:{}", self.port).into()
    }

    /// Ends it on the spot.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again with what it saved last.
    pub fn start_again(&mut self) {
        self.child = run(self.port, &self.dir);
    }

    /// Freezes it: connections stay open and nothing is answered.
    pub fn freeze(&self) {
        self.signal("-STOP");
    }

    pub fn thaw(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns when it accepts connections.
fn run(port: u16, dir: &TempDir) -> Child {
    let mut child = Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
        .arg("--dir")
        .arg(dir.path())
        .stdout(Stdio::piped())
        .spawn()
        .expect("these tests need a `redis-server` on the PATH; `scripts/services` says how to get one");
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let is_ready = |line: std::io::Result<String>| line.unwrap().contains("Ready to accept connections");
    assert!(lines.by_ref().any(is_ready), "redis-server ended before it was ready");
    // Somebody has to take what it prints later.
    std::thread::spawn(move || {
        lines.for_each(drop);
    });
    child
}
