//! Logging out on one replica counts on the others.

use steward_actors::session::Invalidation;

use crate::redis_server::RedisServer;
use crate::replica::{A_SECOND, Cluster, LONG, REFUSED, heard};
use crate::shared_redis;

#[actix_rt::test]
async fn a_token_that_was_given_out_by_one_replica_counts_on_the_other_until_it_is_revoked() {
    let cluster = Cluster::new(shared_redis());
    let (a, b) = (cluster.replica().await, cluster.replica().await);
    let opened = a.registered("ada@example.org").await;
    b.check_until_cached(&opened).await;

    let mut listening = b.listen();
    a.sessions.log_out(&opened.session_id).await.unwrap();
    heard(&mut listening, &Invalidation::Session(opened.session_id.clone()), A_SECOND).await;
    for replica in [&a, &b] {
        assert_eq!(replica.check(&opened).await, REFUSED);
        assert_eq!(replica.check_access(&opened).await, REFUSED);
    }
}

#[actix_rt::test]
async fn a_whole_dump_of_redis_holds_nothing_that_lets_anyone_in() {
    let redis = RedisServer::start();
    let cluster = Cluster::new(redis.uri());
    let replica = cluster.replica().await;
    let opened = replica.registered("ada@example.org").await;
    replica.check_until_cached(&opened).await;
    replica.sessions.refresh(opened.refresh.expose(), None).await.unwrap();
    let keys: Vec<String> = replica.pool.query(redis::cmd("KEYS").arg("*")).await.unwrap();
    assert!(!keys.is_empty());
    let mut dump = keys.join("\n");
    for key in &keys {
        let value: Option<String> = replica.pool.query(redis::cmd("GET").arg(key)).await.unwrap();
        dump.push_str(&value.unwrap_or_default());
    }
    for token in
        [opened.token.expose(), opened.access.expose(), opened.refresh.expose(), opened.device.expose()]
    {
        assert!(!dump.contains(token));
        assert!(!dump.contains(&token.replace('-', "")));
    }
    // What is there, tried as if it were a token.
    for word in dump.split(|c: char| !c.is_ascii_alphanumeric() && c != '-') {
        assert_eq!(replica.authenticate(word).await, REFUSED, "{word}");
    }
}

#[actix_rt::test]
async fn a_user_who_was_changed_on_one_replica_is_loaded_again_by_the_other() {
    let cluster = Cluster::new(shared_redis());
    let (a, b) = (cluster.replica().await, cluster.replica().await);
    let opened = a.registered("ada@example.org").await;
    b.check_until_cached(&opened).await;
    let user_id = opened.user.value.id.clone();
    let mut listening = b.listen();
    a.sessions.user_changed(&user_id).await;
    heard(&mut listening, &Invalidation::User(user_id), A_SECOND).await;
    let before = b.store.reads();
    b.check(&opened).await.unwrap();
    assert!(b.store.reads() > before);
}

#[actix_rt::test]
async fn redis_locates_sessions_and_holds_no_usable_token() {
    let cluster = Cluster::new(shared_redis());
    let replica = cluster.replica().await;
    let opened = replica.registered("ada@example.org").await;
    let key = replica.pool.key(&format!("session:{}", opened.token.hash()));
    assert!(!key.contains(opened.token.expose()));
    let located: Option<String> = replica.pool.query(redis::cmd("GET").arg(&key)).await.unwrap();
    assert_eq!(located.as_ref(), Some(&opened.session_id));
    let seconds: i64 = replica.pool.query(redis::cmd("TTL").arg(&key)).await.unwrap();
    let thirty_days = 30 * 24 * 3600;
    assert!((thirty_days - 60..=thirty_days).contains(&seconds), "{seconds}");

    replica.sessions.log_out(&opened.session_id).await.unwrap();
    let located: Option<String> = replica.pool.query(redis::cmd("GET").arg(&key)).await.unwrap();
    assert_eq!(located, None);
}

#[actix_rt::test]
async fn connections_outlive_the_threads_that_used_them() {
    let cluster = Cluster::new(shared_redis());
    let replica = cluster.replica_without_redis();
    // Given connections that were made for threads that have ended since,
    for _ in 0..3 {
        let pool = replica.pool.clone();
        let elsewhere = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let all = futures_util::future::join_all((0..20).map(|_| pool.ping())).await;
                all.into_iter().collect::<Result<Vec<()>, _>>().map(|_| ())
            })
        });
        let ended = tokio::task::spawn_blocking(move || elsewhere.join().unwrap());
        tokio::time::timeout(LONG, ended).await.unwrap().unwrap().unwrap();
    }
    // then they still serve this one.
    for _ in 0..20 {
        replica.pool.ping().await.unwrap();
    }
}
