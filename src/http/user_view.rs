//! A user, as the API shows one.

use serde::Serialize;
use steward_actors::store::Versioned;
use steward_actors::users::User;
use utoipa::ToSchema;

use super::values::Time;

/// A user.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct UserView {
    id: String,
    email: String,
    /// Takes the place of `email` once it is verified.
    #[schema(required = true)]
    pending_email: Option<String>,
    #[schema(required = true)]
    username: Option<String>,
    name: String,
    /// In years.
    #[schema(required = true)]
    age: Option<i64>,
    roles: Vec<String>,
    email_verified: bool,
    disabled: bool,
    version: u64,
    created_at: Time,
    updated_at: Time,
}

impl UserView {
    pub(super) fn of(user: Versioned<User>) -> Self {
        let Versioned { value: user, version } = user;
        Self {
            id: user.id,
            email: user.email,
            pending_email: user.pending_email,
            username: user.username,
            name: user.name,
            age: user.age,
            roles: user.roles,
            email_verified: user.email_verified,
            disabled: user.disabled,
            version,
            created_at: user.created_at.into(),
            updated_at: user.updated_at.into(),
        }
    }
}
