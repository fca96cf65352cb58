//! A backup that is made while the server works becomes a store that is right, on either store.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::orders::place;
use crate::support::{Backend, Client, DataDir, Replica, eventually, order, steward};

const PASSWORD: &str = "quite-a-long-passphrase-7";
const STOCK: i64 = 1000;

/// Where a store is, or is to be.
struct Place {
    data: DataDir,
    backend: Backend,
}

impl Place {
    fn new(backend: Backend) -> Self {
        Self { data: DataDir::new(), backend }
    }

    async fn serve(&self, more: &[(&str, &str)]) -> Replica {
        Replica::start(&self.data.path(), &self.backend, more).await
    }

    /// Runs a command; what it said, and whether all was well.
    async fn run(&self, words: &[&str]) -> (bool, String) {
        let mut command = steward(&self.data.path(), &self.backend);
        let output = command.args(words).output().await.unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&said).into_owned())
    }

    async fn restore(&self, file: &Path, more: &[&str]) -> (bool, String) {
        self.run(&[&["restore", file.to_str().unwrap()], more].concat()).await
    }
}

async fn placed(client: &Client, sku: &str, key: &str) -> String {
    place(client, key, order(sku, 1, "pm_card_visa")).await
}

/// Every order of a client, however many pages they are.
async fn all_orders(client: &Client) -> Vec<Value> {
    let (mut orders, mut next) = (Vec::new(), "/v1/orders?limit=100".to_owned());
    loop {
        let page = client.get(&next).await.expect(200);
        orders.extend(page["items"].as_array().unwrap().iter().cloned());
        let Some(cursor) = page["nextCursor"].as_str() else { return orders };
        next = format!("/v1/orders?limit=100&cursor={cursor}");
    }
}

/// Buys until told to stop.
struct Crowd {
    stop: Arc<AtomicBool>,
    bought: Arc<AtomicUsize>,
    buying: tokio::task::JoinHandle<()>,
}

impl Crowd {
    fn begin(client: &Client, sku: &str) -> Self {
        let (stop, bought) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (client, sku) = (client.clone(), sku.to_owned());
        let (stopped, counted) = (stop.clone(), bought.clone());
        let buying = tokio::spawn(async move {
            while !stopped.load(Ordering::SeqCst) {
                let n = counted.load(Ordering::SeqCst);
                placed(&client, &sku, &format!("crowd-{n}")).await;
                counted.fetch_add(1, Ordering::SeqCst);
            }
        });
        Self { stop, bought, buying }
    }

    async fn has_bought(&self, more: usize) {
        let before = self.bought.load(Ordering::SeqCst);
        eventually("the crowd buys", Duration::from_secs(30), async || {
            (self.bought.load(Ordering::SeqCst) >= before + more).then_some(())
        })
        .await;
    }

    async fn leave(self) {
        self.stop.store(true, Ordering::SeqCst);
        self.buying.await.unwrap();
    }
}

