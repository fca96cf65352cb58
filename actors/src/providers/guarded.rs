//! Providers behind circuit breakers: left alone for a while when they do not answer, and for as long as
//! an operator holds them back. A call that is not let through has not been made.

use std::future::Future;
use std::sync::Arc;

use async_trait::async_trait;

use super::breaker::{Breaker, Heard};
use super::circuit::BreakerState;
use super::{
    Bank, BankError, ClaimError, Credential, Intent, IntentRequest, LinkToken, Mail, MailError, Mailer,
    NotChargeable, PaymentError, Payments, Period, ProviderRefund, RefundRequest, Statement,
};
use crate::money::{Currency, Money};

/// Why no call goes out.
fn left_alone(breaker: &Breaker) -> String {
    match breaker.state() {
        BreakerState::Held => format!("{} is held back by an operator", breaker.name()),
        _ => format!("{} did not answer several times", breaker.name()),
    }
}

/// A payment provider behind a breaker.
pub struct GuardedPayments {
    inner: Arc<dyn Payments>,
    breaker: Breaker,
}

impl GuardedPayments {
    /// `inner` behind `breaker`.
    pub fn new(inner: Arc<dyn Payments>, breaker: Breaker) -> Self {
        Self { inner, breaker }
    }

    async fn call<T>(
        &self,
        call: impl Future<Output = Result<T, PaymentError>> + Send,
    ) -> Result<T, PaymentError> {
        let answered = |outcome: &Result<T, PaymentError>| {
            !matches!(outcome, Err(PaymentError::Unavailable { .. } | PaymentError::OutcomeUnknown(_)))
        };
        self.breaker.guard(call, answered).await.unwrap_or_else(|retry_after| {
            let reason = left_alone(&self.breaker);
            Err(PaymentError::Unavailable { reason, retry_after: Some(retry_after) })
        })
    }
}

#[async_trait]
impl Payments for GuardedPayments {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn check_amount(&self, amount: Money) -> Result<(), NotChargeable> {
        self.inner.check_amount(amount)
    }

    fn check_refund(&self, amount: Money) -> Result<(), NotChargeable> {
        self.inner.check_refund(amount)
    }

    async fn create(&self, request: &IntentRequest) -> Result<Intent, PaymentError> {
        self.call(self.inner.create(request)).await
    }

    async fn confirm(&self, id: &str, key: &str) -> Result<Intent, PaymentError> {
        self.call(self.inner.confirm(id, key)).await
    }

    async fn capture(&self, id: &str, key: &str) -> Result<Intent, PaymentError> {
        self.call(self.inner.capture(id, key)).await
    }

    async fn cancel(&self, id: &str, key: &str) -> Result<Intent, PaymentError> {
        self.call(self.inner.cancel(id, key)).await
    }

    async fn look_up(&self, id: &str) -> Result<Intent, PaymentError> {
        self.call(self.inner.look_up(id)).await
    }

    async fn refund(&self, request: &RefundRequest) -> Result<ProviderRefund, PaymentError> {
        self.call(self.inner.refund(request)).await
    }

    async fn find_refund(&self, request: &RefundRequest) -> Result<Option<ProviderRefund>, PaymentError> {
        self.call(self.inner.find_refund(request)).await
    }

    async fn refunded_elsewhere(&self, intent_id: &str, currency: Currency) -> Result<Money, PaymentError> {
        self.call(self.inner.refunded_elsewhere(intent_id, currency)).await
    }
}

/// What a call tells of the provider of a bank.
fn heard<T>(outcome: &Result<T, BankError>) -> Heard {
    match outcome {
        Err(BankError::Down(_) | BankError::DownFor { .. }) => Heard::Silence,
        Err(BankError::Resting { .. }) => Heard::Nothing,
        _ => Heard::Answer,
    }
}

/// A bank behind a breaker.
pub struct GuardedBank {
    inner: Arc<dyn Bank>,
    breaker: Breaker,
}

impl GuardedBank {
    /// `inner` behind `breaker`.
    pub fn new(inner: Arc<dyn Bank>, breaker: Breaker) -> Self {
        Self { inner, breaker }
    }
}

