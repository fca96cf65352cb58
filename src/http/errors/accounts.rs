//! Errors of accounts.
