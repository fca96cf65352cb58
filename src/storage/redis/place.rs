//! Where Redis is: one server, the primary that sentinels name, or a cluster.
//!
//! No command that is sent names two keys, so a cluster splits them as it likes and no key needs a
//! hash tag. What is written is read at primaries only: a copy that lags is of no use to sessions.

use redis::aio::MultiplexedConnection;
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::sentinel::{SentinelClient, SentinelNodeConnectionInfo, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionInfo, ErrorKind, FromRedisValue, IntoConnectionInfo,
    RedisError as DriverError, RetryMethod, ServerErrorKind, TlsMode,
};

use super::subscription::Subscription;
use super::{ANSWER_DEADLINE, CONNECT_DEADLINE};

/// The port of a sentinel that names none.
const SENTINEL_PORT: &str = "26379";

/// Where Redis is, as `redis.uri` says.
#[derive(Clone)]
pub(super) enum Place {
    One(Client),
    Sentinels { sentinels: Vec<ConnectionInfo>, name: String, primary: SentinelNodeConnectionInfo },
    Cluster { nodes: Vec<ConnectionInfo>, client: Box<ClusterClient> },
}

impl Place {
    /// Reads a URI:
    /// - `redis://[user:password@]host[:port][/database]`
    /// - `redis+sentinel://[user:password@]host[:port],…/name[/database]`: user and password are
    ///   those of Redis, sentinels are asked without
    /// - `redis+cluster://[user:password@]host[:port],…`
    ///
    /// and the same with `rediss` for TLS.
    ///
    /// # Errors
    /// It is none of them.
    pub(super) fn read(uri: &str) -> Result<Self, DriverError> {
        let Some((scheme, rest)) = uri.split_once("://") else { return Err(bad("there is no scheme")) };
        let (plain, kind) = scheme.split_once('+').unwrap_or((scheme, "one"));
        if !matches!(plain, "redis" | "rediss") {
            return Err(bad("the scheme is unknown"));
        }
        if kind == "one" {
            return Client::open(uri).map(Self::One);
        }
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, hosts) = authority.rsplit_once('@').map_or(("", authority), |(user, hosts)| (user, hosts));
        let user = if user.is_empty() { String::new() } else { format!("{user}@") };
        let hosts = || hosts.split(',').map(str::trim);
        match kind {
            "cluster" if path.is_empty() => {
                let nodes: Result<Vec<_>, _> =
                    hosts().map(|host| format!("{plain}://{user}{host}").into_connection_info()).collect();
                let nodes = nodes?;
                let client = ClusterClient::builder(nodes.clone())
                    .connection_timeout(CONNECT_DEADLINE)
                    .response_timeout(ANSWER_DEADLINE)
                    .retries(2)
                    .build()?;
                Ok(Self::Cluster { nodes, client: Box::new(client) })
            }
            "cluster" => Err(bad("a cluster has no databases")),
            "sentinel" => {
                let (name, database) = path.split_once('/').unwrap_or((path, "0"));
                if name.is_empty() {
                    return Err(bad("the name that sentinels know the primary by is missing"));
                }
                let sentinels: Result<Vec<_>, _> = hosts()
                    .map(|host| format!("{plain}://{}", with_port(host)).into_connection_info())
                    .collect();
                let settings = format!("{plain}://{user}primary/{database}").into_connection_info()?;
                let mut primary = SentinelNodeConnectionInfo::default()
                    .set_redis_connection_info(settings.redis_settings().clone());
                if plain == "rediss" {
                    primary = primary.set_tls_mode(TlsMode::Secure);
                }
                Ok(Self::Sentinels { sentinels: sentinels?, name: name.to_owned(), primary })
            }
            _ => Err(bad("the scheme is unknown")),
        }
    }

    pub(super) async fn connect(&self) -> Result<Link, DriverError> {
        match self {
            Self::One(client) => to_one(client).await,
            Self::Sentinels { .. } => to_one(&self.primary().await?).await,
            Self::Cluster { client, .. } => Ok(Link::Cluster(Box::new(client.get_async_connection().await?))),
        }
    }

    /// Whoever sentinels say is the primary now, and says so itself.
    async fn primary(&self) -> Result<Client, DriverError> {
        match self {
            Self::Sentinels { sentinels, name, primary } => {
                let kind = SentinelServerType::Master;
                let (sentinels, primary) = (sentinels.clone(), Some(primary.clone()));
                SentinelClient::build(sentinels, name, primary, kind)?.async_get_client().await
            }
            Self::One(client) => Ok(client.clone()),
            Self::Cluster { .. } => Err(bad("a cluster has no one primary")),
        }
    }

    /// Subscribes where [`Place::publish`] publishes.
    pub(super) async fn subscribe(&self, channel: &str) -> Result<Subscription, DriverError> {
        match self {
            Self::Cluster { nodes, .. } => Subscription::at_owner(nodes, channel).await,
            one => Subscription::at(&one.primary().await?, channel).await,
        }
    }

    /// The command that publishes. In a cluster the channel lives in the shard of its name
    /// ([sharded pub/sub](https://redis.io/docs/latest/develop/pubsub/#sharded-pubsub), Redis 7), so
    /// that one server gives an order to what all replicas say. A write goes first: a server that
    /// is primary no more, or that has too few copies, refuses it, and would otherwise still
    /// deliver to those who are left behind with it.
    pub(super) fn publish(&self, channel: &str, payload: &str) -> Cmd {
        const WRITE_AND_PUBLISH: &str = r"
redis.call('SET', KEYS[1], ARGV[2], 'PX', 10000)
return redis.call(ARGV[1], KEYS[1], ARGV[2])
";
        let publish = if matches!(self, Self::Cluster { .. }) { "SPUBLISH" } else { "PUBLISH" };
        let mut command = redis::cmd("EVAL");
        command.arg(WRITE_AND_PUBLISH).arg(1).arg(channel).arg(publish).arg(payload);
        command
    }
}

