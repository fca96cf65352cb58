//! Making a replica set of fresh servers, so that a first start needs no database shell.
//!
//! Who calls it: `steward migrate --initiate-replica-set`. It asks the first server that the URI
//! names, and changes nothing where there is a replica set already. What never happens here: a
//! change of one that exists.

use bson::{Document, doc};
use mongodb::Client;
use mongodb::error::{Error, ErrorKind};
use secrecy::SecretString;

use super::Deadlines;
use super::connection::{ConnectError, options};
use super::failure::in_words;

/// What MongoDB answers where a replica set was made before, perhaps a moment ago.
const ALREADY: i32 = 23;
/// What it answers while a member that it has to ask is not there yet.
const NOT_ALL_THERE: i32 = 74;

/// Makes the replica set that `uri` names (`replicaSet=`) of the servers that it names; what was
/// done, or nothing if they are one already. May be repeated, and done by two at once.
///
/// # Errors
/// [`ConnectError`]: `Uri` if the URI names no replica set, `Unreachable` as long as not all
/// servers answer, `NotInitiated` if they refuse.
pub async fn initiate(uri: &SecretString) -> Result<Option<String>, ConnectError> {
    let mut options = options(uri, &Deadlines::default()).await?;
    let Some(name) = options.repl_set_name.take() else {
        return Err(ConnectError::Uri("it names no replica set: add replicaSet=rs0".to_owned()));
    };
    let hosts: Vec<String> = options.hosts.iter().map(ToString::to_string).collect();
    options.hosts.truncate(1);
    options.direct_connection = Some(true);
    // A server that is no member yet has no primary to read from.
    options.selection_criteria = None;
    let client = Client::with_options(options).map_err(|error| ConnectError::Uri(in_words(&error)))?;
    let admin = client.database("admin");
    let hello = admin.run_command(doc! { "hello": 1 }).await.map_err(unreachable)?;
    if hello.get_str("setName").is_ok() {
        return Ok(None);
    }
    match admin.run_command(doc! { "replSetInitiate": of(&name, &hosts) }).await {
        Ok(_) => Ok(Some(format!("made the replica set {name} of {}", hosts.join(", ")))),
        Err(error) => match code(&error) {
            Some(ALREADY) => Ok(None),
            Some(NOT_ALL_THERE) | None => Err(unreachable(error)),
            Some(_) => Err(ConnectError::NotInitiated(in_words(&error))),
        },
    }
}

/// The configuration of a set with these members.
fn of(name: &str, hosts: &[String]) -> Document {
    let members = (0_i32..).zip(hosts).map(|(id, host)| doc! { "_id": id, "host": host });
    doc! { "_id": name, "members": members.collect::<Vec<_>>() }
}

fn code(error: &Error) -> Option<i32> {
    match error.kind.as_ref() {
        ErrorKind::Command(command) => Some(command.code),
        _ => None,
    }
}

fn unreachable(error: Error) -> ConnectError {
    ConnectError::Unreachable(in_words(&error))
}
