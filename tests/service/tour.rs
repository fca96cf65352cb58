//! The tour of the README, as a newcomer would take it.

use std::process::Stdio;

use tokio::process::Command;

use crate::App;
use crate::support::{ADMIN_EMAIL, ADMIN_PASSWORD};

crate::over_both_stores!(the_tour_reaches_its_end);

async fn the_tour_reaches_its_end(app: App) {
    let tour = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/tour"))
        .arg(app.url())
        .env("ADMIN_EMAIL", ADMIN_EMAIL)
        .env("ADMIN_PASSWORD", ADMIN_PASSWORD)
        .env("DATA_DIR", app.data.path())
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    let printed = String::from_utf8_lossy(&tour.stdout);
    assert!(tour.status.success(), "{printed}{}", String::from_utf8_lossy(&tour.stderr));
    assert!(printed.ends_with("The tour is complete.\n"), "{printed}");
    for secret in ["password\":\"correct", "sessionToken\":\"0"] {
        assert!(!printed.contains(secret), "{printed}");
    }
}
