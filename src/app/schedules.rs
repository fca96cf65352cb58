//! Recurring work, each piece at one replica at a time. Every schedule stands here.

use std::time::Duration;

use std::sync::Arc;
use steward_actors::account_sync;
use steward_actors::cluster::{Clock, StoreClock};
use steward_actors::inventory::Inventory;
use steward_actors::order_saga::{self, Orders};
use steward_actors::outbox::{Schedule, Schedules};
use steward_actors::providers::ExchangeRates;
use steward_actors::rates::Rates;
use steward_actors::seal::Sealer;
use steward_actors::store::Store;
use steward_actors::supervision::{InfrastructureTask, supervise_task};

use super::Parts;
use super::outside::Outside;

/// The span between looks for holds whose time has come. Who reads stock sees exactly what has
/// lapsed anyway; this gives it back when nobody asks.
const SWEEP: Duration = Duration::from_secs(5);
/// Holds that one turn ends.
const SWEPT: usize = 500;

/// The span between looks for new exchange rates, of which there are some once a day.
const RATES: Duration = Duration::from_secs(3600);

/// Starts what recurs.
pub(super) fn start(
    parts: &Parts,
    inventory: &Inventory,
    orders: &Orders,
    outside: &Outside,
    sealer: Arc<dyn Sealer>,
) -> InfrastructureTask {
    let mut schedules = vec![
        hold_sweep(inventory.clone(), parts.clock.clone()),
        stuck_sagas(orders.clone()),
        credential_reseal(parts.store.clone(), sealer),
    ];
    if let Some(publisher) = outside.rates.clone() {
        let rates = Rates::new(parts.store.clone(), parts.clock.clone());
        schedules.push(exchange_rates(rates, publisher));
    }
    let (store, clock) = (parts.store.clone(), parts.clock.clone());
    let schedules = Arc::new(Schedules::new(store, clock, parts.incarnation.clone(), schedules));
    supervise_task(&parts.tree, "schedules", move |stop| {
        let schedules = schedules.clone();
        async move { schedules.run(stop).await }
    })
}

/// A turn that fails is tried again after a second, then after twice as long each time; meanwhile
/// the last good rates serve.
fn exchange_rates(rates: Rates, publisher: Arc<dyn ExchangeRates>) -> Schedule {
    let refresh = Schedule::new("exchange-rates", RATES, move || {
        let (rates, publisher) = (rates.clone(), publisher.clone());
        async move { Ok(rates.refresh(publisher.as_ref()).await?) }
    });
    refresh.at_once()
}

fn hold_sweep(inventory: Inventory, clock: Arc<StoreClock>) -> Schedule {
    Schedule::new("hold-sweep", SWEEP, move || {
        let (inventory, clock) = (inventory.clone(), clock.clone());
        async move {
            inventory.release_expired(clock.now(), SWEPT).await?;
            Ok(())
        }
    })
}

/// Brings credentials of providers under the key that seals now, so that an old one can go.
fn credential_reseal(store: Arc<dyn Store>, sealer: Arc<dyn Sealer>) -> Schedule {
    let reseal = move || {
        let (store, sealer) = (store.clone(), sealer.clone());
        async move {
            let told = account_sync::reseal(store.as_ref(), sealer.as_ref()).await?;
            if told.resealed > 0 {
                tracing::info!(credentials = told.resealed, "sealed with the present key");
            }
            if told.unreadable > 0 {
                tracing::error!(
                    credentials = told.unreadable,
                    "sealed with a key that is not in secrets.key: their users must link again"
                );
            }
            Ok(())
        }
    };
    Schedule::new("credential-reseal", Duration::from_secs(3600), reseal).within(Duration::from_secs(900))
}

/// Says once a minute, in one log, which sagas are stuck; figures say how many on every replica.
fn stuck_sagas(orders: Orders) -> Schedule {
    const NAMED: usize = 10;
    Schedule::new("stuck-sagas", Duration::from_secs(60), move || {
        let orders = orders.clone();
        async move {
            let (stuck, more) = orders.find(order_saga::unfinished(None, None).limit(NAMED), None).await?;
            for order in &stuck {
                let order = &order.value;
                let step = order.step.map_or("none", |step| step.name());
                let since = order.stuck_since.map(|since| since.to_string());
                let reason = order.waiting.as_ref().map(|waiting| waiting.reason.as_str());
                tracing::error!(order = order.id, step, since, reason, "a saga is stuck");
            }
            if more.is_some() {
                tracing::error!("more sagas are stuck; see /v1/admin/sagas");
            }
            Ok(())
        }
    })
}
