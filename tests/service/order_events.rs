//! Events of orders: as streams that can be resumed, and as a list.

use std::collections::BTreeSet;
use std::time::Duration;

use reqwest::{Response, StatusCode};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use crate::App;
use crate::orders::{ended, place};
use crate::support::{Backend, Client, DataDir, Replica, SHORT_LEASE, eventually, order};

crate::over_both_stores!(
    an_orders_stream_tells_all_and_ends_with_it,
    a_stream_goes_on_behind_the_last_event,
    events_of_all_orders_are_for_those_who_may_see_them,
    a_stream_ends_with_its_session,
    a_stream_ends_with_the_permission_it_needs,
    a_user_has_ten_streams_at_most,
    a_replica_that_stops_ends_its_streams,
);

const LONG: Duration = Duration::from_secs(30);

/// An open stream, read event by event.
struct Events {
    response: Response,
    rest: String,
}

/// An event as it came: its id in the stream, its name, its data.
#[derive(Clone, Debug)]
struct Heard {
    id: String,
    name: String,
    data: Value,
}

async fn ask(client: &Client, path: &str, last: Option<&str>) -> Response {
    let http = reqwest::Client::new();
    let mut request = http.get(format!("{}{path}", client.url)).header("Accept", "text/event-stream");
    if let Some(token) = &client.token {
        request = request.bearer_auth(token);
    }
    if let Some(last) = last {
        request = request.header("Last-Event-ID", last);
    }
    request.send().await.unwrap()
}

impl Events {
    async fn open(client: &Client, path: &str, last: Option<&str>) -> Self {
        let response = ask(client, path, last).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        assert_eq!(response.headers()["cache-control"], "no-store");
        let mut events = Self { response, rest: String::new() };
        assert_eq!(events.block().await.as_deref(), Some("retry: 1000"));
        events
    }

    /// The next block, up to an empty line; `None` when the stream ended as it should.
    async fn block(&mut self) -> Option<String> {
        loop {
            if let Some((block, rest)) = self.rest.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.rest = rest;
                return Some(block);
            }
            let chunk = timeout(LONG, self.response.chunk()).await.expect("the stream goes on or ends");
            self.rest.push_str(std::str::from_utf8(&chunk.expect("no break")?).unwrap());
        }
    }

    async fn next(&mut self) -> Option<Heard> {
        loop {
            let block = self.block().await?;
            if block.starts_with(':') {
                continue;
            }
            let field = |name: &str| {
                let line = block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
                line.unwrap_or_else(|| panic!("{name} in {block}")).to_owned()
            };
            let data: Value = serde_json::from_str(&field("data")).unwrap();
            return Some(Heard { id: field("id"), name: field("event"), data });
        }
    }

    /// Up to and including the event with this name.
    async fn until(&mut self, name: &str) -> Vec<Heard> {
        let mut heard = Vec::new();
        loop {
            let next = self.next().await.unwrap_or_else(|| panic!("ended before {name}: {heard:?}"));
            heard.push(next);
            if heard.last().unwrap().name == name {
                return heard;
            }
        }
    }

    async fn ends(&mut self) -> Duration {
        let since = Instant::now();
        while self.block().await.is_some() {}
        since.elapsed()
    }
}

fn names(heard: &[Heard]) -> Vec<&str> {
    heard.iter().map(|event| event.name.as_str()).collect()
}

async fn an_orders_stream_tells_all_and_ends_with_it(app: App) {
    let admin = Client::admin(app.url()).await;
    let sku = admin.product(5.0, 10).await;
    let client = Client::register(app.url()).await;

    // Followed from its beginning, an order tells each step, in order and without a gap,
    let id = place(&client, "k", order(&sku, 1, "pm_card_visa")).await;
    let path = format!("/v1/orders/{id}/events");
    let mut events = Events::open(&client, &path, None).await;
    let mut heard = events.until("confirmed").await;
    assert_eq!(
        names(&heard),
        [
            "accepted",
            "stock_held",
            "intent_created",
            "authorized",
            "stock_committed",
            "captured",
            "confirmed"
        ]
    );
    // and what happens later,
    admin.post(&format!("/v1/orders/{id}/ship"), json!({"trackingNumber": "T1"})).await.expect(200);
    heard.extend(events.until("shipped").await);
    assert_eq!(heard.last().unwrap().data["detail"], "T1");
    admin.post(&format!("/v1/orders/{id}/deliver"), json!({})).await.expect(200);
    heard.extend(events.until("delivered").await);
    // until nothing can follow.
    assert!(events.next().await.is_none());
    let numbers: Vec<String> = (1..=heard.len()).map(|number| number.to_string()).collect();
    assert_eq!(heard.iter().map(|event| event.id.clone()).collect::<Vec<_>>(), numbers);
    // It is what the timeline tells.
    let timeline = client.get(&format!("/v1/orders/{id}/timeline")).await.expect(200);
    for (event, item) in heard.iter().zip(timeline["items"].as_array().unwrap()) {
        assert_eq!((&event.data["orderId"], &event.data["type"]), (&json!(id), &json!(event.name)));
        for field in ["at", "step", "status", "attempt", "detail"] {
            assert_eq!(event.data[field], item[field], "{event:?} {item}");
        }
    }

    // A rejected one ends by itself.
    let id = place(&client, "k2", order(&sku, 1, "pm_card_chargeDeclined")).await;
    let mut events = Events::open(&client, &format!("/v1/orders/{id}/events"), None).await;
    events.until("rejected").await;
    assert!(events.next().await.is_none());

    // Others have no such order; nobody at all has no session.
    let other = Client::register(app.url()).await;
    assert_eq!(ask(&other, &path, None).await.status(), 404);
    assert_eq!(ask(&Client::new(app.url()), &path, None).await.status(), 401);
    assert!(Events::open(&admin, &path, None).await.next().await.is_some());
}

