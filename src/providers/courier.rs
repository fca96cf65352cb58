//! Requests to one provider of account data, within its budget.

use std::time::Duration;

use reqwest::{RequestBuilder, Response};
use steward_actors::providers::Budget;

use super::http;

/// Takes requests to one provider.
#[derive(Clone)]
pub struct Courier {
    provider: &'static str,
    budget: Option<Budget>,
}

/// A request that brought no answer.
pub(super) enum Unsent {
    /// It was not sent: the provider was asked as often as may be. Ask again after this.
    Held(Duration),
    /// It was sent, or tried to.
    Lost(reqwest::Error),
}

impl Courier {
    /// One that holds nothing back from what figures call `provider`.
    pub fn free(provider: &'static str) -> Self {
        Self { provider, budget: None }
    }

    /// One that keeps within this budget, which names the provider.
    pub fn within(budget: Budget) -> Self {
        Self { provider: budget.provider(), budget: Some(budget) }
    }

    /// Sends a request as `call`, and waits as long as `patience` for the budget.
    pub(super) async fn send(
        &self,
        call: &'static str,
        request: RequestBuilder,
        patience: Duration,
    ) -> Result<Response, Unsent> {
        if let Some(budget) = &self.budget {
            budget.wait(patience).await.map_err(Unsent::Held)?;
        }
        http::send(self.provider, call, request).await.map_err(Unsent::Lost)
    }
}
