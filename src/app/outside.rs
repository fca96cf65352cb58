//! The outside world: payments, banks, mail, exchange rates and addresses, real ones or the sandbox.

use std::collections::BTreeMap;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use steward_actors::account_sync::Banks;
use steward_actors::addresses::AddressCheck;
use steward_actors::cluster::Clock;
use steward_actors::limits::Limits;
use steward_actors::providers::{
    Bank, Breaker, BreakerOptions, Budget, ExchangeRates, Geocoding, GuardedBank, GuardedGeocoding,
    GuardedMailer, GuardedPayments, GuardedRates, Mailer, Payments,
};

use super::stores::{OpenStore, OpenStoreError};
use crate::config::Config;
use crate::providers::{
    Courier, EcbRates, FileMailer, OpenCage, PlaidBank, PlaidSettings, PlaidWebhooks, SetupError,
    SimpleFinBank, SmtpMailer, StripePayments, Timeouts,
};
use crate::sandbox::{Running, Sandbox, SandboxError, SandboxOptions};

/// What operators may hold back; `steward providers` knows these names.
pub const PROVIDERS: [&str; 7] = ["stripe", "simplefin", "plaid", "sandbox", "mail", "ecb", "opencage"];

/// Why a part of the outside world cannot be reached or made.
#[derive(Debug, thiserror::Error)]
pub enum OutsideError {
    /// The sandbox did not start.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// The sandbox's store cannot be opened.
    #[error(transparent)]
    Store(#[from] OpenStoreError),
    /// An adapter's configuration is wrong.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// `sandbox.bind` is no address.
    #[error("sandbox.bind = {0:?} is no address")]
    Address(String),
    /// There is no payment provider.
    #[error(
        "there is no payment provider: set payments.stripe_url and payments.stripe_key, or use the sandbox"
    )]
    NoPayments,
}

/// The outside world.
pub(super) struct Outside {
    pub(super) payments: Arc<dyn Payments>,
    pub(super) banks: Banks,
    pub(super) mailer: Arc<dyn Mailer>,
    /// What tells which webhooks of banks are genuine, where there is Plaid.
    pub(super) plaid_webhooks: Option<Arc<PlaidWebhooks>>,
    /// What payment webhooks are signed with, if that is known.
    pub(super) webhook_secret: Option<SecretString>,
    /// The breakers of all providers, for figures.
    pub(super) breakers: Vec<Breaker>,
    /// Nobody publishes rates where there is neither a configured publisher nor the sandbox.
    pub(super) rates: Option<Arc<dyn ExchangeRates>>,
    pub(super) addresses: AddressCheck,
    sandbox_url: Option<String>,
    sandbox: Option<(Running, OpenStore)>,
}

