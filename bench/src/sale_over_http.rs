//! (d) of the flash sale: the whole way, over HTTP, to real processes.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use secrecy::{ExposeSecret, SecretString};
use steward::app::schema::SCHEMA;
use steward::storage::mongo::MongoStore;
use steward::storage::sqlite::SqliteStore;
use steward_actors::store::Store;
use tokio::sync::Mutex;

use crate::Failure;
use crate::raw::{Raw, SKU, crowd, fresh};
use crate::report::Row;
use crate::server::{Place, Server, cpu};
use crate::shop::{
    Identity, UNITS, crowd_of, exact, held_over_http, inventory, register, stock_up, stock_up_over_http,
};
use crate::wire::Wire;

/// Holds that a user may have live.
const HOLDS: usize = steward_actors::inventory::MOST_LIVE;

/// What (d) needs besides what all contenders do.
#[derive(Clone)]
pub struct OverHttp {
    pub binary: Option<PathBuf>,
    pub redis: SecretString,
    pub buyers: usize,
    /// Logged-in users that a buyer has; each may hold [`HOLDS`] times.
    pub identities: usize,
    pub span: Duration,
}

struct Buyer {
    wire: Wire,
    identities: Vec<Identity>,
    done: usize,
}

impl OverHttp {
    /// So many processes on one SKU in MongoDB.
    pub async fn on_mongo(&self, uri: &SecretString, processes: usize) -> Result<Row, Failure> {
        let database = fresh();
        let store: Arc<dyn Store> = Arc::new(MongoStore::connect(uri, &database, SCHEMA).await?);
        let data: Vec<_> = (0..processes).map(|_| tempfile::tempdir()).collect::<Result<_, _>>()?;
        let mut places = Vec::new();
        for data in &data {
            let mut place = Place::new(self.binary.clone(), data.path())?;
            place.set("MONGODB__URI", uri.expose_secret());
            place.set("MONGODB__DATABASE", &database);
            place.set("REDIS__URI", self.redis.expose_secret());
            place.set("REDIS__PREFIX", format!("{database}:"));
            places.push(place);
        }
        let mut servers = Vec::new();
        for place in &places {
            servers.push(place.start("serve").await?);
        }
        register(servers[0].address()).await?;
        stock_up(store.clone(), &[SKU.to_owned()], UNITS).await?;
        let crowd = crowd_of(store.as_ref(), self.buyers * self.identities).await?;
        let name = match processes {
            1 => "(d) over HTTP, MongoDB".to_owned(),
            n => format!("    over HTTP, MongoDB, {n} processes"),
        };
        let mut row = self.run(name, &servers, crowd).await?;
        let stock = inventory(store).await?.stock(SKU).await?.ok_or("no stock")?.value;
        row.remark = format!("{}{}", exact(stock.held(), row.done)?, row.remark);
        for server in servers {
            server.end().await?;
        }
        Raw::connect(uri, &database).await?.database.drop().await?;
        Ok(row)
    }

    /// One process on the embedded store.
    pub async fn embedded(&self) -> Result<Row, Failure> {
        let data = tempfile::tempdir()?;
        let place = Place::new(self.binary.clone(), data.path())?;
        let first = place.start("serve").await?;
        register(first.address()).await?;
        stock_up_over_http(first.address(), SKU, UNITS).await?;
        first.end().await?;
        // One process at a time has the file: this one in between.
        let crowd = {
            let store = SqliteStore::open(&data.path().join("steward.db"), SCHEMA)?;
            crowd_of(&store, self.buyers * self.identities).await?
        };
        let server = start_when_free(&place).await?;
        let name = "    over HTTP, embedded SQLite".to_owned();
        let servers = vec![server];
        let mut row = self.run(name, &servers, crowd).await?;
        let held = held_over_http(servers[0].address(), SKU).await?;
        row.remark = format!("{}{}", exact(held, row.done)?, row.remark);
        for server in servers {
            server.end().await?;
        }
        Ok(row)
    }

    async fn run(&self, name: String, servers: &[Server], people: Vec<Identity>) -> Result<Row, Failure> {
        let hands: Vec<Vec<Identity>> = people.chunks(self.identities).map(<[_]>::to_vec).collect();
        let buyers = hands.into_iter().enumerate().map(|(n, identities)| async move {
            let mut wire = Wire::connect(servers[n % servers.len()].address()).await?;
            // They have looked around before the sale begins.
            for identity in &identities {
                wire.ask("GET", "/v1/holds", Some(&identity.token), None, "").await?;
            }
            Ok::<_, Failure>(Arc::new(Mutex::new(Buyer { wire, identities, done: 0 })))
        });
        let mut ready = Vec::new();
        let buyers: Vec<_> = buyers.collect();
        for some in chunks(buyers, 64) {
            ready.extend(try_join_all(some).await?);
        }
        let before: Duration = servers.iter().map(|server| cpu(server.pid)).sum();
        let others = Arc::new(AtomicUsize::new(0));
        let busy = Arc::new(AtomicUsize::new(0));
        let (done, took, latencies) = crowd(self.buyers, self.span, |n, _: Instant| {
            let (buyer, busy, others) = (ready[n].clone(), busy.clone(), others.clone());
            async move {
                match buyer.lock().await.buy().await {
                    Some(201) => return true,
                    Some(503) => busy.fetch_add(1, Ordering::Relaxed),
                    Some(_) => others.fetch_add(1, Ordering::Relaxed),
                    None => {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                        0
                    }
                };
                false
            }
        })
        .await;
        let used = servers.iter().map(|server| cpu(server.pid)).sum::<Duration>().saturating_sub(before);
        let mut remark =
            format!(", {:.0} µs of server CPU each", used.as_secs_f64() * 1e6 / done.max(1) as f64);
        for (count, what) in [(busy, "told to come back"), (others, "refused otherwise")] {
            match count.load(Ordering::Relaxed) {
                0 => {}
                count => remark.push_str(&format!(", {count} {what}")),
            }
        }
        Ok(Row { name, done, took, latencies, remark })
    }
}

impl Buyer {
    /// Holds one unit; the status, or `None` if all places are used up or there was no answer.
    async fn buy(&mut self) -> Option<u16> {
        let identity = self.identities.get(self.done / HOLDS)?;
        let key = uuid::Uuid::now_v7().to_string();
        let body = format!(r#"{{"lines":[{{"sku":"{SKU}","quantity":1}}],"ttlSeconds":900}}"#);
        let asked = self.wire.ask("POST", "/v1/holds", Some(&identity.token), Some(&key), &body).await;
        let (status, _) = asked.ok()?;
        self.done += usize::from(status == 201);
        Some(status)
    }
}

async fn start_when_free(place: &Place) -> Result<Server, Failure> {
    let mut tries = 0;
    loop {
        tries += 1;
        match place.start("serve").await {
            Err(error) if tries == 50 => return Err(error),
            // The store's threads of this process let go of the file a moment later.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            started => return started,
        }
    }
}

fn chunks<T>(items: Vec<T>, size: usize) -> Vec<Vec<T>> {
    let mut items = items.into_iter();
    std::iter::from_fn(|| Some(items.by_ref().take(size).collect::<Vec<_>>()).filter(|some| !some.is_empty()))
        .collect()
}
