//! Banks over [Plaid](https://plaid.com/docs/api/), the sandbox's among them.
//!
//! What an answer must look like is decided in [`wire`], what pages amount to in [`changes`], what
//! becomes of both in [`statement`], which webhooks are genuine in [`webhook`]. The address is the
//! operator's choice, never a user's or an answer's.

mod changes;
mod statement;
mod webhook;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::Client;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use steward_actors::backoff::Backoff;
use steward_actors::cluster::Clock;
use steward_actors::providers::{Bank, BankError, ClaimError, Credential, LinkToken, Period, Statement};
use steward_actors::time::Timestamp;

use self::changes::Walk;
use self::statement::{cut_short, early, not_ready, of_accounts, put_together};
use self::wire::{CallError, Stage};
use super::courier::{Courier, Unsent};
use super::http::{self, BodyError, SetupError, Timeouts, Trust};

pub use self::webhook::{
    NotGenuine, PlaidNotice, PlaidWebhooks, read as read_plaid_webhook, sign as sign_plaid_webhook,
};

/// Bytes of an answer that are read.
const MAX_ANSWER: usize = 5 * 1024 * 1024;
/// Changes that one page is asked for: Plaid's most.
const PAGE: usize = 500;
/// Changes that one walk may bring; more are no bank's.
const MOST_CHANGES: usize = 200_000;
/// How often a walk begins again because the list changed under it.
const MOST_WALKS: u32 = 6;
/// Before a walk begins again.
const AGAIN: Backoff = Backoff::new(Duration::from_millis(200), Duration::from_millis(3200));
/// How long a call waits for its turn that begins something.
const BRIEF: Duration = Duration::from_secs(2);
/// How long one waits that goes on with something.
const LONG: Duration = Duration::from_secs(240);
/// The id of a webhook key that nobody has.
const NO_KEY: &str = "00000000-0000-4000-8000-000000000000";
/// The version of the API that is spoken.
const VERSION: &str = "2020-09-14";

/// How to reach Plaid, and as whom.
#[derive(Clone, Debug)]
pub struct PlaidSettings {
    /// Where it is: `https://production.plaid.com`.
    pub url: String,
    /// Who we are.
    pub client_id: String,
    /// Our secret.
    pub secret: SecretString,
    /// Where it sends webhooks to.
    pub webhook_url: Option<String>,
    /// Countries whose banks users may link, by ISO 3166 code.
    pub country_codes: Vec<String>,
}

/// Banks by Plaid. One client serves all threads.
pub struct PlaidBank {
    client: Client,
    courier: Courier,
    settings: PlaidSettings,
    clock: Arc<dyn Clock>,
}

/// What is kept of an item.
#[derive(Serialize, Deserialize)]
struct Access {
    #[serde(serialize_with = "exposed")]
    access_token: SecretString,
    item_id: String,
}

/// A credential is a secret as a whole.
fn exposed<S: serde::Serializer>(secret: &SecretString, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(secret.expose_secret())
}

impl Access {
    fn of(credential: &Credential) -> Result<Self, BankError> {
        serde_json::from_str(credential.0.expose_secret())
            .map_err(|_| BankError::NeedsReauth("the stored access is damaged; link again".to_owned()))
    }
}

impl PlaidBank {
    /// A client of Plaid as `settings` say.
    ///
    /// # Errors
    /// [`SetupError`].
    pub fn new(
        settings: PlaidSettings,
        clock: Arc<dyn Clock>,
        timeouts: Timeouts,
        courier: Courier,
    ) -> Result<Self, SetupError> {
        let client = http::client(timeouts, Trust::System).or_else(|error| {
            tracing::warn!(%error, "Plaid cannot be reached over https");
            http::client(timeouts, Trust::Nobody)
        })?;
        let url = settings.url.trim_end_matches('/').to_owned();
        Ok(Self { client, courier, settings: PlaidSettings { url, ..settings }, clock })
    }

