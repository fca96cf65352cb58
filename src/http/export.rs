//! All that is mine, page by page: what a person may ask for of what is kept about them.

use actix_web::{HttpRequest, HttpResponse, get, web};
use serde::Serialize;
use serde_json::{Value, json};
use steward_actors::account_sync::Connections;
use steward_actors::accounts::{Accounts, Ledger, TransactionFilter};
use steward_actors::inventory::Inventory;
use steward_actors::order_saga::Orders;
use steward_actors::session::Sessions;
use steward_actors::store::Cursor;
use steward_actors::users::Users;
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;

use super::accounts::AccountView;
use super::balances::DayBalanceView;
use super::caller::Caller;
use super::connections::ConnectionView;
use super::holds::{self, HoldView};
use super::orders::OrderView;
use super::page::{Binding, Listed, Paging};
use super::problem::Problem;
use super::query::ValidQuery;
use super::sessions::SessionView;
use super::transactions::TransactionView;
use super::user_view::UserView;

pub(super) fn configure(config: &mut ServiceConfig) {
    config.service(export_me);
}

/// One thing that is kept about me.
#[derive(Serialize, ToSchema)]
struct ExportedItem {
    /// `profile`, `session`, `connection`, `account`, `balance`, `transaction`, `hold` or `order`.
    kind: &'static str,
    /// The thing, in the form that its own route has.
    #[schema(value_type = Object)]
    data: Value,
}

/// The kinds, in their order.
const KINDS: [&str; 8] =
    ["profile", "session", "connection", "account", "balance", "transaction", "hold", "order"];

struct Export<'a> {
    caller: &'a Caller,
    request: &'a HttpRequest,
}

type Part = (Vec<Value>, Option<Cursor>);

impl Export<'_> {
    fn service<T: 'static>(&self) -> Result<&web::Data<T>, Problem> {
        let found = self.request.app_data::<web::Data<T>>();
        found.ok_or_else(|| Problem::internal("a service is missing in app_data"))
    }

    /// A page of one kind.
    async fn part(&self, kind: &str, limit: usize, after: Option<Cursor>) -> Result<Part, Problem> {
        let me = self.caller.user_id.as_str();
        Ok(match kind {
            "profile" => {
                let user = self.service::<Users>()?.get(me).await?;
                let user = user.ok_or_else(Problem::unauthorized)?;
                (vec![json!(UserView::of(user))], None)
            }
            "session" => {
                let found = self.service::<Sessions>()?.page(me, limit, after).await?;
                let (found, next) = found.ok_or_else(Problem::not_found)?;
                let view = |session| json!(SessionView::of(session, self.caller));
                (found.into_iter().map(view).collect(), next)
            }
            "connection" => {
                let (found, next) = self.service::<Connections>()?.list(me, limit, after).await?;
                (found.into_iter().map(|found| json!(ConnectionView::of(found.value))).collect(), next)
            }
            "account" => {
                let (found, next) = self.service::<Accounts>()?.page(me, None, limit, after).await?;
                (found.into_iter().map(|found| json!(AccountView::of(found.value))).collect(), next)
            }
            "balance" => {
                let (found, next) = self.service::<Accounts>()?.balances_of_user(me, limit, after).await?;
                (found.into_iter().map(|found| json!(DayBalanceView::of(found.value))).collect(), next)
            }
            "transaction" => {
                let all = TransactionFilter::default();
                let (found, next) = self.service::<Ledger>()?.page(me, &all, limit, after).await?;
                (found.into_iter().map(|found| json!(TransactionView::from(found.value))).collect(), next)
            }
            "hold" => {
                let live = self.service::<Inventory>()?.live_holds_of(me).await?;
                let (found, next) = holds::page(live, limit, after)?;
                (found.into_iter().map(|hold| json!(HoldView::of(hold))).collect(), next)
            }
            _ => {
                let (found, next) = self.service::<Orders>()?.page(Some(me), None, limit, after).await?;
                (found.into_iter().map(|found| json!(OrderView::of(found))).collect(), next)
            }
        })
    }
}

/// Where an export goes on: the kind, and the cursor within it. An empty id stands for its beginning.
fn place(kind: usize, within: Option<Cursor>) -> Cursor {
    let Cursor { mut keys, id } = within.unwrap_or(Cursor { keys: Vec::new(), id: String::new() });
    keys.insert(0, json!(kind));
    Cursor { keys, id }
}

fn read_place(cursor: Option<Cursor>) -> Result<(usize, Option<Cursor>), Problem> {
    let Some(Cursor { mut keys, id }) = cursor else { return Ok((0, None)) };
    if keys.is_empty() {
        return Err(Problem::bad_cursor());
    }
    let kind = keys.remove(0).as_u64().and_then(|kind| usize::try_from(kind).ok());
    let kind = kind.filter(|kind| *kind < KINDS.len()).ok_or_else(Problem::bad_cursor)?;
    Ok((kind, (!id.is_empty()).then_some(Cursor { keys, id })))
}

/// All that is kept about me: profile, sessions, connections, accounts, balances, transactions, live
/// holds, orders, one after the other.
#[utoipa::path(
    tag = "users",
    params(Paging),
    responses((status = 200, body = Listed<ExportedItem>)),
    security(("bearer" = [])),
)]
#[get("/users/me/export")]
async fn export_me(
    caller: Caller,
    page: ValidQuery<Paging>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let export = Export { caller: &caller, request: &request };
    let binding = Binding::new("users/me/export", &caller.user_id);
    let after = binding.after(page.0.cursor.as_deref())?;
    let (mut kind, mut within) = read_place(after)?;
    let (mut items, limit) = (Vec::new(), page.0.limit.get());
    let next = loop {
        let (found, next) = export.part(KINDS[kind], limit - items.len(), within).await?;
        items.extend(found.into_iter().map(|data| ExportedItem { kind: KINDS[kind], data }));
        if next.is_none() {
            kind += 1;
        }
        within = next;
        if kind == KINDS.len() {
            break None;
        }
        if items.len() >= limit || within.is_some() {
            break Some(place(kind, within));
        }
    };
    Ok(Listed::new(items, next.as_ref(), &binding).respond(&request))
}
