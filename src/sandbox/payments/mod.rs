//! The payments face: the part of [Stripe's API](https://docs.stripe.com/api/payment_intents) that
//! orders need, with Stripe's test payment methods and some that misbehave.
//!
//! | payment method | what it does |
//! |---|---|
//! | `pm_card_visa` | succeeds |
//! | `pm_card_chargeDeclined` | 402 `card_declined` at confirmation |
//! | `pm_card_authenticationRequired` | `requires_action` at confirmation |
//! | `pm_card_slow` | confirm, capture and refund count at once and are answered late |
//! | `pm_card_flaky` | confirm, capture, cancel and refund each answer 500 twice, without effect, then work |
//! | `pm_card_lost_reply` | confirm, capture and refund count once and the connection closes unanswered |
//! | `pm_card_broken_reply` | the same, answered with a 500 that is kept for the key |

mod decide;
mod form;
mod intent;
mod keyed;
mod refund;
mod routes;

pub(super) use intent::{INTENTS, Intent};
pub(super) use keyed::KEPT_ANSWERS;
pub(super) use refund::REFUNDS;
pub(super) use routes::{charge, fail_refunds, routes};
