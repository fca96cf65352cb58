//! The same sessions and limits over a cluster and behind sentinels, and what a fail-over does.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use steward_actors::limits::Limits;
use steward_actors::session::{Invalidation, LoggedIn};
use tokio::time::timeout;

use crate::limits::{QUOTA, limits};
use crate::redis_farm::{RedisCluster, WatchedRedis};
use crate::redis_server::RedisServer;
use crate::replica::{A_SECOND, Cluster, LONG, REFUSED, Replica, heard};

/// Detecting, electing and finding the way again.
const FAIL_OVER: Duration = Duration::from_secs(30);

struct World {
    cluster: Cluster,
    a: Replica,
    b: Replica,
    honest: LoggedIn,
    other: LoggedIn,
}

async fn world(uri: SecretString) -> World {
    let cluster = Cluster::new(uri);
    let (a, b) = (cluster.replica().await, cluster.replica().await);
    let honest = a.registered("honest@example.org").await;
    let other = a.registered("other@example.org").await;
    for opened in [&honest, &other] {
        a.check_until_cached(opened).await;
        b.check_until_cached(opened).await;
    }
    World { cluster, a, b, honest, other }
}

impl World {
    /// What is ended on one counts on the other within a second, and nobody else is logged out.
    async fn ending_counts_everywhere(&self, ended: &LoggedIn) {
        let mut listening = self.b.listen();
        self.a.sessions.log_out(&ended.session_id).await.unwrap();
        heard(&mut listening, &Invalidation::Session(ended.session_id.clone()), A_SECOND).await;
        self.all_is_well(ended).await;
    }

    async fn all_is_well(&self, ended: &LoggedIn) {
        for replica in [&self.a, &self.b, &self.cluster.replica_without_redis()] {
            assert_eq!(replica.check(ended).await, REFUSED);
            assert_eq!(replica.check_access(ended).await, REFUSED);
            assert_eq!(replica.check(&self.honest).await.unwrap().session_id, self.honest.session_id);
        }
    }

    /// After the server that the channel lives on is gone.
    async fn survives(&self) {
        self.a.sessions.log_out(&self.other.session_id).await.unwrap();
        self.all_is_well(&self.other).await;
        for replica in [&self.a, &self.b] {
            timeout(FAIL_OVER, replica.listen().trusted()).await.expect("the channel is never trusted again");
        }
        self.all_is_well(&self.other).await;
        let late = self.a.registered("late@example.org").await;
        self.b.check_until_cached(&late).await;
        self.ending_counts_everywhere(&late).await;
    }
}

/// What holds wherever Redis is.
async fn contract(uri: SecretString) -> World {
    let world = world(uri.clone()).await;
    let key = world.a.pool.key(&format!("session:{}", world.other.token.hash()));
    let located: Option<String> = world.b.pool.query(redis::cmd("GET").arg(&key)).await.unwrap();
    assert_eq!(located.as_ref(), Some(&world.other.session_id));
    world.ending_counts_everywhere(&world.other).await;
    let located: Option<String> = world.b.pool.query(redis::cmd("GET").arg(&key)).await.unwrap();
    assert_eq!(located, None);

    let mut listening = world.b.listen();
    world.a.sessions.user_changed("ada").await;
    heard(&mut listening, &Invalidation::User("ada".to_owned()), A_SECOND).await;

    let uri = uri.expose_secret();
    let replicas = [limits(uri, &world.cluster.prefix), limits(uri, &world.cluster.prefix)];
    for user in 0..20 {
        let user = format!("user-{user}");
        let tries = (0..12).map(|n| replicas[n % 2].take(&QUOTA, &user));
        let decisions = futures_util::future::join_all(tries).await;
        assert_eq!(decisions.iter().filter(|decision| decision.allowed).count(), 5, "{user}");
    }
    replicas[1].give_back(&QUOTA, "user-0").await;
    assert!(replicas[0].take(&QUOTA, "user-0").await.allowed);
    assert!(!replicas[1].take(&QUOTA, "user-0").await.allowed);
    world
}

#[actix_rt::test]
async fn a_cluster_does_what_one_redis_does_and_every_node_its_share() {
    let redis = RedisCluster::start();
    let _world = contract(redis.uri()).await;
    let keys = redis.keys();
    assert!(keys.iter().all(|&count| count > 0), "{keys:?}");
}

#[actix_rt::test]
async fn the_primary_that_sentinels_name_does_what_one_redis_does() {
    let redis = WatchedRedis::start();
    let _world = contract(redis.uri()).await;
}

#[actix_rt::test]
async fn a_cluster_that_loses_the_node_of_the_channel_logs_nobody_out_and_revives_nobody() {
    let mut redis = RedisCluster::start();
    let uri = redis.uri();
    let world = world(uri).await;
    let owner = redis.copy_owner_of(&world.a.pool.key("invalidations"));
    let (mut on_a, mut on_b) = (world.a.listen(), world.b.listen());
    redis.kill(owner);
    heard(&mut on_a, &Invalidation::Everything, LONG).await;
    heard(&mut on_b, &Invalidation::Everything, LONG).await;
    world.survives().await;
}

#[actix_rt::test]
async fn a_killed_primary_is_followed_by_its_copy() {
    let mut redis = WatchedRedis::start();
    let world = world(redis.uri()).await;
    redis.kill_primary();
    world.survives().await;
}

#[actix_rt::test]
async fn who_changed_places_with_its_copy_is_left() {
    let redis = WatchedRedis::start();
    let world = world(redis.uri()).await;
    redis.fail_over();
    world.survives().await;
}

#[actix_rt::test]
async fn a_redis_that_is_primary_no_more_is_not_trusted() {
    let redis = RedisServer::start();
    let world = world(redis.uri()).await;
    // It would still deliver what is published on it, to those who are connected to it.
    redis.ask::<()>(&["REPLICAOF", "127.0.0.1", "1"]);
    world.cluster.end_unheard(&world.other).await;
    let refused = async { while world.b.check(&world.other).await != REFUSED {} };
    timeout(A_SECOND, refused).await.expect("a revoked token was accepted for a second");
    assert!(world.b.check(&world.honest).await.is_ok());
}
