//! A replica that is told to stop while clients are at it: none of them notices, except that its
//! connection ends with an answer.

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Backend, Client, DataDir, Replica, eventually};

const CLIENTS: usize = 30;

/// What one client has met.
#[derive(Debug, Default)]
struct Met {
    answers: AtomicUsize,
    told_to_leave: AtomicUsize,
    unready: AtomicUsize,
}

/// Asks again and again over connections that it keeps for as long as it may, until nobody
/// listens. Only a refused connection ends it; anything else that goes wrong is an error.
async fn keep_asking(address: String, requests: Vec<String>, met: Arc<Met>) -> Result<(), String> {
    loop {
        let mut wire = match TcpStream::connect(&address).await {
            Ok(wire) => wire,
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => return Ok(()),
            Err(error) => return Err(format!("connecting: {error}")),
        };
        for request in requests.iter().cycle() {
            let (status, head) =
                ask(&mut wire, request).await.map_err(|error| format!("{request}: {error}"))?;
            match status {
                200 => {}
                503 if request.starts_with("GET /readyz") => {
                    met.unready.fetch_add(1, Ordering::Relaxed);
                }
                _ => return Err(format!("{request}: {head}")),
            }
            met.answers.fetch_add(1, Ordering::Relaxed);
            if head.contains("connection: close") {
                met.told_to_leave.fetch_add(1, Ordering::Relaxed);
                break;
            }
        }
    }
}

async fn ask(wire: &mut TcpStream, request: &str) -> std::io::Result<(u16, String)> {
    wire.write_all(request.as_bytes()).await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(wire.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).to_lowercase();
    let length = head.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next());
    let length: usize = length.and_then(|length| length.parse().ok()).unwrap_or(0);
    wire.read_exact(&mut vec![0; length]).await?;
    Ok((head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0), head))
}

async fn nobody_notices(backend: Backend) {
    let data = DataDir::new();
    let replica = Replica::start(&data.path(), &backend, &[("STEWARD__HTTP__DRAIN_SECONDS", "1")]).await;
    let user = Client::register(&replica.url).await;
    let address = replica.url.strip_prefix("http://").unwrap().to_owned();
    let token = user.token.clone().unwrap();
    let body = r#"{"name": "Somebody Else"}"#;
    let requests = vec![
        format!("GET /v1/users/me HTTP/1.1\r\nhost: h\r\nauthorization: Bearer {token}\r\n\r\n"),
        format!(
            "PUT /setName HTTP/1.1\r\nhost: h\r\nauthorization: Bearer {token}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        ),
        "GET /readyz HTTP/1.1\r\nhost: h\r\n\r\n".to_owned(),
    ];
    let met: Vec<Arc<Met>> = (0..CLIENTS).map(|_| Arc::default()).collect();
    let clients: Vec<_> = met
        .iter()
        .map(|met| tokio::spawn(keep_asking(address.clone(), requests.clone(), met.clone())))
        .collect();
    eventually("every client was answered", Duration::from_secs(20), async || {
        met.iter().all(|met| met.answers.load(Ordering::Relaxed) > 0).then_some(())
    })
    .await;

    assert_eq!(replica.terminate().await, Some(0));
    for client in clients {
        assert_eq!(client.await.unwrap(), Ok(()));
    }
    for met in met {
        assert!(met.told_to_leave.load(Ordering::Relaxed) > 0, "{met:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_notices_on_the_embedded_store() {
    nobody_notices(Backend::Embedded).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_notices_on_mongodb_and_redis() {
    nobody_notices(Backend::cluster()).await;
}