    /// Whether Plaid answers and lets us in, by a question that changes nothing.
    ///
    /// # Errors
    /// [`BankError`].
    pub async fn greet(&self) -> Result<(), BankError> {
        self.verification_key(NO_KEY).await.map(drop)
    }

    /// The body of a good answer.
    async fn call(&self, call: &'static str, path: &str, asked: &Value) -> Result<Vec<u8>, Failed> {
        let request = self
            .client
            .post(format!("{}{path}", self.settings.url))
            .header("PLAID-CLIENT-ID", &self.settings.client_id)
            .header("PLAID-SECRET", self.settings.secret.expose_secret())
            .header("Plaid-Version", VERSION)
            .json(asked);
        // A walk that was begun waits rather than be lost; whatever begins something, only briefly.
        let patience = if call == "transactions" { LONG } else { BRIEF };
        let response = match self.courier.send(call, request, patience).await {
            Ok(response) => response,
            Err(Unsent::Held(after)) => return Err(Failed::Held(after)),
            Err(Unsent::Lost(error)) => return Err(Failed::Lost(error)),
        };
        let status = response.status().as_u16();
        let retry_after = http::retry_after(&response);
        let body = match http::body(response, MAX_ANSWER).await {
            Ok(body) => body,
            Err(BodyError::TooLarge) => {
                let words = "Plaid's answer is larger than 5 MB".to_owned();
                let error = if status < 500 { BankError::Unusable(words) } else { BankError::Down(words) };
                return Err(Failed::Answered(status, CallError::Bank(error)));
            }
            Err(BodyError::Lost(error)) => return Err(Failed::Lost(error)),
        };
        if status == 200 {
            Ok(body)
        } else {
            Err(Failed::Answered(status, wire::failure(status, &body, retry_after)))
        }
    }

    async fn read(&self, call: &'static str, path: &str, asked: &Value) -> Result<Vec<u8>, CallError> {
        self.call(call, path, asked).await.map_err(Failed::into_call)
    }

    async fn accounts(&self, access: &Access) -> Result<wire::Accounts, CallError> {
        let asked = json!({"access_token": access.access_token.expose_secret()});
        let body = self.read("accounts", "/accounts/balance/get", &asked).await?;
        wire::accounts(&body, self.clock.now()).map_err(|why| CallError::Bank(BankError::Unusable(why)))
    }

    /// The key with this id; `None` if there is none.
    async fn verification_key(&self, kid: &str) -> Result<Option<webhook::VerificationKey>, BankError> {
        #[derive(Deserialize)]
        struct Found {
            key: webhook::VerificationKey,
        }
        let asked = json!({"key_id": kid});
        match self.read("webhook-key", "/webhook_verification_key/get", &asked).await {
            Ok(body) => serde_json::from_slice::<Found>(&body)
                .map(|found| Some(found.key))
                .map_err(|_| BankError::Unusable("Plaid's answer is no key".to_owned())),
            Err(CallError::UnknownKey) => Ok(None),
            Err(error) => Err(error.into_bank()),
        }
    }

    /// All changes since `cursor`, and how it ended. Pages are of one state of the list: if it changes
    /// under them, all of them are forgotten and the first is asked for again.
    async fn walk(&self, access: &Access, cursor: Option<&str>) -> Result<(Walk, End), CallError> {
        let mut last = CallError::Mutated;
        for attempt in 0..MOST_WALKS {
            AGAIN.wait(attempt).await;
            match self.walk_once(access, cursor).await {
                Err(CallError::Mutated) => last = CallError::Mutated,
                ended => return ended,
            }
        }
        Err(last)
    }

