//! What bounds the mails about accounts to one address. Whoever has them sent need not be who reads
//! them: anyone asks for a reset of anyone's password, and registers with anyone's address.
//!
//! Who calls it: [`super::UserMails`], once for each mail when it is to go out, so that it holds
//! whatever way the mail was asked for and however the address was spelled. What never happens here:
//! an answer to who asked, so nobody learns from it who has an account.

use std::time::Duration;

use super::{Occasion, digest};
use crate::limits::{Limits, Quota};

const HOUR: Duration = Duration::from_secs(3600);
/// Resets of the password, to one address. Their tokens are good for an hour, so whoever is sent
/// none for what others asked for has one that works: this keeps nobody from their account.
const RESETS: Quota = Quota::new("mail_reset", 5, HOUR);
/// Mails to verify an address that are one user's doing.
const VERIFICATIONS: Quota = Quota::new("mail_verification", 5, HOUR);
/// Mails to verify one address, whosever doing they are; the one that welcomes is among them.
const STRANGERS: Quota = Quota::new("mail_stranger", 20, HOUR);
/// Mails to one address about accounts that are gone: it may be registered and deleted in turns.
const FAREWELLS: Quota = Quota::new("mail_farewell", 5, HOUR);
/// Mails to one user about one thing that was done. Who has read twenty knows.
const NOTICES: Quota = Quota::new("mail_notice", 20, HOUR);

/// Whether one more mail may go out; it is counted.
pub(super) async fn allows(limits: &dyn Limits, occasion: Occasion, user_id: &str, email: &str) -> bool {
    let (of_user, of_address) = match occasion {
        Occasion::PasswordReset => (None, Some(RESETS)),
        Occasion::Welcome => (None, Some(STRANGERS)),
        Occasion::Verification => (Some(VERIFICATIONS), Some(STRANGERS)),
        Occasion::Deleted => (None, Some(FAREWELLS)),
        Occasion::FirstPassword
        | Occasion::PasswordChanged
        | Occasion::EmailChangeAsked
        | Occasion::EmailChanged
        | Occasion::RefreshReplayed => (Some(NOTICES), None),
    };
    // The user's first: who has used up their own uses up nothing of an address.
    if let Some(quota) = of_user
        && !limits.take(&quota, &format!("{}:{user_id}", occasion.name())).await.allowed
    {
        return false;
    }
    match of_address {
        Some(quota) => limits.take(&quota, &digest(email)).await.allowed,
        None => true,
    }
}
