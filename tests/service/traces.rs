//! Traces as a collector gets them, over real HTTP.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;

use crate::support::{Backend, Client, DataDir, Replica, eventually, order};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// A collector that keeps the names of the spans of each trace.
struct Collector {
    url: String,
    spans: Arc<Mutex<Vec<(String, String)>>>,
}

impl Collector {
    async fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let spans: Arc<Mutex<Vec<(String, String)>>> = Arc::default();
        let kept = spans.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let kept = kept.clone();
                tokio::spawn(async move {
                    let mut client = BufReader::new(client);
                    while let Some(body) = read(&mut client).await {
                        let export = ExportTraceServiceRequest::decode(body.as_slice()).unwrap();
                        let scopes = export.resource_spans.into_iter().flat_map(|of| of.scope_spans);
                        for span in scopes.flat_map(|scope| scope.spans) {
                            let trace: String = span.trace_id.iter().map(|b| format!("{b:02x}")).collect();
                            kept.lock().unwrap().push((trace, span.name));
                        }
                        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
                        client.get_mut().write_all(answer).await.unwrap();
                    }
                });
            }
        });
        Self { url, spans }
    }

    fn names(&self, trace: &str) -> BTreeSet<String> {
        let spans = self.spans.lock().unwrap();
        spans.iter().filter(|(of, _)| of == trace).map(|(_, name)| name.clone()).collect()
    }
}

/// The body of the next request.
async fn read(client: &mut BufReader<tokio::net::TcpStream>) -> Option<Vec<u8>> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        if client.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().unwrap();
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    client.read_exact(&mut body).await.ok()?;
    Some(body)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_trace_goes_from_the_client_through_request_saga_provider_and_job() {
    let collector = Collector::open().await;
    let data = DataDir::new();
    let more = [("STEWARD__TELEMETRY__OTLP_URL", collector.url.as_str())];
    let replica = Replica::start(&data.path(), &Backend::Embedded, &more).await;
    let admin = Client::admin(&replica.url).await;
    let sku = admin.product(5.0, 3).await;
    let customer = Client::register(&replica.url).await;

    // When a client orders in a trace of its own,
    let answer = reqwest::Client::new()
        .post(format!("{}/v1/orders", replica.url))
        .bearer_auth(customer.token.as_ref().unwrap())
        .header("Idempotency-Key", "one")
        .header("traceparent", format!("00-{TRACE}-00f067aa0ba902b7-01"))
        .json(&order(&sku, 1, "pm_card_visa"))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status().as_u16(), 202);
    let order: Value = answer.json().await.unwrap();

    // then all that is done for it, the mail at the end included, is in that trace.
    let wanted: BTreeSet<String> = ["request", "store", "saga", "provider", "job"].map(str::to_owned).into();
    eventually(&format!("the spans of {}", order["id"]), Duration::from_secs(30), async || {
        wanted.is_subset(&collector.names(TRACE)).then_some(())
    })
    .await;

    // A nonsense parent begins a trace of its own.
    let answer = reqwest::Client::new().get(format!("{}/v1/hello", replica.url)).header("traceparent", "x");
    assert_eq!(answer.send().await.unwrap().status().as_u16(), 200);
}
