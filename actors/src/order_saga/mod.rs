//! The order saga: one actor per live order takes it from accepted to confirmed or rejected.
//!
//! Who calls it: HTTP through [`Orders`]; the composition root runs [`Adoption`] and registers
//! [`OrderMails`] with the outbox. What never happens here: money moved for an order that is
//! not in the store, a step undone before the store says that it is being undone, an order left to
//! an owner that died.
//!
//! **Read [`state`] first**: the whole saga is its table. Around it:
//! [`decide`](mod@decide) reads what stock or the payment provider answered and says which events
//! happened; `steps` does the calls; `saga` joins the three and commits; `actor` is the actix shell.
//! [`command`] says what somebody may ask of an order that is there, `commanding` commits that.
//!
//! **Commits.** An order that goes well takes four, each with the events since the last one:
//! 1. accepted (before the client is told);
//! 2. stock held and intent created. They share a commit because doing either again finds the same:
//!    the hold has the order's id, the intent's idempotency key is the order's id. The intent's id
//!    *must* be in the store before it is confirmed, so that whoever takes over looks at the intent
//!    that may hold money and never at another;
//! 3. authorised. From here on the order goes forward unless somebody asks for it to be undone;
//! 4. stock committed, captured, confirmed, and the job that sends the e-mail.
//!
//! [`Event::is_repeatable`] says which events may share the next commit.
//!
//! **Fence.** Every commit replaces the order at the version it was read as. An owner that was
//! thought dead and comes back meets a conflict at its first commit and stops; what it did outside
//! meanwhile carried the same keys and counted once.

mod actor;
mod adoption;
pub mod command;
mod commanding;
mod crash_points;
pub mod decide;
mod event;
mod forgetting;
mod from_outside;
mod hub;
mod mails;
pub mod notice;
mod order;
mod order_event;
mod orders;
mod reading;
mod refund;
mod retry;
mod saga;
pub mod state;
mod status;
mod steps;
mod survey;
mod take_over;
mod timeline;

pub use actor::{Nudge, OrderSaga, SagaStatus, Status};
pub use adoption::{Adoption, Liveness};
pub use command::{CommandRefusal, OrderCommand, RequestRefund, Share};
pub use commanding::{CommandError, RefundRequested, Whose};
pub use crash_points::{CRASH_POINTS, CrashPoints};
pub use decide::Patience;
pub use event::Event;
pub use from_outside::{cancel_from_outside, retry_from_outside};
pub use hub::{Hub, Watched, Watching};
pub use mails::OrderMails;
pub use notice::{Claim, Heed, NOTICES, Notice};
pub use order::{Line, ORDERS, Order, OrderStatus, Payment, PaymentStatus, Reason, Waiting};
pub use order_event::{EventRecord, ORDER_EVENTS, OrderEvent};
pub use orders::{AcceptError, AcceptOrder, Accepted, Orders, OrdersOptions, OrdersParts};
pub use refund::{REFUNDS, Refund, RefundStatus};
pub use retry::RetryError;
pub use state::Step;
pub use survey::{Survey, find_standing, survey, unfinished};
pub use timeline::{EventEntry, Timeline, TimelineEntry, TimelineStatus};

#[cfg(test)]
mod tests;
