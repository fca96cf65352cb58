//! Mail into files: `<dir>/<mail id>.eml`.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use steward_actors::providers::{Mail, MailError, Mailer};
use uuid::Uuid;

use super::message::Sender;
use crate::providers::http::SetupError;

/// Writes each message into a file. Whole messages only ever appear under their names, and one
/// that is sent again takes the place of itself.
pub struct FileMailer {
    dir: PathBuf,
    from: Sender,
}

impl FileMailer {
    /// Mails from `from` (`Name <address>`) into `dir`, which is made if it is not there.
    ///
    /// # Errors
    /// [`SetupError`] if `from` is no address or `dir` cannot be made.
    pub fn new(dir: impl Into<PathBuf>, from: &str) -> Result<Self, SetupError> {
        let dir = dir.into();
        let from = Sender::parse(from)?;
        fs::create_dir_all(&dir).map_err(|error| SetupError(format!("{}: {error}", dir.display())))?;
        Ok(Self { dir, from })
    }
}

#[async_trait]
impl Mailer for FileMailer {
    async fn send(&self, mail: &Mail) -> Result<(), MailError> {
        let message = self.from.message(mail)?.formatted();
        let (dir, id) = (self.dir.clone(), mail.id.clone());
        let written = tokio::task::spawn_blocking(move || write(&dir, &id, &message)).await;
        match written {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(MailError::Temporary(error.to_string())),
            Err(error) => Err(MailError::Temporary(error.to_string())),
        }
    }
}

fn write(dir: &Path, id: &str, message: &[u8]) -> io::Result<()> {
    let half = dir.join(format!(".{id}.{}", Uuid::new_v4().simple()));
    let written = (|| {
        let mut file = File::create_new(&half)?;
        file.write_all(message)?;
        file.sync_all()?;
        fs::rename(&half, dir.join(format!("{id}.eml")))
    })();
    if written.is_err() {
        let _ = fs::remove_file(&half);
    }
    written?;
    // The name lies in the directory, which has to reach the disk too. Only Unix can.
    if cfg!(unix) { File::open(dir)?.sync_all() } else { Ok(()) }
}
