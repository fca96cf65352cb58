//! A payment provider in memory.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;

use async_trait::async_trait;
use tokio::sync::watch;

use super::script::{Gate, Held, Script, pass};
use crate::money::{Currency, Money};
use crate::providers::{
    Intent, IntentRequest, IntentStatus, NotChargeable, PaymentError, Payments, ProviderRefund,
    ProviderRefundStatus, RefundRequest,
};
use crate::supervision::lock;

/// A method of [`Payments`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PaymentCall {
    /// [`Payments::create`].
    Create,
    /// [`Payments::confirm`].
    Confirm,
    /// [`Payments::capture`].
    Capture,
    /// [`Payments::cancel`].
    Cancel,
    /// [`Payments::look_up`].
    LookUp,
    /// [`Payments::refund`].
    Refund,
    /// [`Payments::find_refund`].
    FindRefund,
    /// [`Payments::refunded_elsewhere`].
    RefundedElsewhere,
}

/// What a call meets instead of going well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PaymentFault {
    /// Nothing happens, and this is the answer. Not kept for the idempotency key.
    Fails(PaymentError),
    /// It happens, and the answer is [`PaymentError::OutcomeUnknown`].
    ReplyLost,
    /// A confirmation ends in [`IntentStatus::Processing`]; see [`ScriptedPayments::settle`].
    Processing,
}

/// What really happened for one order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OrderLedger {
    /// Intents that were created.
    pub intents: u32,
    /// Times that an amount was reserved.
    pub authorizations: u32,
    /// Times that an amount was taken.
    pub captures: u32,
    /// Intents that were canceled.
    pub cancels: u32,
    /// Minor units reserved at present.
    pub authorized: i64,
    /// Minor units taken.
    pub captured: i64,
    /// Refunds that were made.
    pub refunds: u32,
    /// Minor units given back.
    pub refunded: i64,
}

struct Kept {
    intent: Intent,
    order_id: String,
    method: String,
}

#[derive(Default)]
struct State {
    scripts: HashMap<PaymentCall, Script<PaymentFault>>,
    intents: BTreeMap<String, Kept>,
    answers: HashMap<String, (String, Result<Intent, PaymentError>)>,
    /// By our id, and the keys they were asked for with.
    refunds: BTreeMap<String, ProviderRefund>,
    refund_keys: HashMap<String, String>,
    /// Minor units that were given back by hand, by intent.
    by_hand: HashMap<String, i64>,
    ledger: BTreeMap<String, OrderLedger>,
}

/// A payment provider in memory, with Stripe's rules: idempotency keys count (the same key with
/// other parameters is refused), wrong-state calls are refused.
///
/// Of the payment methods, `pm_card_chargeDeclined` is declined (another key is refused then: the
/// intent has lost its method), `pm_card_authenticationRequired`
/// asks for action, `pm_unknown` is invalid; all others succeed. Of currencies with three decimals
/// it charges and gives back only what ends in 0. Everything else is queued per method.
pub struct ScriptedPayments {
    state: Mutex<State>,
    changes: watch::Sender<()>,
}

impl Default for ScriptedPayments {
    fn default() -> Self {
        Self { state: Mutex::default(), changes: watch::Sender::new(()) }
    }
}

impl ScriptedPayments {
    /// The next calls of this method meet these faults, one each.
    pub fn script(&self, call: PaymentCall, faults: impl IntoIterator<Item = PaymentFault>) {
        lock(&self.state).scripts.entry(call).or_default().faults.extend(faults);
    }

    /// The next call of this method (that is not held already) stops before anything happens.
    pub fn hold(&self, call: PaymentCall) -> Held {
        let (gate, held) = Gate::new();
        lock(&self.state).scripts.entry(call).or_default().before.push_back(gate);
        held
    }

    /// The next call of this method (that is not held already) stops after it has counted, before
    /// it is answered.
    pub fn hold_reply(&self, call: PaymentCall) -> Held {
        let (gate, held) = Gate::new();
        lock(&self.state).scripts.entry(call).or_default().after.push_back(gate);
        held
    }