/// A connection of the pool.
pub(super) enum Link {
    One(MultiplexedConnection),
    /// To every node; it finds its way again by itself.
    Cluster(Box<ClusterConnection>),
}

impl Link {
    pub(super) async fn query<T: FromRedisValue>(&mut self, command: &Cmd) -> Result<T, DriverError> {
        match self {
            Self::One(to) => command.query_async(to).await,
            Self::Cluster(to) => command.query_async(&mut **to).await,
        }
    }

    /// Whether a connection on which this was answered is of no more use.
    pub(super) fn is_broken_by(&self, error: &DriverError) -> bool {
        let demoted = error.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly);
        match self {
            Self::One(_) => demoted || error.is_io_error() || error.is_unrecoverable_error(),
            Self::Cluster(_) => matches!(error.retry_method(), RetryMethod::ReconnectFromInitialConnections),
        }
    }
}

async fn to_one(client: &Client) -> Result<Link, DriverError> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT_DEADLINE))
        .set_response_timeout(Some(ANSWER_DEADLINE));
    Ok(Link::One(client.get_multiplexed_async_connection_with_config(&config).await?))
}

fn with_port(host: &str) -> String {
    let bare = host.rsplit_once(']').map_or(host, |(_, behind)| behind);
    if bare.contains(':') { host.to_owned() } else { format!("{host}:{SENTINEL_PORT}") }
}

fn bad(why: &'static str) -> DriverError {
    DriverError::from((ErrorKind::InvalidClientConfig, why))
}

#[cfg(test)]
mod tests {
    use redis::ConnectionAddr;

    use super::*;

    fn addresses(infos: &[ConnectionInfo]) -> Vec<String> {
        infos.iter().map(|info| info.addr().to_string()).collect()
    }

    #[test]
    fn each_kind_of_uri_is_read() {
        assert!(matches!(Place::read("redis://h/2").unwrap(), Place::One(_)));
        let Place::Cluster { nodes, .. } = Place::read("rediss+cluster://u:p%40@a:1,b").unwrap() else {
            panic!("a cluster")
        };
        assert_eq!(addresses(&nodes), ["a:1", "b:6379"]);
        assert!(nodes.iter().all(|node| node.redis_settings().password() == Some("p@")));
        assert!(matches!(nodes[0].addr(), ConnectionAddr::TcpTls { .. }));
        let Place::Sentinels { sentinels, name, .. } =
            Place::read("redis+sentinel://:secret@a,[::1],b:7/main/3").unwrap()
        else {
            panic!("sentinels")
        };
        assert_eq!((sentinels.len(), name.as_str()), (3, "main"));
        assert_eq!(addresses(&sentinels)[2], "b:7");
        assert!(sentinels.iter().all(|sentinel| sentinel.redis_settings().password().is_none()));
    }

    #[test]
    fn what_is_none_is_refused() {
        for uri in [
            "redis",
            "http://h",
            "redis+magic://h",
            "redis+cluster://a,b/3",
            "redis+cluster://",
            "redis+sentinel://a,b",
            "redis+sentinel://a/main/x",
        ] {
            assert!(Place::read(uri).is_err(), "{uri}");
        }
    }
}
