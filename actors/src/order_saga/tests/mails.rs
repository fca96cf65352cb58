//! What the buyer is told, once for each thing that happened.

use super::world::{GONE, World, ask, usd};
use crate::audit::By;
use crate::order_saga::{AcceptOrder, OrderCommand, RequestRefund, Share, Whose};
use crate::outbox::{Job, JobStatus, Jobs};
use crate::providers::MailError;
use crate::store::load;
use crate::testing::MailFault;

#[actix_rt::test]
async fn shipping_and_each_refund_are_told_once_under_an_id_of_their_own() {
    let world = World::new();
    let replica = world.replica("r1");
    let id = replica.orders.accept(ask("k", "pm_card_visa")).await.unwrap().order.value.id;
    world.settled(&replica, &id).await;
    let ship = OrderCommand::Ship { tracking_number: Some("T-1".to_owned()) };
    // Asked for twice, as clients do.
    for _ in 0..2 {
        replica.orders.command(&id, Whose::Anyones(&By::system()), None, &ship).await.unwrap();
    }
    for (refund, cents) in [("one", 100), ("two", 250)] {
        let ask = RequestRefund {
            id: refund.to_owned(),
            fingerprint: String::new(),
            share: Share::Amount(usd(cents)),
            reason: None,
        };
        for _ in 0..2 {
            replica
                .orders
                .request_refund(&id, Whose::Anyones(&By::system()), None, ask.clone())
                .await
                .unwrap();
        }
        world.settled(&replica, &id).await;
    }
    world.deliver(&replica).await;

    let sent = world.mailer.sent();
    let mut ids: Vec<&str> = sent.iter().map(|mail| mail.id.as_str()).collect();
    ids.sort_unstable();
    let (confirmation, shipped) = (format!("order_confirmation.{id}"), format!("order_shipped.{id}"));
    assert_eq!(ids, [confirmation.as_str(), "order_refunded.one", "order_refunded.two", shipped.as_str()]);
    let text = |id: &str| sent.iter().find(|mail| mail.id == id).unwrap().text.clone();
    assert!(text(&shipped).contains("T-1"));
    assert!(text("order_refunded.one").contains("1.00 USD"));
    assert!(text("order_refunded.two").contains("2.50 USD"));
    assert!(sent.iter().all(|mail| mail.to == "u1@example.com" && mail.text.contains(&id)));
}

#[actix_rt::test]
async fn a_mail_that_may_have_gone_out_goes_out_again_as_the_same_one() {
    let world = World::new();
    let replica = world.replica("r1");
    let id = replica.orders.accept(ask("k", "pm_card_visa")).await.unwrap().order.value.id;
    world.settled(&replica, &id).await;
    world.deliver(&replica).await;
    world.mailer.script([MailFault::ReplyLost, MailFault::Fails(MailError::Temporary("busy".to_owned()))]);
    let ship = OrderCommand::Ship { tracking_number: None };
    replica.orders.command(&id, Whose::Anyones(&By::system()), None, &ship).await.unwrap();
    world.deliver(&replica).await;
    let sent = world.mailer.sent();
    assert_eq!(sent.len(), 3, "{sent:?}");
    assert_eq!(sent[1], sent[2]);
    assert_eq!(sent[1].id, format!("order_shipped.{id}"));
}

#[actix_rt::test]
async fn nobody_is_told_of_the_order_of_a_user_who_has_left() {
    let world = World::new();
    let replica = world.replica("r1");
    let asked = AcceptOrder { user_id: GONE.to_owned(), ..ask("k", "pm_card_visa") };
    let id = replica.orders.accept(asked).await.unwrap().order.value.id;
    world.settled(&replica, &id).await;
    let job = format!("order_confirmation.{id}");
    assert!(load::<Job>(world.store.as_ref(), &job).await.unwrap().is_some());
    world.deliver(&replica).await;
    assert!(world.mailer.sent().is_empty());
    assert!(load::<Job>(world.store.as_ref(), &job).await.unwrap().is_none(), "it is done");
}

#[actix_rt::test]
async fn a_message_that_may_have_gone_out_is_sent_again_under_its_id() {
    let world = World::new();
    let replica = world.replica("r1");
    world
        .mailer
        .script([MailFault::Fails(MailError::Temporary("try later".to_owned())), MailFault::ReplyLost]);
    let id = replica.orders.accept(ask("k", "pm_card_visa")).await.unwrap().order.value.id;
    world.settled(&replica, &id).await;
    world.deliver(&replica).await;
    let sent = world.mailer.sent();
    assert_eq!(sent.len(), 2);
    assert_eq!(sent[0], sent[1]);
    let jobs = Jobs::new(world.store.clone(), world.clock.clone(), Default::default(), &[]);
    for status in [JobStatus::Due, JobStatus::Running, JobStatus::Dead] {
        assert!(jobs.find(Jobs::query(Some(status))).await.unwrap().0.is_empty());
    }
}
