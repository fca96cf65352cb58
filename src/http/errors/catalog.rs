//! Errors of products and categories.

use steward_actors::catalog::CatalogError;

use crate::http::problem::Problem;

impl Problem {
    /// The answer; `category` is the field that names a category.
    pub fn of_catalog(error: CatalogError, category: &'static str) -> Self {
        let text = error.to_string();
        match error {
            CatalogError::SkuTaken(sku) => {
                Self::conflict("sku_taken", "Another product has, or had, this SKU").with("sku", sku.as_str())
            }
            CatalogError::InvalidVariant { number, field, code, message } => {
                Self::invalid_field(format!("/variants/{number}/{field}"), code, message)
            }
            CatalogError::TooManyVariants => Self::invalid_field("/variants", "too_many_variants", text),
            CatalogError::TooManyAttributes => {
                Self::invalid_field("/attributes", "too_many_attributes", text)
            }
            CatalogError::UnknownCategory => Self::invalid_field(category, "unknown_category", text),
            CatalogError::Circle => Self::invalid_field(category, "category_circle", text),
            CatalogError::TooDeep => Self::invalid_field(category, "too_deep", text),
            CatalogError::KeyReused => Self::key_reused(),
            CatalogError::DeletedSince => Self::deleted_since(),
            CatalogError::NotFound => Self::not_found(),
            CatalogError::OtherVersion => Self::precondition_failed(),
            CatalogError::Archived => Self::conflict("archived", "The product is archived"),
            CatalogError::StockHeld(skus) => {
                Self::conflict("stock_held", "Some of the product is held").with("skus", skus)
            }
            CatalogError::TooManyCategories => {
                Self::conflict("too_many_categories", "There are too many categories").detail(text)
            }
            CatalogError::HasChildren => {
                Self::conflict("category_has_children", "Other categories are in this one")
            }
            CatalogError::InUse => Self::conflict("category_in_use", "Products are in this category"),
            CatalogError::Unavailable { retry_after, .. } => Self::unavailable(text).retry_after(retry_after),
            CatalogError::OutcomeUnknown => Self::outcome_unknown(text),
        }
    }
}