impl Outside {
    /// `own` is where this server is.
    pub(super) async fn start(
        config: &Config,
        own: &str,
        clock: Arc<dyn Clock>,
        limits: Arc<dyn Limits>,
    ) -> Result<Self, OutsideError> {
        let sandbox = if config.runs_sandbox() {
            let opened = OpenStore::open_for_sandbox(config).await?;
            let bind = address(&config.sandbox.bind)?;
            let running = Sandbox::start(opened.store.clone(), bind, SandboxOptions::default()).await?;
            Some((running, opened))
        } else {
            None
        };
        let sandbox_url = match &sandbox {
            Some((running, _)) => Some(running.url().to_owned()),
            None => config.sandbox.url.clone(),
        };
        if let Some((running, _)) = sandbox.as_ref().filter(|_| config.sandbox.webhooks) {
            let own = || format!("{}/v1/webhooks/stripe", own.trim_end_matches('/'));
            running.send_webhooks_to(config.sandbox.webhook_url.clone().unwrap_or_else(own));
        }
        let webhook_secret = webhook_secret(config, sandbox.as_ref().map(|(running, _)| running)).await;
        let mut breakers = Vec::new();
        let mut breaker = |name: &str| {
            let breaker = Breaker::new(name, BreakerOptions::default(), clock.clone());
            breakers.push(breaker.clone());
            breaker
        };
        let payments = payments(config, sandbox_url.as_deref())?;
        let payments = Arc::new(GuardedPayments::new(payments, breaker("stripe")));
        let rates = rates(config, sandbox_url.as_deref())?
            .map(|inner| -> Arc<dyn ExchangeRates> { Arc::new(GuardedRates::new(inner, breaker("ecb"))) });
        let addresses = geocoding(config, sandbox_url.as_deref())?.map(|inner| -> Arc<dyn Geocoding> {
            Arc::new(GuardedGeocoding::new(inner, breaker("opencage")))
        });
        let addresses = AddressCheck::new(addresses);
        let budget = |provider, per_minute| {
            Courier::within(Budget::new(provider, per_minute, limits.clone(), clock.clone()))
        };
        let simplefin = budget("simplefin", config.simplefin.requests_per_minute);
        let mut banks = banks(config, sandbox_url.as_deref(), simplefin)?;
        let courier = budget("plaid", config.plaid.requests_per_minute);
        let plaid = plaid(config, own, sandbox_url.as_deref(), clock.clone(), courier)?;
        if let Some(plaid) = &plaid {
            banks.insert("plaid".to_owned(), plaid.clone());
        }
        let plaid_webhooks = plaid.map(|plaid| Arc::new(PlaidWebhooks::new(plaid, clock.clone())));
        let guarded = |(name, bank): (String, Arc<dyn Bank>)| {
            let bank: Arc<dyn Bank> = Arc::new(GuardedBank::new(bank, breaker(&name)));
            (name, bank)
        };
        let banks = banks.into_iter().map(guarded).collect::<BTreeMap<_, _>>();
        let mailer = Arc::new(GuardedMailer::new(mailer(config)?, breaker("mail")));
        Ok(Self {
            payments,
            banks,
            mailer,
            plaid_webhooks,
            webhook_secret,
            breakers,
            rates,
            addresses,
            sandbox_url,
            sandbox,
        })
    }

    pub(super) fn sandbox_url(&self) -> Option<&str> {
        self.sandbox_url.as_deref()
    }

    pub(super) async fn stop(self) {
        if let Some((running, opened)) = self.sandbox {
            running.stop().await;
            opened.close().await;
        }
    }
}

/// Serves the sandbox alone, until the process is told to stop; `told` gets its address.
///
/// # Errors
/// [`OutsideError`].
pub(super) async fn serve_sandbox(config: &Config, told: impl FnOnce(&str)) -> Result<(), OutsideError> {
    let opened = OpenStore::open_for_sandbox(config).await?;
    let bind = address(&config.sandbox.bind)?;
    let running = Sandbox::start(opened.store.clone(), bind, SandboxOptions::default()).await?;
    if let Some(url) = config.sandbox.webhook_url.clone().filter(|_| config.sandbox.webhooks) {
        running.send_webhooks_to(url);
    }
    told(running.url());
    super::told_to_stop().await;
    running.stop().await;
    opened.close().await;
    Ok(())
}

/// What payment webhooks are signed with: what is configured, or the sandbox's.
async fn webhook_secret(config: &Config, sandbox: Option<&Running>) -> Option<SecretString> {
    if let Some(secret) = &config.payments.webhook_secret {
        return Some(secret.clone());
    }
    if config.payments.stripe_url.is_some() {
        tracing::warn!("payments.webhook_secret is not set: webhooks of the payment provider are refused");
        return None;
    }
    if let Some(sandbox) = sandbox {
        return Some(sandbox.webhook_secret().clone());
    }
    let url = format!("{}/_sandbox/webhooks", config.sandbox.url.as_deref()?.trim_end_matches('/'));
    match ask_for_secret(&url).await {
        Ok(secret) => Some(secret),
        Err(error) => {
            tracing::warn!(%error, "the sandbox does not tell its webhook secret: its webhooks are refused");
            None
        }
    }
}

async fn ask_for_secret(url: &str) -> Result<SecretString, reqwest::Error> {
    #[derive(serde::Deserialize)]
    struct Shown {
        secret: SecretString,
    }
    let client = reqwest::Client::builder().timeout(Duration::from_secs(5)).no_proxy().build()?;
    let shown: Shown = client.get(url).send().await?.error_for_status()?.json().await?;
    Ok(shown.secret)
}

