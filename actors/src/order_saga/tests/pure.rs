//! The pure parts against a simulated outside: whatever it answers, whenever the owner falls, an
//! order ends, and money and stock are where they should be.

use std::collections::VecDeque;
use std::time::Duration;

use proptest::prelude::*;

use super::world::order;
use crate::inventory::{HoldError, HoldStatus};
use crate::money::Money;
use crate::order_saga::decide::{Attempt, Decision, Outcome, Patience, decide, needs_look_up, settles};
use crate::order_saga::order::{Order, OrderStatus};
use crate::order_saga::state::{Step, apply};
use crate::providers::{Intent, IntentStatus, PaymentError};
use crate::time::Timestamp;

/// What befalls one call.
#[derive(Clone, Copy, Debug)]
enum Luck {
    Well,
    /// Not done, and said so.
    Unavailable,
    /// Not done, not said.
    LostBefore,
    /// Done, not said.
    LostAfter,
    /// Done; then the owner falls before anything is recorded.
    FallsAfter,
    /// The owner falls before the call.
    FallsBefore,
    /// All goes well, then a great deal of time passes.
    LongAfter,
}

fn luck() -> impl Strategy<Value = Luck> {
    prop_oneof![
        4 => Just(Luck::Well),
        1 => Just(Luck::Unavailable),
        1 => Just(Luck::LostBefore),
        1 => Just(Luck::LostAfter),
        1 => Just(Luck::FallsAfter),
        1 => Just(Luck::FallsBefore),
        1 => Just(Luck::LongAfter),
    ]
}

#[derive(Clone, Copy, Debug)]
enum Card {
    Good,
    Declined,
    NeedsAction,
    ProcessingFirst,
    RefusedAtCreation,
}

struct Outside {
    in_stock: bool,
    card: Card,
    hold: Option<HoldStatus>,
    intent: Option<Intent>,
    captures: u32,
}

impl Outside {
    fn stock(&mut self, step: Step) -> Result<HoldStatus, HoldError> {
        let (from, to) = match step {
            Step::Hold => match self.hold {
                Some(status) => return Ok(status),
                None if !self.in_stock => return Err(HoldError::OutOfStock(vec!["a".to_owned()])),
                None => {
                    self.hold = Some(HoldStatus::Held);
                    return Ok(HoldStatus::Held);
                }
            },
            Step::CommitStock => (HoldStatus::Held, HoldStatus::Committed),
            _ => (HoldStatus::Held, HoldStatus::Released),
        };
        match self.hold {
            None => Err(HoldError::NotFound),
            Some(status) if status == from || status == to => {
                self.hold = Some(to);
                Ok(to)
            }
            Some(status) => Err(HoldError::WrongState(status)),
        }
    }

    fn payment(&mut self, order: &Order, step: Step) -> Result<Intent, PaymentError> {
        if step == Step::CreateIntent {
            if matches!(self.card, Card::RefusedAtCreation) {
                return Err(PaymentError::Refused("no such payment method".to_owned()));
            }
            let intent = self.intent.get_or_insert_with(|| Intent {
                id: "pi_1".to_owned(),
                status: IntentStatus::Unconfirmed,
                amount: order.total,
                captured: Money::new(0, order.total.currency),
                declined: None,
            });
            return Ok(intent.clone());
        }
        let intent = self.intent.as_mut().expect("no call names an intent that was not created");
        assert_eq!(order.payment.reference.as_deref(), Some("pi_1"));
        match (step, intent.status) {
            (Step::Authorize, IntentStatus::Unconfirmed) => match self.card {
                Card::Declined => {
                    intent.declined = Some("card_declined".to_owned());
                    return Err(PaymentError::Declined("card_declined".to_owned()));
                }
                Card::NeedsAction => intent.status = IntentStatus::RequiresAction,
                Card::ProcessingFirst => intent.status = IntentStatus::Processing,
                Card::Good | Card::RefusedAtCreation => intent.status = IntentStatus::Authorized,
            },
            (Step::Capture, IntentStatus::Authorized) => {
                intent.status = IntentStatus::Captured;
                intent.captured = intent.amount;
                self.captures += 1;
            }
            (
                Step::CancelIntent,
                IntentStatus::Captured | IntentStatus::Canceled | IntentStatus::Processing,
            )
            | (Step::Authorize | Step::Capture, _) => {
                return Err(PaymentError::Refused("unexpected state".to_owned()));
            }
            _ => intent.status = IntentStatus::Canceled,
        }
        Ok(intent.clone())
    }

    fn look_up(&mut self) -> Intent {
        let intent = self.intent.as_mut().expect("looked up after it was created");
        let seen = intent.clone();
        // Processing ends by itself.
        if intent.status == IntentStatus::Processing {
            intent.status = IntentStatus::Authorized;
        }
        seen
    }

