//! Sessions: who is calling.
//!
//! Who calls it: HTTP. [`Sessions`] logs in and out; each HTTP worker thread has a session actor
//! of its own, so that checking a token is a message on the same thread: a bounded cache over the
//! locator (Redis) over the store.
//!
//! The session documents in the store are the truth. The locator only says which document a token
//! belongs to; it may be flushed or rolled back, and no revoked token counts again. A load enters
//! the cache only if nothing was invalidated since it began. While the channel of invalidations is
//! silent the cache is not used.
//!
//! What never happens here: a token stored or printed in the clear, "unauthenticated" said because
//! something could not be reached.

mod actor;
mod cache;
mod device_token;
mod ending;
mod errors;
mod family;
mod invalidation;
mod load;
mod locator;
mod password;
mod posted;
mod principal;
mod record;
mod refresh_token;
mod refreshing;
mod service;
mod throttle;
mod token;

pub use actor::SessionActor;
pub use device_token::{DeviceToken, TRUSTED_FOR};
pub use ending::{LogOutError, MOST_SESSIONS, SessionPage};
pub use errors::{AuthError, LogInError};
pub use family::{Family, GRACE};
pub use invalidation::{
    Feed, Invalidation, Invalidations, LocalInvalidations, SILENCE, Subscription, Unreached,
};
pub use locator::{LocatorError, SessionLocator};
pub use posted::{Posted, REVOCATIONS};
pub use principal::Principal;
pub use record::{ABSOLUTE, Device, IDLE, SEEN_EVERY, SESSIONS, Session};
pub use refresh_token::RefreshToken;
pub use refreshing::RefreshError;
pub use service::{LogIn, LoggedIn, SessionParts, Sessions, SessionsHandle};
pub use token::{SessionToken, TokenHash};

#[cfg(test)]
mod tests;
