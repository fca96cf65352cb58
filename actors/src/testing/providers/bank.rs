//! A bank in memory.

use std::collections::HashMap;
use std::sync::Mutex;

use async_trait::async_trait;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::watch;

use super::script::{Gate, Held, Script, pass};
use crate::providers::{Bank, BankError, ClaimError, Credential, Period, Statement};
use crate::supervision::lock;

/// A method of [`Bank`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BankCall {
    /// [`Bank::claim`].
    Claim,
    /// [`Bank::statement`].
    Statement,
    /// [`Bank::revoke`].
    Revoke,
}

/// What a call meets.
#[derive(Clone, Debug, PartialEq)]
pub enum BankFault {
    /// A claim is answered with this.
    ClaimFails(ClaimError),
    /// A statement or a revocation is answered with this.
    Fails(BankError),
    /// A statement is answered with this one, once.
    Answers(Statement),
    /// It goes well.
    None,
}

#[derive(Default)]
struct State {
    scripts: HashMap<BankCall, Script<BankFault>>,
    statements: HashMap<String, Statement>,
    claims: Vec<(String, String)>,
    revoked: Vec<String>,
}

/// A bank in memory. Any token is claimed for the credential `credential-of-<user id>`; a
/// credential brings the statement that was set for its user, or an empty whole one.
pub struct ScriptedBank {
    state: Mutex<State>,
    changes: watch::Sender<()>,
}

impl Default for ScriptedBank {
    fn default() -> Self {
        Self { state: Mutex::default(), changes: watch::Sender::new(()) }
    }
}

impl ScriptedBank {
    /// From now on this user's statement is this one.
    pub fn set_statement(&self, user_id: &str, statement: Statement) {
        lock(&self.state).statements.insert(user_id.to_owned(), statement);
    }

    /// The next calls of this method meet these, one each.
    pub fn script(&self, call: BankCall, faults: impl IntoIterator<Item = BankFault>) {
        lock(&self.state).scripts.entry(call).or_default().faults.extend(faults);
    }

    /// The next call of this method (that is not held already) stops before anything happens.
    pub fn hold(&self, call: BankCall) -> Held {
        let (gate, held) = Gate::new();
        lock(&self.state).scripts.entry(call).or_default().before.push_back(gate);
        held
    }

    /// How often this method was called, failed calls included.
    pub fn calls(&self, call: BankCall) -> usize {
        lock(&self.state).scripts.get(&call).map_or(0, |script| script.calls)
    }

    /// The setup tokens that were claimed, each with its user, in order.
    pub fn claims(&self) -> Vec<(String, String)> {
        lock(&self.state).claims.clone()
    }

    /// The credentials that were revoked, in order.
    pub fn revoked(&self) -> Vec<String> {
        lock(&self.state).revoked.clone()
    }

    /// Returns once `seen` says yes; it is asked after each call that went past its hold.
    pub async fn until(&self, mut seen: impl FnMut(&Self) -> bool) {
        let mut changes = self.changes.subscribe();
        while !seen(self) {
            let _ = changes.changed().await;
        }
    }

    async fn enter(&self, call: BankCall) -> BankFault {
        let (gate, fault) = {
            let mut state = lock(&self.state);
            let script = state.scripts.entry(call).or_default();
            script.calls += 1;
            (script.before.pop_front(), script.faults.pop_front())
        };
        pass(gate).await;
        fault.unwrap_or(BankFault::None)
    }
}

#[async_trait]
impl Bank for ScriptedBank {
    async fn claim(&self, setup_token: &str, user_id: &str) -> Result<Credential, ClaimError> {
        let fault = self.enter(BankCall::Claim).await;
        let answer = match fault {
            BankFault::ClaimFails(error) => Err(error),
            _ => {
                lock(&self.state).claims.push((setup_token.to_owned(), user_id.to_owned()));
                Ok(Credential(SecretString::from(format!("credential-of-{user_id}"))))
            }
        };
        self.changes.send_replace(());
        answer
    }

    async fn statement(&self, credential: &Credential, _: Option<Period>) -> Result<Statement, BankError> {
        let fault = self.enter(BankCall::Statement).await;
        let answer = match fault {
            BankFault::Fails(error) => Err(error),
            BankFault::Answers(statement) => Ok(statement),
            _ => {
                let user_id = credential.0.expose_secret().strip_prefix("credential-of-").unwrap_or_default();
                let set = lock(&self.state).statements.get(user_id).cloned();
                Ok(set.unwrap_or(Statement::default()))
            }
        };
        self.changes.send_replace(());
        answer
    }

    fn can_revoke(&self) -> bool {
        true
    }

    async fn revoke(&self, credential: &Credential) -> Result<(), BankError> {
        let fault = self.enter(BankCall::Revoke).await;
        let answer = match fault {
            BankFault::Fails(error) => Err(error),
            _ => {
                lock(&self.state).revoked.push(credential.0.expose_secret().to_owned());
                Ok(())
            }
        };
        self.changes.send_replace(());
        answer
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn queued_answers_come_first_and_then_the_set_one() {
        let bank = ScriptedBank::default();
        let limited = BankError::RateLimited { retry_after: Some(Duration::from_secs(7)) };
        bank.script(BankCall::Statement, [BankFault::Fails(limited.clone())]);
        let credential = bank.claim("sandbox", "u1").await.unwrap();
        assert_eq!(bank.statement(&credential, None).await, Err(limited));
        let whole = Statement { partial: Some("one is missing".to_owned()), ..Statement::default() };
        bank.set_statement("u1", whole.clone());
        assert_eq!(bank.statement(&credential, None).await, Ok(whole));
        assert_eq!(bank.calls(BankCall::Statement), 2);
        assert_eq!(bank.claims(), [("sandbox".to_owned(), "u1".to_owned())]);
    }
}
