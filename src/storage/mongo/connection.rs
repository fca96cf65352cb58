//! Opening the connection, and checking what is at its other end.
//!
//! Who calls it: [`super::MongoStore::connect`].

use std::time::Duration;

use bson::{Document, doc};
use mongodb::Client;
use mongodb::options::{
    Acknowledgment, ClientOptions, ReadConcern, ReadPreference, SelectionCriteria, WriteConcern,
};
use secrecy::{ExposeSecret, SecretString};

use super::failure::in_words;
use super::{Deadlines, abandoned};

/// The wire version of MongoDB 6.0, the oldest that will do.
const OLDEST: i32 = 17;

/// Connections to the primary at most.
const POOL: u32 = 64;

/// Why there is no connection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// The URI cannot be read. The reason does not show the URI, which may hold a password.
    #[error("the MongoDB URI is not valid: {0}")]
    Uri(String),
    /// No primary answered.
    #[error("MongoDB cannot be reached: {0}")]
    Unreachable(String),
    /// A server that is no member of a replica set has no transactions.
    #[error(
        "MongoDB must be a replica set (one member will do), because commits need transactions: \
         start mongod with --replSet rs0, then run `steward migrate --initiate-replica-set` once"
    )]
    NoReplicaSet,
    /// The server is older than 6.0.
    #[error("MongoDB 6.0 or later is needed, and this one is older (wire version {0})")]
    TooOld(i32),
    /// The servers refuse to become a replica set.
    #[error("the replica set was not made: {0}")]
    NotInitiated(String),
}

/// A client whose first call was answered by the primary of a replica set.
pub(super) async fn open(
    uri: &SecretString,
    database: &str,
    deadlines: &Deadlines,
) -> Result<Connected, ConnectError> {
    let mut options = options(uri, deadlines).await?;
    let own_name = match &options.app_name {
        Some(_) => None,
        None => Some(abandoned::app_name(database)),
    };
    options.app_name = options.app_name.or_else(|| own_name.clone());
    let client = Client::with_options(options).map_err(|error| ConnectError::Uri(in_words(&error)))?;
    let hello = client.database("admin").run_command(doc! { "hello": 1 }).await;
    check(&hello.map_err(|error| ConnectError::Unreachable(in_words(&error)))?)?;
    Ok(Connected { client, own_name })
}

/// A client, and what it is called if the URI does not say.
pub(super) struct Connected {
    pub(super) client: Client,
    pub(super) own_name: Option<String>,
}

pub(super) async fn options(
    uri: &SecretString,
    deadlines: &Deadlines,
) -> Result<ClientOptions, ConnectError> {
    let mut options = ClientOptions::parse(uri.expose_secret())
        .await
        .map_err(|error| ConnectError::Uri(without_uri(&in_words(&error), uri)))?;
    // What the port promises is not up to the URI.
    options.read_concern = Some(ReadConcern::majority());
    options.write_concern =
        Some(WriteConcern::builder().w(Acknowledgment::Majority).w_timeout(deadlines.commit).build());
    options.selection_criteria = Some(SelectionCriteria::ReadPreference(ReadPreference::Primary));
    // On: the server recognises the second arrival of a write that the driver sends again, so one
    // lost answer is settled without a question. What goes beyond that, `single` settles.
    options.retry_writes = Some(true);
    options.retry_reads = Some(true);
    options.server_selection_timeout = Some(deadlines.primary);
    options.connect_timeout = Some(Duration::from_secs(2).min(deadlines.primary));
    // A member that hangs is noticed after a heartbeat and a connect time-out; what waits for an
    // answer from it ends then.
    options.heartbeat_freq = Some(Duration::from_secs(2).min(deadlines.primary));
    options.max_pool_size = Some(options.max_pool_size.unwrap_or(POOL));
    options.max_connecting = Some(options.max_connecting.unwrap_or(8));
    Ok(options)
}

fn check(hello: &Document) -> Result<(), ConnectError> {
    // A router of a sharded cluster, whose shards are replica sets, names none.
    let router = hello.get_str("msg").is_ok_and(|msg| msg == "isdbgrid");
    if hello.get_str("setName").is_err() && !router {
        return Err(ConnectError::NoReplicaSet);
    }
    match hello.get_i32("maxWireVersion") {
        Ok(version) if version >= OLDEST => Ok(()),
        version => Err(ConnectError::TooOld(version.unwrap_or_default())),
    }
}

/// The driver may quote what it could not read.
fn without_uri(reason: &str, uri: &SecretString) -> String {
    let secret = uri.expose_secret();
    let credentials = secret.split_once("://").and_then(|(_, rest)| rest.rsplit_once('@'));
    let hidden = credentials.map_or(reason.to_owned(), |(credentials, _)| {
        credentials.splitn(2, ':').fold(reason.to_owned(), |reason, part| match part {
            "" => reason,
            part => reason.replace(part, "…"),
        })
    });
    hidden.replace(secret, "…")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_replica_set_of_6_0_or_a_router_will_do() {
        let hello = doc! { "setName": "rs0", "maxWireVersion": 17 };
        assert_eq!(check(&hello), Ok(()));
        assert_eq!(check(&doc! { "msg": "isdbgrid", "maxWireVersion": 17 }), Ok(()));
        assert_eq!(check(&doc! { "maxWireVersion": 17 }), Err(ConnectError::NoReplicaSet));
        assert_eq!(check(&doc! { "setName": "rs0", "maxWireVersion": 13 }), Err(ConnectError::TooOld(13)));
    }

    #[tokio::test]
    async fn an_invalid_uri_is_refused_without_showing_its_password() {
        for uri in [
            "mongodb://user:canary@",
            "http://user:canary@host",
            "mongodb://user:canary@host:port/",
            "mongodb://user:canary@host/?maxPoolSize=many",
            "mongodb://user:can@ary@host/",
            "canary",
        ] {
            let refused = options(&SecretString::from(uri), &Deadlines::default()).await;
            let Err(ConnectError::Uri(reason)) = refused else { panic!("{uri}: {refused:?}") };
            assert!(!reason.contains("canary") && !reason.contains("ary@"), "{reason}");
        }
    }

    #[tokio::test]
    async fn a_uri_cannot_weaken_what_the_port_promises() {
        let uri = SecretString::from(
            "mongodb://h/?w=1&readConcernLevel=local&retryWrites=false&readPreference=nearest",
        );
        let options = options(&uri, &Deadlines::default()).await.expect("options");
        assert_eq!(options.read_concern, Some(ReadConcern::majority()));
        assert_eq!(options.write_concern.and_then(|concern| concern.w), Some(Acknowledgment::Majority));
        assert_eq!(options.retry_writes, Some(true));
        assert!(matches!(
            options.selection_criteria,
            Some(SelectionCriteria::ReadPreference(ReadPreference::Primary))
        ));
    }
}
