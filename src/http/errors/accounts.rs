//! Errors of accounts and transactions.

use steward_actors::accounts::{DetailsError, EditError};

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
            EditError::Details(DetailsError::Missing(name)) => Self::missing(format!("/details/{name}")),
            EditError::Details(DetailsError::Foreign(name)) => Self::invalid_field(
                format!("/details/{name}"),
                "unknown",
                "is nothing that accounts of this type have",
            ),
            EditError::TooMany(_) => {
                Self::conflict("too_many_accounts", "There are too many accounts").detail(error.to_string())
            }
            EditError::KeyReused => Self::key_reused(),
            EditError::DeletedSince => Self::deleted_since(),
            EditError::NothingMerged => Self::conflict("nothing_merged", "Nothing was merged into it"),
            EditError::FormerIsBack => {
                Self::conflict("former_is_back", "Another has its id").detail(error.to_string())
            }
            EditError::Unavailable(_) => Self::unavailable(error),
            EditError::OutcomeUnknown => Self::outcome_unknown(error),
        }
    }
}

impl Problem {
    /// 409: the command was done before, and what it made is no more.
    pub fn deleted_since() -> Self {
        Self::conflict("deleted_since", "What the command made was deleted since")
    }
}
