//! The catalogue: validated records through the store, no actor.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::Mutex;

use super::change::{self, ProductChange};
use super::errors::CatalogError;
use super::product::{Product, SkuRecord, Variant};
use crate::backoff::Backoff;
use crate::cluster::Clock;
use crate::inventory::{LapsedHolds, Stock};
use crate::store::{Batch, CommitError, Store, StoreError, Versioned, load, load_many};

/// Attempts of one command that may come to nothing because others came first.
const MOST_ATTEMPTS: u32 = 20;

/// A product to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewProduct {
    /// Its id, chosen by who asks: the same id again is the same product.
    pub id: String,
    /// A digest of what the command says, if its id can come again with other words.
    pub command: Option<String>,
    /// What it is called.
    pub name: String,
    /// What it is.
    pub description: Option<String>,
    /// The category it is in.
    pub category_id: Option<String>,
    /// Where pictures of it are.
    pub image_urls: Vec<String>,
    /// What all its variants have in common, by name.
    pub attributes: BTreeMap<String, String>,
    /// Its variants; no SKU twice, none that any product ever had, and all in one currency.
    pub variants: Vec<Variant>,
}

/// What a command made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made<T> {
    /// As it is now.
    pub value: T,
    /// Whether an earlier arrival of the command made it.
    pub replayed: bool,
}

/// The catalogue. Cheap to clone.
#[derive(Clone)]
pub struct Catalog {
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) holds: Arc<dyn LapsedHolds>,
    /// Changes in this process take turns: all that touch one category would conflict. Nothing
    /// rests on it.
    turn: Arc<Mutex<()>>,
}

