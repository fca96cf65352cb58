//! The routes of the payments face.

use std::collections::BTreeMap;

use actix_web::{HttpRequest, HttpResponse, web};
use iso_currency::Currency;
use serde_json::{Value, json};
use steward_actors::cluster::Clock;
use steward_actors::ids::new_id;
use steward_actors::store::{Batch, Cursor, Entity, Query, Versioned, find, load};

use super::decide::{Decided, Delivery, Operation, decide, give_back, known_method};
use super::form::Form;
use super::intent::{Intent, Status, whole_steps};
use super::keyed::{Attempt, Keyed, perform, tell};
use super::refund::Refund;
use crate::providers::stripe_amounts::least;
use crate::sandbox::World;
use crate::sandbox::answer::Answer;
use crate::sandbox::control::Switches;

/// Stripe's own limit: twelve digits of minor units.
const MAX_AMOUNT: i64 = 999_999_999_999;

pub(in crate::sandbox) fn routes(config: &mut web::ServiceConfig) {
    config
        .route("/v1/payment_intents", web::post().to(create))
        .route("/v1/payment_intents", web::get().to(list))
        .route("/v1/payment_intents/{id}", web::get().to(get))
        .route("/v1/payment_intents/{id}/confirm", web::post().to(confirm))
        .route("/v1/payment_intents/{id}/capture", web::post().to(capture))
        .route("/v1/payment_intents/{id}/cancel", web::post().to(cancel))
        .route("/v1/refunds", web::post().to(refund))
        .route("/v1/refunds", web::get().to(refunds))
        .route("/v1/refunds/{id}", web::get().to(get_refund));
}

/// Refuses strangers, and everybody while the provider is switched off.
async fn admit(world: &World, request: &HttpRequest) -> Result<(), Answer> {
    let header = request.headers().get("authorization").and_then(|value| value.to_str().ok());
    if !header.is_some_and(|value| value.starts_with("Bearer sk_")) {
        let message = "You did not provide a secret API key (Authorization: Bearer sk_...).";
        return Err(Answer::error(401, "invalid_request_error", message));
    }
    if Switches::load(world).await?.payments_down {
        return Err(Answer::unavailable("The sandbox provider is switched off."));
    }
    Ok(())
}

fn keyed(request: &HttpRequest, form: &Form) -> Result<Keyed, Answer> {
    let key = request.headers().get("idempotency-key").map(|value| value.to_str().map(str::to_owned));
    let key = match key {
        Some(Ok(key)) if (1..=255).contains(&key.len()) => Some(key),
        None => None,
        Some(_) => {
            let message = "An idempotency key has 1 to 255 characters.";
            return Err(Answer::error(400, "idempotency_error", message));
        }
    };
    Ok(Keyed { key, fingerprint: form.fingerprint(request.path()) })
}

async fn create(world: web::Data<World>, request: HttpRequest, body: web::Bytes) -> HttpResponse {
    let read = async {
        admit(&world, &request).await?;
        let form = Form::read(&body);
        let keyed = keyed(&request, &form)?;
        Ok((new_intent(form, &world)?, keyed))
    };
    match read.await {
        Ok((intent, keyed)) => {
            let attempt = async || {
                let batch = Batch::shared().insert(&intent);
                Ok(Attempt {
                    batch,
                    answer: Answer::ok(intent.shown()),
                    kept: true,
                    delivery: Delivery::AtOnce,
                    events: vec![("payment_intent.created", intent.shown())],
                })
            };
            perform(&world, &keyed, attempt).await
        }
        Err(refusal) => Answer::respond(&refusal),
    }
}

fn new_intent(mut form: Form, world: &World) -> Result<Intent, Answer> {
    let Some(amount) = form.integer("amount")? else {
        return Err(Answer::invalid("parameter_missing", Some("amount"), "Missing required param: amount."));
    };
    if amount < 1 {
        return Err(Answer::invalid(
            "parameter_invalid_integer",
            Some("amount"),
            "The amount is at least 1.",
        ));
    }
    if amount > MAX_AMOUNT {
        return Err(Answer::invalid("amount_too_large", Some("amount"), "The amount has at most 12 digits."));
    }
    let currency = form.require("currency")?.to_lowercase();
    let code = currency.to_uppercase();
    if Currency::from_code(&code).is_none() {
        return Err(Answer::invalid("parameter_invalid", Some("currency"), "The currency is not known."));
    }
    whole_steps(amount, &currency, "amount")?;
    if amount < least(&code) {
        let message = format!("The amount is at least {} in {currency}.", least(&code));
        return Err(Answer::invalid("amount_too_small", Some("amount"), message));
    }
    if form.take("capture_method").as_deref() != Some("manual") {
        let message = "The sandbox supports capture_method=manual alone.";
        return Err(Answer::invalid("parameter_invalid", Some("capture_method"), message));
    }
    form.only("confirm", "false")?;
    form.only("payment_method_types[]", "card")?;
    form.only("payment_method_types[0]", "card")?;
    let payment_method = form.take("payment_method").map(|method| known_method(&method)).transpose()?;
    let metadata = form.metadata()?;
    form.finish()?;
    let waits_for_method = payment_method.is_none();
    Ok(Intent {
        id: format!("pi_{}", new_id().replace('-', "")),
        order_id: metadata.get("order_id").cloned(),
        created: world.clock.now(),
        status: if waits_for_method { Status::RequiresPaymentMethod } else { Status::RequiresConfirmation },
        amount,
        currency,
        capturable: 0,
        received: 0,
        refunded: 0,
        payment_method,
        last_error: None,
        canceled_at: None,
        cancellation_reason: None,
        metadata,
        authorizations: 0,
        captures: 0,
        refunds: 0,
        failures: BTreeMap::new(),
    })
}

