//! Three replicas on one MongoDB sell, and one of them is killed (-9) every few seconds and started
//! again. The provider is a process of its own and outlives them all.
//!
//! `STEWARD_CHAOS_ORDERS` and `STEWARD_CHAOS_KILLS` make it larger; `scripts/chaos` asks for 10,000
//! orders and 100 deaths.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use reqwest::Method;
use tokio::sync::{Mutex, RwLock, watch};
use tokio::time::{Instant, sleep_until};

use crate::support::{Backend, Client, DataDir, Replica, Sandbox, asked, eventually, order};
use crate::{Acknowledged, STOCK, Shop, check};

const REPLICAS: usize = 3;
const BUYERS: usize = 24;
/// From one death to the next.
const EVERY: Duration = Duration::from_secs(3);
/// Within which all orders have ended when nobody dies any more.
const ENDED: Duration = Duration::from_secs(60);
const LEASE: &[(&str, &str)] =
    &[("STEWARD__CLUSTER__LEASE_SECONDS", "2"), ("STEWARD__CLUSTER__HEARTBEAT_SECONDS", "1")];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_survive_while_one_of_three_replicas_dies_every_few_seconds() {
    let (wanted, kills) = (asked("STEWARD_CHAOS_ORDERS", 200), asked("STEWARD_CHAOS_KILLS", 6));
    let seed = fastrand::u64(..);
    eprintln!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);

    // Given three replicas that sell one product, and a provider apart,
    let (backend, sandbox) = (Backend::cluster(), Sandbox::start().await);
    let more = [LEASE, &[("STEWARD__SANDBOX__URL", sandbox.url.as_str())]].concat();
    let data: [DataDir; REPLICAS] = std::array::from_fn(|_| DataDir::new());
    let mut replicas = Vec::new();
    for data in &data {
        replicas.push(Replica::start(&data.path(), &backend, &more).await);
    }
    let admin = Client::admin(&replicas[0].url).await;
    let sku = admin.product(9.99, STOCK).await;
    let customer = Client::register(&replicas[0].url).await;

    // and buyers who ask any of them, and another one with the same key when there is no answer,
    let urls = Arc::new(RwLock::new(replicas.iter().map(|replica| replica.url.clone()).collect::<Vec<_>>()));
    let count = Arc::new(AtomicUsize::new(0));
    // They buy evenly between the deaths.
    let (allow, allowed) = watch::channel(wanted / kills);
    let acknowledged = Arc::new(Mutex::new(Acknowledged::default()));
    let buyers: Vec<_> = (0..BUYERS)
        .map(|number| {
            let buyer = Buyer {
                number,
                customer: customer.clone(),
                sku: sku.clone(),
                urls: urls.clone(),
                acknowledged: acknowledged.clone(),
                count: count.clone(),
                allowed: allowed.clone(),
            };
            tokio::spawn(buyer.buy(random.fork()))
        })
        .collect();

    // when one of them is killed every three seconds and started again,
    let mut died = 0;
    let mut next = Instant::now();
    while died < kills || count.load(Ordering::SeqCst) < wanted {
        next = (next + EVERY).max(Instant::now());
        sleep_until(next).await;
        let which = random.usize(0..REPLICAS);
        replicas.remove(which).kill().await;
        let replica = Replica::start(&data[which].path(), &backend, &more).await;
        urls.write().await[which] = replica.url.clone();
        replicas.insert(which, replica);
        died += 1;
        allow.send_replace(wanted * (died + 1) / kills);
        eprintln!("kill {died}: {} acknowledged", count.load(Ordering::SeqCst));
    }
    drop(allow);
    for buyer in buyers {
        buyer.await.unwrap();
    }

    // then within a minute no order is under way any more,
    let began = Instant::now();
    let (customer, admin) = (customer.at(&replicas[0].url), admin.at(&replicas[0].url));
    for status in ["pending", "stock_held", "payment_authorized", "refunding"] {
        eventually("every order has ended", ENDED.saturating_sub(began.elapsed()), async || {
            let page = customer.get(&format!("/v1/orders?status={status}&limit=1")).await.expect(200);
            page["items"].as_array().unwrap().is_empty().then_some(())
        })
        .await;
    }
    eprintln!("{died} kills; all had ended after {:?}", began.elapsed());
    // and none is lost, charged twice or sold without being charged.
    let shop = Shop { customer, admin, sku, sandbox: sandbox.url.clone() };
    let outboxes: Vec<_> = data.iter().map(|data| data.path().join("outbox")).collect();
    let acknowledged = acknowledged.lock().await;
    assert!(acknowledged.orders.len() >= wanted);
    check(&shop, &acknowledged, &outboxes).await;
}

struct Buyer {
    number: usize,
    customer: Client,
    sku: String,
    urls: Arc<RwLock<Vec<String>>>,
    acknowledged: Arc<Mutex<Acknowledged>>,
    count: Arc<AtomicUsize>,
    /// Orders that there may be by now; closed when it is enough.
    allowed: watch::Receiver<usize>,
}

impl Buyer {
    async fn buy(mut self, mut random: fastrand::Rng) {
        for turn in 0.. {
            let may = |allowed: &usize| self.count.load(Ordering::SeqCst) < *allowed;
            if self.allowed.wait_for(may).await.is_err() {
                return;
            }
            let (method, name) = match turn % 10 {
                3 => ("pm_card_chargeDeclined", "declined"),
                7 => ("pm_card_lost_reply", "lost"),
                _ => ("pm_card_visa", "visa"),
            };
            let key = format!("{}-{turn}-{name}", self.number);
            self.acknowledged.lock().await.asked += 1;
            // Until the order has an answer, whoever gives it.
            let until = Instant::now() + Duration::from_secs(120);
            let id = loop {
                assert!(Instant::now() < until, "{key} is never answered");
                let url = self.urls.read().await[random.usize(0..REPLICAS)].clone();
                let body = Some(order(&self.sku, 1, method));
                let sent = self.customer.at(&url).send(Method::POST, "/v1/orders", body, Some(&key)).await;
                match sent {
                    Ok(answer) if answer.status == 202 => {
                        break answer.body["id"].as_str().unwrap().to_owned();
                    }
                    Ok(answer) => assert_eq!(answer.status.as_u16(), 503, "{}", answer.body),
                    Err(_) => {}
                }
                sleep_until(Instant::now() + Duration::from_millis(random.u64(20..100))).await;
            };
            self.acknowledged.lock().await.orders.insert(key, id);
            self.count.fetch_add(1, Ordering::SeqCst);
        }
    }
}
