//! What the command line asks for.

use std::io::Write;

use secrecy::ExposeSecret;

use super::failure::Failure;
use super::{Asked, Share, Steward, outside, stores};
use crate::config::Config;

/// Serves this share of the work until the process is told to stop.
///
/// # Errors
/// It can't start, or had to give up.
pub async fn serve(config: Config, share: Share) -> Result<(), Failure> {
    let steward = Steward::start(config, share).await.map_err(Failure::new)?;
    let told = steward.until_told_to_stop().await;
    steward.stop(*told.as_ref().unwrap_or(&Asked::AtOnce)).await;
    told.map(drop).map_err(Failure::new)
}

/// Creates what the store needs, or prints it; with `initiate` MongoDB's replica set first, if
/// there is none.
///
/// # Errors
/// The store can't be reached or refuses.
pub async fn migrate(config: Config, print: bool, initiate: bool) -> Result<(), Failure> {
    if print {
        return say(&stores::migration_script(&config));
    }
    if initiate && let Some(made) = stores::initiate(&config).await.map_err(Failure::new)? {
        say(&format!("{made}\n"))?;
    }
    let changes = stores::migrate(&config).await.map_err(Failure::new)?;
    match changes.is_empty() {
        true => say("Everything is there already.\n"),
        false => say(&changes.iter().map(|change| format!("{change}\n")).collect::<String>()),
    }
}

/// Loads the sample data.
///
/// # Errors
/// The store can't be reached, or the profile is production.
pub async fn seed(config: Config) -> Result<(), Failure> {
    let seeded = stores::seed(&config).await.map_err(Failure::new)?;
    let mut text = String::new();
    for user in seeded {
        let password = match &user.password {
            Some(password) => format!("password {}", password.expose_secret()),
            None => "was there already".to_owned(),
        };
        text.push_str(&format!("{}   {}   {password}\n", user.id, user.email));
    }
    say(&text)
}

/// Runs the faked providers alone.
///
/// # Errors
/// It can't start.
pub async fn sandbox(config: Config) -> Result<(), Failure> {
    let told = |url: &str| {
        tracing::info!(sandbox = url, "listening");
        let _ = say(&format!("The sandbox is at {url} (ledger: {url}/_sandbox/ledger). Ctrl-C stops it.\n"));
    };
    outside::serve_sandbox(&config, told).await.map_err(Failure::new)
}

/// To standard output; a reader that has gone is no failure.
pub(super) fn say(text: &str) -> Result<(), Failure> {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Failure::new(error)),
        _ => Ok(()),
    }
}