async fn confirm(
    world: web::Data<World>,
    request: HttpRequest,
    id: web::Path<String>,
    body: web::Bytes,
) -> HttpResponse {
    operate(&world, &request, &id, &body, |form| Ok(Operation::Confirm(form.take("payment_method")))).await
}

async fn capture(
    world: web::Data<World>,
    request: HttpRequest,
    id: web::Path<String>,
    body: web::Bytes,
) -> HttpResponse {
    operate(&world, &request, &id, &body, |form| Ok(Operation::Capture(form.integer("amount_to_capture")?)))
        .await
}

async fn cancel(
    world: web::Data<World>,
    request: HttpRequest,
    id: web::Path<String>,
    body: web::Bytes,
) -> HttpResponse {
    operate(&world, &request, &id, &body, |form| Ok(Operation::Cancel(form.take("cancellation_reason"))))
        .await
}

/// Carries an operation on one intent out.
async fn operate(
    world: &World,
    request: &HttpRequest,
    id: &str,
    body: &[u8],
    read: impl FnOnce(&mut Form) -> Result<Operation, Answer>,
) -> HttpResponse {
    let read = async {
        admit(world, request).await?;
        let mut form = Form::read(body);
        let keyed = keyed(request, &form)?;
        let operation = read(&mut form)?;
        form.finish()?;
        Ok((operation, keyed))
    };
    let (operation, keyed) = match read.await {
        Ok(read) => read,
        Err(refusal) => return Answer::respond(&refusal),
    };
    let attempt = async || {
        let before = intent(world, id).await?;
        let Decided { intent, answer, kept, delivery } =
            decide(&before.value, &operation, world.clock.now())?;
        let changed = intent.as_ref().filter(|_| kept);
        let events = changed.and_then(|intent| Some((intent.event()?, intent.shown()))).into_iter().collect();
        let batch =
            intent.map_or_else(Batch::shared, |after| Batch::shared().replace(&after, before.version));
        Ok(Attempt { batch, answer, kept, delivery, events })
    };
    perform(world, &keyed, attempt).await
}

async fn intent(world: &World, id: &str) -> Result<Versioned<Intent>, Answer> {
    load(&*world.store, id).await?.ok_or_else(|| Answer::missing("payment_intent", id))
}

async fn get(world: web::Data<World>, request: HttpRequest, id: web::Path<String>) -> HttpResponse {
    let found = async {
        admit(&world, &request).await?;
        Ok(Answer::ok(intent(&world, &id).await?.value.shown()))
    };
    found.await.unwrap_or_else(|refusal: Answer| refusal).respond()
}

async fn refund(world: web::Data<World>, request: HttpRequest, body: web::Bytes) -> HttpResponse {
    let read = async {
        admit(&world, &request).await?;
        let mut form = Form::read(&body);
        let keyed = keyed(&request, &form)?;
        let id = form.require("payment_intent")?;
        let amount = form.integer("amount")?;
        form.take("reason");
        let metadata = form.metadata()?;
        form.finish()?;
        Ok((id, amount, metadata, keyed))
    };
    let (id, amount, metadata, keyed) = match read.await {
        Ok(read) => read,
        Err(refusal) => return Answer::respond(&refusal),
    };
    let attempt = async || {
        let before = intent(&world, &id).await?;
        let (Decided { intent, answer, kept, delivery }, refund) =
            give_back(&before.value, amount, metadata.clone(), world.clock.now())?;
        let events = refund.iter().zip(&intent).flat_map(|(refund, intent)| {
            [("refund.created", refund.shown()), ("charge.refunded", intent.charge())]
        });
        let events = events.collect();
        let batch =
            intent.map_or_else(Batch::shared, |after| Batch::shared().replace(&after, before.version));
        let batch = refund.iter().fold(batch, Batch::insert);
        Ok(Attempt { batch, answer, kept, delivery, events })
    };
    perform(&world, &keyed, attempt).await
}

