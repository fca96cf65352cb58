//! Words for operators.

use clap::{Args, Subcommand, ValueEnum};
use steward_actors::outbox::JobStatus;

use crate::app::JobsAct;

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
