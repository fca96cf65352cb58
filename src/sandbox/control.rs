//! The control face, for tests and operators: switches for whole providers, the ledger by order,
//! SimpleFIN setup tokens.

use std::collections::BTreeMap;

use actix_web::{HttpRequest, HttpResponse, web};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::json;
use steward_actors::store::{
    Batch, Collection, CommitError, Entity, Query, Store, StoreError, Versioned, find, load,
};

use super::World;
use super::answer::Answer;
use super::bank::{Fault, mint};
use super::payments;
use super::payments::{INTENTS, Intent};
use super::webhooks::Sending;

/// One record: what is switched off.
pub(super) static SWITCHES: Collection =
    Collection { name: "sandbox_switches", fields: &[], indexes: &[], words: &[], expires: None };

const THE_SWITCHES: &str = "switches";
/// How often a switch is tried when another one is set meanwhile.
const ATTEMPTS: u32 = 10;
/// Intents that one page of the ledger is made of.
const LEDGER_PAGE: usize = 1000;

pub(super) fn routes(config: &mut web::ServiceConfig) {
    config
        .route("/_sandbox/faults", web::get().to(show_faults))
        .route("/_sandbox/faults", web::post().to(set_faults))
        .route("/_sandbox/ledger", web::get().to(ledger))
        .route("/_sandbox/charge", web::post().to(charge))
        .route("/_sandbox/fail-refunds", web::post().to(fail_refunds))
        .route("/_sandbox/webhooks", web::get().to(show_webhooks))
        .route("/_sandbox/setup-tokens", web::post().to(setup_token));
}

/// What is switched off.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Switches {
    id: String,
    /// Every call of the payments face answers 503 and does nothing.
    pub(super) payments_down: bool,
    /// Every connection to the bank meets this fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) bank: Option<Fault>,
    /// How webhooks are sent.
    #[serde(default)]
    pub(super) webhooks: Sending,
    /// What they are signed with.
    #[serde(default)]
    webhook_secret: String,
    /// Every call for exchange rates meets this fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) rates: Option<Fault>,
    /// Every look-up of an address meets this fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) geocoding: Option<GeocodingFault>,
}

impl Entity for Switches {
    fn collection() -> &'static Collection {
        &SWITCHES
    }

    fn id(&self) -> &str {
        &self.id
    }
}

impl Switches {
    /// As they stand.
    pub(super) async fn load(world: &World) -> Result<Self, StoreError> {
        Ok(Self::read(world).await?.value)
    }

    async fn read(world: &World) -> Result<Versioned<Self>, StoreError> {
        Self::read_from(&*world.store).await
    }

    async fn read_from(store: &dyn Store) -> Result<Versioned<Self>, StoreError> {
        let none = Self {
            id: THE_SWITCHES.to_owned(),
            payments_down: false,
            bank: None,
            rates: None,
            geocoding: None,
            webhooks: Sending::default(),
            webhook_secret: String::new(),
        };
        Ok(load(store, THE_SWITCHES).await?.unwrap_or(Versioned { value: none, version: 0 }))
    }

    fn answer(&self) -> Answer {
        let payments = if self.payments_down { Power::Down } else { Power::Up };
        Answer::ok(json!({
            "payments": payments,
            "bank": shown(self.bank),
            "rates": shown(self.rates),
            "geocoding": shown(self.geocoding),
            "webhooks": self.webhooks,
        }))
    }
}

/// What every look-up of an address meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum GeocodingFault {
    /// An answer that is late.
    Slow,
    /// 402.
    QuotaSpent,
    /// 429 with Retry-After.
    RateLimited,
    /// 200 with half an answer.
    Garbage,
    /// A gibibyte.
    Endless,
    /// 503.
    Down,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Power {
    Up,
    Down,
}

fn shown<F: Serialize>(fault: Option<F>) -> serde_json::Value {
    fault.map_or_else(|| json!("up"), |fault| json!(fault))
}

#[derive(Clone, Copy, Deserialize)]
#[serde(untagged)]
enum FaultSwitch<F> {
    Fault(F),
    Power(Power),
}

impl<F> FaultSwitch<F> {
    /// The fault; `down` is the one of who is switched off.
    fn fault(self, down: F) -> Option<F> {
        match self {
            Self::Fault(fault) => Some(fault),
            Self::Power(Power::Up) => None,
            Self::Power(Power::Down) => Some(down),
        }
    }
}

#[derive(Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct SetFaults {
    payments: Option<Power>,
    bank: Option<FaultSwitch<Fault>>,
    rates: Option<FaultSwitch<Fault>>,
    geocoding: Option<FaultSwitch<GeocodingFault>>,
    webhooks: Option<Sending>,
}

/// What webhooks are signed with, made if there is none yet.
pub(super) async fn webhook_secret(store: &dyn Store) -> Result<SecretString, StoreError> {
    let mut tries = 0;
    loop {
        let Versioned { value: mut switches, version } = Switches::read_from(store).await?;
        if !switches.webhook_secret.is_empty() {
            return Ok(SecretString::from(switches.webhook_secret));
        }
        switches.webhook_secret = format!("whsec_{}", uuid::Uuid::new_v4().simple());
        tries += 1;
        match store.commit(Batch::new().put(&switches, version)).await {
            Ok(()) => return Ok(SecretString::from(switches.webhook_secret)),
            Err(CommitError::Conflict(_)) if tries < ATTEMPTS => {}
            Err(error) => return Err(StoreError::Unavailable(error.to_string())),
        }
    }
}

