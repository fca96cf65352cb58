//! The saga, from its table up to two replicas on one store.

mod crashes;
mod pure;
mod replicas;
mod saga;
mod table;
mod take_over;
mod world;
