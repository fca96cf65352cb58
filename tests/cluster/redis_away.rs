//! Three processes on one MongoDB, and a Redis that is flushed, killed and comes back as it was before:
//! no ended session counts again, and nobody else is logged out.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use crate::redis_server::RedisServer;
use crate::support::{Backend, Client, DataDir, Replica, SHORT_LEASE, eventually};

/// How long others may remember what one replica ended: the span of trust in a channel, or of a look
/// into the store, and a little.
const SOON: Duration = Duration::from_secs(2);

struct World {
    replicas: Vec<Replica>,
    honest: Vec<Client>,
    ended: Vec<Client>,
}

impl World {
    /// What this session is answered by each replica.
    async fn statuses(&self, of: &Client) -> Vec<u16> {
        let mut statuses = Vec::new();
        for replica in &self.replicas {
            statuses.push(of.at(&replica.url).get("/v1/users/me").await.status.as_u16());
        }
        statuses
    }

    /// Ends sessions, each at another replica; none of them is good anywhere soon after.
    async fn end(&mut self, sessions: Vec<Client>, when: &str) {
        for (n, session) in sessions.into_iter().enumerate() {
            let at = &self.replicas[n % self.replicas.len()];
            session.at(&at.url).post("/v1/users/logout", json!({})).await.expect(204);
            let told = Instant::now();
            while self.statuses(&session).await != [401; 3] {
                assert!(told.elapsed() < SOON, "an ended session is still good: {when}");
            }
            self.ended.push(session);
        }
        self.all_is_well(when).await;
    }

    async fn all_is_well(&self, when: &str) {
        for session in &self.ended {
            assert_eq!(self.statuses(session).await, [401; 3], "an ended session counts: {when}");
        }
        for session in &self.honest {
            assert_eq!(self.statuses(session).await, [200; 3], "somebody was logged out: {when}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_becomes_of_redis_ended_sessions_stay_ended_and_the_others_go_on() {
    let mut redis = RedisServer::start();
    let Backend::Cluster { mongodb, database, .. } = Backend::cluster() else { unreachable!() };
    let uri = secrecy::ExposeSecret::expose_secret(&redis.uri()).to_owned();
    let backend = Backend::Cluster { mongodb, database, redis: uri.clone() };
    let data = [DataDir::new(), DataDir::new(), DataDir::new()];
    let mut replicas = Vec::new();
    for data in &data {
        replicas.push(Replica::start(&data.path(), &backend, SHORT_LEASE).await);
    }
    let mut sessions = Vec::new();
    for n in 0..15 {
        sessions.push(Client::register(&replicas[n % 3].url).await);
    }
    let honest = sessions.split_off(12);
    let mut world = World { replicas, honest, ended: Vec::new() };
    let ask = async |words: &[&str]| {
        let client = redis::Client::open(uri.as_str()).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        let mut command = redis::cmd(words[0]);
        words[1..].iter().for_each(|word| _ = command.arg(word));
        command.query_async::<()>(&mut connection).await.unwrap();
    };
    // Given sessions that all replicas remember, and a copy of Redis that knows them all,
    for session in sessions.iter().chain(&world.honest) {
        assert_eq!(world.statuses(session).await, [200; 3]);
    }
    ask(&["SAVE"]).await;
    world.end(sessions.split_off(9), "as ever").await;
    // when Redis forgets everything,
    ask(&["FLUSHALL"]).await;
    world.all_is_well("flushed").await;
    world.end(sessions.split_off(6), "after it was flushed").await;
    // is killed,
    redis.kill();
    world.all_is_well("killed").await;
    world.end(sessions.split_off(3), "while it is away").await;
    // and comes back with what it knew before any of this, then what ended stays ended.
    redis.start_again();
    world.all_is_well("back as it was").await;
    for replica in &world.replicas {
        eventually("it uses Redis again", Duration::from_secs(30), async || {
            (Client::new(&replica.url).get("/readyz").await.status == 200).then_some(())
        })
        .await;
    }
    world.all_is_well("back for a while").await;
    world.end(sessions, "after it came back").await;
}
