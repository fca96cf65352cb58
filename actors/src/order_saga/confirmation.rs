//! The e-mail about a confirmed order: the job, and what does it.

use std::fmt::Write;
use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::crash_points::CrashPoints;
use super::order::{Order, OrderStatus};
use crate::money::Money;
use crate::outbox::{Job, JobError, Performer, Recipient, Recipients};
use crate::providers::{Mail, MailError, Mailer};
use crate::store::{Store, load};
use crate::time::Timestamp;

/// The kind of these jobs.
pub const ORDER_CONFIRMATION: &str = "order_confirmation";

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Payload {
    order_id: String,
}

/// The job that is committed with an order's confirmation. Its id, and the message's, names the
/// effect.
pub(super) fn job(order: &Order, at: Timestamp) -> Job {
    let id = format!("{ORDER_CONFIRMATION}.{}", order.id);
    Job::new(id, ORDER_CONFIRMATION, &Payload { order_id: order.id.clone() }, at)
}

/// Sends the e-mail about a confirmed order to the account's address.
pub struct OrderConfirmation {
    store: Arc<dyn Store>,
    recipients: Arc<dyn Recipients>,
    mailer: Arc<dyn Mailer>,
    crash_points: CrashPoints,
}

impl OrderConfirmation {
    /// Sends through `mailer`.
    pub fn new(
        store: Arc<dyn Store>,
        recipients: Arc<dyn Recipients>,
        mailer: Arc<dyn Mailer>,
        crash_points: CrashPoints,
    ) -> Self {
        Self { store, recipients, mailer, crash_points }
    }
}

#[async_trait]
impl Performer for OrderConfirmation {
    fn kind(&self) -> &'static str {
        ORDER_CONFIRMATION
    }

    fn shown(&self) -> &'static [&'static str] {
        &["orderId"]
    }

    async fn perform(&self, job: &Job) -> Result<(), JobError> {
        let Payload { order_id } = job.payload()?;
        let order = load::<Order>(self.store.as_ref(), &order_id).await?;
        let Some(order) = order.map(|order| order.value) else {
            return Err(JobError::Permanent("there is no such order".to_owned()));
        };
        if matches!(order.status, OrderStatus::Refunding | OrderStatus::Refunded) {
            // It was undone meanwhile: there is nothing to confirm.
            return Ok(());
        }
        let Some(recipient) = self.recipients.address(&order.user_id).await? else {
            return Err(JobError::Permanent("the user has no address".to_owned()));
        };
        self.crash_points.pass("email.before");
        let sent = self.mailer.send(&render(&order, &recipient, job.id())).await;
        self.crash_points.pass("email.after");
        sent.map_err(|error| match error {
            MailError::Temporary(reason) => JobError::Retry { reason, after: None },
            MailError::Permanent(reason) => JobError::Permanent(reason),
        })
    }
}

fn render(order: &Order, recipient: &Recipient, message_id: &str) -> Mail {
    let mut text = format!("Hello {},\n\nyour order {} is confirmed.\n\n", recipient.name, order.id);
    for line in &order.lines {
        // A line's total was summed when the order was accepted.
        let total = line.total().unwrap_or(Money::new(0, order.currency()));
        let _ = writeln!(text, "{} x {} ({}): {total}", line.quantity, line.name, line.sku);
    }
    let _ = write!(text, "\nTotal: {}\n\nThank you.\n", order.total);
    Mail {
        id: message_id.to_owned(),
        to: recipient.email.clone(),
        subject: format!("Your order {} is confirmed", order.id),
        text,
    }
}
