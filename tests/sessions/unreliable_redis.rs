//! A Redis that is flushed, killed, rolled back, frozen or cut off: no revoked token is accepted,
//! and nobody honest is logged out.

use std::time::Duration;

use steward::storage::redis::RedisPool;
use steward_actors::session::{Invalidation, LoggedIn, RefreshError};
use tokio::time::{Instant, timeout};

use crate::redis_server::RedisServer;
use crate::replica::{A_SECOND, Cluster, LONG, REFUSED, Replica, heard};

struct World {
    redis: RedisServer,
    cluster: Cluster,
    a: Replica,
    b: Replica,
    honest: LoggedIn,
    /// Still live, and cached by both, as `honest` is.
    other: LoggedIn,
}

async fn world() -> World {
    let redis = RedisServer::start();
    let cluster = Cluster::new(redis.uri());
    let (a, b) = (cluster.replica().await, cluster.replica().await);
    let honest = a.registered("honest@example.org").await;
    let other = a.registered("other@example.org").await;
    for replica in [&a, &b] {
        replica.check_until_cached(&honest).await;
        replica.check_until_cached(&other).await;
    }
    World { redis, cluster, a, b, honest, other }
}

impl World {
    /// A replica that Redis can refuse without refusing the others.
    async fn lonely(&self) -> Replica {
        self.admit_the_lonely("on").await;
        let lonely = self.cluster.replica_at(self.redis.uri_of("lonely", "secret"));
        lonely.trusted().await;
        lonely
    }

    async fn refuse_the_lonely(&self) {
        self.admit_the_lonely("off").await;
        let mut kill = redis::cmd("CLIENT");
        kill.arg("KILL").arg("USER").arg("lonely");
        self.b.pool.query::<i64>(&kill).await.unwrap();
    }

    async fn admit_the_lonely(&self, state: &str) {
        let mut acl = redis::cmd("ACL");
        acl.arg("SETUSER").arg("lonely").arg(state).arg(">secret").arg("~*").arg("&*").arg("+@all");
        self.b.pool.query::<()>(&acl).await.unwrap();
    }

    async fn all_is_well(&self, revoked: &LoggedIn) {
        let fresh = self.cluster.replica_without_redis();
        for (name, replica) in [("a", &self.a), ("b", &self.b), ("fresh", &fresh)] {
            assert_eq!(replica.check(revoked).await, REFUSED, "{name}");
            assert_eq!(replica.check_access(revoked).await, REFUSED, "{name}");
            let refreshed = replica.sessions.refresh(revoked.refresh.expose(), None).await;
            assert_eq!(refreshed.unwrap_err(), RefreshError::Refused, "{name}");
            let honest = replica.check(&self.honest).await;
            assert_eq!(honest.unwrap().session_id, self.honest.session_id, "{name}");
            assert!(replica.check_access(&self.honest).await.is_ok(), "{name}");
            let refreshed = replica.sessions.refresh(self.honest.refresh.expose(), None).await.unwrap();
            assert_eq!(refreshed.token.expose(), self.honest.token.expose(), "{name}");
        }
    }
}

#[actix_rt::test]
async fn a_flushed_redis_changes_nothing() {
    let world = world().await;
    world.a.sessions.log_out(&world.other.session_id).await.unwrap();
    world.a.pool.query::<()>(&redis::cmd("FLUSHALL")).await.unwrap();
    let mut listening = world.b.listen();
    world.a.sessions.user_changed("nobody").await;
    heard(&mut listening, &Invalidation::User("nobody".to_owned()), A_SECOND).await;
    world.all_is_well(&world.other).await;
}

#[actix_rt::test]
async fn a_killed_redis_logs_nobody_out_and_revoking_goes_on() {
    let mut world = world().await;
    let (mut on_a, mut on_b) = (world.a.listen(), world.b.listen());
    world.redis.kill();
    heard(&mut on_a, &Invalidation::Everything, A_SECOND).await;
    heard(&mut on_b, &Invalidation::Everything, A_SECOND).await;
    world.a.sessions.log_out(&world.other.session_id).await.unwrap();
    world.all_is_well(&world.other).await;

    world.redis.start_again();
    world.a.trusted().await;
    world.b.trusted().await;
    world.all_is_well(&world.other).await;
    world.b.check_until_cached(&world.honest).await;
}

