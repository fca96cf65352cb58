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
    more: Vec<String>,
}

impl RedisServer {
    /// Starts one that keeps nothing but what it is told to save.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// The same, with more words for its command line.
    pub fn start_with(more: &[&str]) -> Self {
        let (port, dir) = (free_port(), tempfile::tempdir().unwrap());
        let more: Vec<String> = more.iter().map(|&word| word.to_owned()).collect();
        let child = run(port, &dir, &more);
        Self { port, dir, child, more }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Asks it something, on a connection made for that.
    pub fn ask<T: redis::FromRedisValue>(&self, words: &[&str]) -> T {
        ask(self.port, words)
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
        self.child = run(self.port, &self.dir, &self.more);
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

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Asks the server at a port of this machine.
pub fn ask<T: redis::FromRedisValue>(port: u16, words: &[&str]) -> T {
    try_ask(port, words).unwrap()
}

pub fn try_ask<T: redis::FromRedisValue>(port: u16, words: &[&str]) -> redis::RedisResult<T> {
    let client = redis::Client::open(format!("redis://127.0.0.1:{port}"))?;
    let mut connection = client.get_connection()?;
    words.iter().fold(redis::Cmd::new(), |mut cmd, word| cmd.arg(word).to_owned()).query(&mut connection)
}

fn run(port: u16, dir: &TempDir, more: &[String]) -> Child {
    let port = port.to_string();
    let mut command = Command::new("redis-server");
    command.args(["--port", &port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir"]);
    command.arg(dir.path()).args(more);
    launch(command, "Ready to accept connections")
}

/// Returns when it has printed that it is `ready`.
pub fn launch(mut command: Command, ready: &str) -> Child {
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .expect("these tests need a `redis-server` on the PATH; `scripts/services` says how to get one");
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let is_ready = |line: std::io::Result<String>| line.unwrap().contains(ready);
    assert!(lines.by_ref().any(is_ready), "redis-server ended before it was ready");
    // Somebody has to take what it prints later.
    std::thread::spawn(move || {
        lines.for_each(drop);
    });
    child
}
