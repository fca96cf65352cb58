//! Why a command failed.

use std::fmt::Display;

use crate::config::Fault;

/// Why a command failed, in a sentence for the person at the terminal.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Failure(String);

impl Failure {
    /// `what` went wrong, and what would do.
    pub fn new(what: impl Display) -> Self {
        Self(what.to_string())
    }
}

impl From<Vec<Fault>> for Failure {
    fn from(faults: Vec<Fault>) -> Self {
        let lines = faults.iter().map(|fault| format!("\n  {fault}"));
        Self(format!("the configuration won't do:{}", lines.collect::<String>()))
    }
}