    /// How often this method was called, repeated and failed calls included.
    pub fn calls(&self, call: PaymentCall) -> usize {
        lock(&self.state).scripts.get(&call).map_or(0, |script| script.calls)
    }

    /// What really happened for this order.
    pub fn ledger(&self, order_id: &str) -> OrderLedger {
        lock(&self.state).ledger.get(order_id).cloned().unwrap_or_default()
    }

    /// What really happened, by order.
    pub fn ledgers(&self) -> BTreeMap<String, OrderLedger> {
        lock(&self.state).ledger.clone()
    }

    /// The intents of an order, oldest first.
    pub fn intents(&self, order_id: &str) -> Vec<Intent> {
        let state = lock(&self.state);
        state.intents.values().filter(|held| held.order_id == order_id).map(|h| h.intent.clone()).collect()
    }

    /// Moves the order's intents that wait (processing, or for the customer to act) on to
    /// `status`, as the provider does by itself: authorised, or unconfirmed with a decline.
    pub fn settle(&self, order_id: &str, status: IntentStatus) {
        let mut state = lock(&self.state);
        let State { intents, ledger, .. } = &mut *state;
        for held in intents.values_mut().filter(|held| held.order_id == order_id) {
            if !matches!(held.intent.status, IntentStatus::Processing | IntentStatus::RequiresAction) {
                continue;
            }
            held.intent.status = status;
            let entry = ledger.entry(order_id.to_owned()).or_default();
            match status {
                IntentStatus::Authorized => {
                    entry.authorizations += 1;
                    entry.authorized += held.intent.amount.minor;
                }
                IntentStatus::Unconfirmed => held.intent.declined = Some("card_declined".to_owned()),
                _ => {}
            }
        }
        drop(state);
        self.changes.send_replace(());
    }

    /// Ends the authorisation of the order's intents: it has run out, or somebody ended it at the
    /// provider.
    pub fn end_authorization(&self, order_id: &str, status: IntentStatus) {
        let mut state = lock(&self.state);
        let State { intents, ledger, .. } = &mut *state;
        for held in intents.values_mut().filter(|held| held.order_id == order_id) {
            if held.intent.status == IntentStatus::Authorized {
                held.intent.status = status;
                ledger.entry(order_id.to_owned()).or_default().authorized -= held.intent.amount.minor;
            }
        }
    }

    /// Forgets every idempotency key, as providers do after a while.
    pub fn forget_keys(&self) {
        let mut state = lock(&self.state);
        state.answers.clear();
        state.refund_keys.clear();
    }

    /// Takes the money of an order's intents, whatever they stand at: what the provider may do
    /// behind our back.
    pub fn charge_late(&self, order_id: &str) {
        let mut state = lock(&self.state);
        let State { intents, ledger, .. } = &mut *state;
        for held in intents.values_mut().filter(|held| held.order_id == order_id) {
            held.intent.status = IntentStatus::Captured;
            held.intent.captured = held.intent.amount;
            let entry = ledger.entry(order_id.to_owned()).or_default();
            entry.captures += 1;
            entry.captured += held.intent.amount.minor;
        }
    }

    /// Gives so many minor units of the order's intents back, by hand: what somebody may do at the
    /// provider.
    pub fn refund_by_hand(&self, order_id: &str, minor: i64) {
        let mut state = lock(&self.state);
        let State { intents, by_hand, ledger, .. } = &mut *state;
        for held in intents.values().filter(|held| held.order_id == order_id) {
            *by_hand.entry(held.intent.id.clone()).or_default() += minor;
            let entry = ledger.entry(order_id.to_owned()).or_default();
            entry.refunds += 1;
            entry.refunded += minor;
        }
    }

