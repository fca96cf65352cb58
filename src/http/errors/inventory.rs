//! Errors of stock and holds.
