//! Accounts that are kept by hand.

use std::time::Duration;

use reqwest::Method;
use reqwest::header::{ETAG, HeaderMap};
use serde_json::{Value, json};

use crate::App;
use crate::support::{Client, eventually};

crate::over_both_stores!(
    accounts_of_every_type_are_made_changed_and_deleted,
    a_bad_account_names_the_field,
    a_command_that_comes_again_makes_one_account_and_one_transaction,
    a_link_that_comes_again_makes_one_connection,
    synced_accounts_take_a_name_and_hidden_only,
    balances_are_kept_by_day,
    net_worth_adds_up_in_one_currency_and_says_by_which_rates,
    anothers_accounts_cannot_be_touched,
);

/// Credit, loan, checking, savings, investment.
fn samples() -> [Value; 5] {
    [
        json!({"type": "credit", "provider": "Chase", "accountName": "Chase Freedom", "balance": 1200.45,
            "currency": "USD", "details": {"creditLimit": 5000, "availableCredit": 3799.55, "apr": 19.99,
            "dueDate": "2025-06-15"}}),
        json!({"type": "loan", "accountName": "Student Loan", "balance": 8000, "currency": "EUR",
            "details": {"principal": 10000, "interestRate": 4.5, "remainingTermMonths": 12}}),
        json!({"type": "checking", "accountName": "Cash", "balance": -12, "currency": "JPY", "details": {}}),
        json!({"type": "savings", "accountName": "Rainy days", "balance": 0.005, "currency": "KWD",
            "hidden": true, "details": {"apy": -0.25}}),
        json!({"type": "investment", "accountName": "Shares", "balance": 250, "currency": "USD",
            "details": {"holdings": [{"symbol": "ACME", "quantity": 2.5, "price": 100}]}}),
    ]
}

async fn make(client: &Client, body: &Value) -> Value {
    client.post("/v1/accounts", body.clone()).await.expect(201)
}

fn path(account: &Value) -> String {
    format!("/v1/accounts/{}", account["id"].as_str().unwrap())
}

/// Sends with one more header; the status, the answer's headers and its body.
async fn with_header(
    client: &Client,
    (method, path): (Method, &str),
    body: Option<&Value>,
    header: (&str, &str),
) -> (u16, HeaderMap, Value) {
    let mut request = reqwest::Client::new().request(method, format!("{}{path}", client.url));
    request = request.bearer_auth(client.token.as_ref().unwrap()).header(header.0, header.1);
    if let Some(body) = body {
        request = request.json(body);
    }
    let answer = request.send().await.unwrap();
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    (status, headers, answer.json().await.unwrap_or(Value::Null))
}

