//! What Prometheus gets, and where.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use steward_actors::figures::{FIGURES, Figure, Kind};

use crate::App;
use crate::orders::place;
use crate::support::{Backend, Client, DataDir, Replica, eventually, order};

crate::over_both_stores!(figures_are_told_by_declared_names_and_labels_and_never_by_id);

async fn text(url: &str) -> (u16, String) {
    let answer = reqwest::get(format!("{url}/metrics")).await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

/// One line: the name, its labels, its value.
fn samples(text: &str) -> Vec<(String, BTreeMap<String, String>, f64)> {
    let sample = |line: &str| {
        let (series, value) = line.rsplit_once(' ').unwrap();
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        let labels = labels.trim_end_matches('}').split("\",").filter(|label| !label.is_empty());
        let labels = labels.map(|label| {
            let (name, value) = label.split_once("=\"").unwrap();
            (name.to_owned(), value.trim_end_matches('"').to_owned())
        });
        (name.to_owned(), labels.collect(), value.parse().unwrap())
    };
    text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(sample).collect()
}

fn declared(name: &str) -> &'static Figure {
    let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
    let is = |figure: &&Figure| {
        figure.name == name || (figure.kind == Kind::Histogram && base == Some(figure.name))
    };
    FIGURES.iter().find(is).unwrap_or_else(|| panic!("{name} is not declared"))
}

async fn figures_are_told_by_declared_names_and_labels_and_never_by_id(app: App) {
    // Given an order that was served, refusals, and paths that nobody has,
    let admin = Client::admin(app.url()).await;
    let sku = admin.product(5.0, 3).await;
    let customer = Client::register(app.url()).await;
    let id = place(&customer, "one", order(&sku, 1, "pm_card_visa")).await;
    customer.confirmed(&id).await;
    for n in 0..50 {
        customer.get(&format!("/v1/made-up-{n}")).await.expect(404);
        customer.get(&format!("/v1/orders/made-up-{n}")).await.expect(404);
    }

    // when the figures have been looked for,
    let told = eventually("figures of every part", Duration::from_secs(20), async || {
        let (status, told) = text(app.url()).await;
        assert_eq!(status, 200);
        let all = ["steward_actors{", "steward_sagas{", "steward_jobs_performed_total{", "process_resident"];
        all.iter().all(|part| told.contains(part)).then_some(told)
    })
    .await;

    // then names and labels are the declared ones, and no value is an id or a path that was made up.
    let samples = samples(&told);
    for (name, labels, _) in &samples {
        let figure = declared(name);
        for (label, value) in labels {
            assert!(label == "le" || figure.labels.contains(&label.as_str()), "{name}: {label}");
            assert!(!value.contains("made-up") && !value.contains(&sku), "{name}: {value}");
            let longest = value.split(['-', '/', '.']).map(str::len).max().unwrap_or_default();
            assert!(longest < 24 && value.matches('-').count() < 4, "{name}: {value} looks like an id");
        }
    }
    let sum = |name: &str, label: &str, wanted: &str| -> f64 {
        let of = samples
            .iter()
            .filter(|(n, labels, _)| n == name && labels.get(label).is_some_and(|l| l == wanted));
        of.map(|(.., value)| value).sum()
    };
    assert!(sum("steward_http_requests_total", "route", "none") >= 50.0);
    assert!(sum("steward_http_requests_total", "route", "/v1/orders/{id}") >= 50.0);
    assert!(sum("steward_store_duration_seconds_count", "op", "commit") >= 3.0);
    assert!(sum("steward_actor_handling_seconds_count", "kind", "inventory") >= 1.0);
    assert!(sum("steward_actor_mailbox_seconds_count", "kind", "inventory") >= 1.0);
    assert!(sum("steward_provider_calls_total", "call", "capture") >= 1.0);
    assert!(sum("steward_session_checks_total", "found", "cache") >= 50.0);
    assert!(sum("steward_jobs_performed_total", "outcome", "done") >= 1.0);
    let families: BTreeSet<_> = samples.iter().map(|(name, ..)| declared(name).name).collect();
    assert!(families.len() > 25, "{families:?}");
}

#[test]
fn every_figure_is_in_the_operations_manual() {
    let manual = include_str!("../../docs/operations.md");
    for figure in FIGURES {
        assert!(manual.contains(&format!("`{}`", figure.name)), "{} is missing", figure.name);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_production_figures_and_details_are_on_the_operations_port_only() {
    let data = DataDir::new();
    let more = [
        ("STEWARD__PROFILE", "production"),
        ("STEWARD__ALLOW__SANDBOX", "true"),
        ("STEWARD__ALLOW__EMBEDDED_STORE", "true"),
        ("STEWARD__ALLOW__MAIL_FILES", "true"),
        ("STEWARD__ALLOW__MADE_UP_SECRETS", "true"),
        ("STEWARD__ALLOW__UNLIMITED", "true"),
        ("STEWARD__SANDBOX__ENABLED", "true"),
        ("STEWARD__HTTP__OPERATIONS_BIND", "127.0.0.1:0"),
    ];
    let replica = Replica::start(&data.path(), &Backend::Embedded, &more).await;
    let public = Client::new(&replica.url);
    let inside = Client::new(&replica.operations);

    assert_eq!(text(&replica.url).await.0, 404);
    let health = public.get("/health").await.expect(200);
    assert!(health["roles"].is_null() && health["dependencies"].is_null(), "{health}");

    let (status, told) = text(&replica.operations).await;
    assert!(status == 200 && told.contains("steward_build_info"), "{told}");
    let health = inside.get("/readyz").await.expect(200);
    assert!(health["roles"].is_array() && health["dependencies"].is_array(), "{health}");
    inside.get("/healthz").await.expect(200);
    // Nothing else is there.
    for path in ["/v1/hello", "/v1/users/me", "/openapi.json", "/docs/"] {
        inside.get(path).await.expect(404);
    }
}
