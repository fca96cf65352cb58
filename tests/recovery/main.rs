//! The real process is killed (-9) again and again while orders run. Afterwards every acknowledged
//! order has reached its end, once, and the sandbox's ledger agrees.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, missing_docs)]

#[path = "../support/mod.rs"]
mod support;

mod matrix;
mod replicas;

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use reqwest::Method;
use serde_json::Value;
use support::{Backend, Client, DataDir, Replica, SHORT_LEASE, eventually, order};
use tokio::sync::{Mutex, watch};

/// Deaths in one run; `scripts/chaos` asks for more by `STEWARD_CHAOS`.
const KILLS: usize = 12;
const KILLS_IN_CHAOS: usize = 40;
const BUYERS: usize = 6;
const STOCK: i64 = 100_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_survive_kill_9_on_the_embedded_store() {
    survive_kills(Backend::Embedded).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_survive_kill_9_on_mongodb() {
    survive_kills(Backend::cluster()).await;
}

/// What the buyers know: the oracle that the server cannot touch.
#[derive(Default)]
struct Acknowledged {
    /// Idempotency key → order id.
    orders: BTreeMap<String, String>,
    asked: u64,
}

async fn survive_kills(backend: Backend) {
    let seed = fastrand::u64(..);
    eprintln!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);

    // Given a replica with one product in ample stock,
    let data = DataDir::new();
    let mut replica = Replica::start(&data.path(), &backend, SHORT_LEASE).await;
    let admin = Client::admin(&replica.url).await;
    let sku = admin.product(9.99, STOCK).await;
    let customer = Client::register(&replica.url).await;

    // and buyers who go on whatever happens, repeating what was not answered with the same key,
    let (address, _) = watch::channel(replica.url.clone());
    let acknowledged = Arc::new(Mutex::new(Acknowledged::default()));
    let count = Arc::new(AtomicU64::new(0));
    let closing = Arc::new(AtomicBool::new(false));
    let buyers: Vec<_> = (0..BUYERS)
        .map(|buyer| {
            let (customer, sku, address) = (customer.clone(), sku.clone(), address.subscribe());
            let (acknowledged, count, closing) = (acknowledged.clone(), count.clone(), closing.clone());
            tokio::spawn(
                async move { buy(buyer, customer, sku, address, acknowledged, count, closing).await },
            )
        })
        .collect();

    // when the process is killed after a random number of acknowledgements, again and again,
    let kills = if std::env::var_os("STEWARD_CHAOS").is_some() { KILLS_IN_CHAOS } else { KILLS };
    for kill in 0..kills {
        let enough = count.load(Ordering::SeqCst) + random.u64(1..40);
        eventually("orders are acknowledged", Duration::from_secs(60), async || {
            (count.load(Ordering::SeqCst) >= enough).then_some(())
        })
        .await;
        replica.kill().await;
        replica = Replica::start(&data.path(), &backend, SHORT_LEASE).await;
        address.send_replace(replica.url.clone());
        eprintln!("kill {}: {} acknowledged", kill + 1, count.load(Ordering::SeqCst));
    }
    closing.store(true, Ordering::SeqCst);
    for buyer in buyers {
        buyer.await.unwrap();
    }

    // then most operations succeeded, or the run would say nothing,
    let acknowledged = acknowledged.lock().await;
    let orders = &acknowledged.orders;
    assert!(
        orders.len() as f64 >= 0.6 * acknowledged.asked as f64,
        "{} of {}",
        orders.len(),
        acknowledged.asked
    );
    assert!(orders.len() >= kills, "{}", orders.len());
    // and every one has the end it should have.
    let shop = Shop {
        customer: customer.at(&replica.url),
        admin: admin.at(&replica.url),
        sku,
        sandbox: replica.sandbox.clone(),
    };
    check(&shop, &acknowledged, &[data.path().join("outbox")]).await;
}

/// A shop after all that was done to it, as its customer, its admin and its provider see it.
struct Shop {
    customer: Client,
    admin: Client,
    sku: String,
    sandbox: String,
}

