//! `steward doctor`: what is wrong, what would do, and an exit status that says whether it works.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::support::{ADMIN_EMAIL, ADMIN_PASSWORD, Backend, DataDir, steward};

/// What it prints, and its exit status.
async fn doctor(backend: &Backend, more: &[(&str, &str)]) -> (String, i32) {
    let data = DataDir::new();
    let mut command = steward(&data.path(), backend);
    command.args(["doctor"]).env("STEWARD__HTTP__BIND", "127.0.0.1:0").envs(more.iter().copied());
    let output = command.output().await.unwrap();
    (String::from_utf8(output.stdout).unwrap(), output.status.code().unwrap())
}

fn line<'a>(report: &'a str, name: &str) -> &'a str {
    let of = |line: &&str| line.split_at(6).1.starts_with(name);
    report.lines().find(of).unwrap_or_else(|| panic!("{name} is not in\n{report}"))
}

/// An address where nobody listens.
async fn nobody() -> String {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_local_start_is_well_and_says_what_it_is() {
    let (report, status) = doctor(&Backend::Embedded, &[]).await;
    assert_eq!(status, 0, "{report}");
    for name in ["store", "redis", "data.dir, space", "payments.stripe_url"] {
        assert!(line(&report, name).starts_with("ok") || name.ends_with("space"), "{report}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_is_asked_for_its_clock_and_its_transactions() {
    let (report, status) = doctor(
        &Backend::cluster(),
        &[("STEWARD__ADMIN__EMAIL", ADMIN_EMAIL), ("STEWARD__ADMIN__PASSWORD", ADMIN_PASSWORD)],
    )
    .await;
    // It is not migrated, which is a warning.
    assert_eq!(status, 0, "{report}");
    assert!(line(&report, "store").contains("steward migrate"), "{report}");
    for name in ["mongodb transactions", "clock", "redis", "admin.password"] {
        assert!(line(&report, name).starts_with("ok"), "{report}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_does_not_answer_fails_with_the_key_and_what_would_do() {
    let nobody = nobody().await;
    let http = format!("http://{nobody}");
    let smtp = format!("smtp://user:canary@{nobody}");
    let redis = format!("redis://{nobody}/");
    for (name, more) in [
        ("email.smtp_uri", vec![("STEWARD__EMAIL__SMTP_URI", smtp.as_str())]),
        ("redis", vec![("STEWARD__REDIS__URI", &redis)]),
        (
            "payments.stripe_url",
            vec![("STEWARD__PAYMENTS__STRIPE_URL", &http), ("STEWARD__PAYMENTS__STRIPE_KEY", "canary")],
        ),
        (
            "plaid.url",
            vec![
                ("STEWARD__PLAID__URL", http.as_str()),
                ("STEWARD__PLAID__CLIENT_ID", "client"),
                ("STEWARD__PLAID__SECRET", "canary"),
            ],
        ),
        ("sandbox.url", vec![("STEWARD__SANDBOX__URL", &http)]),
        ("rates.url", vec![("STEWARD__RATES__URL", &http)]),
        ("geocoding.url", vec![("STEWARD__GEOCODING__URL", &http), ("STEWARD__GEOCODING__KEY", "canary")]),
        (
            "admin.password",
            vec![("STEWARD__ADMIN__EMAIL", "ann@example.org"), ("STEWARD__ADMIN__PASSWORD", "ann@example")],
        ),
    ] {
        let (report, status) = doctor(&Backend::Embedded, &more).await;
        let line = line(&report, name);
        assert!(line.starts_with("FAIL") && line.contains("; "), "{name}: {report}");
        assert_eq!(status, 1, "{report}");
        assert!(!report.contains("canary"), "{report}");
    }
}

/// A Plaid that answers every question so.
async fn plaid(status: &'static str, body: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut asked, _)) = listener.accept().await {
            let _ = asked.read(&mut [0; 4096]).await;
            let head =
                format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\nConnection: close\r\n");
            let answer = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
            let _ = asked.write_all(answer.as_bytes()).await;
        }
    });
    url
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plaid_is_asked_whether_it_lets_us_in() {
    let unknown_key = r#"{"error_type":"INVALID_INPUT","error_code":"INVALID_WEBHOOK_VERIFICATION_KEY_ID"}"#;
    let unknown_us = r#"{"error_type":"INVALID_INPUT","error_code":"INVALID_API_KEYS"}"#;
    for (body, begin, said) in [(unknown_key, "ok", "lets us in"), (unknown_us, "FAIL", "plaid.secret")] {
        let url = plaid("400 Bad Request", body).await;
        let more = [
            ("STEWARD__PLAID__URL", url.as_str()),
            ("STEWARD__PLAID__CLIENT_ID", "client"),
            ("STEWARD__PLAID__SECRET", "canary"),
        ];
        let (report, _) = doctor(&Backend::Embedded, &more).await;
        let line = line(&report, "plaid.url");
        assert!(line.starts_with(begin) && line.contains(said), "{report}");
        assert!(!report.contains("canary"), "{report}");
    }
}
