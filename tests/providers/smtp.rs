//! Mail by SMTP, against aiosmtpd: a server that was not written here.

use std::time::Duration;

use secrecy::SecretString;
use serde_json::Value;
use steward::providers::SmtpMailer;
use steward_actors::providers::{Mail, MailError, Mailer};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::mail::mail;
use crate::peer::Peer;
use crate::support::{anywhere, nobody, silent};

struct SmtpServer {
    peer: Peer,
    uri: SecretString,
}

impl SmtpServer {
    async fn start() -> Self {
        let peer = Peer::start("smtp_server.py", "aiosmtpd").await;
        let uri = SecretString::from(format!("smtp://127.0.0.1:{}", peer.port));
        Self { peer, uri }
    }

    fn mailer(&self) -> SmtpMailer {
        SmtpMailer::new(&self.uri, "Steward <shop@example.org>", Duration::from_secs(10)).unwrap()
    }

    async fn received(&mut self) -> Value {
        serde_json::from_str(&self.peer.line().await).unwrap()
    }
}

/// A server that takes no password.
async fn refusing_passwords() -> String {
    let listener = TcpListener::bind(anywhere()).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (socket, _) = listener.accept().await.unwrap();
        let mut socket = tokio::io::BufStream::new(socket);
        for answer in ["220 hi\r\n", "250-hi\r\n250 AUTH PLAIN\r\n", "535 5.7.8 no\r\n", "221 bye\r\n"] {
            socket.write_all(answer.as_bytes()).await.unwrap();
            socket.flush().await.unwrap();
            if socket.read_line(&mut String::new()).await.unwrap_or(0) == 0 {
                return;
            }
        }
    });
    format!("smtp://ada:wrong@{address}")
}

#[tokio::test]
async fn a_message_arrives_with_its_id_and_sent_again_carries_the_same_one() {
    let mut server = SmtpServer::start().await;
    let mailer = server.mailer();
    for _ in 0..2 {
        mailer.send(&mail("order-1.confirmed")).await.unwrap();
        let received = server.received().await;
        assert_eq!(received["from"], "shop@example.org");
        assert_eq!(received["to"], serde_json::json!(["ada@example.com"]));
        let content = received["content"].as_str().unwrap();
        assert!(content.contains("Message-ID: <order-1.confirmed@example.org>"), "{content}");
        // A line with a single dot is text like any other.
        assert!(content.contains("Thank you.\r\n.\r\nSteward"), "{content}");
    }
}

#[tokio::test]
async fn refusals_for_good_and_for_now_are_told_apart() {
    let mut server = SmtpServer::start().await;
    let mailer = server.mailer();
    let to = |address: &str| Mail { to: address.to_owned(), ..mail("m") };
    assert!(matches!(mailer.send(&to("refused@example.com")).await, Err(MailError::Permanent(_))));
    assert!(matches!(mailer.send(&to("busy@example.com")).await, Err(MailError::Temporary(_))));
    mailer.send(&to("ada@example.com")).await.unwrap();
    assert_eq!(server.received().await["to"], serde_json::json!(["ada@example.com"]));
}

#[tokio::test]
async fn a_server_that_is_away_silent_or_rejects_our_password_is_a_temporary_failure() {
    for (url, why) in
        [(nobody().await, "refused"), (silent().await, "in time"), (refusing_passwords().await, "535")]
    {
        let uri = SecretString::from(url.replace("http://", "smtp://"));
        let mailer = SmtpMailer::new(&uri, "shop@example.org", Duration::from_secs(1)).unwrap();
        let told = mailer.send(&mail("m")).await;
        assert!(matches!(&told, Err(MailError::Temporary(said)) if said.contains(why)), "{told:?}");
    }
}

#[test]
fn a_bad_uri_is_told_of_without_its_password() {
    for uri in ["nonsense canary", "http://user:canary@mail.example.com"] {
        let error = SmtpMailer::new(&SecretString::from(uri), "shop@example.org", Duration::from_secs(1))
            .err()
            .unwrap();
        assert!(!format!("{error} {error:?}").contains("canary"));
    }
}

#[tokio::test]
async fn a_mail_about_an_account_arrives_with_a_link_and_nothing_of_its_readers_name() {
    use std::sync::Arc;
    use steward_actors::outbox::{Outbox, OutboxOptions, Performer, Waker};
    use steward_actors::testing::{FastHasher, ManualClock, MemoryStore};
    use steward_actors::users::mail::UserMails;
    use steward_actors::users::{DisplayName, Email, NewUser, Password, Users};

    let mut server = SmtpServer::start().await;
    let clock = Arc::new(ManualClock::default());
    let store = Arc::new(MemoryStore::new(clock.clone()));
    let users = Users::new(store.clone(), clock.clone(), Arc::new(FastHasher::default()));
    // What a newline would break has none, and a name is not in the mail at all.
    assert!(DisplayName::parse("Ada\r\nBcc: eve@example.com").is_err());
    let password = Password::parse("correct horse".into()).unwrap();
    let mut new = NewUser::new(Email::parse("ada@example.com").unwrap(), password);
    new.name = Some(DisplayName::parse("Bcc: eve@example.com").unwrap());
    users.register(new).await.unwrap();

    let mails = UserMails::new(users, Arc::new(server.mailer()), "https://api.example.org");
    let performers: Vec<Arc<dyn Performer>> = vec![Arc::new(mails)];
    let options = OutboxOptions::default();
    Outbox::new(store, clock, "r1".to_owned(), Waker::default(), performers, options).round().await.unwrap();

    let received = server.received().await;
    assert_eq!(received["to"], serde_json::json!(["ada@example.com"]));
    let content = received["content"].as_str().unwrap().replace("=\r\n", "").replace("=3D", "=");
    assert!(content.contains("https://api.example.org/verify-email?token="), "{content}");
    assert!(content.contains("Message-ID: <welcome.") && !content.contains("eve@"), "{content}");
}
