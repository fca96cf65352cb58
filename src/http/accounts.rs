//! Accounts, linked and kept by hand.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, delete, get, patch, post, web};
use garde::Validate;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use steward_actors::accounts::{
    Account, AccountEdit, AccountType, Accounts, Details, ExactDecimal, Holding, MadeAccount, NewAccount,
};
use steward_actors::money::Money;
use steward_actors::store::Versioned;
use utoipa::{IntoParams, ToSchema};
use utoipa_actix_web::service_config::ServiceConfig;

use super::account_input::{AccountChange, AccountInput, TypeInput};
use super::caller::Caller;
use super::etag::{self, IfMatch};
use super::idempotency;
use super::json::ValidJson;
use super::page::{Binding, CursorText, Limit, Listed, link_next};
use super::problem::Problem;
use super::query::{InPath, PathId, ValidQuery};
use super::values::{Amount, CurrencyCode, Time};

pub(super) fn configure(config: &mut ServiceConfig) {
    config
        .service(user_accounts)
        .service(list_accounts)
        .service(create_account)
        .service(get_account)
        .service(change_account)
        .service(delete_account);
}

/// An account.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct AccountView {
    id: String,
    user_id: String,
    /// The connection it is synced by; null for one kept by hand.
    #[schema(required = true)]
    connection_id: Option<String>,
    /// `checking`, `savings`, `credit`, `loan` or `investment`.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The institution.
    provider: String,
    account_name: String,
    hidden: bool,
    /// Of credit and loan accounts, positive is owed.
    balance: Amount,
    currency: CurrencyCode,
    /// When this account last changed here.
    last_updated: Time,
    /// As of when the balance is right, by the institution's word.
    balance_as_of: Time,
    /// Since when the institution no longer tells of it, by whole statements; absent while it does. The
    /// account stays as it was told of last, and counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    missing_since: Option<Time>,
    /// checking {overdraftProtection, routingNumber}; savings {apy}; credit {creditLimit,
    /// availableCredit, apr, dueDate}; loan {principal, interestRate, remainingTermMonths};
    /// investment {holdings: [{symbol, quantity, price}]}. Null is what the institution does not say.
    #[schema(value_type = Object)]
    details: Value,
}

impl AccountView {
    pub(super) fn of(account: Account) -> Self {
        Self {
            kind: account.account_type().name(),
            account_name: account.name().to_owned(),
            details: details(&account.details),
            id: account.id,
            user_id: account.user_id,
            connection_id: account.connection_id,
            provider: account.provider,
            hidden: account.hidden,
            balance: account.balance.into(),
            currency: account.balance.currency.into(),
            last_updated: account.last_updated.into(),
            balance_as_of: account.balance_as_of.into(),
            missing_since: account.missing_since.map(Time::from),
        }
    }
}

fn details(details: &Details) -> Value {
    let number = |amount: &Option<Money>| amount.map(Money::to_number);
    let decimal = |rate: &Option<ExactDecimal>| rate.map(ExactDecimal::to_number);
    match details {
        Details::Checking { overdraft_protection, routing_number } => {
            json!({"overdraftProtection": overdraft_protection, "routingNumber": routing_number})
        }
        Details::Savings { apy } => json!({"apy": decimal(apy)}),
        Details::Credit { credit_limit, available_credit, apr, due_date } => json!({
            "creditLimit": number(credit_limit),
            "availableCredit": number(available_credit),
            "apr": decimal(apr),
            "dueDate": due_date,
        }),
        Details::Loan { principal, interest_rate, remaining_term_months } => json!({
            "principal": number(principal),
            "interestRate": decimal(interest_rate),
            "remainingTermMonths": remaining_term_months,
        }),
        Details::Investment { holdings } => {
            let holding = |holding: &Holding| {
                json!({
                    "symbol": holding.symbol,
                    "quantity": holding.quantity.to_number(),
                    "price": holding.price.to_number(),
                })
            };
            json!({"holdings": holdings.iter().map(holding).collect::<Vec<_>>()})
        }
    }
}

fn all() -> Limit {
    Limit::of(Limit::MAX)
}

