//! Words for operators, on orders that are under way, replicas, actors and providers.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use steward_actors::order_saga::OrderStatus;

use crate::app::{ActorsAct, ProvidersAct, SagasAct};

/// `steward sagas …`
#[derive(Debug, Subcommand)]
pub(super) enum Sagas {
    /// Show orders that are not settled; without a status those that are stuck.
    #[command(after_help = "Example:\n  steward sagas list --status payment_authorized --older-than 900")]
    List(SagaList),
    /// Have the next step of orders tried again at once.
    #[command(after_help = "Example:\n  steward sagas retry 0198c0de-7c1f-7000-8000-000000000001")]
    Retry(OrderIds),
    /// Undo orders: money goes back, and stock.
    #[command(after_help = "Example:\n  steward sagas compensate 0198c0de-7c1f-7000-8000-000000000001")]
    Compensate(OrderIds),
}

#[derive(Debug, Args)]
pub(super) struct SagaList {
    /// Orders that stand so, oldest first.
    #[arg(long, value_enum)]
    status: Option<LiveStatus>,
    /// Accepted, or stuck, at least so many seconds ago.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(..=315_360_000))]
    older_than: Option<u64>,
    /// How many at most.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1000))]
    limit: u16,
}

#[derive(Debug, Args)]
pub(super) struct OrderIds {
    /// The ids of orders.
    #[arg(required = true, num_args = 1..=1000, value_name = "ORDER")]
    ids: Vec<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "snake_case")]
enum LiveStatus {
    Pending,
    StockHeld,
    PaymentAuthorized,
    Refunding,
}

impl From<Sagas> for SagasAct {
    fn from(sagas: Sagas) -> Self {
        match sagas {
            Sagas::List(SagaList { status, older_than, limit }) => Self::List {
                status: status.map(|status| match status {
                    LiveStatus::Pending => OrderStatus::Pending,
                    LiveStatus::StockHeld => OrderStatus::StockHeld,
                    LiveStatus::PaymentAuthorized => OrderStatus::PaymentAuthorized,
                    LiveStatus::Refunding => OrderStatus::Refunding,
                }),
                older_than: older_than.map(Duration::from_secs),
                limit: usize::from(limit),
            },
            Sagas::Retry(OrderIds { ids }) => Self::Retry(ids),
            Sagas::Compensate(OrderIds { ids }) => Self::Compensate(ids),
        }
    }
}

/// `steward actors …`
#[derive(Debug, Subcommand)]
pub(super) enum Actors {
    /// Show the actors of the replica that listens on http.bind; STEWARD_TOKEN has a token with
    /// admin:read.
    #[command(after_help = "Example:\n  STEWARD_TOKEN=… steward actors list --kind order-saga")]
    List {
        /// Only those of this kind.
        #[arg(long)]
        kind: Option<String>,
    },
    /// Show one of them.
    #[command(after_help = "Example:\n  STEWARD_TOKEN=… steward actors show inventory SHIRT-1")]
    Show {
        /// inventory, order-saga, account-sync, …
        kind: String,
        /// The SKU, the order's id, the connection's id.
        key: String,
    },
    /// Show what is paused.
    #[command(after_help = "Example:\n  steward actors paused")]
    Paused,
    /// Hold an actor back on every replica; who asks it is told to come back later.
    #[command(after_help = "Example:\n  steward actors pause inventory SHIRT-1 --reason stock-taking")]
    Pause {
        /// Of which kind.
        kind: Pausable,
        /// The SKU, the order's id, the connection's id.
        key: String,
        /// For whoever wonders later.
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Let it work again.
    #[command(after_help = "Example:\n  steward actors resume inventory SHIRT-1")]
    Resume {
        /// Of which kind.
        kind: Pausable,
        /// The SKU, the order's id, the connection's id.
        key: String,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Pausable {
    /// The stock of a SKU.
    Inventory,
    /// An order.
    OrderSaga,
    /// A linked connection.
    AccountSync,
}

impl Pausable {
    const fn name(self) -> &'static str {
        match self {
            Self::Inventory => "inventory",
            Self::OrderSaga => "order-saga",
            Self::AccountSync => "account-sync",
        }
    }
}

/// What is asked of the running replica, or else done in the store.
pub(super) enum ActorsWish {
    Ask(String),
    Do(ActorsAct),
}

impl From<Actors> for ActorsWish {
    fn from(actors: Actors) -> Self {
        let encoded = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        match actors {
            Actors::List { kind: None } => Self::Ask("/v1/admin/actors?limit=100".to_owned()),
            Actors::List { kind: Some(kind) } => {
                Self::Ask(format!("/v1/admin/actors?limit=100&kind={}", encoded(&kind)))
            }
            Actors::Show { kind, key } => {
                Self::Ask(format!("/v1/admin/actors/{}/{}", encoded(&kind), encoded(&key)))
            }
            Actors::Paused => Self::Do(ActorsAct::Paused),
            Actors::Pause { kind, key, reason } => {
                Self::Do(ActorsAct::Pause { kind: kind.name(), key, reason })
            }
            Actors::Resume { kind, key } => Self::Do(ActorsAct::Resume { kind: kind.name(), key }),
        }
    }
}

/// `steward providers …`
#[derive(Debug, Subcommand)]
pub(super) enum Providers {
    /// Show which are held back.
    #[command(after_help = "Example:\n  steward providers list")]
    List,
    /// Let no call out to a provider, on every replica.
    #[command(after_help = "Example:\n  steward providers pause stripe --reason 'double charges'")]
    Pause {
        /// Its name.
        #[arg(value_parser = crate::app::PROVIDERS)]
        name: String,
        /// For whoever wonders later.
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Let calls out again.
    #[command(after_help = "Example:\n  steward providers resume stripe")]
    Resume {
        /// Its name.
        #[arg(value_parser = crate::app::PROVIDERS)]
        name: String,
    },
}

impl From<Providers> for ProvidersAct {
    fn from(providers: Providers) -> Self {
        match providers {
            Providers::List => Self::List,
            Providers::Pause { name, reason } => Self::Pause { name, reason },
            Providers::Resume { name } => Self::Resume { name },
        }
    }
}

/// `steward replicas …`
#[derive(Debug, Subcommand)]
pub(super) enum Replicas {
    /// Show the replicas that the store remembers, newest first.
    #[command(after_help = "Example:\n  steward replicas list")]
    List,
}
