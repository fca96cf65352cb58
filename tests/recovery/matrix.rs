//! The real process dies, as at once as by `kill -9`, at every named point of the saga. The next one
//! is started with the next point armed, so that recovering from one fall is what the next one falls
//! in. In the end every order that was acknowledged, cancelled or refunded has its end, once, and the
//! provider's ledger and stock agree.
//!
//! On MongoDB, where a fall takes the length of a lease to recover from, a sample of the points is
//! tried, other ones each time. `scripts/chaos` sets `STEWARD_CHAOS`: then all of them are, on both
//! stores, twice in a row.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use steward_actors::order_saga::CRASH_POINTS;

use crate::ledger;
use crate::support::{Backend, Client, DataDir, Replica, SHORT_LEASE, eventually, order};

const STOCK: i64 = 10_000;
const PRICE: i64 = 500;
/// Points that are tried on MongoDB.
const SAMPLE: usize = 6;
/// What a process dies of that aborts itself.
const SIGABRT: i32 = 6;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fall_at_every_point_is_survived_on_the_embedded_store() {
    fall_everywhere(Backend::Embedded, with_chaos(CRASH_POINTS.to_vec())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fall_at_a_sample_of_points_is_survived_on_mongodb() {
    let seed = fastrand::u64(..);
    eprintln!("seed {seed}");
    let mut points = CRASH_POINTS.to_vec();
    fastrand::Rng::with_seed(seed).shuffle(&mut points);
    points.truncate(SAMPLE);
    // Who adopts needs something to adopt, and not every fall leaves an order behind.
    let leaving = |point: &&'static str| if point.starts_with("adopt.") { Some("hold.after") } else { None };
    let points = points.iter().flat_map(|point| leaving(point).into_iter().chain([*point])).collect();
    fall_everywhere(Backend::cluster(), with_chaos(points)).await;
}

/// All points twice, if so much is wanted.
fn with_chaos(points: Vec<&'static str>) -> Vec<&'static str> {
    match std::env::var_os("STEWARD_CHAOS") {
        Some(_) => CRASH_POINTS.iter().flat_map(|point| [*point; 2]).collect(),
        None => points,
    }
}

/// What is wanted of one order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    Nothing,
    Cancel,
    RefundOne,
}

/// An order as its buyer knows it.
#[derive(Clone, Debug)]
struct Known {
    method: &'static str,
    id: Option<String>,
    wish: Wish,
}

impl Known {
    fn wanted(method: &'static str) -> Self {
        Self { method, id: None, wish: Wish::Nothing }
    }

    fn is_good(&self) -> bool {
        self.method != "pm_card_chargeDeclined"
    }

    fn end(&self) -> &'static str {
        match self.wish {
            _ if !self.is_good() => "rejected",
            Wish::Cancel => "refunded",
            _ => "confirmed",
        }
    }

    fn kept(&self) -> i64 {
        match self.wish {
            _ if !self.is_good() => 0,
            Wish::Nothing => PRICE,
            Wish::Cancel => 0,
            Wish::RefundOne => PRICE - 100,
        }
    }
}

struct Story {
    customer: Client,
    admin: Client,
    sku: String,
    /// By idempotency key.
    known: BTreeMap<String, Known>,
}

/// The process died.
struct Died;

impl Story {
    async fn send(client: &Client, path: &str, body: Option<Value>, key: &str) -> Result<Value, Died> {
        loop {
            match client.send(Method::POST, path, body.clone(), Some(key)).await {
                Ok(answer) if answer.status == 503 => tokio::time::sleep(Duration::from_millis(50)).await,
                Ok(answer) => return Ok(answer.expect(202)),
                Err(_) => return Err(Died),
            }
        }
    }

    /// Says again what was not answered.
    async fn place(&mut self, key: &str) -> Result<(), Died> {
        let known = self.known[key].clone();
        let placed = Self::send(&self.customer, "/v1/orders", Some(order(&self.sku, 1, known.method)), key);
        let id = placed.await?["id"].as_str().unwrap().to_owned();
        let known = self.known.get_mut(key).unwrap();
        assert!(known.id.as_ref().is_none_or(|before| *before == id), "another order for one key");
        known.id = Some(id);
        Ok(())
    }

    async fn wish(&mut self, key: &str, wish: Wish) -> Result<(), Died> {
        // Whether it was heard is not known until it is answered; then it is said again.
        self.known.get_mut(key).unwrap().wish = wish;
        let id = self.known[key].id.clone().unwrap();
        match wish {
            Wish::Nothing => {}
            Wish::Cancel => {
                Self::send(&self.customer, &format!("/v1/orders/{id}/cancel"), None, key).await?;
            }
            Wish::RefundOne => {
                let path = format!("/v1/orders/{id}/refunds");
                Self::send(&self.admin, &path, Some(json!({"amount": 1})), key).await?;
            }
        }
        Ok(())
    }

    async fn until_done(&self, key: &str) -> Result<(), Died> {
        let known = &self.known[key];
        let id = known.id.clone().unwrap();
        let until = tokio::time::Instant::now() + Duration::from_secs(60);
        loop {
            let path = format!("/v1/orders/{id}");
            let order = self.customer.send(Method::GET, &path, None, None).await.map_err(|_| Died)?.body;
            let taken = order["payment"]["captured"].as_f64().unwrap_or(-1.0);
            let back = order["payment"]["refunded"].as_f64().unwrap_or(-1.0);
            if order["status"] == known.end() && (taken - back) * 100.0 == known.kept() as f64 {
                return Ok(());
            }
            assert!(tokio::time::Instant::now() < until, "{key} {known:?} never ended: {order}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Four orders; one is cancelled when it is paid, of another a part is refunded.
    async fn round(&mut self, n: usize) -> Result<(), Died> {
        let keys = ["cancelled", "part", "declined", "lost"].map(|name| format!("{n}-{name}"));
        let methods = ["pm_card_visa", "pm_card_visa", "pm_card_chargeDeclined", "pm_card_lost_reply"];
        for (key, method) in keys.iter().zip(methods) {
            self.known.insert(key.clone(), Known::wanted(method));
            self.place(key).await?;
        }
        for key in &keys {
            self.until_done(key).await?;
        }
        for (key, wish) in [(&keys[0], Wish::Cancel), (&keys[1], Wish::RefundOne)] {
            self.wish(key, wish).await?;
            self.until_done(key).await?;
        }
        Ok(())
    }
}

async fn fall_everywhere(backend: Backend, points: Vec<&'static str>) {
    // Given a shop and what it looks like to a buyer,
    let data = DataDir::new();
    let replica = Replica::start(&data.path(), &backend, SHORT_LEASE).await;
    let admin = Client::admin(&replica.url).await;
    let sku = admin.product(5.0, STOCK).await;
    let customer = Client::register(&replica.url).await;
    let mut story = Story { customer, admin, sku, known: BTreeMap::new() };
    replica.kill().await;

    // when the process falls at one point after the other,
    for (n, point) in points.iter().enumerate() {
        let crash = format!("{point}:1");
        let more = [SHORT_LEASE, &[("STEWARD_CRASH_POINT", crash.as_str())]].concat();
        let fell = |status: ExitStatus| assert_eq!(status.signal(), Some(SIGABRT), "{point}: {status}");
        let mut replica = match Replica::try_start(&data.path(), &backend, &more).await {
            Ok(replica) => replica,
            // Some points lie in the recovery itself: who came to buy found nobody, and comes again.
            Err(status) => {
                fell(status);
                story.known.insert(format!("{n}-missed"), Known::wanted("pm_card_visa"));
                continue;
            }
        };
        story.customer = story.customer.at(&replica.url);
        story.admin = story.admin.at(&replica.url);
        let _ = story.round(n).await;
        let ended = replica.ended_within(Duration::from_secs(20)).await;
        fell(ended.unwrap_or_else(|| panic!("{point} was never passed")));
    }

    // then, when everybody has said again what was not answered,
    let replica = Replica::start(&data.path(), &backend, SHORT_LEASE).await;
    story.customer = story.customer.at(&replica.url);
    story.admin = story.admin.at(&replica.url);
    let keys: Vec<String> = story.known.keys().cloned().collect();
    for key in &keys {
        assert!(story.place(key).await.is_ok());
        let wish = story.known[key].wish;
        assert!(story.wish(key, wish).await.is_ok());
    }
    assert!(keys.len() >= points.len(), "a fall without an order: {keys:?}");
    // every order has the end that was wanted, and money and stock are where they should be.
    for key in &keys {
        assert!(story.until_done(key).await.is_ok());
    }
    let entries = ledger(&replica.sandbox).await;
    let placed: BTreeSet<&str> = story.known.values().filter_map(|known| known.id.as_deref()).collect();
    assert_eq!(placed.len(), keys.len(), "two keys with one order");
    assert!(entries.iter().all(|entry| placed.contains(entry["orderId"].as_str().unwrap())));
    let mut sold = 0;
    for (key, known) in &story.known {
        let entry = entries.iter().find(|entry| entry["orderId"] == known.id.as_deref().unwrap());
        let of = |name: &str| entry.map_or(0, |entry| entry[name].as_i64().unwrap());
        assert_eq!(of("captured") - of("refunded"), known.kept(), "{key} {known:?} {entry:?}");
        assert_eq!(of("authorized"), 0, "{key} {entry:?}");
        assert!(of("captures") <= 1 && of("authorizations") <= 1 && of("refunds") <= 1, "{key} {entry:?}");
        sold += i64::from(known.end() == "confirmed");
    }
    let stock = eventually("nothing is held", Duration::from_secs(30), async || {
        let stock = story.admin.get(&format!("/v1/inventory/{}", story.sku)).await.expect(200);
        (stock["held"] == 0).then_some(stock)
    })
    .await;
    assert_eq!((&stock["onHand"], &stock["available"]), (&json!(STOCK - sold), &json!(STOCK - sold)));
    eprintln!("{} points, {} orders, {sold} sold", points.len(), keys.len());
}
