//! A mailer that keeps what it is given.

use std::sync::Mutex;

use async_trait::async_trait;
use tokio::sync::watch;

use super::script::{Gate, Held, Script, pass};
use crate::providers::{Mail, MailError, Mailer};
use crate::supervision::lock;

/// What a message meets instead of being accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MailFault {
    /// It is not accepted, and this is the answer.
    Fails(MailError),
    /// It is accepted, and the answer is [`MailError::Temporary`].
    ReplyLost,
}

#[derive(Default)]
struct State {
    script: Script<MailFault>,
    sent: Vec<Mail>,
}

/// A mailer that keeps what it is given.
pub struct RecordingMailer {
    state: Mutex<State>,
    changes: watch::Sender<()>,
}

impl Default for RecordingMailer {
    fn default() -> Self {
        Self { state: Mutex::default(), changes: watch::Sender::new(()) }
    }
}

impl RecordingMailer {
    /// Every message that was accepted, in order; one that was sent twice stands here twice.
    pub fn sent(&self) -> Vec<Mail> {
        lock(&self.state).sent.clone()
    }

    /// The accepted messages to this address.
    pub fn to(&self, address: &str) -> Vec<Mail> {
        self.sent().into_iter().filter(|mail| mail.to == address).collect()
    }

    /// How often [`Mailer::send`] was called.
    pub fn calls(&self) -> usize {
        lock(&self.state).script.calls
    }

    /// The next messages meet these faults, one each.
    pub fn script(&self, faults: impl IntoIterator<Item = MailFault>) {
        lock(&self.state).script.faults.extend(faults);
    }

    /// The next message (that is not held already) stops before it is accepted.
    pub fn hold(&self) -> Held {
        let (gate, held) = Gate::new();
        lock(&self.state).script.before.push_back(gate);
        held
    }

    /// The next message (that is not held already) stops after it was accepted, before the sender
    /// is told.
    pub fn hold_reply(&self) -> Held {
        let (gate, held) = Gate::new();
        lock(&self.state).script.after.push_back(gate);
        held
    }

    /// Returns once `seen` says yes; it is asked after each message.
    pub async fn until(&self, mut seen: impl FnMut(&Self) -> bool) {
        let mut changes = self.changes.subscribe();
        while !seen(self) {
            let _ = changes.changed().await;
        }
    }
}

#[async_trait]
impl Mailer for RecordingMailer {
    async fn send(&self, mail: &Mail) -> Result<(), MailError> {
        let (before, after, fault) = {
            let script = &mut lock(&self.state).script;
            script.calls += 1;
            (script.before.pop_front(), script.after.pop_front(), script.faults.pop_front())
        };
        pass(before).await;
        let answer = match fault {
            Some(MailFault::Fails(error)) => Err(error),
            other => {
                lock(&self.state).sent.push(mail.clone());
                other.map_or(Ok(()), |_| Err(MailError::Temporary("the test lost the reply".to_owned())))
            }
        };
        self.changes.send_replace(());
        pass(after).await;
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_lost_reply_is_told_as_temporary_though_the_mail_went_out() {
        let mailer = RecordingMailer::default();
        let mail = Mail {
            id: "order-1".to_owned(),
            to: "a@example.com".to_owned(),
            subject: "Hello".to_owned(),
            text: "World".to_owned(),
        };
        mailer.script([
            MailFault::ReplyLost,
            MailFault::Fails(MailError::Permanent("no such user".to_owned())),
        ]);
        assert!(matches!(mailer.send(&mail).await, Err(MailError::Temporary(_))));
        assert!(matches!(mailer.send(&mail).await, Err(MailError::Permanent(_))));
        assert_eq!(mailer.sent(), [mail]);
        assert_eq!(mailer.calls(), 2);
    }
}
