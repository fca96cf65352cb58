//! A subscription to one channel, wherever that lives.

use std::sync::Mutex;

use futures_util::StreamExt;
use redis::aio::{MultiplexedConnection, PubSub};
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, FromRedisValue, ProtocolVersion, PushInfo,
    PushKind, RedisError as DriverError,
};
use steward_actors::supervision::lock;
use tokio::sync::mpsc;

use super::{ANSWER_DEADLINE, CONNECT_DEADLINE};

/// Messages that may wait to be heard; with more the subscription is lost.
const WAITING: usize = 4096;

/// What is heard on a channel. Dropping it ends it.
pub(super) enum Subscription {
    Ordinary(Box<PubSub>),
    Sharded { _connection: MultiplexedConnection, pushes: mpsc::Receiver<PushInfo> },
}

impl Subscription {
    /// To an ordinary channel of one server.
    pub(super) async fn at(server: &Client, channel: &str) -> Result<Self, DriverError> {
        let mut subscription = server.get_async_pubsub().await?;
        subscription.subscribe(channel).await?;
        Ok(Self::Ordinary(Box::new(subscription)))
    }

    /// To a sharded channel, at the node of a cluster that has it: any node tells which that is.
    pub(super) async fn at_owner(nodes: &[ConnectionInfo], channel: &str) -> Result<Self, DriverError> {
        let mut failure = None;
        for node in nodes {
            match Self::sharded(node.clone(), channel).await {
                Ok(subscription) => return Ok(subscription),
                Err(error) => {
                    let owner = error.redirect_node().and_then(|(address, _)| moved_to(node, address));
                    if let Some(owner) = owner {
                        return Self::sharded(owner, channel).await;
                    }
                    failure = Some(error);
                }
            }
        }
        Err(failure.unwrap_or_else(|| std::io::Error::other("there is no node to ask").into()))
    }

    async fn sharded(node: ConnectionInfo, channel: &str) -> Result<Self, DriverError> {
        let settings = node.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        let client = Client::open(node.set_redis_settings(settings))?;
        let (told, pushes) = mpsc::channel(WAITING);
        let told = Mutex::new(Some(told));
        let tell = move |push: PushInfo| {
            let mut told = lock(&told);
            let taken = told.as_ref().is_some_and(|told| told.try_send(push).is_ok());
            // What comes behind a gap is not to be heard.
            if taken {
                Ok(())
            } else {
                *told = None;
                Err(())
            }
        };
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_DEADLINE))
            .set_response_timeout(Some(ANSWER_DEADLINE))
            .set_push_sender(tell);
        let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
        redis::cmd("SSUBSCRIBE").arg(channel).query_async::<redis::Value>(&mut connection).await?;
        Ok(Self::Sharded { _connection: connection, pushes })
    }

    /// The next message; none once the subscription is lost. Nothing is lost if it is dropped
    /// midway.
    pub(super) async fn next(&mut self) -> Option<Vec<u8>> {
        match self {
            Self::Ordinary(subscription) => {
                subscription.on_message().next().await.map(|message| message.get_payload_bytes().to_vec())
            }
            Self::Sharded { pushes, .. } => loop {
                let push = pushes.recv().await?;
                match push.kind {
                    PushKind::SMessage => {
                        return push
                            .data
                            .into_iter()
                            .nth(1)
                            .and_then(|p| Vec::<u8>::from_redis_value(p).ok());
                    }
                    // The shard was given to another node.
                    PushKind::SUnsubscribe | PushKind::Disconnection => return None,
                    _ => {}
                }
            },
        }
    }
}

/// `info` with the address that a node named as `host:port`; without a host it is its own.
fn moved_to(info: &ConnectionInfo, address: &str) -> Option<ConnectionInfo> {
    let (host, port) = address.rsplit_once(':')?;
    let port = port.parse().ok()?;
    let name = |own: &str| if host.is_empty() { own.to_owned() } else { host.to_owned() };
    let moved = match info.addr().clone() {
        ConnectionAddr::Tcp(own, _) => ConnectionAddr::Tcp(name(&own), port),
        ConnectionAddr::TcpTls { host: own, insecure, tls_params, .. } => {
            ConnectionAddr::TcpTls { host: name(&own), port, insecure, tls_params }
        }
        _ => return None,
    };
    Some(info.clone().set_addr(moved))
}

#[cfg(test)]
mod tests {
    use redis::IntoConnectionInfo;

    use super::*;

    #[test]
    fn a_node_that_names_no_host_means_its_own() {
        let info = "redis://u:p@a:1".into_connection_info().unwrap();
        assert_eq!(moved_to(&info, "b:2").unwrap().addr().to_string(), "b:2");
        assert_eq!(moved_to(&info, ":2").unwrap().addr().to_string(), "a:2");
        assert_eq!(moved_to(&info, "::1:7").unwrap().redis_settings().password(), Some("p"));
        assert!(moved_to(&info, "b").is_none());
    }
}
