//! `steward doctor`: a list of checks, each with what it found and what would do.
//!
//! The checks here need the configuration and this machine; [`crate::app`] adds those that need an
//! adapter. What never happens here: a change, except a file that is made and removed to see
//! whether one can be.

use std::fs;
use std::io;
use std::net::TcpListener;
use std::path::Path;

use steward_actors::ids;

use crate::app::{self, Check, Verdict};
use crate::config::{Config, Fault, Loaded, Profile};

/// Looks at everything.
pub(super) async fn examine(loaded: Result<Loaded, Vec<Fault>>) -> Vec<Check> {
    match loaded {
        Err(faults) => faults.into_iter().map(of_fault).collect(),
        Ok(loaded) => {
            let mut checks = of_machine(&loaded.config);
            checks.extend(app::checks(&loaded.config).await);
            checks
        }
    }
}

/// For people, a line a check.
pub(super) fn report(checks: &[Check]) -> String {
    let width = checks.iter().map(|check| check.name.len()).max().unwrap_or(0);
    let lines = checks.iter().map(|Check { name, verdict }| match verdict {
        Verdict::Ok(what) => format!("ok    {name:<width$}  {what}\n"),
        Verdict::Warn { what, remedy } => format!("warn  {name:<width$}  {what}; {remedy}\n"),
        Verdict::Fail { what, remedy } => format!("FAIL  {name:<width$}  {what}; {remedy}\n"),
    });
    lines.collect()
}

fn of_fault(fault: Fault) -> Check {
    let value = fault.value.map(|value| format!("{value:?} ")).unwrap_or_default();
    let origin = fault.origin.map(|origin| format!(" (from {origin})")).unwrap_or_default();
    Check::fail(fault.key, format!("{value}{}{origin}", fault.problem), fault.remedy)
}

fn of_machine(config: &Config) -> Vec<Check> {
    let mut checks = vec![Check::ok("profile", format!("{:?}", config.profile).to_lowercase())];
    checks.extend(config.refusals().into_iter().map(|refusal| {
        let remedy = format!("{}, or accept it with {} = true", refusal.remedy, refusal.permit);
        Check::fail("profile", format!("production refuses {}", refusal.what), remedy)
    }));
    checks.push(free_address("http.bind", &config.http.bind));
    checks.push(public_url(config));
    if config.runs_sandbox() {
        checks.push(free_address("sandbox.bind", &config.sandbox.bind));
    }
    if config.mongodb.uri.is_none() || config.runs_sandbox() {
        checks.push(writable("data.dir", &config.data.dir));
    }
    if config.email.smtp_uri.is_none() {
        checks.push(writable("email.dir", &config.mail_dir()));
    }
    checks
}

fn public_url(config: &Config) -> Check {
    let name = "http.public_url";
    match &config.http.public_url {
        Some(url) if config.profile == Profile::Production && !url.starts_with("https://") => {
            Check::warn(name, format!("{url} is not encrypted"), "give it an https:// address")
        }
        Some(url) => Check::ok(name, url),
        None if config.profile == Profile::Production => {
            Check::warn(name, "is not set, so links lead to the address listened on", "set http.public_url")
        }
        None => Check::ok(name, "from http.bind"),
    }
}

fn free_address(name: &str, address: &str) -> Check {
    match TcpListener::bind(address) {
        Ok(_) => Check::ok(name, format!("{address} is free")),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Check::warn(
            name,
            format!("{address} is taken, perhaps by Steward itself"),
            format!("stop what listens there, or set {name} to another port (0 picks one)"),
        ),
        Err(error) => Check::fail(
            name,
            format!("{address}: {error}"),
            format!("set {name} to an address of this machine"),
        ),
    }
}

/// Whether files can be made in `dir`, or in the nearest directory above that exists.
fn writable(name: &str, dir: &Path) -> Check {
    let remedy = || format!("make it writable for this user, or set {name} to another directory");
    let absolute = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
    let Some(nearest) = absolute.ancestors().find(|dir| dir.exists()) else {
        return Check::fail(name, format!("{} is nowhere", dir.display()), remedy());
    };
    let probe = nearest.join(format!(".steward-doctor-{}", ids::new_id()));
    match fs::write(&probe, b"").and_then(|()| fs::remove_file(&probe)) {
        Ok(()) if nearest == absolute => Check::ok(name, format!("{} is writable", dir.display())),
        Ok(()) => Check::ok(name, format!("{} can be made", dir.display())),
        Err(error) => Check::fail(name, format!("{}: {error}", nearest.display()), remedy()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn machine(pairs: &[(&str, &str)]) -> Vec<Check> {
        let pairs = pairs.iter().map(|(name, value)| (name.into(), value.into()));
        of_machine(&config::load(None, pairs).unwrap().config)
    }

    fn verdict<'a>(checks: &'a [Check], name: &str) -> &'a Verdict {
        &checks.iter().find(|check| check.name == name).unwrap().verdict
    }

    #[test]
    fn a_taken_port_and_a_foreign_address_are_told_apart() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap().to_string();
        let checks = machine(&[("STEWARD__HTTP__BIND", &address)]);
        assert!(
            matches!(verdict(&checks, "http.bind"), Verdict::Warn { what, .. } if what.contains("taken"))
        );
        drop(taken);
        let checks = machine(&[("STEWARD__HTTP__BIND", &address)]);
        assert!(matches!(verdict(&checks, "http.bind"), Verdict::Ok(_)));
        let checks = machine(&[("STEWARD__HTTP__BIND", "192.0.2.1:8080")]);
        assert!(matches!(verdict(&checks, "http.bind"), Verdict::Fail { .. }));
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, b"").unwrap();
        let below_a_file = file.join("data").display().to_string();
        let checks = machine(&[("STEWARD__DATA__DIR", &below_a_file)]);
        assert!(
            matches!(verdict(&checks, "data.dir"), Verdict::Fail { remedy, .. } if remedy.contains("data.dir"))
        );

        let fresh = dir.path().join("a/b").display().to_string();
        let checks = machine(&[("STEWARD__DATA__DIR", &fresh)]);
        assert!(matches!(verdict(&checks, "data.dir"), Verdict::Ok(_)));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left behind");
    }

    #[test]
    fn what_production_refuses_fails() {
        let checks = machine(&[("STEWARD__PROFILE", "production"), ("STEWARD__HTTP__BIND", "127.0.0.1:0")]);
        let failed = checks.iter().filter(|check| matches!(check.verdict, Verdict::Fail { .. })).count();
        assert_eq!(failed, 4);
        let report = report(&checks);
        assert!(report.contains("FAIL  profile") && report.contains("allow.embedded_store"));
    }

    #[test]
    fn mistakes_in_the_configuration_are_the_only_checks_then() {
        let bad = ("STEWARD__HTTP__BIND".into(), "x".into());
        let faults = config::load(None, [bad]).unwrap_err();
        let checks: Vec<_> = faults.into_iter().map(of_fault).collect();
        assert!(report(&checks).starts_with("FAIL  http.bind  \"x\" is no address"));
    }
}
