//! The baselines: the same documents as the inventory actor writes, in collections with the same
//! indexes and validators, with the driver alone.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bson::{Document, doc};
use futures_util::FutureExt;
use futures_util::stream::{FuturesUnordered, StreamExt, TryStreamExt};
use mongodb::error::{Error, TRANSIENT_TRANSACTION_ERROR, UNKNOWN_TRANSACTION_COMMIT_RESULT};
use mongodb::options::{Acknowledgment, Hint, ReadConcern, WriteConcern};
use mongodb::{Client, ClientSession, Collection, Database};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::{mpsc, oneshot};

/// The SKU that everyone wants.
pub const SKU: &str = "HOT";

/// The name of a database that nobody has.
pub fn fresh() -> String {
    format!("bench{}", uuid::Uuid::new_v4().simple())
}

/// One database, driven by hand.
#[derive(Clone)]
pub struct Raw {
    client: Client,
    stock: Collection<Document>,
    holds: Collection<Document>,
    movements: Collection<Document>,
    pub database: Database,
}

impl Raw {
    /// Connects, with the concerns that Steward uses.
    pub async fn connect(uri: &SecretString, database: &str) -> Result<Self, Error> {
        let mut options = mongodb::options::ClientOptions::parse(uri.expose_secret()).await?;
        options.write_concern = Some(WriteConcern::builder().w(Acknowledgment::Majority).build());
        options.read_concern = Some(ReadConcern::majority());
        options.max_pool_size = Some(64);
        let client = Client::with_options(options)?;
        let database = client.database(database);
        Ok(Self {
            stock: database.collection("stock"),
            holds: database.collection("holds"),
            movements: database.collection("movements"),
            client,
            database,
        })
    }

    /// One bare insert, as plain as can be.
    pub async fn insert(&self) -> bool {
        let id = uuid::Uuid::now_v7().to_string();
        self.database.collection::<Document>("bare").insert_one(doc! { "_id": id }).await.is_ok()
    }

    /// Has all that was written so far in the database's files, so that what is measured next does not
    /// pay for it.
    pub async fn flush(&self) -> Result<(), Error> {
        self.client.database("admin").run_command(doc! { "fsync": 1 }).await.map(drop)
    }

    /// Who owns an order, if there is one that has an owner.
    pub async fn owner(&self) -> Result<Option<String>, Error> {
        let orders = self.database.collection::<Document>("orders");
        let owned = orders.find_one(doc! { "owner": { "$gt": "" } }).hint(Hint::Name("owner".to_owned()));
        Ok(owned.await?.and_then(|order| Some(order.get_str("owner").ok()?.to_owned())))
    }

    /// The ids of an owner's orders from this one on, from the index alone. What has left the index
    /// before it is not walked over.
    pub async fn owned(&self, owner: &str, from: &str) -> Result<HashSet<String>, Error> {
        let orders = self.database.collection::<Document>("orders");
        let live =
            orders.find(doc! { "owner": owner, "_id": { "$gte": from } }).projection(doc! { "_id": 1 });
        let live = live.hint(Hint::Name("owner".to_owned())).batch_size(10_000).await?;
        let found: Vec<Document> = live.try_collect().await?;
        Ok(found.iter().filter_map(|order| Some(order.get_str("_id").ok()?.to_owned())).collect())
    }

    /// The server's process id, if it runs here.
    pub async fn pid(&self) -> Option<u32> {
        let status = self.database.run_command(doc! { "serverStatus": 1 }).await.ok()?;
        u32::try_from(status.get_i64("pid").ok()?).ok()
    }

    /// Puts so many units on hand.
    pub async fn stock_up(&self, units: i64) -> Result<(), Error> {
        let stock = doc! { "_id": SKU, "_version": 1_i64, "sku": SKU, "onHand": units, "held": 0_i64 };
        self.stock.insert_one(stock).await?;
        Ok(())
    }

    /// Units that are held.
    pub async fn held(&self) -> Result<i64, Error> {
        let stock = self.stock.find_one(doc! { "_id": SKU }).await?;
        Ok(stock.and_then(|stock| stock.get_i64("held").ok()).unwrap_or_default())
    }

