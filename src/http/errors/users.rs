//! Errors of users, sessions and names.
