//! The smallest HTTP/1.1 client that will do: one connection, one request at a time. The load is
//! made on the machine under load, so what it costs counts.

use std::io::{Error, ErrorKind, Result};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Bytes of an answer at most.
const MOST: usize = 1 << 20;

/// A connection.
pub struct Wire {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Wire {
    /// Connects to `host:port`.
    pub async fn connect(address: &str) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, read: Vec::with_capacity(4096) })
    }

    /// Sends a request and waits for its answer: the status and the body.
    pub async fn ask(
        &mut self,
        method: &str,
        path: &str,
        token: Option<&str>,
        key: Option<&str>,
        body: &str,
    ) -> Result<(u16, Vec<u8>)> {
        let mut request = format!("{method} {path} HTTP/1.1\r\nHost: bench\r\n");
        if let Some(token) = token {
            request.push_str(&format!("Authorization: Bearer {token}\r\n"));
        }
        if let Some(key) = key {
            request.push_str(&format!("Idempotency-Key: {key}\r\n"));
        }
        if !body.is_empty() {
            request.push_str("Content-Type: application/json\r\n");
        }
        request.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
        self.stream.write_all(request.as_bytes()).await?;
        self.answer().await
    }

    /// Sends a request that was written before and waits for its answer: the status. As little work as
    /// can be, for loads that are compared with what costs little.
    pub async fn again(&mut self, request: &[u8]) -> Result<u16> {
        self.stream.write_all(request).await?;
        self.read.clear();
        let head = loop {
            if let Some(end) = self.read.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            self.more().await?;
        };
        const LENGTH: &[u8] = b"content-length: ";
        let lines = self.read[..head].split(|byte| *byte == b'\n');
        let mut lengths = lines.filter_map(|line| {
            let name = line.get(..LENGTH.len())?;
            name.eq_ignore_ascii_case(LENGTH).then(|| line[LENGTH.len()..].trim_ascii())
        });
        let number = |digits: &[u8]| std::str::from_utf8(digits).ok()?.parse::<usize>().ok();
        let length = lengths.next().and_then(number).unwrap_or(0);
        let status = self.read.get(9..12).and_then(number).and_then(|status| u16::try_from(status).ok());
        let status = status.ok_or_else(|| Error::new(ErrorKind::InvalidData, "no status"))?;
        while self.read.len() < head + length {
            self.more().await?;
        }
        Ok(status)
    }

    async fn answer(&mut self) -> Result<(u16, Vec<u8>)> {
        self.read.clear();
        let head = loop {
            if let Some(end) = self.read.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            self.more().await?;
        };
        let text = String::from_utf8_lossy(&self.read[..head]).to_ascii_lowercase();
        let status = text.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.ok_or_else(|| Error::new(ErrorKind::InvalidData, "no status"))?;
        let length = text.lines().find_map(|line| line.strip_prefix("content-length:"));
        let length: usize = length.and_then(|length| length.trim().parse().ok()).unwrap_or(0);
        while self.read.len() < head + length {
            self.more().await?;
        }
        Ok((status, self.read[head..head + length].to_vec()))
    }

    async fn more(&mut self) -> Result<()> {
        if self.read.len() > MOST {
            return Err(Error::new(ErrorKind::InvalidData, "too long an answer"));
        }
        match self.stream.read_buf(&mut self.read).await? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}
