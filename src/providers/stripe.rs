//! Card payments over [Stripe's API](https://docs.stripe.com/api/payment_intents), or the sandbox
//! that speaks it.

use std::collections::HashMap;

use async_trait::async_trait;
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use steward_actors::money::{Currency, Money};
use steward_actors::providers::{
    Intent, IntentRequest, IntentStatus, NotChargeable, PaymentError, Payments, ProviderRefund,
    ProviderRefundStatus, RefundRequest,
};
use url::Url;

use super::http::{self, BodyError, SetupError, Timeouts, Trust};
use super::stripe_amounts::{check_charge, from_stripe, to_stripe};

/// The version of the API that this was written for.
const API_VERSION: &str = "2024-06-20";
/// Bytes of an answer that are read.
const MAX_ANSWER: usize = 1024 * 1024;

/// Payments at Stripe. One client serves all threads.
pub struct StripePayments {
    client: Client,
    url: Url,
    key: SecretString,
}

impl StripePayments {
    /// A client of the API at `url` (`https://api.stripe.com`, or a sandbox's), with a secret key.
    ///
    /// # Errors
    /// [`SetupError`] if `url` is none, would carry a live key in clear text, or is https where the
    /// system has no certificate authorities.
    pub fn new(url: &str, key: SecretString, timeouts: Timeouts) -> Result<Self, SetupError> {
        let url = http::endpoint(url)?;
        if url.scheme() == "http" && key.expose_secret().contains("_live_") {
            return Err(SetupError(format!("{url} is not https, and the key is a live one")));
        }
        let trust = Trust::of(&url);
        Ok(Self { client: http::client(timeouts, trust)?, url, key })
    }

    async fn change(&self, path: &str, key: &str, form: &[(&str, &str)]) -> Result<Intent, PaymentError> {
        let with = |request: RequestBuilder| request.header("Idempotency-Key", key).form(form);
        self.call(Call::Change, path, with, ShownIntent::read).await
    }

    async fn call<S: DeserializeOwned, T>(
        &self,
        call: Call,
        path: &str,
        with: impl FnOnce(RequestBuilder) -> RequestBuilder,
        made_of: impl FnOnce(S) -> Option<T>,
    ) -> Result<T, PaymentError> {
        let method = if call == Call::Change { Method::POST } else { Method::GET };
        let url = self.url.join(path).map_err(|_| PaymentError::Refused("malformed intent id".to_owned()))?;
        let request = self
            .client
            .request(method, url)
            .bearer_auth(self.key.expose_secret())
            .header("Stripe-Version", API_VERSION);
        let response = match http::send("stripe", call.name(path), with(request)).await {
            Ok(response) => response,
            // Nothing was sent on a connection that was not made.
            Err(error) if error.is_connect() || error.is_builder() => {
                return Err(unavailable(http::cause(&error)));
            }
            Err(error) => return Err(call.no_answer(http::cause(&error))),
        };
        read(call, response, made_of).await
    }
}

/// Whether a call changes something: what a missing answer means depends on it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Call {
    Change,
    Read,
}

impl Call {
    /// What it is measured as: a constant, not the path, which has an id.
    fn name(self, path: &str) -> &'static str {
        match (self, path.rsplit('/').next()) {
            (Self::Read, _) => "look_up",
            (Self::Change, Some("confirm")) => "confirm",
            (Self::Change, Some("capture")) => "capture",
            (Self::Change, Some("cancel")) => "cancel",
            (Self::Change, Some("refunds")) => "refund",
            (Self::Change, _) => "create",
        }
    }

    fn no_answer(self, reason: String) -> PaymentError {
        match self {
            Self::Change => PaymentError::OutcomeUnknown(reason),
            Self::Read => unavailable(reason),
        }
    }
}

fn unavailable(reason: String) -> PaymentError {
    PaymentError::Unavailable { reason, retry_after: None }
}

