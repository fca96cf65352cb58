//! What is sold: products with their variants, each of which is a SKU, in a tree of categories.
//!
//! Who calls it: the routes, which check `catalog:write` first, and whoever prices an order. What
//! never happens here: a change of stock; a product only brings the empty stock records of its
//! SKUs with it, and closes them when it is archived.

mod categories;
mod category;
mod change;
mod errors;
mod facets;
mod labels;
mod price;
mod product;
mod search;
mod service;
#[cfg(test)]
mod tests;

pub use categories::{CategoryChange, NewCategory};
pub use category::{CATEGORIES, CATEGORY_TREE, Category, DELETED_CATEGORIES, MOST_CATEGORIES, MOST_DEPTH};
pub use change::{ProductChange, VariantChange};
pub use errors::CatalogError;
pub use facets::{AttributeFacet, CategoryFacet, Facets, PriceFacet, ValueFacet};
pub use price::level_of_text;
pub use product::{PRODUCTS, Product, SKUS, SkuRecord, Variant};
pub use search::{ProductPage, ProductSearch, Sort};
pub use service::{Catalog, Made, NewProduct};

/// Variants that a product has at most.
pub const MOST_VARIANTS: usize = 100;
/// Different attributes, pairs of name and value, that a product and its variants have at most.
pub const MOST_ATTRIBUTES: usize = 300;
