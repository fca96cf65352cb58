//! Words for operators.

use clap::{Args, Subcommand, ValueEnum};
use secrecy::SecretString;
use steward_actors::outbox::JobStatus;

use crate::app::{JobsAct, UserAct};

/// `steward jobs …`
#[derive(Debug, Subcommand)]
pub(super) enum Jobs {
    /// Show jobs, the one due first first.
    #[command(after_help = "Example:\n  steward jobs list --status dead --limit 50")]
    List(List),
    /// Make dead letters due now, with all their attempts.
    #[command(after_help = "Example:\n  steward jobs retry order_confirmation.0198c0de")]
    Retry(Ids),
    /// Forget dead letters: their effects never happen.
    #[command(after_help = "Example:\n  steward jobs drop order_confirmation.0198c0de")]
    Drop(Ids),
}

/// `steward keys …`
#[derive(Debug, Subcommand)]
pub(super) enum Keys {
    /// Seal all that is stored sealed with the first key of secrets.key, so that older ones can go.
    #[command(
        after_help = "Example:\n  STEWARD__SECRETS__KEY=\"$NEW,$OLD\" steward keys reseal && echo \"$OLD can go\""
    )]
    Reseal,
    /// Make the next key that signs access tokens. It is published at once and signs an hour later; what
    /// the one before has signed counts until it expires, so nobody is logged out.
    #[command(after_help = "Example:\n  steward keys rotate")]
    Rotate,
}

#[derive(Debug, Args)]
pub(super) struct List {
    /// Which.
    #[arg(long, value_enum, default_value_t = Status::Dead)]
    status: Status,
    /// How many at most.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1000))]
    limit: u16,
}

#[derive(Debug, Args)]
pub(super) struct Ids {
    /// Their ids.
    #[arg(required = true, num_args = 1..=1000, value_name = "ID")]
    ids: Vec<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Status {
    /// Waits for its time.
    Due,
    /// A replica is at it.
    Running,
    /// Failed for good, or too often.
    Dead,
}

impl From<Jobs> for JobsAct {
    fn from(jobs: Jobs) -> Self {
        match jobs {
            Jobs::List(List { status, limit }) => {
                let status = match status {
                    Status::Due => JobStatus::Due,
                    Status::Running => JobStatus::Running,
                    Status::Dead => JobStatus::Dead,
                };
                Self::List { status, limit: usize::from(limit) }
            }
            Jobs::Retry(Ids { ids }) => Self::Retry(ids),
            Jobs::Drop(Ids { ids }) => Self::Drop(ids),
        }
    }
}

/// `steward user …`
#[derive(Debug, Subcommand)]
pub(super) enum User {
    /// Make a user who may do everything. Without --password-stdin a password is made up and printed.
    #[command(
        after_help = "Example:\n  steward user create-admin ada@example.com\n  printf %s \"$PASSWORD\" | steward user create-admin ada@example.com --password-stdin"
    )]
    CreateAdmin(CreateAdmin),
    /// Give a user these roles, and take all others away. The last admin stays one.
    #[command(
        after_help = "Example:\n  steward user set-roles ada@example.com admin\n  steward user set-roles bob@example.com"
    )]
    SetRoles(SetRoles),
}

#[derive(Debug, Args)]
pub(super) struct CreateAdmin {
    /// The mail address.
    email: String,
    /// Read the password from standard input, up to the end of its first line.
    #[arg(long)]
    password_stdin: bool,
}

#[derive(Debug, Args)]
pub(super) struct SetRoles {
    /// The user's id, mail address or username.
    user: String,
    /// The roles; none takes all away.
    #[arg(value_name = "ROLE", num_args = 0..=20)]
    roles: Vec<String>,
}

impl User {
    /// What is to be done; reads the password if there is one to read.
    ///
    /// # Errors
    /// Standard input cannot be read.
    pub(super) fn act(self) -> std::io::Result<UserAct> {
        Ok(match self {
            Self::CreateAdmin(CreateAdmin { email, password_stdin }) => {
                let password = if password_stdin { Some(first_line()?) } else { None };
                UserAct::CreateAdmin { email, password }
            }
            Self::SetRoles(SetRoles { user, roles }) => UserAct::SetRoles { user, roles },
        })
    }
}

fn first_line() -> std::io::Result<SecretString> {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    Ok(line.trim_end_matches(['\r', '\n']).into())
}
