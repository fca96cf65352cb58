//! What can go wrong with the catalogue, as callers see it. HTTP maps it in one place.

use std::time::Duration;

use crate::inventory::Sku;
use crate::store::StoreError;

/// Why the catalogue did not do as asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CatalogError {
    /// Another product has, or had, this SKU.
    #[error("the SKU {0} is taken")]
    SkuTaken(Sku),
    /// A variant of the command won't do.
    #[error("{field} of variant {number}: {message}")]
    InvalidVariant {
        /// Which one of the command's, from 0.
        number: usize,
        /// What of it.
        field: &'static str,
        /// Why, for programs.
        code: &'static str,
        /// Why, for people.
        message: String,
    },
    /// The product would have more variants than [`super::MOST_VARIANTS`].
    #[error("there would be more than {} variants", super::MOST_VARIANTS)]
    TooManyVariants,
    /// The product and its variants would have more different attributes than
    /// [`super::MOST_ATTRIBUTES`].
    #[error("there would be more than {} different attributes", super::MOST_ATTRIBUTES)]
    TooManyAttributes,
    /// The command's id made something else before.
    #[error("the command's id is another command's")]
    KeyReused,
    /// The command made a category, which was deleted since.
    #[error("what the command made was deleted since")]
    DeletedSince,
    /// There is no category to put it in.
    #[error("there is no such category")]
    UnknownCategory,
    /// There is no such product or category.
    #[error("there is no such thing")]
    NotFound,
    /// It has another version than the change is to be based on.
    #[error("it has changed meanwhile")]
    OtherVersion,
    /// The product is no longer sold.
    #[error("the product is archived")]
    Archived,
    /// Some of the product is held, by a store read begun after the command arrived.
    #[error("units are held of: {}", .0.join(", "))]
    StockHeld(Vec<String>),
    /// The category would be in itself.
    #[error("the category would be in itself")]
    Circle,
    /// The tree would be deeper than [`super::MOST_DEPTH`].
    #[error("categories would be more than {} deep", super::MOST_DEPTH)]
    TooDeep,
    /// There are [`super::MOST_CATEGORIES`] already.
    #[error("there are {} categories already", super::MOST_CATEGORIES)]
    TooManyCategories,
    /// Other categories are in it.
    #[error("other categories are in it")]
    HasChildren,
    /// Products are in it.
    #[error("products are in it")]
    InUse,
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
    pub(super) fn unavailable(reason: impl ToString) -> Self {
        Self::Unavailable { reason: reason.to_string(), retry_after: Duration::from_secs(1) }
    }
}

impl From<StoreError> for CatalogError {
    fn from(error: StoreError) -> Self {
        Self::unavailable(error)
    }
}