    /// Fails this refund of the order after it succeeded, as a provider may days later: the money
    /// is with the shop again.
    pub fn fail_refund(&self, order_id: &str, refund_id: &str) {
        let mut state = lock(&self.state);
        let State { refunds, ledger, .. } = &mut *state;
        if let Some(refund) = refunds.get_mut(refund_id)
            && refund.status == ProviderRefundStatus::Succeeded
        {
            refund.status = ProviderRefundStatus::Failed;
            ledger.entry(order_id.to_owned()).or_default().refunded -= refund.amount.minor;
        }
    }

    /// Returns once `seen` says yes; it is asked after each call that was carried out or refused.
    pub async fn until(&self, mut seen: impl FnMut(&Self) -> bool) {
        let mut changes = self.changes.subscribe();
        while !seen(self) {
            let _ = changes.changed().await;
        }
    }

    async fn call(
        &self,
        call: PaymentCall,
        key: Option<(&str, String)>,
        act: impl FnOnce(&mut State, bool) -> Result<Intent, PaymentError> + Send,
    ) -> Result<Intent, PaymentError> {
        self.scripted(call, |state, processing| keyed(state, key, |state| act(state, processing))).await
    }

    async fn scripted<T>(
        &self,
        call: PaymentCall,
        act: impl FnOnce(&mut State, bool) -> Result<T, PaymentError> + Send,
    ) -> Result<T, PaymentError> {
        let (before, after, fault) = {
            let mut state = lock(&self.state);
            let script = state.scripts.entry(call).or_default();
            script.calls += 1;
            (script.before.pop_front(), script.after.pop_front(), script.faults.pop_front())
        };
        pass(before).await;
        let answer = match &fault {
            Some(PaymentFault::Fails(error)) => Err(error.clone()),
            _ => {
                let processing = fault == Some(PaymentFault::Processing);
                act(&mut lock(&self.state), processing)
            }
        };
        self.changes.send_replace(());
        pass(after).await;
        match fault {
            Some(PaymentFault::ReplyLost) => {
                Err(PaymentError::OutcomeUnknown("the test lost the reply".to_owned()))
            }
            _ => answer,
        }
    }
}

fn keyed(
    state: &mut State,
    key: Option<(&str, String)>,
    act: impl FnOnce(&mut State) -> Result<Intent, PaymentError>,
) -> Result<Intent, PaymentError> {
    let Some((key, parameters)) = key else { return act(state) };
    if let Some((first, answer)) = state.answers.get(key) {
        if *first != parameters {
            return Err(PaymentError::Refused("idempotency_error".to_owned()));
        }
        return answer.clone();
    }
    let answer = act(state);
    state.answers.insert(key.to_owned(), (parameters, answer.clone()));
    answer
}

fn change(
    state: &mut State,
    id: &str,
    decide: impl FnOnce(&mut Intent, &str, &mut OrderLedger) -> Result<(), PaymentError>,
) -> Result<Intent, PaymentError> {
    let State { intents, ledger, .. } = state;
    let held = intents.get_mut(id).ok_or_else(|| PaymentError::Refused("resource_missing".to_owned()))?;
    let entry = ledger.entry(held.order_id.clone()).or_default();
    decide(&mut held.intent, &held.method, entry)?;
    Ok(held.intent.clone())
}

fn wrong_state() -> PaymentError {
    PaymentError::Refused("payment_intent_unexpected_state".to_owned())
}