async fn a_stream_goes_on_behind_the_last_event(app: App) {
    let admin = Client::admin(app.url()).await;
    let sku = admin.product(5.0, 10).await;
    let client = Client::register(app.url()).await;
    let id = place(&client, "k", order(&sku, 1, "pm_card_chargeDeclined")).await;
    let path = format!("/v1/orders/{id}/events");
    let all = Events::open(&client, &path, None).await.until("rejected").await;

    for behind in &all {
        let mut events = Events::open(&client, &path, Some(&behind.id)).await;
        let mut rest = Vec::new();
        while let Some(event) = events.next().await {
            rest.push(event.id);
        }
        let number: usize = behind.id.parse().unwrap();
        assert_eq!(rest, all[number..].iter().map(|event| event.id.clone()).collect::<Vec<_>>());
    }
    let beyond = (all.len() + 1).to_string();
    for bad in ["", "-1", "+1", "one", "1.0", "99999999999999999999", beyond.as_str()] {
        let refused = ask(&client, &path, Some(bad)).await;
        assert_eq!(refused.status(), 400, "{bad:?}");
        let problem: Value = refused.json().await.unwrap();
        assert_eq!(problem["errors"][0]["field"], "Last-Event-ID");
    }

    // Of the stream over all my orders nothing is missing behind an event either; some come again, the same.
    let seen = all.first().unwrap().data["id"].clone();
    let page = client.get("/v1/events?limit=100").await.expect(200);
    let mut events = Events::open(&client, "/v1/events", Some("1")).await;
    let first = events.next().await.unwrap();
    assert_eq!(first.data["id"], seen);
    let mut events = Events::open(&client, "/v1/events", Some(&first.id)).await;
    let mut missing: BTreeSet<String> = page["items"].as_array().unwrap().iter().map(id_of).collect();
    assert_eq!(missing.len(), all.len());
    let second = place(&client, "k2", order(&sku, 1, "pm_card_visa")).await;
    missing.insert(format!("{second}:000007"));
    let mut again = Vec::new();
    while !missing.is_empty() {
        let event = events.next().await.unwrap();
        missing.remove(&id_of(&event.data));
        again.extend((event.data["id"] == seen).then_some(event.data));
    }
    assert_eq!(again, [first.data]);
}

fn id_of(event: &Value) -> String {
    event["id"].as_str().unwrap().to_owned()
}

