//! Looking for products.
//!
//! Who calls it: `GET /v1/products`. What never happens here: a read without an index, or of more
//! than [`MOST_EXAMINED`] products. What no index can say (is some of it in stock; its exact price,
//! where another order was asked for) is checked on what an index found, so a page may be shorter
//! than asked for although another follows. Stock changes with every sale and stays out of the
//! product's record for that.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::facets::Facets;
use super::product::{BY_PRICE, LISTED, PRODUCTS, Product};
use super::service::Catalog;
use super::{labels, price};
use crate::inventory::Stock;
use crate::store::{Cursor, Page, Query, Record, StoreError, Versioned, load_many, words};

/// Products that are read for one page at most.
pub const MOST_EXAMINED: usize = 500;
/// Products that are read at once where some will not do.
const CHECKED_AT_ONCE: usize = 50;
/// Products that facets are counted over at most.
const MOST_COUNTED: usize = 1000;

/// The order of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// Products that are called just that, then those with all words in their name, then the
    /// others; in each part newest first. Without words, newest first.
    Relevance,
    /// Newest first.
    Newest,
    /// Cheapest first.
    Cheapest,
    /// Dearest first.
    Dearest,
}

/// Which products to show.
#[derive(Clone, Debug)]
pub struct ProductSearch {
    /// Only products in which each of these words begins a word of the name or the description;
    /// all, if there is no word in it.
    pub words: String,
    /// Only products in this category or one that is in it.
    pub category: Option<String>,
    /// Only products whose cheapest variant costs so much, in the product's currency, at least
    /// ([`super::level_of_text`]).
    pub min_price: Option<i64>,
    /// … and so much at most.
    pub max_price: Option<i64>,
    /// Only products of which some is available, or none.
    pub in_stock: Option<bool>,
    /// Only products that, or a variant of which, have one of the values of each attribute.
    pub attributes: BTreeMap<String, BTreeSet<String>>,
    /// The order.
    pub sort: Sort,
    /// Products at most; 1 to 100.
    pub limit: usize,
    /// Where the page before this one ended.
    pub after: Option<Cursor>,
}

/// What was found.
#[derive(Clone, Debug)]
pub struct ProductPage {
    /// The products.
    pub products: Vec<Versioned<Product>>,
    /// Units available, by SKU; of closed stock none are.
    pub available: HashMap<String, i64>,
    /// Where the next page begins; `None` when there is none.
    pub next: Option<Cursor>,
}

/// One of the walks through an index that a page is made of.
struct Walk {
    query: Query,
    /// What must not be in it, as an earlier walk has shown it.
    shown: Option<Shown>,
}

/// What the walks before have shown, by the labels that the last of them looked up.
enum Shown {
    /// What has this label.
    Called(String),
    /// What has, for each of these beginnings, a label that begins so.
    Named(Vec<String>),
}

impl Shown {
    /// Whether this product was among it: by its labels as they were made when it was stored.
    fn has(&self, product: &Record) -> bool {
        let mut labels = words::labels(&PRODUCTS, &product.body);
        match self {
            Self::Called(label) => labels.any(|its| its == label),
            Self::Named(beginnings) => {
                let labels: Vec<&str> = labels.collect();
                beginnings.iter().all(|one| labels.iter().any(|its| its.starts_with(one)))
            }
        }
    }
}

impl ProductSearch {
    /// The walks, in their order. `categories` are those that are asked for, if any are.
    fn walks(&self, categories: Option<&BTreeSet<String>>) -> Vec<Walk> {
        let base = |index| self.filtered(Query::by(&PRODUCTS, index).equal(false), categories);
        let one = |query| vec![Walk { query, shown: None }];
        let words = words::asked(&self.words);
        match self.sort {
            Sort::Cheapest => one(self.cheapest(categories)),
            Sort::Dearest => one(self.cheapest(categories).descending()),
            Sort::Newest => one(base(LISTED).words(&self.words).descending()),
            Sort::Relevance if words.is_empty() => one(base(LISTED).descending()),
            Sort::Relevance => {
                let newest = base(LISTED).descending();
                let name = labels::name(&words);
                let beginnings: Vec<String> = words.iter().map(|word| labels::word(word)).collect();
                let called = newest.clone().labels([name.clone()]);
                let named =
                    beginnings.iter().fold(newest.clone(), |query, beginning| query.label_prefix(beginning));
                vec![
                    Walk { query: called, shown: None },
                    Walk { query: named, shown: Some(Shown::Called(name)) },
                    Walk { query: newest.words(&self.words), shown: Some(Shown::Named(beginnings)) },
                ]
            }
        }
    }

    /// With the labels that products must have.
    fn filtered(&self, query: Query, categories: Option<&BTreeSet<String>>) -> Query {
        let mut query = query;
        if let Some(categories) = categories {
            query = query.labels(categories.iter().map(|id| labels::category(id)));
        }
        for (name, values) in &self.attributes {
            query = query.labels(values.iter().map(|value| labels::attribute(name, value)));
        }
        if query.index != BY_PRICE && (self.min_price.is_some() || self.max_price.is_some()) {
            let bands =
                price::band(self.min_price.unwrap_or(0))..=price::band(self.max_price.unwrap_or(i64::MAX));
            query = query.labels(bands.map(labels::band));
        }
        query
    }

