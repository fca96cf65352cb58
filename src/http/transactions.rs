//! Transactions of accounts: how they are listed and shown.

use actix_web::{HttpRequest, HttpResponse, get, web};
use garde::Validate;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use steward_actors::accounts::{
    Accounts, ExactDecimal, Ledger, MergeRule, MergedFrom, Transaction, TransactionFilter,
};
use steward_actors::store::Versioned;
use utoipa::{IntoParams, ToSchema};
use utoipa_actix_web::service_config::ServiceConfig;

use super::caller::Caller;
use super::etag;
use super::page::{Binding, CursorText, Limit, Listed};
use super::problem::Problem;
use super::query::{InPath, PathId, ValidQuery};
use super::values::{Amount, CurrencyCode, Time};

pub(super) fn configure(config: &mut ServiceConfig) {
    config.service(list_transactions).service(list_account_transactions).service(get_transaction);
}

/// A transaction.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct TransactionView {
    id: String,
    account_id: String,
    /// `YYYY-MM-DD`: of the booking, or of the payment while it is pending.
    #[schema(format = Date)]
    date: String,
    /// Negative leaves the holder.
    amount: Amount,
    currency: CurrencyCode,
    description: String,
    pending: bool,
    #[schema(required = true)]
    category: Option<String>,
    #[schema(required = true)]
    note: Option<String>,
    /// Former tellings of the bank that were taken for this transaction, the latest last.
    merged_from: Vec<MergedFromView>,
}

/// A former telling of a transaction.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct MergedFromView {
    /// The bank's id for it.
    external_id: String,
    #[schema(format = Date)]
    date: String,
    /// In the transaction's currency; null if it is not known, as for some that were merged long ago.
    #[schema(required = true)]
    amount: Option<Amount>,
    description: String,
    pending: bool,
    /// `pending_posted`: a pending one vanished and one of the same amount was booked within some
    /// days. `same_under_another_id`: same day, amount and description. `named_by_provider`: the bank
    /// says which pending one was booked as this. `tip_added`: a pending one vanished, and the only one
    /// of like description was booked within 5 days for up to 30 % more.
    rule: &'static str,
    /// When they were merged.
    at: Time,
}

impl From<MergedFrom> for MergedFromView {
    fn from(from: MergedFrom) -> Self {
        Self {
            external_id: from.external_id,
            date: from.date,
            amount: from.amount.map(Amount::from),
            description: from.description,
            pending: from.pending,
            rule: match from.rule {
                MergeRule::PendingPosted => "pending_posted",
                MergeRule::SameUnderAnotherId => "same_under_another_id",
                MergeRule::NamedByProvider => "named_by_provider",
                MergeRule::TipAdded => "tip_added",
            },
            at: from.at.into(),
        }
    }
}

impl From<Transaction> for TransactionView {
    fn from(transaction: Transaction) -> Self {
        Self {
            id: transaction.id,
            account_id: transaction.account_id,
            date: transaction.date,
            amount: transaction.amount.into(),
            currency: transaction.amount.currency.into(),
            description: transaction.description,
            pending: transaction.pending,
            category: transaction.category,
            note: transaction.note,
            merged_from: transaction.merged_from.into_iter().map(MergedFromView::from).collect(),
        }
    }
}

/// What narrows the list of my transactions.
#[derive(Deserialize, Validate, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct MyTransactionFilter {
    #[garde(skip)]
    #[param(value_type = Option<String>)]
    account_id: Option<PathId>,
    /// The first day.
    #[garde(skip)]
    #[param(value_type = Option<String>, format = Date)]
    from: Option<Date>,
    /// The last day.
    #[garde(skip)]
    #[param(value_type = Option<String>, format = Date)]
    to: Option<Date>,
    /// Each word begins a word of the description.
    #[garde(length(chars, max = 100))]
    #[param(max_length = 100)]
    q: Option<String>,
    /// The least amount, in the transaction's own currency; what leaves the holder is negative.
    #[garde(skip)]
    #[param(value_type = Option<f64>)]
    min_amount: Option<ExactDecimal>,
    /// The greatest amount, likewise.
    #[garde(skip)]
    #[param(value_type = Option<f64>)]
    max_amount: Option<ExactDecimal>,
    #[garde(skip)]
    pending: Option<bool>,
    #[serde(default)]
    #[garde(skip)]
    #[param(inline)]
    limit: Limit,
    #[garde(skip)]
    #[param(inline)]
    cursor: Option<CursorText>,
}

