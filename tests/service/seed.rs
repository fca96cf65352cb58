//! The sample data, and the sample requests that show it.

use std::path::Path;

use serde_json::{Value, json};

use crate::support::{Backend, Client, DataDir, Replica, steward};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sample_requests_give_exactly_the_sample_accounts_from_the_embedded_store() {
    shows_the_samples(Backend::Embedded).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sample_requests_give_exactly_the_sample_accounts_from_mongodb() {
    shows_the_samples(Backend::cluster()).await;
}

async fn shows_the_samples(backend: Backend) {
    // Given a store that was seeded, twice,
    let data = DataDir::new();
    let printed = seed(&data.path(), &backend).await;
    let again = seed(&data.path(), &backend).await;
    assert!(!again.contains("password"), "{again}");
    let replica = Replica::start(&data.path(), &backend, &[]).await;

    // when the sample users log in with what was printed and ask for their accounts,
    let one = log_in(&replica.url, &printed, "user123").await;
    let two = log_in(&replica.url, &printed, "user456").await;

    // then these are all, as the specification has them.
    let acc1 = json!({
        "id": "acc1", "userId": "user123", "type": "credit", "provider": "Chase",
        "accountName": "Chase Freedom", "balance": 1200.45, "currency": "USD",
        "details": {"creditLimit": 5000, "availableCredit": 3800, "apr": 19.99, "dueDate": "2025-06-15"},
    });
    let acc2 = json!({
        "id": "acc2", "userId": "user123", "type": "loan", "provider": "SoFi",
        "accountName": "Student Loan", "balance": 8000, "currency": "USD",
        "details": {"principal": 10000, "interestRate": 4.5, "remainingTermMonths": 12},
    });
    let acc3 = json!({
        "id": "acc3", "userId": "user123", "type": "checking", "provider": "Wells Fargo",
        "accountName": "Wells Fargo Checking", "balance": 3400, "currency": "USD",
        "details": {"overdraftProtection": true, "routingNumber": "123456789"},
    });
    let acc4 = json!({
        "id": "acc4", "userId": "user456", "type": "credit", "provider": "Amex",
        "accountName": "Amex Gold", "balance": 2500, "currency": "USD",
        "details": {"creditLimit": 10000, "availableCredit": 7500, "apr": 23.99, "dueDate": "2025-06-10"},
    });
    for (client, path, expected) in [
        (&one, "/users/user123/accounts", vec![&acc1, &acc2, &acc3]),
        (&one, "/users/user123/accounts?type=credit", vec![&acc1]),
        (&one, "/users/user123/accounts?type=loan", vec![&acc2]),
        (&one, "/v1/users/user123/accounts?type=checking", vec![&acc3]),
        (&one, "/users/user123/accounts?type=savings", vec![]),
        (&two, "/users/user456/accounts", vec![&acc4]),
    ] {
        let page = client.get(path).await.expect(200);
        let found: Vec<Value> = page["accounts"].as_array().unwrap().iter().map(specified).collect();
        assert_eq!(found.iter().collect::<Vec<_>>(), expected, "{path}");
    }
    two.get("/users/user123/accounts").await.expect(404);
}

/// The fields that the specification has, as long as the others are there.
fn specified(account: &Value) -> Value {
    let mut account = account.as_object().unwrap().clone();
    for further in ["connectionId", "hidden", "lastUpdated", "balanceAsOf"] {
        assert!(account.remove(further).is_some(), "{further}");
    }
    Value::Object(account)
}

async fn seed(data: &Path, backend: &Backend) -> String {
    let seeded = steward(data, backend).arg("seed").output().await.unwrap();
    assert!(seeded.status.success(), "{}", String::from_utf8_lossy(&seeded.stderr));
    String::from_utf8(seeded.stdout).unwrap()
}

async fn log_in(url: &str, printed: &str, user: &str) -> Client {
    let line: Vec<&str> =
        printed.lines().find(|line| line.starts_with(user)).unwrap().split_whitespace().collect();
    let [_, email, "password", password] = line[..] else { panic!("{line:?}") };
    Client::log_in(url, email, password).await
}