async fn accounts_of_every_type_are_made_changed_and_deleted(app: App) {
    let client = Client::register(app.url()).await;
    let list = format!("/v1/users/{}/accounts", client.user_id);
    let mut made = Vec::new();
    for body in samples() {
        let account = make(&client, &body).await;
        for (field, said) in body.as_object().unwrap() {
            match field.as_str() {
                "details" => {
                    for (field, said) in said.as_object().unwrap() {
                        assert_eq!(&account["details"][field], said, "{account}");
                    }
                }
                _ => assert_eq!(&account[field], said, "{account}"),
            }
        }
        assert_eq!((&account["connectionId"], &account["userId"]), (&Value::Null, &json!(client.user_id)));
        assert_eq!(client.get(&path(&account)).await.expect(200), account);
        made.push(account);
        // The list, which was asked for before, has it at once.
        assert_eq!(client.get(&list).await.expect(200)["accounts"], json!(made));
    }
    assert_eq!(
        (&made[1]["provider"], &made[2]["details"]["routingNumber"]),
        (&json!("Manual"), &Value::Null)
    );
    let credit = client.get(&format!("{list}?type=credit")).await.expect(200);
    assert_eq!(credit["accounts"], json!([made[0]]));
    // Page by page, as memory has it.
    let first = client.get(&format!("{list}?limit=2")).await.expect(200);
    let next = format!("{list}?limit=2&cursor={}", first["nextCursor"].as_str().unwrap());
    let second = client.get(&next).await.expect(200);
    assert_eq!(json!([first["accounts"], second["accounts"]]), json!([made[..2], made[2..4]]));

    // Only what is named changes; a change based on an older version does not count.
    let change = json!({"accountName": "Visa", "balance": 7.5, "details": {"apr": 1, "dueDate": null}});
    let (status, headers, changed) =
        with_header(&client, (Method::PATCH, &path(&made[0])), Some(&change), ("If-Match", "\"1\"")).await;
    assert_eq!((status, headers[ETAG].to_str().unwrap()), (200, "\"2\""), "{changed}");
    let (late, ..) =
        with_header(&client, (Method::PATCH, &path(&made[0])), Some(&change), ("If-Match", "\"1\"")).await;
    assert_eq!(late, 412);
    let details = json!({"creditLimit": 5000, "availableCredit": 3799.55, "apr": 1, "dueDate": null});
    assert_eq!((&changed["accountName"], &changed["details"]), (&json!("Visa"), &details));
    assert_eq!((&changed["balance"], &changed["provider"]), (&json!(7.5), &json!("Chase")));
    assert!(changed["balanceAsOf"].as_str() > made[0]["balanceAsOf"].as_str(), "{changed}");
    assert_eq!(client.get(&list).await.expect(200)["accounts"][0], changed);
    let back = client.patch(&path(&made[0]), json!({"accountName": null})).await.expect(200);
    assert_eq!(
        (&back["accountName"], &back["balanceAsOf"]),
        (&json!("Chase Freedom"), &changed["balanceAsOf"])
    );

    // A transaction leaves the balance, and goes with its account.
    let spent = json!({"date": "2026-01-31", "amount": -5, "description": "tram"});
    let transactions = format!("{}/transactions", path(&made[0]));
    let spent = client.post(&transactions, spent).await.expect(201);
    assert_eq!(client.get(&path(&made[0])).await.expect(200)["balance"], json!(7.5));
    assert_eq!(client.get("/v1/transactions").await.expect(200)["items"], json!([spent]));
    let (stale, ..) =
        with_header(&client, (Method::DELETE, &path(&made[0])), None, ("If-Match", "\"1\"")).await;
    assert_eq!(stale, 412);
    client.delete(&path(&made[0])).await.expect(204);
    client.delete(&path(&made[0])).await.expect(404);
    client.get(&path(&made[0])).await.expect(404);
    client.get(&transactions).await.expect(404);
    assert_eq!(client.get("/v1/transactions").await.expect(200)["items"], json!([]));
    assert_eq!(client.get(&list).await.expect(200)["accounts"], json!(made[1..]));
    // What was written down while it went is looked for later.
    let admin = Client::admin(app.url()).await;
    let jobs = admin.get("/v1/admin/jobs?limit=100").await.expect(200);
    assert!(jobs.to_string().contains("account_removal"), "{jobs}");
}

async fn a_bad_account_names_the_field(app: App) {
    let client = Client::register(app.url()).await;
    let credit = &samples()[0];
    let account = make(&client, credit).await;
    let with = |changes: Value| {
        let mut body = credit.clone();
        for (field, value) in changes.as_object().unwrap() {
            match field.strip_prefix("details.") {
                Some(field) => body["details"][field] = value.clone(),
                None => body[field] = value.clone(),
            }
        }
        body
    };
    let cases = [
        (json!({"type": "yacht"}), "/type"),
        (json!({"accountName": " "}), "/accountName"),
        (json!({"accountName": "x".repeat(121)}), "/accountName"),
        (json!({"accountName": "a\nb"}), "/accountName"),
        (json!({"provider": ""}), "/provider"),
        (json!({"balance": 1.005}), "/balance"),
        (json!({"balance": "1"}), "/balance"),
        (json!({"balance": 1e300}), "/balance"),
        (json!({"balance": 12_345_678_901_234_567_u64}), "/balance"),
        (json!({"currency": "usd"}), "/currency"),
        (json!({"currency": "JPY"}), "/balance"),
        (json!({"colour": "red"}), "/colour"),
        (json!({"details.apr": 1001}), "/details/apr"),
        (json!({"details.apr": "19.99"}), "/details/apr"),
        (json!({"details.creditLimit": -1}), "/details/creditLimit"),
        (json!({"details.dueDate": "2025-02-30"}), "/details/dueDate"),
        (json!({"details.dueDate": "9999-12-31"}), "/details/dueDate"),
        (json!({"details.principal": 1}), "/details/principal"),
        (json!({"details.yacht": 1}), "/details/yacht"),
        (
            json!({"details.holdings": [{"symbol": "A", "quantity": -1, "price": 1}]}),
            "/details/holdings/0/quantity",
        ),
    ];
    for (changes, field) in cases {
        let refused = client.post("/v1/accounts", with(changes.clone())).await.expect(422);
        assert_eq!(refused["errors"][0]["field"], field, "{refused}");
        client.patch(&path(&account), changes_of(&changes)).await.expect(422);
    }
    let mut missing = credit.clone();
    missing["details"].as_object_mut().unwrap().remove("apr");
    let refused = client.post("/v1/accounts", missing).await.expect(400);
    assert_eq!(
        (&refused["code"], &refused["errors"][0]["field"]),
        (&json!("missing_field"), &json!("/details/apr"))
    );
    for (field, bad) in [
        ("date", "9999-12-31"),
        ("description", "a\u{202e}b"),
        ("description", " "),
        ("category", "a\nb"),
        ("note", "a\u{0}b"),
    ] {
        let mut told = json!({"date": "2026-01-31", "amount": 1, "description": "tram"});
        told[field] = json!(bad);
        let refused = client.post(&format!("{}/transactions", path(&account)), told).await.expect(422);
        assert_eq!(refused["errors"][0]["field"], format!("/{field}"), "{refused}");
    }
    assert_eq!(client.get("/v1/accounts").await.expect(200)["items"], json!([account]), "nothing came of it");
}

