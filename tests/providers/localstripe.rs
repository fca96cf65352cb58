//! Payments at [localstripe](https://github.com/adrienverge/localstripe), a Stripe server that was
//! not written here: whether our adapter speaks Stripe's API, and not only our sandbox's idea of it.
//!
//! It knows less than Stripe: it has no payment methods of its own (tests make them from card
//! numbers), shows no `amount_received`, so that the taken amount is not checked here, and takes
//! no notice of `Idempotency-Key`. A call that is repeated is refused for the intent's state
//! instead, which is what Stripe does once it has forgotten a key: the look-up has to tell.

use secrecy::SecretString;
use serde_json::Value;
use steward::providers::{StripePayments, Timeouts};
use steward_actors::money::Money;
use steward_actors::providers::{
    Intent, IntentStatus, PaymentError, Payments, ProviderRefundStatus, RefundRequest,
};

use crate::peer::Peer;
use crate::support::{KEY, client, request};

const GOOD: &str = "4242424242424242";
const DECLINED_WHEN_CHARGED: &str = "4000000000000341";
const ASKS_FOR_AUTHENTICATION: &str = "4000002500003155";

struct LocalStripe {
    url: String,
    _peer: Peer,
}

impl LocalStripe {
    async fn start() -> Self {
        let peer = Peer::start("stripe_server.py", "localstripe").await;
        Self { url: format!("http://127.0.0.1:{}", peer.port), _peer: peer }
    }

    fn payments(&self) -> StripePayments {
        StripePayments::new(&self.url, SecretString::from(KEY), Timeouts::default()).unwrap()
    }

    async fn method(&self, card: &str) -> String {
        let form = [
            ("type", "card"),
            ("card[number]", card),
            ("card[exp_month]", "12"),
            ("card[exp_year]", "2040"),
            ("card[cvc]", "123"),
        ];
        let url = format!("{}/v1/payment_methods", self.url);
        let made = client().post(url).bearer_auth(KEY).form(&form).send().await.unwrap();
        let made: Value = made.json().await.unwrap();
        made["id"].as_str().unwrap_or_else(|| panic!("{made}")).to_owned()
    }

    async fn intent(&self, card: &str) -> Intent {
        let method = self.method(card).await;
        let intent = self.payments().create(&request("o1", &method)).await.unwrap();
        assert_eq!((intent.status, intent.amount.minor), (IntentStatus::Unconfirmed, 1999));
        intent
    }
}

#[tokio::test]
async fn a_payment_is_authorised_captured_and_given_back_in_parts() {
    let stripe = LocalStripe::start().await;
    let payments = stripe.payments();
    let intent = stripe.intent(GOOD).await;

    let authorized = payments.confirm(&intent.id, "c").await.unwrap();
    assert_eq!((authorized.status, authorized.declined), (IntentStatus::Authorized, None));
    // Done again, it is refused; where the intent stands is what counts.
    assert!(matches!(payments.confirm(&intent.id, "c").await, Err(PaymentError::Refused(_))));
    assert_eq!(payments.look_up(&intent.id).await.unwrap().status, IntentStatus::Authorized);

    assert_eq!(payments.capture(&intent.id, "t").await.unwrap().status, IntentStatus::Captured);
    assert!(payments.capture(&intent.id, "t").await.is_err());
    assert!(payments.cancel(&intent.id, "x").await.is_err());
    assert_eq!(payments.look_up(&intent.id).await.unwrap().status, IntentStatus::Captured);

    for (id, minor) in [("first", 500), ("second", 1499)] {
        let refund = RefundRequest {
            key: id.to_owned(),
            refund_id: id.to_owned(),
            order_id: "o1".to_owned(),
            intent_id: intent.id.clone(),
            amount: Money::new(minor, intent.amount.currency),
        };
        assert_eq!(payments.find_refund(&refund).await, Ok(None), "{id}");
        let made = payments.refund(&refund).await.unwrap();
        assert_eq!((made.status, made.amount), (ProviderRefundStatus::Succeeded, refund.amount));
        assert_eq!(payments.find_refund(&refund).await, Ok(Some(made)), "{id}");
    }
}

#[tokio::test]
async fn a_declined_card_is_told_with_its_code_and_seen_in_the_intent() {
    let stripe = LocalStripe::start().await;
    let payments = stripe.payments();
    let intent = stripe.intent(DECLINED_WHEN_CHARGED).await;
    let declined = payments.confirm(&intent.id, "c").await;
    assert_eq!(declined, Err(PaymentError::Declined("card_declined".to_owned())));
    let seen = payments.look_up(&intent.id).await.unwrap();
    assert_eq!((seen.status, seen.declined.as_deref()), (IntentStatus::Unconfirmed, Some("card_declined")));
    assert_eq!(payments.cancel(&intent.id, "x").await.unwrap().status, IntentStatus::Canceled);
}

#[tokio::test]
async fn what_is_reserved_is_released_and_authentication_is_waited_for() {
    let stripe = LocalStripe::start().await;
    let payments = stripe.payments();
    let reserved = stripe.intent(GOOD).await;
    payments.confirm(&reserved.id, "c").await.unwrap();
    assert_eq!(payments.cancel(&reserved.id, "x").await.unwrap().status, IntentStatus::Canceled);
    assert!(payments.confirm(&reserved.id, "again").await.is_err());

    let asking = stripe.intent(ASKS_FOR_AUTHENTICATION).await;
    assert_eq!(payments.confirm(&asking.id, "c").await.unwrap().status, IntentStatus::RequiresAction);
    assert_eq!(payments.cancel(&asking.id, "x").await.unwrap().status, IntentStatus::Canceled);

    let unknown = payments.create(&request("o2", "pm_nobody_made_this")).await;
    assert!(matches!(unknown, Err(PaymentError::Refused(_))), "{unknown:?}");
}
