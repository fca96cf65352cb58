//! To come.

use crate::cli::{Check, Failure};
use crate::config::Config;

/// Serves until the process is told to stop.
///
/// # Errors
/// It can't start, or had to give up.
pub async fn serve(_config: Config) -> Result<(), Failure> {
    Err(Failure::new("not yet"))
}

/// Creates what the store needs, or prints it.
///
/// # Errors
/// The store can't be reached or refuses.
pub async fn migrate(_config: Config, _print: bool) -> Result<(), Failure> {
    Err(Failure::new("not yet"))
}

/// Loads the sample data.
///
/// # Errors
/// The store can't be reached, or the profile is production.
pub async fn seed(_config: Config) -> Result<(), Failure> {
    Err(Failure::new("not yet"))
}

/// Runs the faked providers alone.
///
/// # Errors
/// It can't start.
pub async fn sandbox(_config: Config) -> Result<(), Failure> {
    Err(Failure::new("not yet"))
}

/// What `steward doctor` asks of the adapters.
pub async fn checks(_config: &Config) -> Vec<Check> {
    Vec::new()
}