    /// (a) One transaction a reservation, tried again for as long as it conflicts and time is left.
    pub async fn reserve_alone(&self, until: Instant) -> Result<bool, Error> {
        let mut session = self.client.start_session().await?;
        let id = uuid::Uuid::now_v7().to_string();
        while Instant::now() < until {
            session.start_transaction().read_concern(ReadConcern::snapshot()).await?;
            match self.take(&mut session, std::slice::from_ref(&id)).await {
                Ok(()) => {}
                Err(error) if error.contains_label(TRANSIENT_TRANSACTION_ERROR) => {
                    session.abort_transaction().await?;
                    continue;
                }
                Err(error) => return Err(error),
            }
            match session.commit_transaction().await {
                Ok(()) => return Ok(true),
                Err(error)
                    if error.contains_label(TRANSIENT_TRANSACTION_ERROR)
                        || error.contains_label(UNKNOWN_TRANSACTION_COMMIT_RESULT) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    async fn take(&self, session: &mut ClientSession, ids: &[String]) -> Result<(), Error> {
        let units = i64::try_from(ids.len()).unwrap_or(i64::MAX);
        let enough = doc! { "_id": SKU, "$expr": { "$gte": [{ "$subtract": ["$onHand", "$held"] }, units] } };
        let taking = doc! { "$inc": { "held": units, "_version": 1_i64 } };
        let taken = self.stock.update_one(enough, taking).session(&mut *session).await?;
        if taken.modified_count != 1 {
            return Err(Error::custom("out of stock"));
        }
        let now = bson::DateTime::now();
        let hold = |id: &String| {
            doc! {
                "_id": id, "_version": 1_i64, "id": id, "userId": "buyer", "lines": [{ "sku": SKU, "quantity": 1_i64 }],
                "status": "held", "createdAt": now,
            }
        };
        let movement = |id: &String| {
            doc! {
                "_id": format!("{id}:held:{SKU}"), "_version": 1_i64, "id": format!("{id}:held:{SKU}"),
                "sku": SKU, "at": now, "kind": "held", "delta": -1_i64, "reference": id,
            }
        };
        self.holds.insert_many(ids.iter().map(hold)).session(&mut *session).await?;
        self.movements.insert_many(ids.iter().map(movement)).session(&mut *session).await?;
        Ok(())
    }

    /// (b) A bare loop that commits what has queued up, 256 reservations a transaction.
    pub fn group_committer(&self) -> mpsc::Sender<oneshot::Sender<()>> {
        let (queue, mut queued) = mpsc::channel::<oneshot::Sender<()>>(8192);
        let raw = Arc::new(self.clone());
        tokio::spawn(
            async move {
                let mut session = raw.client.start_session().await?;
                let mut waiting = Vec::new();
                while queued.recv_many(&mut waiting, 256).await > 0 {
                    let ids: Vec<String> = waiting.iter().map(|_| uuid::Uuid::now_v7().to_string()).collect();
                    session.start_transaction().read_concern(ReadConcern::snapshot()).await?;
                    raw.take(&mut session, &ids).await?;
                    session.commit_transaction().await?;
                    for answer in waiting.drain(..) {
                        let _ = answer.send(());
                    }
                }
                Ok::<(), Error>(())
            }
            .map(|ended| {
                if let Err(error) = ended {
                    crate::report::print(&format!("the group committer ended: {error}\n"));
                }
            }),
        );
        queue
    }
}

/// Runs `buyers` loops until `span` is over; each asks again as soon as it is answered. The count
/// of yeses, the time it took, and how long each answer took.
pub async fn crowd<F>(
    buyers: usize,
    span: Duration,
    ask: impl Fn(usize, Instant) -> F,
) -> (u64, Duration, Vec<Duration>)
where
    F: Future<Output = bool> + Send + 'static,
{
    let began = Instant::now();
    let until = began + span;
    let mut latencies = Vec::new();
    let mut waiting = FuturesUnordered::new();
    let timed = |n: usize| {
        let asked = ask(n, until);
        tokio::spawn(async move {
            let began = Instant::now();
            (n, asked.await, began.elapsed())
        })
    };
    for n in 0..buyers {
        waiting.push(timed(n));
    }
    let mut yes = 0;
    while let Some(answer) = waiting.next().await {
        let Ok((n, done, took)) = answer else { continue };
        if done {
            yes += 1;
            latencies.push(took);
        }
        if Instant::now() < until {
            waiting.push(timed(n));
        }
    }
    latencies.sort_unstable();
    (yes, began.elapsed(), latencies)
}
