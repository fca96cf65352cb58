//! Banks over the [SimpleFIN protocol](https://www.simplefin.org/protocol.html), the sandbox's
//! among them.
//!
//! Where a user's token, or a bank's answer, may send us is decided in [`origin`]; what an answer
//! must look like, in [`statement`].

mod origin;
mod statement;

use std::time::Duration;

use async_trait::async_trait;
use reqwest::{Client, Response};
use secrecy::{ExposeSecret, SecretString};
use steward_actors::providers::{Bank, BankError, ClaimError, Credential, Period, Statement};
use steward_actors::time::Timestamp;
use url::Url;

use self::origin::{Access, Origins};
use super::courier::{Courier, Unsent};
use super::http::{self, BodyError, SetupError, Timeouts, Trust};
use super::public_dns::{PublicDns, led_inside};

/// How long a call waits for its turn.
const BRIEF: Duration = Duration::from_secs(2);
/// Bytes of a statement that are read.
const MAX_STATEMENT: usize = 5 * 1024 * 1024;
/// Bytes of an access URL that are read.
const MAX_ACCESS_URL: usize = 4 * 1024;
/// Days of transactions that one request may ask for; servers refuse or cut longer ones.
const WINDOW: Duration = Duration::from_secs(90 * 24 * 3600);

/// Banks by SimpleFIN. One client serves all threads.
pub struct SimpleFinBank {
    /// For listed hosts.
    guarded: Client,
    /// For the sandbox, which is on this machine or the next.
    near: Client,
    courier: Courier,
    origins: Origins,
}

impl SimpleFinBank {
    /// A client that goes to `hosts` (exact names; https on its usual port, or `name:port`) and to
    /// the sandbox at `sandbox_url`, if there is one, and nowhere else.
    ///
    /// # Errors
    /// [`SetupError`] if `sandbox_url` is none.
    pub fn new(
        hosts: &[String],
        sandbox_url: Option<&str>,
        timeouts: Timeouts,
        courier: Courier,
    ) -> Result<Self, SetupError> {
        let origins = Origins::new(hosts, sandbox_url)?;
        let guarded = http::guarded_client(timeouts, PublicDns::of_the_system())?;
        // The sandbox needs no authority.
        let near =
            http::client(timeouts, Trust::System).or_else(|_| http::client(timeouts, Trust::Nobody))?;
        Ok(Self { guarded, near, courier, origins })
    }

    fn client(&self, url: &Url) -> &Client {
        if self.origins.is_sandbox(url) { &self.near } else { &self.guarded }
    }
}

#[async_trait]
impl Bank for SimpleFinBank {
    async fn claim(&self, setup_token: &str, user_id: &str) -> Result<Credential, ClaimError> {
        let url = self.origins.claim_url(setup_token, user_id).map_err(ClaimError::Refused)?;
        let request = self.client(&url).post(url).header("Content-Length", "0");
        let response = match self.courier.send("claim", request, BRIEF).await {
            Ok(response) => response,
            Err(Unsent::Held(after)) => return Err(ClaimError::Resting { after }),
            Err(Unsent::Lost(error)) if led_inside(&error) => {
                return Err(ClaimError::Refused("it leads to what is not on the public internet".to_owned()));
            }
            Err(Unsent::Lost(error)) if error.is_connect() || error.is_builder() => {
                tracing::info!(cause = http::cause(&error), "a claim did not reach the bank");
                let reason = "the bank could not be reached".to_owned();
                return Err(ClaimError::Unavailable { reason, retry_after: None });
            }
            Err(Unsent::Lost(error)) => return Err(ClaimError::OutcomeUnknown(http::cause(&error))),
        };
        match response.status().as_u16() {
            200..=299 => {}
            // Of a request that it says it did not get whole, a bank has used up nothing.
            408 | 429 | 503 => {
                let retry_after = http::retry_after(&response);
                return Err(ClaimError::Unavailable { reason: status_words(&response), retry_after });
            }
            402 => return Err(ClaimError::Refused("the bank wants to be paid for it first".to_owned())),
            401 | 403 | 404 | 410 => {
                return Err(ClaimError::Refused("it is not known there, or was claimed before".to_owned()));
            }
            300..=499 => return Err(ClaimError::Refused(status_words(&response))),
            _ => return Err(ClaimError::OutcomeUnknown(status_words(&response))),
        }
        // Whole, and not what was asked for: nothing comes of it, in whatever way it is no URL.
        let no_access_url = || ClaimError::Refused("the bank returned no access URL".to_owned());
        let body = match http::body(response, MAX_ACCESS_URL).await {
            Ok(body) => body,
            Err(BodyError::TooLarge) => return Err(no_access_url()),
            Err(BodyError::Lost(error)) => return Err(ClaimError::OutcomeUnknown(http::cause(&error))),
        };
        let text = String::from_utf8(body).map_err(|_| no_access_url())?;
        let access = self.origins.access(text.trim()).map_err(ClaimError::Refused)?;
        Ok(Credential(self.origins.stored(&access)))
    }