    async fn walk_once(&self, access: &Access, cursor: Option<&str>) -> Result<(Walk, End), CallError> {
        let unusable = |why: &str| CallError::Bank(BankError::Unusable(why.to_owned()));
        let mut walk = Walk::new();
        let mut cursor = cursor.unwrap_or_default().to_owned();
        for _ in 0..=MOST_CHANGES / PAGE * 2 {
            let mut asked = json!({"access_token": access.access_token.expose_secret(), "count": PAGE});
            if !cursor.is_empty() {
                asked["cursor"] = cursor.as_str().into();
            }
            let body = match self.read("transactions", "/transactions/sync", &asked).await {
                Err(CallError::Bank(limited @ BankError::RateLimited { .. })) => {
                    return Ok((walk, End::CutShort(limited)));
                }
                read => read?,
            };
            let page = wire::page(&body, PAGE).map_err(|why| unusable(&why))?;
            let (next, has_more) = (page.next_cursor.clone(), page.has_more);
            if has_more && next == cursor {
                return Err(unusable("Plaid's list has no end"));
            }
            walk.take(page);
            cursor = next;
            if !has_more {
                return Ok((walk, End::At(cursor)));
            }
            if walk.len() > MOST_CHANGES {
                break;
            }
        }
        Err(unusable("Plaid tells of more transactions than any bank has"))
    }

    async fn told(&self, access: &Access, period: Period) -> Result<Statement, CallError> {
        let found = match self.accounts(access).await {
            Err(CallError::NotReady) => return Ok(not_ready(wire::Accounts::default())),
            found => found?,
        };
        let (mut cursor, mut since_begin) = (period.cursor.as_deref(), period.cursor.is_none());
        let walked = match self.walk(access, cursor).await {
            Err(CallError::BadCursor) if !since_begin => {
                tracing::warn!(item_id = access.item_id, "Plaid forgot a cursor; all is asked for again");
                (cursor, since_begin) = (None, true);
                self.walk(access, cursor).await
            }
            walked => walked,
        };
        let (walk, next) = match walked {
            Ok((walk, End::At(next))) => (walk, next),
            Ok((walk, End::CutShort(limited))) => return Ok(cut_short(found, walk, since_begin, limited)),
            Err(CallError::NotReady) => return Ok(not_ready(found)),
            Err(CallError::Mutated) => {
                let reason = "the bank's list kept changing while it was read".to_owned();
                return Ok(early(found, reason));
            }
            Err(error) => return Err(error),
        };
        if walk.stage == Stage::NotReady {
            return Ok(not_ready(found));
        }
        Ok(put_together(found, walk, next, since_begin))
    }
}

/// How a walk ended.
enum End {
    /// The list did, and this is the cursor behind it.
    At(String),
    /// Plaid wants to be asked less often.
    CutShort(BankError),
}

/// A call that brought nothing.
enum Failed {
    /// It was not made.
    Held(Duration),
    Lost(reqwest::Error),
    Answered(u16, CallError),
}

impl Failed {
    fn into_call(self) -> CallError {
        match self {
            Self::Answered(_, error) => error,
            Self::Held(after) => CallError::Bank(BankError::Resting { after }),
            Self::Lost(error) => CallError::Bank(BankError::Down(
                if error.is_timeout() {
                    "Plaid did not answer in time"
                } else if error.is_connect() {
                    "Plaid could not be reached"
                } else {
                    "the connection to Plaid broke"
                }
                .to_owned(),
            )),
        }
    }
}

impl CallError {
    fn into_bank(self) -> BankError {
        match self {
            Self::Bank(error) => error,
            Self::BadToken => BankError::NeedsReauth("the public token is not good any more".to_owned()),
            Self::Mutated | Self::NotReady | Self::BadCursor | Self::UnknownKey => {
                BankError::Unusable("Plaid's answer makes no sense here".to_owned())
            }
        }
    }
}

