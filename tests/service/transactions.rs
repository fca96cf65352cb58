//! Transactions of linked accounts.

use std::time::Duration;

use serde_json::{Value, json};

use crate::App;
use crate::support::{Client, eventually};

crate::over_both_stores!(
    a_linked_bank_brings_a_year_of_transactions_once,
    what_a_user_notes_survives_syncs,
    filters_and_cursors_show_each_transaction_once,
    bad_filters_and_changes_name_the_field,
    transactions_of_others_are_not_there,
    accounts_deleted_with_their_connection_leave_no_transactions,
);

struct Linked {
    client: Client,
    connection: String,
}

impl Linked {
    async fn new(app: &App) -> Self {
        let client = Client::register(app.url()).await;
        let body = json!({"provider": "sandbox", "setupToken": "sandbox"});
        let connection = client.post("/v1/connections", body).await.expect(201);
        let linked = Self { client, connection: connection["id"].as_str().unwrap().to_owned() };
        linked.finished(1).await;
        linked
    }

    /// The last of so many finished runs.
    async fn finished(&self, count: usize) -> Value {
        let runs = format!("/v1/connections/{}/runs", self.connection);
        eventually("the run ends", Duration::from_secs(30), async || {
            let runs = self.client.get(&runs).await.expect(200)["items"].as_array().unwrap().clone();
            let finished = runs.iter().filter(|run| run["status"] == "finished").count();
            (finished >= count).then(|| runs[0].clone())
        })
        .await
    }

    async fn all(&self, filter: &str) -> Vec<Value> {
        let (mut all, mut cursor) = (Vec::new(), String::new());
        for _ in 0..100 {
            let page =
                self.client.get(&format!("/v1/transactions?limit=100{filter}{cursor}")).await.expect(200);
            all.extend(page["items"].as_array().unwrap().clone());
            match page["nextCursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return all,
            }
        }
        panic!("pages without end");
    }
}

async fn a_linked_bank_brings_a_year_of_transactions_once(app: App) {
    let linked = Linked::new(&app).await;
    let all = linked.all("").await;
    let days: Vec<&str> = all.iter().map(|one| one["date"].as_str().unwrap()).collect();
    assert!(all.len() > 400, "three accounts, every second day of a year: {}", all.len());
    assert!(days.is_sorted_by(|one, next| one >= next), "newest first");
    let (newest, oldest) = (days[0].to_owned(), days[days.len() - 1].to_owned());
    assert!(newest[..4].parse::<i32>().unwrap() > oldest[..4].parse::<i32>().unwrap(), "{oldest}..{newest}");

    linked.client.post(&format!("/v1/connections/{}/sync", linked.connection), json!({})).await.expect(202);
    let again = linked.finished(2).await;
    assert_eq!((&again["outcome"], &again["added"]), (&json!("complete"), &json!(0)), "{again}");
    assert_eq!(linked.all("").await.len(), all.len());
}

async fn what_a_user_notes_survives_syncs(app: App) {
    let linked = Linked::new(&app).await;
    let client = &linked.client;
    let one = linked.all("&pending=false").await.remove(0);
    let path = format!("/v1/transactions/{}", one["id"].as_str().unwrap());
    let noted = client.patch(&path, json!({"category": "food", "note": "with Ada"})).await.expect(200);
    assert_eq!((&noted["category"], &noted["note"]), (&json!("food"), &json!("with Ada")));
    client.post(&format!("/v1/connections/{}/sync", linked.connection), json!({})).await.expect(202);
    linked.finished(2).await;
    assert_eq!(client.get(&path).await.expect(200), noted);
    let cleared = client.patch(&path, json!({"note": null})).await.expect(200);
    assert_eq!((&cleared["category"], &cleared["note"]), (&json!("food"), &Value::Null));
    let nothing = client.post(&format!("{path}/unmerge"), json!({})).await.expect(409);
    assert_eq!(nothing["code"], "nothing_merged");
    let account = one["accountId"].as_str().unwrap();
    let body = json!({"date": "2026-01-31", "amount": 5, "description": "by hand"});
    let synced = client.post(&format!("/v1/accounts/{account}/transactions"), body).await.expect(409);
    assert_eq!(synced["code"], "synced");
}

