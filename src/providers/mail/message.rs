//! A message in the form of [RFC 5322](https://www.rfc-editor.org/rfc/rfc5322).

use lettre::message::header::ContentType;
use lettre::message::{Mailbox, Message};
use lettre::{Address, Message as Built};
use steward_actors::providers::{Mail, MailError};

use crate::providers::http::SetupError;

/// Who mails come from.
#[derive(Clone, Debug)]
pub(super) struct Sender(Mailbox);

impl Sender {
    /// Reads `Name <address>` or an address.
    pub(super) fn parse(from: &str) -> Result<Self, SetupError> {
        from.parse().map(Self).map_err(|_| SetupError(format!("{from:?} is no mail address")))
    }

    /// Builds the message. What would break its header is refused for good.
    pub(super) fn message(&self, mail: &Mail) -> Result<Built, MailError> {
        let permanent = |reason: &str| MailError::Permanent(reason.to_owned());
        if !is_id(&mail.id) {
            return Err(permanent("the mail's id is malformed"));
        }
        if mail.subject.chars().any(char::is_control) {
            return Err(permanent("the subject is not one line"));
        }
        let to: Address = mail.to.parse().map_err(|_| permanent("the recipient is no mail address"))?;
        Message::builder()
            .from(self.0.clone())
            .to(Mailbox::new(None, to))
            .subject(&mail.subject)
            .message_id(Some(format!("<{}@{}>", mail.id, self.0.email.domain())))
            .header(ContentType::TEXT_PLAIN)
            .body(mail.text.clone())
            .map_err(|error| MailError::Permanent(error.to_string()))
    }
}

/// What may name a message, and a file: `[A-Za-z0-9._-]+`, not hidden, not too long.
fn is_id(id: &str) -> bool {
    (1..=128).contains(&id.len())
        && !id.starts_with('.')
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}
