//! What is sold: products with their variants, each of which is a SKU.
//!
//! Who calls it: the routes, which check `catalog:write` first, and whoever prices an order. What
//! never happens here: a change of stock; a product only brings the empty stock records of its
//! SKUs with it.

mod product;
mod service;
#[cfg(test)]
mod tests;

pub use product::{PRODUCTS, Product, SKUS, SkuRecord, Variant};
pub use service::{Catalog, CatalogError, NewProduct, ProductPage};
