//! Errors of accounts and transactions.

use steward_actors::accounts::EditError;

use crate::http::problem::Problem;

impl From<EditError> for Problem {
    fn from(error: EditError) -> Self {
        match error {
            EditError::NotFound => Self::not_found(),
            EditError::Changed => Self::precondition_failed(),
            EditError::BadName => Self::invalid_field("", "text", error.to_string()),
            EditError::Synced => {
                Self::conflict("synced", "The account is synced from its bank").detail(error.to_string())
            }
            EditError::NothingMerged => Self::conflict("nothing_merged", "Nothing was merged into it"),
            EditError::Unavailable(_) => Self::unavailable(error),
            EditError::OutcomeUnknown => Self::outcome_unknown(error),
        }
    }
}
