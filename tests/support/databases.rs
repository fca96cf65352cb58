//! The end of databases that tests made for themselves.

use std::time::Duration;

use tokio::time::timeout;

/// Drops these databases of the server at `uri`. Blocks until that is done, ten seconds at most; can be
/// called from a `drop` inside a runtime.
pub fn drop_all(uri: String, names: Vec<String>) {
    const DEADLINE: Duration = Duration::from_secs(10);
    let dropping = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
        let drop_each = async {
            let client = mongodb::Client::with_uri_str(uri).await.ok()?;
            for name in names {
                client.database(&name).drop().await.ok()?;
            }
            Some(())
        };
        runtime.block_on(async { timeout(DEADLINE, drop_each).await }).ok().flatten()
    });
    // Not worth failing a test for, and a panic while panicking would abort all.
    let _ = dropping.join();
}