#[async_trait]
impl Bank for PlaidBank {
    async fn claim(&self, public_token: &str, _user_id: &str) -> Result<Credential, ClaimError> {
        let asked = json!({"public_token": public_token});
        let body = match self.call("claim", "/item/public_token/exchange", &asked).await {
            Ok(body) => body,
            Err(Failed::Held(after)) => return Err(ClaimError::Resting { after }),
            Err(Failed::Lost(error)) if error.is_connect() || error.is_builder() => {
                tracing::info!(cause = http::cause(&error), "a claim did not reach Plaid");
                let reason = "Plaid could not be reached".to_owned();
                return Err(ClaimError::Unavailable { reason, retry_after: None });
            }
            Err(Failed::Lost(error)) => return Err(ClaimError::OutcomeUnknown(http::cause(&error))),
            Err(Failed::Answered(_, CallError::BadToken)) => {
                return Err(ClaimError::Refused("it is not known there, used up or too old".to_owned()));
            }
            Err(Failed::Answered(429 | 503, error)) => {
                let error = error.into_bank();
                let retry_after = error.retry_after();
                return Err(ClaimError::Unavailable { reason: error.to_string(), retry_after });
            }
            Err(Failed::Answered(300..=499, error)) => {
                return Err(ClaimError::Refused(error.into_bank().to_string()));
            }
            Err(Failed::Answered(_, error)) => {
                return Err(ClaimError::OutcomeUnknown(error.into_bank().to_string()));
            }
        };
        let access: Access = serde_json::from_slice(&body)
            .map_err(|_| ClaimError::OutcomeUnknown("the answer is no access token".to_owned()))?;
        let text = serde_json::to_string(&access)
            .map_err(|_| ClaimError::OutcomeUnknown("the answer is no access token".to_owned()))?;
        Ok(Credential(SecretString::from(text)))
    }

    async fn statement(
        &self,
        credential: &Credential,
        period: Option<Period>,
    ) -> Result<Statement, BankError> {
        let access = Access::of(credential)?;
        match period {
            Some(period) => self.told(&access, period).await.map_err(CallError::into_bank),
            None => self.accounts(&access).await.map(of_accounts).map_err(CallError::into_bank),
        }
    }

    fn reference(&self, credential: &Credential) -> Option<String> {
        Access::of(credential).ok().map(|access| access.item_id)
    }

    fn can_revoke(&self) -> bool {
        true
    }

    async fn revoke(&self, credential: &Credential) -> Result<(), BankError> {
        let access = Access::of(credential)?;
        let asked = json!({"access_token": access.access_token.expose_secret()});
        self.read("revoke", "/item/remove", &asked).await.map(drop).map_err(CallError::into_bank)
    }

    async fn link_token(
        &self,
        user_id: &str,
        credential: Option<&Credential>,
    ) -> Result<Option<LinkToken>, BankError> {
        #[derive(Deserialize)]
        struct Made {
            link_token: String,
            expiration: String,
        }
        let mut asked = json!({
            "client_name": "Steward", "language": "en", "country_codes": self.settings.country_codes,
            "user": {"client_user_id": user_id},
        });
        if let Some(url) = &self.settings.webhook_url {
            asked["webhook"] = url.as_str().into();
        }
        match credential {
            // In update mode the products are those of the item.
            Some(credential) => {
                let access = Access::of(credential)?;
                asked["access_token"] = access.access_token.expose_secret().into();
            }
            None => {
                asked["products"] = json!(["transactions"]);
                asked["transactions"] = json!({"days_requested": 730});
            }
        }
        let body = self.read("link-token", "/link/token/create", &asked).await;
        let body = body.map_err(CallError::into_bank)?;
        let made: Made = serde_json::from_slice(&body)
            .map_err(|_| BankError::Unusable("Plaid's answer is no link token".to_owned()))?;
        let expires_at = Timestamp::parse(&made.expiration);
        let expires_at =
            expires_at.ok_or_else(|| BankError::Unusable("Plaid's answer is no link token".to_owned()))?;
        Ok(Some(LinkToken { token: made.link_token, expires_at }))
    }
}