    async fn statement(
        &self,
        credential: &Credential,
        period: Option<Period>,
    ) -> Result<Statement, BankError> {
        let access = self.origins.restored(credential.0.expose_secret()).map_err(BankError::NeedsReauth)?;
        let Some(Period { from, until, .. }) = period else {
            return self.fetch(&access, "balances-only=1", None).await;
        };
        let mut since = until.minus(WINDOW).max(from);
        let newest = format!("pending=1&start-date={}", seconds(since));
        let mut statement = self.fetch(&access, &newest, Some(until)).await?;
        // What is wrong with an account now says nothing of what was before; a call that fails does.
        while since > from {
            let (begin, end) = (since.minus(WINDOW).max(from), since);
            let older = format!("start-date={}&end-date={}", seconds(begin), seconds(end));
            match self.fetch(&access, &older, Some(until)).await {
                Ok(older) => statement::add_older(&mut statement, older),
                Err(error) => {
                    let why = format!("transactions before {} are missing: {error}", end.day());
                    statement::end_early(&mut statement, &why, error);
                    break;
                }
            }
            since = begin;
        }
        statement.told_since = Some(since);
        Ok(statement)
    }

    fn part(&self, credential: &Credential) -> Option<String> {
        let access = self.origins.restored(credential.0.expose_secret()).ok()?;
        // The sandbox's accesses are banks of their own.
        if self.origins.is_sandbox(&access.url) { Some(access.username) } else { self.host(&access.url) }
    }

    fn part_of_token(&self, setup_token: &str) -> Option<String> {
        self.host(&self.origins.claim_url(setup_token, "").ok()?)
    }
}

impl SimpleFinBank {
    /// The host, unless it is the only one.
    fn host(&self, url: &Url) -> Option<String> {
        self.origins.has_many_hosts().then(|| url.host_str().unwrap_or_default().to_owned())
    }

    async fn fetch(
        &self,
        access: &Access,
        query: &str,
        now: Option<Timestamp>,
    ) -> Result<Statement, BankError> {
        let Access { url, username, password } = access;
        let mut url = url.clone();
        let path = format!("{}/accounts", url.path().trim_end_matches('/'));
        url.set_path(&path);
        url.set_query(Some(query));
        let request = self.client(&url).get(url).basic_auth(username, Some(password.expose_secret()));
        let response = match self.courier.send("statement", request, BRIEF).await {
            Ok(response) => response,
            Err(Unsent::Held(after)) => return Err(BankError::Resting { after }),
            Err(Unsent::Lost(error)) => return Err(down(&error)),
        };
        match response.status().as_u16() {
            200 => {}
            401 | 403 => {
                return Err(BankError::NeedsReauth("the bank no longer accepts this connection".to_owned()));
            }
            429 => return Err(BankError::RateLimited { retry_after: http::retry_after(&response) }),
            500.. => {
                let retry_after = http::retry_after(&response);
                return Err(BankError::down(status_words(&response), retry_after));
            }
            _ => return Err(BankError::Unusable(status_words(&response))),
        }
        let body = match http::body(response, MAX_STATEMENT).await {
            Ok(body) => body,
            Err(BodyError::TooLarge) => {
                return Err(BankError::Unusable("the bank's answer is larger than 5 MB".to_owned()));
            }
            Err(BodyError::Lost(error)) => return Err(down(&error)),
        };
        statement::read(&body, now).map_err(BankError::Unusable)
    }
}

/// Unix seconds.
fn seconds(at: Timestamp) -> i64 {
    at.as_millis().div_euclid(1000)
}

/// An error in words for users.
fn down(error: &reqwest::Error) -> BankError {
    BankError::Down(if led_inside(error) {
        "the bank's name leads to what is not on the public internet".to_owned()
    } else if error.is_timeout() {
        "the bank did not answer in time".to_owned()
    } else if error.is_connect() {
        "the bank could not be reached".to_owned()
    } else {
        "the connection to the bank broke".to_owned()
    })
}

fn status_words(response: &Response) -> String {
    format!("the bank answered with status {}", response.status().as_u16())
}

/// A secret that is part of a URL.
fn secret(text: &str) -> SecretString {
    SecretString::from(text)
}