/// What narrows the list of an account's transactions.
#[derive(Deserialize, Validate, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct AccountTransactionFilter {
    /// The first day.
    #[garde(skip)]
    #[param(value_type = Option<String>, format = Date)]
    from: Option<Date>,
    /// The last day.
    #[garde(skip)]
    #[param(value_type = Option<String>, format = Date)]
    to: Option<Date>,
    /// Each word begins a word of the description.
    #[garde(length(chars, max = 100))]
    #[param(max_length = 100)]
    q: Option<String>,
    /// The least amount, in the transaction's own currency; what leaves the holder is negative.
    #[garde(skip)]
    #[param(value_type = Option<f64>)]
    min_amount: Option<ExactDecimal>,
    /// The greatest amount, likewise.
    #[garde(skip)]
    #[param(value_type = Option<f64>)]
    max_amount: Option<ExactDecimal>,
    #[garde(skip)]
    pending: Option<bool>,
    #[serde(default)]
    #[garde(skip)]
    #[param(inline)]
    limit: Limit,
    #[garde(skip)]
    #[param(inline)]
    cursor: Option<CursorText>,
}

impl From<AccountTransactionFilter> for MyTransactionFilter {
    fn from(filter: AccountTransactionFilter) -> Self {
        let AccountTransactionFilter { from, to, q, min_amount, max_amount, pending, limit, cursor } = filter;
        Self { account_id: None, from, to, q, min_amount, max_amount, pending, limit, cursor }
    }
}

/// A page of what a filter lets through; its account, if it names one, is known to be the user's.
async fn page(
    user_id: &str,
    filter: MyTransactionFilter,
    ledger: &Ledger,
) -> Result<Listed<TransactionView>, Problem> {
    let (limit, cursor) = (filter.limit, filter.cursor);
    let wanted = TransactionFilter {
        account_id: filter.account_id.map(|id| id.0),
        from: filter.from.map(|day| day.to_string()),
        to: filter.to.map(|day| day.to_string()),
        words: filter.q.unwrap_or_default(),
        min_amount: filter.min_amount,
        max_amount: filter.max_amount,
        pending: filter.pending,
    };
    let binding = Binding::new(
        "transactions",
        &(
            (user_id, &wanted.account_id, &wanted.from, &wanted.to),
            (&wanted.words, wanted.min_amount, wanted.max_amount, wanted.pending),
        ),
    );
    let after = binding.after(cursor.as_deref())?;
    let (found, next) = ledger.page(user_id, &wanted, limit.get(), after).await?;
    let found = found.into_iter().map(|transaction| transaction.value.into()).collect();
    Ok(Listed::new(found, next.as_ref(), &binding))
}

/// My transactions, newest first. A page may be shorter than its limit and have a next one.
#[utoipa::path(
    tag = "accounts",
    params(MyTransactionFilter),
    responses((status = 200, body = Listed<TransactionView>)),
    security(("bearer" = [])),
)]
#[get("/transactions")]
async fn list_transactions(
    caller: Caller,
    filter: ValidQuery<MyTransactionFilter>,
    accounts: web::Data<Accounts>,
    ledger: web::Data<Ledger>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    if let Some(id) = &filter.0.account_id
        && accounts.get(&caller.user_id, &id.0).await?.is_none()
    {
        return Err(Problem::invalid_field("accountId", "unknown_account", "is no account of yours"));
    }
    Ok(page(&caller.user_id, filter.0, &ledger).await?.respond(&request))
}

/// An account's transactions, newest first. A page may be shorter than its limit and have a next
/// one.
#[utoipa::path(
    tag = "accounts",
    params(("id" = String, Path), AccountTransactionFilter),
    responses((status = 200, body = Listed<TransactionView>)),
    security(("bearer" = [])),
)]
#[get("/accounts/{id}/transactions")]
async fn list_account_transactions(
    caller: Caller,
    id: InPath<PathId>,
    filter: ValidQuery<AccountTransactionFilter>,
    accounts: web::Data<Accounts>,
    ledger: web::Data<Ledger>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    accounts.get(&caller.user_id, &id.0.0).await?.ok_or_else(Problem::not_found)?;
    let filter = MyTransactionFilter { account_id: Some(id.0), ..filter.0.into() };
    Ok(page(&caller.user_id, filter, &ledger).await?.respond(&request))
}

/// One of my transactions.
#[utoipa::path(
    tag = "accounts",
    params(("id" = String, Path)),
    responses((status = 200, body = TransactionView)),
    security(("bearer" = [])),
)]
#[get("/transactions/{id}")]
async fn get_transaction(
    caller: Caller,
    id: InPath<PathId>,
    ledger: web::Data<Ledger>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let found = ledger.get(&caller.user_id, &id.0.0).await?.ok_or_else(Problem::not_found)?;
    let Versioned { value: transaction, version } = found;
    Ok(etag::versioned(&request, etag::tag(version), &TransactionView::from(transaction)))
}
