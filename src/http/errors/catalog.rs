//! Errors of products and categories.

use steward_actors::catalog::CatalogError;

use crate::http::problem::Problem;

impl From<CatalogError> for Problem {
    fn from(error: CatalogError) -> Self {
        match error {
            CatalogError::SkuTwice(ref sku) => {
                Self::invalid_field("/variants", "sku_twice", format!("have the SKU {sku} twice"))
            }
            CatalogError::SkuTaken(ref sku) => {
                Self::conflict("sku_taken", "Another product has, or had, this SKU").with("sku", sku.as_str())
            }
            CatalogError::Unavailable { retry_after, .. } => {
                Self::unavailable(error).retry_after(retry_after)
            }
            CatalogError::OutcomeUnknown => Self::outcome_unknown(error),
        }
    }
}
