//! The API over real HTTP, against the real binary on port 0: every test over the embedded store
//! and over MongoDB with Redis.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, missing_docs)]

#[path = "../support/mod.rs"]
mod support;

#[path = "../support/peer.rs"]
mod peer;

mod accounts;
mod addresses;
mod backup;
mod bad_input;
mod bank_links;
mod by_mail;
mod catalogue;
mod command_line;
mod credentials;
mod doctor;
mod drain;
mod edge;
mod figures;
mod holds;
mod manual_accounts;
mod operators;
mod order_commands;
mod order_events;
mod order_mails;
mod orders;
mod outage;
mod oversight;
mod ownership;
mod people;
mod permissions;
mod seed;
mod sessions;
mod tokens;
mod tour;
mod traces;
mod transactions;
mod webhooks;

use support::{Backend, DataDir, Replica};

/// A replica of its own for one test.
pub struct App {
    pub replica: Replica,
    pub backend: Backend,
    pub data: DataDir,
}

impl App {
    pub async fn start(backend: Backend) -> Self {
        let data = DataDir::new();
        let replica = Replica::start(&data.path(), &backend, &[]).await;
        Self { replica, backend, data }
    }

    pub fn url(&self) -> &str {
        &self.replica.url
    }
}

/// Makes two tests of each function: one an embedded store, one on MongoDB and Redis.
#[macro_export]
macro_rules! over_both_stores {
    ($($name:ident),+ $(,)?) => {
        mod embedded {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() { super::$name($crate::App::start($crate::support::Backend::Embedded).await).await; })+
        }
        mod cluster {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() { super::$name($crate::App::start($crate::support::Backend::cluster()).await).await; })+
        }
    };
}
