//! The e-mails about orders: the jobs, and what does them.
//!
//! A job is committed with the event that it tells of, and its id, which is also the message's,
//! names that event: so a mail is never missing, and one that goes out twice is the same one.

use std::fmt::Write;
use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::crash_points::CrashPoints;
use super::event::Event;
use super::order::{Order, OrderStatus};
use super::order_event::OrderEvent;
use super::refund::{Refund, RefundStatus};
use crate::money::Money;
use crate::outbox::{Job, JobError, Performer, Recipient, Recipients};
use crate::providers::{Mail, MailError, Mailer};
use crate::store::{Store, load};

/// What a mail tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Occasion {
    Confirmed,
    Shipped,
    Refunded,
}

impl Occasion {
    const ALL: [Self; 3] = [Self::Confirmed, Self::Shipped, Self::Refunded];

    /// The kind of its jobs.
    const fn kind(self) -> &'static str {
        match self {
            Self::Confirmed => "order_confirmation",
            Self::Shipped => "order_shipped",
            Self::Refunded => "order_refunded",
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Payload {
    order_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    refund_id: Option<String>,
}

/// The job that is committed with this event, if there is something to tell.
pub(super) fn job(happened: &OrderEvent) -> Option<Job> {
    let (occasion, refund_id) = match &happened.event {
        Event::Confirmed => (Occasion::Confirmed, None),
        Event::Shipped { .. } => (Occasion::Shipped, None),
        Event::RefundSucceeded { refund_id, .. } => (Occasion::Refunded, Some(refund_id.clone())),
        _ => return None,
    };
    let order_id = happened.order_id.clone();
    let id = format!("{}.{}", occasion.kind(), refund_id.as_ref().unwrap_or(&order_id));
    Some(Job::new(id, occasion.kind(), &Payload { order_id, refund_id }, happened.decided_at))
}

/// Sends mails about orders to the accounts' addresses.
#[derive(Clone)]
pub struct OrderMails {
    store: Arc<dyn Store>,
    recipients: Arc<dyn Recipients>,
    mailer: Arc<dyn Mailer>,
    crash_points: CrashPoints,
}

impl OrderMails {
    /// Sends through `mailer`.
    pub fn new(
        store: Arc<dyn Store>,
        recipients: Arc<dyn Recipients>,
        mailer: Arc<dyn Mailer>,
        crash_points: CrashPoints,
    ) -> Self {
        Self { store, recipients, mailer, crash_points }
    }

    /// What does the jobs, kind by kind.
    pub fn performers(self) -> impl Iterator<Item = Arc<dyn Performer>> {
        let one = move |occasion| Arc::new(OrderMail { occasion, mails: self.clone() }) as Arc<dyn Performer>;
        Occasion::ALL.into_iter().map(one)
    }

    /// The mail; none if there is nothing, or no longer anything, to say.
    async fn mail(&self, occasion: Occasion, job: &Job) -> Result<Option<Mail>, JobError> {
        let gone = |what: &str| JobError::Permanent(format!("there is no such {what}"));
        let Payload { order_id, refund_id } = job.payload()?;
        let order = load::<Order>(self.store.as_ref(), &order_id).await?;
        let order = order.ok_or_else(|| gone("order"))?.value;
        let undone = matches!(order.status, OrderStatus::Refunding | OrderStatus::Refunded);
        if occasion == Occasion::Confirmed && undone {
            return Ok(None);
        }
        // Who has left is told nothing any more.
        let Some(recipient) = self.recipients.address(&order.user_id).await? else { return Ok(None) };
        let (subject, text) = match occasion {
            Occasion::Confirmed => confirmed(&order, &recipient),
            Occasion::Shipped => shipped(&order, &recipient),
            Occasion::Refunded => {
                let refund = load::<Refund>(self.store.as_ref(), &refund_id.unwrap_or_default()).await?;
                let refund = refund.ok_or_else(|| gone("refund"))?.value;
                // It came back before this went out.
                if refund.status == RefundStatus::Failed {
                    return Ok(None);
                }
                refunded(&order, &refund, &recipient)
            }
        };
        Ok(Some(Mail { id: job.id().to_owned(), to: recipient.email, subject, text }))
    }
}

/// Does the jobs of one kind.
struct OrderMail {
    occasion: Occasion,
    mails: OrderMails,
}

#[async_trait]
impl Performer for OrderMail {
    fn kind(&self) -> &'static str {
        self.occasion.kind()
    }

    fn shown(&self) -> &'static [&'static str] {
        &["orderId"]
    }

    async fn perform(&self, job: &Job) -> Result<(), JobError> {
        let Some(mail) = self.mails.mail(self.occasion, job).await? else { return Ok(()) };
        self.mails.crash_points.pass("email.before");
        let sent = self.mails.mailer.send(&mail).await;
        self.mails.crash_points.pass("email.after");
        sent.map_err(|error| match error {
            MailError::Temporary(reason) => JobError::Retry { reason, after: None },
            MailError::Permanent(reason) => JobError::Permanent(reason),
        })
    }
}

fn confirmed(order: &Order, recipient: &Recipient) -> (String, String) {
    let mut text = format!("Hello {},\n\nyour order {} is confirmed.\n\n", recipient.name, order.id);
    for line in &order.lines {
        // A line's total was summed when the order was accepted.
        let total = line.total().unwrap_or(Money::new(0, order.currency()));
        let _ = writeln!(text, "{} x {} ({}): {total}", line.quantity, line.name, line.sku);
    }
    let _ = write!(text, "\nTotal: {}\n\nThank you.\n", order.total);
    (format!("Your order {} is confirmed", order.id), text)
}

fn shipped(order: &Order, recipient: &Recipient) -> (String, String) {
    let mut text = format!("Hello {},\n\nyour order {} is on its way.\n", recipient.name, order.id);
    if let Some(number) = &order.tracking_number {
        let _ = write!(text, "\nThe carrier's number: {number}\n");
    }
    text.push_str("\nThank you.\n");
    (format!("Your order {} is on its way", order.id), text)
}

fn refunded(order: &Order, refund: &Refund, recipient: &Recipient) -> (String, String) {
    let text = format!(
        "Hello {},\n\nwe have given back {} of your order {}, the way that you paid.\n",
        recipient.name, refund.amount, order.id
    );
    (format!("A refund of your order {}", order.id), text)
}
