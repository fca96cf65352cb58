//! The catalogue, from outside.
