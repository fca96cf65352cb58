//! From three sources to one [`Config`], or to everything that is wrong with them.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use ::config::{ConfigError, File, FileFormat, Value, ValueKind};
use serde::{Deserialize, Deserializer};
use serde_path_to_error::Segment;

use super::Config;

const DEFAULTS: &str = include_str!("../../config/default.toml");

/// What begins an environment variable that is configuration. Others that begin with `STEWARD_`
/// are none of ours.
const PREFIX: &str = "STEWARD__";

/// What ends the name of a variable whose value is the path of a file with the value in it, as
/// container platforms hand out secrets.
const IN_A_FILE: &str = "_FILE";
/// Bytes that such a file may have.
const MOST_IN_A_FILE: u64 = 64 * 1024;

/// Keys whose values are never shown.
const SECRET: [&str; 8] = [
    "mongodb.uri",
    "redis.uri",
    "secrets.key",
    "admin.password",
    "email.smtp_uri",
    "payments.stripe_key",
    "payments.webhook_secret",
    "telemetry.errors_url",
];

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// `config/default.toml`.
    Default,
    /// The file given by `--config`.
    File(PathBuf),
    /// This environment variable.
    Environment(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Environment(name) => f.write_str(name),
        }
    }
}

/// One value in effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effective {
    /// Such as `http.bind`.
    pub key: String,
    /// As text; `(hidden)` for secrets.
    pub value: String,
    /// Who said so.
    pub origin: Origin,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}{}{}: {problem}; {remedy}", shown(.value), from(.origin))]
pub struct Fault {
    /// The key, or the file, that is wrong.
    pub key: String,
    /// Its value, unless it is secret or unknown.
    pub value: Option<String>,
    /// Who said so.
    pub origin: Option<Origin>,
    /// What is wrong.
    pub problem: String,
    /// What would do.
    pub remedy: String,
}

fn shown(value: &Option<String>) -> String {
    value.as_ref().map(|value| format!(" = {value:?}")).unwrap_or_default()
}

fn from(origin: &Option<Origin>) -> String {
    origin.as_ref().map(|origin| format!(" (from {origin})")).unwrap_or_default()
}

/// A configuration that holds together.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// Typed.
    pub config: Config,
    /// Key by key, sorted.
    pub effective: Vec<Effective>,
}

/// Loads with the environment of this process.
///
/// # Errors
/// All that is wrong; never empty.
pub fn load_from_process(file: Option<&Path>) -> Result<Loaded, Vec<Fault>> {
    load(file, std::env::vars_os())
}