    /// All that are wanted, but for what no index says: the cheapest first.
    fn cheapest(&self, categories: Option<&BTreeSet<String>>) -> Query {
        let query = self.filtered(Query::by(&PRODUCTS, BY_PRICE).equal(false), categories);
        // The bound of a range is out, that of the search is in; nothing costs more than the most.
        let until = self.max_price.and_then(|most| most.checked_add(1));
        query.range(self.min_price.map(Into::into), until.map(Into::into)).words(&self.words)
    }

    /// How many to read if so many are still to be found.
    fn step(&self, walk: &Walk, left: usize) -> usize {
        let by_price = walk.query.index == BY_PRICE;
        let priced = self.min_price.is_some() || self.max_price.is_some();
        let checked = walk.shown.is_some() || self.in_stock.is_some() || (priced && !by_price);
        if checked { left.max(CHECKED_AT_ONCE) } else { left }
    }

    /// What an index found and does not say by itself.
    fn fits(&self, product: &Product, available: &HashMap<String, i64>) -> bool {
        let level = product.price_level();
        let some = |sku: &str| available.get(sku).is_some_and(|units| *units > 0);
        let in_stock = || product.variants.iter().any(|variant| some(variant.sku.as_str()));
        self.min_price.is_none_or(|least| level >= least)
            && self.max_price.is_none_or(|most| level <= most)
            && self.in_stock.is_none_or(|wanted| wanted == in_stock())
    }
}

/// A cursor of a page: the number of its walk before the keys of the walk's own.
fn sealed(walk: usize, cursor: Cursor) -> Cursor {
    Cursor { keys: std::iter::once(walk.into()).chain(cursor.keys).collect(), id: cursor.id }
}

/// The number of its walk, one of so many, and the cursor of the walk's own.
fn opened(cursor: Cursor, walks: usize) -> Result<(usize, Option<Cursor>), StoreError> {
    let mut keys = cursor.keys.into_iter();
    let walk = keys.next().and_then(|walk| walk.as_u64()).and_then(|walk| usize::try_from(walk).ok());
    let walk = walk.filter(|walk| *walk < walks).ok_or(StoreError::BadCursor)?;
    Ok((walk, Some(Cursor { keys: keys.collect(), id: cursor.id })))
}

impl Catalog {
    /// A page of the products that are sold.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn search(&self, search: &ProductSearch) -> Result<ProductPage, StoreError> {
        let mut page = ProductPage { products: Vec::new(), available: HashMap::new(), next: None };
        let categories = self.wanted_categories(search).await?;
        let walks = search.walks(categories.as_ref());
        let (first, mut after) = match search.after.clone() {
            Some(cursor) => opened(cursor, walks.len())?,
            None => (0, None),
        };
        let (last, mut examined) = (walks.len().saturating_sub(1), 0);
        for (number, walk) in walks.into_iter().enumerate().skip(first) {
            loop {
                let left = search.limit - page.products.len();
                let query = walk.query.clone().limit(search.step(&walk, left)).after(after.take());
                let Page { records, next } = self.store.find(query.checked()?).await?;
                let was_shown = |record: &Record| walk.shown.as_ref().is_some_and(|shown| shown.has(record));
                let shown: Vec<bool> = records.iter().map(was_shown).collect();
                let found =
                    records.into_iter().map(Versioned::<Product>::read).collect::<Result<Vec<_>, _>>()?;
                let available = self.available(&found).await?;
                let among = found.len();
                for (place, (product, shown)) in found.into_iter().zip(shown).enumerate() {
                    examined += 1;
                    let fits = !shown && search.fits(&product.value, &available);
                    let (behind, more) =
                        (walk.query.behind(&product.value), place + 1 < among || next.is_some());
                    if fits {
                        page.products.push(product);
                    }
                    if page.products.len() == search.limit || examined >= MOST_EXAMINED {
                        page.next = (more || number < last).then(|| sealed(number, behind));
                        page.available.extend(available);
                        return Ok(page);
                    }
                }
                page.available.extend(available);
                match next {
                    Some(next) => after = Some(next),
                    None => break,
                }
            }
        }
        Ok(page)
    }

    /// What the products that are searched for have in common, whether or not some is available.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn facets(&self, search: &ProductSearch) -> Result<Facets, StoreError> {
        let (tree, categories) = self.tree().await?;
        let wanted = search.category.as_ref().map(|category| tree.within(category));
        let query = search.cheapest(wanted.as_ref()).limit(MOST_COUNTED);
        let tally = self.store.tally(query, labels::COUNTED).await?;
        Ok(Facets::of(tally, &tree, &categories))
    }

    /// The category that is asked for and all that are in it; `None` if none is asked for.
    async fn wanted_categories(
        &self,
        search: &ProductSearch,
    ) -> Result<Option<BTreeSet<String>>, StoreError> {
        let Some(category) = &search.category else { return Ok(None) };
        Ok(Some(self.tree().await?.0.within(category)))
    }

    /// Units that can be ordered, of all SKUs of `products`; those of holds whose time has come are.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn available(
        &self,
        products: &[Versioned<Product>],
    ) -> Result<HashMap<String, i64>, StoreError> {
        let variants = products.iter().flat_map(|product| &product.value.variants);
        let skus: Vec<String> = variants.map(|variant| variant.sku.as_str().to_owned()).collect();
        if !skus.is_empty() {
            self.holds.end_lapsed().await?;
        }
        let mut available = HashMap::new();
        for some in skus.chunks(1000) {
            for stock in load_many::<Stock>(self.store.as_ref(), some).await? {
                available.insert(stock.value.sku().to_owned(), stock.value.orderable());
            }
        }
        Ok(available)
    }
}