impl Catalog {
    /// The catalogue in `store`, of what `holds` are placed on.
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>, holds: Arc<dyn LapsedHolds>) -> Self {
        Self { store, clock, holds, turn: Arc::default() }
    }

    /// Makes a product, its SKUs, and their stock, of which there is none yet. If the id's product
    /// exists already, it is returned as it stands.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn create(&self, new: NewProduct) -> Result<Made<Versioned<Product>>, CatalogError> {
        let product = self.product(new);
        change::check(&product)?;
        self.settle(async || {
            if let Some(first) = self.get(&product.id).await? {
                if first.value.command != product.command {
                    return Err(CatalogError::KeyReused);
                }
                return Ok((Batch::new(), Made { value: first, replayed: true }));
            }
            let batch =
                self.with_new_skus(Batch::new().insert(&product), &product, &product.variants).await?;
            let batch = self.moved(batch, None, product.category_id.as_deref()).await?;
            let made = Versioned { value: product.clone(), version: 1 };
            Ok((batch, Made { value: made, replayed: false }))
        })
        .await
    }

    /// A product, archived or not; `None` if there is none with this id.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn get(&self, id: &str) -> Result<Option<Versioned<Product>>, StoreError> {
        load(self.store.as_ref(), id).await
    }

    /// What an order needs to know of those SKUs that exist, archived ones included, in any order;
    /// 1,000 at most.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn prices(&self, skus: &[String]) -> Result<Vec<SkuRecord>, StoreError> {
        let found = load_many::<SkuRecord>(self.store.as_ref(), skus).await?;
        Ok(found.into_iter().map(|record| record.value).collect())
    }

    /// Changes a product that is sold.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn change(
        &self,
        id: &str,
        change: &ProductChange,
        if_version: Option<u64>,
    ) -> Result<Versioned<Product>, CatalogError> {
        self.settle(async || {
            let now = self.sold(id, if_version).await?.ok_or(CatalogError::Archived)?;
            let next = change::changed(&now.value, change)?;
            if next == now.value {
                return Ok((Batch::new(), now));
            }
            let (old, new) = next.variants.split_at(now.value.variants.len());
            let batch = Batch::new().replace(&next, now.version);
            let batch = self.with_new_skus(batch, &next, new).await?;
            let batch = self.with_skus(batch, &next, old).await?;
            let (from, to) = (now.value.category_id.as_deref(), next.category_id.as_deref());
            let batch = self.moved(batch, from, to).await?;
            Ok((batch, Versioned { value: next, version: now.version + 1 }))
        })
        .await
    }

    /// Takes a product off sale for good, out of its category, and its stock out of reach of holds.
    ///
    /// # Errors
    /// [`CatalogError`]; an archived one is not found.
    pub async fn archive(&self, id: &str, if_version: Option<u64>) -> Result<(), CatalogError> {
        self.settle(async || {
            let now = self.sold(id, if_version).await?.ok_or(CatalogError::NotFound)?;
            let next = Product { archived: true, category_id: None, ..now.value.clone() };
            let batch = Batch::new().replace(&next, now.version);
            let batch = self.with_skus(batch, &next, &next.variants).await?;
            let batch = self.with_closed_stock(batch, &next).await?;
            let batch = self.moved(batch, now.value.category_id.as_deref(), None).await?;
            Ok((batch, ()))
        })
        .await
    }

    /// A product that is to be changed; `None` if it is archived.
    async fn sold(
        &self,
        id: &str,
        if_version: Option<u64>,
    ) -> Result<Option<Versioned<Product>>, CatalogError> {
        let found = self.get(id).await?.ok_or(CatalogError::NotFound)?;
        if if_version.is_some_and(|version| version != found.version) {
            return Err(CatalogError::OtherVersion);
        }
        Ok(Some(found).filter(|found| !found.value.archived))
    }

    /// Adds the records of SKUs that no product ever had.
    async fn with_new_skus(
        &self,
        batch: Batch,
        product: &Product,
        variants: &[Variant],
    ) -> Result<Batch, CatalogError> {
        if variants.is_empty() {
            return Ok(batch);
        }
        if let Some(taken) = self.prices(&skus(variants)).await?.into_iter().next() {
            return Err(CatalogError::SkuTaken(taken.sku));
        }
        Ok(variants.iter().fold(batch, |batch, variant| {
            batch.insert(&product.sku_record(variant)).insert(&Stock::none_of(&variant.sku))
        }))
    }

    /// Replaces the records of these SKUs of the product that change with it.
    async fn with_skus(
        &self,
        mut batch: Batch,
        product: &Product,
        variants: &[Variant],
    ) -> Result<Batch, CatalogError> {
        for record in load_many::<SkuRecord>(self.store.as_ref(), &skus(variants)).await? {
            let variant = variants.iter().find(|variant| variant.sku == record.value.sku);
            let next = variant.map(|variant| product.sku_record(variant));
            if let Some(next) = next.filter(|next| *next != record.value) {
                batch = batch.replace(&next, record.version);
            }
        }
        Ok(batch)
    }

    /// Closes the product's stock. A hold that is placed at the same time replaces the same
    /// records, so one of the two comes first and the other one sees it.
    async fn with_closed_stock(&self, batch: Batch, product: &Product) -> Result<Batch, CatalogError> {
        let skus = skus(&product.variants);
        let held = |stocks: &[Versioned<Stock>]| -> Vec<String> {
            let held = stocks.iter().filter(|stock| stock.value.closed().is_none());
            held.map(|stock| stock.value.sku().to_owned()).collect()
        };
        let mut stocks = load_many::<Stock>(self.store.as_ref(), &skus).await?;
        if !held(&stocks).is_empty() && self.holds.end_lapsed().await? > 0 {
            stocks = load_many::<Stock>(self.store.as_ref(), &skus).await?;
        }
        match held(&stocks) {
            held if held.is_empty() => Ok(stocks.iter().fold(batch, |batch, stock| {
                stock.value.closed().iter().fold(batch, |batch, closed| batch.replace(closed, stock.version))
            })),
            held => Err(CatalogError::StockHeld(held)),
        }
    }

    /// Decides and commits, again as long as others come first. What is decided must be based on
    /// reads of its own, and must say the same when it is decided again after it was committed.
    pub(super) async fn settle<T>(
        &self,
        decide: impl AsyncFn() -> Result<(Batch, T), CatalogError>,
    ) -> Result<T, CatalogError> {
        let _turn = self.turn.lock().await;
        let mut in_doubt = false;
        for attempt in 0..MOST_ATTEMPTS {
            let (batch, value) = match decide().await {
                Ok(decided) => decided,
                Err(_) if in_doubt => return Err(CatalogError::OutcomeUnknown),
                Err(error) => return Err(error),
            };
            if batch.writes.is_empty() {
                return Ok(value);
            }
            match self.store.commit(batch).await {
                Ok(()) => return Ok(value),
                Err(CommitError::Conflict(_)) => Backoff::CONTENTION.wait(attempt + 1).await,
                Err(CommitError::OutcomeUnknown(reason)) => {
                    tracing::warn!(reason, "the outcome of a change of the catalogue is unknown");
                    in_doubt = true;
                    Backoff::CONTENTION.wait(attempt + 1).await;
                }
                Err(CommitError::Unavailable(_)) if in_doubt => return Err(CatalogError::OutcomeUnknown),
                Err(CommitError::Unavailable(reason)) => return Err(CatalogError::unavailable(reason)),
            }
        }
        if in_doubt {
            return Err(CatalogError::OutcomeUnknown);
        }
        Err(CatalogError::unavailable("too many others change this at the same time"))
    }

    fn product(&self, new: NewProduct) -> Product {
        let NewProduct { id, command, name, description, category_id, image_urls, attributes, variants } =
            new;
        Product {
            id,
            command,
            name,
            description,
            category_id,
            image_urls,
            attributes,
            variants,
            archived: false,
            created_at: self.clock.now(),
        }
    }
}

fn skus(variants: &[Variant]) -> Vec<String> {
    variants.iter().map(|variant| variant.sku.as_str().to_owned()).collect()
}
