//! Load on Steward's parts, each next to a raw baseline in the same run.
//!
//! Machines are noisy, so what counts is the ratio to the baseline, not the rate. Everything goes
//! to this machine's loopback and is bounded in count and time.

mod bare;
mod flash_sale;
mod growth;
mod login;
mod orders;
mod raw;
mod reads;
mod report;
mod revocation;
mod sale_over_http;
mod server;
mod shop;
mod sync;
mod sync_memory;
mod wire;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use mimalloc::MiMalloc;
use secrecy::SecretString;

/// Why a bench came to nothing.
type Failure = Box<dyn Error + Send + Sync>;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

#[derive(Parser)]
#[command(about = "Load on Steward's parts, each next to a raw baseline in the same run.")]
struct Line {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Subcommand)]
enum Bench {
    /// Many buyers, one SKU: one transaction a reservation, a bare group-committing loop, the
    /// inventory actor, the whole way over HTTP; with several replicas on the SKU.
    FlashSale(FlashSale),
    /// Orders from accepted to confirmed, next to bare inserts; as the store grows.
    Orders(OrdersLine),
    /// Authenticated reads, by session token and by access token, next to a bare handler that answers the
    /// same bytes; over the embedded store, and over MongoDB and Redis.
    Reads(ReadsLine),
    /// What a log-in costs, next to bare Argon2id with the same parameters.
    Login(LoginLine),
    /// How soon a session that was ended is refused by three processes.
    Revocation(RevocationLine),
    /// Answers every request with what is in a file: what `reads` is compared with.
    #[command(hide = true)]
    Bare {
        /// The file.
        file: PathBuf,
    },
    /// Linked connections on one process, due evenly: memory, lateness, runs a second; and how long
    /// slots take to change hands.
    Sync(SyncLine),
}

#[derive(clap::Args)]
struct Services {
    /// A MongoDB replica set, such as `scripts/services start` gives.
    #[arg(long, env = "STEWARD_TEST_MONGODB_URI", hide_env_values = true)]
    mongodb: String,
    /// A Redis, which several processes on one database need.
    #[arg(long, env = "STEWARD_TEST_REDIS_URI", hide_env_values = true)]
    redis: String,
    /// The server's program; the one next to this one if absent.
    #[arg(long)]
    steward: Option<PathBuf>,
}

#[derive(clap::Args)]
struct FlashSale {
    #[command(flatten)]
    services: Services,
    /// Buyers that wait for an answer at the same time.
    #[arg(long, default_value_t = 1024)]
    buyers: usize,
    /// Seconds for each of the contenders.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Logged-in users of each buyer over HTTP: each may hold 20 times.
    #[arg(long, default_value_t = 8)]
    identities: usize,
    /// Leaves out what goes over HTTP.
    #[arg(long)]
    no_http: bool,
}

#[derive(clap::Args)]
struct OrdersLine {
    #[command(flatten)]
    services: Services,
    /// Orders of each measurement.
    #[arg(long, default_value_t = 2000)]
    orders: usize,
    /// Clients that place them.
    #[arg(long, default_value_t = 64)]
    clients: usize,
    /// Orders that the store has before each further measurement.
    #[arg(long, value_delimiter = ',', default_value = "1000,10000,100000")]
    sizes: Vec<usize>,
}

#[derive(clap::Args)]
struct ReadsLine {
    #[command(flatten)]
    services: Services,
    /// Connections that ask at the same time.
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Seconds for each contender in each round.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Rounds, of which the median counts.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
}

#[derive(clap::Args)]
struct LoginLine {
    /// The server's program; the one next to this one if absent.
    #[arg(long)]
    steward: Option<PathBuf>,
    /// Log-ins, and bare hashes, of each round.
    #[arg(long, default_value_t = 100)]
    logins: usize,
    /// Clients that log in, each again as soon as it is answered.
    #[arg(long, default_value_t = 8)]
    clients: usize,
    /// Rounds, of which the median counts.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
}

#[derive(clap::Args)]
struct RevocationLine {
    #[command(flatten)]
    services: Services,
    /// Sessions that are ended, one after the other.
    #[arg(long, default_value_t = 300)]
    sessions: usize,
}

#[derive(clap::Args)]
struct SyncLine {
    #[command(flatten)]
    services: Services,
    /// Connections of each measurement.
    #[arg(long, value_delimiter = ',', default_value = "1000,10000,100000")]
    sizes: Vec<usize>,
    /// Seconds over which they are due, in each measurement.
    #[arg(long, default_value_t = 300)]
    seconds: u64,
    /// 1: each is synced for the first time; 2: and once more.
    #[arg(long, default_value_t = 2)]
    turns: usize,
}

fn main() -> ExitCode {
    let Line { bench } = Line::parse();
    let several_threads = || match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => panic!("the system gives no threads: {error}"),
    };
    let done = actix_rt::System::with_tokio_rt(several_threads).block_on(async {
        match bench {
            Bench::FlashSale(line) => {
                let uri = SecretString::from(line.services.mongodb);
                let span = Duration::from_secs(line.seconds.clamp(1, 60));
                let http = sale_over_http::OverHttp {
                    binary: line.services.steward,
                    redis: SecretString::from(line.services.redis),
                    buyers: line.buyers,
                    identities: line.identities.clamp(1, 100),
                    span,
                };
                let http = (!line.no_http).then_some(http);
                flash_sale::run(&uri, &flash_sale::Sale { buyers: line.buyers, span, http }).await
            }
            Bench::Sync(line) => {
                sync::run(sync::Plan {
                    uri: SecretString::from(line.services.mongodb),
                    redis: SecretString::from(line.services.redis),
                    binary: line.services.steward,
                    sizes: line.sizes,
                    turns: line.turns.clamp(1, 2),
                    span: Duration::from_secs(line.seconds.clamp(1, 3600)),
                })
                .await
            }
            Bench::Orders(line) => {
                orders::run(&orders::Plan {
                    uri: SecretString::from(line.services.mongodb),
                    redis: SecretString::from(line.services.redis),
                    binary: line.services.steward,
                    orders: line.orders,
                    clients: line.clients.clamp(1, 1024),
                    sizes: line.sizes,
                })
                .await
            }
            Bench::Reads(line) => {
                reads::run(&reads::Reads {
                    uri: SecretString::from(line.services.mongodb),
                    redis: SecretString::from(line.services.redis),
                    binary: line.services.steward,
                    connections: line.connections.clamp(1, 1024),
                    span: Duration::from_secs(line.seconds.clamp(1, 60)),
                    rounds: line.rounds.clamp(1, 100),
                })
                .await
            }
            Bench::Login(line) => {
                login::run(&login::Logins {
                    binary: line.steward,
                    logins: line.logins.clamp(1, 10_000),
                    clients: line.clients.clamp(1, 64),
                    rounds: line.rounds.clamp(1, 100),
                })
                .await
            }
            Bench::Revocation(line) => {
                revocation::run(&revocation::Revocation {
                    uri: SecretString::from(line.services.mongodb),
                    redis: SecretString::from(line.services.redis),
                    binary: line.services.steward,
                    sessions: line.sessions.clamp(1, 10_000),
                })
                .await
            }
            Bench::Bare { file } => bare::serve(file).await,
        }
    });
    match done {
        Ok(text) => {
            report::print(&text);
            ExitCode::SUCCESS
        }
        Err(error) => {
            report::print(&format!("failed: {error}\n"));
            ExitCode::FAILURE
        }
    }
}
