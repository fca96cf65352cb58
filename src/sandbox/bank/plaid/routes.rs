//! The routes of this face, and those by which a test or an operator moves it.

use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;
use serde_json::{Value, json};
use steward_actors::cluster::Clock;
use steward_actors::ids::new_id;
use steward_actors::store::{Batch, Cursor, Versioned};
use steward_actors::time::Timestamp;

use super::super::access::Fault;
use super::super::data::{self, KINDS};
use super::super::ledger::{self, Change};
use super::items::{self, Item, admitted, exchange, mint, next_turn, refused};
use super::{notify, sync};
use crate::sandbox::World;
use crate::sandbox::answer::{Answer, endless};
use crate::sandbox::control::Switches;

/// Changes of a page, unless another number is asked for.
const COUNT: usize = 100;
/// The most that may be asked for.
const MOST_COUNT: usize = 500;

pub(in crate::sandbox) fn routes(config: &mut web::ServiceConfig) {
    config
        .route("/link/token/create", web::post().to(link_token))
        .route("/item/public_token/exchange", web::post().to(exchange_token))
        .route("/item/remove", web::post().to(remove))
        .route("/accounts/balance/get", web::post().to(accounts))
        .route("/transactions/sync", web::post().to(transactions))
        .route("/webhook_verification_key/get", web::post().to(verification_key));
}

pub(in crate::sandbox) fn control(config: &mut web::ServiceConfig) {
    config
        .route("/_sandbox/public-tokens", web::post().to(public_token))
        .route("/_sandbox/bank", web::get().to(show_ledger))
        .route("/_sandbox/bank", web::post().to(change_ledger))
        .route("/_sandbox/bank-signatures", web::post().to(signature))
        .route("/_sandbox/items", web::get().to(show_items))
        .route("/_sandbox/items/{id}", web::post().to(change_item));
}

fn answered(answer: Result<Value, Answer>) -> HttpResponse {
    match answer {
        Ok(body) => HttpResponse::Ok().json(body),
        Err(refusal) => refusal.respond(),
    }
}

/// Any key will do, but there must be one.
fn let_in(request: &HttpRequest) -> Result<(), Answer> {
    let has = |name: &str| request.headers().get(name).is_some_and(|value| !value.is_empty());
    if has("plaid-client-id") && has("plaid-secret") {
        return Ok(());
    }
    Err(refused(400, "INVALID_INPUT", "INVALID_API_KEYS", "invalid client_id or secret provided"))
}

#[derive(Deserialize)]
struct LinkToken {
    user: LinkUser,
    access_token: Option<String>,
}

#[derive(Deserialize)]
struct LinkUser {
    client_user_id: String,
}

async fn link_token(
    world: web::Data<World>,
    request: HttpRequest,
    asked: web::Json<LinkToken>,
) -> HttpResponse {
    let made = async {
        let_in(&request)?;
        if let Some(token) = &asked.access_token {
            admitted(&world, token).await?;
        }
        let expires = world.clock.now().plus(Duration::from_secs(4 * 3600));
        let token = format!("link-sandbox-{}-{}", asked.user.client_user_id, new_id());
        Ok(json!({"link_token": token, "expiration": expires.to_string(), "request_id": new_id()}))
    };
    answered(made.await)
}

#[derive(Deserialize)]
struct Exchange {
    public_token: String,
}

async fn exchange_token(
    world: web::Data<World>,
    request: HttpRequest,
    asked: web::Json<Exchange>,
) -> HttpResponse {
    let exchanged = async {
        let_in(&request)?;
        if Switches::load(&world).await?.bank == Some(Fault::Down) {
            return Err(down());
        }
        let (access_token, item_id) = exchange(&world, &asked.public_token).await?;
        Ok(json!({"access_token": access_token, "item_id": item_id, "request_id": new_id()}))
    };
    answered(exchanged.await)
}

fn down() -> Answer {
    refused(503, "API_ERROR", "PLANNED_MAINTENANCE", "The sandbox bank is switched off.")
}

#[derive(Deserialize)]
struct Asked {
    access_token: String,
    #[serde(default)]
    cursor: String,
    count: Option<usize>,
}

async fn remove(world: web::Data<World>, request: HttpRequest, asked: web::Json<Asked>) -> HttpResponse {
    let removed = async {
        let_in(&request)?;
        let item = admitted(&world, &asked.access_token).await?;
        let gone = Item { token_digest: None, ..item.value.clone() };
        world.store.commit(Batch::new().replace(&gone, item.version)).await?;
        Ok(json!({"request_id": new_id()}))
    };
    answered(removed.await)
}