/// The same as a change of an account.
fn changes_of(changes: &Value) -> Value {
    let mut body = json!({});
    for (field, value) in changes.as_object().unwrap() {
        match field.strip_prefix("details.") {
            Some(field) => body["details"] = json!({field: value}),
            None => body[field] = value.clone(),
        }
    }
    body
}

async fn a_command_that_comes_again_makes_one_account_and_one_transaction(app: App) {
    let client = Client::register(app.url()).await;
    let key = ("Idempotency-Key", "k1");
    let [body, other, ..] = samples();
    let create = (Method::POST, "/v1/accounts");
    let (status, headers, first) = with_header(&client, create.clone(), Some(&body), key).await;
    assert_eq!((status, headers.contains_key("idempotency-replayed")), (201, false));
    client.patch(&path(&first), json!({"hidden": true})).await.expect(200);
    let (status, headers, again) = with_header(&client, create.clone(), Some(&body), key).await;
    assert_eq!((status, &again["id"], &again["hidden"]), (201, &first["id"], &json!(true)), "rendered anew");
    assert_eq!(headers["idempotency-replayed"], "true");
    let (status, _, reused) = with_header(&client, create.clone(), Some(&other), key).await;
    assert_eq!((status, &reused["code"]), (422, &json!("idempotency_key_reused")));
    let parallel = (0..10).map(|_| client.post_with_key("/v1/accounts", other.clone(), "k2"));
    let made = futures_util::future::join_all(parallel).await;
    let ids: std::collections::BTreeSet<String> =
        made.into_iter().map(|made| made.expect(201)["id"].to_string()).collect();
    assert_eq!(ids.len(), 1);
    // Another user's key is another key.
    let stranger = Client::register(app.url()).await;
    assert_ne!(with_header(&stranger, create.clone(), Some(&body), key).await.2["id"], first["id"]);

    let spent = json!({"date": "2026-01-31", "amount": -5, "description": "tram", "note": "n"});
    let transactions = format!("{}/transactions", path(&first));
    let record = (Method::POST, transactions.as_str());
    let (_, _, one) = with_header(&client, record.clone(), Some(&spent), key).await;
    let (status, headers, same) = with_header(&client, record.clone(), Some(&spent), key).await;
    assert_eq!(
        (status, &same["id"], &headers["idempotency-replayed"]),
        (201, &one["id"], &"true".parse().unwrap())
    );
    let other = json!({"date": "2026-01-31", "amount": -6, "description": "tram"});
    assert_eq!(with_header(&client, record, Some(&other), key).await.0, 422);
    let all = client.get("/v1/transactions").await.expect(200);
    assert_eq!(all["items"].as_array().unwrap().len(), 1, "{all}");

    // What was deleted since is not made anew by a repeat that comes late,
    client.delete(&path(&first)).await.expect(204);
    let (status, _, late) = with_header(&client, create.clone(), Some(&body), key).await;
    assert_eq!((status, &late["code"]), (409, &json!("deleted_since")), "{late}");
    client.get(&path(&first)).await.expect(404);
    // and another key makes another one.
    let another = ("Idempotency-Key", "k3");
    assert_eq!(with_header(&client, create, Some(&body), another).await.0, 201);
}