/// Every acknowledged order has its end, once, and the provider's ledger, the stock and the mails in
/// `outboxes` say the same.
async fn check(shop: &Shop, acknowledged: &Acknowledged, outboxes: &[PathBuf]) {
    let Shop { customer, admin, sku, sandbox } = shop;
    let orders = &acknowledged.orders;

    // Every key has an order of its own,
    let distinct: HashSet<&String> = orders.values().collect();
    assert_eq!(distinct.len(), orders.len());

    // every acknowledged order reaches its end,
    let mut confirmed = BTreeMap::new();
    for (key, id) in orders {
        let order = eventually("the order ends", Duration::from_secs(60), async || {
            let order = customer.get(&format!("/v1/orders/{id}")).await.expect(200);
            matches!(order["status"].as_str(), Some("confirmed" | "rejected")).then_some(order)
        })
        .await;
        let declined = key.contains("declined");
        let expected = if declined { "rejected" } else { "confirmed" };
        assert_eq!(order["status"], expected, "{order}");
        if !declined {
            confirmed.insert(id.clone(), order["total"].as_f64().unwrap());
        }
    }

    // the user has no order but these,
    let mut listed = HashSet::new();
    let mut cursor = String::new();
    loop {
        let page = customer.get(&format!("/v1/orders?limit=100{cursor}")).await.expect(200);
        listed.extend(page["items"].as_array().unwrap().iter().map(|o| o["id"].as_str().unwrap().to_owned()));
        match page["nextCursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(listed, orders.values().cloned().collect::<HashSet<_>>());

    // the provider's own ledger has one capture an order that was confirmed and none besides,
    let ledger = ledger(sandbox).await;
    for entry in &ledger {
        let id = entry["orderId"].as_str().unwrap();
        let captures = entry["captures"].as_u64().unwrap();
        assert_eq!(captures, u64::from(confirmed.contains_key(id)), "{entry}");
        if captures == 1 {
            assert_eq!(
                entry["captured"].as_i64().unwrap(),
                (confirmed[id] * 100.0).round() as i64,
                "{entry}"
            );
        }
    }
    let charged = ledger.iter().filter(|entry| entry["captures"] == 1).count();
    assert_eq!(charged, confirmed.len());

    // and the stock tells the same story, with nothing held.
    eventually("nothing is held", Duration::from_secs(30), async || {
        let stock = admin.get(&format!("/v1/inventory/{sku}")).await.expect(200);
        (stock["held"] == 0).then_some(())
    })
    .await;
    let stock = admin.get(&format!("/v1/inventory/{sku}")).await.expect(200);
    assert_eq!(stock["onHand"].as_i64().unwrap(), STOCK - confirmed.len() as i64);
    assert_eq!(stock["available"], stock["onHand"]);

    // Each confirmed order has its mail, once: those that a killed process had claimed, when its
    // claim has lapsed.
    let mails = || {
        let files = outboxes.iter().filter_map(|outbox| std::fs::read_dir(outbox).ok()).flatten();
        let names = files.filter_map(|file| file.ok()?.file_name().into_string().ok());
        let is_it = |name: &String| name.starts_with("order_confirmation") && name.ends_with(".eml");
        names.filter(is_it).collect::<HashSet<_>>().len()
    };
    eventually("every mail is there", Duration::from_secs(90), async || {
        (mails() >= confirmed.len()).then_some(())
    })
    .await;
    assert_eq!(mails(), confirmed.len());
    eprintln!("{} orders, {} confirmed, {} asked", orders.len(), confirmed.len(), acknowledged.asked);
}

async fn buy(
    buyer: usize,
    customer: Client,
    sku: String,
    mut address: watch::Receiver<String>,
    acknowledged: Arc<Mutex<Acknowledged>>,
    count: Arc<AtomicU64>,
    closing: Arc<AtomicBool>,
) {
    for turn in 0.. {
        if closing.load(Ordering::SeqCst) {
            return;
        }
        let (method, name) = match turn % 5 {
            3 => ("pm_card_chargeDeclined", "declined"),
            4 => ("pm_card_lost_reply", "lost"),
            _ => ("pm_card_visa", "visa"),
        };
        let key = format!("{buyer}-{turn}-{name}");
        acknowledged.lock().await.asked += 1;
        loop {
            let customer = customer.at(&address.borrow_and_update().clone());
            let answer =
                customer.send(Method::POST, "/v1/orders", Some(order(&sku, 1, method)), Some(&key)).await;
            match answer {
                Ok(answer) if answer.status == 202 => {
                    let id = answer.body["id"].as_str().unwrap().to_owned();
                    let before = acknowledged.lock().await.orders.insert(key.clone(), id.clone());
                    assert!(before.is_none_or(|before| before == id));
                    count.fetch_add(1, Ordering::SeqCst);
                    break;
                }
                // Busy: the answer says so, and nothing was accepted.
                Ok(answer) => assert_eq!(answer.status.as_u16(), 503, "{}", answer.body),
                // Killed: the same again, at the new address, once there is one.
                Err(_) => {
                    let _ = tokio::time::timeout(Duration::from_secs(30), address.changed()).await;
                }
            }
        }
    }
}

async fn ledger(sandbox: &str) -> Vec<Value> {
    let (mut entries, mut from) = (Vec::new(), String::new());
    loop {
        let answer = reqwest::get(format!("{sandbox}/_sandbox/ledger{from}")).await.unwrap();
        let ledger: Value = answer.json().await.unwrap();
        entries.extend(ledger["orders"].as_array().expect("a ledger").iter().cloned());
        match ledger["next"].as_str() {
            Some(next) => from = format!("?from={next}"),
            None => return entries,
        }
    }
}