async fn filters_and_cursors_show_each_transaction_once(app: App) {
    let linked = Linked::new(&app).await;
    let all = linked.all("").await;
    let coffee = linked.all("&q=blue%20bot").await;
    assert!(!coffee.is_empty() && coffee.iter().all(|one| one["description"] == "Blue Bottle Coffee"));
    let by_word = all.iter().filter(|one| one["description"] == "Blue Bottle Coffee").count();
    assert_eq!(coffee.len(), by_word);
    for (filter, fits) in [
        (
            "&minAmount=0.01",
            &(|one: &Value| one["amount"].as_f64().unwrap() > 0.0) as &dyn Fn(&Value) -> bool,
        ),
        ("&maxAmount=-100", &|one| one["amount"].as_f64().unwrap() <= -100.0),
        ("&pending=true", &|one| one["pending"] == true),
    ] {
        let filtered = linked.all(filter).await;
        let expected: Vec<&Value> = all.iter().filter(|one| fits(one)).collect();
        assert_eq!(filtered.iter().collect::<Vec<_>>(), expected, "{filter}");
    }
    let day = all[all.len() / 2]["date"].as_str().unwrap();
    let of_day = linked.all(&format!("&from={day}&to={day}")).await;
    assert!(!of_day.is_empty() && of_day.iter().all(|one| one["date"] == day), "{of_day:?}");
    let account = all[0]["accountId"].as_str().unwrap();
    let of_account =
        linked.client.get(&format!("/v1/accounts/{account}/transactions?limit=5")).await.expect(200);
    let of_account = of_account["items"].as_array().unwrap();
    assert!(of_account.len() == 5 && of_account.iter().all(|one| one["accountId"] == account));
}

async fn bad_filters_and_changes_name_the_field(app: App) {
    let linked = Linked::new(&app).await;
    let client = &linked.client;
    for (filter, field) in [
        ("from=yesterday", "from"),
        ("to=2026-02-30", "to"),
        ("minAmount=lots", "minAmount"),
        ("maxAmount=1e400", "maxAmount"),
        ("pending=perhaps", "pending"),
        ("accountId=nobodys", "accountId"),
        ("colour=red", "colour"),
    ] {
        let refused = client.get(&format!("/v1/transactions?{filter}")).await.expect(422);
        assert_eq!(refused["errors"][0]["field"], field, "{refused}");
    }
    let id = linked.all("").await.remove(0)["id"].as_str().unwrap().to_owned();
    for (change, field) in [
        (json!({"category": ""}), "/category"),
        (json!({"category": "x".repeat(61)}), "/category"),
        (json!({"category": "a\nb"}), "/category"),
        (json!({"note": "  "}), "/note"),
        (json!({"note": "a\u{202e}b"}), "/note"),
        (json!({"amount": 1}), "/amount"),
    ] {
        let refused = client.patch(&format!("/v1/transactions/{id}"), change).await.expect(422);
        assert_eq!(refused["errors"][0]["field"], field, "{refused}");
    }
}

async fn transactions_of_others_are_not_there(app: App) {
    let linked = Linked::new(&app).await;
    let one = linked.all("").await.remove(0);
    let (id, account) = (one["id"].as_str().unwrap(), one["accountId"].as_str().unwrap());
    let other = Client::register(app.url()).await;
    other.get(&format!("/v1/transactions/{id}")).await.expect(404);
    other.patch(&format!("/v1/transactions/{id}"), json!({"note": "mine"})).await.expect(404);
    other.post(&format!("/v1/transactions/{id}/unmerge"), json!({})).await.expect(404);
    other.get(&format!("/v1/accounts/{account}/transactions")).await.expect(404);
    other.get(&format!("/v1/transactions?accountId={account}")).await.expect(422);
    assert_eq!(other.get("/v1/transactions").await.expect(200)["items"], json!([]));
}

async fn accounts_deleted_with_their_connection_leave_no_transactions(app: App) {
    let linked = Linked::new(&app).await;
    linked.client.delete(&format!("/v1/connections/{}?accounts=delete", linked.connection)).await.expect(204);
    assert_eq!(linked.all("").await, Vec::<Value>::new());
}