#[actix_rt::test]
async fn a_redis_that_was_rolled_back_revives_no_token() {
    let mut world = world().await;
    world.a.pool.query::<()>(&redis::cmd("SAVE")).await.unwrap();
    world.a.sessions.log_out(&world.other.session_id).await.unwrap();
    let (mut on_a, mut on_b) = (world.a.listen(), world.b.listen());
    world.redis.kill();
    heard(&mut on_a, &Invalidation::Everything, A_SECOND).await;
    heard(&mut on_b, &Invalidation::Everything, A_SECOND).await;
    world.redis.start_again();
    world.a.trusted().await;
    world.b.trusted().await;
    let key = world.a.pool.key(&format!("session:{}", world.other.token.hash()));
    let revived: Option<String> = world.a.pool.query(redis::cmd("GET").arg(&key)).await.unwrap();
    assert_eq!(revived.as_ref(), Some(&world.other.session_id), "Redis has the old entry");
    world.all_is_well(&world.other).await;
}

#[actix_rt::test]
async fn a_frozen_redis_is_not_trusted() {
    let world = world().await;
    world.redis.freeze();
    // Nobody hears of this.
    world.cluster.end_unheard(&world.other).await;
    let refused = async {
        while world.b.check(&world.other).await != REFUSED
            || world.b.check_access(&world.other).await != REFUSED
        {}
    };
    timeout(A_SECOND, refused).await.expect("a revoked token was accepted for a second");
    assert!(world.b.check(&world.honest).await.is_ok());

    let began = Instant::now();
    world.a.sessions.log_out(&world.honest.session_id).await.unwrap();
    assert_eq!(world.b.check(&world.honest).await, REFUSED);
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());

    world.redis.thaw();
    world.a.trusted().await;
    world.b.trusted().await;
    assert_eq!(world.a.check(&world.honest).await, REFUSED);
}

#[actix_rt::test]
async fn what_was_said_while_the_subscription_was_cut_off_is_not_missed() {
    let world = world().await;
    let mut listening = world.b.listen();
    world.a.pool.query::<i64>(redis::cmd("CLIENT").arg("KILL").arg("TYPE").arg("pubsub")).await.unwrap();
    heard(&mut listening, &Invalidation::Everything, A_SECOND).await;
    world.cluster.end_unheard(&world.other).await;
    world.b.trusted().await;
    assert_eq!(world.b.check(&world.other).await, REFUSED);
    world.b.check_until_cached(&world.honest).await;
}

#[actix_rt::test]
async fn what_one_replica_could_not_say_it_says_when_it_reaches_redis_again() {
    let world = world().await;
    let lonely = world.lonely().await;
    // Given a replica that Redis refuses, while the others hear each other,
    world.refuse_the_lonely().await;
    // when something is revoked there
    lonely.sessions.log_out(&world.other.session_id).await.unwrap();
    assert_eq!(lonely.check(&world.other).await, REFUSED);
    // then the others hear of it as soon as Redis lets them.
    let mut listening = [world.a.listen(), world.b.listen()];
    world.admit_the_lonely("on").await;
    let ended = Invalidation::Session(world.other.session_id.clone());
    for listening in &mut listening {
        heard(listening, &ended, LONG).await;
    }
    world.all_is_well(&world.other).await;
}

#[actix_rt::test]
async fn what_one_replica_cannot_say_others_find_in_the_store() {
    let world = world().await;
    let lonely = world.lonely().await;
    // Given a replica that Redis refuses for good, while the others hear each other and remember,
    world.refuse_the_lonely().await;
    world.b.check_until_cached(&world.other).await;
    // when a session is ended there,
    lonely.sessions.log_out(&world.other.session_id).await.unwrap();
    // then no other remembers it for longer than a second, though it hears nothing of it.
    for replica in [&world.a, &world.b] {
        let refused = async { while replica.check(&world.other).await != REFUSED {} };
        timeout(A_SECOND, refused).await.expect("a revoked token was accepted for a second");
        assert!(replica.check(&world.honest).await.is_ok());
    }
}

#[actix_rt::test]
async fn a_replica_starts_without_redis_and_finds_it_later() {
    let mut redis = RedisServer::start();
    redis.kill();
    let cluster = Cluster::new(redis.uri());
    let replica = cluster.replica_without_redis();
    let opened = replica.registered("ada@example.org").await;
    assert!(replica.check(&opened).await.is_ok());
    redis.start_again();
    replica.trusted().await;
    replica.check_until_cached(&opened).await;
}

#[actix_rt::test]
async fn after_one_failure_no_connection_is_used_without_a_check() {
    let mut redis = RedisServer::start();
    let pool = RedisPool::connect(&redis.uri(), "test:").unwrap();
    // Given several connections, all of which break,
    futures_util::future::join_all((0..20).map(|_| pool.ping())).await;
    redis.kill();
    redis.start_again();
    assert!(pool.ping().await.is_err());
    // then one question has failed and no other does.
    for _ in 0..20 {
        pool.ping().await.unwrap();
    }
}
