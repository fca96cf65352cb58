//! What a person is worth, in one currency.

use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::{get, web};
use garde::Validate;
use serde::{Deserialize, Serialize};
use steward_actors::accounts::{Accounts, Part};
use steward_actors::rates::Rates;
use utoipa::{IntoParams, ToSchema};
use utoipa_actix_web::service_config::ServiceConfig;

use super::caller::Caller;
use super::problem::Problem;
use super::query::{InPath, PathId, ValidQuery};
use super::values::{Amount, CurrencyCode, Time};

pub(super) fn configure(config: &mut ServiceConfig) {
    config.service(net_worth);
}

/// When to ask again for rates that were never had.
const RATES_SOON: Duration = Duration::from_secs(10);

/// What it is told in.
#[derive(Deserialize, Validate, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Wanted {
    /// ISO 4217
    #[garde(skip)]
    #[param(value_type = String, min_length = 3, max_length = 3, pattern = "^[A-Z]{3}$")]
    currency: CurrencyCode,
}

/// What a person is worth: all accounts that are not hidden, credit and loan balances subtracted.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct NetWorthView {
    user_id: String,
    currency: CurrencyCode,
    /// The sum; null if a part of it could not be converted: nothing is left out of it.
    #[schema(required = true)]
    net_worth: Option<Amount>,
    /// The day that the rates are of; null if none were needed.
    #[schema(required = true, format = Date)]
    rate_date: Option<String>,
    /// As of when the balance is right that was told longest ago; null without accounts.
    #[schema(required = true)]
    as_of: Option<Time>,
    /// The accounts that count.
    accounts: usize,
    /// Those of them that their institution no longer tells of (`missingSince`), counted as they were
    /// told of last: closed, perhaps, or told of by another one now.
    missing_accounts: usize,
    /// The sums of the accounts' own currencies.
    parts: Vec<PartView>,
}

/// What is in one currency.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct PartView {
    currency: CurrencyCode,
    /// Null if it has more digits than an amount can have.
    #[schema(required = true)]
    amount: Option<Amount>,
    /// In the currency that was asked for, rounded half away from zero; null if there is no rate, or
    /// if it has too many digits.
    #[schema(required = true)]
    converted: Option<Amount>,
}

impl PartView {
    fn of(part: Part) -> Self {
        Self {
            currency: part.currency.into(),
            amount: part.amount.map(Amount::from),
            converted: part.converted.map(Amount::from),
        }
    }
}

/// What I am worth in one currency, by the latest reference rates where others have to be converted.
#[utoipa::path(
    tag = "accounts",
    params(("userId" = String, Path), Wanted),
    responses(
        (status = 200, body = NetWorthView),
        (status = 422, description = "No such currency, or accounts in others and no rate for it (`no_rate`)"),
        (status = 503, description = "Rates are needed and were never had (`no_rates`)"),
    ),
    security(("bearer" = [])),
)]
#[get("/users/{userId}/net-worth")]
async fn net_worth(
    caller: Caller,
    user_id: InPath<PathId>,
    wanted: ValidQuery<Wanted>,
    accounts: web::Data<Accounts>,
    rates: web::Data<Rates>,
) -> Result<web::Json<NetWorthView>, Problem> {
    let (user_id, CurrencyCode(currency)) = (user_id.0.0, wanted.0.currency);
    if caller.user_id != user_id {
        return Err(Problem::not_found());
    }
    let worth = accounts.worth(&user_id).await?;
    let table = match worth.needs_rates(currency) {
        false => None,
        true => match rates.latest().await? {
            Some(table) if table.has(currency) => Some(table),
            Some(_) => return Err(Problem::invalid_field("currency", "no_rate", "has no exchange rate")),
            None => {
                let title = "There are no exchange rates yet";
                let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "no_rates", title);
                return Err(problem.retry_after(RATES_SOON));
            }
        },
    };
    let worth = worth.in_currency(currency, table.as_ref());
    Ok(web::Json(NetWorthView {
        user_id,
        currency: currency.into(),
        net_worth: worth.total.map(Amount::from),
        rate_date: table.map(|table| table.date().to_owned()),
        as_of: worth.as_of.map(Time::from),
        accounts: worth.accounts,
        missing_accounts: worth.missing,
        parts: worth.parts.into_iter().map(PartView::of).collect(),
    }))
}
