//! Errors of products and categories.