async fn read<S: DeserializeOwned, T>(
    call: Call,
    response: Response,
    made_of: impl FnOnce(S) -> Option<T>,
) -> Result<T, PaymentError> {
    let status = response.status();
    let retry_after = http::retry_after(&response);
    let body = match http::body(response, MAX_ANSWER).await {
        Ok(body) => body,
        Err(BodyError::TooLarge) => return Err(call.no_answer("the answer is too large".to_owned())),
        Err(BodyError::Lost(error)) => return Err(call.no_answer(http::cause(&error))),
    };
    if status.is_success() {
        let shown: Option<S> = serde_json::from_slice(&body).ok();
        return shown
            .and_then(made_of)
            .ok_or_else(|| call.no_answer(format!("{status} with an answer that makes no sense")));
    }
    let error = serde_json::from_slice(&body).map(|body: ErrorBody| body.error).unwrap_or_default();
    Err(failed(call, status, retry_after, error))
}

fn failed(
    call: Call,
    status: StatusCode,
    retry_after: Option<std::time::Duration>,
    error: ErrorShown,
) -> PaymentError {
    let said = error.said(status);
    match status.as_u16() {
        402 => PaymentError::Declined(error.code.unwrap_or_else(|| "card_declined".to_owned())),
        // Our key is wrong: nothing was done, and it works once an operator has set it right.
        401 | 403 | 429 => PaymentError::Unavailable { reason: said, retry_after },
        // The first call with this key is still running, or not all of this one arrived in time: no
        // word on the card.
        408 | 409 | 425 => call.no_answer(said),
        400..=499 if error.param.as_deref() == Some("payment_method") => PaymentError::InvalidMethod(said),
        400..=499 => PaymentError::Refused(said),
        503 if retry_after.is_some() => PaymentError::Unavailable { reason: said, retry_after },
        // A provider that breaks down may have charged before.
        _ => call.no_answer(said),
    }
}

#[async_trait]
impl Payments for StripePayments {
    fn name(&self) -> &'static str {
        "stripe"
    }

    fn check_amount(&self, amount: Money) -> Result<(), NotChargeable> {
        check_charge(amount)
    }

    fn check_refund(&self, amount: Money) -> Result<(), NotChargeable> {
        to_stripe(amount).map(drop)
    }

    async fn create(&self, request: &IntentRequest) -> Result<Intent, PaymentError> {
        let amount = to_stripe(request.amount)?.to_string();
        let currency = request.amount.currency.code().to_lowercase();
        let form = [
            ("amount", amount.as_str()),
            ("currency", &currency),
            ("capture_method", "manual"),
            ("confirm", "false"),
            ("payment_method", &request.payment_method),
            // Without this, Stripe offers methods that redirect, and wants a URL to return to.
            ("payment_method_types[]", "card"),
            ("metadata[order_id]", &request.order_id),
        ];
        self.change("/v1/payment_intents", &request.key, &form).await
    }

    async fn confirm(&self, id: &str, key: &str) -> Result<Intent, PaymentError> {
        self.change(&path(id, "/confirm")?, key, &[]).await
    }

    async fn capture(&self, id: &str, key: &str) -> Result<Intent, PaymentError> {
        self.change(&path(id, "/capture")?, key, &[]).await
    }

    async fn cancel(&self, id: &str, key: &str) -> Result<Intent, PaymentError> {
        self.change(&path(id, "/cancel")?, key, &[]).await
    }

    async fn look_up(&self, id: &str) -> Result<Intent, PaymentError> {
        self.call(Call::Read, &path(id, "")?, |request| request, ShownIntent::read).await
    }

    async fn refund(&self, request: &RefundRequest) -> Result<ProviderRefund, PaymentError> {
        let amount = to_stripe(request.amount)?.to_string();
        let form = [
            ("payment_intent", request.intent_id.as_str()),
            ("amount", &amount),
            ("metadata[order_id]", &request.order_id),
            ("metadata[refund_id]", &request.refund_id),
        ];
        let with = |call: RequestBuilder| call.header("Idempotency-Key", &request.key).form(&form);
        self.call(Call::Change, "/v1/refunds", with, ShownRefund::read).await
    }

    async fn find_refund(&self, request: &RefundRequest) -> Result<Option<ProviderRefund>, PaymentError> {
        let mut found = None;
        self.each_refund(&request.intent_id, |refund| {
            if refund.refund_id() == Some(&request.refund_id) {
                found = Some(refund);
            }
            found.is_none()
        })
        .await?;
        found.map(|found| found.read().ok_or_else(senseless)).transpose()
    }

    async fn refunded_elsewhere(&self, intent_id: &str, currency: Currency) -> Result<Money, PaymentError> {
        let mut sum = Some(Money::new(0, currency));
        self.each_refund(intent_id, |refund| {
            if refund.refund_id().is_none() {
                sum = sum.and_then(|sum| {
                    let refund = refund.read()?;
                    let counts = refund.status != ProviderRefundStatus::Failed;
                    if counts { sum.plus(refund.amount).ok() } else { Some(sum) }
                });
            }
            sum.is_some()
        })
        .await?;
        sum.ok_or_else(senseless)
    }
}