#[async_trait]
impl Bank for GuardedBank {
    async fn claim(&self, setup_token: &str, user_id: &str) -> Result<Credential, ClaimError> {
        let heard = |outcome: &Result<Credential, ClaimError>| match outcome {
            Err(ClaimError::Unavailable { .. } | ClaimError::OutcomeUnknown(_)) => Heard::Silence,
            Err(ClaimError::Resting { .. }) => Heard::Nothing,
            _ => Heard::Answer,
        };
        let call = self.inner.claim(setup_token, user_id);
        let part = self.inner.part_of_token(setup_token);
        let outcome = self.breaker.guard_part(part.as_deref(), call, heard).await;
        outcome.unwrap_or_else(|after| {
            let reason = left_alone(&self.breaker);
            Err(ClaimError::Unavailable { reason, retry_after: Some(after) })
        })
    }

    async fn statement(
        &self,
        credential: &Credential,
        period: Option<Period>,
    ) -> Result<Statement, BankError> {
        let (part, call) = (self.inner.part(credential), self.inner.statement(credential, period));
        let outcome = self.breaker.guard_part(part.as_deref(), call, heard).await;
        // Nobody was asked, so the run waits.
        outcome.unwrap_or_else(|after| Err(BankError::Resting { after }))
    }

    fn reference(&self, credential: &Credential) -> Option<String> {
        self.inner.reference(credential)
    }

    fn part(&self, credential: &Credential) -> Option<String> {
        self.inner.part(credential)
    }

    fn part_of_token(&self, setup_token: &str) -> Option<String> {
        self.inner.part_of_token(setup_token)
    }

    fn can_revoke(&self) -> bool {
        self.inner.can_revoke()
    }

    async fn revoke(&self, credential: &Credential) -> Result<(), BankError> {
        let (part, call) = (self.inner.part(credential), self.inner.revoke(credential));
        let outcome = self.breaker.guard_part(part.as_deref(), call, heard).await;
        outcome.unwrap_or_else(|after| Err(BankError::Resting { after }))
    }

    async fn link_token(
        &self,
        user_id: &str,
        credential: Option<&Credential>,
    ) -> Result<Option<LinkToken>, BankError> {
        let part = credential.and_then(|credential| self.inner.part(credential));
        let call = self.inner.link_token(user_id, credential);
        let outcome = self.breaker.guard_part(part.as_deref(), call, heard).await;
        outcome.unwrap_or_else(|after| Err(BankError::Resting { after }))
    }
}

/// A mailer behind a breaker.
pub struct GuardedMailer {
    inner: Arc<dyn Mailer>,
    breaker: Breaker,
}

impl GuardedMailer {
    /// `inner` behind `breaker`.
    pub fn new(inner: Arc<dyn Mailer>, breaker: Breaker) -> Self {
        Self { inner, breaker }
    }
}