/// Takes the money of an order's intents behind everybody's back.
pub(in crate::sandbox) async fn charge(world: &World, order_id: &str) -> Result<Answer, Answer> {
    let query = Query::by(Intent::collection(), "order").equal(order_id);
    let (intents, _) = find::<Intent>(&*world.store, query).await?;
    let mut charged = Vec::new();
    for Versioned { value: mut intent, version } in intents {
        intent.status = Status::Succeeded;
        intent.received = intent.amount;
        intent.capturable = 0;
        intent.captures += 1;
        world.store.commit(Batch::shared().replace(&intent, version)).await?;
        tell(world, "payment_intent.succeeded", intent.shown()).await;
        charged.push(intent.shown());
    }
    Ok(Answer::ok(json!({"object": "list", "data": charged})))
}

/// Fails the refunds of an order, which succeeded: what a provider may do days later.
pub(in crate::sandbox) async fn fail_refunds(world: &World, order_id: &str) -> Result<Answer, Answer> {
    let query = Query::by(Intent::collection(), "order").equal(order_id);
    let (intents, _) = find::<Intent>(&*world.store, query).await?;
    let mut failed = Vec::new();
    for Versioned { value: mut intent, version } in intents {
        let query = Query::by(Refund::collection(), "intent").equal(intent.id.as_str());
        let (refunds, _) = find::<Refund>(&*world.store, query).await?;
        let mut batch = Batch::shared();
        let before = failed.len();
        for Versioned { value: mut refund, version } in refunds {
            if refund.fail(&mut intent) {
                batch = batch.replace(&refund, version);
                failed.push(refund.shown());
            }
        }
        if failed.len() > before {
            world.store.commit(batch.replace(&intent, version)).await?;
        }
        for refund in &failed[before..] {
            tell(world, "refund.failed", refund.clone()).await;
        }
    }
    Ok(Answer::ok(json!({"object": "list", "data": failed})))
}

async fn get_refund(world: web::Data<World>, request: HttpRequest, id: web::Path<String>) -> HttpResponse {
    let found = async {
        admit(&world, &request).await?;
        let refund: Option<Versioned<Refund>> = load(&*world.store, &id).await?;
        Ok(Answer::ok(refund.ok_or_else(|| Answer::missing("refund", &id))?.value.shown()))
    };
    found.await.unwrap_or_else(|refusal: Answer| refusal).respond()
}

async fn list(world: web::Data<World>, request: HttpRequest) -> HttpResponse {
    let page = async {
        admit(&world, &request).await?;
        let form = Form::read(request.query_string().as_bytes());
        let query = Query::by(Intent::collection(), "created");
        page(&world, "/v1/payment_intents", form, query, |i: &Intent| (i.created.as_millis(), i.shown()))
            .await
    };
    page.await.unwrap_or_else(|refusal: Answer| refusal).respond()
}

async fn refunds(world: web::Data<World>, request: HttpRequest) -> HttpResponse {
    let page = async {
        admit(&world, &request).await?;
        let mut form = Form::read(request.query_string().as_bytes());
        let query = match form.take("payment_intent") {
            Some(id) => Query::by(Refund::collection(), "intent").equal(id),
            None => Query::by(Refund::collection(), "created"),
        };
        page(&world, "/v1/refunds", form, query, |r: &Refund| (r.created.as_millis(), r.shown())).await
    };
    page.await.unwrap_or_else(|refusal: Answer| refusal).respond()
}

/// A list, newest first: <https://docs.stripe.com/api/pagination>.
async fn page<T: Entity>(
    world: &World,
    url: &str,
    mut form: Form,
    query: Query,
    shown: impl Fn(&T) -> (i64, Value),
) -> Result<Answer, Answer> {
    let limit = form.integer("limit")?.unwrap_or(10);
    let limit = usize::try_from(limit).ok().filter(|limit| (1..=100).contains(limit)).ok_or_else(|| {
        Answer::invalid("parameter_invalid_integer", Some("limit"), "The limit is 1 to 100.")
    })?;
    let after = form.take("starting_after");
    form.finish()?;
    let cursor = match after {
        Some(id) => {
            let last: Option<Versioned<T>> = load(&*world.store, &id).await?;
            let last = last.ok_or_else(|| Answer::missing("object", &id))?;
            Some(Cursor { keys: vec![shown(&last.value).0.into()], id })
        }
        None => None,
    };
    let (found, next) = find::<T>(&*world.store, query.descending().limit(limit).after(cursor)).await?;
    let data: Vec<Value> = found.iter().map(|record| shown(&record.value).1).collect();
    Ok(Answer::ok(json!({"object": "list", "url": url, "has_more": next.is_some(), "data": data})))
}
