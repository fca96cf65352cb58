//! The saga, from its table up to two replicas on one store.

mod accepting;
mod answers;
mod commands;
mod crashes;
mod faults;
mod giving_back;
mod holds;
mod listing;
mod mails;
mod notices;
mod outage;
mod pure;
mod replicas;
mod saga;
mod table;
mod take_over;
mod timeline;
mod world;
