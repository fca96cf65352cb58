//! Card payments in the form of Stripe's
//! [payment intents](https://docs.stripe.com/api/payment_intents) with manual capture.

use std::time::Duration;

use async_trait::async_trait;

use crate::money::{Currency, Money};

/// What an intent is created from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IntentRequest {
    /// The idempotency key: the same key gives the same intent.
    pub key: String,
    /// The order that is paid, kept with the intent so that a ledger can be joined.
    pub order_id: String,
    /// What is to be authorised; positive.
    pub amount: Money,
    /// The provider's name of the payment method, such as `pm_card_visa`.
    pub payment_method: String,
}

/// Where an intent stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IntentStatus {
    /// Created, or declined and open for another method. No money is moved or reserved.
    Unconfirmed,
    /// The customer must act (3-D Secure) before it goes on.
    RequiresAction,
    /// The provider is at it; look again later.
    Processing,
    /// The amount is reserved and can be captured.
    Authorized,
    /// The amount is taken.
    Captured,
    /// Ended without money moved; a reservation is released.
    Canceled,
}

/// An intent as the provider shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Intent {
    /// The provider's id.
    pub id: String,
    /// Where it stands.
    pub status: IntentStatus,
    /// What was asked for.
    pub amount: Money,
    /// What was taken so far.
    pub captured: Money,
    /// Why the last confirmation was declined, as the provider's code.
    pub declined: Option<String>,
}

/// What money is given back by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefundRequest {
    /// The idempotency key: the same key gives the same refund.
    pub key: String,
    /// Our id of the refund, kept with it so that it can be found.
    pub refund_id: String,
    /// The order that it is for, kept with it too.
    pub order_id: String,
    /// The intent that the money was taken by.
    pub intent_id: String,
    /// How much; positive.
    pub amount: Money,
}

/// Where a refund stands at the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProviderRefundStatus {
    /// The provider is at it; look again later.
    Pending,
    /// The money is given back.
    Succeeded,
    /// It is not, and will not be.
    Failed,
}

/// A refund as the provider shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderRefund {
    /// The provider's id.
    pub id: String,
    /// Where it stands.
    pub status: ProviderRefundStatus,
    /// How much.
    pub amount: Money,
}

/// Why a payment call has no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PaymentError {
    /// The method was declined, for this reason (the provider's code). Final for this method.
    #[error("declined: {0}")]
    Declined(String),
    /// The provider knows no such method, or it is none that can pay. Final for this method; its
    /// holder was not asked.
    #[error("the payment method is invalid: {0}")]
    InvalidMethod(String),
    /// The provider refuses the call as it is: a wrong state, an unknown id. Trying again does not
    /// help; looking the intent up does.
    #[error("refused: {0}")]
    Refused(String),
    /// The call did not reach the provider, or it said that it did nothing. Try again.
    #[error("the payment provider is unavailable: {reason}")]
    Unavailable {
        /// What went wrong.
        reason: String,
        /// When the provider wants to be asked again, if it said so.
        retry_after: Option<Duration>,
    },
    /// The call may or may not have counted. Look the intent up, or try again with the same key.
    #[error("the outcome at the payment provider is unknown: {0}")]
    OutcomeUnknown(String),
}

/// Why an amount cannot be charged, or given back, as it is; for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotChargeable(pub String);

impl From<NotChargeable> for PaymentError {
    fn from(error: NotChargeable) -> Self {
        Self::Refused(error.to_string())
    }
}

/// A payment provider. Every method that changes something takes an idempotency key; repeating a
/// call with its key counts once.
#[async_trait]
pub trait Payments: Send + Sync + 'static {
    /// The name shown as the order's `payment.provider`.
    fn name(&self) -> &'static str;

    /// Whether `amount`, which is positive, can be charged: as far as the provider's rules for its
    /// currency say, without asking.
    ///
    /// # Errors
    /// [`NotChargeable`].
    fn check_amount(&self, amount: Money) -> Result<(), NotChargeable>;

    /// Whether `amount`, which is positive, can be given back of a charge that was larger: as far as the
    /// provider's rules for its currency say, without asking.
    ///
    /// # Errors
    /// [`NotChargeable`].
    fn check_refund(&self, amount: Money) -> Result<(), NotChargeable>;

    /// Creates an intent, unconfirmed: moves and reserves nothing.
    ///
    /// # Errors
    /// [`PaymentError`].
    async fn create(&self, request: &IntentRequest) -> Result<Intent, PaymentError>;

    /// Confirms: reserves the amount. [`PaymentError::Declined`] is final for this method;
    /// [`IntentStatus::RequiresAction`] comes back as an intent.
    ///
    /// # Errors
    /// [`PaymentError`].
    async fn confirm(&self, id: &str, key: &str) -> Result<Intent, PaymentError>;

    /// Takes the whole reserved amount.
    ///
    /// # Errors
    /// [`PaymentError`].
    async fn capture(&self, id: &str, key: &str) -> Result<Intent, PaymentError>;

    /// Ends an intent that was not captured and releases what it reserved.
    ///
    /// # Errors
    /// [`PaymentError`].
    async fn cancel(&self, id: &str, key: &str) -> Result<Intent, PaymentError>;

    /// The intent as it stands: what tells an unknown outcome.
    ///
    /// # Errors
    /// [`PaymentError`].
    async fn look_up(&self, id: &str) -> Result<Intent, PaymentError>;

    /// Gives money of a captured intent back.
    ///
    /// # Errors
    /// [`PaymentError`]; [`PaymentError::Refused`] if there is not so much left to give back.
    async fn refund(&self, request: &RefundRequest) -> Result<ProviderRefund, PaymentError>;

    /// The refund of that intent with our id, if there is one: what tells an unknown outcome.
    ///
    /// # Errors
    /// [`PaymentError`].
    async fn find_refund(&self, request: &RefundRequest) -> Result<Option<ProviderRefund>, PaymentError>;

    /// What was given back of an intent, or is on its way, by refunds without an id of ours: made at the
    /// provider, by hand. In `currency`, which is the intent's.
    ///
    /// # Errors
    /// [`PaymentError`].
    async fn refunded_elsewhere(&self, intent_id: &str, currency: Currency) -> Result<Money, PaymentError>;
}