async fn a_link_that_comes_again_makes_one_connection(app: App) {
    let client = Client::register(app.url()).await;
    let (body, key) = (json!({"provider": "sandbox", "setupToken": "sandbox"}), ("Idempotency-Key", "l1"));
    let create = (Method::POST, "/v1/connections");
    let (status, headers, first) = with_header(&client, create.clone(), Some(&body), key).await;
    assert_eq!((status, headers.contains_key("idempotency-replayed")), (201, false), "{first}");
    let (status, headers, again) = with_header(&client, create.clone(), Some(&body), key).await;
    assert_eq!(
        (status, &again["id"], headers.contains_key("idempotency-replayed")),
        (201, &first["id"], true)
    );
    let other = json!({"provider": "sandbox", "setupToken": "sandbox-slow"});
    let (status, _, reused) = with_header(&client, create.clone(), Some(&other), key).await;
    assert_eq!((status, &reused["code"]), (422, &json!("idempotency_key_reused")));
    let path = format!("/v1/connections/{}", first["id"].as_str().unwrap());
    client.delete(&path).await.expect(204);
    let (status, _, late) = with_header(&client, create, Some(&body), key).await;
    assert_eq!((status, &late["code"]), (409, &json!("deleted_since")), "{late}");
    let all = client.get("/v1/connections").await.expect(200);
    assert_eq!(all["items"], json!([]), "{all}");
}

async fn linked(client: &Client) -> Vec<Value> {
    client.post("/v1/connections", json!({"provider": "sandbox", "setupToken": "sandbox"})).await.expect(201);
    eventually("three accounts appear", Duration::from_secs(30), async || {
        let page = client.get("/v1/accounts").await.expect(200);
        (page["items"].as_array().unwrap().len() == 3).then(|| page["items"].as_array().unwrap().clone())
    })
    .await
}

async fn synced_accounts_take_a_name_and_hidden_only(app: App) {
    let client = Client::register(app.url()).await;
    let account = linked(&client).await.remove(0);
    let change = json!({"accountName": "Mine", "hidden": true});
    let changed = client.patch(&path(&account), change).await.expect(200);
    assert_eq!((&changed["accountName"], &changed["hidden"]), (&json!("Mine"), &json!(true)));
    for change in [json!({"balance": 1}), json!({"provider": "Me"}), json!({"details": {}, "hidden": false})]
    {
        let refused = client.patch(&path(&account), change).await.expect(409);
        assert_eq!(refused["code"], "synced");
    }
    assert_eq!(client.delete(&path(&account)).await.expect(409)["code"], "synced");
    assert_eq!(client.get(&path(&account)).await.expect(200), changed);
    // Kept by hand once its connection is gone.
    let connection = format!("/v1/connections/{}", account["connectionId"].as_str().unwrap());
    client.delete(&connection).await.expect(204);
    let changed = client.patch(&path(&account), json!({"balance": 1})).await.expect(200);
    assert_eq!((&changed["balance"], &changed["accountName"]), (&json!(1), &json!("Mine")));
    client.delete(&path(&account)).await.expect(204);
}

async fn balances_are_kept_by_day(app: App) {
    let client = Client::register(app.url()).await;
    let synced = linked(&client).await.remove(0);
    let by_hand = make(&client, &samples()[0]).await;
    let changed = client.patch(&path(&by_hand), json!({"balance": 3.5})).await.expect(200);
    for account in [&synced, &changed] {
        let as_of = &account["balanceAsOf"];
        let today = as_of.as_str().unwrap()[..10].to_owned();
        let expected = json!({"accountId": account["id"], "date": today, "balance": account["balance"],
            "currency": "USD", "asOf": as_of});
        let balances = format!("{}/balances", path(account));
        let history = client.get(&balances).await.expect(200);
        assert_eq!(history, json!({"items": [expected], "nextCursor": null}));
        for (filter, found) in [
            (format!("from={today}&to={today}"), 1),
            ("to=2020-01-01".to_owned(), 0),
            ("from=9999-12-31".to_owned(), 0),
            ("from=2030-01-01&to=2020-01-01".to_owned(), 0),
        ] {
            let page = client.get(&format!("{balances}?{filter}")).await.expect(200);
            assert_eq!(page["items"].as_array().unwrap().len(), found, "{filter}: {page}");
        }
        client.get(&format!("{balances}?from=soon")).await.expect(422);
        client.get(&format!("{balances}?cursor=AAAA")).await.expect(400);
    }
}