    fn perform(&mut self, order: &Order, step: Step, luck: Luck) -> Outcome {
        let on_intent = matches!(step, Step::Authorize | Step::Capture | Step::CancelIntent);
        let is_stock = matches!(step, Step::Hold | Step::CommitStock | Step::ReleaseStock);
        if matches!(step, Step::Confirm | Step::Reject) {
            return Outcome::Nothing;
        }
        let unavailable = matches!(luck, Luck::Unavailable);
        if is_stock {
            let done = (!unavailable && !matches!(luck, Luck::LostBefore)).then(|| self.stock(step));
            return Outcome::Stock(match (luck, done) {
                (Luck::LostBefore | Luck::LostAfter, _) => Err(HoldError::OutcomeUnknown),
                (_, Some(done)) => done,
                (_, None) => Err(HoldError::Unavailable {
                    reason: "busy".to_owned(),
                    retry_after: Duration::from_millis(1),
                }),
            });
        }
        let done = (!unavailable && !matches!(luck, Luck::LostBefore)).then(|| self.payment(order, step));
        let answer = match (luck, done) {
            (Luck::LostBefore | Luck::LostAfter, _) => Err(PaymentError::OutcomeUnknown("lost".to_owned())),
            (_, Some(done)) => done,
            (_, None) => Err(PaymentError::Unavailable { reason: "down".to_owned(), retry_after: None }),
        };
        if !on_intent || !needs_look_up(step, &answer) {
            return Outcome::Payment(answer);
        }
        let seen = self.look_up();
        Outcome::Payment(if settles(step, &seen) { Ok(seen) } else { answer })
    }
}

fn card() -> impl Strategy<Value = Card> {
    prop_oneof![
        4 => Just(Card::Good),
        1 => Just(Card::Declined),
        1 => Just(Card::NeedsAction),
        1 => Just(Card::ProcessingFirst),
        1 => Just(Card::RefusedAtCreation),
    ]
}

/// Runs one order to its end. A crash forgets what is not recorded; what is recorded follows the
/// saga's own rule.
fn run(outside: &mut Outside, lucks: Vec<Luck>) -> Order {
    let patience = Patience::default();
    let mut lucks: VecDeque<Luck> = lucks.into();
    let mut now = Timestamp::from_millis(1_750_000_000_000);
    let mut recorded = order();
    let mut working = recorded.clone();
    let (mut attempts, mut since) = (0, now);
    for _ in 0..500 {
        let Some(step) = working.step else { return working };
        let luck = lucks.pop_front().unwrap_or(Luck::Well);
        if matches!(luck, Luck::FallsBefore) {
            working = recorded.clone();
            attempts = 0;
            continue;
        }
        attempts += 1;
        if attempts == 1 {
            since = now;
        }
        let outcome = outside.perform(&working, step, luck);
        if matches!(luck, Luck::FallsAfter) {
            working = recorded.clone();
            attempts = 0;
            continue;
        }
        let attempt = Attempt { number: attempts, since, jitter: 0.5 };
        match decide(&working, step, &outcome, attempt, now, &patience) {
            Decision::Happened(event) => {
                let may_wait = event.is_repeatable();
                apply(&mut working, event, attempts, now).unwrap();
                if !may_wait {
                    recorded = working.clone();
                }
                attempts = 0;
            }
            Decision::Again { pause, note } => {
                now = now.plus(pause);
                if let Some(note) = note {
                    apply(&mut working, note, attempts, now).unwrap();
                    recorded = working.clone();
                }
            }
        }
        if matches!(luck, Luck::LongAfter) {
            now = now.plus(patience.give_up);
        }
    }
    panic!("the order never ended: {working:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn every_order_ends_with_money_and_stock_where_they_should_be(
        in_stock in prop::bool::weighted(0.9),
        card in card(),
        lucks in prop::collection::vec(luck(), 0..40),
    ) {
        let mut outside = Outside { in_stock, card, hold: None, intent: None, captures: 0 };
        let order = run(&mut outside, lucks);
        let money = outside.intent.as_ref().map(|intent| intent.status);
        match order.status {
            OrderStatus::Confirmed => {
                prop_assert_eq!(money, Some(IntentStatus::Captured));
                prop_assert_eq!(outside.captures, 1);
                prop_assert_eq!(outside.hold, Some(HoldStatus::Committed));
                prop_assert_eq!(order.reason, None);
            }
            OrderStatus::Rejected => {
                prop_assert!(order.reason.is_some());
                prop_assert_eq!(outside.captures, 0);
                prop_assert!(matches!(outside.hold, None | Some(HoldStatus::Released)), "{:?}", outside.hold);
                // An intent that was created and whose id was lost holds nothing.
                prop_assert!(
                    matches!(money, None | Some(IntentStatus::Canceled | IntentStatus::Unconfirmed)),
                    "{:?}", money
                );
            }
            other => prop_assert!(false, "ended as {:?}", other),
        }
    }
}
