//! The pure parts against a simulated outside: whatever it answers, whenever the owner falls or a
//! slow one acts late, whatever is asked of the order meanwhile, it ends, and money and stock are
//! where they should be.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use proptest::prelude::*;

use super::world::order;
use crate::inventory::{HoldError, HoldLine, HoldStatus};
use crate::money::Money;
use crate::order_saga::command::{OrderCommand, RequestRefund, Share, decide_command};
use crate::order_saga::decide::{Attempt, Decision, Outcome, Patience, decide, needs_look_up, settles};
use crate::order_saga::order::{Order, OrderStatus, Reason};
use crate::order_saga::state::{Step, apply};
use crate::providers::{Intent, IntentStatus, PaymentError, ProviderRefund, ProviderRefundStatus};
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
    /// The owner is so slow that the next one takes over; it makes this call later.
    Late,
    /// All goes well, and now the slow ones make their calls.
    LateOnesAct,
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
        1 => Just(Luck::Late),
        1 => Just(Luck::LateOnesAct),
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
    refunds: BTreeMap<String, i64>,
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
            _ => {
                let back = match self.hold {
                    Some(HoldStatus::Committed | HoldStatus::Returned) => HoldStatus::Returned,
                    _ => HoldStatus::Released,
                };
                self.hold = Some(back);
                return Ok(back);
            }
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

    fn give_back(&mut self, id: &str, minor: i64) -> Result<ProviderRefund, PaymentError> {
        let intent = self.intent.as_ref().expect("nothing is refunded of an intent that is not there");
        let given: i64 = self.refunds.iter().filter(|(known, _)| *known != id).map(|(_, minor)| minor).sum();
        if given + minor > intent.captured.minor {
            return Err(PaymentError::Refused("amount_too_large".to_owned()));
        }
        self.refunds.insert(id.to_owned(), minor);
        let amount = Money::new(minor, intent.amount.currency);
        Ok(ProviderRefund { id: format!("re_{id}"), status: ProviderRefundStatus::Succeeded, amount })
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
        if matches!(step, Step::Confirm | Step::Close) {
            return Outcome::Nothing;
        }
        let unavailable = matches!(luck, Luck::Unavailable);
        if step == Step::Refund {
            let Some(due) = order.refunds_due.first() else { return Outcome::Nothing };
            return Outcome::Refund(match luck {
                Luck::Unavailable => {
                    Err(PaymentError::Unavailable { reason: "down".to_owned(), retry_after: None })
                }
                Luck::LostBefore => Err(PaymentError::OutcomeUnknown("lost".to_owned())),
                _ => match (self.give_back(&due.id, due.amount.minor), luck) {
                    (_, Luck::LostAfter) => Err(PaymentError::OutcomeUnknown("lost".to_owned())),
                    (answer, _) => answer,
                },
            });
        }
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

fn ask() -> impl Strategy<Value = OrderCommand> {
    let refund = |share| {
        OrderCommand::Refund(RequestRefund {
            id: String::new(),
            fingerprint: String::new(),
            share,
            reason: None,
        })
    };
    prop_oneof![
        2 => Just(OrderCommand::Cancel { by: Reason::RequestedByCustomer }),
        1 => Just(OrderCommand::Ship { tracking_number: None }),
        1 => Just(OrderCommand::Deliver),
        1 => Just(refund(Share::Rest)),
        2 => (1i64..2500).prop_map(move |minor| refund(Share::Amount(super::world::usd(minor)))),
        2 => (1i64..3).prop_map(move |quantity| {
            refund(Share::Lines(vec![HoldLine { sku: "a".to_owned(), quantity }]))
        }),
    ]
}

/// The store's order, and the owner's idea of it.
struct Run {
    recorded: Order,
    working: Order,
    /// Whether somebody else has changed the order since the owner read it.
    stale: bool,
    attempts: u32,
    /// Calls of slow owners that are still to come.
    late: Vec<(Order, Step)>,
    refused: u32,
}

impl Run {
    fn record(&mut self) {
        if self.stale {
            self.reload();
        } else {
            self.recorded = self.working.clone();
        }
    }

    fn reload(&mut self) {
        (self.working, self.stale, self.attempts) = (self.recorded.clone(), false, 0);
    }

    fn ask(&mut self, mut command: OrderCommand, number: usize, now: Timestamp) {
        if let OrderCommand::Refund(ask) = &mut command {
            ask.id = format!("refund-{number}");
        }
        let Ok(events) = decide_command(&self.recorded, &command, now) else {
            self.refused += 1;
            return;
        };
        for event in events {
            apply(&mut self.recorded, event, 1, now).unwrap();
            self.stale = true;
        }
    }
}

/// Runs one order until nothing is left to do. A crash forgets what is not recorded; what is
/// recorded follows the saga's own rule.
fn run(outside: &mut Outside, lucks: Vec<Luck>, asks: Vec<(usize, OrderCommand)>) -> Order {
    let patience = Patience::default();
    let mut lucks: VecDeque<Luck> = lucks.into();
    let mut now = Timestamp::from_millis(1_750_000_000_000);
    let mut run =
        Run { recorded: order(), working: order(), stale: false, attempts: 0, late: Vec::new(), refused: 0 };
    let mut since = now;
    for turn in 0..500 {
        for (number, (_, ask)) in asks.iter().enumerate().filter(|(_, (at, _))| *at == turn) {
            run.ask(ask.clone(), number, now);
        }
        let Some(step) = run.working.step else {
            run.reload();
            if run.recorded.step.is_none() && asks.iter().all(|(at, _)| *at <= turn) {
                assert!(run.recorded.owner.is_none());
                return run.recorded;
            }
            continue;
        };
        let luck = lucks.pop_front().unwrap_or(Luck::Well);
        match luck {
            Luck::FallsBefore => {
                run.reload();
                continue;
            }
            Luck::Late => {
                run.late.push((run.working.clone(), step));
                run.reload();
                continue;
            }
            Luck::LateOnesAct => {
                for (order, step) in std::mem::take(&mut run.late) {
                    outside.perform(&order, step, Luck::Well);
                }
            }
            _ => {}
        }
        run.attempts += 1;
        if run.attempts == 1 {
            since = now;
        }
        let outcome = outside.perform(&run.working, step, luck);
        if matches!(luck, Luck::FallsAfter) {
            run.reload();
            continue;
        }
        let attempt = Attempt { number: run.attempts, since, jitter: 0.5 };
        match decide(&run.working, step, &outcome, attempt, now, &patience) {
            Decision::Happened(event) => {
                let may_wait = event.is_repeatable();
                apply(&mut run.working, event, run.attempts, now).unwrap();
                run.attempts = 0;
                if !may_wait {
                    run.record();
                }
            }
            Decision::Again { pause, note } => {
                now = now.plus(pause);
                if let Some(note) = note {
                    apply(&mut run.working, note, run.attempts, now).unwrap();
                    run.record();
                }
            }
        }
        if matches!(luck, Luck::LongAfter) {
            now = now.plus(patience.give_up);
        }
    }
    panic!("the order never ended: {:?}", run.working);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn every_order_ends_with_money_and_stock_where_they_should_be(
        in_stock in prop::bool::weighted(0.9),
        card in card(),
        lucks in prop::collection::vec(luck(), 0..40),
        asks in prop::collection::vec((0usize..30, ask()), 0..6),
    ) {
        let mut outside =
            Outside { in_stock, card, hold: None, intent: None, captures: 0, refunds: BTreeMap::new() };
        let order = run(&mut outside, lucks, asks);
        let money = outside.intent.as_ref().map(|intent| intent.status);
        let given_back: i64 = outside.refunds.values().sum();
        prop_assert_eq!(order.payment.refunded, given_back);
        prop_assert!(order.refunds_due.is_empty());
        let units: i64 = order.lines.iter().map(|line| line.refunded).sum();
        prop_assert!(units <= 3);
        match order.status {
            OrderStatus::Confirmed | OrderStatus::Shipped | OrderStatus::Delivered => {
                prop_assert_eq!(money, Some(IntentStatus::Captured));
                prop_assert_eq!(outside.captures, 1);
                prop_assert_eq!(outside.hold, Some(HoldStatus::Committed));
                prop_assert_eq!(order.reason, None);
                prop_assert!(given_back < order.total.minor);
            }
            OrderStatus::Refunded => {
                prop_assert_eq!(outside.captures, 1);
                prop_assert_eq!(given_back, order.total.minor);
                let kept = order.shipped_at.is_some();
                let back = matches!(outside.hold, Some(HoldStatus::Released | HoldStatus::Returned));
                prop_assert!(back != kept, "{:?} {:?}", outside.hold, order.shipped_at);
            }
            OrderStatus::Rejected | OrderStatus::Cancelled => {
                prop_assert!(order.reason.is_some());
                prop_assert_eq!(outside.captures, 0);
                prop_assert!(
                    matches!(outside.hold, None | Some(HoldStatus::Released | HoldStatus::Returned)),
                    "{:?}", outside.hold
                );
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
