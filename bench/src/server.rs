//! The real binary as a process of its own, and what it costs.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::Failure;

/// The first admin of every server.
pub const ADMIN: (&str, &str) = ("admin@example.com", "a-strong-bench-passphrase-41");

/// Where a process keeps its data.
#[derive(Clone, Default)]
pub struct Place {
    /// The program.
    pub binary: PathBuf,
    /// Its configuration, as the environment has it.
    pub settings: Vec<(String, String)>,
}

impl Place {
    /// The binary next to this one, with a data directory of its own.
    pub fn new(binary: Option<PathBuf>, data: &Path) -> Result<Self, Failure> {
        let beside = || -> Result<PathBuf, Failure> {
            let here = std::env::current_exe()?;
            Ok(here.parent().ok_or("this program is nowhere")?.join("steward"))
        };
        let binary = binary.map_or_else(beside, Ok)?;
        if !binary.is_file() {
            let wanted = binary.display();
            return Err(format!(
                "{wanted} is not there: build it with `cargo build --release --bin steward`"
            )
            .into());
        }
        let mut place = Self { binary, settings: Vec::new() };
        place.set("DATA__DIR", data.display());
        place.set("HTTP__BIND", "127.0.0.1:0");
        place.set("HTTP__MAX_CONNECTIONS", 20_000);
        // It is the server that is measured, not its quotas.
        place.set("LIMITS__ENABLED", false);
        place.set("LOG__FORMAT", "json");
        // The line that names the address, and what goes wrong.
        place.set("LOG__FILTER", "warn,steward::app=info");
        place.set("ADMIN__EMAIL", ADMIN.0);
        place.set("ADMIN__PASSWORD", ADMIN.1);
        Ok(place)
    }

    /// Sets a key of the configuration, such as `HTTP__BIND`.
    pub fn set(&mut self, key: &str, value: impl ToString) {
        self.settings.push((format!("STEWARD__{key}"), value.to_string()));
    }

    fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(&self.binary);
        command.arg(verb).env_clear().envs(self.settings.iter().cloned()).kill_on_drop(true);
        command
    }

    /// Starts `serve` or `sandbox` and waits until it listens.
    pub async fn start(&self, verb: &str) -> Result<Server, Failure> {
        let mut command = self.command(verb);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let mut lines = BufReader::new(child.stderr.take().ok_or("no pipe")?).lines();
        let listening = timeout(Duration::from_secs(60), async {
            let mut said = String::new();
            while let Some(line) = lines.next_line().await? {
                match serde_json::from_str::<Value>(&line) {
                    Ok(event) if event["message"] == "listening" => return Ok(event),
                    _ => said.push_str(&line),
                }
            }
            Err::<Value, Failure>(format!("it ended before it listened: {said}").into())
        });
        let listening = listening.await??;
        // What it warns of is shown: a bench of a server in trouble measures nothing.
        tokio::spawn(async move {
            let mut shown = 0;
            while let Ok(Some(line)) = lines.next_line().await {
                shown += 1;
                if shown <= 5 {
                    crate::report::print(&format!("  server: {line}\n"));
                }
            }
        });
        let text = |name: &str| listening[name].as_str().unwrap_or_default().to_owned();
        let pid = child.id().ok_or("it has ended")?;
        Ok(Server { child, pid, url: text("api"), sandbox: text("sandbox") })
    }
}

/// A running process, killed when dropped.
pub struct Server {
    child: Child,
    /// Its process id.
    pub pid: u32,
    /// Where the API is.
    pub url: String,
    /// Where the sandbox is.
    pub sandbox: String,
}

impl Server {
    /// `host:port` of the API.
    pub fn address(&self) -> &str {
        self.url.trim_start_matches("http://")
    }

    /// Sends it a signal, such as `-TERM`.
    pub async fn signal(&self, name: &str) -> Result<(), Failure> {
        let sent = Command::new("kill").args([name, &self.pid.to_string()]).status().await?;
        if sent.success() { Ok(()) } else { Err("the signal could not be sent".into()) }
    }

    /// Waits until it has ended, 60 s at most.
    pub async fn ended(mut self) -> Result<(), Failure> {
        timeout(Duration::from_secs(60), self.child.wait()).await??;
        Ok(())
    }

    /// Ends it and waits for that.
    pub async fn end(mut self) -> Result<(), Failure> {
        self.child.kill().await?;
        Ok(())
    }
}

/// Processor time that a process has used, by Linux; zero where that cannot be told.
pub fn cpu(pid: u32) -> Duration {
    const TICKS_A_SECOND: u64 = 100;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name, in brackets, may hold anything; user and system time are the 12th and 13th after it.
    let after = stat.rsplit_once(')').map_or("", |(_, after)| after);
    let ticks: u64 = after.split_whitespace().skip(11).take(2).filter_map(|n| n.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 1000 / TICKS_A_SECOND)
}

/// KiB that a process has in memory.
pub fn resident(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0.0)
}
