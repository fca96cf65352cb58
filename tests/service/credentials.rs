//! Credentials of providers at rest: whoever has a copy of the whole database has none of them.

use std::path::Path;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::TryStreamExt;
use mongodb::bson::{RawDocumentBuf, doc};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::support::{Backend, Client, DataDir, Replica, eventually, steward};

const CANARY: &str = "canary-of-the-access-url";
const OLD_KEY: &str = "b2xkb2xkb2xkb2xkb2xkb2xkb2xkb2xkb2xkb2xkb2w=";
const NEW_KEY: &str = "bmV3bmV3bmV3bmV3bmV3bmV3bmV3bmV3bmV3bmV3bmU=";

/// A bank that gives everybody an access URL with [`CANARY`] in it, in place of the sandbox.
async fn canary_bank() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let url = format!("http://{host}");
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.windows(4).any(|window| window == b"\r\n\r\n") {
                if socket.read_buf(&mut head).await.unwrap_or(0) == 0 {
                    break;
                }
            }
            let head = String::from_utf8_lossy(&head).into_owned();
            let credentials = STANDARD.encode(format!("user:{CANARY}"));
            let body = if head.starts_with("POST /simplefin/claim/") {
                format!("http://user:{CANARY}@{host}/simplefin/access")
            } else if head.contains(&format!("Basic {credentials}")) {
                r#"{"errors": [], "accounts": []}"#.to_owned()
            } else {
                "{}".to_owned()
            };
            let length = body.len();
            let answer =
                format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
            let _ = socket.write_all(answer.as_bytes()).await;
        }
    });
    url
}

/// Every byte that the store keeps.
async fn dump(data: &Path, backend: &Backend) -> Vec<u8> {
    let mut all = Vec::new();
    match backend {
        Backend::Embedded => {
            for entry in std::fs::read_dir(data).unwrap() {
                let path = entry.unwrap().path();
                if path.is_file() {
                    all.extend(std::fs::read(path).unwrap());
                }
            }
        }
        Backend::Cluster { mongodb, database, .. } | Backend::MongoAlone { mongodb, database } => {
            let database = mongodb::Client::with_uri_str(mongodb).await.unwrap().database(database);
            for name in database.list_collection_names().await.unwrap() {
                let collection = database.collection::<RawDocumentBuf>(&name);
                let mut found = collection.find(doc! {}).await.unwrap();
                while let Some(document) = found.try_next().await.unwrap() {
                    all.extend(document.as_bytes());
                }
            }
        }
    }
    all
}

fn holds(dump: &[u8], text: &str) -> bool {
    dump.windows(text.len()).any(|window| window == text.as_bytes())
}

fn holds_the_canary(dump: &[u8]) -> bool {
    let forms = [CANARY.to_owned(), STANDARD.encode(CANARY), STANDARD.encode(format!("user:{CANARY}"))];
    forms.iter().any(|form| holds(dump, form.trim_end_matches('=')))
}

async fn last_outcome(client: &Client, id: &str, runs: usize) -> String {
    eventually("the run ends", Duration::from_secs(20), async || {
        let list = client.get(&format!("/v1/connections/{id}/runs")).await.expect(200);
        let list = list["items"].as_array().unwrap().clone();
        let outcome = list.first()?["outcome"].as_str()?.to_owned();
        (list.len() == runs).then_some(outcome)
    })
    .await
}

async fn a_copy_of_the_database_holds_no_credential_also_while_the_key_changes(backend: Backend) {
    let (bank, data) = (canary_bank().await, DataDir::new());
    let start = async |keys: &str| {
        let more = [("STEWARD__SANDBOX__URL", bank.as_str()), ("STEWARD__SECRETS__KEY", keys)];
        Replica::start(&data.path(), &backend, &more).await
    };
    let replica = start(OLD_KEY).await;
    let client = Client::register(&replica.url).await;
    let body = json!({"provider": "sandbox", "setupToken": "sandbox"});
    let id = client.post("/v1/connections", body).await.expect(201)["id"].as_str().unwrap().to_owned();
    assert_eq!(last_outcome(&client, &id, 1).await, "complete");

    let before = dump(&data.path(), &backend).await;
    assert!(holds(&before, &id), "this is what the store keeps");
    assert!(!holds_the_canary(&before));
    replica.terminate().await;

    // The key changes: with both, then with the new one alone.
    let both = format!("{NEW_KEY},{OLD_KEY}");
    let mut reseal = steward(&data.path(), &backend);
    reseal.args(["keys", "reseal"]).env("STEWARD__SECRETS__KEY", &both);
    let done = reseal.output().await.unwrap();
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success() && said.starts_with("1 credentials sealed again"), "{said}{done:?}");
    assert!(!holds_the_canary(&dump(&data.path(), &backend).await));

    let replica = start(NEW_KEY).await;
    let client = client.at(&replica.url);
    client.post(&format!("/v1/connections/{id}/sync"), json!({})).await.expect(202);
    assert_eq!(last_outcome(&client, &id, 2).await, "complete", "the bank knew the credential");

    client.delete(&format!("/v1/connections/{id}")).await.expect(204);
    assert!(!holds_the_canary(&dump(&data.path(), &backend).await));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn embedded() {
    a_copy_of_the_database_holds_no_credential_also_while_the_key_changes(Backend::Embedded).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster() {
    a_copy_of_the_database_holds_no_credential_also_while_the_key_changes(Backend::cluster()).await;
}