/// For a Steward elsewhere that shares this sandbox.
async fn show_webhooks(world: web::Data<World>) -> HttpResponse {
    let secret = world.webhooks.secret().expose_secret();
    HttpResponse::Ok().json(json!({"secret": secret, "url": world.webhooks.target()}))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct OfOrder {
    order_id: String,
}

/// Takes the money of an order's intents, whatever they stand at: what a provider may do late, or
/// somebody by hand.
async fn charge(world: web::Data<World>, asked: web::Json<OfOrder>) -> HttpResponse {
    payments::charge(&world, &asked.order_id).await.unwrap_or_else(|refusal| refusal).respond()
}

/// Fails the refunds of an order after they succeeded.
async fn fail_refunds(world: web::Data<World>, asked: web::Json<OfOrder>) -> HttpResponse {
    payments::fail_refunds(&world, &asked.order_id).await.unwrap_or_else(|refusal| refusal).respond()
}

async fn show_faults(world: web::Data<World>) -> HttpResponse {
    match Switches::load(&world).await {
        Ok(switches) => switches.answer().respond(),
        Err(error) => Answer::from(error).respond(),
    }
}

async fn set_faults(world: web::Data<World>, set: web::Json<SetFaults>) -> HttpResponse {
    let mut tries = 0;
    let done: Result<Answer, Answer> = loop {
        let Versioned { value: mut switches, version } = match Switches::read(&world).await {
            Ok(read) => read,
            Err(error) => break Err(error.into()),
        };
        if let Some(power) = set.payments {
            switches.payments_down = matches!(power, Power::Down);
        }
        if let Some(bank) = set.bank {
            switches.bank = bank.fault(Fault::Down);
        }
        if let Some(rates) = set.rates {
            switches.rates = rates.fault(Fault::Down);
        }
        if let Some(geocoding) = set.geocoding {
            switches.geocoding = geocoding.fault(GeocodingFault::Down);
        }
        if let Some(sending) = set.webhooks {
            switches.webhooks = sending;
        }
        tries += 1;
        match world.store.commit(Batch::new().put(&switches, version)).await {
            Ok(()) => break Ok(switches.answer()),
            Err(CommitError::Conflict(_)) if tries < ATTEMPTS => {}
            Err(error) => break Err(error.into()),
        }
    };
    done.unwrap_or_else(|refusal| refusal).respond()
}

/// What happened to the money of one order, in minor units.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct OrderLedger {
    order_id: String,
    currency: String,
    /// Reserved at present.
    authorized: i64,
    captured: i64,
    refunded: i64,
    intents: u32,
    authorizations: u32,
    captures: u32,
    refunds: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LedgerQuery {
    #[serde(rename = "orderId")]
    order_id: Option<String>,
    from: Option<String>,
    /// Intents that a page is made of.
    limit: Option<usize>,
}

/// `{orders: [...], next}`, by order id; `next` is the `from` of the next page.
async fn ledger(world: web::Data<World>, asked: web::Query<LedgerQuery>) -> HttpResponse {
    match ledger_page(&world, &asked).await {
        Ok((orders, next)) => Answer::ok(json!({"orders": orders, "next": next})).respond(),
        Err(error) => Answer::from(error).respond(),
    }
}

async fn ledger_page(
    world: &World,
    asked: &LedgerQuery,
) -> Result<(Vec<OrderLedger>, Option<String>), StoreError> {
    let mut query = Query::by(&INTENTS, "order").limit(asked.limit.unwrap_or(LEDGER_PAGE).min(LEDGER_PAGE));
    match (&asked.order_id, &asked.from) {
        (Some(id), _) => query = query.equal(id.as_str()),
        (None, Some(from)) => query = query.range(Some(from.as_str().into()), None),
        (None, None) => {}
    }
    let mut orders: BTreeMap<String, OrderLedger> = BTreeMap::new();
    loop {
        let (intents, more) = find::<Intent>(&*world.store, query.clone()).await?;
        for intent in intents {
            count(&mut orders, intent.value);
        }
        if more.is_none() {
            return Ok((orders.into_values().collect(), None));
        }
        // The last order may go on, so it is left to the next page; a single one is read to its end.
        if orders.len() > 1 {
            let next = orders.pop_last().map(|(id, _)| id);
            return Ok((orders.into_values().collect(), next));
        }
        query.after = more;
    }
}

fn count(orders: &mut BTreeMap<String, OrderLedger>, intent: Intent) {
    let id = intent.order_id.unwrap_or_default();
    let order = orders.entry(id.clone()).or_default();
    order.order_id = id;
    order.currency = intent.currency;
    order.authorized += intent.capturable;
    order.captured += intent.received;
    order.refunded += intent.refunded;
    order.intents += 1;
    order.authorizations += intent.authorizations;
    order.captures += intent.captures;
    order.refunds += intent.refunds;
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct SetupTokenRequest {
    user_id: String,
    fault: Option<Fault>,
}

/// A SimpleFIN setup token as a bank's page would show it: good for one claim.
async fn setup_token(
    world: web::Data<World>,
    request: HttpRequest,
    asked: web::Json<SetupTokenRequest>,
) -> HttpResponse {
    let host = request.connection_info().host().to_owned();
    match mint(&world, &host, &asked.user_id, asked.fault).await {
        Ok(token) => HttpResponse::Created().json(json!({ "setupToken": token })),
        Err(refusal) => refusal.respond(),
    }
}
