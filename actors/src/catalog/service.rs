//! The catalogue: validated records through the store, no actor.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::product::{LISTED, PRODUCTS, Product, SkuRecord, Variant};
use crate::cluster::Clock;
use crate::inventory::{Sku, Stock};
use crate::store::{
    Batch, CommitError, Conflict, Cursor, Query, Store, StoreError, Versioned, find, load, load_many,
};

/// Commits of one command whose outcome is unknown, before that is the answer.
const MOST_ATTEMPTS: usize = 3;

/// A product to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewProduct {
    /// Its id, chosen by who asks: the same id again is the same product.
    pub id: String,
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
    /// Its variants; no SKU twice, and none that any product ever had.
    pub variants: Vec<Variant>,
}

/// Which products to show.
#[derive(Clone, Debug, Default)]
pub struct ProductPage {
    /// Only products in which each of these words begins a word of the name or the description;
    /// all, if there is no word in it.
    pub words: String,
    /// Products at most; 1 to 1,000.
    pub limit: usize,
    /// Where the page before this one ended.
    pub after: Option<Cursor>,
}

/// Why the catalogue did not do as asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CatalogError {
    /// Two variants have the same SKU.
    #[error("the SKU {0} is there twice")]
    SkuTwice(Sku),
    /// Another product has, or had, this SKU.
    #[error("the SKU {0} is taken")]
    SkuTaken(Sku),
    /// Nothing was done; try again later.
    #[error("the catalogue is unavailable for now: {reason}")]
    Unavailable {
        /// What is the matter.
        reason: String,
        /// When to try again.
        retry_after: Duration,
    },
    /// It may or may not have been done; ask again with the same id.
    #[error("the outcome is unknown")]
    OutcomeUnknown,
}

impl CatalogError {
    fn unavailable(reason: impl ToString) -> Self {
        Self::Unavailable { reason: reason.to_string(), retry_after: Duration::from_secs(1) }
    }
}

/// The catalogue. Cheap to clone.
#[derive(Clone)]
pub struct Catalog {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
}

impl Catalog {
    /// The catalogue in `store`.
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Self {
        Self { store, clock }
    }

    /// Makes a product, its SKUs, and their stock, of which there is none yet. If the id's product
    /// exists already, it is returned as it stands.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn create(&self, new: NewProduct) -> Result<Versioned<Product>, CatalogError> {
        let mut skus = BTreeSet::new();
        if let Some(twice) = new.variants.iter().find(|variant| !skus.insert(&variant.sku)) {
            return Err(CatalogError::SkuTwice(twice.sku.clone()));
        }
        let product = self.product(new);
        let batch = batch(&product);
        let mut in_doubt = false;
        for _ in 0..MOST_ATTEMPTS {
            match self.store.commit(batch.clone()).await {
                Ok(()) => return Ok(Versioned { value: product, version: 1 }),
                Err(CommitError::Conflict(conflict)) => {
                    return match self.get(&product.id).await {
                        Ok(Some(first)) => Ok(first),
                        Ok(None) => Err(taken(&product, &conflict)),
                        Err(_) if in_doubt => Err(CatalogError::OutcomeUnknown),
                        Err(error) => Err(CatalogError::unavailable(error)),
                    };
                }
                Err(CommitError::OutcomeUnknown(reason)) => {
                    // Every write is an insert, so the same batch again counts once at most.
                    tracing::warn!(product = product.id, reason, "the outcome of a commit is unknown");
                    in_doubt = true;
                }
                Err(CommitError::Unavailable(_)) if in_doubt => break,
                Err(CommitError::Unavailable(reason)) => return Err(CatalogError::unavailable(reason)),
            }
        }
        Err(CatalogError::OutcomeUnknown)
    }

    /// A product, archived or not; `None` if there is none with this id.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn get(&self, id: &str) -> Result<Option<Versioned<Product>>, StoreError> {
        load(self.store.as_ref(), id).await
    }

    /// A page of the products that are sold, newest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn page(
        &self,
        page: ProductPage,
    ) -> Result<(Vec<Versioned<Product>>, Option<Cursor>), StoreError> {
        let ProductPage { words, limit, after } = page;
        let listed = Query::by(&PRODUCTS, LISTED).equal(false).words(&words).descending();
        find(self.store.as_ref(), listed.limit(limit).after(after)).await
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

    fn product(&self, new: NewProduct) -> Product {
        let NewProduct { id, name, description, category_id, image_urls, attributes, variants } = new;
        Product {
            id,
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

fn batch(product: &Product) -> Batch {
    product.variants.iter().fold(Batch::new().insert(product), |batch, variant| {
        let record = SkuRecord {
            sku: variant.sku.clone(),
            product_id: product.id.clone(),
            name: line_name(product, variant),
            price: variant.price,
            archived: false,
        };
        batch.insert(&record).insert(&Stock::none_of(&variant.sku))
    })
}

/// "Shirt, blue"; just "Shirt" if the variant is not called anything of its own.
fn line_name(product: &Product, variant: &Variant) -> String {
    if variant.name.is_empty() || variant.name == product.name {
        product.name.clone()
    } else {
        format!("{}, {}", product.name, variant.name)
    }
}

/// The product's own id is free, so it is one of its SKUs that is not.
fn taken(product: &Product, conflict: &Conflict) -> CatalogError {
    let (Conflict::Exists { id, .. } | Conflict::Version { id, .. }) = conflict else {
        return CatalogError::unavailable(conflict);
    };
    match product.variants.iter().find(|variant| variant.sku.as_str() == id) {
        Some(variant) => CatalogError::SkuTaken(variant.sku.clone()),
        None => CatalogError::unavailable(conflict),
    }
}