async fn a_backup_made_under_load_becomes_a_store_that_is_right(from: Backend, to: [Backend; 2]) {
    // Given a shop with confirmed orders, somebody who has logged out, and a crowd that buys,
    let place = Place::new(from);
    let replica = place.serve(&[]).await;
    let admin = Client::admin(&replica.url).await;
    let sku = admin.product(5.0, STOCK).await;
    let customer = Client::register(&replica.url).await;
    let email = customer.get("/v1/users/me").await.expect(200)["email"].as_str().unwrap().to_owned();
    let gone = Client::log_in(&replica.url, &email, PASSWORD).await;
    gone.post("/v1/users/logout", serde_json::json!({})).await.expect(204);
    let mut earlier = Vec::new();
    for n in 0..3 {
        let id = placed(&customer, &sku, &format!("earlier-{n}")).await;
        earlier.push(customer.confirmed(&id).await);
    }
    let crowd = Crowd::begin(&customer, &sku);
    crowd.has_bought(3).await;

    // when a backup is made meanwhile,
    let files = tempfile::tempdir().unwrap();
    let file = files.path().join("steward.backup");
    let (well, said) = place.run(&["backup", file.to_str().unwrap()]).await;
    assert!(well, "{said}");
    let (well, said) = place.run(&["backup", file.to_str().unwrap()]).await;
    assert!(!well && said.contains("is there already"), "{said}");
    crowd.has_bought(2).await;
    crowd.leave().await;
    let late = placed(&customer, &sku, "late").await;

    // then half of it is refused before anything is touched,
    let [first, second] = to.map(Place::new);
    let whole = std::fs::read(&file).unwrap();
    let half = files.path().join("half.backup");
    std::fs::write(&half, &whole[..whole.len() / 2]).unwrap();
    let (well, said) = first.restore(&half, &[]).await;
    assert!(!well && said.contains("ends too early"), "{said}");

    // and all of it becomes a store
    let (well, said) = first.restore(&file, &[]).await;
    assert!(well, "{said}");
    let sandbox = [("STEWARD__SANDBOX__URL", replica.sandbox.as_str())];
    let restored = first.serve(&sandbox).await;
    // in which nobody is logged in, and everybody can log in;
    assert_eq!(customer.at(&restored.url).get("/v1/users/me").await.status.as_u16(), 401);
    assert_eq!(gone.at(&restored.url).get("/v1/users/me").await.status.as_u16(), 401);
    let again = Client::log_in(&restored.url, &email, PASSWORD).await;
    // what was confirmed is there to the letter, and what came later is not;
    for order in &earlier {
        let path = format!("/v1/orders/{}", order["id"].as_str().unwrap());
        assert_eq!(&again.get(&path).await.expect(200), order);
    }
    again.get(&format!("/v1/orders/{late}")).await.expect(404);
    // what was under way is brought to its end, and stock and orders are of the same moment.
    let orders = eventually("all orders are settled", Duration::from_secs(60), async || {
        let orders = all_orders(&again).await;
        orders.iter().all(|order| order["status"] == "confirmed").then_some(orders)
    })
    .await;
    assert!(orders.len() >= earlier.len() + 3, "{}", orders.len());
    let admin = Client::admin(&restored.url).await;
    let stock = admin.get(&format!("/v1/inventory/{sku}")).await.expect(200);
    let left = STOCK - i64::try_from(orders.len()).unwrap();
    assert_eq!((&stock["onHand"], &stock["held"]), (&left.into(), &0.into()), "{stock}");
    let told = admin.get("/v1/admin/audit?act=store.restore").await.expect(200);
    assert_eq!(told["items"].as_array().unwrap().len(), 1);
    assert_eq!(restored.terminate().await, Some(0));

    // A store that has something in it stays as it is.
    let (well, said) = first.restore(&file, &[]).await;
    assert!(!well && said.contains("already"), "{said}");

    // Sessions that are kept are those of then.
    let (well, said) = second.restore(&file, &["--keep-sessions"]).await;
    assert!(well, "{said}");
    let restored = second.serve(&sandbox).await;
    customer.at(&restored.url).get("/v1/users/me").await.expect(200);
    assert_eq!(gone.at(&restored.url).get("/v1/users/me").await.status.as_u16(), 401);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_embedded_store_is_copied_while_it_is_served() {
    let to = [Backend::Embedded, Backend::Embedded];
    a_backup_made_under_load_becomes_a_store_that_is_right(Backend::Embedded, to).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mongodb_is_copied_while_it_is_served() {
    let to = [Backend::cluster(), Backend::cluster()];
    a_backup_made_under_load_becomes_a_store_that_is_right(Backend::cluster(), to).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_embedded_moves_to_mongodb_and_back() {
    let to = [Backend::cluster(), Backend::Embedded];
    a_backup_made_under_load_becomes_a_store_that_is_right(Backend::Embedded, to).await;
}
