//! Stock that does as told.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::oneshot;

use crate::inventory::{Hold, HoldError, HoldLine, HoldRequest, HoldStatus, Holds};
use crate::supervision::lock;
use crate::time::Timestamp;

/// What a call to stock meets.
#[derive(Clone, Copy, Debug)]
pub(super) enum HoldFault {
    Unavailable,
    ReplyLost,
}

#[derive(Default)]
struct Stock {
    available: BTreeMap<String, i64>,
    holds: HashMap<String, Hold>,
    faults: VecDeque<HoldFault>,
    gate: Option<(oneshot::Sender<()>, oneshot::Receiver<()>)>,
}

/// Stock that does as told.
#[derive(Default)]
pub(super) struct ScriptedHolds {
    stock: Mutex<Stock>,
}

impl ScriptedHolds {
    pub(super) fn set(&self, sku: &str, available: i64) {
        lock(&self.stock).available.insert(sku.to_owned(), available);
    }

    pub(super) fn available(&self, sku: &str) -> i64 {
        lock(&self.stock).available[sku]
    }

    pub(super) fn status(&self, id: &str) -> Option<HoldStatus> {
        lock(&self.stock).holds.get(id).map(|hold| hold.status)
    }

    pub(super) fn script(&self, faults: impl IntoIterator<Item = HoldFault>) {
        lock(&self.stock).faults.extend(faults);
    }

    /// Stops the next call to hold before it counts; what is returned tells that it arrived and
    /// lets it go on.
    pub(super) fn stop_next_hold(&self) -> (oneshot::Receiver<()>, oneshot::Sender<()>) {
        let ((arrive, arrived), (go, going)) = (oneshot::channel(), oneshot::channel());
        lock(&self.stock).gate = Some((arrive, going));
        (arrived, go)
    }

    fn answer(&self, act: impl FnOnce(&mut Stock) -> Result<Hold, HoldError>) -> Result<Hold, HoldError> {
        let mut stock = lock(&self.stock);
        match stock.faults.pop_front() {
            Some(HoldFault::Unavailable) => Err(HoldError::Unavailable {
                reason: "busy".to_owned(),
                retry_after: Duration::from_millis(1),
            }),
            Some(HoldFault::ReplyLost) => {
                let _ = act(&mut stock);
                Err(HoldError::OutcomeUnknown)
            }
            None => act(&mut stock),
        }
    }

    fn end(&self, id: &str, to: HoldStatus) -> Result<Hold, HoldError> {
        self.answer(|stock| {
            let hold = stock.holds.get_mut(id).ok_or(HoldError::NotFound)?;
            match hold.status {
                HoldStatus::Held => {
                    hold.status = to;
                    for HoldLine { sku, quantity } in &hold.lines {
                        if to == HoldStatus::Released {
                            *stock.available.get_mut(sku).unwrap() += quantity;
                        }
                    }
                }
                status if status == to => {}
                status => return Err(HoldError::WrongState(status)),
            }
            Ok(hold.clone())
        })
    }
}

#[async_trait]
impl Holds for ScriptedHolds {
    async fn hold(&self, request: HoldRequest) -> Result<Hold, HoldError> {
        let gate = lock(&self.stock).gate.take();
        if let Some((arrive, going)) = gate {
            let _ = arrive.send(());
            let _ = going.await;
        }
        self.answer(|stock| {
            if let Some(hold) = stock.holds.get(&request.id) {
                return Ok(hold.clone());
            }
            let short = |line: &&HoldLine| {
                stock.available.get(&line.sku).is_none_or(|available| *available < line.quantity)
            };
            let short: Vec<String> =
                request.lines.iter().filter(short).map(|line| line.sku.clone()).collect();
            if !short.is_empty() {
                return Err(HoldError::OutOfStock(short));
            }
            for HoldLine { sku, quantity } in &request.lines {
                *stock.available.get_mut(sku).unwrap() -= quantity;
            }
            let hold = Hold {
                id: request.id.clone(),
                user_id: request.user_id,
                lines: request.lines,
                status: HoldStatus::Held,
                expires_at: None,
                created_at: Timestamp::default(),
                order_id: None,
            };
            stock.holds.insert(request.id, hold.clone());
            Ok(hold)
        })
    }

    async fn commit(&self, id: &str) -> Result<Hold, HoldError> {
        self.end(id, HoldStatus::Committed)
    }

    async fn release(&self, id: &str) -> Result<Hold, HoldError> {
        self.end(id, HoldStatus::Released)
    }

    async fn give_back(&self, request: HoldRequest) -> Result<Hold, HoldError> {
        self.answer(|stock| {
            let HoldRequest { id, user_id, lines, .. } = request;
            let status = HoldStatus::Released;
            let never = Hold {
                id: id.clone(),
                user_id,
                lines,
                status,
                expires_at: None,
                created_at: Timestamp::default(),
                order_id: None,
            };
            let hold = stock.holds.entry(id).or_insert(never);
            let back = match hold.status {
                HoldStatus::Held => HoldStatus::Released,
                HoldStatus::Committed => HoldStatus::Returned,
                HoldStatus::Released | HoldStatus::Returned => return Ok(hold.clone()),
            };
            hold.status = back;
            for HoldLine { sku, quantity } in &hold.lines {
                *stock.available.get_mut(sku).unwrap() += quantity;
            }
            Ok(hold.clone())
        })
    }
}
