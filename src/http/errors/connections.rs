//! Errors of connections and their runs.