/// The item, and what it meets.
async fn item_of(
    world: &World,
    request: &HttpRequest,
    asked: &Asked,
) -> Result<(Versioned<Item>, Option<Fault>), Answer> {
    let_in(request)?;
    let switches = Switches::load(world).await?;
    let item = admitted(world, &asked.access_token).await?;
    let fault = switches.bank.or(item.value.fault);
    Ok((item, fault))
}

/// What a fault answers in place of anything else; `None` if it lets the answer through.
async fn instead(world: &World, fault: Option<Fault>) -> Option<HttpResponse> {
    let refusal = match fault? {
        Fault::Slow => {
            tokio::time::sleep(world.options.slow).await;
            return None;
        }
        Fault::Hanging => {
            std::future::pending::<()>().await;
            return None;
        }
        Fault::RateLimited => {
            let after = world.options.retry_after.as_secs().to_string();
            let refusal = refused(429, "RATE_LIMIT_EXCEEDED", "RATE_LIMIT", "rate limit exceeded");
            return Some(
                HttpResponse::TooManyRequests().insert_header(("Retry-After", after)).json(refusal.body),
            );
        }
        Fault::Expired => {
            let message = "the login details of this item have changed";
            refused(400, "ITEM_ERROR", "ITEM_LOGIN_REQUIRED", message)
        }
        Fault::Down => down(),
        Fault::InstitutionDown => refused(
            400,
            "INSTITUTION_ERROR",
            "INSTITUTION_DOWN",
            "this institution is not currently responding",
        ),
        Fault::NotReady | Fault::BrokenPages | Fault::Shuffled | Fault::Mutating | Fault::Hostile => {
            return None;
        }
    };
    Some(refusal.respond())
}

async fn accounts(world: web::Data<World>, request: HttpRequest, asked: web::Json<Asked>) -> HttpResponse {
    let (item, fault) = match item_of(&world, &request, &asked).await {
        Ok(found) => found,
        Err(refusal) => return refusal.respond(),
    };
    if let Some(instead) = instead(&world, fault).await {
        return instead;
    }
    let accounts: Vec<Value> = KINDS.iter().map(|kind| account(&item.value, kind)).collect();
    let told = json!({"institution_id": "ins_sandbox", "institution_name": "Sandbox Bank", "item_id": item.value.id});
    HttpResponse::Ok().json(json!({"accounts": accounts, "item": told, "request_id": new_id()}))
}

fn account(item: &Item, kind: &str) -> Value {
    let balances = data::balances(&item.user_id, kind);
    let (name, plaid_kind, subtype) = match kind {
        "checking" => ("Everyday Checking", "depository", "checking"),
        "savings" => ("Rainy Day Savings", "depository", "savings"),
        _ => ("Rewards Credit Card", "credit", "credit card"),
    };
    let units = |cents: i64| cents as f64 / 100.0;
    json!({
        "account_id": item.own(kind), "name": name, "official_name": name, "mask": data::mask(&item.user_id, kind),
        "type": plaid_kind, "subtype": subtype,
        "balances": {
            "current": units(balances.current), "available": units(balances.available),
            "limit": balances.limit.map(units), "iso_currency_code": "USD", "unofficial_currency_code": null,
        },
    })
}

async fn transactions(
    world: web::Data<World>,
    request: HttpRequest,
    asked: web::Json<Asked>,
) -> HttpResponse {
    let (item, fault) = match item_of(&world, &request, &asked).await {
        Ok(found) => found,
        Err(refusal) => return refusal.respond(),
    };
    if let Some(instead) = instead(&world, fault).await {
        return instead;
    }
    if fault == Some(Fault::NotReady) {
        match next_turn(&world, &item).await {
            0 => return refused(400, "ITEM_ERROR", "PRODUCT_NOT_READY", "not ready").respond(),
            1 => {
                return HttpResponse::Ok().json(json!({
                    "added": [], "modified": [], "removed": [], "next_cursor": "", "has_more": false,
                    "transactions_update_status": "NOT_READY",
                }));
            }
            _ => {}
        }
    }
    let count = asked.count.unwrap_or(COUNT).clamp(1, MOST_COUNT);
    let page = match sync::page(&world, &item, fault, &asked.cursor, count).await {
        Ok(page) => page,
        Err(refusal) => return refusal.respond(),
    };
    match fault {
        Some(Fault::BrokenPages) if next_turn(&world, &item).await.is_multiple_of(2) => {
            let whole = page.to_string();
            let half = whole[..whole.len() / 2].to_owned();
            HttpResponse::Ok().content_type("application/json").body(half)
        }
        Some(Fault::Hostile) => hostile(next_turn(&world, &item).await, page),
        _ => HttpResponse::Ok().json(page),
    }
}

