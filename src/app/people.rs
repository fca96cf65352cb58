//! Users and keys from the command line, on the configured store: beside running replicas, which hear of
//! it, on MongoDB; in place of one on the embedded store.

use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};
use steward_actors::cluster::StoreClock;
use steward_actors::session::{Invalidations, LocalInvalidations};
use steward_actors::store::{Store, Versioned};
use steward_actors::supervision::Tree;
use steward_actors::users::{Edit, Editor, Email, NewUser, Password, User, Users};

use super::commands::say;
use super::failure::Failure;
use super::operators::{by, open};
use super::{keys, session_ports};
use crate::config::Config;
use crate::passwords::Argon2Passwords;
use crate::storage::redis::RedisPool;

/// What is done with users.
pub enum UserAct {
    /// Makes an admin.
    CreateAdmin {
        /// The address.
        email: String,
        /// The password; one is made up and told if there is none.
        password: Option<SecretString>,
    },
    /// Gives a user these roles and no others.
    SetRoles {
        /// An id, an address or a username.
        user: String,
        /// The roles.
        roles: Vec<String>,
    },
}

/// Makes an admin, or says who has which roles.
///
/// # Errors
/// The store can't be opened, or nothing was changed.
pub async fn user(config: Config, act: UserAct) -> Result<(), Failure> {
    let opened = open(&config, "POST /v1/users and PUT /v1/users/{id}/roles").await?;
    let done = user_in(&config, &opened.store, act).await;
    opened.close().await;
    done
}

async fn user_in(config: &Config, store: &Arc<dyn Store>, act: UserAct) -> Result<(), Failure> {
    let clock = Arc::new(StoreClock::start(store.as_ref()).await.map_err(Failure::new)?);
    let passwords = Argon2Passwords::start().map_err(Failure::new)?;
    let channel = channel(config, store, &clock)?;
    let users = Users::new(store.clone(), clock, Arc::new(passwords)).telling(channel);
    match act {
        UserAct::CreateAdmin { email, password } => create_admin(&users, &email, password).await,
        UserAct::SetRoles { user, roles } => {
            let found = find(&users, &user).await?;
            let edit = Edit { roles: Some(roles), ..Edit::default() };
            let edited = users.edit(&found.value.id, &Editor::Operator(by()), &edit, None).await;
            let edited = edited.map_err(Failure::new)?.value;
            let roles = if edited.roles.is_empty() { "no roles".to_owned() } else { edited.roles.join(", ") };
            say(&format!("{}   {}   {roles}\n", edited.id, edited.email))
        }
    }
}

/// What tells the replicas that run.
fn channel(
    config: &Config,
    store: &Arc<dyn Store>,
    clock: &Arc<StoreClock>,
) -> Result<Arc<dyn Invalidations>, Failure> {
    let Some(uri) = &config.redis.uri else { return Ok(Arc::new(LocalInvalidations::default())) };
    let pool = RedisPool::connect(uri, &config.redis.prefix).map_err(Failure::new)?;
    Ok(session_ports(Some(&pool), store, clock, &Tree::new(clock.clone())).0)
}

async fn create_admin(users: &Users, email: &str, password: Option<SecretString>) -> Result<(), Failure> {
    let email = Email::parse(email).map_err(|wrong| Failure::new(format!("the address {wrong}")))?;
    let made_up = password.is_none();
    let password = password.unwrap_or_else(|| uuid::Uuid::new_v4().simple().to_string().into());
    let parsed = Password::parse(password.clone());
    let parsed = parsed.map_err(|wrong| Failure::new(format!("the password {wrong}")))?;
    let made = users.create_admin(&by(), NewUser::new(email, parsed)).await.map_err(Failure::new)?.value;
    let told = if made_up { format!("   password {}", password.expose_secret()) } else { String::new() };
    say(&format!("{}   {}   admin{told}\n", made.id, made.email))
}

async fn find(users: &Users, who: &str) -> Result<Versioned<User>, Failure> {
    let found = match users.get(who).await.map_err(Failure::new)? {
        Some(found) => Some(found),
        None => users.by_login(who).await.map_err(Failure::new)?,
    };
    found.ok_or_else(|| Failure::new(format!("there is no user {who}")))
}

/// Makes the next signing key.
///
/// # Errors
/// The store can't be opened, or signing keys are given by file.
pub async fn rotate_keys(config: Config) -> Result<(), Failure> {
    let opened = open(&config, "the rotation that it does by itself every 30 days").await?;
    let done = rotate_in(&config, &opened.store).await;
    opened.close().await;
    done
}

async fn rotate_in(config: &Config, store: &Arc<dyn Store>) -> Result<(), Failure> {
    let clock = Arc::new(StoreClock::start(store.as_ref()).await.map_err(Failure::new)?);
    let sealer = keys::sealer(config, store.as_ref()).await.map_err(Failure::new)?;
    let (_, keys) = keys::open(config, store.clone(), clock, sealer).await.map_err(Failure::new)?;
    let signs_from = keys.rotate().await.map_err(Failure::new)?;
    say(&format!("The next key is published, and signs from {signs_from} on. Nobody is logged out.\n"))
}
