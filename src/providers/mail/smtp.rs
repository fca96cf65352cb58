//! Mail by [SMTP](https://www.rfc-editor.org/rfc/rfc5321).

use std::time::Duration;

use async_trait::async_trait;
use lettre::transport::smtp::{AsyncSmtpTransportBuilder, Error, PoolConfig};
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor};
use secrecy::{ExposeSecret, SecretString};
use steward_actors::providers::{Mail, MailError, Mailer};

use super::message::Sender;
use crate::providers::http::{SetupError, measured};

/// Refusals of the session rather than of the message: a password that an operator has to set
/// right must not cost the mails that wait meanwhile.
/// <https://www.rfc-editor.org/rfc/rfc4954#section-6>
const OF_THE_SESSION: [u16; 4] = [530, 534, 535, 538];

/// Sends each message over a connection of its own: pooled ones would belong to whichever thread
/// made them.
pub struct SmtpMailer {
    builder: AsyncSmtpTransportBuilder,
    from: Sender,
    deadline: Duration,
}

impl SmtpMailer {
    /// Mails from `from` (`Name <address>`) by the server at `uri`:
    /// `smtps://user:password@host`, `smtp://user:password@host:587?tls=required`, or `smtp://host`
    /// without encryption. A message takes `deadline` at most; one that is given up on may have
    /// gone out, so rather long than short.
    ///
    /// # Errors
    /// [`SetupError`] if `uri` or `from` is none; the URI is not in it.
    pub fn new(uri: &SecretString, from: &str, deadline: Duration) -> Result<Self, SetupError> {
        let from = Sender::parse(from)?;
        let builder = AsyncSmtpTransport::<Tokio1Executor>::from_url(uri.expose_secret())
            .map_err(|_| SetupError("the SMTP URI is none (smtp://, smtps://)".to_owned()))?
            .timeout(Some(deadline))
            .pool_config(PoolConfig::new().max_size(0));
        Ok(Self { builder, from, deadline })
    }

    /// Connects, encrypts and logs in as for a mail, and sends none.
    ///
    /// # Errors
    /// Why not, in words.
    pub async fn greet(&self) -> Result<(), String> {
        let transport: AsyncSmtpTransport<Tokio1Executor> = self.builder.clone().build();
        match tokio::time::timeout(self.deadline, transport.test_connection()).await {
            Ok(Ok(true)) => Ok(()),
            Ok(Ok(false)) => Err("the mail server does not take mails".to_owned()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("the mail server did not answer in time".to_owned()),
        }
    }
}

#[async_trait]
impl Mailer for SmtpMailer {
    async fn send(&self, mail: &Mail) -> Result<(), MailError> {
        let message = self.from.message(mail)?;
        let transport: AsyncSmtpTransport<Tokio1Executor> = self.builder.clone().build();
        let begun = std::time::Instant::now();
        let (outcome, sent) = match tokio::time::timeout(self.deadline, transport.send(message)).await {
            Ok(Ok(_)) => ("answered", Ok(())),
            Ok(Err(error)) => match failed(&error) {
                refused @ MailError::Permanent(_) => ("refused", Err(refused)),
                failed @ MailError::Temporary(_) => ("failed", Err(failed)),
            },
            Err(_) => {
                let late = MailError::Temporary("the mail server did not answer in time".to_owned());
                ("timeout", Err(late))
            }
        };
        measured("smtp", "send", outcome, begun);
        sent
    }
}

fn failed(error: &Error) -> MailError {
    let code = error.status().map(u16::from);
    if error.is_permanent() && !code.is_some_and(|code| OF_THE_SESSION.contains(&code)) {
        return MailError::Permanent(error.to_string());
    }
    MailError::Temporary(error.to_string())
}
