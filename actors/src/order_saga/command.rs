//! What somebody may ask of an order that is there, and what follows. Pure.

use super::event::Event;
use super::order::{Order, OrderStatus, Reason};
use super::refund::{MOST_ASKED, MOST_DUE, Refund, RefundStatus};
use crate::audit::Act;
use crate::inventory::HoldLine;
use crate::money::{AmountError, Money};
use crate::providers::NotChargeable;
use crate::time::Timestamp;

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OrderCommand {
    /// To undo it: before money was taken it ends as cancelled, before it was shipped as refunded,
    /// with its stock given back.
    Cancel {
        /// By whom: [`Reason::RequestedByCustomer`] or [`Reason::RequestedByShop`].
        by: Reason,
    },
    /// To record that it is on its way.
    Ship {
        /// The carrier's number.
        tracking_number: Option<String>,
    },
    /// To record that it arrived.
    Deliver,
    /// To give money back.
    Refund(RequestRefund),
}

impl OrderCommand {
    /// What the audit log calls it.
    pub(super) const fn act(&self) -> Act {
        match self {
            Self::Cancel { .. } => "order.cancel",
            Self::Ship { .. } => "order.ship",
            Self::Deliver => "order.deliver",
            Self::Refund(_) => "order.refund",
        }
    }
}

/// Asks for a refund.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestRefund {
    /// The refund's id: the same for the same command of the same user.
    pub id: String,
    /// A digest of the client's body: another one with the same id is refused.
    pub fingerprint: String,
    /// How much.
    pub share: Share,
    /// Why.
    pub reason: Option<String>,
}

/// How much of an order is given back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Share {
    /// All that is left.
    Rest,
    /// So much; positive.
    Amount(Money),
    /// The price of these units, at least 1 of each line; no SKU twice.
    Lines(Vec<HoldLine>),
}

/// Why a command is refused. Each was decided on what a read begun after the command arrived has
/// shown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandRefusal {
    /// The order is past that, or not there yet.
    #[error("the order is {}", .status.name())]
    WrongState {
        /// Where it stands.
        status: OrderStatus,
        /// What may follow.
        next: Vec<OrderStatus>,
    },
    /// More would be given back than was taken.
    #[error("{left} is left to refund")]
    TooMuch {
        /// What is left.
        left: Money,
    },
    /// The amount is in another currency, or the lines have no sum.
    #[error("the amount {0}")]
    Amount(#[from] AmountError),
    /// The order has no such line, or fewer units of it that were not refunded.
    #[error("line {line} has {left} units left to refund")]
    NoSuchUnits {
        /// Which of the lines that were named.
        line: usize,
        /// What is left.
        left: i64,
    },
    /// Nothing was paid for the units, so there is nothing to give back.
    #[error("the units were free")]
    NothingPaid,
    /// The payment provider cannot give back just so much.
    #[error("the refund {why}")]
    NotRefundable {
        /// Whether lines were named, not an amount.
        of_lines: bool,
        /// Why.
        why: NotChargeable,
    },
    /// As many refunds as may are under way.
    #[error("{MOST_DUE} refunds of the order are under way")]
    TooManyDue,
    /// As many refunds as may were asked for.
    #[error("{MOST_ASKED} refunds of the order were asked for")]
    TooManyAsked,
}

/// The events that follow from `command`; none if what it asks for has happened, or been asked
/// for, already.
///
/// # Errors
/// [`CommandRefusal`].
pub fn decide_command(
    order: &Order,
    command: &OrderCommand,
    now: Timestamp,
) -> Result<Vec<Event>, CommandRefusal> {
    use OrderStatus as S;
    let wrong = || {
        let next = order.status.next_states();
        // What is being undone ends in one of these, and nowhere else.
        let undone = |s: &&S| {
            order.reason.is_none() || matches!(s, S::Rejected | S::Cancelled | S::Refunding | S::Refunded)
        };
        let next = next.iter().filter(undone).copied().collect();
        Err(CommandRefusal::WrongState { status: order.status, next })
    };
    match (command, order.status) {
        (OrderCommand::Cancel { .. }, _) if order.reason.is_some_and(Reason::is_request) => Ok(Vec::new()),
        (OrderCommand::Cancel { by }, S::Pending | S::StockHeld | S::PaymentAuthorized | S::Confirmed)
            if order.reason.is_none() =>
        {
            Ok(vec![Event::CancelRequested { reason: *by }])
        }
        (OrderCommand::Ship { tracking_number }, S::Confirmed) => {
            Ok(vec![Event::Shipped { tracking_number: tracking_number.clone() }])
        }
        (OrderCommand::Ship { tracking_number }, S::Shipped) if *tracking_number == order.tracking_number => {
            Ok(Vec::new())
        }
        (OrderCommand::Deliver, S::Shipped) => Ok(vec![Event::Delivered]),
        (OrderCommand::Deliver, S::Delivered) => Ok(Vec::new()),
        (OrderCommand::Refund(ask), S::Confirmed | S::Shipped | S::Delivered) => {
            let refund = Box::new(refund(order, ask, now)?);
            Ok(vec![Event::RefundRequested { refund }])
        }
        _ => wrong(),
    }
}

fn refund(order: &Order, ask: &RequestRefund, now: Timestamp) -> Result<Refund, CommandRefusal> {
    let left = order.left_to_refund();
    let (amount, lines) = match &ask.share {
        Share::Rest => (left, None),
        Share::Amount(amount) if amount.currency != left.currency => {
            return Err(AmountError::OtherCurrency.into());
        }
        Share::Amount(amount) => (*amount, None),
        Share::Lines(lines) => (price(order, lines)?, Some(lines.clone())),
    };
    if !(1..=left.minor).contains(&amount.minor) {
        return Err(CommandRefusal::TooMuch { left });
    }
    if order.refunds_due.len() >= MOST_DUE {
        return Err(CommandRefusal::TooManyDue);
    }
    if order.payment.asked_back >= MOST_ASKED {
        return Err(CommandRefusal::TooManyAsked);
    }
    Ok(Refund {
        id: ask.id.clone(),
        order_id: order.id.clone(),
        amount,
        lines,
        reason: ask.reason.clone(),
        status: RefundStatus::Pending,
        fingerprint: ask.fingerprint.clone(),
        reference: None,
        failure: None,
        created_at: now,
        updated_at: now,
    })
}

/// What these units cost.
fn price(order: &Order, units: &[HoldLine]) -> Result<Money, CommandRefusal> {
    let mut sum = Money::new(0, order.currency());
    for (n, wanted) in units.iter().enumerate() {
        let line = order.lines.iter().find(|line| line.sku == wanted.sku);
        let left = line.map_or(0, |line| line.quantity - line.refunded);
        match line {
            Some(line) if (1..=left).contains(&wanted.quantity) => {
                sum = sum.plus(line.unit_price.times(wanted.quantity)?)?;
            }
            _ => return Err(CommandRefusal::NoSuchUnits { line: n, left }),
        }
    }
    if sum.minor == 0 { Err(CommandRefusal::NothingPaid) } else { Ok(sum) }
}