impl StripePayments {
    /// Shows each refund of an intent, newest first, until `go_on` says no.
    async fn each_refund(
        &self,
        intent_id: &str,
        mut go_on: impl FnMut(ShownRefund) -> bool + Send,
    ) -> Result<(), PaymentError> {
        let mut after: Option<String> = None;
        for _ in 0..MOST_PAGES {
            let mut query = vec![("payment_intent", intent_id), ("limit", "100")];
            query.extend(after.as_deref().map(|id| ("starting_after", id)));
            let with = |call: RequestBuilder| call.query(&query);
            let page: ShownRefunds = self.call(Call::Read, "/v1/refunds", with, Some).await?;
            let last = page.data.last().map(|refund| refund.id.clone());
            if !page.data.into_iter().all(&mut go_on) {
                return Ok(());
            }
            match last.filter(|_| page.has_more) {
                Some(last) => after = Some(last),
                None => return Ok(()),
            }
        }
        Err(unavailable(format!("the intent has more than {MOST_PAGES} pages of refunds")))
    }
}

fn senseless() -> PaymentError {
    unavailable("a refund that makes no sense".to_owned())
}

/// Pages of one intent's refunds that are looked through.
const MOST_PAGES: usize = 20;

fn path(id: &str, operation: &str) -> Result<String, PaymentError> {
    if !steward_actors::ids::is_well_formed(id) {
        return Err(PaymentError::Refused("malformed intent id".to_owned()));
    }
    Ok(format!("/v1/payment_intents/{id}{operation}"))
}

#[derive(Deserialize)]
struct ShownIntent {
    id: String,
    status: String,
    amount: i64,
    #[serde(default)]
    amount_received: i64,
    currency: String,
    last_payment_error: Option<ErrorShown>,
}

impl ShownIntent {
    fn read(self) -> Option<Intent> {
        let currency = Currency::from_code(&self.currency.to_uppercase())?;
        let status = match self.status.as_str() {
            "requires_payment_method" | "requires_confirmation" => IntentStatus::Unconfirmed,
            "requires_action" => IntentStatus::RequiresAction,
            "processing" => IntentStatus::Processing,
            "requires_capture" => IntentStatus::Authorized,
            "succeeded" => IntentStatus::Captured,
            "canceled" => IntentStatus::Canceled,
            _ => return None,
        };
        Some(Intent {
            id: self.id,
            status,
            amount: from_stripe(self.amount, currency)?,
            captured: from_stripe(self.amount_received, currency)?,
            declined: self
                .last_payment_error
                .map(|error| error.code.unwrap_or_else(|| "card_declined".to_owned())),
        })
    }
}