/// What narrows the list of a user's accounts.
#[derive(Deserialize, Validate, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct UserAccountFilter {
    #[garde(skip)]
    #[param(inline)]
    r#type: Option<TypeInput>,
    #[serde(default = "all")]
    #[garde(skip)]
    #[param(inline)]
    limit: Limit,
    #[garde(skip)]
    #[param(inline)]
    cursor: Option<CursorText>,
}

/// What narrows the list.
#[derive(Deserialize, Validate, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct AccountFilter {
    #[garde(skip)]
    #[param(inline)]
    r#type: Option<TypeInput>,
    #[serde(default)]
    #[garde(skip)]
    #[param(inline)]
    limit: Limit,
    #[garde(skip)]
    #[param(inline)]
    cursor: Option<CursorText>,
}

/// The accounts of a user.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct UserAccounts {
    user_id: String,
    accounts: Vec<AccountView>,
    #[schema(required = true)]
    next_cursor: Option<String>,
}

async fn page(
    accounts: &Accounts,
    user_id: &str,
    kind: Option<TypeInput>,
    limit: Limit,
    cursor: Option<&str>,
) -> Result<Listed<AccountView>, Problem> {
    let binding = Binding::new("accounts", &(user_id, kind));
    let after = binding.after(cursor)?;
    let (found, next) = accounts.page(user_id, kind.map(AccountType::from), limit.get(), after).await?;
    let found = found.into_iter().map(|account| AccountView::of(account.value)).collect();
    Ok(Listed::new(found, next.as_ref(), &binding))
}

/// A user's accounts, hidden ones included. As the last change left them: at once through the replica
/// that made it, within a second through others.
#[utoipa::path(
    tag = "accounts",
    params(("userId" = String, Path), UserAccountFilter),
    responses((status = 200, body = UserAccounts)),
    security(("bearer" = [])),
)]
#[get("/users/{userId}/accounts")]
async fn user_accounts(
    caller: Caller,
    user_id: InPath<PathId>,
    filter: ValidQuery<UserAccountFilter>,
    accounts: web::Data<Accounts>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let (user_id, filter) = (user_id.0.0, filter.0);
    caller.require_self_or(&user_id, "accounts:read")?;
    let listed = page(&accounts, &user_id, filter.r#type, filter.limit, filter.cursor.as_deref()).await?;
    let mut response = HttpResponse::Ok();
    link_next(&mut response, &request, listed.next_cursor.as_deref());
    Ok(response.json(UserAccounts { user_id, accounts: listed.items, next_cursor: listed.next_cursor }))
}

/// My accounts.
#[utoipa::path(
    tag = "accounts",
    params(AccountFilter),
    responses((status = 200, body = Listed<AccountView>)),
    security(("bearer" = [])),
)]
#[get("/accounts")]
async fn list_accounts(
    caller: Caller,
    filter: ValidQuery<AccountFilter>,
    accounts: web::Data<Accounts>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let filter = filter.0;
    let listed =
        page(&accounts, &caller.user_id, filter.r#type, filter.limit, filter.cursor.as_deref()).await?;
    Ok(listed.respond(&request))
}

/// One of my accounts.
#[utoipa::path(
    tag = "accounts",
    params(("id" = String, Path)),
    responses((status = 200, body = AccountView)),
    security(("bearer" = [])),
)]
#[get("/accounts/{id}")]
async fn get_account(
    caller: Caller,
    id: InPath<PathId>,
    accounts: web::Data<Accounts>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let found = accounts.get(&caller.user_id, &id.0.0).await?.ok_or_else(Problem::not_found)?;
    let Versioned { value: account, version } = found;
    Ok(etag::versioned(&request, etag::tag(version), &AccountView::of(account)))
}