async fn events_of_all_orders_are_for_those_who_may_see_them(app: App) {
    let admin = Client::admin(app.url()).await;
    let sku = admin.product(5.0, 10).await;
    let (one, two) = (Client::register(app.url()).await, Client::register(app.url()).await);
    let mut mine = Events::open(&one, "/v1/events", None).await;
    let mut everybodys = Events::open(&admin, "/v1/events?userId=*", None).await;

    // Of two users, each hears of her own orders alone, and who may of all,
    let of_two = place(&two, "k", order(&sku, 1, "pm_card_visa")).await;
    ended(&two, &of_two).await;
    let of_one = place(&one, "k", order(&sku, 1, "pm_card_visa")).await;
    for event in mine.until("confirmed").await {
        assert_eq!(event.data["orderId"], of_one.as_str());
    }
    let mut heard = BTreeSet::new();
    while heard.len() < 14 {
        let event = everybodys.next().await.unwrap();
        assert!(heard.insert(id_of(&event.data)), "{event:?} came twice");
    }
    // and the same as a list, newest first, page by page.
    let page = one.get("/v1/events").await.expect(200);
    let items = page["items"].as_array().unwrap();
    assert_eq!(
        (items.len(), &items[0]["type"], &items[6]["type"]),
        (7, &json!("confirmed"), &json!("accepted"))
    );
    let mut paged = BTreeSet::new();
    let mut cursor = String::new();
    loop {
        let page = admin.get(&format!("/v1/events?userId=*&limit=5{cursor}")).await.expect(200);
        paged.extend(page["items"].as_array().unwrap().iter().map(id_of));
        let Some(next) = page["nextCursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(paged, heard);
    let of_two = admin.get(&format!("/v1/events?userId={}", two.user_id)).await.expect(200);
    assert_eq!(of_two["items"].as_array().unwrap().len(), 7);

    for whose in ["*", two.user_id.as_str()] {
        let path = format!("/v1/events?userId={whose}");
        assert_eq!(one.get(&path).await.expect(403)["code"], "permission_required");
        assert_eq!(ask(&one, &path, None).await.status(), 403);
    }
    one.get("/v1/events?limit=0").await.expect(422);
    one.get("/v1/events?userId=a%20b").await.expect(422);
}

async fn a_stream_ends_with_its_session(app: App) {
    let client = Client::register(app.url()).await;
    let mut stream = Events::open(&client, "/v1/events", None).await;
    client.post("/v1/users/logout", json!({})).await.expect(204);
    let took = stream.ends().await;
    assert!(took < Duration::from_secs(5), "{took:?}");
}

async fn a_stream_ends_with_the_permission_it_needs(app: App) {
    let admin = Client::admin(app.url()).await;
    let client = Client::register(app.url()).await;
    admin.put("/v1/roles/watcher", json!({"permissions": ["events:read"]})).await.expect(200);
    let roles = format!("/v1/users/{}/roles", client.user_id);
    admin.put(&roles, json!({"roles": ["watcher"]})).await.expect(200);
    let mut all = Events::open(&client, "/v1/events?userId=*", None).await;
    let mut own = Events::open(&client, "/v1/events", None).await;

    admin.put(&roles, json!({"roles": []})).await.expect(200);
    let took = all.ends().await;
    assert!(took < Duration::from_secs(5), "{took:?}");
    // The other one needs none.
    let sku = admin.product(5.0, 1).await;
    place(&client, "k", order(&sku, 1, "pm_card_visa")).await;
    own.until("confirmed").await;
}

async fn a_user_has_ten_streams_at_most(app: App) {
    let client = Client::register(app.url()).await;
    let mut open = Vec::new();
    for _ in 0..10 {
        open.push(Events::open(&client, "/v1/events", None).await);
    }
    let refused = ask(&client, "/v1/events", None).await;
    assert_eq!(refused.status(), 429);
    assert!(refused.headers().contains_key("retry-after"));
    // Another user has places of her own.
    let other = Client::register(app.url()).await;
    Events::open(&other, "/v1/events", None).await;
    // One that is left, which shows when something is sent, frees its place.
    drop(open.pop());
    eventually("there is a place", Duration::from_secs(40), async || {
        (ask(&client, "/v1/events", None).await.status() == 200).then_some(())
    })
    .await;
}

async fn a_replica_that_stops_ends_its_streams(app: App) {
    let client = Client::register(app.url()).await;
    let mut stream = Events::open(&client, "/v1/events", None).await;
    let stopped = tokio::spawn(app.replica.terminate());
    stream.ends().await;
    assert_eq!(stopped.await.unwrap(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_stream_says_that_it_lives() {
    let app = App::start(Backend::Embedded).await;
    let client = Client::register(app.url()).await;
    let mut stream = Events::open(&client, "/v1/events", None).await;
    assert_eq!(stream.block().await.as_deref(), Some(": "));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_replica_does_is_heard_too() {
    // Given two replicas that share a provider,
    let backend = Backend::cluster();
    let (data, beside) = (DataDir::new(), DataDir::new());
    let first = Replica::start(&data.path(), &backend, SHORT_LEASE).await;
    let shared = [("STEWARD__SANDBOX__ENABLED", "false"), ("STEWARD__SANDBOX__URL", first.sandbox.as_str())];
    let second = Replica::start(&beside.path(), &backend, &[SHORT_LEASE, &shared].concat()).await;
    let admin = Client::admin(&first.url).await;
    let sku = admin.product(5.0, 10).await;
    let client = Client::register(&first.url).await;

    // when an order is placed, and later shipped, at the one,
    let elsewhere = client.at(&second.url);
    let mut mine = Events::open(&elsewhere, "/v1/events", None).await;
    let id = place(&client, "k", order(&sku, 1, "pm_card_visa")).await;
    let mut events = Events::open(&elsewhere, &format!("/v1/orders/{id}/events"), None).await;
    assert_eq!(events.until("confirmed").await.len(), 7);
    admin.post(&format!("/v1/orders/{id}/ship"), json!({})).await.expect(200);

    // then those who listen at the other hear of it, and log-outs reach them too.
    events.until("shipped").await;
    assert_eq!(mine.until("shipped").await.len(), 8);
    client.post("/v1/users/logout", json!({})).await.expect(204);
    mine.ends().await;
    events.ends().await;
}