#[async_trait]
impl Payments for ScriptedPayments {
    fn name(&self) -> &'static str {
        "scripted"
    }

    fn check_amount(&self, amount: Money) -> Result<(), NotChargeable> {
        if amount.currency.exponent() == 3 && amount.minor % 10 != 0 {
            return Err(NotChargeable("does not end in 0".to_owned()));
        }
        Ok(())
    }

    fn check_refund(&self, amount: Money) -> Result<(), NotChargeable> {
        self.check_amount(amount)
    }

    async fn create(&self, request: &IntentRequest) -> Result<Intent, PaymentError> {
        let parameters = format!("create {} {} {}", request.order_id, request.amount, request.payment_method);
        self.call(PaymentCall::Create, Some((&request.key, parameters)), |state, _| {
            if request.payment_method == "pm_unknown" {
                return Err(PaymentError::InvalidMethod("no such payment method".to_owned()));
            }
            let intent = Intent {
                id: format!("pi_{:06}", state.intents.len() + 1),
                status: IntentStatus::Unconfirmed,
                amount: request.amount,
                captured: Money::new(0, request.amount.currency),
                declined: None,
            };
            state.intents.insert(
                intent.id.clone(),
                Kept {
                    intent: intent.clone(),
                    order_id: request.order_id.clone(),
                    method: request.payment_method.clone(),
                },
            );
            state.ledger.entry(request.order_id.clone()).or_default().intents += 1;
            Ok(intent)
        })
        .await
    }

    async fn confirm(&self, id: &str, key: &str) -> Result<Intent, PaymentError> {
        self.call(PaymentCall::Confirm, Some((key, format!("confirm {id}"))), |state, processing| {
            let mut declined = None;
            let intent = change(state, id, |intent, method, entry| {
                if intent.status != IntentStatus::Unconfirmed || intent.declined.is_some() {
                    return Err(wrong_state());
                }
                match method {
                    "pm_card_chargeDeclined" => {
                        intent.declined = Some("card_declined".to_owned());
                        declined = intent.declined.clone();
                    }
                    "pm_card_authenticationRequired" => intent.status = IntentStatus::RequiresAction,
                    _ if processing => intent.status = IntentStatus::Processing,
                    _ => {
                        intent.status = IntentStatus::Authorized;
                        entry.authorizations += 1;
                        entry.authorized += intent.amount.minor;
                    }
                }
                Ok(())
            })?;
            declined.map_or(Ok(intent), |code| Err(PaymentError::Declined(code)))
        })
        .await
    }

    async fn capture(&self, id: &str, key: &str) -> Result<Intent, PaymentError> {
        self.call(PaymentCall::Capture, Some((key, format!("capture {id}"))), |state, _| {
            change(state, id, |intent, _, entry| {
                if intent.status != IntentStatus::Authorized {
                    return Err(wrong_state());
                }
                intent.status = IntentStatus::Captured;
                intent.captured = intent.amount;
                entry.captures += 1;
                entry.authorized -= intent.amount.minor;
                entry.captured += intent.amount.minor;
                Ok(())
            })
        })
        .await
    }

    async fn cancel(&self, id: &str, key: &str) -> Result<Intent, PaymentError> {
        self.call(PaymentCall::Cancel, Some((key, format!("cancel {id}"))), |state, _| {
            change(state, id, |intent, _, entry| {
                match intent.status {
                    IntentStatus::Captured | IntentStatus::Canceled | IntentStatus::Processing => {
                        return Err(wrong_state());
                    }
                    IntentStatus::Authorized => entry.authorized -= intent.amount.minor,
                    IntentStatus::Unconfirmed | IntentStatus::RequiresAction => {}
                }
                intent.status = IntentStatus::Canceled;
                entry.cancels += 1;
                Ok(())
            })
        })
        .await
    }

    async fn look_up(&self, id: &str) -> Result<Intent, PaymentError> {
        self.call(PaymentCall::LookUp, None, |state, _| change(state, id, |_, _, _| Ok(()))).await
    }

    async fn refund(&self, request: &RefundRequest) -> Result<ProviderRefund, PaymentError> {
        self.scripted(PaymentCall::Refund, |state, _| {
            if let Some(known) = state.refund_keys.get(&request.key) {
                return Ok(state.refunds[known].clone());
            }
            let intent = change(state, &request.intent_id, |_, _, _| Ok(()))?;
            let entry = state.ledger.entry(request.order_id.clone()).or_default();
            if intent.captured.minor - entry.refunded < request.amount.minor {
                return Err(PaymentError::Refused("amount_too_large".to_owned()));
            }
            entry.refunds += 1;
            entry.refunded += request.amount.minor;
            let refund = ProviderRefund {
                id: format!("re_{:06}", state.refunds.len() + 1),
                status: ProviderRefundStatus::Succeeded,
                amount: request.amount,
            };
            state.refunds.insert(request.refund_id.clone(), refund.clone());
            state.refund_keys.insert(request.key.clone(), request.refund_id.clone());
            Ok(refund)
        })
        .await
    }

    async fn find_refund(&self, request: &RefundRequest) -> Result<Option<ProviderRefund>, PaymentError> {
        self.scripted(PaymentCall::FindRefund, |state, _| Ok(state.refunds.get(&request.refund_id).cloned()))
            .await
    }

    async fn refunded_elsewhere(&self, intent_id: &str, currency: Currency) -> Result<Money, PaymentError> {
        self.scripted(PaymentCall::RefundedElsewhere, |state, _| {
            Ok(Money::new(state.by_hand.get(intent_id).copied().unwrap_or(0), currency))
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(order: &str, method: &str) -> IntentRequest {
        IntentRequest {
            key: format!("{order}-create"),
            order_id: order.to_owned(),
            amount: Money::new(1999, Currency::from_code("USD").unwrap()),
            payment_method: method.to_owned(),
        }
    }

    #[tokio::test]
    async fn a_lost_reply_counts_once_and_the_key_brings_the_answer() {
        let payments = ScriptedPayments::default();
        let intent = payments.create(&request("o1", "pm_card_visa")).await.unwrap();
        payments.script(PaymentCall::Confirm, [PaymentFault::ReplyLost]);
        let lost = payments.confirm(&intent.id, "k").await;
        assert!(matches!(lost, Err(PaymentError::OutcomeUnknown(_))));
        assert_eq!(payments.confirm(&intent.id, "k").await.unwrap().status, IntentStatus::Authorized);
        assert_eq!(payments.ledger("o1").authorizations, 1);
        assert_eq!(payments.calls(PaymentCall::Confirm), 2);
        let other = payments.confirm(&intent.id, "another").await;
        assert!(matches!(other, Err(PaymentError::Refused(_))));
    }

    #[tokio::test]
    async fn a_held_call_counts_only_when_released_and_a_held_reply_before() {
        let payments = ScriptedPayments::default();
        let intent = payments.create(&request("o1", "pm_card_visa")).await.unwrap();
        let mut held = payments.hold(PaymentCall::Confirm);
        let confirm = async { payments.confirm(&intent.id, "k").await.unwrap() };
        let watch = async {
            held.arrived().await;
            assert_eq!(payments.ledger("o1").authorizations, 0);
            held.release();
        };
        tokio::join!(confirm, watch);
        assert_eq!(payments.ledger("o1").authorizations, 1);

        let mut held = payments.hold_reply(PaymentCall::Capture);
        let capture = async { payments.capture(&intent.id, "c").await.unwrap() };
        let watch = async {
            held.arrived().await;
            assert_eq!(payments.ledger("o1").captures, 1);
            held.release();
        };
        tokio::join!(capture, watch);
        assert_eq!(payments.ledger("o1").captured, 1999);
    }

    #[tokio::test]
    async fn a_declined_method_reserves_nothing_and_stays_declined() {
        let payments = ScriptedPayments::default();
        let intent = payments.create(&request("o1", "pm_card_chargeDeclined")).await.unwrap();
        for _ in 0..2 {
            let answer = payments.confirm(&intent.id, "a").await;
            assert_eq!(answer, Err(PaymentError::Declined("card_declined".to_owned())));
        }
        assert_eq!(payments.confirm(&intent.id, "b").await, Err(wrong_state()));
        assert_eq!(payments.ledger("o1").authorized, 0);
        assert_eq!(payments.look_up(&intent.id).await.unwrap().declined.as_deref(), Some("card_declined"));
    }
}