/// Makes an account that is kept by hand. Its balance is what I say it is: writing down a transaction
/// does not change it.
#[utoipa::path(
    tag = "accounts",
    params(("Idempotency-Key" = Option<String>, Header, description = "The client's name for this command")),
    request_body = AccountInput,
    responses(
        (status = 201, body = AccountView),
        (status = 409, description = "There are 1,000 already (`too_many_accounts`)"),
    ),
    security(("bearer" = [])),
)]
#[post("/accounts")]
async fn create_account(
    caller: Caller,
    body: ValidJson<AccountInput>,
    accounts: web::Data<Accounts>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let input = body.0;
    let (id, command) = idempotency::optional(&request, &caller.user_id, "POST /v1/accounts", &input)?;
    let currency = input.currency.0;
    let new = NewAccount {
        id,
        command,
        user_id: caller.user_id.clone(),
        provider: input.provider.map_or_else(|| "Manual".to_owned(), |name| name.trim().to_owned()),
        name: input.account_name,
        hidden: input.hidden,
        kind: input.r#type.into(),
        balance: input.balance.in_currency(currency, "/balance")?,
        details: input.details.in_currency(currency)?,
    };
    let MadeAccount { account, replayed } = accounts.create(new).await?;
    let location = format!("/v1/accounts/{}", account.value.id);
    Ok(idempotency::respond(StatusCode::CREATED, location, replayed)
        .insert_header(etag::tag(account.version))
        .json(AccountView::of(account.value)))
}

/// Changes one of my accounts.
#[utoipa::path(
    tag = "accounts",
    params(("id" = String, Path), ("If-Match" = Option<String>, Header, description = "The ETag it is based on")),
    request_body = AccountChange,
    responses(
        (status = 200, body = AccountView),
        (status = 409, description = "It is synced, and takes accountName and hidden only (`synced`)"),
        (status = 412, description = "It has changed since (`precondition_failed`)"),
    ),
    security(("bearer" = [])),
)]
#[patch("/accounts/{id}")]
async fn change_account(
    caller: Caller,
    id: InPath<PathId>,
    based_on: IfMatch,
    body: ValidJson<AccountChange>,
    accounts: web::Data<Accounts>,
) -> Result<HttpResponse, Problem> {
    let (id, change) = (id.0.0, body.0);
    let found = accounts.get(&caller.user_id, &id).await?.ok_or_else(Problem::not_found)?;
    // Of an account kept by hand the currency stays, and of another one only its being synced counts.
    let by_hand = change.by_hand(found.value.balance.currency)?;
    let edit = AccountEdit { account_name: change.account_name, hidden: change.hidden, by_hand };
    let changed = accounts.edit(&caller.user_id, &id, based_on.0, &edit).await?;
    Ok(etag::changed(etag::tag(changed.version), &AccountView::of(changed.value)))
}

/// Deletes one of my accounts that is kept by hand, with its transactions and the history of its
/// balance. A synced one goes with its connection.
#[utoipa::path(
    tag = "accounts",
    params(("id" = String, Path), ("If-Match" = Option<String>, Header, description = "The ETag it is based on")),
    responses(
        (status = 204, description = "It is gone"),
        (status = 409, description = "It is synced from its bank (`synced`)"),
        (status = 412, description = "It has changed since (`precondition_failed`)"),
    ),
    security(("bearer" = [])),
)]
#[delete("/accounts/{id}")]
async fn delete_account(
    caller: Caller,
    id: InPath<PathId>,
    based_on: IfMatch,
    accounts: web::Data<Accounts>,
) -> Result<HttpResponse, Problem> {
    accounts.delete(&caller.user_id, &id.0.0, based_on.0).await?;
    Ok(HttpResponse::NoContent().finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_says_since_when_its_institution_tells_of_it_no_more() {
        let shown = |missing_since: Value| {
            let account = json!({
                "id": "a1", "userId": "u1", "provider": "Bank", "providerName": "Checking", "hidden": false,
                "balance": {"minor": 1, "currency": "USD"}, "balanceAsOf": 0, "lastUpdated": 0,
                "missingSince": missing_since, "type": "checking", "details": {},
            });
            json!(AccountView::of(serde_json::from_value(account).unwrap()))
        };
        assert_eq!(shown(json!(0))["missingSince"], shown(json!(0))["balanceAsOf"]);
        assert!(shown(Value::Null).get("missingSince").is_none());
    }
}
