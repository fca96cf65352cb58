//! What a bench finds in the store: wares, stock, and people who are logged in.

use std::sync::Arc;

use serde_json::{Value, json};
use steward_actors::catalog::{Catalog, NewProduct, Variant};
use steward_actors::cluster::StoreClock;
use steward_actors::inventory::{Adjustment, Inventory, Sku};
use steward_actors::money::{Currency, Money};
use steward_actors::session::{SESSIONS, SessionToken};
use steward_actors::store::{Batch, PRIMARY, Query, Store, Write};
use steward_actors::supervision::{Arbiters, Tree};
use steward_actors::users::USERS;

use crate::Failure;
use crate::server::ADMIN;
use crate::wire::Wire;

/// More than anyone buys.
pub const UNITS: i64 = 100_000_000;

/// Someone who is logged in.
#[derive(Clone)]
pub struct Identity {
    pub token: String,
}

/// One replica's stock on this store.
pub async fn inventory(store: Arc<dyn Store>) -> Result<Inventory, Failure> {
    let clock = Arc::new(StoreClock::start(store.as_ref()).await?);
    let tree = Tree::new(clock.clone());
    Ok(Inventory::new(store, clock, Arc::new(Arbiters::start(1)), tree, Inventory::OPTIONS))
}

/// Puts SKUs on sale, with so many units of each.
pub async fn stock_up(store: Arc<dyn Store>, skus: &[String], units: i64) -> Result<(), Failure> {
    let clock = Arc::new(StoreClock::start(store.as_ref()).await?);
    let inventory = inventory(store.clone()).await?;
    let catalog = Catalog::new(store, clock, Arc::new(inventory.clone()));
    let price = Money::new(100, Currency::from_code("USD").ok_or("USD")?);
    for sku in skus {
        let name = format!("Ware {sku}");
        let variant = Variant {
            sku: Sku::parse(sku.as_str())?,
            name: name.clone(),
            price,
            attributes: Default::default(),
        };
        let product = NewProduct {
            command: None,
            category_id: None,
            id: format!("product-{sku}"),
            name,
            description: None,
            image_urls: Vec::new(),
            attributes: Default::default(),
            variants: vec![variant],
        };
        catalog.create(product).await?;
        let received = Adjustment {
            id: "received".to_owned(),
            sku: sku.clone(),
            delta: units,
            reason: "received".to_owned(),
            reference: None,
        };
        inventory.adjust(received).await?;
    }
    Ok(())
}

/// The stock must tell of exactly what was answered with yes.
pub fn exact(held: i64, done: u64) -> Result<String, Failure> {
    let answered = i64::try_from(done)?;
    if held == answered {
        return Ok("stock exact".to_owned());
    }
    // A yes whose answer was lost is held, and its buyer was told to ask again with the same id.
    if held > answered {
        return Ok(format!("{} held without an answer", held - answered));
    }
    Err(format!("{answered} were told yes, {held} are held").into())
}

/// Registers one user over HTTP, so that a server made the records that [`crowd_of`] copies.
pub async fn register(address: &str) -> Result<(), Failure> {
    let body =
        json!({"email": "first@example.com", "name": "First", "password": "quite-a-long-passphrase-7"});
    let mut wire = Wire::connect(address).await?;
    match wire.ask("POST", "/v1/users/register", None, None, &body.to_string()).await? {
        (201, _) => Ok(()),
        (status, body) => Err(format!("registering: {status} {}", String::from_utf8_lossy(&body)).into()),
    }
}

/// A connection, and the first admin's token.
async fn admin(address: &str) -> Result<(Wire, String), Failure> {
    let mut wire = Wire::connect(address).await?;
    let body = json!({"email": ADMIN.0, "password": ADMIN.1}).to_string();
    let (status, body) = wire.ask("POST", "/v1/users/login", None, None, &body).await?;
    let login: Value = serde_json::from_slice(&body)?;
    let token = login["sessionToken"].as_str().ok_or(format!("the admin cannot log in: {status}"))?;
    Ok((wire, token.to_owned()))
}

/// Puts a SKU on sale the way that a shop does.
pub async fn stock_up_over_http(address: &str, sku: &str, units: i64) -> Result<(), Failure> {
    let (mut wire, token) = admin(address).await?;
    let variant = json!({"sku": sku, "name": sku, "price": 1, "currency": "USD"});
    let product = json!({"name": sku, "description": sku, "variants": [variant]});
    let received = json!({"delta": units, "reason": "received"});
    let adjustments = format!("/v1/inventory/{sku}/adjustments");
    for (path, body) in [("/v1/products", product), (adjustments.as_str(), received)] {
        match wire.ask("POST", path, Some(&token), Some("stock-up"), &body.to_string()).await? {
            (201, _) => {}
            (status, body) => {
                return Err(format!("{path}: {status} {}", String::from_utf8_lossy(&body)).into());
            }
        }
    }
    Ok(())
}

/// What is held of a SKU, as an admin sees it.
pub async fn held_over_http(address: &str, sku: &str) -> Result<i64, Failure> {
    let (mut wire, token) = admin(address).await?;
    let (_, body) = wire.ask("GET", &format!("/v1/inventory/{sku}"), Some(&token), None, "").await?;
    let stock: Value = serde_json::from_slice(&body)?;
    stock["held"].as_i64().ok_or_else(|| "the admin is not told what is held".into())
}

/// So many people who are logged in, as copies of the one who registered: a password is hashed
/// slowly on purpose, and that is not what is measured.
pub async fn crowd_of(store: &dyn Store, people: usize) -> Result<Vec<Identity>, Failure> {
    let users = store.find(Query::by(&USERS, PRIMARY).limit(100)).await?.records;
    let user = users.into_iter().find(|user| user.body["email"] == "first@example.com").ok_or("no user")?;
    let sessions = store.find(Query::by(&SESSIONS, PRIMARY).limit(100)).await?.records;
    let session = sessions.into_iter().find(|s| s.body["userId"] == user.id.as_str()).ok_or("no session")?;
    let mut crowd = Vec::with_capacity(people);
    let mut batch = Batch::new();
    for n in 0..people {
        let (user_id, token) = (uuid::Uuid::now_v7().to_string(), SessionToken::generate());
        let mut copy = user.body.clone();
        let email = format!("buyer{n}-{user_id}@example.com");
        copy.insert("id".to_owned(), json!(user_id));
        copy.insert("email".to_owned(), json!(email));
        copy.insert("emailKey".to_owned(), json!(email));
        batch.writes.push(Write::Insert { collection: &USERS, id: user_id.clone(), body: copy });
        let id = uuid::Uuid::now_v7().to_string();
        let mut copy = session.body.clone();
        copy.insert("id".to_owned(), json!(id));
        copy.insert("userId".to_owned(), json!(user_id));
        copy.insert("tokenHash".to_owned(), serde_json::to_value(token.hash())?);
        batch.writes.push(Write::Insert { collection: &SESSIONS, id, body: copy });
        crowd.push(Identity { token: token.expose().to_owned() });
        if batch.writes.len() >= 500 {
            store.commit(std::mem::take(&mut batch)).await?;
        }
    }
    if !batch.writes.is_empty() {
        store.commit(batch).await?;
    }
    Ok(crowd)
}
