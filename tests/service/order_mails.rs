//! Mails about orders, from the process to an SMTP server that was not written here.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::timeout;

use crate::orders::{ended, place};
use crate::peer::Peer;
use crate::support::{Backend, Client, DataDir, Replica, order};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_thing_that_happened_is_told_by_one_mail_on_the_embedded_store() {
    told_once(Backend::Embedded).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_thing_that_happened_is_told_by_one_mail_on_mongodb() {
    told_once(Backend::cluster()).await;
}

async fn told_once(backend: Backend) {
    let mut server = Peer::start("smtp_server.py", "aiosmtpd").await;
    let uri = format!("smtp://127.0.0.1:{}", server.port);
    let data = DataDir::new();
    let mail = [("STEWARD__EMAIL__SMTP_URI", uri.as_str()), ("STEWARD__EMAIL__FROM", "shop@example.org")];
    let replica = Replica::start(&data.path(), &backend, &mail).await;
    let admin = Client::admin(&replica.url).await;
    let sku = admin.product(5.0, 10).await;
    let client = Client::register(&replica.url).await;

    // An order is confirmed, shipped, and given back in two parts, each asked for twice.
    let id = place(&client, "k", order(&sku, 2, "pm_card_visa")).await;
    assert_eq!(ended(&client, &id).await["status"], "confirmed");
    let mut mails: BTreeMap<String, String> = BTreeMap::new();
    let confirmation = about(&mut server, &id, &mut mails).await;
    assert_eq!(confirmation, format!("<order_confirmation.{id}@example.org>"));
    let path = |what: &str| format!("/v1/orders/{id}/{what}");
    for _ in 0..2 {
        admin.post(&path("ship"), json!({"trackingNumber": "T-77"})).await.expect(200);
    }
    let shipped = about(&mut server, &id, &mut mails).await;
    assert_eq!(shipped, format!("<order_shipped.{id}@example.org>"));
    assert!(mails[&shipped].contains("T-77"));
    let mut refunds = Vec::new();
    for (key, amount) in [("r1", 3), ("r2", 7)] {
        for _ in 0..2 {
            let refund = admin.post_with_key(&path("refunds"), json!({"amount": amount}), key).await;
            refunds.push(refund.expect(202)["id"].as_str().unwrap().to_owned());
        }
        let told = about(&mut server, &id, &mut mails).await;
        assert_eq!(told, format!("<order_refunded.{}@example.org>", refunds.last().unwrap()));
        assert!(mails[&told].contains(&format!("{amount}.00 USD")), "{}", mails[&told]);
    }
    // Nothing is told twice: what comes after a later one would have come by now.
    let last = place(&client, "k2", order(&sku, 1, "pm_card_visa")).await;
    assert_eq!(
        about(&mut server, &last, &mut mails).await,
        format!("<order_confirmation.{last}@example.org>")
    );
    assert_eq!(mails.len(), 5);
}

/// The next mail, which must be about this order and have an id that none had; other mails, as the
/// one that welcomes a user, are passed over.
async fn about(server: &mut Peer, order: &str, mails: &mut BTreeMap<String, String>) -> String {
    loop {
        let line = timeout(Duration::from_secs(60), server.line()).await.expect("a mail");
        let content = serde_json::from_str::<Value>(&line).unwrap()["content"].as_str().unwrap().to_owned();
        let id = content.lines().find_map(|line| line.strip_prefix("Message-ID: ")).unwrap().to_owned();
        if id.starts_with("<order_") {
            assert!(content.contains(order), "{content}");
            assert!(mails.insert(id.clone(), content).is_none(), "{id} came twice");
            return id;
        }
    }
}
