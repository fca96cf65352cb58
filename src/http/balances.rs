//! The history of an account's balance.

use actix_web::{HttpRequest, HttpResponse, get, web};
use garde::Validate;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use steward_actors::accounts::{Accounts, DayBalance};
use utoipa::{IntoParams, ToSchema};
use utoipa_actix_web::service_config::ServiceConfig;

use super::caller::Caller;
use super::page::{Binding, CursorText, Limit, Listed};
use super::problem::Problem;
use super::query::{InPath, PathId, ValidQuery};
use super::values::{Amount, CurrencyCode, Time};

pub(super) fn configure(config: &mut ServiceConfig) {
    config.service(list_balances);
}

/// The balance of one day.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct DayBalanceView {
    account_id: String,
    /// The day in UTC.
    #[schema(format = Date)]
    date: String,
    /// Of credit and loan accounts, positive is owed.
    balance: Amount,
    currency: CurrencyCode,
    /// As of when it was right: the latest point of the day that was told of.
    as_of: Time,
}

impl DayBalanceView {
    pub(super) fn of(day: DayBalance) -> Self {
        Self {
            account_id: day.account_id,
            date: day.date,
            currency: day.balance.currency.into(),
            balance: day.balance.into(),
            as_of: day.as_of.into(),
        }
    }
}

/// What narrows the history.
#[derive(Deserialize, Validate, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct BalanceFilter {
    /// The first day.
    #[garde(skip)]
    #[param(value_type = Option<String>, format = Date)]
    from: Option<Date>,
    /// The last day.
    #[garde(skip)]
    #[param(value_type = Option<String>, format = Date)]
    to: Option<Date>,
    #[serde(default)]
    #[garde(skip)]
    #[param(inline)]
    limit: Limit,
    #[garde(skip)]
    #[param(inline)]
    cursor: Option<CursorText>,
}

/// The balances of one of my accounts by day, newest first. A day of which nothing was told has none:
/// the one before still stood.
#[utoipa::path(
    tag = "accounts",
    params(("id" = String, Path), BalanceFilter),
    responses((status = 200, body = Listed<DayBalanceView>)),
    security(("bearer" = [])),
)]
#[get("/accounts/{id}/balances")]
async fn list_balances(
    caller: Caller,
    id: InPath<PathId>,
    filter: ValidQuery<BalanceFilter>,
    accounts: web::Data<Accounts>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let (id, filter) = (id.0.0, filter.0);
    accounts.get(&caller.user_id, &id).await?.ok_or_else(Problem::not_found)?;
    let days = (filter.from.map(|day| day.to_string()), filter.to.map(|day| day.to_string()));
    let binding = Binding::new("balances", &(&caller.user_id, &id, &days));
    let after = binding.after(filter.cursor.as_deref())?;
    let between = (days.0.as_deref(), days.1.as_deref());
    let (found, next) = accounts.balances(&id, between, filter.limit.get(), after).await?;
    let found = found.into_iter().map(|day| DayBalanceView::of(day.value)).collect();
    Ok(Listed::new(found, next.as_ref(), &binding).respond(&request))
}
