//! Categories, products and looking for them.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::join_all;
use reqwest::{Method, Response};
use serde_json::{Value, json};

use crate::App;
use crate::support::{Backend, Client, DataDir, Replica, eventually};

crate::over_both_stores!(
    categories_make_a_tree_without_circles,
    a_category_that_was_deleted_is_not_made_anew_by_its_command,
    a_product_is_changed_searched_and_archived,
    of_a_hundred_products_with_one_sku_one_is_made,
    what_a_client_has_of_a_product_of_stock_or_of_a_hold_is_not_sent_again,
    a_search_narrows_sorts_counts_and_pages,
    every_word_of_a_description_is_found_in_any_spelling,
    what_makes_no_sense_is_refused_by_its_field,
    a_price_is_read_alike_for_a_new_product_and_for_a_change,
    only_who_may_changes_the_catalogue,
    a_price_is_shown_in_another_currency_with_the_date_of_its_rate,
);

/// A request with headers of its own.
async fn send(
    client: &Client,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: Option<Value>,
) -> Response {
    let http = reqwest::Client::new();
    let mut request = http.request(method, format!("{}{path}", client.url));
    if let Some(token) = &client.token {
        request = request.bearer_auth(token);
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    if let Some(body) = body {
        request = request.json(&body);
    }
    request.send().await.unwrap()
}

async fn patch(client: &Client, path: &str, body: Value) -> crate::support::Answer {
    client.send(Method::PATCH, path, Some(body), None).await.unwrap()
}

async fn delete(client: &Client, path: &str) -> crate::support::Answer {
    client.send(Method::DELETE, path, None, None).await.unwrap()
}

async fn category(admin: &Client, name: &str, parent: Option<&str>) -> String {
    let made = admin.post("/v1/categories", json!({"name": name, "parentId": parent})).await.expect(201);
    made["id"].as_str().unwrap().to_owned()
}

fn sku() -> String {
    format!("S-{}", uuid::Uuid::new_v4().simple())
}

fn product(name: &str, price: f64, sku: &str) -> Value {
    json!({"name": name, "variants": [{"sku": sku, "name": "One", "price": price, "currency": "EUR"}]})
}

async fn categories_make_a_tree_without_circles(app: App) {
    let admin = Client::admin(app.url()).await;
    let (a, b) = (category(&admin, "A", None).await, category(&admin, "B", None).await);
    let at = |id: &str| format!("/v1/categories/{id}");
    let read = Client::new(app.url()).get(&at(&a)).await.expect(200);
    assert_eq!(read, json!({"id": a, "name": "A", "parentId": null}));

    // Two moves into each other, at the same time.
    for _ in 0..5 {
        let moves = (json!({"parentId": b}), json!({"parentId": a}));
        let (first, second) = (at(&a), at(&b));
        let (one, other) = tokio::join!(patch(&admin, &first, moves.0), patch(&admin, &second, moves.1));
        let statuses = BTreeSet::from([one.status.as_u16(), other.status.as_u16()]);
        assert_eq!(statuses, BTreeSet::from([200, 422]), "{} {}", one.body, other.body);
        for id in [&a, &b] {
            patch(&admin, &at(id), json!({"parentId": null})).await.expect(200);
        }
    }
    patch(&admin, &at(&b), json!({"parentId": a})).await.expect(200);
    let within = admin.get(&format!("/v1/categories?parentId={a}")).await.expect(200);
    assert_eq!(within["items"], json!([{"id": b, "name": "B", "parentId": a}]));
    assert_eq!(delete(&admin, &at(&a)).await.expect(409)["code"], "category_has_children");

    // A change is based on what was read.
    let tag =
        send(&admin, Method::GET, &at(&b), &[], None).await.headers()["etag"].to_str().unwrap().to_owned();
    let named = |name: &str| Some(json!({"name": name}));
    let headers = [("If-Match", tag.as_str())];
    let changed = send(&admin, Method::PATCH, &at(&b), &headers, named("B2")).await;
    assert_eq!(changed.status(), 200);
    assert_ne!(changed.headers()["etag"], tag.as_str());
    assert_eq!(send(&admin, Method::PATCH, &at(&b), &headers, named("B3")).await.status(), 412);
    assert_eq!(send(&admin, Method::DELETE, &at(&b), &headers, None).await.status(), 412);
    assert_eq!(send(&admin, Method::GET, &at(&b), &[("If-None-Match", "*")], None).await.status(), 304);

    // In use, it stays.
    let mut made = product("Thing", 1.0, &sku());
    made["categoryId"] = json!(b);
    let made = admin.post("/v1/products", made).await.expect(201);
    assert_eq!(delete(&admin, &at(&b)).await.expect(409)["code"], "category_in_use");
    let path = format!("/v1/products/{}", made["id"].as_str().unwrap());
    patch(&admin, &path, json!({"categoryId": null})).await.expect(200);
    delete(&admin, &at(&b)).await.expect(204);
    delete(&admin, &at(&b)).await.expect(404);
    delete(&admin, &at(&a)).await.expect(204);
}

async fn a_category_that_was_deleted_is_not_made_anew_by_its_command(app: App) {
    let admin = Client::admin(app.url()).await;
    let make = async |name: &str| admin.post_with_key("/v1/categories", json!({"name": name}), "k").await;
    let made = make("A").await.expect(201);
    assert_eq!(make("A").await.expect(201), made);
    assert_eq!(make("B").await.expect(422)["code"], "idempotency_key_reused");
    delete(&admin, &format!("/v1/categories/{}", made["id"].as_str().unwrap())).await.expect(204);
    assert_eq!(make("A").await.expect(409)["code"], "deleted_since");
    assert_eq!(admin.get("/v1/categories").await.expect(200)["items"], json!([]));
}

async fn a_product_is_changed_searched_and_archived(app: App) {
    let admin = Client::admin(app.url()).await;
    let shopper = Client::register(app.url()).await;
    let (one, two) = (sku(), sku());
    let mut body = product("Blue shirt", 20.0, &one);
    body["description"] = json!("line one\nline two");
    let headers = [("Idempotency-Key", "make-it")];
    let made = send(&admin, Method::POST, "/v1/products", &headers, Some(body.clone())).await;
    assert_eq!(made.status(), 201);
    let path = made.headers()["location"].to_str().unwrap().to_owned();
    let again = send(&admin, Method::POST, "/v1/products", &headers, Some(body)).await;
    assert_eq!((again.status().as_u16(), &again.headers()["location"]), (201, &path.parse().unwrap()));
    assert_eq!(again.headers()["idempotency-replayed"], "true");
    let other = send(&admin, Method::POST, "/v1/products", &headers, Some(product("Other", 1.0, &two))).await;
    assert_eq!(other.status(), 422);

    let change = json!({
        "description": null,
        "imageUrls": ["https://shop.example/a.png"],
        "variants": [{"sku": one, "price": 15.5}, {"sku": two, "name": "Two", "price": 30}],
    });
    let headers = [("If-Match", "\"1\"")];
    let changed = send(&admin, Method::PATCH, &path, &headers, Some(change.clone())).await;
    assert_eq!(changed.status(), 200);
    assert!(changed.headers()["etag"].to_str().unwrap().starts_with("\"2."));
    assert_eq!(send(&admin, Method::PATCH, &path, &headers, Some(change)).await.status(), 412);
    let read = Client::new(app.url()).get(&path).await.expect(200);
    assert_eq!(
        (&read["description"], &read["version"], &read["name"]),
        (&json!(null), &json!(2), &json!("Blue shirt"))
    );
    assert_eq!((&read["variants"][0]["price"], &read["variants"][1]["sku"]), (&json!(15.5), &json!(two)));

    // Orders are at the new price.
    admin.adjust(&one, 5).await;
    let order =
        json!({"lines": [{"sku": one, "quantity": 2}], "paymentMethod": "pm_card_visa", "expectedTotal": 31});
    shopper.post_with_key("/v1/orders", order.clone(), "k1").await.expect(202);
    eventually("nothing is held", Duration::from_secs(30), async || {
        let stock = admin.get(&format!("/v1/inventory/{one}")).await.expect(200);
        (stock["onHand"] == 3 && stock["held"] == 0).then_some(())
    })
    .await;
    delete(&admin, &path).await.expect(204);
    delete(&admin, &path).await.expect(404);
    let read = Client::new(app.url()).get(&path).await.expect(200);
    assert_eq!((&read["archived"], &read["variants"][0]["available"]), (&json!(true), &json!(0)));
    let stock = admin.get(&format!("/v1/inventory/{one}")).await.expect(200);
    assert_eq!((&stock["available"], &stock["onHand"]), (&json!(0), &json!(3)), "none can be ordered");
    patch(&admin, &path, json!({"name": "Still here"})).await.expect(409);
    let refused = shopper.post_with_key("/v1/orders", order, "k2").await.expect(422);
    assert_eq!(refused["errors"][0]["code"], "unknown_sku");
    let found = admin.get("/v1/products?q=blue").await.expect(200);
    assert_eq!(found["items"], json!([]));
    let taken = admin.post("/v1/products", product("New", 1.0, &one)).await.expect(409);
    assert_eq!((&taken["code"], &taken["sku"]), (&json!("sku_taken"), &json!(one)));
}

async fn of_a_hundred_products_with_one_sku_one_is_made(app: App) {
    let admin = Client::admin(app.url()).await;
    let one = sku();
    let made = join_all((0..100).map(|n| {
        let (admin, body) = (admin.clone(), product(&format!("Thing {n}"), 1.0, &one));
        async move { admin.post("/v1/products", body).await.status.as_u16() }
    }))
    .await;
    let count = |status: u16| made.iter().filter(|found| **found == status).count();
    assert_eq!((count(201), count(409)), (1, 99), "{made:?}");
}

async fn tag(client: &Client, path: &str) -> String {
    let answer = send(client, Method::GET, path, &[], None).await;
    answer.headers()["etag"].to_str().unwrap().to_owned()
}

/// The status for a client that has what has this tag.
async fn again(client: &Client, path: &str, tag: &str) -> u16 {
    send(client, Method::GET, path, &[("If-None-Match", tag)], None).await.status().as_u16()
}

async fn what_a_client_has_of_a_product_of_stock_or_of_a_hold_is_not_sent_again(app: App) {
    let (admin, anyone) = (Client::admin(app.url()).await, Client::new(app.url()));
    let one = sku();
    let made = admin.post("/v1/products", product("Cap", 5.0, &one)).await.expect(201);
    let path = format!("/v1/products/{}", made["id"].as_str().unwrap());
    let stock = format!("/v1/inventory/{one}");
    let (product, few, all) =
        (tag(&anyone, &path).await, tag(&anyone, &stock).await, tag(&admin, &stock).await);
    assert_eq!(again(&anyone, &path, &product).await, 304);
    assert_eq!((again(&anyone, &stock, &few).await, again(&admin, &stock, &all).await), (304, 304));
    assert_eq!(again(&admin, &stock, &few).await, 200, "who may see more has not seen it");

    // What is shown beside the product has changed: it is sent again, and may be changed still.
    admin.adjust(&one, 5).await;
    assert_eq!(again(&anyone, &path, &product).await, 200);
    assert_eq!((again(&anyone, &stock, &few).await, again(&admin, &stock, &all).await), (200, 200));
    let based_on = [("If-Match", product.as_str())];
    let named = Some(json!({"name": "Hat"}));
    assert_eq!(send(&admin, Method::PATCH, &path, &based_on, named.clone()).await.status(), 200);
    assert_eq!(send(&admin, Method::PATCH, &path, &based_on, named).await.status(), 412);

    let shopper = Client::register(app.url()).await;
    let asked = json!({"lines": [{"sku": one, "quantity": 1}], "ttlSeconds": 900});
    let hold = send(&shopper, Method::POST, "/v1/holds", &[("Idempotency-Key", "k")], Some(asked)).await;
    let path = hold.headers()["location"].to_str().unwrap().to_owned();
    let held = tag(&shopper, &path).await;
    assert_eq!(hold.headers()["etag"], held.as_str());
    assert_eq!(again(&shopper, &path, &held).await, 304);
    delete(&shopper, &path).await.expect(204);
    assert_eq!(again(&shopper, &path, &held).await, 200);
}

async fn ids(client: &Client, query: &str) -> Vec<String> {
    let (mut found, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = client.get(&format!("/v1/products?{query}{cursor}")).await.expect(200);
        let items = page["items"].as_array().unwrap().clone();
        found.extend(items.iter().map(|item| item["name"].as_str().unwrap().to_owned()));
        match page["nextCursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return found,
        }
    }
}

async fn a_search_narrows_sorts_counts_and_pages(app: App) {
    let admin = Client::admin(app.url()).await;
    let clothes = category(&admin, "Clothes", None).await;
    let shirts = category(&admin, "Shirts", Some(&clothes)).await;
    for (name, price, category, size, stock) in [
        ("Shirt", 30.0, &shirts, "M", 1),
        ("Cap", 10.0, &clothes, "M", 0),
        ("Blue shirt", 20.0, &shirts, "L", 2),
        ("Hook for shirts", 5.0, &clothes, "", 3),
    ] {
        let mut body = product(name, price, &sku());
        body["categoryId"] = json!(category);
        body["attributes"] =
            if size.is_empty() { json!({}) } else { json!({"size": size, "odd name": ".*"}) };
        let made = admin.post("/v1/products", body).await.expect(201);
        if stock > 0 {
            admin.adjust(made["variants"][0]["sku"].as_str().unwrap(), stock).await;
        }
    }
    let shopper = Client::new(app.url());
    for (query, expected) in [
        ("", &["Hook for shirts", "Blue shirt", "Cap", "Shirt"][..]),
        ("q=shirt", &["Shirt", "Hook for shirts", "Blue shirt"]),
        ("q=SHIRT%20bl", &["Blue shirt"]),
        ("sort=price", &["Hook for shirts", "Cap", "Blue shirt", "Shirt"]),
        ("sort=-price&minPrice=5.01", &["Shirt", "Blue shirt", "Cap"]),
        ("minPrice=10&maxPrice=20", &["Blue shirt", "Cap"]),
        ("q=shirt&maxPrice=20&sort=price", &["Hook for shirts", "Blue shirt"]),
        ("inStock=true", &["Hook for shirts", "Blue shirt", "Shirt"]),
        ("inStock=false", &["Cap"]),
        ("attributes.size=M", &["Cap", "Shirt"]),
        ("attributes.size=M&attributes.size=L&sort=price", &["Cap", "Blue shirt", "Shirt"]),
        ("attributes.odd%20name=.%2A&attributes.size=L", &["Blue shirt"]),
        ("attributes.size=.%2A", &[]),
        ("q=.%2A%24%5B", &["Hook for shirts", "Blue shirt", "Cap", "Shirt"]),
        ("q=%22wool%22", &[]),
        ("category=nobody", &[]),
    ] {
        assert_eq!(ids(&shopper, query).await, expected, "{query}");
        assert_eq!(ids(&shopper, &format!("{query}&limit=1")).await, expected, "{query} one by one");
    }
    assert_eq!(ids(&shopper, &format!("category={clothes}")).await.len(), 4);
    assert_eq!(ids(&shopper, &format!("category={shirts}&sort=price")).await, ["Blue shirt", "Shirt"]);

    let page = shopper.get("/v1/products?expand=facets&limit=1").await.expect(200);
    let facets = &page["facets"];
    assert_eq!((&facets["counted"], &facets["complete"]), (&json!(4), &json!(true)));
    let count = |id: &str| {
        json!({"id": id, "name": if id == clothes { "Clothes" } else { "Shirts" },
        "count": if id == clothes { 4 } else { 2 }})
    };
    assert_eq!(facets["categories"], json!([count(&clothes), count(&shirts)]));
    let sizes = json!({"name": "size", "values": [{"value": "M", "count": 2}, {"value": "L", "count": 1}]});
    assert!(facets["attributes"].as_array().unwrap().contains(&sizes), "{facets}");
    let bands = [(5, 10, 1), (10, 20, 1), (20, 50, 2)]
        .map(|(from, until, count)| json!({"from": from, "until": until, "count": count}));
    assert_eq!(facets["prices"], json!(bands));

    // A cursor belongs to its filters.
    let cursor = page["nextCursor"].as_str().unwrap();
    for query in ["q=shirt", "inStock=true", "sort=price", "minPrice=1", "attributes.size=M"] {
        let refused = shopper.get(&format!("/v1/products?{query}&cursor={cursor}")).await.expect(400);
        assert_eq!(refused["code"], "bad_cursor", "{query}");
    }
    shopper.get(&format!("/v1/products?limit=3&cursor={cursor}")).await.expect(200);
}

async fn every_word_of_a_description_is_found_in_any_spelling(app: App) {
    let admin = Client::admin(app.url()).await;
    let told: Vec<String> = (0..300).map(|n| format!("word{n}")).collect();
    let mut body = product("Dessert", 4.5, &sku());
    body["description"] = json!(format!("{} cre\u{300}me", told.join(" ")));
    admin.post("/v1/products", body).await.expect(201);
    for asked in ["word299", "cr%C3%A8me", "CRE%CC%80ME"] {
        assert_eq!(ids(&admin, &format!("q={asked}")).await, ["Dessert"], "{asked}");
    }
}

async fn what_makes_no_sense_is_refused_by_its_field(app: App) {
    let admin = Client::admin(app.url()).await;
    let with = |change: Value| {
        let mut body = product("Thing", 1.0, "S-REFUSED");
        body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        body
    };
    let of_variant = |change: Value| {
        let mut body = product("Thing", 1.0, "S-REFUSED");
        body["variants"][0].as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        body
    };
    let many: Vec<Value> = (0..101)
        .map(|n| json!({"sku": format!("S{n}"), "name": "x", "price": 1, "currency": "EUR"}))
        .collect();
    for (body, field) in [
        (with(json!({"id": "mine"})), "/id"),
        (with(json!({"archived": true})), "/archived"),
        (with(json!({"version": 7})), "/version"),
        (with(json!({"createdAt": "2020-01-01T00:00:00Z"})), "/createdAt"),
        (with(json!({"name": ""})), "/name"),
        (with(json!({"name": "a\u{7}b"})), "/name"),
        (with(json!({"description": "a\u{0}b"})), "/description"),
        (with(json!({"categoryId": "nobody"})), "/categoryId"),
        (with(json!({"categoryId": {"$ne": null}})), "/categoryId"),
        (with(json!({"imageUrls": ["https://x.example/a", "javascript:alert(1)"]})), "/imageUrls/1"),
        (with(json!({"attributes": {"a": ""}})), "/attributes"),
        (with(json!({"attributes": {"a": "\u{202e}x"}})), "/attributes"),
        (with(json!({"attributes": {"a": 1}})), "/attributes/a"),
        (with(json!({"variants": []})), "/variants"),
        (with(json!({"variants": many})), "/variants"),
        (of_variant(json!({"sku": "a b"})), "/variants/0/sku"),
        (of_variant(json!({"price": -1})), "/variants/0/price"),
        (of_variant(json!({"price": 1.001})), "/variants/0/price"),
        (of_variant(json!({"currency": "XXX"})), "/variants/0/currency"),
        (of_variant(json!({"available": 100})), "/variants/0/available"),
    ] {
        let refused = admin.post("/v1/products", body.clone()).await.expect(422);
        assert_eq!(refused["errors"][0]["field"], field, "{body} → {refused}");
    }
    for (body, field) in [
        (json!({"name": ""}), "/name"),
        (json!({"name": "x", "id": "mine"}), "/id"),
        (json!({"name": "x", "products": 0}), "/products"),
        (json!({"name": "x", "parentId": "nobody"}), "/parentId"),
        (json!({"name": "x", "parentId": "$ne"}), "/parentId"),
    ] {
        let refused = admin.post("/v1/categories", body.clone()).await.expect(422);
        assert_eq!(refused["errors"][0]["field"], field, "{body} → {refused}");
    }
    let long = "x".repeat(300);
    for (query, field) in [
        ("limit=0", "limit"),
        ("limit=99999999999999999999", "limit"),
        ("sort=name", "sort"),
        ("minPrice=-1", "minPrice"),
        ("maxPrice=1e9", "maxPrice"),
        ("minPrice=1.00001", "minPrice"),
        ("inStock=maybe", "inStock"),
        ("category=%24ne", "category"),
        ("expand=stock", "expand"),
        ("attributes.=x", "attributes."),
        ("attributes.size=", "attributes.size"),
        ("attributes[size]=M", "attributes[size]"),
        ("name=x", "name"),
        (&format!("q={long}"), "q"),
        (&format!("attributes.a={long}"), "attributes.a"),
        (&(0..21).map(|n| format!("attributes.a={n}&")).collect::<String>(), "attributes"),
    ] {
        let refused = admin.get(&format!("/v1/products?{query}")).await.expect(422);
        assert_eq!(refused["errors"][0]["field"], field, "{query} → {refused}");
    }
    let made = admin.post("/v1/products", product("Thing", 1.0, &sku())).await.expect(201);
    let path = format!("/v1/products/{}", made["id"].as_str().unwrap());
    for (body, field) in [
        (json!({"name": null}), "/name"),
        (json!({"archived": true}), "/archived"),
        (json!({"variants": [{"sku": "NEW"}]}), "/variants/0/name"),
        (json!({"variants": [{"sku": made["variants"][0]["sku"], "currency": "USD"}]}), "/variants/0/price"),
    ] {
        let refused = patch(&admin, &path, body.clone()).await.expect(422);
        assert_eq!(refused["errors"][0]["field"], field, "{body} → {refused}");
    }
    assert_eq!(admin.get(&path).await.expect(200)["version"], 1, "nothing is half-done");
    let malformed = send(&admin, Method::PATCH, &path, &[("If-Match", "1")], Some(json!({}))).await;
    assert_eq!(malformed.status(), 400);
}

async fn a_price_is_read_alike_for_a_new_product_and_for_a_change(app: App) {
    let admin = Client::admin(app.url()).await;
    let (sku, http) = (sku(), reqwest::Client::new());
    let sent = async |method: Method, path: &str, price: &str| {
        let variant = format!(r#"{{"sku": "{sku}", "name": "One", "price": {price}, "currency": "EUR"}}"#);
        http.request(method, format!("{}{path}", app.url()))
            .bearer_auth(admin.token.as_deref().unwrap())
            .header("Content-Type", "application/json")
            .body(format!(r#"{{"name": "Thing", "variants": [{variant}]}}"#))
            .send()
            .await
            .unwrap()
    };
    let tail = "0".repeat(42);
    let made = sent(Method::POST, "/v1/products", &format!("0.3{tail}")).await;
    assert_eq!(made.status(), 201);
    let path = made.headers()["location"].to_str().unwrap().to_owned();
    for (price, shown) in [(format!("0.4{tail}"), 0.4), (format!("0.{tail}5e42"), 0.5)] {
        assert_eq!(sent(Method::PATCH, &path, &price).await.status(), 200, "{price}");
        assert_eq!(admin.get(&path).await.expect(200)["variants"][0]["price"], shown);
    }
    for (method, path) in [(Method::POST, "/v1/products"), (Method::PATCH, path.as_str())] {
        for price in [format!("0.3{tail}1"), format!("1.{tail}1e0"), "0.305".to_owned()] {
            assert_eq!(sent(method.clone(), path, &price).await.status(), 422, "{method} {price}");
        }
    }
}

async fn only_who_may_changes_the_catalogue(app: App) {
    let admin = Client::admin(app.url()).await;
    let within = category(&admin, "A", None).await;
    let made = admin.post("/v1/products", product("Thing", 1.0, &sku())).await.expect(201);
    let customer = Client::register(app.url()).await;
    let (at, of) =
        (format!("/v1/products/{}", made["id"].as_str().unwrap()), format!("/v1/categories/{within}"));
    for (client, status) in [(&customer, 403), (&Client::new(app.url()), 401)] {
        client.post("/v1/products", product("Mine", 1.0, &sku())).await.expect(status);
        client.post("/v1/categories", json!({"name": "Mine"})).await.expect(status);
        for path in [&at, &of] {
            patch(client, path, json!({"name": "Mine"})).await.expect(status);
            delete(client, path).await.expect(status);
            client.get(path).await.expect(200);
        }
    }
    assert_eq!(admin.get(&at).await.expect(200)["name"], "Thing");
}

async fn a_price_is_shown_in_another_currency_with_the_date_of_its_rate(app: App) {
    let admin = Client::admin(app.url()).await;
    let made = admin.post("/v1/products", product("Thing", 10.0, &sku())).await.expect(201);
    let path = format!("/v1/products/{}", made["id"].as_str().unwrap());
    let shopper = Client::new(app.url());
    let converted = eventually("rates are there", Duration::from_secs(30), async || {
        let shown = shopper.get(&format!("{path}?currency=USD")).await;
        (shown.status == 200).then(|| shown.expect(200)["variants"][0].clone())
    })
    .await;
    assert_eq!((&converted["price"], &converted["currency"]), (&json!(10), &json!("EUR")), "the price stays");
    let converted = &converted["converted"];
    assert_eq!((&converted["price"], &converted["currency"]), (&json!(10.85), &json!("USD")));
    assert_eq!(converted["rateDate"].as_str().unwrap().len(), 10);
    let page = shopper.get("/v1/products?currency=JPY").await.expect(200);
    assert_eq!(page["items"][0]["variants"][0]["converted"]["price"], 1632);
    assert!(shopper.get(&path).await.expect(200)["variants"][0].get("converted").is_none());
    for bad in ["currency=XXX", "currency=usd", "currency=BTN", "currency="] {
        let refused = shopper.get(&format!("{path}?{bad}")).await.expect(422);
        assert_eq!(refused["errors"][0]["field"], "currency", "{bad}");
    }
}

/// Nobody listens there.
const NO_PUBLISHER: [(&str, &str); 1] = [("STEWARD__RATES__URL", "http://127.0.0.1:9/eurofxref-daily.xml")];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rates_outlive_their_publisher_and_before_the_first_the_answer_is_503() {
    for backend in [Backend::Embedded, Backend::cluster()] {
        let data = DataDir::new();
        let replica = Replica::start(&data.path(), &backend, &NO_PUBLISHER).await;
        let admin = Client::admin(&replica.url).await;
        let made = admin.post("/v1/products", product("Thing", 10.0, &sku())).await.expect(201);
        let path = format!("/v1/products/{}?currency=USD", made["id"].as_str().unwrap());
        for path in [&path, "/v1/products?currency=USD"] {
            assert_eq!(admin.get(path).await.expect(503)["code"], "no_rates", "{path}");
        }
        admin.get("/v1/products?currency=USD&limit=0").await.expect(422);
        assert_eq!(replica.terminate().await, Some(0));

        let converted = |shown: Value| shown["variants"][0]["converted"].clone();
        let replica = Replica::start(&data.path(), &backend, &[]).await;
        let shopper = Client::new(&replica.url);
        let first = eventually("rates are there", Duration::from_secs(30), async || {
            let shown = shopper.get(&path).await;
            (shown.status == 200).then(|| converted(shown.expect(200)))
        })
        .await;
        assert_eq!(replica.terminate().await, Some(0));

        let replica = Replica::start(&data.path(), &backend, &NO_PUBLISHER).await;
        let kept = Client::new(&replica.url).get(&path).await.expect(200);
        assert_eq!(converted(kept), first);
    }
}
