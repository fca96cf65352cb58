//! The routes of the bank face.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;
use serde_json::{Value, json};
use steward_actors::cluster::Clock;
use steward_actors::store::Versioned;
use steward_actors::time::Timestamp;

use super::access::{Access, Fault, admitted, claim, next_turn};
use super::data::{self, KINDS, Wanted, accounts};
use super::ledger::{self, Posting};
use crate::sandbox::World;
use crate::sandbox::answer::{Answer, endless};
use crate::sandbox::control::Switches;

pub(in crate::sandbox) fn routes(config: &mut web::ServiceConfig) {
    config
        .route("/simplefin/claim/{token}", web::post().to(claim_token))
        .route("/simplefin/access/accounts", web::get().to(get_accounts));
}

#[derive(Deserialize)]
struct ClaimQuery {
    user: Option<String>,
}

/// The access URL, as text. It names the host by which the client came.
async fn claim_token(
    world: web::Data<World>,
    request: HttpRequest,
    token: web::Path<String>,
    query: web::Query<ClaimQuery>,
) -> HttpResponse {
    let claimed = async {
        if Switches::load(&world).await?.bank == Some(Fault::Down) {
            return Err(Answer::unavailable("The sandbox bank is switched off."));
        }
        claim(&world, &token, query.user.as_deref()).await
    };
    match claimed.await {
        Ok(credentials) => {
            let host = request.connection_info().host().to_owned();
            HttpResponse::Ok()
                .content_type("text/plain")
                .body(format!("http://{credentials}@{host}/simplefin/access"))
        }
        Err(refusal) => refusal.respond(),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct AccountsQuery {
    start_date: Option<i64>,
    end_date: Option<i64>,
    pending: Option<u8>,
    balances_only: Option<u8>,
}

async fn get_accounts(
    world: web::Data<World>,
    request: HttpRequest,
    query: web::Query<AccountsQuery>,
) -> HttpResponse {
    let header = request.headers().get("authorization").and_then(|value| value.to_str().ok());
    let admitted = async {
        let switches = Switches::load(&world).await?;
        Ok((admitted(&world, header).await?, switches.bank))
    };
    let (access, switched) = match admitted.await {
        Ok(admitted) => admitted,
        Err(refusal) => return Answer::respond(&refusal),
    };
    let wanted = Wanted {
        start: query.start_date,
        end: query.end_date,
        pending: query.pending == Some(1),
        balances_only: query.balances_only == Some(1),
    };
    let fault = switched.or(access.value.fault);
    let accounts = match told(&world, &access.value.user_id, wanted).await {
        Ok(accounts) => accounts,
        Err(refusal) => return refusal.respond(),
    };
    answer(&world, access, fault, accounts).await
}

/// The accounts, with the transactions of the user's ledger if there is one.
async fn told(world: &World, user_id: &str, wanted: Wanted) -> Result<Vec<Value>, Answer> {
    let now = world.clock.now();
    if wanted.balances_only || ledger::state(world, user_id).await?.is_none() {
        return Ok(accounts(user_id, now, wanted));
    }
    ledger::up_to_date(world, user_id).await?;
    let mut told = accounts(user_id, now, Wanted { balances_only: true, ..wanted });
    let day = |seconds: i64| Timestamp::from_millis(seconds.saturating_mul(1000)).day();
    let (from, until) = (wanted.start.map(day), wanted.end.map(day));
    let mut after = None;
    loop {
        let (lines, next) = ledger::lines(world, user_id, from.as_deref(), until.as_deref(), after).await?;
        for line in lines.iter().filter(|line| wanted.pending || !line.pending) {
            let list = KINDS.iter().position(|kind| *kind == line.account);
            let list = list
                .and_then(|at| told.get_mut(at))
                .and_then(|account| account["transactions"].as_array_mut());
            if let Some(list) = list {
                list.push(shown(line));
            }
        }
        after = next;
        if after.is_none() {
            return Ok(told);
        }
    }
}

/// A line of a ledger, as SimpleFIN shows it.
fn shown(line: &Posting) -> Value {
    let made = line.date.parse().map_or(0, data::unix_seconds);
    json!({
        "id": line.id, "posted": if line.pending { 0 } else { made }, "transacted_at": made,
        "amount": data::decimal(line.cents), "description": line.description, "pending": line.pending,
    })
}

async fn answer(
    world: &World,
    access: Versioned<Access>,
    fault: Option<Fault>,
    mut accounts: Vec<Value>,
) -> HttpResponse {
    match fault {
        None | Some(Fault::NotReady | Fault::Mutating) => whole(&accounts),
        Some(Fault::Shuffled) => {
            accounts.iter_mut().for_each(shuffle);
            whole(&accounts)
        }
        Some(Fault::Hanging) => std::future::pending().await,
        Some(Fault::Slow) => {
            tokio::time::sleep(world.options.slow).await;
            whole(&accounts)
        }
        Some(Fault::RateLimited) => HttpResponse::TooManyRequests()
            .insert_header(("Retry-After", world.options.retry_after.as_secs().to_string()))
            .json(json!({"errors": ["Too many requests."], "accounts": []})),
        Some(Fault::Expired) => HttpResponse::Forbidden()
            .json(json!({"errors": ["Access to this institution has expired."], "accounts": []})),
        Some(Fault::Down | Fault::InstitutionDown) => {
            Answer::unavailable("The sandbox bank is switched off.").respond()
        }
        Some(Fault::BrokenPages) => match next_turn(world, access).await % 2 {
            0 => {
                accounts.remove(1);
                let errors = ["The page with your savings account could not be read."];
                HttpResponse::Ok().json(json!({"errors": errors, "accounts": accounts}))
            }
            _ => {
                let page = json!({"errors": [], "accounts": accounts}).to_string();
                let half = page[..page.len() / 2].to_owned();
                HttpResponse::Ok().content_type("application/json").body(half)
            }
        },
        Some(Fault::Hostile) => match next_turn(world, access).await % 3 {
            0 => endless("application/json", b"{\"errors\": [], \"accounts\": ["),
            1 => HttpResponse::Ok().json(json!({"errors": 7, "accounts": {"0": [null, true]}})),
            _ => {
                for account in &mut accounts {
                    account["balance"] = "99999999999999999999999999999999.999".into();
                    account["balance-date"] = json!(i64::MAX);
                }
                whole(&accounts)
            }
        },
    }
}

/// Any order, and some of them twice.
fn shuffle(account: &mut Value) {
    let Some(list) = account["transactions"].as_array_mut() else { return };
    let twice: Vec<Value> = list.iter().filter(|_| fastrand::u8(..) < 64).cloned().collect();
    list.extend(twice);
    fastrand::shuffle(list);
}

fn whole(accounts: &[Value]) -> HttpResponse {
    HttpResponse::Ok().json(json!({"errors": [], "accounts": accounts}))
}
