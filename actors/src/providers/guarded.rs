//! Payments behind a circuit breaker.

use std::future::Future;
use std::sync::Arc;

use async_trait::async_trait;

use super::breaker::Breaker;
use super::{Intent, IntentRequest, PaymentError, Payments, ProviderRefund, RefundRequest};

/// A payment provider that is left alone for a while when it does not answer. A call that is not
/// let through has not been made.
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
            let reason = format!("{} did not answer several times", self.breaker.name());
            Err(PaymentError::Unavailable { reason, retry_after: Some(retry_after) })
        })
    }
}

#[async_trait]
impl Payments for GuardedPayments {
    fn name(&self) -> &'static str {
        self.inner.name()
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::{BreakerOptions, BreakerState};
    use crate::testing::{ManualClock, PaymentCall, PaymentFault, ScriptedPayments};

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
}