/// Loads the defaults, then `file`, then those of `environment` that begin with `STEWARD__`. One
/// that ends with `_FILE` names a file that has the value, without the line's end.
///
/// # Errors
/// All that is wrong; never empty.
pub fn load(
    file: Option<&Path>,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Loaded, Vec<Fault>> {
    let mut values = flatten(DEFAULTS, &Origin::Default)?;
    if let Some(path) = file {
        let origin = Origin::File(path.to_owned());
        let text = std::fs::read_to_string(path).map_err(|error| {
            vec![broken(path, error.to_string(), "give the path of a readable TOML file")]
        })?;
        values.extend(flatten(&text, &origin)?);
    }
    let (variables, faults) = variables(environment);
    values.extend(variables);
    if !faults.is_empty() {
        return Err(faults);
    }
    let config = typed(&values)?;
    let faults = config.faults();
    if !faults.is_empty() {
        return Err(faults.into_iter().map(|fault| with_value(fault, &values)).collect());
    }
    Ok(Loaded { config, effective: values.iter().map(|(key, value)| effective(key, value)).collect() })
}

/// A value with its source, by its full key.
type Values = BTreeMap<String, (Value, Origin)>;

fn flatten(toml: &str, origin: &Origin) -> Result<Values, Vec<Fault>> {
    let file = match origin {
        Origin::File(path) => path.clone(),
        _ => PathBuf::from("default.toml"),
    };
    let parsed = ::config::Config::builder().add_source(File::from_str(toml, FileFormat::Toml)).build();
    let parsed = parsed.map_err(|error| vec![broken(&file, error.to_string(), "write it as TOML")])?;
    let mut values = Values::new();
    let mut open: Vec<(String, Value)> = match parsed.cache.kind {
        ValueKind::Table(table) => table.into_iter().collect(),
        _ => Vec::new(),
    };
    while let Some((key, value)) = open.pop() {
        match value.kind {
            ValueKind::Table(table) => {
                open.extend(table.into_iter().map(|(name, value)| (format!("{key}.{name}"), value)));
            }
            _ => {
                values.insert(key, (value, origin.clone()));
            }
        }
    }
    Ok(values)
}

fn broken(file: &Path, problem: String, remedy: &str) -> Fault {
    Fault { key: file.display().to_string(), value: None, origin: None, problem, remedy: remedy.to_owned() }
}

fn variables(environment: impl IntoIterator<Item = (OsString, OsString)>) -> (Values, Vec<Fault>) {
    let mut values = Values::new();
    let mut faults = Vec::new();
    for (name, value) in environment {
        let name = name.to_string_lossy().into_owned();
        let Some(key) = name.strip_prefix(PREFIX) else { continue };
        let (key, in_a_file) = match key.strip_suffix(IN_A_FILE) {
            Some(key) => (key, true),
            None => (key, false),
        };
        let key = key.to_lowercase().replace("__", ".");
        let text = match (value.into_string(), in_a_file) {
            (Ok(path), true) => content(Path::new(&path)),
            (Ok(text), false) => Ok(text),
            (Err(_), _) => Err(("is not UTF-8".to_owned(), "write it in UTF-8")),
        };
        let origin = Origin::Environment(name);
        let text = match values.contains_key(&key) {
            true => Err(("is given twice, as it is and by a file".to_owned(), "leave one of the two out")),
            false => text,
        };
        match text {
            Ok(text) => {
                values.insert(key, (Value::new(None, ValueKind::String(text)), origin));
            }
            Err((problem, remedy)) => {
                let (origin, remedy) = (Some(origin), remedy.to_owned());
                faults.push(Fault { key, value: None, origin, problem, remedy });
            }
        }
    }
    (values, faults)
}

/// What a file holds, without the end of its last line; or what is wrong and what would do. What
/// it holds may be secret, so it is never shown.
fn content(path: &Path) -> Result<String, (String, &'static str)> {
    let wrong = |problem: String, remedy| Err((format!("{}: {problem}", path.display()), remedy));
    let read = std::fs::File::open(path).and_then(|file| {
        let mut text = String::new();
        std::io::Read::read_to_string(&mut std::io::Read::take(file, MOST_IN_A_FILE + 1), &mut text)?;
        Ok(text)
    });
    match read {
        Ok(text) if text.len() as u64 > MOST_IN_A_FILE => {
            wrong("is too large for a value".to_owned(), "give the file that has the value alone in it")
        }
        Ok(text) => {
            let text = text.strip_suffix('\n').unwrap_or(&text);
            Ok(text.strip_suffix('\r').unwrap_or(text).to_owned())
        }
        Err(error) => wrong(error.to_string(), "give the path of a file that this user can read, in UTF-8"),
    }
}

/// Keys that have one of a few values. serde would name them by the types of this module.
const CHOICES: [(&str, &str); 2] =
    [("profile", "local, development or production"), ("log.format", "pretty or json")];

fn typed(values: &Values) -> Result<Config, Vec<Fault>> {
    let mut root = Value::new(None, ValueKind::Table(::config::Map::new()));
    for (key, (value, origin)) in values {
        let below = format!("{key}.");
        // What stands below a key of ours is the one that is wrong.
        let ours = matches!(origin, Origin::Default);
        if let Some((known, _)) = values.iter().find(|(known, _)| !ours && known.starts_with(&below)) {
            return Err(vec![Fault {
                key: key.clone(),
                value: None,
                origin: Some(origin.clone()),
                problem: "is a section, which has no value of its own".to_owned(),
                remedy: format!("set a key of it, such as {known}"),
            }]);
        }
        if !insert(&mut root, key, value.clone()) {
            return Err(vec![unknown(key, values, "is no section".to_owned())]);
        }
    }
    serde_path_to_error::deserialize(root).map_err(|error| {
        let path = error.path().clone();
        vec![fault_of(&path, error.into_inner(), values)]
    })
}

/// Puts a value where its key says; `false` if something there is no section.
fn insert(at: &mut Value, key: &str, value: Value) -> bool {
    let ValueKind::Table(table) = &mut at.kind else { return false };
    match key.split_once('.') {
        None => {
            table.insert(key.to_owned(), value);
            true
        }
        Some((section, rest)) => {
            let empty = || Value::new(None, ValueKind::Table(::config::Map::new()));
            insert(table.entry(section.to_owned()).or_insert_with(empty), rest, value)
        }
    }
}

fn fault_of(path: &serde_path_to_error::Path, error: ConfigError, values: &Values) -> Fault {
    let segments = path.iter().filter_map(|segment| match segment {
        Segment::Map { key } => Some(key.clone()),
        _ => None,
    });
    let mut key = segments.collect::<Vec<_>>().join(".");
    let message = match innermost(error) {
        ConfigError::Type { unexpected, expected, .. } => format!("{unexpected} is not {expected}"),
        other => other.to_string(),
    };
    if let Some((name, known)) = unknown_field(&message) {
        if key.rsplit('.').next() != Some(name) {
            key = if key.is_empty() { name.to_owned() } else { format!("{key}.{name}") };
        }
        return unknown(&key, values, format!("known here are {known}"));
    }
    if let Some((_, legal)) = CHOICES.iter().find(|(choice, _)| *choice == key) {
        let (problem, remedy) = ("is none of the values that there are".to_owned(), format!("use {legal}"));
        return with_value(Fault { key, value: None, origin: None, problem, remedy }, values);
    }
    let secret = SECRET.contains(&key.as_str());
    let problem = if secret { "cannot be read".to_owned() } else { message };
    let remedy = "see config/default.toml, or `steward config` for what is in effect".to_owned();
    with_value(Fault { key, value: None, origin: None, problem, remedy }, values)
}

fn innermost(error: ConfigError) -> ConfigError {
    match error {
        ConfigError::At { error, .. } => innermost(*error),
        other => other,
    }
}

/// The name and the known ones in serde's words for an unknown field.
fn unknown_field(message: &str) -> Option<(&str, &str)> {
    let (name, rest) = message.strip_prefix("unknown field `")?.split_once('`')?;
    Some((name, rest.split("expected ").nth(1).unwrap_or(rest).trim_start_matches("one of ")))
}

/// An unknown key's value may be a misplaced secret, so it isn't shown.
fn unknown(key: &str, values: &Values, remedy: String) -> Fault {
    let below = format!("{key}.");
    let found = values.iter().find(|(known, _)| *known == key || known.starts_with(&below));
    Fault {
        key: found.map_or(key, |(known, _)| known).to_owned(),
        value: None,
        origin: found.map(|(_, (_, origin))| origin.clone()),
        problem: "is unknown".to_owned(),
        remedy,
    }
}

/// Adds the value and where it comes from.
fn with_value(mut fault: Fault, values: &Values) -> Fault {
    if let Some(value) = values.get(&fault.key) {
        let effective = effective(&fault.key, value);
        fault.origin = Some(effective.origin);
        fault.value = (!SECRET.contains(&fault.key.as_str())).then_some(effective.value);
    }
    fault
}

fn effective(key: &str, (value, origin): &(Value, Origin)) -> Effective {
    let value = match &value.kind {
        _ if SECRET.contains(&key) => "(hidden)".to_owned(),
        ValueKind::Array(items) => items.iter().map(ToString::to_string).collect::<Vec<_>>().join(","),
        _ => value.to_string(),
    };
    Effective { key: key.to_owned(), value, origin: origin.clone() }
}

/// A list, or text with commas, as the environment has it.
pub(super) fn list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum ListOrText {
        List(Vec<String>),
        Text(String),
    }
    Ok(match ListOrText::deserialize(deserializer)? {
        ListOrText::List(items) => items,
        ListOrText::Text(text) => {
            text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
        }
    })
}
