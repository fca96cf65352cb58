//! One question to the replica that runs on this machine: `steward health`, so that a container's
//! health check needs no other program, and what only the replica itself knows.
//!
//! It speaks HTTP itself, in a line: no certificates are loaded and no pool is made for a check
//! that is done every few seconds.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::Failure;

/// How long the replica may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// Bytes of the answer that are read.
const MOST_READ: u64 = 256 * 1024;

/// Asks the replica that listens on `bind`: whether it should get requests, or only whether it
/// lives.
pub(super) async fn ask(bind: &str, live: bool) -> Result<String, Failure> {
    let path = if live { "/healthz" } else { "/readyz" };
    question(bind, path, "").await
}

/// What the replica that listens on `bind` answers to a GET of `path` by whoever has `token`.
pub(super) async fn tell(bind: &str, path: &str, token: &SecretString) -> Result<String, Failure> {
    let token = token.expose_secret();
    if token.is_empty() || !token.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(Failure::new("put a token of somebody with admin:read into STEWARD_TOKEN"));
    }
    question(bind, path, &format!("Authorization: Bearer {token}\r\n")).await
}

async fn question(bind: &str, path: &str, headers: &str) -> Result<String, Failure> {
    let address = reachable(bind).ok_or_else(|| Failure::new(format!("{bind} is no address to ask")))?;
    let answer = match timeout(PATIENCE, get(address, path, headers)).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => return Err(Failure::new(format!("nobody answers at {address}: {error}"))),
        Err(_) => return Err(Failure::new(format!("no answer from {address} in {PATIENCE:?}"))),
    };
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    match head.split_whitespace().nth(1) {
        Some("200") => Ok(format!("{body}\n")),
        status => Err(Failure::new(format!("{path} answers {}: {body}", status.unwrap_or("no HTTP")))),
    }
}

async fn get(address: SocketAddr, path: &str, headers: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    // Version 1.0: the answer ends with the connection.
    let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(MOST_READ).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Where to ask a server that listens on `bind`: one that listens everywhere, by loopback. None
/// for port 0, which stands for one that only the server knows.
fn reachable(bind: &str) -> Option<SocketAddr> {
    let mut address = bind.to_socket_addrs().ok()?.next()?;
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        });
    }
    (address.port() != 0).then_some(address)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    async fn asked(answer: &'static str) -> (Result<String, Failure>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let bind = listener.local_addr().unwrap().to_string();
        let served = tokio::spawn(async move {
            let (mut client, _) = listener.accept().await.unwrap();
            let mut head = [0; 64];
            let read = client.read(&mut head).await.unwrap();
            client.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8_lossy(&head[..read]).into_owned()
        });
        (ask(&bind, false).await, served.await.unwrap())
    }

    #[tokio::test]
    async fn only_200_is_healthy_and_the_reason_is_told() {
        let (well, head) = asked("HTTP/1.1 200 OK\r\n\r\n{}").await;
        assert_eq!(well.unwrap(), "{}\n");
        assert!(head.starts_with("GET /readyz HTTP/1.0\r\n"), "{head}");
        for (answer, told) in
            [("HTTP/1.1 503 Gone\r\n\r\n{\"status\":\"unavailable\"}", "unavailable"), ("", "no HTTP")]
        {
            let (ill, _) = asked(answer).await;
            assert!(ill.unwrap_err().to_string().contains(told));
        }
    }

    #[tokio::test]
    async fn nobody_there_is_a_failure() {
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
        assert!(ask(&free, true).await.is_err());
        assert!(ask("127.0.0.1:0", true).await.is_err());
    }

    #[test]
    fn who_listens_everywhere_is_asked_by_loopback() {
        assert_eq!(reachable("0.0.0.0:80").unwrap().to_string(), "127.0.0.1:80");
        assert_eq!(reachable("[::]:80").unwrap().to_string(), "[::1]:80");
        assert_eq!(reachable("192.0.2.7:80").unwrap().to_string(), "192.0.2.7:80");
    }
}
