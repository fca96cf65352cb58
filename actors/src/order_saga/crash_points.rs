//! Named points at which a test can stop the saga: before and after every commit and every call.
//!
//! Who uses it: tests (a closure that panics) and builds that kill the process on purpose. By
//! default passing a point does nothing.

use std::sync::Arc;

use super::state::Step;

/// Every point, in the order in which an order that goes well, then one that is undone, passes
/// them. `X.before` is before the call goes out, `X.after` when its answer is there and not
/// recorded.
pub const CRASH_POINTS: &[&str] = &[
    "accept.before_commit",
    "accept.after_commit",
    "hold.before",
    "hold.after",
    "create_intent.before",
    "create_intent.after",
    "authorize.before",
    "authorize.after",
    "look_up.before",
    "look_up.after",
    "commit_stock.before",
    "commit_stock.after",
    "capture.before",
    "capture.after",
    "cancel_intent.before",
    "cancel_intent.after",
    "refund.before",
    "refund.after",
    "release_stock.before",
    "release_stock.after",
    "command.before_commit",
    "command.after_commit",
    "record.before_commit",
    "record.after_commit",
    "adopt.before_commit",
    "adopt.after_commit",
    "email.before",
    "email.after",
];

type Pass = Arc<dyn Fn(&'static str) + Send + Sync>;

/// What happens at the points. Cheap to clone.
#[derive(Clone, Default)]
pub struct CrashPoints {
    pass: Option<Pass>,
}

impl CrashPoints {
    /// Calls `pass` with the name of each point ([`CRASH_POINTS`]) that is passed, on the thread
    /// that passes it.
    pub fn new(pass: impl Fn(&'static str) + Send + Sync + 'static) -> Self {
        Self { pass: Some(Arc::new(pass)) }
    }

    pub(super) fn pass(&self, point: &'static str) {
        debug_assert!(CRASH_POINTS.contains(&point), "{point} is not listed");
        if let Some(pass) = &self.pass {
            pass(point);
        }
    }

    pub(super) fn before(&self, step: Step) {
        match step {
            Step::Hold => self.pass("hold.before"),
            Step::CreateIntent => self.pass("create_intent.before"),
            Step::Authorize => self.pass("authorize.before"),
            Step::CommitStock => self.pass("commit_stock.before"),
            Step::Capture => self.pass("capture.before"),
            Step::CancelIntent => self.pass("cancel_intent.before"),
            Step::Refund => self.pass("refund.before"),
            Step::ReleaseStock => self.pass("release_stock.before"),
            Step::Confirm | Step::Close => {}
        }
    }

    pub(super) fn after(&self, step: Step) {
        match step {
            Step::Hold => self.pass("hold.after"),
            Step::CreateIntent => self.pass("create_intent.after"),
            Step::Authorize => self.pass("authorize.after"),
            Step::CommitStock => self.pass("commit_stock.after"),
            Step::Capture => self.pass("capture.after"),
            Step::CancelIntent => self.pass("cancel_intent.after"),
            Step::Refund => self.pass("refund.after"),
            Step::ReleaseStock => self.pass("release_stock.after"),
            Step::Confirm | Step::Close => {}
        }
    }
}
