//! Mail into files.

use std::fs;

use steward::providers::FileMailer;
use steward_actors::providers::{Mail, MailError, Mailer};

pub fn mail(id: &str) -> Mail {
    Mail {
        id: id.to_owned(),
        to: "ada@example.com".to_owned(),
        subject: "Your order is confirmed – grüße".to_owned(),
        text: "Thank you.\n.\nSteward".to_owned(),
    }
}

fn names(dir: &std::path::Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_message_is_one_file_and_sent_again_still_one() {
    let dir = tempfile::tempdir().unwrap();
    let mailer = FileMailer::new(dir.path().join("outbox"), "Steward <shop@example.org>").unwrap();
    mailer.send(&mail("order-1.confirmed")).await.unwrap();
    mailer.send(&Mail { text: "Second".to_owned(), ..mail("order-1.confirmed") }).await.unwrap();
    mailer.send(&mail("order-2.confirmed")).await.unwrap();
    let outbox = dir.path().join("outbox");
    assert_eq!(names(&outbox), ["order-1.confirmed.eml", "order-2.confirmed.eml"]);
    let text = fs::read_to_string(outbox.join("order-1.confirmed.eml")).unwrap();
    for line in [
        "Message-ID: <order-1.confirmed@example.org>",
        "To: ada@example.com",
        "From: Steward <shop@example.org>",
        "Second",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
}

#[tokio::test]
async fn what_would_break_a_header_or_leave_the_directory_is_refused_for_good() {
    let dir = tempfile::tempdir().unwrap();
    let mailer = FileMailer::new(dir.path(), "shop@example.org").unwrap();
    let bad = [
        Mail { subject: "Hi\r\nBcc: eve@example.com".to_owned(), ..mail("a") },
        Mail { to: "ada@example.com\r\nBcc: eve@example.com".to_owned(), ..mail("a") },
        Mail { to: "ada@example.com, eve@example.com".to_owned(), ..mail("a") },
        Mail { to: "nobody".to_owned(), ..mail("a") },
        mail("../a"),
        mail(".hidden"),
        mail("a\r\nX: y"),
        mail(""),
        mail(&"a".repeat(500)),
    ];
    for mail in bad {
        assert!(matches!(mailer.send(&mail).await, Err(MailError::Permanent(_))), "{mail:?}");
    }
    assert!(names(dir.path()).is_empty());
}

#[tokio::test]
async fn a_directory_that_is_gone_is_a_temporary_failure() {
    let dir = tempfile::tempdir().unwrap();
    let mailer = FileMailer::new(dir.path().join("outbox"), "shop@example.org").unwrap();
    fs::remove_dir(dir.path().join("outbox")).unwrap();
    assert!(matches!(mailer.send(&mail("a")).await, Err(MailError::Temporary(_))));
    fs::create_dir(dir.path().join("outbox")).unwrap();
    mailer.send(&mail("a")).await.unwrap();
}
