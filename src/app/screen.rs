//! What a person sees when Steward has started.

use std::io::{IsTerminal, Write};

use secrecy::ExposeSecret;

use super::first_admin::MadeUp;
use super::stores::OpenStore;
use crate::config::{Config, LogFormat, Profile};

/// Prints the screen, unless logs are for machines; a log line names the addresses either way.
pub(super) fn show(
    config: &Config,
    url: &str,
    operations: Option<&str>,
    sandbox: Option<&str>,
    store: &OpenStore,
    redis: bool,
    admin: Option<&MadeUp>,
) {
    tracing::info!(
        api = url,
        docs = format!("{url}/docs/"),
        operations = operations.unwrap_or(""),
        sandbox = sandbox.unwrap_or(""),
        "listening"
    );
    let for_people = match config.log.format {
        Some(format) => format == LogFormat::Pretty,
        None => std::io::stdout().is_terminal() || config.profile == Profile::Local,
    };
    if for_people {
        let text = text(config, url, sandbox, &store.in_words(), redis, admin);
        // A closed standard output is no reason not to serve.
        let _ = std::io::stdout().lock().write_all(text.as_bytes());
    } else if let Some(admin) = admin {
        tracing::info!(file = %admin.file.display(), "the first admin's credentials were written down");
    }
}

fn text(
    config: &Config,
    url: &str,
    sandbox: Option<&str>,
    store: &str,
    redis: bool,
    admin: Option<&MadeUp>,
) -> String {
    let mail = match &config.email.smtp_uri {
        Some(_) => "SMTP".to_owned(),
        None => format!("files in {}", config.mail_dir().display()),
    };
    let payments = if config.payments.stripe_url.is_some() { "Stripe" } else { "sandbox" };
    let sessions = if redis { "Redis over the store" } else { "the store" };
    let mut lines = vec![
        format!("Steward {} is ready", env!("CARGO_PKG_VERSION")),
        String::new(),
        format!("  API        {url}"),
        format!("  docs       {url}/docs/"),
    ];
    if let Some(sandbox) = sandbox {
        lines.push(format!("  sandbox    {sandbox}   (ledger: {sandbox}/_sandbox/ledger)"));
    }
    lines.extend([
        String::new(),
        format!("  store      {store}"),
        format!("  sessions   {sessions}"),
        format!("  payments   {payments}"),
        format!("  mail       {mail}"),
    ]);
    if let Some(admin) = admin {
        lines.extend([
            String::new(),
            "  The first admin, shown this once:".to_owned(),
            format!("    {}   {}", admin.email, admin.password.expose_secret()),
            format!("    (also in {}; delete it when you have noted it)", admin.file.display()),
        ]);
    }
    lines.extend([String::new(), "  scripts/tour walks through it. Ctrl-C stops it.".to_owned()]);
    format!("\n{}\n\n", lines.join("\n"))
}
