//! The command line: from arguments to an exit status (0 done, 1 failed, 2 wrong usage).
//!
//! Who calls it: `main`, and nothing else. What never happens here: work of its own. A command loads
//! the configuration and calls [`crate::app`].

mod doctor;
mod health;
mod operators;
mod oversight;

use std::future::Future;
use std::io::{Write, stderr, stdout};
use std::panic;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::app::{Failure, Role, Share, Verdict};
use crate::config::{self, Loaded};
use crate::http::routes::Context;
use crate::{app, http, telemetry};

use oversight::ActorsWish;

/// Users, sessions, linked accounts, catalogue, stock and orders behind one API.
#[derive(Debug, Parser)]
#[command(
    name = "steward",
    version,
    after_help = "Without a command: serve. Every setting has a default; `steward config` shows them.\n\n\
                  Example:\n  STEWARD__HTTP__BIND=0.0.0.0:8080 steward"
)]
struct Line {
    /// A TOML file that goes over the defaults and under the environment.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the API and run the actors (also without a command).
    #[command(
        after_help = "Example:\n  steward serve --config steward.toml\n  steward serve --roles api --contexts users,catalog"
    )]
    Serve(Serve),
    /// Create collections, validators and indexes. Safe to run again, and by two at once.
    #[command(
        after_help = "Example:\n  STEWARD__MONGODB__URI=mongodb://mongo/?replicaSet=rs0 steward migrate --print"
    )]
    Migrate(Migrate),
    /// Load the sample users, accounts and their log-ins. Never in production.
    #[command(after_help = "Example:\n  steward seed")]
    Seed,
    /// Run the faked providers alone, for several processes to share.
    #[command(after_help = "Example:\n  STEWARD__SANDBOX__BIND=127.0.0.1:9090 steward sandbox")]
    Sandbox,
    /// Say what is wrong with the configuration and with what it points to.
    #[command(after_help = "Example:\n  steward doctor --config steward.toml")]
    Doctor,
    /// List jobs; try dead letters again, or drop them.
    #[command(subcommand, after_help = "Example:\n  steward jobs retry order_confirmation.0198c0de")]
    Jobs(operators::Jobs),
    /// Find orders that are under way or stuck; try a step again, or undo the order.
    #[command(subcommand, after_help = "Example:\n  steward sagas list")]
    Sagas(oversight::Sagas),
    /// See the actors of the replica that runs here; hold one back on every replica.
    #[command(subcommand, after_help = "Example:\n  steward actors pause inventory SHIRT-1")]
    Actors(oversight::Actors),
    /// Hold a provider back on every replica.
    #[command(subcommand, after_help = "Example:\n  steward providers pause stripe")]
    Providers(oversight::Providers),
    /// See the replicas.
    #[command(subcommand, after_help = "Example:\n  steward replicas list")]
    Replicas(oversight::Replicas),
    /// Copy the whole store, as of one moment, while servers go on.
    #[command(
        after_help = "Example:\n  steward backup steward-2026-11-21.backup\n  steward backup - | gzip > steward.backup.gz"
    )]
    Backup(Backup),
    /// Make the store, which must be empty, of such a copy. Servers must not run on it.
    #[command(
        after_help = "Example:\n  STEWARD__DATA__DIR=./restored steward restore steward-2026-11-21.backup"
    )]
    Restore(Restore),
    /// Look after the keys that tokens are signed with, and what secrets are sealed with.
    #[command(subcommand, after_help = "Example:\n  steward keys rotate")]
    Keys(operators::Keys),
    /// Make admins, and say who has which roles.
    #[command(subcommand, after_help = "Example:\n  steward user set-roles ada@example.com admin")]
    User(operators::User),
    /// Ask the replica that runs here whether it should get requests. For health checks.
    #[command(after_help = "Example:\n  steward health --live")]
    Health(Health),
    /// Print the OpenAPI document.
    #[command(after_help = "Example:\n  steward openapi > openapi.json")]
    Openapi,
    /// Print the settings in effect and where each comes from, without the secrets.
    #[command(after_help = "Example:\n  STEWARD__LOG__FILTER=debug steward config")]
    Config,
}