fn hostile(turn: u32, mut page: Value) -> HttpResponse {
    match turn % 3 {
        0 => endless("application/json", b"{\"added\": ["),
        1 => HttpResponse::Ok().json(json!({"added": 7, "next_cursor": {"0": [null, true]}})),
        _ => {
            for transaction in page["added"].as_array_mut().into_iter().flatten() {
                transaction["amount"] = json!(1e300);
                transaction["date"] = "9999-99-99".into();
            }
            page["has_more"] = false.into();
            HttpResponse::Ok().json(page)
        }
    }
}

#[derive(Deserialize)]
struct KeyAsked {
    key_id: String,
}

async fn verification_key(
    world: web::Data<World>,
    request: HttpRequest,
    asked: web::Json<KeyAsked>,
) -> HttpResponse {
    let found = let_in(&request).and_then(|()| {
        let message = "key_id is not known";
        let unknown = || refused(400, "INVALID_INPUT", "INVALID_WEBHOOK_VERIFICATION_KEY_ID", message);
        world.signing.public(&asked.key_id).ok_or_else(unknown)
    });
    answered(found)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct TokenAsked {
    user_id: String,
    fault: Option<Fault>,
}

/// A public token as Link would give it to this user.
async fn public_token(world: web::Data<World>, asked: web::Json<TokenAsked>) -> HttpResponse {
    match mint(&world, &asked.user_id, asked.fault).await {
        Ok(token) => HttpResponse::Created().json(json!({ "publicToken": token })),
        Err(refusal) => refusal.respond(),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct SignatureAsked {
    body: String,
    /// Seconds that it is older than now.
    #[serde(default)]
    age: i64,
}

/// What `Plaid-Verification` says of a body.
async fn signature(world: web::Data<World>, asked: web::Json<SignatureAsked>) -> HttpResponse {
    let at = Timestamp::from_millis(world.clock.now().as_millis() - asked.age.saturating_mul(1000));
    let signed = world.signing.sign(asked.body.as_bytes(), at);
    answered(signed.map(|token| json!({ "token": token })).map_err(|why| Answer::unavailable(&why)))
}

async fn change_ledger(world: web::Data<World>, asked: web::Json<Change>) -> HttpResponse {
    let changed = ledger::change(&world, &asked).await;
    if changed.is_ok() {
        notify::updates(&world, &asked.user_id).await;
    }
    answered(changed.map(|seq| json!({ "seq": seq })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct LedgerAsked {
    user_id: String,
    /// From the page before.
    next: Option<String>,
}

/// `{lines, next}`: what is true.
async fn show_ledger(world: web::Data<World>, asked: web::Query<LedgerAsked>) -> HttpResponse {
    let after: Option<Cursor> = asked.next.as_deref().and_then(|next| serde_json::from_str(next).ok());
    let lines = ledger::lines(&world, &asked.user_id, None, None, after).await;
    let page = lines.map_err(Answer::from).map(|(lines, next)| {
        let next = next.and_then(|next| serde_json::to_string(&next).ok());
        let lines: Vec<Value> = lines
            .iter()
            .map(|line| {
                json!({
                    "id": line.id, "account": line.account, "date": line.date, "cents": line.cents,
                    "description": line.description, "pending": line.pending,
                })
            })
            .collect();
        json!({"lines": lines, "next": next})
    });
    answered(page)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct ItemsAsked {
    user_id: String,
}

async fn show_items(world: web::Data<World>, asked: web::Query<ItemsAsked>) -> HttpResponse {
    let found = items::of_user(&world, &asked.user_id).await.map_err(Answer::from);
    answered(found.map(|found| {
        let shown = |item: &Versioned<Item>| {
            json!({"id": item.value.id, "fault": item.value.fault, "removed": item.value.token_digest.is_none()})
        };
        json!({"items": found.iter().map(shown).collect::<Vec<_>>()})
    }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct ItemChange {
    /// What it meets from now on, or `none`.
    fault: Option<ItemFault>,
    /// A webhook of type ITEM about it.
    webhook: Option<String>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(untagged)]
enum ItemFault {
    Fault(Fault),
    None(NoFault),
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum NoFault {
    None,
}

async fn change_item(
    world: web::Data<World>,
    id: web::Path<String>,
    asked: web::Json<ItemChange>,
) -> HttpResponse {
    let changed = async {
        let found = steward_actors::store::load::<Item>(&*world.store, &id).await?;
        let found = found.ok_or_else(|| Answer::missing("item", &id))?;
        if let Some(fault) = asked.fault {
            let fault = match fault {
                ItemFault::Fault(fault) => Some(fault),
                ItemFault::None(NoFault::None) => None,
            };
            let item = Item { fault, turns: 0, ..found.value.clone() };
            world.store.commit(Batch::new().replace(&item, found.version)).await?;
        }
        if let Some(code) = &asked.webhook {
            notify::send(&world, &found.value, "ITEM", code).await;
        }
        Ok(json!({}))
    };
    answered(changed.await)
}
