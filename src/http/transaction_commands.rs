//! What users do with transactions: write them down, note something, take apart what was merged.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, patch, post, web};
use garde::Validate;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use steward_actors::accounts::{Accounts, Ledger, NewTransaction, Recorded, Transaction, TransactionEdit};
use steward_actors::store::Versioned;
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;

use super::caller::Caller;
use super::etag::{self, IfMatch};
use super::idempotency;
use super::json::{ValidJson, named};
use super::problem::Problem;
use super::query::{InPath, PathId};
use super::transactions::TransactionView;
use super::values::{AmountInput, is_of_our_time, is_one_line, is_text};

pub(super) fn configure(config: &mut ServiceConfig) {
    config.service(record_transaction).service(edit_transaction).service(unmerge_transaction);
}

/// A transaction to write down.
#[derive(Serialize, Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct TransactionInput {
    #[garde(custom(is_of_our_time))]
    #[schema(value_type = String, format = Date)]
    date: Date,
    /// In the account's currency; negative leaves the holder.
    #[garde(skip)]
    amount: AmountInput,
    #[garde(length(chars, min = 1, max = 200), custom(is_one_line))]
    #[schema(min_length = 1, max_length = 200)]
    description: String,
    #[garde(skip)]
    #[serde(default)]
    pending: bool,
    #[garde(inner(length(chars, min = 1, max = 60), custom(is_one_line)))]
    #[schema(min_length = 1, max_length = 60)]
    category: Option<String>,
    #[garde(inner(length(chars, min = 1, max = 500), pattern(r"\S"), custom(is_text)))]
    #[schema(min_length = 1, max_length = 500)]
    note: Option<String>,
}

/// Writes down a transaction on an account that is kept by hand. The account's balance stays what I
/// last said it is.
#[utoipa::path(
    tag = "accounts",
    params(
        ("id" = String, Path),
        ("Idempotency-Key" = Option<String>, Header, description = "The client's name for this command"),
    ),
    request_body = TransactionInput,
    responses(
        (status = 201, body = TransactionView),
        (status = 409, description = "The account is synced from its bank (`synced`)"),
    ),
    security(("bearer" = [])),
)]
#[post("/accounts/{id}/transactions")]
async fn record_transaction(
    caller: Caller,
    id: InPath<PathId>,
    body: ValidJson<TransactionInput>,
    accounts: web::Data<Accounts>,
    ledger: web::Data<Ledger>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let account = accounts.get(&caller.user_id, &id.0.0).await?.ok_or_else(Problem::not_found)?.value;
    let input = body.0;
    let scope = format!("POST /v1/accounts/{}/transactions", account.id);
    let (id, command) = idempotency::optional(&request, &caller.user_id, &scope, &input)?;
    let new = NewTransaction {
        id,
        command,
        date: input.date.to_string(),
        amount: input.amount.in_currency(account.balance.currency, "/amount")?,
        description: input.description,
        pending: input.pending,
        category: input.category,
        note: input.note,
    };
    let Recorded { transaction, replayed } = ledger.record(&caller.user_id, &account.id, new).await?;
    Ok(created(transaction, replayed))
}

fn created(transaction: Versioned<Transaction>, replayed: bool) -> HttpResponse {
    let location = format!("/v1/transactions/{}", transaction.value.id);
    idempotency::respond(StatusCode::CREATED, location, replayed)
        .insert_header(etag::tag(transaction.version))
        .json(TransactionView::from(transaction.value))
}

/// What is to change. Only what is named changes; null clears.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct TransactionChange {
    #[garde(inner(inner(length(chars, min = 1, max = 60), custom(is_one_line))))]
    #[serde(default, deserialize_with = "named")]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 60)]
    category: Option<Option<String>>,
    #[garde(inner(inner(length(chars, min = 1, max = 500), pattern(r"\S"), custom(is_text))))]
    #[serde(default, deserialize_with = "named")]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 500)]
    note: Option<Option<String>>,
}

/// Changes my category and note; no sync touches them.
#[utoipa::path(
    tag = "accounts",
    params(("id" = String, Path)),
    request_body = TransactionChange,
    responses(
        (status = 200, body = TransactionView),
        (status = 412, description = "The transaction has changed meanwhile"),
    ),
    security(("bearer" = [])),
)]
#[patch("/transactions/{id}")]
async fn edit_transaction(
    caller: Caller,
    id: InPath<PathId>,
    based_on: IfMatch,
    body: ValidJson<TransactionChange>,
    ledger: web::Data<Ledger>,
) -> Result<HttpResponse, Problem> {
    let edit = TransactionEdit { category: body.0.category, note: body.0.note };
    let changed = ledger.edit(&caller.user_id, &id.0.0, based_on.0, &edit).await?;
    Ok(etag::changed(etag::tag(changed.version), &TransactionView::from(changed.value)))
}

/// Takes the last telling that was merged into this transaction out of it, as one of its own. They
/// are never merged again. A pending one of which the bank does not tell any more goes after some days.
#[utoipa::path(
    tag = "accounts",
    params(("id" = String, Path)),
    responses(
        (status = 201, body = TransactionView, description = "The one that was taken out"),
        (status = 409, description = "Nothing was merged into it (`nothing_merged`), or the bank tells of \
            another transaction under the id of what was merged (`former_is_back`)"),
        (status = 412, description = "The transaction has changed meanwhile"),
    ),
    security(("bearer" = [])),
)]
#[post("/transactions/{id}/unmerge")]
async fn unmerge_transaction(
    caller: Caller,
    id: InPath<PathId>,
    based_on: IfMatch,
    ledger: web::Data<Ledger>,
) -> Result<HttpResponse, Problem> {
    let apart = ledger.unmerge(&caller.user_id, &id.0.0, based_on.0).await?;
    Ok(created(apart, false))
}
