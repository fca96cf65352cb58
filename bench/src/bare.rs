//! The baseline of reads: an actix-web handler that does nothing but answer, as a process of its own.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use actix_web::http::header::ContentType;
use actix_web::web::{Bytes, Data, get};
use actix_web::{App, HttpResponse, HttpServer};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::Failure;

/// Where the bytes are answered.
pub const PATH: &str = "/v1/users/me";

async fn answer(body: Data<Bytes>) -> HttpResponse {
    HttpResponse::Ok().insert_header(ContentType::json()).body(body.as_ref().clone())
}

/// Answers every request with what is in `file`, until the process is ended.
pub async fn serve(file: PathBuf) -> Result<String, Failure> {
    let body = Data::new(Bytes::from(std::fs::read(file)?));
    let server = HttpServer::new(move || App::new().app_data(body.clone()).route(PATH, get().to(answer)));
    let server = server.bind("127.0.0.1:0")?.disable_signals();
    let address = server.addrs().first().copied().ok_or("no address")?;
    crate::report::print(&format!("{address}\n"));
    server.run().await?;
    Ok(String::new())
}

/// A running baseline, ended when dropped.
pub struct Bare {
    _child: Child,
    pub pid: u32,
    pub address: String,
}

impl Bare {
    /// This program once more, as a server of what is in `file`.
    pub async fn start(file: &Path) -> Result<Self, Failure> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("bare").arg(file).stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn()?;
        let mut lines = BufReader::new(child.stdout.take().ok_or("no pipe")?).lines();
        let address = timeout(Duration::from_secs(10), lines.next_line()).await??;
        let address = address.ok_or("the baseline ended before it listened")?;
        let pid = child.id().ok_or("it has ended")?;
        Ok(Self { _child: child, pid, address })
    }
}
