//! The first admin: configured, or, for a local start, made up and told once.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};
use steward_actors::users::{Email, FirstAdmin, InvalidValue, Password, RegisterError, Users};

use crate::config::{Config, Profile};

const MADE_UP_EMAIL: &str = "admin@steward.example";

/// Why there is no first admin.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// `admin.email` or `admin.password` won't do.
    #[error("{key}: {problem}")]
    Invalid {
        /// The key.
        key: &'static str,
        /// What is wrong with it.
        problem: InvalidValue,
    },
    /// The user was not made.
    #[error("the first admin was not made: {0}")]
    NotMade(#[from] RegisterError),
    /// The made-up credentials could not be written down.
    #[error("{path}: {source}", path = .path.display())]
    NotWritten {
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// Credentials that were made up.
pub(super) struct MadeUp {
    pub(super) email: String,
    pub(super) password: SecretString,
    pub(super) file: PathBuf,
}

/// Makes the first admin if there is none; credentials if they were made up now.
pub(super) async fn ensure(config: &Config, users: &Users) -> Result<Option<MadeUp>, AdminError> {
    let configured = config.admin.email.clone().zip(config.admin.password.clone());
    if let Some((email, password)) = configured {
        let email =
            Email::parse(&email).map_err(|problem| AdminError::Invalid { key: "admin.email", problem })?;
        let password = Password::parse(password)
            .map_err(|problem| AdminError::Invalid { key: "admin.password", problem })?;
        users.ensure_admin(email, password).await?;
        return Ok(None);
    }
    if config.profile != Profile::Local {
        return Ok(None);
    }
    let secret = SecretString::from(uuid::Uuid::new_v4().simple().to_string());
    let invalid = |problem| AdminError::Invalid { key: "admin.email", problem };
    let email = Email::parse(MADE_UP_EMAIL).map_err(invalid)?;
    let password = Password::parse(secret.clone()).map_err(invalid)?;
    match users.ensure_admin(email, password).await? {
        FirstAdmin::Exists => Ok(None),
        FirstAdmin::Made(_) => {
            let file = config.data.dir.join("first-admin.env");
            write_down(&file, &secret)
                .map_err(|source| AdminError::NotWritten { path: file.clone(), source })?;
            Ok(Some(MadeUp { email: MADE_UP_EMAIL.to_owned(), password: secret, file }))
        }
    }
}

/// For the owner's eyes only, so that the tour finds them.
fn write_down(path: &Path, password: &SecretString) -> std::io::Result<()> {
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir)?;
    }
    let mut file =
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    writeln!(file, "ADMIN_EMAIL={MADE_UP_EMAIL}\nADMIN_PASSWORD={}", password.expose_secret())?;
    file.sync_all()
}
