//! Loading, and what is refused.

use std::ffi::OsString;
use std::io::Write;

use secrecy::ExposeSecret;

use super::*;

fn environment(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    pairs.iter().map(|(name, value)| (name.into(), value.into())).collect()
}

fn with(pairs: &[(&str, &str)]) -> Result<Loaded, Vec<Fault>> {
    load(None, environment(pairs))
}

fn fault(pairs: &[(&str, &str)]) -> Fault {
    let mut faults = with(pairs).unwrap_err();
    assert_eq!(faults.len(), 1, "{faults:?}");
    faults.remove(0)
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

#[test]
fn the_defaults_alone_are_a_configuration() {
    let loaded = with(&[]).unwrap();
    assert_eq!(loaded.config.profile, Profile::Local);
    assert_eq!(loaded.config.http.bind, "127.0.0.1:8080");
    assert!(loaded.config.mongodb.uri.is_none());
    assert!(loaded.config.runs_sandbox());
    assert!(loaded.config.refusals().is_empty());
    assert!(loaded.effective.iter().all(|value| value.origin == Origin::Default));
}

#[test]
fn every_key_is_documented_and_every_documented_key_exists() {
    // Without the # in front of them, the keys that have no default are all read.
    let documented: String = include_str!("../../config/default.toml")
        .lines()
        .map(|line| {
            match line
                .strip_prefix("# ")
                .filter(|rest| rest.split_once(" = ").is_some_and(|(key, _)| !key.contains(' ')))
            {
                Some(key) => format!("{key}\n"),
                None => format!("{line}\n"),
            }
        })
        .collect();
    let given = file(&documented);
    let effective = load(Some(given.path()), []).unwrap().effective;

    // serde names the keys that it knows when it meets one that it doesn't.
    let sections = [
        "",
        "http",
        "data",
        "mongodb",
        "redis",
        "secrets",
        "auth",
        "admin",
        "email",
        "payments",
        "plaid",
        "simplefin",
        "rates",
        "geocoding",
        "sandbox",
        "limits",
        "cluster",
        "sync",
        "log",
        "telemetry",
        "allow",
    ];
    for section in sections {
        let name = if section.is_empty() {
            "STEWARD__NONE".to_owned()
        } else {
            format!("STEWARD__{}__NONE", section.to_uppercase())
        };
        let remedy = fault(&[(&name, "x")]).remedy;
        let known: Vec<_> = remedy.split('`').skip(1).step_by(2).collect();
        assert!(!known.is_empty(), "{section}: {remedy}");
        for key in known {
            if section.is_empty() {
                assert!(key == "profile" || sections.contains(&key), "{key}");
            } else {
                let key = format!("{section}.{key}");
                assert!(effective.iter().any(|value| value.key == key), "{key} is not documented");
            }
        }
    }
}

#[test]
fn a_file_goes_over_the_defaults_and_the_environment_over_both() {
    let given =
        file("[http]\nbind = \"0.0.0.0:1\"\nmax_connections = 7\ncors_origins = [\"https://a.example\"]\n");
    let pairs = [
        ("STEWARD__HTTP__BIND", "0.0.0.0:2"),
        ("STEWARD__HTTP__CORS_ORIGINS", "https://b.example, https://c.example"),
    ];
    let config = load(Some(given.path()), environment(&pairs)).unwrap().config;
    assert_eq!(config.http.bind, "0.0.0.0:2");
    assert_eq!(config.http.max_connections, 7);
    assert_eq!(config.http.cors_origins, ["https://b.example", "https://c.example"]);
    assert_eq!(config.http.deadline_seconds, 30);
}

#[test]
fn text_of_the_environment_stays_text_where_text_is_meant() {
    let pairs = [
        ("STEWARD__ADMIN__EMAIL", "a@b.c"),
        ("STEWARD__ADMIN__PASSWORD", "007"),
        ("STEWARD__MONGODB__DATABASE", "1e3"),
    ];
    let config = with(&pairs).unwrap().config;
    assert_eq!(config.admin.password.unwrap().expose_secret(), "007");
    assert_eq!(config.mongodb.database, "1e3");
}

#[test]
fn a_variable_that_ends_with_file_names_where_the_value_is() {
    let secret = file("mongodb://u:canary@h\n");
    let path = secret.path().display().to_string();
    let loaded = with(&[("STEWARD__MONGODB__URI_FILE", &path)]).unwrap();
    assert_eq!(loaded.config.mongodb.uri.unwrap().expose_secret(), "mongodb://u:canary@h");
    let uri = loaded.effective.iter().find(|value| value.key == "mongodb.uri").unwrap();
    assert_eq!(uri.value, "(hidden)");
    assert_eq!(uri.origin, Origin::Environment("STEWARD__MONGODB__URI_FILE".into()));

    // What is wrong names the variable and the file, and shows nothing of what is in it.
    let twice = fault(&[("STEWARD__MONGODB__URI", "mongodb://h"), ("STEWARD__MONGODB__URI_FILE", &path)]);
    assert!(twice.problem.contains("twice"), "{twice}");
    let missing = fault(&[("STEWARD__MONGODB__URI_FILE", "/nowhere/uri")]);
    assert_eq!(missing.key, "mongodb.uri");
    assert!(missing.problem.contains("/nowhere/uri"), "{missing}");
    let other = file("canary");
    let other = other.path().display().to_string();
    for name in ["STEWARD__MONGODB__URI_FILE", "STEWARD__NONE__AT__ALL_FILE", "STEWARD__MONGODB__URL_FILE"] {
        let found = fault(&[(name, &other)]);
        assert_eq!(found.origin, Some(Origin::Environment(name.into())));
        assert!(!format!("{found:?} {found}").contains("canary"), "{found}");
    }
    let large = file(&"x".repeat(64 * 1024 + 1));
    let large = large.path().display().to_string();
    assert!(fault(&[("STEWARD__MONGODB__URI_FILE", &large)]).problem.contains("too large"));
}

#[test]
fn other_variables_are_not_ours() {
    assert!(with(&[("STEWARD_TEST_MONGODB_URI", "x"), ("STEWARD_", "x"), ("HOME", "/")]).is_ok());
}

#[test]
fn an_unknown_key_stops_the_start_and_names_itself_its_source_and_what_is_known() {
    let found = fault(&[("STEWARD__MONGODB__URL", "mongodb://u:canary@h")]);
    assert_eq!(
        (found.key.as_str(), found.origin.clone()),
        ("mongodb.url", Some(Origin::Environment("STEWARD__MONGODB__URL".into())))
    );
    assert!(found.remedy.contains("`uri`"), "{found}");
    assert!(!found.to_string().contains("canary"));

    for name in [
        "STEWARD__NONE",
        "STEWARD__NONE__AT__ALL",
        "STEWARD__HTTP__BIND__DEEPER",
        "STEWARD__",
        "STEWARD__HTTP__",
    ] {
        let found = fault(&[(name, "canary")]);
        assert_eq!(found.problem, "is unknown", "{name}");
        assert_eq!(found.origin, Some(Origin::Environment(name.into())));
    }
    let given = file("[http]\nbnid = 1\n");
    let faults = load(Some(given.path()), []).unwrap_err();
    assert_eq!((faults[0].key.as_str(), faults[0].problem.as_str()), ("http.bnid", "is unknown"));
}

#[test]
fn a_bad_value_is_named_with_its_key_and_what_would_do() {
    for (name, value, key) in [
        ("STEWARD__PROFILE", "prod", "profile"),
        ("STEWARD__HTTP__MAX_CONNECTIONS", "many", "http.max_connections"),
        ("STEWARD__HTTP__MAX_CONNECTIONS", "0", "http.max_connections"),
        ("STEWARD__HTTP__DEADLINE_SECONDS", "-1", "http.deadline_seconds"),
        ("STEWARD__HTTP__BIND", "8080", "http.bind"),
        ("STEWARD__HTTP__BIND", "localhost:99999", "http.bind"),
        ("STEWARD__HTTP__PUBLIC_URL", "api.example.org", "http.public_url"),
        ("STEWARD__HTTP__CORS_ORIGINS", "*", "http.cors_origins"),
        ("STEWARD__HTTP__CORS_ORIGINS", "https://a.example/", "http.cors_origins"),
        ("STEWARD__SANDBOX__ENABLED", "perhaps", "sandbox.enabled"),
        ("STEWARD__EMAIL__FROM", "nobody", "email.from"),
        ("STEWARD__RATES__URL", "ftp://h", "rates.url"),
        ("STEWARD__SIMPLEFIN__HOSTS", "https://bridge.simplefin.org", "simplefin.hosts"),
        ("STEWARD__SIMPLEFIN__HOSTS", "10.0.0.1", "simplefin.hosts"),
        ("STEWARD__PLAID__COUNTRY_CODES", "us", "plaid.country_codes"),
        ("STEWARD__PLAID__REQUESTS_PER_MINUTE", "0", "plaid.requests_per_minute"),
        ("STEWARD__GEOCODING__ENABLED", "maybe", "geocoding.enabled"),
        ("STEWARD__CLUSTER__HEARTBEAT_SECONDS", "9", "cluster.heartbeat_seconds"),
        ("STEWARD__LOG__FILTER", "steward=loud", "log.filter"),
        ("STEWARD__LOG__FORMAT", "xml", "log.format"),
    ] {
        let found = fault(&[(name, value)]);
        assert_eq!((found.key.as_str(), found.value.as_deref()), (key, Some(value)), "{found}");
        assert_eq!(found.origin, Some(Origin::Environment(name.into())));
        assert!(found.to_string().contains("; "), "{found}");
    }
}

#[test]
fn secrets_show_nowhere() {
    for (name, value) in [
        ("STEWARD__MONGODB__URI", "mongodb://u:canary@h"),
        ("STEWARD__REDIS__URI", "redis://u:canary@h"),
        ("STEWARD__EMAIL__SMTP_URI", "smtp://u:canary@h"),
    ] {
        let loaded = with(&[(name, value)]).unwrap();
        assert!(!format!("{loaded:?}").contains("canary"), "{name}");
        assert!(loaded.effective.iter().any(|value| value.value == "(hidden)"));
        let found = fault(&[(name, "canary")]);
        assert!(!format!("{found:?} {found}").contains("canary"), "{name}: {found}");
    }
    let found = fault(&[("STEWARD__SECRETS__KEY", "canary")]);
    assert_eq!(found.key, "secrets.key");
    assert!(!format!("{found:?} {found}").contains("canary"), "{found}");
    let found = fault(&[("STEWARD__GEOCODING__KEY", "canary")]);
    assert_eq!(found.key, "geocoding.url");
    assert!(!format!("{found:?}").contains("canary"));
    let found = fault(&[("STEWARD__ADMIN__PASSWORD", "canary")]);
    assert_eq!(found.key, "admin.email");
    assert!(!format!("{found:?}").contains("canary"));
}

#[test]
fn a_key_is_sent_only_where_nobody_reads_along() {
    let with_key = |url| with(&[("STEWARD__GEOCODING__URL", url), ("STEWARD__GEOCODING__KEY", "k")]);
    for fine in ["https://api.opencagedata.com/geocode/v1/json", "http://127.0.0.1:1/x", "http://[::1]:1/x"] {
        with_key(fine).unwrap();
    }
    for bad in ["http://api.opencagedata.com/geocode/v1/json", "http://10.0.0.1/x", "https://h/?key=1", "x"] {
        assert_eq!(with_key(bad).unwrap_err()[0].key, "geocoding.url", "{bad}");
    }
    let plaid = |url| {
        let who = [("STEWARD__PLAID__CLIENT_ID", "c"), ("STEWARD__PLAID__SECRET", "s")];
        with(&[("STEWARD__PLAID__URL", url), who[0], who[1]])
    };
    plaid("https://production.plaid.com").unwrap();
    plaid("http://127.0.0.1:1").unwrap();
    assert_eq!(plaid("http://production.plaid.com").unwrap_err()[0].key, "plaid.url");
}

#[test]
fn all_that_is_wrong_is_named_at_once() {
    let faults = with(&[("STEWARD__HTTP__BIND", "x"), ("STEWARD__EMAIL__FROM", "x")]).unwrap_err();
    assert_eq!(faults.len(), 2);
}

#[test]
fn a_file_that_is_missing_or_no_toml_is_named() {
    let missing = load(Some(std::path::Path::new("/nowhere/steward.toml")), []).unwrap_err();
    assert_eq!(missing[0].key, "/nowhere/steward.toml");
    let given = file("http = [");
    assert_eq!(load(Some(given.path()), []).unwrap_err()[0].key, given.path().display().to_string());
}

#[test]
fn production_refuses_what_is_faked_or_embedded_unless_it_is_named() {
    let permits = |pairs: &[(&str, &str)]| {
        let config = with(pairs).unwrap().config;
        config.refusals().iter().map(|refusal| refusal.permit).collect::<Vec<_>>()
    };
    let production = ("STEWARD__PROFILE", "production");
    assert_eq!(
        permits(&[production]),
        ["allow.sandbox", "allow.embedded_store", "allow.made_up_secrets", "allow.mail_files"]
    );
    assert_eq!(permits(&[("STEWARD__PROFILE", "development")]), [""; 0]);

    let unlimited = [production, ("STEWARD__LIMITS__ENABLED", "false")];
    assert!(permits(&unlimited).contains(&"allow.unlimited"));
    let real = [
        production,
        ("STEWARD__MONGODB__URI", "mongodb://h"),
        ("STEWARD__EMAIL__SMTP_URI", "smtp://h"),
        ("STEWARD__SECRETS__KEY", "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="),
        ("STEWARD__PAYMENTS__STRIPE_URL", "https://api.stripe.com"),
        ("STEWARD__PAYMENTS__STRIPE_KEY", "k"),
    ];
    assert_eq!(permits(&real), [""; 0]);
    assert!(!with(&real).unwrap().config.runs_sandbox());
    let example = ("STEWARD__SECRETS__KEY", "YW4gZXhhbXBsZSwgbmV2ZXIgYSByZWFsIHNlY3JldCE=");
    let exemplary: Vec<_> =
        real.into_iter().filter(|(name, _)| *name != example.0).chain([example]).collect();
    assert_eq!(permits(&exemplary), ["allow.made_up_secrets"]);
    assert!(include_str!("../../config/default.toml").contains(example.1));
    for faked in [("STEWARD__SANDBOX__ENABLED", "true"), ("STEWARD__SANDBOX__URL", "http://127.0.0.1:1")] {
        assert_eq!(permits(&[&real[..], &[faked]].concat()), ["allow.sandbox"]);
        assert_eq!(permits(&[&real[..], &[faked, ("STEWARD__ALLOW__SANDBOX", "true")]].concat()), [""; 0]);
    }
}

#[test]
fn a_value_that_is_none_of_a_few_is_told_with_those_that_are() {
    let wrong = fault(&[("STEWARD__PROFILE", "prod")]).to_string();
    assert!(wrong.contains("prod") && wrong.contains("use local, development or production"), "{wrong}");
    assert!(!wrong.contains("enum") && !wrong.contains("variant"), "{wrong}");
    let wrong = fault(&[("STEWARD__LOG__FORMAT", "xml")]);
    assert_eq!((wrong.key.as_str(), wrong.remedy.as_str()), ("log.format", "use pretty or json"));
}

#[test]
fn a_section_that_is_given_a_value_is_named() {
    let wrong = fault(&[("STEWARD__HTTP", "x")]);
    assert_eq!(wrong.key, "http");
    assert!(wrong.problem.contains("is a section") && wrong.remedy.contains("http."), "{wrong}");
}
