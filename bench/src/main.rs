//! Load on Steward's parts, each next to a raw baseline in the same run.
//!
//! Machines are noisy, so what counts is the ratio to the baseline, not the rate. Everything goes
//! to this machine's loopback and is bounded in count and time.

mod flash_sale;
mod raw;
mod report;

use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use mimalloc::MiMalloc;
use secrecy::SecretString;

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
    /// inventory actor, and several replicas of it.
    FlashSale(FlashSale),
}

#[derive(clap::Args)]
struct FlashSale {
    /// A MongoDB replica set, such as `scripts/services start` gives.
    #[arg(long, env = "STEWARD_TEST_MONGODB_URI", hide_env_values = true)]
    mongodb: String,
    /// Buyers that wait for an answer at the same time.
    #[arg(long, default_value_t = 1024)]
    buyers: usize,
    /// Seconds for each of the contenders.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
}

fn main() -> ExitCode {
    let Line { bench } = Line::parse();
    let several_threads = || match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => panic!("the system gives no threads: {error}"),
    };
    let done = actix_rt::System::with_tokio_rt(several_threads).block_on(async {
        match bench {
            Bench::FlashSale(sale) => {
                let uri = SecretString::from(sale.mongodb);
                flash_sale::run(&uri, sale.buyers, Duration::from_secs(sale.seconds.clamp(1, 60))).await
            }
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
