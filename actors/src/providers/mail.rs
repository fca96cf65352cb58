//! Outgoing mail.

use async_trait::async_trait;

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    /// Names the effect, not the attempt: a message sent twice carries the same
    /// [Message-ID](https://www.rfc-editor.org/rfc/rfc5322#section-3.6.4), so that mail stores show
    /// it once. `[A-Za-z0-9._-]+`; the adapter adds the host.
    pub id: String,
    /// The recipient's address.
    pub to: String,
    /// One line.
    pub subject: String,
    /// Plain text.
    pub text: String,
}

/// Why a message was not handed over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MailError {
    /// May go through later; also when it is unknown whether it went through.
    #[error("not sent: {0}")]
    Temporary(String),
    /// The server refuses this message or recipient for good.
    #[error("refused: {0}")]
    Permanent(String),
}

/// Hands messages over for delivery.
#[async_trait]
pub trait Mailer: Send + Sync + 'static {
    /// Hands one message over.
    ///
    /// # Errors
    /// [`MailError`].
    async fn send(&self, mail: &Mail) -> Result<(), MailError>;
}
