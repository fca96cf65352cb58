//! Errors of users, sessions and names.

use std::time::Duration;

use actix_web::http::StatusCode;
use steward_actors::session::{LogInError, LogOutError, RefreshError};
use steward_actors::users::{ChangeError, RegisterError};

use crate::http::problem::Problem;

/// When to come back if every password thread is at work.
const BUSY: Duration = Duration::from_secs(2);

impl From<RegisterError> for Problem {
    fn from(error: RegisterError) -> Self {
        match error {
            RegisterError::EmailTaken => Self::conflict("email_taken", "This mail address is taken"),
            RegisterError::UsernameTaken => Self::conflict("username_taken", "This username is taken"),
            RegisterError::WeakPassword => {
                Self::invalid_field("/password", "weak_password", error.to_string())
            }
            RegisterError::Lacks(permission) => Self::forbidden(&permission),
            RegisterError::UnknownRole(_) => {
                Self::invalid_field("/roles", "unknown_role", "name a role that does not exist")
            }
            RegisterError::Throttled { retry_after } => Self::too_many(retry_after),
            RegisterError::Busy => Self::unavailable(error).retry_after(BUSY),
            RegisterError::Unavailable(_) => Self::unavailable(error),
            RegisterError::OutcomeUnknown(_) => Self::outcome_unknown(error),
        }
    }
}

impl From<LogInError> for Problem {
    fn from(error: LogInError) -> Self {
        match error {
            LogInError::InvalidCredentials => {
                Self::new(StatusCode::UNAUTHORIZED, "invalid_credentials", "These credentials are not right")
            }
            LogInError::Throttled { retry_after } => Self::too_many(retry_after),
            LogInError::Busy => Self::unavailable(error).retry_after(BUSY),
            LogInError::Unavailable(_) => Self::unavailable(error),
        }
    }
}

impl From<RefreshError> for Problem {
    fn from(error: RefreshError) -> Self {
        match error {
            RefreshError::Refused => Self::new(
                StatusCode::UNAUTHORIZED,
                "invalid_refresh_token",
                "This refresh token does not count",
            ),
            RefreshError::Unavailable(_) => Self::unavailable(error),
        }
    }
}

impl From<LogOutError> for Problem {
    fn from(error: LogOutError) -> Self {
        match error {
            LogOutError::NotFound => Self::not_found(),
            LogOutError::Unavailable(_) => Self::unavailable(error),
            LogOutError::OutcomeUnknown(_) => Self::outcome_unknown(error),
        }
    }
}

impl From<ChangeError> for Problem {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::NotFound => Self::not_found(),
            ChangeError::Moved => Self::precondition_failed(),
            ChangeError::EmailTaken => Self::conflict("email_taken", "This mail address is taken"),
            ChangeError::UsernameTaken => Self::conflict("username_taken", "This username is taken"),
            ChangeError::PasswordNeeded => Self::missing("/currentPassword"),
            ChangeError::WrongPassword => {
                Self::invalid_field("/currentPassword", "wrong_password", "is not the current password")
            }
            ChangeError::Throttled { retry_after } => Self::too_many(retry_after),
            ChangeError::WeakPassword => {
                Self::invalid_field("/newPassword", "weak_password", error.to_string())
            }
            ChangeError::BadToken => {
                Self::invalid_field("/token", "invalid_token", "is not, or no longer, good")
            }
            ChangeError::Lacks(permission) => Self::forbidden(&permission),
            ChangeError::UnknownRole(_) => {
                Self::invalid_field("/roles", "unknown_role", "name a role that does not exist")
            }
            ChangeError::LastAdmin => Self::conflict("last_admin", "This is the last admin"),
            ChangeError::Fixed => Self::conflict("role_fixed", "The role admin permits everything"),
            ChangeError::TooMany => {
                Self::conflict("too_many_roles", "There are as many roles as there may be")
            }
            ChangeError::Busy => Self::unavailable(error).retry_after(BUSY),
            ChangeError::Unavailable(_) => Self::unavailable(error),
            ChangeError::OutcomeUnknown(_) => Self::outcome_unknown(error),
        }
    }
}