async fn anothers_accounts_cannot_be_touched(app: App) {
    let owner = Client::register(app.url()).await;
    let other = Client::register(app.url()).await;
    let account = make(&owner, &samples()[0]).await;
    let path = path(&account);
    other.get(&path).await.expect(404);
    other.patch(&path, json!({"hidden": true})).await.expect(404);
    other.patch(&path, json!({"balance": 1})).await.expect(404);
    other.delete(&path).await.expect(404);
    other.get(&format!("{path}/balances")).await.expect(404);
    other.get(&format!("{path}/transactions")).await.expect(404);
    let body = json!({"date": "2026-01-31", "amount": 5, "description": "a gift"});
    other.post(&format!("{path}/transactions"), body).await.expect(404);
    other.get(&format!("/v1/users/{}/accounts", owner.user_id)).await.expect(404);
    assert_eq!(other.get("/v1/accounts").await.expect(200)["items"], json!([]));
    assert_eq!(owner.get(&path).await.expect(200), account);
}

async fn net_worth_adds_up_in_one_currency_and_says_by_which_rates(app: App) {
    let client = Client::register(app.url()).await;
    let path = format!("/v1/users/{}/net-worth?currency=", client.user_id);
    let nothing = client.get(&format!("{path}KWD")).await.expect(200);
    assert_eq!((&nothing["netWorth"], &nothing["rateDate"]), (&json!(0), &Value::Null), "{nothing}");
    // What is owed is subtracted, what is hidden is left out.
    let made = |kind: &str, balance: f64, currency: &str, hidden: bool| {
        let mut body = samples().into_iter().find(|body| body["type"] == kind).unwrap();
        (body["balance"], body["currency"], body["hidden"]) =
            (json!(balance), json!(currency), json!(hidden));
        body
    };
    for body in [
        made("checking", 1000.5, "USD", false),
        made("credit", 200.25, "USD", false),
        made("loan", 100.0, "USD", false),
        made("checking", 9999.0, "USD", true),
    ] {
        make(&client, &body).await;
    }
    let plain = client.get(&format!("{path}USD")).await.expect(200);
    assert_eq!((&plain["netWorth"], &plain["accounts"]), (&json!(700.25), &json!(3)), "{plain}");
    assert_eq!((&plain["rateDate"], plain["asOf"].is_string()), (&Value::Null, true));
    // Others are converted by dated rates, once there are some.
    make(&client, &made("checking", 100.0, "EUR", false)).await;
    let mixed = eventually("there are rates", Duration::from_secs(30), async || {
        let answer = client.get(&format!("{path}USD")).await;
        (answer.status != 503).then(|| answer.expect(200))
    })
    .await;
    let parts = mixed["parts"].as_array().unwrap();
    assert_eq!(
        parts.iter().map(|part| part["currency"].as_str().unwrap()).collect::<Vec<_>>(),
        ["EUR", "USD"]
    );
    let sum = parts[0]["converted"].as_f64().unwrap() + 700.25;
    assert!((mixed["netWorth"].as_f64().unwrap() - sum).abs() < 0.001 && sum > 701.0, "{mixed}");
    assert_eq!(mixed["rateDate"].as_str().unwrap().len(), 10);
    // What cannot be converted makes the sum unknown, not smaller.
    make(&client, &made("checking", 5.0, "BTN", false)).await;
    let unknown = client.get(&format!("{path}USD")).await.expect(200);
    assert_eq!((&unknown["netWorth"], &unknown["parts"][0]["converted"]), (&Value::Null, &Value::Null));
    assert_eq!(unknown["parts"][0]["amount"], json!(5), "{unknown}");
    for bad in ["XXX", "usd", "", "BTN"] {
        let refused = client.get(&format!("{path}{bad}")).await.expect(422);
        assert_eq!(refused["errors"][0]["field"], "currency", "{bad}: {refused}");
    }
    client.get(path.trim_end_matches("?currency=")).await.expect(400);
    let other = Client::register(app.url()).await;
    other.get(&format!("{path}USD")).await.expect(404);
    Client::admin(app.url()).await.get(&format!("{path}USD")).await.expect(404);
}