#[derive(Debug, Args)]
struct Serve {
    /// Which work this replica does.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Role::value_variants().to_vec())]
    roles: Vec<Role>,
    /// Which part of the system it does that for. Routes of others are 404 here.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Context::value_variants().to_vec())]
    contexts: Vec<Context>,
}

#[derive(Debug, Args)]
struct Migrate {
    /// Only print what would be there, for people to read.
    #[arg(long)]
    print: bool,
    /// First make the replica set that mongodb.uri names of the servers that it names, if they are
    /// none yet.
    #[arg(long, conflicts_with = "print")]
    initiate_replica_set: bool,
}

#[derive(Debug, Args)]
struct Health {
    /// Ask only whether the process lives.
    #[arg(long)]
    live: bool,
}

#[derive(Debug, Args)]
struct Backup {
    /// Where to, a new file; - is standard output. There are secrets in it.
    file: PathBuf,
}

#[derive(Debug, Args)]
struct Restore {
    /// What `steward backup` has written.
    file: PathBuf,
    /// Leave people logged in, also those who have logged out since the copy was made.
    #[arg(long)]
    keep_sessions: bool,
}

/// Runs the command that the process was started with.
pub fn run() -> ExitCode {
    // clap answers --help and wrong usage itself, with status 2 for the latter.
    let line = Line::parse();
    match obey(line) {
        Ok(code) => code,
        Err(failure) => {
            // Nobody is left to tell if this fails.
            let _ = writeln!(stderr(), "steward: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn obey(line: Line) -> Result<ExitCode, Failure> {
    let load = || config::load_from_process(line.config.as_deref());
    let Some(command) = line.command else {
        return with_logs(load()?, |config| app::serve(config, Share::default()));
    };
    match command {
        Command::Serve(Serve { roles, contexts }) => {
            let share = Share::new(roles, contexts).map_err(Failure::new)?;
            with_logs(load()?, |config| app::serve(config, share))
        }
        Command::Migrate(Migrate { print, initiate_replica_set }) => {
            with_logs(load()?, |config| app::migrate(config, print, initiate_replica_set))
        }
        Command::Health(Health { live }) => {
            let config = load()?.config;
            print(&in_system(health::ask(&config.http.bind, live))?)
        }
        Command::Seed => with_logs(load()?, app::seed),
        Command::Sandbox => with_logs(load()?, app::sandbox),
        Command::Doctor => {
            let checks = in_system(doctor::examine(load()));
            print(&doctor::report(&checks))?;
            let failed = checks.iter().any(|check| matches!(check.verdict, Verdict::Fail { .. }));
            Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
        }
        Command::Jobs(jobs) => with_logs(load()?, |config| app::jobs(config, jobs.into())),
        Command::Sagas(sagas) => with_logs(load()?, |config| app::sagas(config, sagas.into())),
        Command::Actors(actors) => match actors.into() {
            ActorsWish::Ask(path) => {
                let (config, token) = (load()?.config, std::env::var("STEWARD_TOKEN").unwrap_or_default());
                print(&in_system(health::tell(&config.http.bind, &path, &token.into()))?)
            }
            ActorsWish::Do(act) => with_logs(load()?, |config| app::actors(config, act)),
        },
        Command::Providers(act) => with_logs(load()?, |config| app::providers(config, act.into())),
        Command::Replicas(oversight::Replicas::List) => with_logs(load()?, app::replicas),
        Command::Backup(Backup { file }) => with_logs(load()?, |config| app::backup(config, file)),
        Command::Restore(Restore { file, keep_sessions }) => {
            with_logs(load()?, |config| app::restore(config, file, keep_sessions))
        }
        Command::Keys(operators::Keys::Reseal) => with_logs(load()?, app::reseal_keys),
        Command::Keys(operators::Keys::Rotate) => with_logs(load()?, app::rotate_keys),
        Command::User(user) => {
            let act = user.act().map_err(Failure::new)?;
            with_logs(load()?, |config| app::user(config, act))
        }
        Command::Openapi => {
            let document = http::openapi_document().to_pretty_json().map_err(Failure::new)?;
            print(&format!("{document}\n"))
        }
        Command::Config => print(&listing(&load()?)),
    }
}

fn with_logs<F>(loaded: Loaded, command: impl FnOnce(config::Config) -> F) -> Result<ExitCode, Failure>
where
    F: Future<Output = Result<(), Failure>>,
{
    let _traces = telemetry::start(&loaded.config.log, &loaded.config.telemetry).map_err(Failure::new)?;
    telemetry::start_figures().map_err(Failure::new)?;
    in_system(command(loaded.config)).map(|()| ExitCode::SUCCESS)
}

/// Runs a future to its end where actors and servers can live.
fn in_system<F: Future>(command: F) -> F::Output {
    // Adapters' tasks run on several threads, so that a busy one holds up nobody.
    let several_threads = || match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => panic!("the system gives no threads: {error}"),
    };
    let system = actix_rt::System::with_tokio_rt(several_threads);
    let done = system.block_on(command);
    // A client's tasks that are cut off by the end of the threads may panic on each other's. Nobody waits
    // for them, and what they would say is about nothing that anybody could mend.
    panic::set_hook(Box::new(|_| {}));
    drop(system);
    done
}

fn listing(loaded: &Loaded) -> String {
    let width = loaded.effective.iter().map(|value| value.key.len() + value.value.len()).max().unwrap_or(0);
    let lines = loaded.effective.iter().map(|value| {
        let setting = format!("{} = {}", value.key, value.value);
        format!("{setting:<width$}  # {}\n", value.origin, width = width + 3)
    });
    lines.collect()
}

/// A reader that has gone, as in `steward openapi | head`, is no failure.
fn print(text: &str) -> Result<ExitCode, Failure> {
    match stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Failure::new(error)),
        _ => Ok(ExitCode::SUCCESS),
    }
}