/// <https://docs.stripe.com/api/refunds/object>
#[derive(Deserialize)]
struct ShownRefund {
    id: String,
    status: Option<String>,
    amount: i64,
    currency: String,
    metadata: Option<HashMap<String, String>>,
}

impl ShownRefund {
    /// Our id of it.
    fn refund_id(&self) -> Option<&String> {
        self.metadata.as_ref()?.get("refund_id")
    }

    fn read(self) -> Option<ProviderRefund> {
        let currency = Currency::from_code(&self.currency.to_uppercase())?;
        let status = match self.status.as_deref()? {
            "pending" | "requires_action" => ProviderRefundStatus::Pending,
            "succeeded" => ProviderRefundStatus::Succeeded,
            "failed" | "canceled" => ProviderRefundStatus::Failed,
            _ => return None,
        };
        Some(ProviderRefund { id: self.id, status, amount: from_stripe(self.amount, currency)? })
    }
}

#[derive(Deserialize)]
struct ShownRefunds {
    data: Vec<ShownRefund>,
    #[serde(default)]
    has_more: bool,
}

#[derive(Deserialize)]
struct ErrorBody {
    error: ErrorShown,
}

/// <https://docs.stripe.com/api/errors>
#[derive(Default, Deserialize)]
struct ErrorShown {
    #[serde(rename = "type")]
    kind: Option<String>,
    code: Option<String>,
    /// The parameter that it is about.
    param: Option<String>,
    message: Option<String>,
}

impl ErrorShown {
    fn said(&self, status: StatusCode) -> String {
        let code = self.code.as_deref().or(self.kind.as_deref());
        let message: String = self.message.as_deref().unwrap_or_default().chars().take(200).collect();
        match code {
            Some(code) => format!("{code}: {message}"),
            None => format!("status {}", status.as_u16()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn of(call: Call, status: u16, retry_after: Option<u64>) -> PaymentError {
        let status = StatusCode::from_u16(status).unwrap();
        failed(call, status, retry_after.map(Duration::from_secs), ErrorShown::default())
    }

    #[test]
    fn a_breakdown_while_changing_something_is_an_unknown_outcome() {
        for status in [500, 502, 503, 504, 408, 409, 425, 302] {
            assert!(matches!(of(Call::Change, status, None), PaymentError::OutcomeUnknown(_)), "{status}");
            assert!(matches!(of(Call::Read, status, None), PaymentError::Unavailable { .. }), "{status}");
        }
    }

    #[test]
    fn what_surely_did_nothing_is_told_as_such() {
        for status in [401, 403, 429, 503] {
            let retry_after = Some(Duration::from_secs(7));
            let told = of(Call::Change, status, Some(7));
            assert!(
                matches!(told, PaymentError::Unavailable { retry_after: r, .. } if r == retry_after),
                "{status}"
            );
        }
        for status in [400, 404] {
            assert!(matches!(of(Call::Change, status, None), PaymentError::Refused(_)), "{status}");
        }
        assert!(matches!(of(Call::Change, 402, None), PaymentError::Declined(_)));
    }

    #[test]
    fn a_method_that_is_none_is_told_from_a_decline_and_from_other_refusals() {
        let about = |param: &str| {
            let error = ErrorShown {
                code: Some("resource_missing".to_owned()),
                param: Some(param.to_owned()),
                ..ErrorShown::default()
            };
            failed(Call::Change, StatusCode::BAD_REQUEST, None, error)
        };
        assert!(matches!(about("payment_method"), PaymentError::InvalidMethod(_)));
        assert!(matches!(about("amount"), PaymentError::Refused(_)));
    }

    #[test]
    fn an_id_that_would_change_the_path_is_refused() {
        assert!(path("../refunds", "").is_err());
        assert!(path("pi_1?x=", "").is_err());
    }
}