fn payments(config: &Config, sandbox: Option<&str>) -> Result<Arc<dyn Payments>, OutsideError> {
    let at_sandbox = || sandbox.map(|url| (url.to_owned(), SecretString::from("sk_sandbox")));
    let configured = config.payments.stripe_url.clone().zip(config.payments.stripe_key.clone());
    let (url, key) = configured.or_else(at_sandbox).ok_or(OutsideError::NoPayments)?;
    Ok(Arc::new(StripePayments::new(&url, key, Timeouts::default())?))
}

/// Plaid: the one that is configured, or the sandbox's.
fn plaid(
    config: &Config,
    own: &str,
    sandbox: Option<&str>,
    clock: Arc<dyn Clock>,
    courier: Courier,
) -> Result<Option<Arc<PlaidBank>>, OutsideError> {
    let at_sandbox = || {
        Some(PlaidSettings {
            url: sandbox?.to_owned(),
            client_id: "sandbox".to_owned(),
            secret: SecretString::from("sandbox"),
            webhook_url: config.plaid.webhook_url.clone(),
            country_codes: config.plaid.country_codes.clone(),
        })
    };
    let Some(mut settings) = configured_plaid(config).or_else(at_sandbox) else { return Ok(None) };
    let own = || format!("{}/v1/webhooks/plaid", own.trim_end_matches('/'));
    settings.webhook_url.get_or_insert_with(own);
    Ok(Some(Arc::new(PlaidBank::new(settings, clock, Timeouts::default(), courier)?)))
}

/// Plaid as it is configured, if it is.
pub(super) fn configured_plaid(config: &Config) -> Option<PlaidSettings> {
    let given = &config.plaid;
    Some(PlaidSettings {
        url: given.url.clone()?,
        client_id: given.client_id.clone()?,
        secret: given.secret.clone()?,
        webhook_url: given.webhook_url.clone(),
        country_codes: given.country_codes.clone(),
    })
}

fn banks(
    config: &Config,
    sandbox: Option<&str>,
    simplefin: Courier,
) -> Result<BTreeMap<String, Arc<dyn Bank>>, OutsideError> {
    let mut banks: BTreeMap<String, Arc<dyn Bank>> = BTreeMap::new();
    let simplefin = SimpleFinBank::new(&config.simplefin.hosts, None, Timeouts::default(), simplefin)?;
    banks.insert("simplefin".to_owned(), Arc::new(simplefin));
    if let Some(url) = sandbox {
        let bank = SimpleFinBank::new(&[], Some(url), Timeouts::default(), Courier::free("sandbox"))?;
        banks.insert("sandbox".to_owned(), Arc::new(bank));
    }
    Ok(banks)
}

fn rates(config: &Config, sandbox: Option<&str>) -> Result<Option<Arc<dyn ExchangeRates>>, OutsideError> {
    let at_sandbox = || sandbox.map(|url| format!("{url}/ecb/eurofxref-daily.xml"));
    let Some(url) = config.rates.url.clone().or_else(at_sandbox) else { return Ok(None) };
    Ok(Some(Arc::new(EcbRates::new(&url, Timeouts::default())?)))
}

/// Somebody waits for the answer, with an order to place.
const LOOK_UP: Timeouts = Timeouts { connect: Duration::from_secs(1), call: Duration::from_secs(2) };

fn geocoding(config: &Config, sandbox: Option<&str>) -> Result<Option<Arc<dyn Geocoding>>, OutsideError> {
    let asked = &config.geocoding;
    if !asked.enabled {
        return Ok(None);
    }
    let at_sandbox = || Some((format!("{}/geocode/v1/json", sandbox?), SecretString::from("sandbox")));
    let Some((url, key)) = asked.url.clone().zip(asked.key.clone()).or_else(at_sandbox) else {
        return Ok(None);
    };
    Ok(Some(Arc::new(OpenCage::new(&url, key, LOOK_UP)?)))
}

fn mailer(config: &Config) -> Result<Arc<dyn Mailer>, OutsideError> {
    Ok(match &config.email.smtp_uri {
        Some(uri) => Arc::new(SmtpMailer::new(uri, &config.email.from, Duration::from_secs(20))?),
        None => Arc::new(FileMailer::new(config.mail_dir(), &config.email.from)?),
    })
}

/// The first address that `text` names.
fn address(text: &str) -> Result<SocketAddr, OutsideError> {
    let found = text.to_socket_addrs().ok().and_then(|mut addresses| addresses.next());
    found.ok_or_else(|| OutsideError::Address(text.to_owned()))
}