#[cfg(test)]
mod tests {
    use std::iter;

    use clap::CommandFactory;

    use super::*;

    #[test]
    fn every_command_has_an_example_in_its_help() {
        let mut line = Line::command();
        line.build();
        let own = |command: &&clap::Command| command.get_name() != "help";
        let first = line.get_subcommands().filter(own);
        let all = first.flat_map(|command| iter::once(command).chain(command.get_subcommands().filter(own)));
        for command in all {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("Example"), "{}", command.get_name());
            assert!(command.get_about().is_some(), "{}", command.get_name());
        }
        line.debug_assert();
    }

    #[test]
    fn no_command_means_serve_and_the_file_may_stand_on_either_side() {
        assert!(Line::try_parse_from(["steward"]).unwrap().command.is_none());
        for words in
            [["steward", "--config", "a.toml", "config"], ["steward", "config", "--config", "a.toml"]]
        {
            assert_eq!(Line::try_parse_from(words).unwrap().config, Some("a.toml".into()));
        }
        assert_eq!(Line::try_parse_from(["steward", "fly"]).unwrap_err().exit_code(), 2);
    }

    #[test]
    fn an_unknown_role_or_context_is_refused_with_those_that_there_are() {
        for (option, legal) in
            [("--roles", "api, orders, sync, jobs"), ("--contexts", "users, catalog, orders, accounts")]
        {
            let refused = Line::try_parse_from(["steward", "serve", option, "api,kitchen"]).unwrap_err();
            assert_eq!(refused.exit_code(), 2);
            let refused = refused.to_string();
            assert!(refused.contains(legal), "{refused}");
        }
        let Some(Command::Serve(Serve { roles, contexts })) =
            Line::try_parse_from(["steward", "serve", "--roles", "api,jobs"]).unwrap().command
        else {
            panic!("serve is serve")
        };
        assert_eq!((roles, contexts.len()), (vec![Role::Api, Role::Jobs], 4));
    }

    #[test]
    fn the_listing_hides_secrets_and_names_sources() {
        let uri = ("STEWARD__MONGODB__URI".into(), "mongodb://u:canary@h".into());
        let text = listing(&config::load(None, [uri]).unwrap());
        assert!(text.contains("mongodb.uri = (hidden)") && text.contains("# STEWARD__MONGODB__URI"));
        assert!(text.contains("http.bind = 127.0.0.1:8080") && !text.contains("canary"));
    }
}