#[async_trait]
impl Mailer for GuardedMailer {
    async fn send(&self, mail: &Mail) -> Result<(), MailError> {
        let answered = |outcome: &Result<(), MailError>| !matches!(outcome, Err(MailError::Temporary(_)));
        let outcome = self.breaker.guard(self.inner.send(mail), answered).await;
        outcome.unwrap_or_else(|_later| Err(MailError::Temporary(left_alone(&self.breaker))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::{BreakerOptions, BreakerState};
    use crate::testing::{
        BankCall, BankFault, ManualClock, PaymentCall, PaymentFault, ScriptedBank, ScriptedPayments,
    };

    #[tokio::test]
    async fn a_provider_that_does_not_answer_is_left_alone_and_a_refusal_is_an_answer() {
        let (clock, inner) = (Arc::new(ManualClock::default()), Arc::new(ScriptedPayments::default()));
        let options = BreakerOptions { failures: 3, ..BreakerOptions::default() };
        let breaker = Breaker::new("scripted", options, clock.clone());
        let guarded = GuardedPayments::new(inner.clone(), breaker.clone());
        for _ in 0..10 {
            assert!(matches!(guarded.look_up("none").await, Err(PaymentError::Refused(_))));
        }
        assert_eq!(breaker.state(), BreakerState::Closed);

        let lost = PaymentFault::Fails(PaymentError::OutcomeUnknown("lost".to_owned()));
        inner.script(PaymentCall::LookUp, vec![lost; 3]);
        for _ in 0..3 {
            assert!(matches!(guarded.look_up("none").await, Err(PaymentError::OutcomeUnknown(_))));
        }
        let calls = inner.calls(PaymentCall::LookUp);
        let left_alone = guarded.look_up("none").await;
        assert!(matches!(left_alone, Err(PaymentError::Unavailable { retry_after: Some(_), .. })));
        assert_eq!((inner.calls(PaymentCall::LookUp), breaker.state()), (calls, BreakerState::Open));

        clock.advance(options.shortest);
        assert!(matches!(guarded.look_up("none").await, Err(PaymentError::Refused(_))));
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    #[tokio::test]
    async fn what_the_budget_holds_back_is_neither_an_answer_nor_a_silence() {
        let (clock, inner) = (Arc::new(ManualClock::default()), Arc::new(ScriptedBank::default()));
        let options = BreakerOptions::default();
        let breaker = Breaker::new("scripted", options, clock.clone());
        let guarded = GuardedBank::new(inner.clone(), breaker.clone());
        let credential = guarded.claim("token", "u1").await.unwrap();
        // Given a bank that is silent,
        let late = BankError::Down("it did not answer in time".to_owned());
        inner.script(BankCall::Statement, vec![BankFault::Fails(late); options.failures as usize]);
        for _ in 0..options.failures {
            assert!(guarded.statement(&credential, None).await.is_err());
        }
        assert_eq!(breaker.state(), BreakerState::Open);
        // when the budget holds the probe back,
        clock.advance(options.shortest);
        let held = BankError::Resting { after: options.longest };
        inner.script(BankCall::Statement, [BankFault::Fails(held.clone())]);
        assert_eq!(guarded.statement(&credential, None).await, Err(held));
        // then nobody has answered, and the next call is the probe.
        assert_eq!(breaker.state(), BreakerState::HalfOpen);
        assert!(guarded.statement(&credential, None).await.is_ok());
        assert_eq!(breaker.state(), BreakerState::Closed);

        // Claims that it holds back are nobody's silence.
        let held = ClaimError::Resting { after: options.longest };
        inner.script(BankCall::Claim, vec![BankFault::ClaimFails(held.clone()); 50]);
        for _ in 0..50 {
            assert_eq!(guarded.claim("token", "u1").await.err(), Some(held.clone()));
        }
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    #[tokio::test]
    async fn an_answer_that_is_no_good_keeps_no_other_user_of_the_same_host_waiting() {
        let (inner, options) = (Arc::new(ScriptedBank::default()), BreakerOptions::default());
        let breaker = Breaker::new("scripted", options, Arc::new(ManualClock::default()));
        let guarded = GuardedBank::new(inner.clone(), breaker.clone());
        let credential = guarded.claim("token", "u1").await.unwrap();
        // As with a single host: nothing tells one user's bank from another's.
        assert_eq!(guarded.part(&credential), None);
        let no_good = BankError::Unusable("it is not JSON".to_owned());
        inner.script(BankCall::Statement, vec![BankFault::Fails(no_good.clone()); 50]);
        for _ in 0..50 {
            assert_eq!(guarded.statement(&credential, None).await, Err(no_good.clone()));
        }
        assert_eq!(breaker.state(), BreakerState::Closed);

        // Who does not answer is left alone as ever.
        let late = BankError::Down("it did not answer in time".to_owned());
        let down = BankError::down("status 503".to_owned(), Some(options.longest));
        for n in 0..options.failures {
            let silence = if n % 2 == 0 { &late } else { &down };
            inner.script(BankCall::Statement, [BankFault::Fails(silence.clone())]);
            assert_eq!(guarded.statement(&credential, None).await, Err(silence.clone()));
        }
        assert_eq!(breaker.state(), BreakerState::Open);
        assert!(matches!(guarded.statement(&credential, None).await, Err(BankError::Resting { .. })));
    }
}
