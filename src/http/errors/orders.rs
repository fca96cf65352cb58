//! Errors of orders.
