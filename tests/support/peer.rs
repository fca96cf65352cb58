//! Servers that were not written here, in Python: each on a free port, ended with its test.
//!
//! Python is `STEWARD_TEST_PYTHON`, or `python3`; `scripts/test` makes one that has what they need.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use tokio::sync::mpsc;

/// A running server.
pub struct Peer {
    process: Child,
    lines: mpsc::UnboundedReceiver<String>,
    pub port: u16,
}

impl Peer {
    /// Starts `tests/providers/{script}`, which needs `package` and prints `listening <port>` first.
    pub async fn start(script: &str, package: &str) -> Self {
        let python = std::env::var("STEWARD_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
        let mut process = Command::new(&python)
            .arg(format!("{}/tests/providers/{script}", env!("CARGO_MANIFEST_DIR")))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{python} does not start ({error}); set STEWARD_TEST_PYTHON"));
        let stdout = BufReader::new(process.stdout.take().unwrap());
        let (send, mut lines) = mpsc::unbounded_channel();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let _ = send.send(line);
            }
        });
        let first: Option<String> = lines.recv().await;
        let port = first.as_deref().and_then(|line| line.strip_prefix("listening ")?.parse().ok());
        let Some(port) = port else {
            panic!(
                "{python} has no {package}: `{python} -m pip install {package}`, or set STEWARD_TEST_PYTHON"
            )
        };
        Self { process, lines, port }
    }

    /// The next line that it prints.
    pub async fn line(&mut self) -> String {
        self.lines.recv().await.expect("it runs")
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
